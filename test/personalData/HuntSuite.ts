/**
 * The runtime suite of a hunt: every function and Schema that a user may give to the library fails with words that quote a name, on every path that
 * calls it. The name must appear in no error, log line, span or stored text.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import type { AggregateDecider } from "../../src/aggregate/AggregateDefinition.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, isAtLeast, test, unique } from "../../src/conformance/Suite.ts"
import * as AsOf from "../../src/core/AsOf.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import * as Query from "../../src/query/Query.ts"
import * as QueryBus from "../../src/query/QueryBus.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"
import { parkedKeys } from "../support/parked.ts"
import * as Traces from "../support/Traces.ts"
import { failing, type Hunt, type Program } from "./Hunt.ts"
import type { Stores } from "./PersonalDataFixtures.ts"
import * as ProcessHunts from "./ProcessHunts.ts"
import type { ForEveryOption, TakesFunctions } from "./userFunctions.ts"
import { requireNoSecret, secret } from "./WithheldSuite.ts"

/** An option is hunted by programs, or it is no function and no Schema. */
type Entry = ReadonlyArray<Program> | "data"

const ofPerson = { subject: "person" }
const name = PersonalData.field(Schema.String, ofPerson)
const id = { person: Schema.String, group: Schema.String }

const PersonEvent = Schema.TaggedUnion({ Named: { ...id, name }, Noted: { ...id, note: Schema.Int } }).pipe(
  Event.tags({ person: "person", group: "group" })
)
const { Named } = PersonEvent.cases

const Name = Command.make("Name", { payload: { ...id, name: Schema.String } })
const PersonState = Schema.Struct({ person: Schema.String, name: Schema.optionalKey(name), size: Schema.Int })

const Person = Aggregate.make("Hunted", { id: "person", state: PersonState, events: PersonEvent, commands: [Name] })

type Behaviour = Parameters<typeof Person.decider>[0]

const behaviour: Behaviour = {
  initial: { person: "", size: 0 },
  evolve: {
    Named: (state, event) => ({ person: event.person, name: event.name, size: state.size + 1 }),
    Noted: (state) => state
  },
  decide: { Name: (_, command) => [Named.make(command)] }
}

/** Appends the name without the code under test. */
const append = Effect.fnUntraced(function*({ group, person }: Hunt) {
  const store = yield* EventStore.EventStore
  yield* store.append(PersonEvent, Person.streamOf(person), [Named.make({ person, group, name: secret })])
})

const payloadOf = ({ group, person }: Hunt) => ({ person, group, name: secret })

/** Every path that uses an aggregate. */
const ofAggregate = <State>(decider: AggregateDecider<State, typeof PersonEvent, typeof Name>, hunt: Hunt) =>
  Effect.gen(function*() {
    yield* append(hunt)
    const { attempt, person } = hunt
    yield* attempt(CommandBus.dispatch(Name, payloadOf(hunt)))
    yield* attempt(Aggregate.load(decider, person))
    yield* attempt(Aggregate.load(decider, person, { policy: "stale" }))
    yield* attempt(TimeTravel.aggregate(decider, person, AsOf.now))
    yield* attempt(Stream.runCollect(TimeTravel.history(decider, person)))
    yield* attempt(TimeTravel.aggregateDiff(decider, person, { from: AsOf.version(0), to: AsOf.now }))
    yield* attempt(TimeTravel.whatIf(decider, Name, payloadOf(hunt), AsOf.now))
  }).pipe(Effect.provide(Aggregate.layer(decider)))

const groupDocument = Schema.Struct({ group: Schema.String, members: Schema.Array(Schema.Struct({ ...id, name })) })

type GroupOptions = Parameters<typeof Projection.make<string, typeof PersonEvent, typeof groupDocument>>[1]

const groupOptions: GroupOptions = {
  events: PersonEvent,
  document: groupDocument,
  key: ({ group }) => group,
  evolve: {
    Named: (before, { _tag, ...member }) => ({
      group: member.group,
      members: [...before?.members ?? [], member]
    }),
    Noted: Projection.ignore
  }
}

