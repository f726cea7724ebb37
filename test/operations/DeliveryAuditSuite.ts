/**
 * The conformance suite of the audit: every fault that is planted is found, and named.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { digestOf } from "../../src/consumer/DeliveryLog.ts"
import type { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import type { EventStoreDriver, LogPage } from "../../src/eventStore/EventStoreDriver.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { AccountEvent, type Stores, upTo } from "../support/AccountFixtures.ts"

/** Counts events of a type of its own, of many streams, into one document. */
const fixture = (options: { readonly partitions?: number; readonly poison?: () => ReadonlyArray<number> } = {}) => {
  const type = unique("Counted")
  const Events = Schema.TaggedUnion({ [type]: { id: Schema.String, n: Schema.Int } })
  const projection = Projection.make(unique("audited"), {
    events: Events,
    document: Schema.Struct({ n: Schema.Int }),
    partitions: options.partitions ?? 1,
    key: () => "all",
    evolve: {
      [type]: (d, e) => {
        if (options.poison?.().includes(e.n) === true) throw new Error("poison")
        return { n: (d?.n ?? 0) + 1 }
      }
    }
  })
  /** So many events, numbered from 1, of 7 streams in turn. Answers them as they are recorded. */
  const append = Effect.fnUntraced(function*(count: number, from = 1) {
    const store = yield* EventStore.EventStore
    const events: Array<EncodedEvent> = []
    for (const n of upTo(count).map((n) => n + from - 1)) {
      const stream = `${type}-${n % 7}`
      const receipt = yield* store.append(Events, stream, [{ _tag: type, id: "all", n }])
      const [event] = yield* store[internals].driver.readStream({
        stream: receipt.stream,
        from: receipt.version,
        direction: "forward",
        limit: 1
      })
      events.push(event!)
    }
    return events
  })
  return { append, projection, type }
}

type Fixture = ReturnType<typeof fixture>

/** A reader of the log that makes of each page what it is told to. */
const misread = (change: (events: ReadonlyArray<EncodedEvent>, page: LogPage) => ReadonlyArray<EncodedEvent>) =>
  Effect.map(EventStore.EventStore, ({ [internals]: { driver } }): EventStoreDriver => ({
    ...driver,
    // Some more than the page holds, so that it is full also without what is hidden.
    readAll: (page) =>
      Effect.map(driver.readAll({ ...page, limit: page.limit + 20 }), ({ events, head }) => ({
        events: change(events, page).slice(0, page.limit),
        head
      }))
  }))

const hiding = (...hidden: ReadonlyArray<EncodedEvent | undefined>) =>
  misread((events) => events.filter((event) => !hidden.some((one) => one?.id === event.id)))

/** Projects what is there, by a reader of the log that may be faulty. */
const project = <R>(
  { projection }: Fixture,
  last: EncodedEvent | undefined,
  reader: Effect.Effect<EventStoreDriver, EventStoreError, R>,
  batchSize = 100
) =>
  Effect.gen(function*() {
    const store = yield* EventStore.make(yield* reader)
    const projections = yield* ProjectionStore.ProjectionStore
    yield* projections.awaitPosition(projection, last!.position, "50 seconds").pipe(
      Effect.provide(
        Projector.layer([projection], { batchSize }).pipe(Layer.provide(Layer.succeed(EventStore.EventStore, store)))
      )
    )
  })

const named = (fault: DeliveryAudit.Fault): unknown =>
  "event" in fault
    ? [fault.kind, fault.event.position, fault.event.stream, fault.event.id, fault.event.type]
    : "events" in fault
    ? [fault.kind, ...fault.events.map((event) => event.id)]
    : [fault.kind, fault.position]

const of = (kind: DeliveryAudit.Fault["kind"], event: EncodedEvent | undefined): unknown => [
  kind,
  event?.position,
  event?.stream,
  event?.id,
  event?.type
]

