/**
 * The runtime suite of two releases of a process manager that run side by side, or one after the other: the later one declares more.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { ProjectionBehind } from "../../src/core/errors.ts"
import * as Position from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Checkpoints from "../../src/operations/Checkpoints.ts"
import type * as ProcessContract from "../../src/process/ProcessContract.ts"
import type { ProcessEvent } from "../../src/process/ProcessEvents.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"
import { begun, ended, instance, Signal, signal, typesOf, uniqueName, until, untilLast, went } from "./Probe.ts"

const target = { id: Schema.String, what: Schema.String }
const Do = Command.make("Do", { payload: target })
const DoWithPriority = Command.make("Do", { payload: { ...target, priority: Schema.optionalKey(Schema.Int) } })
const Gift = Command.make("Gift", { payload: target })

const GoalEvent = Schema.TaggedUnion({ GoalMet: { ...target, priority: Schema.optionalKey(Schema.Int) } })
const streamOf = (id: string) => `Goal-${id}`
const toGoal = (
  _: null,
  command: Omit<typeof GoalEvent.cases.GoalMet.Type, "_tag">
) => [GoalEvent.cases.GoalMet.make(command)]
const goal = { id: "id", state: Schema.Null, events: GoalEvent } as const
const folded = { initial: null, evolve: { GoalMet: () => null } } as const

/** The handlers of each release, of their own in each program. */
const handlers = {
  first: Aggregate.layer(
    Aggregate.make("Goal", { ...goal, commands: [Do, Gift] }).decider({
      ...folded,
      decide: { Do: toGoal, Gift: toGoal }
    })
  ),
  second: Aggregate.layer(
    Aggregate.make("Goal", { ...goal, commands: [DoWithPriority, Gift] })
      .decider({ ...folded, decide: { Do: toGoal, Gift: toGoal } })
  )
}

const Own = Schema.TaggedUnion({ Counted: { n: Schema.Int } })
const MoreOwn = Schema.TaggedUnion({ ReleaseNoted: { n: Schema.Int } })
const late = { what: Schema.String }

const common = <E extends Event.Any>(name: string, events: E) =>
  ({
    inputs: Signal,
    where: { streamPrefix: `${name}.in-` },
    state: Schema.Array(Schema.Int),
    events,
    correlate: {
      Begun: ({ id }: { readonly id: string }) => ProcessManager.start(id),
      Went: ({ id }: { readonly id: string }) => ProcessManager.continue(id),
      Ended: ({ id }: { readonly id: string }) => ProcessManager.continue(id)
    }
  }) as const

const counted = (n: number) => ({ _tag: "Counted" as const, n })
const evolve = { Counted: (state: ReadonlyArray<number>, { n }: { readonly n: number }) => [...state, n] }

/** Two releases under a name of their own. The second one adds a command, a deadline, an own event and a field of a command. */
const releases = () => {
  const name = uniqueName()
  const first = ProcessManager.make(name, { ...common(name, Own), commands: [Do], deadlines: { Late: late } })
    .behaviour({
      initial: [],
      evolve,
      react: {
        Begun: (_, { n }) => [counted(n), ProcessManager.deadline("Late", { what: "late" }, { after: "50 millis" })],
        Went: (_, { id, n }) => [counted(n), ProcessManager.send(Do, { id, what: `went ${n}` })],
        Ended: () => [ProcessManager.complete],
        Late: () => [counted(-1)]
      }
    })
  const second = ProcessManager.make(name, {
    ...common(name, Event.merge(Own, MoreOwn)),
    commands: [DoWithPriority, Gift],
    deadlines: { Late: late, Review: late }
  }).behaviour({
    initial: [],
    evolve: { ...evolve, ReleaseNoted: (state) => state },
    react: {
      Begun: (_, { n }) => [counted(n)],
      Went: (_, { id, n }) => [counted(n), ProcessManager.send(DoWithPriority, { id, what: `went ${n}`, priority: n })],
      Ended: () => [ProcessManager.complete],
      Late: () => [counted(-1)],
      Review: () => [counted(-2)]
    }
  })
  return { first, second }
}