/** Every path that uses a projection with documents. */
const ofProjection = <P extends Projection.Any<"async">>(projection: P, hunt: Hunt) =>
  Effect.gen(function*() {
    const { attempt, group } = hunt
    yield* append(hunt)
    yield* append(hunt)
    const { awaitPosition } = yield* ProjectionStore.ProjectionStore
    const end = yield* (yield* EventStore.EventStore).head
    yield* Effect.gen(function*() {
      // A projection whose `key` fails waits at the event.
      yield* attempt(awaitPosition(projection, end, "2 seconds"))
      for (const { key } of yield* parkedKeys(projection)) {
        yield* attempt(Parking.inspect(projection, key))
        yield* attempt(Parking.retry(projection, key))
        yield* attempt(Parking.skip(projection, key, { reason: "hunt" }))
      }
      yield* attempt(ProjectionStore.get(projection, group))
      yield* attempt(ProjectionStore.list(projection))
    }).pipe(Effect.provide(Projector.layer([projection])))
    yield* attempt(Effect.timeout(Stream.runDrain(Rebuild.rebuild(projection, { cutOver: false })), "2 seconds"))
    yield* attempt(Stream.runCollect(Rebuild.compare(projection)))
    yield* attempt(TimeTravel.document(projection, group, AsOf.now))
    yield* attempt(Stream.runCollect(TimeTravel.documentHistory(projection, group)))
    yield* attempt(TimeTravel.documentDiff(projection, group, { from: AsOf.position(0n), to: AsOf.now }))
  })

/** The paths of an inline projection, whose failure fails the append. */
const ofInline = <A, E>(
  layer: Layer.Layer<A, E, EventStore.EventStore | ProjectionStore.ProjectionStore>,
  hunt: Hunt
) => hunt.attempt(append(hunt).pipe(Effect.provide(layer)))

/** The paths of a live projection. */
const ofLive = (projection: Projection.Any<"live">, hunt: Hunt) =>
  Effect.gen(function*() {
    yield* append(hunt)
    yield* hunt.attempt(ProjectionStore.get(projection, hunt.group))
    yield* hunt.attempt(ProjectionStore.list(projection))
    yield* hunt.attempt(Effect.timeout(Stream.runHead(ProjectionStore.watch(projection, hunt.group)), "5 seconds"))
    yield* hunt.attempt(TimeTravel.document(projection, hunt.group, AsOf.now))
  })

const inEveryLifecycle = (options: (hunt: Hunt) => Partial<GroupOptions>): ReadonlyArray<Program> => [
  (hunt) => ofProjection(Projection.make(unique("hunt"), { ...groupOptions, ...options(hunt) }), hunt),
  (hunt) =>
    ofInline(
      Projector.layerInline([
        Projection.make(unique("hunt"), { ...groupOptions, ...options(hunt), lifecycle: "inline" })
      ]),
      hunt
    ),
  (hunt) => ofLive(Projection.make(unique("hunt"), { ...groupOptions, ...options(hunt), lifecycle: "live" }), hunt)
]

/** Every path that uses a decision. */
const ofDecision = (
  decision: Decision.Decision<typeof Name, typeof PersonEvent, Decision.Models>,
  hunt: Hunt
) =>
  Effect.gen(function*() {
    yield* append(hunt)
    yield* hunt.attempt(CommandBus.dispatch(Name, payloadOf(hunt)))
    yield* hunt.attempt(TimeTravel.decision(decision, payloadOf(hunt), AsOf.now))
    yield* hunt.attempt(
      TimeTravel.decisionDiff(decision, payloadOf(hunt), { from: AsOf.position(0n), to: AsOf.now })
    )
    yield* hunt.attempt(TimeTravel.whatIfDecided(decision, payloadOf(hunt), AsOf.now))
  }).pipe(Effect.provide(Decision.layer(decision)))

