/**
 * The runtime suite of personal data in states that other commands have read, and of subjects that other processes erase.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { rejection, upTo } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { KeyStoreUnavailable, storeError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { parkedKeys } from "../support/parked.ts"
import * as Traces from "../support/Traces.ts"
import type { Stores } from "./PersonalDataFixtures.ts"
import { requireNoSecret, secret } from "./WithheldSuite.ts"

const text = Schema.String
const named = { person: text, name: PersonalData.field(text, { subject: "person" }) }

const SeatEvent = Schema.TaggedUnion({ SeatTaken: { seat: text, ...named } })
class Taken extends Schema.TaggedError<Taken>()("SeatIsTaken", { by: text }) {}
const Take = Command.make("TakeSeat", { payload: { seat: text, person: text, name: text }, error: Taken })
const AskEvent = Schema.TaggedUnion({ SeatAsked: { seat: text, person: text } })

/** The layer of an aggregate whose rejection quotes its state, and how often its commands were decided. */
const seats = () => {
  let decisions = 0
  const decider = Aggregate.make("SharedSeat", {
    id: "seat",
    state: Schema.Struct({ person: text, by: Schema.optionalKey(named.name) }),
    events: SeatEvent,
    commands: [Take]
  }).decider({
    initial: { person: "" },
    evolve: { SeatTaken: (_, { name, person }) => ({ person, by: name }) },
    decide: {
      TakeSeat: ({ by }, command) => {
        decisions++
        return by === undefined ? [{ _tag: "SeatTaken", ...command }] : Result.fail(new Taken({ by: String(by) }))
      }
    }
  })
  return { decisions: () => decisions, layer: Aggregate.layer(decider) }
}

/** What a decider has seen of the names in states. */
const watchedSeats = () => {
  const seen: Array<unknown> = []
  const decider = Aggregate.make("WatchedSeat", {
    id: "seat",
    state: Schema.Struct({ by: Schema.optionalKey(Schema.Json) }),
    events: SeatEvent,
    commands: [Take]
  }).decider({
    initial: {},
    evolve: { SeatTaken: (_, { name }) => ({ by: PersonalData.getOrElse(name, () => "erased") }) },
    decide: {
      TakeSeat: ({ by }, command) => {
        seen.push(by)
        return by === undefined ? [{ _tag: "SeatTaken", ...command }] : []
      }
    }
  })
  return { seen, layer: Aggregate.layer(decider) }
}

/** Members without personal data, and greetings with some. */
const MemberEvent = Schema.TaggedUnion({ MemberJoined: { person: text }, MemberLeft: { person: text } }).pipe(
  Event.tags({ member: "person" })
)
const GreetEvent = Schema.TaggedUnion({ MemberGreeted: named })
class NoMember extends Schema.TaggedError<NoMember>()("NoMember", {}) {}
const Greet = Command.make("GreetMember", { payload: { person: text, name: text }, error: NoMember })
const greet = Decision.make(Greet, {
  events: GreetEvent,
  models: ({ person }) => ({
    isMember: Decision.model({
      events: MemberEvent,
      tags: { member: person },
      initial: false,
      evolve: { MemberJoined: () => true, MemberLeft: () => false }
    })
  }),
  decide: ({ isMember }, { name, person }) =>
    isMember ? [{ _tag: "MemberGreeted", person, name }] : Result.fail(new NoMember())
})