type Release = ReturnType<typeof releases>["first" | "second"]

const options = {
  lease: "1 second",
  deadlineInterval: "100 millis",
  retryDelay: { first: "20 millis", max: "100 millis" }
} as const

const runFirst = (process: ReturnType<typeof releases>["first"]) =>
  ProcessManager.layer([process], options).pipe(Layer.fresh, Layer.provide(Layer.fresh(handlers.first)))

const runSecond = (process: ReturnType<typeof releases>["second"]) =>
  ProcessManager.layer([process], options).pipe(Layer.fresh, Layer.provide(Layer.fresh(handlers.second)))

const past = DateTime.makeUnsafe("2020-01-01T00:00:00Z")

type Written = ProcessEvent | { readonly _tag: string; readonly n: number }

/** Appends what a release has done with an instance before it ended: it has taken the first input. */
const written = ({ name, processEvents }: ProcessContract.Any, id: string, events: ReadonlyArray<Written>) => {
  const { all, toEvent } = processEvents
  const received = {
    kind: "received",
    input: "Begun",
    eventId: id,
    position: Position.make(1n),
    recordedAt: past,
    starts: true
  } as const
  const batch: ReadonlyArray<Written> = [received, ...events]
  return EventStore.append(all, `${name}-${id}`, batch.map((one) => "kind" in one ? toEvent(one) : one))
}

const inlineOf = (process: ProcessContract.Any) =>
  Projector.layerInline([ProcessManager.consumers(process).instances]).pipe(Layer.fresh)

const sent = (name: string, payload: object): ProcessEvent => ({
  kind: "send",
  name,
  payload,
  index: 0,
  isLatestOnly: false
})
const deadline = (name: string): ProcessEvent => ({
  kind: "deadline",
  name,
  id: "0",
  dueAt: past,
  payload: { what: "w" }
})

/** What only the second release understands, each with what the health of the first says of it, and what the instance has when it is done. */
const changes: Readonly<
  Record<
    string,
    {
      readonly events: (id: string) => ReadonlyArray<Written>
      readonly says: string
      readonly state: ReadonlyArray<number>
      readonly goals: ReadonlyArray<string>
    }
  >
> = {
  "a command": {
    events: (id) => [sent("Gift", { id, what: "gift" })],
    says: `the command "Gift"`,
    state: [7],
    goals: ["gift", "went 7 with priority 7"]
  },
  "a deadline": {
    events: () => [deadline("Review")],
    says: `the deadline "Review"`,
    state: [-2, 7],
    goals: ["went 7 with priority 7"]
  },
  "an own event": {
    events: () => [{ _tag: "ReleaseNoted", n: 1 }, deadline("Late")],
    says: `the event "ReleaseNoted"`,
    state: [-1, 7],
    goals: ["went 7 with priority 7"]
  },
  "a field of a command": {
    events: (id) => [sent("Do", { id, what: "first", priority: 1 })],
    says: `the command "Do"`,
    state: [7],
    goals: ["first with priority 1", "went 7 with priority 7"]
  }
}

const goalsOf = (id: string) =>
  EventStore.readStream(GoalEvent, streamOf(id)).pipe(
    Stream.map(({ event: { priority, what } }) => priority === undefined ? what : `${what} with priority ${priority}`),
    Stream.runCollect
  )

const stateOf = (process: Release, id: string) =>
  Effect.map(ProcessManager.inspect(process, id), (found) => Option.getOrThrow(found).state.state)

