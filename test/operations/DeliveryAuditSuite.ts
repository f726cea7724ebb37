/**
 * The runtime suite of the delivery audit: it finds and names every injected fault.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { type Case, equal, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import { digestOf } from "../../src/consumer/DeliveryLog.ts"
import type { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"
import type { EventStoreDriver, LogPage } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { AccountEvent, type Stores, upTo } from "../support/AccountFixtures.ts"

/** A projection that counts the events of its own type, of many streams, in a document for each. */
const fixture = (
  options: {
    readonly partitions?: number
    readonly streams?: number
    readonly poison?: () => ReadonlyArray<number>
  } = {}
) => {
  const { streams = 7 } = options
  const type = unique("Counted")
  const Events = Schema.TaggedUnion({ [type]: { id: Schema.String, n: Schema.Int } })
  const projection = Projection.make(unique("audited"), {
    events: Events,
    document: Schema.Struct({ n: Schema.Int }),
    partitions: options.partitions ?? 1,
    partitionBy: "stream",
    key: (_, { stream }) => stream,
    evolve: {
      [type]: (d, e) => {
        if (options.poison?.().includes(e.n) === true) throw new Error("poison")
        return { n: (d?.n ?? 0) + 1 }
      }
    }
  })
  /** Appends numbered events to the streams in turn. Returns the stored events. */
  const append = Effect.fnUntraced(function*(count: number, from = 1) {
    const store = yield* EventStore.EventStore
    const events: Array<EncodedEvent> = []
    for (const n of upTo(count).map((n) => n + from - 1)) {
      const stream = `${type}-${n % streams}`
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

/** A driver that changes each page of the log. */
const changingPages = (change: (events: ReadonlyArray<EncodedEvent>, page: LogPage) => ReadonlyArray<EncodedEvent>) =>
  Effect.map(EventStore.EventStore, ({ [internals]: { driver } }): EventStoreDriver => ({
    ...driver,
    // Reads 20 more than the page holds, so that the page is full even without the hidden events.
    readAll: (page) =>
      Effect.map(driver.readAll({ ...page, limit: page.limit + 20 }), (read) => {
        const events = change(read.events, page).slice(0, page.limit)
        const last = events.at(-1)
        const reached = events.length < page.limit || last === undefined ? read.reached : LogPosition.ofEvent(last)
        return { ...read, events, reached }
      })
  }))

const hiding = (...hidden: ReadonlyArray<EncodedEvent | undefined>) =>
  changingPages((events) => events.filter((event) => !hidden.some((one) => one?.id === event.id)))

/** Projects the log up to the last event, by a driver that may be faulty. */
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

const describeFault = (fault: DeliveryAudit.Fault): unknown =>
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

/** Injects faults among 700 events, in at least three segments, and compares them with those that the audit finds. */
const findsFault = (
  name: string,
  injectFaults: (events: ReadonlyArray<EncodedEvent>) => {
    readonly reader: Effect.Effect<EventStoreDriver, EventStoreError, EventStore.EventStore>
    readonly faults: ReadonlyArray<unknown>
  }
): Case<Stores> =>
  test(`an audit finds ${name}`, function*() {
    const audited = fixture()
    const events = yield* audited.append(700)
    const { faults, reader } = injectFaults(events)
    yield* project(audited, events.at(-1), reader)
    const audit = yield* DeliveryAudit.run(audited.projection)
    equal(audit.partitions.flatMap((p) => p.faults.map(describeFault)), faults, "the faults")
    equal([audit.status, audit.partitions[0]?.events], ["faulty", 700], "the status and the number of events")
    equal(audit.first, audit.partitions[0]?.faults[0], "the first fault")
  })

const doubling = (...twice: ReadonlyArray<EncodedEvent | undefined>) =>
  changingPages((events) =>
    events.flatMap((event) => twice.some((one) => one?.id === event.id) ? [event, event] : [event])
  )

const faults: ReadonlyArray<Case<Stores>> = [
  findsFault("an event that the reader skipped", (events) => ({
    reader: hiding(events[349]),
    faults: [of("missing", events[349])]
  })),
  findsFault("an event that was applied twice", (events) => ({
    reader: doubling(events[349]),
    faults: [of("doubled", events[349])]
  })),
  findsFault("a missing first and last event", (events) => ({
    reader: hiding(events[0], events[699]),
    faults: [of("missing", events[0]), of("missing", events[699])]
  })),
  findsFault("a doubled first and last event", (events) => ({
    reader: doubling(events[0], events[699]),
    faults: [of("doubled", events[0]), of("doubled", events[699])]
  })),
  findsFault("two missing events of one segment", (events) => ({
    reader: hiding(events[310], events[333]),
    faults: [of("missing", events[310]), of("missing", events[333])]
  })),
  findsFault("two doubled events of one segment", (events) => ({
    reader: doubling(events[310], events[333]),
    faults: [of("doubled", events[310]), of("doubled", events[333])]
  })),
  findsFault("a sequence of missing events", (events) => ({
    reader: hiding(...events.slice(300, 309)),
    faults: events.slice(300, 309).map((event) => of("missing", event))
  })),
  findsFault("a missing and a doubled event of one segment, without telling them apart", (events) => ({
    reader: changingPages((page) =>
      page.flatMap((event) =>
        event.id === events[310]!.id ? [] : event.id === events[333]!.id ? [event, event] : [event]
      )
    ),
    faults: [["exchanged", events[310]!.id, events[333]!.id]]
  })),
  findsFault("a segment with more faults than it can name", (events) => ({
    reader: hiding(events[300], events[302], events[304]),
    // The position after which the third batch of 100, and so its segment, begins.
    faults: [["unresolved", events[200]!.position]]
  })),
  findsFault("that all events are missing", (events) => ({
    reader: changingPages(() => []),
    faults: events.slice(0, 100).map((event) => of("missing", event))
  }))
]

const online: ReadonlyArray<Case<Stores>> = [
  test("an audit waits while the high-water mark is temporarily lower", function*() {
    const audited = fixture()
    const events = yield* audited.append(20)
    yield* project(audited, events.at(-1), Effect.map(EventStore.EventStore, ({ [internals]: { driver } }) => driver))
    let reads = 0
    const lowerHead = events[9]!.position
    const lowered = changingPages((page) => ++reads <= 2 ? page.filter((event) => event.position <= lowerHead) : page)
    const driver = yield* Effect.map(lowered, (driver): EventStoreDriver => ({
      ...driver,
      readAll: (page) =>
        Effect.map(
          driver.readAll(page),
          (answer) =>
            reads <= 2
              ? {
                ...answer,
                head: lowerHead,
                reached: LogPosition.make(Position.max(page.after, lowerHead), undefined)
              }
              : answer
        )
    }))
    const store = yield* EventStore.make(driver)
    const audit = yield* Effect.provideService(DeliveryAudit.run(audited.projection), EventStore.EventStore, store)
    equal([audit.status, reads], ["complete", 3], "the status and the number of reads")
  }),

  test("an audit of a subscription from \"now\" begins at its first event", function*() {
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
      equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the status before its first event")
      const { position } = yield* append
      const documents = yield* ProjectionStore.ProjectionStore
      yield* documents.awaitPosition({ id: subscription.id, lifecycle: "async" }, position, "30 seconds")
      const audit = yield* DeliveryAudit.run(subscription)
      equal(
        [audit.status, audit.partitions.map(({ events }) => events)],
        ["complete", [1]],
        "the status and the number of events after it"
      )
    }).pipe(Effect.provide(Subscription.layer([subscription])))
  }),

  test("an audit of a consumer that never ran is unstarted", function*() {
    const audit = yield* DeliveryAudit.run(fixture().projection)
    equal(
      [audit.status, audit.partitions.length, audit.first],
      ["unstarted", 0, undefined],
      "the status, the number of partitions and the first fault"
    )
  }),

  test("an audit finds no fault while workers process the partitions", function*() {
    const audited = fixture({ partitions: 3 })
    const all = yield* audited.append(200)
    const projections = yield* ProjectionStore.ProjectionStore
    let audits = 0
    yield* Effect.gen(function*() {
      const more = yield* Effect.forkChild(audited.append(60, 201))
      while (more.pollUnsafe() === undefined) {
        const audit = yield* DeliveryAudit.run(audited.projection)
        equal(audit.first, undefined, "the first fault during the work")
        audits++
      }
      const last = (yield* audited.append(1, 261)).at(-1)!
      yield* projections.awaitPosition(audited.projection, last.position, "50 seconds")
    }).pipe(Effect.provide(Projector.layer([audited.projection], { batchSize: 3 })))
    isAbove(audits, 1, "the number of audits during the work")
    const audit = yield* DeliveryAudit.run(audited.projection)
    equal(audit.status, "complete", "the status")
    equal(
      audit.partitions.reduce((sum, p) => sum + p.applied, 0),
      all.length + 61,
      "the events applied in all partitions"
    )
    equal(audit.partitions.length, 3, "the number of partitions")
  }),

  test("an audit finds a fault only in its partition", function*() {
    const audited = fixture({ partitions: 3 })
    const events = yield* audited.append(60)
    yield* project(audited, events.at(-1), hiding(events[20]), 7)
    const audit = yield* DeliveryAudit.run(audited.projection)
    equal(audit.partitions.flatMap((p) => p.faults.map(describeFault)), [of("missing", events[20])], "the faults")
    equal(audit.partitions.filter((p) => p.status === "complete").length, 2, "the number of complete partitions")
    equal(audit.partitions.reduce((sum, p) => sum + p.events, 0), 60, "the events of all partitions")
  }),

  test("an audit finds an event of another partition, and one that no log contains", function*() {
    // Of 7 streams with names drawn at random, all can be in one partition; of 40 they practically never are.
    const audited = fixture({ partitions: 2, streams: 40 })
    const events = yield* audited.append(60)
    const { driver } = (yield* EventStore.EventStore)[internals]
    const filter = { types: [audited.type], partition: { index: 0, of: 2 } }
    const own = yield* driver.readAll({ after: Position.start, limit: 100, ...filter })
    const ownIds = new Set(own.events.map(({ id }) => id))
    isAbove(ownIds.size, 0, "the number of events of the first partition")
    const stray = events.find((event) => !ownIds.has(event.id) && event.position > events[9]!.position)!
    const after = (event: EncodedEvent, extra: EncodedEvent) => (one: EncodedEvent) =>
      one.id === event.id ? [one, extra] : [one]
    const [first] = own.events
    yield* project(
      audited,
      events.at(-1),
      changingPages((page, { partition }) => partition?.index === 0 ? page.flatMap(after(first!, stray)) : page)
    )
    const audit = yield* DeliveryAudit.run(audited.projection)
    equal(
      audit.partitions.map((p) => p.faults.map(describeFault)),
      [[of("unexpected", stray)], []],
      "the faults of both partitions"
    )

    const other = fixture()
    const its = yield* other.append(10)
    const foreign: EncodedEvent = { ...its[4]!, id: globalThis.crypto.randomUUID() }
    yield* project(other, its.at(-1), changingPages((page) => page.flatMap(after(its[4]!, foreign))))
    const [fault] = (yield* DeliveryAudit.run(other.projection)).partitions[0]!.faults
    equal(
      [fault?.kind, fault !== undefined && "digest" in fault ? fault.digest : undefined],
      ["unknown", digestOf(foreign.id)],
      "the fault of an event that no log contains"
    )
  })
]

/**
 * All cases of the delivery audit.
 *
 * @since 0.1.0
 * @category suites
 */
export const audits: ReadonlyArray<Case<Stores>> = [...faults, ...online]