/**
 * Personal data that a command did not read itself.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  test("a handler's error that quotes a state in flight is stored nowhere, without a cache of states", function*() {
    const traces = Traces.make()
    const [seat, person] = [unique("seat"), unique("p")]
    const { decisions, layer } = seats()
    const { driver } = (yield* EventStore.EventStore)[internals]
    /** The first command stays in flight until the second was decided on its state. */
    const store = yield* EventStore.make({
      ...driver,
      append: (request) => {
        request.onQueued?.()
        return Effect.andThen(
          Effect.repeat(Effect.yieldNow, { until: () => decisions() >= 2 }),
          driver.append(request)
        )
      }
    })
    const subscription = Subscription.make(unique("seats"), {
      events: AskEvent,
      where: { streamPrefix: `${seat}-` },
      partitions: 8,
      parks: ["SeatIsTaken"],
      retry: Schedule.recurs(0),
      handle: ({ person, seat }) => CommandBus.dispatch(Take, { person, seat, name: secret })
    })
    yield* Effect.gen(function*() {
      for (const n of upTo(8)) {
        yield* EventStore.append(AskEvent, `${seat}-${n}`, [{ _tag: "SeatAsked", seat, person }])
      }
      const parked = yield* Effect.repeat(parkedKeys(subscription), {
        until: ({ length }) => length >= 7,
        schedule: Schedule.spaced("10 millis")
      }).pipe(Effect.timeout("1 minute"), Effect.provide(Subscription.layer([subscription])))
      equal(parked.length, 7, "the handlers whose command is rejected")
      requireNoSecret(yield* Traces.stored, "what is stored")
    }).pipe(
      Effect.provide(Layer.provide(layer, [
        Layer.succeed(EventStore.EventStore, store),
        Layer.succeed(Aggregate.StateCache, { capacity: 0, timeToLive: "5 minutes" })
      ])),
      Effect.provide(traces.layer)
    )
    requireNoSecret(traces.text(), "logs and spans")
  }),

  test("no command is decided on what was erased while the key store fails", function*() {
    const [seat, person] = [unique("seat"), unique("p")]
    const { layer, seen } = watchedSeats()
    const { driver, keys } = (yield* EventStore.EventStore)[internals]
    const [sent, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    let fails = 0
    const store = yield* EventStore.make(
      {
        ...driver,
        append: (request) => {
          request.onQueued?.()
          return Deferred.succeed(sent, undefined).pipe(
            Effect.andThen(Deferred.await(mayEnd)),
            Effect.andThen(driver.append(request))
          )
        }
      },
      {
        ...keys,
        lastErasure: Effect.suspend(() =>
          fails-- > 0
            ? Effect.fail(storeError(new KeyStoreUnavailable({ message: "", cause: undefined })))
            : keys.lastErasure
        )
      }
    )
    yield* Effect.gen(function*() {
      const take = Effect.forkChild(CommandBus.dispatch(Take, { seat, person, name: secret }), {
        startImmediately: true
      })
      fails = 1
      const first = yield* take
      yield* Deferred.await(sent)
      yield* Erasure.erase(person)
      fails = 1
      const second = yield* take
      yield* Effect.repeat(Effect.yieldNow, { times: 100 })
      yield* Deferred.succeed(mayEnd, undefined)
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      equal(seen.filter((by) => by === secret), [], "the erased names in states")
    }).pipe(
      Effect.provide(Layer.provide(layer, Layer.succeed(EventStore.EventStore, store))),
      Effect.timeout("1 minute")
    )
  }),

  test("a decision on old matches about an erased subject is rejected as on the current ones", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const person = unique("p")
    /** Another process. */
    const own = Layer.provide(Decision.layer(greet), Layer.effect(EventStore.EventStore, EventStore.make(driver)))
    const greeted = CommandBus.dispatch(Greet, { person, name: secret })
    yield* Effect.gen(function*() {
      yield* EventStore.append(MemberEvent, `Member-${person}`, [{ _tag: "MemberJoined", person }])
      yield* greeted
      yield* EventStore.append(MemberEvent, `Member-${person}`, [{ _tag: "MemberLeft", person }])
      yield* Erasure.erase(person)
      for (const n of upTo(2)) equal(yield* Effect.flip(greeted), new NoMember(), `time ${n}`)
      yield* EventStore.append(MemberEvent, `Member-${person}`, [{ _tag: "MemberJoined", person }])
      equal((yield* rejection(greeted))._tag, "SubjectErased", "on the current ones")
    }).pipe(Effect.provide(own))
  })
]