const cases = Object.entries(changes).map(([what, { events, goals, says, state }]): Case<Stores> =>
  test(`a release defers instances to a later one that has added ${what}`, function*() {
    const { first, second } = releases()
    const [id, other] = [unique("i"), unique("i")]
    yield* written(second, id, events(id)).pipe(Effect.provide(inlineOf(second)))
    yield* Effect.gen(function*() {
      yield* Layer.build(runFirst(first))
      yield* signal(first, [begun(id), went(id, 7)])
      // The release before goes on with what it understands, deadlines included.
      yield* signal(first, [begun(other), went(other, 1)])
      yield* until(
        "the deadline of the other",
        typesOf(instance(first, other)),
        (types) => types.includes("fired.Late")
      )
      yield* until("the command of the other", goalsOf(other), (found) => found.length === 1)
      const health = yield* until(
        "the health",
        ProcessManager.health(first),
        ({ deferred, reasons }) => deferred.length > 0 && reasons.some((reason) => reason.includes("newer release"))
      )
      includes(health.reasons.join("\n"), "1 instance was changed by a newer release", "the reasons")
      includes(health.reasons.join("\n"), says, "the reasons")
      const consumers = ProcessManager.consumers(first)
      equal([yield* parkedKeys(consumers.inputs), yield* parkedKeys(consumers.outputs)], [[], []], "what is parked")
      equal(yield* goalsOf(id), [], "the deferred commands")
      // The later release carries out the deferred steps, although the one before runs beside it.
      yield* Layer.build(runSecond(second))
      yield* until("its state", stateOf(second, id), (found) => found.length === state.length + 1)
      yield* until("its commands", goalsOf(id), (found) => found.length === goals.length)
      yield* signal(second, [ended(id), ended(other)])
      yield* untilLast(instance(second, other), "completed")
      yield* until(
        "the end",
        typesOf(instance(second, id)),
        (types) => types.includes("completed") && count(types, "deferred") === count(types, "resumed")
      )
      equal((yield* stateOf(second, id)).toSorted(), [1, ...state].toSorted(), "its state in the end")
      equal(yield* goalsOf(id), goals, "its commands in the end")
      const { deferred } = yield* ProcessManager.health(first)
      equal(deferred, [], "what is left")
    })
  })
)

const count = (types: ReadonlyArray<string>, type: string) => types.filter((one) => one === type).length

/** A release that has changed the Schema of a command so that what was stored before does not decode. */
const incompatible = (name: string) =>
  ProcessManager.make(name, {
    ...common(name, Own),
    commands: [Command.make("Do", { payload: { id: Schema.String, what: Schema.Int } })],
    deadlines: {}
  }).behaviour({
    initial: [],
    evolve,
    react: {
      Begun: (_, { n }) => [counted(n)],
      Went: (_, { n }) => [counted(n)],
      Ended: () => [ProcessManager.complete]
    }
  })

const changed: Case<Stores> =
  test("a command whose Schema was changed waits for a release that decodes it", function*() {
    const { first } = releases()
    const process = incompatible(first.name)
    const [id, other] = [unique("i"), unique("i")]
    yield* written(first, id, [sent("Do", { id, what: "first" })]).pipe(Effect.provide(inlineOf(first)))
    const noHandler = Layer.empty as Layer.Layer<Command.HandlerOf<Command.Any>>
    yield* Effect.gen(function*() {
      yield* Layer.build(ProcessManager.layer([process], options).pipe(Layer.fresh, Layer.provide(noHandler)))
      yield* signal(process, [begun(other)])
      yield* until("the other", typesOf(instance(process, other)), (types) => types.length === 2)
      const { reasons } = yield* until(
        "the health",
        ProcessManager.health(process, { overdueTimeout: "1 milli" }),
        ({ deferred, status }) => deferred.length === 1 && status === "red"
      )
      includes(reasons.join("\n"), `the command "Do" of "${id}"`, "the reasons")
      // An operator can end it, or run the release before.
      yield* Layer.build(runFirst(first))
      yield* until("its command", goalsOf(id), (found) => found.length === 1)
    })
  })