/** Plants faults among 700 events, in three segments at least, and compares what is found of them. */
const planted = (
  name: string,
  plant: (events: ReadonlyArray<EncodedEvent>) => {
    readonly reader: Effect.Effect<EventStoreDriver, EventStoreError, EventStore.EventStore>
    readonly faults: ReadonlyArray<unknown>
  }
): Case<Stores> =>
  test(`an audit finds ${name}`, function*() {
    const fixed = fixture()
    const events = yield* fixed.append(700)
    const { faults, reader } = plant(events)
    yield* project(fixed, events.at(-1), reader)
    const audit = yield* DeliveryAudit.run(fixed.projection)
    equal(audit.partitions.flatMap((p) => p.faults.map(named)), faults, "the faults")
    equal([audit.status, audit.partitions[0]?.events], ["faulty", 700], "the status")
    equal(audit.first, audit.partitions[0]?.faults[0], "the first one")
  })

const doubling = (...twice: ReadonlyArray<EncodedEvent | undefined>) =>
  misread((events) => events.flatMap((event) => twice.some((one) => one?.id === event.id) ? [event, event] : [event]))

const faults: ReadonlyArray<Case<Stores>> = [
  planted("an event that a reader has skipped", (events) => ({
    reader: hiding(events[349]),
    faults: [of("missing", events[349])]
  })),
  planted("an event that was applied twice", (events) => ({
    reader: doubling(events[349]),
    faults: [of("doubled", events[349])]
  })),
  planted("the first and the last event missing", (events) => ({
    reader: hiding(events[0], events[699]),
    faults: [of("missing", events[0]), of("missing", events[699])]
  })),
  planted("the first and the last event doubled", (events) => ({
    reader: doubling(events[0], events[699]),
    faults: [of("doubled", events[0]), of("doubled", events[699])]
  })),
  planted("two missing events of one segment", (events) => ({
    reader: hiding(events[310], events[333]),
    faults: [of("missing", events[310]), of("missing", events[333])]
  })),
  planted("two doubled events of one segment", (events) => ({
    reader: doubling(events[310], events[333]),
    faults: [of("doubled", events[310]), of("doubled", events[333])]
  })),
  planted("a row of missing events", (events) => ({
    reader: hiding(...events.slice(300, 309)),
    faults: events.slice(300, 309).map((event) => of("missing", event))
  })),
  planted("one missing and one doubled of one segment, though not which is which", (events) => ({
    reader: misread((page) =>
      page.flatMap((event) =>
        event.id === events[310]!.id ? [] : event.id === events[333]!.id ? [event, event] : [event]
      )
    ),
    faults: [["exchanged", events[310]!.id, events[333]!.id]]
  })),
  planted("that more is wrong than it can name, and where", (events) => ({
    reader: hiding(events[300], events[302], events[304]),
    // The third batch of 100, where its segment begins.
    faults: [["unresolved", events[200]!.position]]
  })),
  planted("that everything is missing", (events) => ({
    reader: misread(() => []),
    faults: events.slice(0, 100).map((event) => of("missing", event))
  }))
]