const modelOf = (options: Partial<Parameters<typeof Decision.model<typeof PersonEvent, unknown>>[0]>, hunt: Hunt) =>
  Decision.model<typeof PersonEvent, unknown>({
    events: PersonEvent,
    tags: { person: hunt.person },
    initial: {},
    evolve: { Named: (_, event) => ({ name: event.name }) },
    ...options
  })

const decisionOf = (hunt: Hunt, options: {
  readonly models?: (payload: unknown) => Decision.Models
  readonly stream?: (payload: unknown) => string
  readonly decide?: (states: unknown, payload: unknown) => never
}) =>
  Decision.make(Name, {
    events: PersonEvent,
    models: options.models ?? (() => ({ person: modelOf({}, hunt) })),
    stream: options.stream as undefined,
    decide: options.decide ?? ((_, payload) => [Named.make(payload)])
  })

const retry = Schedule.recurs(1)

/** Runs a consumer until it has parked the events, and retries and skips them. */
const untilParked = <A, E>(
  consumer: Projection.AnyHandler<"async"> | Subscription.Any,
  layer: Layer.Layer<A, E, EventStore.EventStore | ProjectionStore.ProjectionStore>,
  hunt: Hunt
) =>
  Effect.gen(function*() {
    yield* append(hunt)
    yield* Effect.gen(function*() {
      yield* Effect.repeat(parkedKeys(consumer), {
        until: (parked) => parked.some(({ stream }) => stream === Person.streamOf(hunt.person)),
        schedule: Schedule.spaced("10 millis")
      }).pipe(Effect.timeout("1 minute"))
      for (const { key } of yield* parkedKeys(consumer)) {
        yield* hunt.attempt(Parking.retry(consumer, key))
        yield* hunt.attempt(Parking.skip(consumer, key, { reason: "hunt" }))
      }
    }).pipe(Effect.provide(layer))
  })

class Rejected extends Schema.TaggedError<Rejected>()("Rejected", { why: Schema.String }) {
  override get message(): string {
    return `rejected ${this.why}`
  }
}

type Handle = (hunt: Hunt) => (event: typeof PersonEvent.Type) => Effect.Effect<unknown, Rejected, never>

/** The ways in which a handler fails: by an exception, a defect and a declared error, with what it read of others too. */
const handles: ReadonlyArray<Handle> = [
  (hunt) => (event) => hunt.boom(event),
  (hunt) => (event) => Effect.die({ event, of: hunt.boom }),
  () => (event) => Effect.fail(new Rejected({ why: JSON.stringify(event) })),
  () => (event) => Effect.fail(new Rejected({ why: `${JSON.stringify(event).toUpperCase()}` }))
]

const byHandler = (run: (handle: Handle, hunt: Hunt) => ReturnType<Program>): ReadonlyArray<Program> =>
  handles.map((handle) => (hunt) => run(handle, hunt))

/** A handler that quotes what it has read: another person's document, or a cached state. */
const readingOthers: ReadonlyArray<Program> = (["document", "state"] as const).map((what): Program => (hunt) =>
  Effect.gen(function*() {
    const context = yield* Effect.context<Stores>()
    const decider = Person.decider(behaviour)
    const live = Projection.make(unique("hunt"), { ...groupOptions, lifecycle: "live" })
    const Trigger = Schema.TaggedUnion({ Triggered: { trigger: Schema.String } })
    const trigger = unique("trigger")
    const subscription = Subscription.make(unique("hunt"), {
      events: Trigger,
      retry,
      handle: {
        Triggered: () =>
          Effect.gen(function*() {
            if (what === "document") return hunt.boom(yield* ProjectionStore.get(live, hunt.group))
            return hunt.boom(yield* Aggregate.load(decider, hunt.person, { policy: "stale" }))
          }).pipe(Effect.provideContext(context))
      }
    })
    yield* append(hunt)
    yield* Aggregate.load(decider, hunt.person)
    const store = yield* EventStore.EventStore
    yield* store.append(Trigger, trigger, [Trigger.cases.Triggered.make({ trigger })])
    yield* Effect.repeat(parkedKeys(subscription), {
      until: (parked) => parked.some(({ stream }) => stream === trigger),
      schedule: Schedule.spaced("10 millis")
    }).pipe(Effect.timeout("1 minute"), Effect.provide(Subscription.layer([subscription])))
  })
)