const abandoned: ReadonlyArray<Case<Stores>> = [
  test("an operator abandons an instance that only a later release understands", function*() {
    const { first, second } = releases()
    const id = unique("i")
    yield* written(second, id, [deadline("Review")]).pipe(Effect.provide(inlineOf(second)))
    yield* Effect.gen(function*() {
      equal(yield* ProcessManager.abandon(first, id, "rolled back"), true, "whether it ran")
      equal(yield* ProcessManager.abandon(first, id, "rolled back"), false, "whether it runs")
      const { items } = yield* ProcessManager.list(first)
      equal(items.map(({ nextDueAt, reason, status }) => [nextDueAt, reason, status]), [[
        null,
        "rolled back",
        "abandoned"
      ]], "it")
    }).pipe(Effect.provide(runFirst(first)))
  }),

  test("abandons nothing while the instances cannot be read in time", function*() {
    const { first, second } = releases()
    const id = unique("i")
    yield* written(second, id, [deadline("Review")]).pipe(Effect.provide(inlineOf(second)))
    const store = yield* ProjectionStore.ProjectionStore
    const [reached, wanted] = [Position.make(1n), Position.make(2n)]
    const behind = new ProjectionBehind({ projection: `${first.name}.instances`, wanted, reached })
    const unread = { ...store, get: () => Effect.fail(behind) }
    yield* Effect.gen(function*() {
      const abandon = ProcessManager.abandon(first, id, "rolled back")
      const error = yield* Effect.flip(Effect.provideService(abandon, ProjectionStore.ProjectionStore, unread))
      equal(error._tag === "EventStoreError" && error.reason._tag, "StoreUnavailable", "the error")
      includes(
        error.message,
        `instances of the process manager "${first.name}" cannot be read yet; try again`,
        "the error"
      )
      includes(error.message, behind.message, "the error")
      equal((yield* typesOf(instance(first, id))).includes("abandoned"), false, "whether it is abandoned")
      equal(yield* abandon, true, "the outcome of the next attempt")
    }).pipe(Effect.provide(runFirst(first)))
  })
]

/** An instance that has ended, and has sent a command which only the second release declares. */
const endedWithGift = Effect.fnUntraced(function*() {
  const { first, second } = releases()
  const id = unique("i")
  yield* written(second, id, [sent("Gift", { id, what: "gift" }), { kind: "completed" }]).pipe(
    Effect.provide(inlineOf(second))
  )
  return { first, second, id, dispatched: until("its command", goalsOf(id), (found) => found.length > 0) }
})

/** Waits until a consumer has handled what the log has up to a position. */
const handled = (consumer: { readonly id: string }, position: Position.Position) =>
  ProjectionStore.awaitPosition({ id: consumer.id, lifecycle: "async" }, position, "1 minute")

/** Sends an input to an instance, and waits until a release has taken or deferred it. */
const passed = Effect.fnUntraced(function*(process: Release, id: string, n = 1) {
  const { position } = yield* signal(process, [went(id, n)])
  yield* handled(ProcessManager.consumers(process).inputs, position)
})

const deferredIn = (process: Release) =>
  Effect.map(ProcessManager.health(process), ({ deferred }) => deferred.map(({ id }) => id))

