/**
 * The suite of commands whose events the store does not take, because they were decided on an old state, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { upTo } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError, storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import type { Receipt } from "../../src/core/Receipt.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"

/** A pot never has less than nothing: no other rule than the Schema of the events says so. */
const left = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const PotEvent = Schema.TaggedUnion({
  PotFilled: { pot: Schema.String, left },
  PotDrawn: { pot: Schema.String, left },
  PotSpilt: { pot: Schema.String }
}).pipe(Event.tags({ pot: "pot" }))

class Spilt extends Schema.TaggedError<Spilt>()("PotIsSpilt", {}) {}

type PotState = number | "spilt"
const PotState = Schema.Union([Schema.Int, Schema.Literal("spilt")])
const initial = PotState.make(0)
const evolve = {
  PotFilled: (_: PotState, { left }: { readonly left: number }): PotState => left,
  PotDrawn: (_: PotState, { left }: { readonly left: number }): PotState => left,
  PotSpilt: (): PotState => "spilt"
}
/** How often a draw was decided, by pot. */
const decisions = new Map<string, number>()
const drawn = (state: PotState, { amount, pot }: { readonly amount: number; readonly pot: string }) => {
  decisions.set(pot, (decisions.get(pot) ?? 0) + 1)
  if (state === "spilt") return Result.fail(new Spilt())
  return amount === 0 ? [] : [{ _tag: "PotDrawn" as const, pot, left: state - amount }]
}

const payload = { pot: Schema.String, amount: Schema.Int }
const Fill = Command.make("FillPot", { payload })
const Draw = Command.make("DrawPot", { payload, error: Spilt })
const DrawByModel = Command.make("DrawPotByModel", { payload, error: Spilt })
const DrawByDecision = Command.make("DrawPotByDecision", { payload, error: Spilt })

const modelsOf = ({ pot }: { readonly pot: string }) => ({
  model: Decision.model({ events: PotEvent, tags: { pot }, initial, evolve })
})
const Pot = Aggregate.make("OldPot", {
  id: "pot",
  state: PotState,
  events: PotEvent,
  commands: [Fill, Draw, DrawByModel]
}).withModels({ DrawPotByModel: modelsOf }).decider({
  initial,
  evolve,
  decide: {
    FillPot: (state, { amount, pot }) => [
      { _tag: "PotFilled", pot, left: (state === "spilt" ? 0 : state) + amount }
    ],
    DrawPot: drawn,
    // The state and the model are of the same events: the older one decides.
    DrawPotByModel: (state, command, { model }) =>
      drawn(state === "spilt" || model === "spilt" ? "spilt" : Math.min(state, model), command)
  }
})
const drawByDecision = Decision.make(DrawByDecision, {
  events: PotEvent,
  stream: ({ pot }) => `OldPot-${pot}`,
  models: modelsOf,
  decide: ({ model }, command) => drawn(model, command)
})

type Handlers = Command.HandlerOf<typeof Fill | typeof Draw | typeof DrawByModel | typeof DrawByDecision>
type Draws = (pot: string, amount: number) => Effect.Effect<Receipt, unknown, Handlers>

const kinds: Readonly<Record<string, Draws>> = {
  "a command": (pot, amount) => CommandBus.dispatch(Draw, { pot, amount }),
  "a command with a model": (pot, amount) => CommandBus.dispatch(DrawByModel, { pot, amount }),
  "a decision": (pot, amount) => CommandBus.dispatch(DrawByDecision, { pot, amount })
}

const withoutRetry = { conflictRetry: Schedule.recurs(0) }

/** A process: a store on the same log, which caches for itself, with handlers that do not decide again after a conflict. */
const process = (append: (send: EventStoreDriver["append"]) => EventStoreDriver["append"] = (send) => send) =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const store = yield* EventStore.make({ ...driver, append: append(driver.append) })
    return Layer.provide(
      Layer.merge(Aggregate.layer(Pot, withoutRetry), Decision.layer(drawByDecision, withoutRetry)),
      Layer.succeed(EventStore.EventStore, store)
    )
  })

const reasonOf = (error: unknown) => error instanceof EventStoreError ? error.reason._tag : error

/** Runs an effect in a process that has cached a pot with 1, after an effect of another process. */
const afterOther = <A, E>(
  { after, draw, pot }: {
    readonly after: Effect.Effect<unknown, unknown, EventStore.EventStore | Handlers>
    readonly draw: Draws
    readonly pot: string
  },
  effect: Effect.Effect<A, E, EventStore.EventStore | Handlers>
) =>
  Effect.gen(function*() {
    const [own, other] = [yield* process(), yield* process()]
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Fill, { pot, amount: 2 })
      yield* draw(pot, 1)
      yield* Effect.provide(after, other)
      return yield* effect
    }).pipe(Effect.provide(own))
  })