/** Events whose Schema or upcaster fails, on the paths that decode and encode them. */
const ofEvents = (
  set: (hunt: Hunt) => Event.Any,
  stored: Schema.TaggedUnion<{ readonly Named: typeof Named }> | typeof PersonEvent = PersonEvent
): ReadonlyArray<Program> => [
  (hunt) =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const events = set(hunt)
      const stream = unique("s")
      const event = Named.make(payloadOf(hunt))
      yield* store.append(stored as typeof PersonEvent, stream, [event])
      yield* hunt.attempt(store.append(events, stream, [event as never]))
      yield* hunt.attempt(Stream.runDrain(store.readStream(events, stream)))
      yield* hunt.attempt(Stream.runDrain(store.readAll(events)))
      const seen = Subscription.make(unique("hunt"), { events, retry, handle: () => Effect.void })
      yield* Effect.repeat(parkedKeys(seen), {
        until: (parked) => parked.some((one) => one.stream === stream),
        schedule: Schedule.spaced("10 millis"),
        times: 100
      }).pipe(Effect.provide(Subscription.layer([seen])))
    })
]

const withName = (of: Schema.Codec<string, string>) =>
  Schema.TaggedUnion({ Named: { ...id, name: PersonalData.field(of, ofPerson) } })

const eventSchemas: ReadonlyArray<Program> = [
  ...ofEvents((hunt) => withName(failing(hunt, "decode"))),
  ...ofEvents((hunt) => withName(failing(hunt, "encode"))),
  ...ofEvents((hunt) => withName(failing(hunt, "check")))
]

const upcasters: ReadonlyArray<Program> = [
  ...ofEvents((hunt) =>
    Schema.TaggedUnion({ Named: { ...id, name, more: Schema.String } }).pipe(Event.upcasters({
      Named: Event.from({ ...id, name }).toCurrent((v1) => hunt.boom(v1))
    }))
  ),
  // An upcaster that returns what the current Schema rejects.
  ...ofEvents((hunt) =>
    Schema.TaggedUnion({ Named: { ...id, name, more: failing(hunt, "check") } }).pipe(Event.upcasters({
      Named: Event.from({ ...id, name }).toCurrent((v1) => ({ ...v1, more: String(v1.name) }))
    }))
  )
]

/** Everything that a state's or a document's Schema may say. */
const states: ReadonlyArray<Program> = (["decode", "encode", "check"] as const).map((where): Program => (hunt) => {
  const state = Schema.Struct({
    person: Schema.String,
    name: Schema.optionalKey(PersonalData.field(failing(hunt, where), ofPerson)),
    size: Schema.Int
  })
  const { initial, evolve, decide } = behaviour
  const made = Aggregate.make("Hunted", { id: "person", state, events: PersonEvent, commands: [Name] })
  const decider = made.decider({ initial, evolve, decide, snapshots: SnapshotPolicy.every(1) })
  return ofAggregate(decider, hunt)
})

const documents: ReadonlyArray<Program> = (["decode", "encode", "check"] as const).flatMap((where) => {
  const document = (hunt: Hunt) =>
    Schema.Struct({
      group: Schema.String,
      members: Schema.Array(Schema.Struct({ ...id, name: PersonalData.field(failing(hunt, where), ofPerson) }))
    })
  return inEveryLifecycle((hunt) => ({ document: document(hunt) as typeof groupDocument }))
})