const endedCases: ReadonlyArray<Case<Stores>> = [
  test("an abandoned instance waits for no later release", function*() {
    const { first, second } = releases()
    const id = unique("i")
    yield* written(second, id, [{ _tag: "ReleaseNoted", n: 1 }]).pipe(Effect.provide(inlineOf(second)))
    yield* Effect.gen(function*() {
      yield* signal(first, [went(id, 1)])
      yield* until("a deferred input", deferredIn(first), (ids) => ids.length > 0)
      yield* ProcessManager.abandon(first, id, "rolled back")
      yield* passed(first, id, 2)
      equal(yield* deferredIn(first), [], "what waits")
    }).pipe(Effect.provide(runFirst(first)))
  }),

  test("an ended instance waits for no release that declares its command", function*() {
    const { dispatched, first, id, second } = yield* endedWithGift()
    yield* Effect.scoped(Effect.andThen(Layer.build(runSecond(second)), dispatched))
    yield* passed(first, id).pipe(Effect.provide(runFirst(first)))
    equal(yield* deferredIn(first), [], "what waits")
  }),

  test("a reset of the outputs defers no command that took effect before its removal", function*() {
    const { dispatched, first, id, second } = yield* endedWithGift()
    const other = unique("i")
    yield* Effect.scoped(Effect.andThen(Layer.build(runSecond(second)), dispatched))
    yield* Checkpoints.reset(ProcessManager.consumers(first).outputs, Position.start)
    yield* Effect.gen(function*() {
      yield* signal(first, [begun(other), went(other, 1)])
      yield* until("the command after it", goalsOf(other), (found) => found.length > 0)
      const last = yield* Stream.runLast(EventStore.readStreamEncoded(instance(first, other)))
      yield* handled(ProcessManager.consumers(first).outputs, Option.getOrThrow(last).position)
      equal(yield* deferredIn(first), [], "what waits")
      equal(yield* typesOf(instance(first, id)), ["received", "send.Gift", "completed"], "its events")
    }).pipe(Effect.provide(runFirst(first)))
  }),

  test("an operator abandons an ended instance whose removed command wrote nothing", function*() {
    const { first, id } = yield* endedWithGift()
    yield* Effect.gen(function*() {
      yield* passed(first, id)
      yield* until("the deferred command", deferredIn(first), (ids) => ids.length === 1)
      equal(yield* ProcessManager.abandon(first, id, "the command is gone"), true, "whether it waited")
      equal(yield* deferredIn(first), [], "what waits")
      equal(yield* ProcessManager.abandon(first, id, "again"), false, "whether it waits")
      const { outputs } = ProcessManager.consumers(first)
      yield* Checkpoints.reset(outputs, Position.start)
      const { position } = Option.getOrThrow(yield* Stream.runLast(EventStore.readStreamEncoded(instance(first, id))))
      yield* handled(outputs, position)
      equal(yield* deferredIn(first), [], "what waits after a reset")
    }).pipe(Effect.provide(runFirst(first)))
  }),

  test("a command of an instance that has ended waits for the release that declares it", function*() {
    const { dispatched, first, id, second } = yield* endedWithGift()
    yield* Effect.gen(function*() {
      yield* Layer.build(runFirst(first))
      yield* passed(first, id)
      yield* until("the deferred command", deferredIn(first), (ids) => ids.length === 1)
      yield* Layer.build(runSecond(second))
      yield* dispatched
      yield* until("nothing that waits", deferredIn(first), (ids) => ids.length === 0)
    })
  })
]

const gone: Case<Stores> = test("a command whose handler is gone parks the instance until there is one", function*() {
  const { first } = releases()
  const id = unique("i")
  const noHandler = Layer.empty as Layer.Layer<Command.HandlerOf<typeof Do>>
  yield* signal(first, [begun(id), went(id, 1)])
  yield* Effect.scoped(Effect.gen(function*() {
    yield* Layer.build(ProcessManager.layer([first], options).pipe(Layer.fresh, Layer.provide(noHandler)))
    const { outputs } = ProcessManager.consumers(first)
    const [parked] = yield* until("what is parked", parkedKeys(outputs), (parked) => parked.length > 0)
    includes(parked!.error, "Do", "the error")
  }))
  yield* Effect.gen(function*() {
    yield* ProcessManager.retry(first, id)
    equal(yield* until("its command", goalsOf(id), (found) => found.length > 0), ["went 1"], "its command")
  }).pipe(Effect.provide(runFirst(first)))
})

export const releaseCases: ReadonlyArray<Case<Stores>> = [...cases, changed, ...abandoned, ...endedCases, gone]