const online: ReadonlyArray<Case<Stores>> = [
  test("an audit waits for a head that has stepped back for a moment, and misses nothing", function*() {
    const fixed = fixture()
    const events = yield* fixed.append(20)
    yield* project(fixed, events.at(-1), Effect.map(EventStore.EventStore, ({ [internals]: { driver } }) => driver))
    let looks = 0
    const back = events[9]!.position
    const stepping = misread((page) => ++looks <= 2 ? page.filter((event) => event.position <= back) : page)
    const driver = yield* Effect.map(stepping, (driver): EventStoreDriver => ({
      ...driver,
      readAll: (page) =>
        Effect.map(
          driver.readAll(page),
          (answer) => looks <= 2 ? { ...answer, head: back } : answer
        )
    }))
    const store = yield* EventStore.make(driver)
    const audit = yield* Effect.provideService(DeliveryAudit.run(fixed.projection), EventStore.EventStore, store)
    equal([audit.status, looks], ["complete", 3], "the status")
  }),

  test("a subscription from now on is audited from its first event on", function*() {
    const store = yield* EventStore.EventStore
    const stream = unique("Audited")
    const subscription = Subscription.make(unique("from-now"), {
      events: AccountEvent,
      from: "now",
      where: { streamPrefix: stream },
      handle: () => Effect.void
    })
    const append = store.append(AccountEvent, stream, [AccountEvent.cases.Opened.make({ id: stream, owner: "ann" })])
    yield* append
    yield* Effect.gen(function*() {
      equal((yield* DeliveryAudit.run(subscription)).status, "complete", "before its first event")
      const { position } = yield* append
      const documents = yield* ProjectionStore.ProjectionStore
      yield* documents.awaitPosition({ id: subscription.id, lifecycle: "async" }, position, "30 seconds")
      const audit = yield* DeliveryAudit.run(subscription)
      equal([audit.status, audit.partitions.map(({ events }) => events)], ["complete", [1]], "after it")
    }).pipe(Effect.provide(Subscription.layer([subscription])))
  }),

  test("an audit of what nobody has worked on says so", function*() {
    const audit = yield* DeliveryAudit.run(fixture().projection)
    equal([audit.status, audit.partitions.length, audit.first], ["unstarted", 0, undefined], "it")
  }),

  test("an audit finds nothing wrong at any time while partitions are worked on", function*() {
    const fixed = fixture({ partitions: 3 })
    const all = yield* fixed.append(200)
    const projections = yield* ProjectionStore.ProjectionStore
    let audits = 0
    yield* Effect.gen(function*() {
      const more = yield* Effect.forkChild(fixed.append(200, 201))
      while (more.pollUnsafe() === undefined) {
        const audit = yield* DeliveryAudit.run(fixed.projection)
        ok(audit.status !== "faulty", "nothing is missing yet")
        audits++
      }
      const last = (yield* fixed.append(1, 401)).at(-1)!
      yield* projections.awaitPosition(fixed.projection, last.position, "50 seconds")
    }).pipe(Effect.provide(Projector.layer([fixed.projection], { batchSize: 3 })))
    ok(audits > 1, "it was looked at in between")
    const audit = yield* DeliveryAudit.run(fixed.projection)
    equal(audit.status, "complete", "the status")
    equal(audit.partitions.reduce((sum, p) => sum + p.applied, 0), all.length + 201, "applied in all partitions")
    equal(audit.partitions.length, 3, "partitions")
  }),

  test("an audit finds the fault in the partition that has it, and no other", function*() {
    const fixed = fixture({ partitions: 3 })
    const events = yield* fixed.append(60)
    yield* project(fixed, events.at(-1), hiding(events[20]), 7)
    const audit = yield* DeliveryAudit.run(fixed.projection)
    equal(audit.partitions.flatMap((p) => p.faults.map(named)), [of("missing", events[20])], "the fault")
    equal(audit.partitions.filter((p) => p.status === "complete").length, 2, "the others")
    equal(audit.partitions.reduce((sum, p) => sum + p.events, 0), 60, "the events of all")
  }),

  test("an audit finds an event of another partition, and one that is in no log", function*() {
    const fixed = fixture({ partitions: 2 })
    const events = yield* fixed.append(60)
    const { driver } = (yield* EventStore.EventStore)[internals]
    const filter = { types: [fixed.type], partition: { index: 0, of: 2 } }
    const own = yield* driver.readAll({ after: Position.start, limit: 100, ...filter })
    const stray = events.find((event) =>
      own.events.every((one) => one.id !== event.id) && event.position > events[9]!.position
    )!
    const after = (event: EncodedEvent, extra: EncodedEvent) => (one: EncodedEvent) =>
      one.id === event.id ? [one, extra] : [one]
    const [first] = own.events
    yield* project(
      fixed,
      events.at(-1),
      misread((page, { partition }) => partition?.index === 0 ? page.flatMap(after(first!, stray)) : page)
    )
    const audit = yield* DeliveryAudit.run(fixed.projection)
    equal(audit.partitions.map((p) => p.faults.map(named)), [[of("unexpected", stray)], []], "of another partition")

    const other = fixture()
    const its = yield* other.append(10)
    const foreign: EncodedEvent = { ...its[4]!, id: globalThis.crypto.randomUUID() }
    yield* project(other, its.at(-1), misread((page) => page.flatMap(after(its[4]!, foreign))))
    const [fault] = (yield* DeliveryAudit.run(other.projection)).partitions[0]!.faults
    ok(
      fault?.kind === "unknown" && fault.digest === digestOf(foreign.id),
      "in no log"
    )
  })
]

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const audits: ReadonlyArray<Case<Stores>> = [...faults, ...online]