/** A payload that its Schema rejects, with words about it. */
const payloads: ReadonlyArray<Program> = (["decode", "check"] as const).map((where): Program => (hunt) => {
  const Bad = Command.make("Bad", { payload: { ...id, name: failing(hunt, where) } })
  const made = Aggregate.make("Hunted", { id: "person", state: PersonState, events: PersonEvent, commands: [Bad] })
  const decider = made.decider({
    initial: behaviour.initial,
    evolve: behaviour.evolve,
    decide: { Bad: (_, command) => [Named.make(command)] }
  })
  return Effect.gen(function*() {
    yield* hunt.attempt(CommandBus.dispatch(Bad, payloadOf(hunt)))
    yield* hunt.attempt(TimeTravel.whatIf(decider, Bad, payloadOf(hunt), AsOf.now))
  }).pipe(Effect.provide(Aggregate.layer(decider)))
})

/** Errors that a user declares reach the caller as they are; the library itself shows them nowhere. */
const declared: ReadonlyArray<Program> = [
  (hunt) => {
    const Reject = Command.make("Reject", { payload: { ...id, name: Schema.String }, error: Rejected })
    const made = Aggregate.make("Hunted", {
      id: "person",
      state: PersonState,
      events: PersonEvent,
      commands: [Reject]
    })
    const decider = made.decider({
      initial: behaviour.initial,
      evolve: behaviour.evolve,
      decide: { Reject: (_, command) => Result.fail(new Rejected({ why: command.name })) }
    })
    return Effect.exit(CommandBus.dispatch(Reject, payloadOf(hunt))).pipe(Effect.provide(Aggregate.layer(decider)))
  }
]

const Ask = Query.make("HuntAsk", { payload: { q: Schema.String }, success: Schema.String, error: Rejected })

/** What the handler of a query fails with belongs to the caller; the span does not show it. */
const queries: ReadonlyArray<Program> = [
  () =>
    Effect.exit(QueryBus.ask(Ask, { q: "" })).pipe(Effect.provide(QueryBus.handler(Ask, (): Effect.Effect<string> => {
      throw new Error(secret)
    }))),
  () =>
    Effect.exit(QueryBus.ask(Ask, { q: "" })).pipe(
      Effect.provide(QueryBus.handler(Ask, () => Effect.fail(new Rejected({ why: secret }))))
    )
]

const queryPayloads: ReadonlyArray<Program> = (["decode", "check"] as const).map((where): Program => (hunt) => {
  const payload = { person: Schema.String, name: PersonalData.field(failing(hunt, where), ofPerson) }
  const Bad = Query.make("HuntBad", { payload, success: Schema.String })
  return hunt.attempt(QueryBus.ask(Bad, { person: "p", name: secret })).pipe(
    Effect.provide(QueryBus.handler(Bad, () => Effect.succeed("")))
  )
})