const byKind = Object.entries(kinds).flatMap(([kind, draw]): ReadonlyArray<Case<EventStore.EventStore>> => [
  test(`${kind} whose events are refused on an old state is decided on the current one`, function*() {
    const pot = unique("pot")
    yield* afterOther(
      { after: CommandBus.dispatch(Fill, { pot, amount: 9 }), draw, pot },
      Effect.gen(function*() {
        yield* draw(pot, 6)
        equal(reasonOf(yield* Effect.flip(draw(pot, 6))), "InvalidRequest", "more than is left")
        yield* draw(pot, 4)
      })
    )
    const { state, version } = yield* Aggregate.load(Pot, pot)
    equal([state, version], [0, 5], "what is left")
  }),

  test(`${kind} on an old state fails as on the last event of the closed stream`, function*() {
    const pot = unique("pot")
    yield* afterOther(
      { after: EventStore.close(PotEvent, `OldPot-${pot}`, { _tag: "PotSpilt", pot }), draw, pot },
      Effect.gen(function*() {
        for (const n of upTo(2)) equal(yield* Effect.flip(draw(pot, 1)), new Spilt(), `time ${n}`)
      })
    )
  }),

  test(`${kind} fails with StreamClosed where the last event does not reject it`, function*() {
    const pot = unique("pot")
    yield* afterOther(
      { after: EventStore.close(PotEvent, `OldPot-${pot}`, { _tag: "PotFilled", pot, left: 5 }), draw, pot },
      Effect.gen(function*() {
        for (const n of upTo(2)) equal(reasonOf(yield* Effect.flip(draw(pot, 1))), "StreamClosed", `time ${n}`)
      })
    )
  })
])

/** Two draws at once: the second is decided on the state to which the append of the first leads. Of 10, together they draw more. */
const atOnce = Effect.fnUntraced(function*(draw: Draws, outcome: "written" | "unavailable") {
  const pot = unique("pot")
  const [sent, isDecided] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  const own = yield* process((send) => (request) => {
    if (!request.events.some(({ data }) => data.includes(`"left":2`))) return send(request)
    request.onQueued?.()
    return Deferred.succeed(sent, undefined).pipe(
      Effect.andThen(Deferred.await(isDecided)),
      Effect.andThen(
        outcome === "written"
          ? send(request)
          : storeError(new StoreUnavailable({ message: "the first append fails", cause: undefined }))
      )
    )
  })
  return yield* Effect.gen(function*() {
    yield* CommandBus.dispatch(Fill, { pot, amount: 10 })
    const fork = (amount: number) => Effect.forkChild(draw(pot, amount), { startImmediately: true })
    const first = yield* fork(8)
    yield* Deferred.await(sent)
    const second = yield* fork(5)
    yield* Effect.repeat(Effect.yieldNow, { until: () => decisions.get(pot)! >= 2 })
    yield* Deferred.succeed(isDecided, undefined)
    const exits = [yield* Fiber.await(first), yield* Fiber.await(second)]
    const { state } = yield* Aggregate.load(Pot, pot)
    return [...exits.map((exit) => reasonOf(Option.getOrUndefined(Exit.findErrorOption(exit)))), state]
  }).pipe(Effect.provide(own), Effect.timeout("1 minute"))
})

const inFlight = Object.entries(kinds).map(([kind, draw]) =>
  test(`${kind} whose events are refused on a state in flight waits for its append`, function*() {
    equal(yield* atOnce(draw, "written"), [undefined, "InvalidRequest", 2], "written")
    equal(yield* atOnce(draw, "unavailable"), ["StoreUnavailable", undefined, 5], "not written")
  })
)

const withoutEvents = Object.entries(kinds).map(([kind, draw]) =>
  test(`${kind} without events rests on what the log had when it arrived, also behind an append`, function*() {
    const pot = unique("pot")
    const [written, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    let holds = false
    const other = yield* process()
    const own = yield* process((send) => (request) => {
      if (!holds) return send(request)
      holds = false
      request.onQueued?.()
      return Effect.tap(
        send({ ...request, onQueued: undefined }),
        () => Effect.andThen(Deferred.succeed(written, undefined), Deferred.await(mayEnd))
      )
    })
    yield* Effect.gen(function*() {
      const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
      yield* CommandBus.dispatch(Fill, { pot, amount: 2 })
      yield* draw(pot, 1)
      holds = true
      const first = yield* fork(draw(pot, 1))
      yield* Deferred.await(written)
      yield* Effect.provide(CommandBus.dispatch(Fill, { pot, amount: 5 }), other)
      const before = decisions.get(pot)!
      const second = yield* fork(draw(pot, 0))
      yield* Effect.repeat(Effect.yieldNow, { until: () => decisions.get(pot)! > before })
      yield* Deferred.succeed(mayEnd, undefined)
      yield* Fiber.join(first)
      equal(Number((yield* Fiber.join(second)).version), 4, "the version")
    }).pipe(Effect.provide(own), Effect.timeout("1 minute"))
  })
)

/**
 * Events that are refused on an old state.
 *
 * @since 0.1.0
 * @category suites
 */
export const oldStates: ReadonlyArray<Case<EventStore.EventStore>> = [...byKind, ...inFlight, ...withoutEvents]