const hunts: ForEveryOption<Entry> = {
  "Aggregate.make": { id: "data", state: states, events: eventSchemas, commands: payloads },
  "Aggregate.decider": {
    initial: "data",
    evolve: [(hunt) => {
      const evolve = { ...behaviour.evolve, Named: (_: unknown, event: unknown) => hunt.boom(event) }
      return ofAggregate(Person.decider({ ...behaviour, evolve }), hunt)
    }],
    decide: [
      (hunt) => ofAggregate(Person.decider({ ...behaviour, decide: { Name: (_, c) => hunt.boom(c) } }), hunt),
      ...declared
    ],
    snapshots: "data",
    evolveVersion: "data"
  },
  "Aggregate.withModels": {
    models: [(hunt) => {
      const { decider } = Person.withModels({ Name: (payload) => hunt.boom(payload) })
      return ofAggregate(decider(behaviour as never), hunt)
    }]
  },
  "Command.make": { payload: payloads, error: declared },
  "Decision.make": {
    events: eventSchemas,
    expected: "data",
    models: [(hunt) => ofDecision(decisionOf(hunt, { models: hunt.boom }), hunt)],
    stream: [(hunt) => ofDecision(decisionOf(hunt, { stream: hunt.boom }), hunt)],
    decide: [(hunt) =>
      ofDecision(
        decisionOf(hunt, { decide: (states, payload) => hunt.boom([states, payload]) }),
        hunt
      )]
  },
  "Decision.model": {
    events: eventSchemas,
    tags: "data",
    untagged: "data",
    initial: "data",
    evolve: [(hunt) =>
      ofDecision(
        decisionOf(hunt, {
          models: () => ({ person: modelOf({ evolve: { Named: (_, event) => hunt.boom(event) } }, hunt) })
        }),
        hunt
      )],
    state: (["encode", "check"] as const).map((where): Program => (hunt) => {
      const state = Schema.Struct({ name: Schema.optionalKey(failing(hunt, where)) })
      return ofDecision(decisionOf(hunt, { models: () => ({ person: modelOf({ state }, hunt) }) }), hunt)
    })
  },
  "ProcessManager.make": {
    inputs: ProcessHunts.hunts.inputs,
    correlate: ProcessHunts.hunts.correlate,
    state: ProcessHunts.hunts.state,
    events: ProcessHunts.hunts.events,
    commands: ProcessHunts.hunts.commands,
    deadlines: ProcessHunts.hunts.deadlines,
    from: "data",
    partitionBy: "data",
    partitions: "data",
    startsUntil: "data",
    version: "data",
    where: "data"
  },
  "ProcessManager.behaviour": {
    initial: "data",
    evolve: ProcessHunts.hunts.evolve,
    react: ProcessHunts.hunts.react,
    refused: ProcessHunts.hunts.refused
  },
  "Projection.make": {
    events: eventSchemas,
    document: documents,
    key: inEveryLifecycle((hunt) => ({ key: (event) => hunt.boom(event) })),
    evolve: inEveryLifecycle((hunt) => ({
      evolve: {
        ...groupOptions.evolve,
        Named: (before, event) => before === undefined && event.name !== secret ? undefined : hunt.boom([before, event])
      }
    })),
    find: [(hunt) =>
      ofLive(
        Projection.make(unique("hunt"), {
          ...groupOptions,
          lifecycle: "live",
          find: () => hunt.boom(secret)
        }),
        hunt
      )],
    index: "data",
    lifecycle: "data",
    ignoreTypes: "data",
    onFailure: "data",
    partitionBy: "data",
    partitions: "data",
    unknownTypes: "data",
    version: "data",
    where: "data"
  },
  "Projection.handler": {
    events: eventSchemas,
    handle: [
      ...byHandler((handle, hunt) => {
        const one = handle(hunt)
        const projection = Projection.handler(unique("hunt"), {
          events: PersonEvent,
          retry,
          parks: ["Rejected"],
          handle: { Named: one, Noted: one }
        })
        return untilParked(projection, Projector.layer([projection]), hunt)
      }),
      ...byHandler((handle, hunt) => {
        const one = handle(hunt)
        const projection = Projection.handler(unique("hunt"), {
          events: PersonEvent,
          lifecycle: "inline",
          parks: ["Rejected"],
          handle: { Named: one, Noted: one }
        })
        return ofInline(Projector.layerInline([projection]), hunt)
      })
    ],
    earlierEvents: "data",
    handlerTimeout: "data",
    lifecycle: "data",
    ignoreTypes: "data",
    onFailure: "data",
    parks: "data",
    partitionBy: "data",
    partitions: "data",
    // A schedule receives errors without personal data.
    retry: "data",
    retryTimeout: "data",
    unknownTypes: "data",
    version: "data",
    where: "data"
  },
  "Query.make": { payload: queryPayloads, success: "data", error: queries },
  "QueryBus.handler": { handle: queries },
  "Subscription.make": {
    events: [...eventSchemas, ...upcasters],
    handle: [
      ...byHandler((handle, hunt) => {
        const subscription = Subscription.make(unique("hunt"), {
          events: PersonEvent,
          retry,
          parks: ["Rejected"],
          handle: handle(hunt)
        })
        return untilParked(subscription, Subscription.layer([subscription]), hunt)
      }),
      ...readingOthers
    ],
    concurrency: "data",
    earlierEvents: "data",
    from: "data",
    ignoreTypes: "data",
    onFailure: "data",
    parks: "data",
    partitionBy: "data",
    partitions: "data",
    retry: "data",
    retryTimeout: "data",
    unknownTypes: "data",
    version: "data",
    where: "data"
  }
}

/** The other exported functions with functions in their parameters, and why they need no case. */
type Others = Exclude<TakesFunctions, keyof typeof hunts>
const isDefinition = "takes a definition of this library, which the cases above cover"
const isBackEnd = "takes the driver of a back end"
const isOfNumbers = "its function receives numbers"
const isPure = "is pure; its caller receives what it throws"

/**
 * Why exported functions that take functions are not hunted. A new one does not compile without an entry.
 *
 * @since 0.1.0
 * @category constants
 */
export const notHunted: Readonly<Record<Others, string>> = {
  "Decider.evolveWith": isPure,
  "Decider.guardDecide": isPure,
  "Decider.guardEvolve": isPure,
  "DeliveryAudit.run": isOfNumbers,
  "Event.currentTypes": isDefinition,
  "Event.declaredTypes": isDefinition,
  "Event.storedTypes": isDefinition,
  "Event.versions": isDefinition,
  "EventBus.listen": isDefinition,
  "EventCodec.make": isDefinition,
  "EventQuery.make": isDefinition,
  "EventStore.append": isDefinition,
  "EventStore.appendIf": isDefinition,
  "EventStore.appendReturningEvents": isDefinition,
  "EventStore.close": isDefinition,
  "EventStore.make": isBackEnd,
  "EventStore.readAll": isDefinition,
  "EventStore.readStream": isDefinition,
  "EventStore.subscribe": isDefinition,
  "HashChain.verify": isOfNumbers,
  "JsonDiff.between": isPure,
  "KeyStore.make": isBackEnd,
  "LogTransfer.export": isOfNumbers,
  "LogTransfer.exportToFile": isOfNumbers,
  "LogTransfer.import": isOfNumbers,
  "LogTransfer.importFromFile": isOfNumbers,
  "LogTransfer.verify": isOfNumbers,
  "ProcessManager.abandon": isDefinition,
  "ProcessManager.consumers": isDefinition,
  "ProcessManager.eventName": isDefinition,
  "ProcessManager.health": isDefinition,
  "ProcessManager.inspect": isDefinition,
  "ProcessManager.list": isDefinition,
  "ProcessManager.retry": isDefinition,
  "ProjectionStore.make": isBackEnd,
  "SchemaFingerprint.canonical": isDefinition,
  "SchemaFingerprint.make": isDefinition,
  "SnapshotSigning.withKeys": isBackEnd,
  "StreamLifecycle.close": isDefinition
}

const toCase = (name: string, program: Program): Case<Stores> =>
  test(name, function*() {
    const traces = Traces.make()
    const shown: Array<string> = []
    let calls = 0
    const hunt: Hunt = {
      person: unique("p"),
      group: unique("g"),
      boom: (value) => {
        calls++
        const words = `boom ${JSON.stringify(value) ?? secret}, ${String(value)}`
        throw Object.assign(new TypeError(words, { cause: value }), { value })
      },
      attempt: (effect) =>
        Effect.tap(Effect.exit(effect), (exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit)) shown.push(Traces.allForms(exit))
          }))
    }
    yield* Effect.provide(program(hunt), traces.layer)
    requireNoSecret(shown.join("\n"), "an error")
    requireNoSecret(traces.text(), "logs and spans")
    requireNoSecret(yield* Traces.stored, "what is stored")
    isAtLeast(calls + shown.length + traces.text().length, 1, "what the case has reached")
  })

const named = Object.entries(hunts).flatMap(([definer, options]) =>
  Object.entries<Entry>(options).flatMap(([option, programs]) =>
    programs === "data" ? [] : programs.map((program, index) => ({
      program,
      name: `nothing quotes a name that \`${option}\` of ${definer} quotes (${index + 1})`
    }))
  )
)

/**
 * The cases of the hunt. A program that hunts several options is one case.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = named
  .filter(({ program }, index) => named.findIndex((other) => other.program === program) === index)
  .map(({ name, program }) => toCase(name, program))
