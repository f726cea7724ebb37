/**
 * The conformance suite of the runtime, the part on subscriptions.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Event from "../../src/event/Event.ts"
import type { EventFilter } from "../../src/event/EventFilter.ts"
import type { RecordedEvent } from "../../src/event/RecordedEvent.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import type { ProjectionStoreDriver } from "../../src/projection/ProjectionStoreDriver.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"

const OrderEvent = Schema.TaggedUnion({
  Placed: { run: Schema.String, n: Schema.Int },
  Paid: { run: Schema.String, n: Schema.Int },
  Noted: { run: Schema.String, n: Schema.Int }
}).pipe(Event.tags({ run: "run" }))
type OrderEvent = typeof OrderEvent.Type
type OrderRecord = RecordedEvent<OrderEvent>

const once = Schedule.recurs(0)
const at = ({ event, stream }: OrderRecord, run: string) => `${stream.slice(run.length)}${event.n}`

/** What a subscription was given, in order, and how to wait until that is enough. */
const makeInbox = Effect.sync(() => {
  const got: Array<OrderRecord> = []
  const more = Latch.makeUnsafe(false)
  const until = (what: string, enough: (got: ReadonlyArray<OrderRecord>) => boolean) =>
    Effect.gen(function*() {
      while (!enough(got)) {
        yield* more.await
        yield* more.close
      }
    }).pipe(
      Effect.timeoutOrElse({
        duration: "60 seconds",
        orElse: () => Effect.die(new Error(`waited in vain for ${what}; got ${got.map((r) => r.event.n).join(" ")}`))
      })
    )
  const put = (record: OrderRecord) =>
    Effect.sync(() => {
      got.push(record)
      more.openUnsafe()
    })
  return { got, until, put }
})

const append = Effect.fnUntraced(function*(run: string, stream: string, ns: ReadonlyArray<number>) {
  const store = yield* EventStore
  const tag = (n: number) => (n % 10 === 9 ? "Noted" : n % 2 === 0 ? "Paid" : "Placed")
  yield* store.append(OrderEvent, `${run}${stream}`, ns.map((n): OrderEvent => ({ _tag: tag(n), run, n })))
})

/** A projection store whose driver is changed. */
const changed = (change: (driver: ProjectionStoreDriver) => Partial<ProjectionStoreDriver>) =>
  Layer.effect(
    ProjectionStore.ProjectionStore,
    Effect.flatMap(
      ProjectionStore.ProjectionStore,
      ({ [internals]: { driver } }) =>
        ProjectionStore.make({ ...driver, ...change(driver) }, { pollInterval: "50 millis" })
    )
  )

const distinct = (records: ReadonlyArray<OrderRecord>) => new Set(records.map(({ id }) => id)).size

/**
 * Subscriptions.
 *
 * @since 0.1.0
 * @category suites
 */
export const subscriptions: ReadonlyArray<Case<Stores>> = [
  test("a subscription is given every event, in the order of its stream, through restarts and rivals", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      partitions: 4,
      handle: (_, record) => inbox.put(record)
    })
    for (const round of upTo(5)) {
      yield* Effect.scoped(Effect.gen(function*() {
        const rival = Layer.fresh(Subscription.layer([subscription], { batchSize: 2, lease: "300 millis" }))
        yield* Effect.forEach(upTo(2), () => Layer.build(rival), { discard: true })
        for (const stream of ["a", "b", "c"]) yield* append(run, stream, upTo(4).map((n) => round * 10 + n))
        // Every other round is cut off in the middle of whatever the workers are doing.
        if (round % 2 === 1) yield* inbox.until(`round ${round}`, (got) => distinct(got) === round * 12)
      }))
    }
    for (const stream of ["a", "b", "c"]) {
      const versions = inbox.got.filter((r) => r.stream === `${run}${stream}`).map(({ version }) => Number(version))
      const first = versions.filter((version, i) => versions.indexOf(version) === i)
      equal(first, upTo(20), `each event of ${stream}, none before the one before it`)
    }
  }),

  test("what was done before a crash, but not noted, is done again after it, under the same event id", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      handle: (_, record) => inbox.put(record)
    })
    yield* append(run, "a", [1, 2, 3])
    let attempts = 0
    const tried = yield* Deferred.make<void>()
    const failing = changed(() => ({
      advance: () =>
        Effect.suspend(() => {
          attempts++
          if (attempts === 3) Deferred.doneUnsafe(tried, Effect.void)
          return Effect.fail(storeError(new StoreUnavailable({ message: "not now", cause: undefined })))
        })
    }))
    yield* Effect.timeout(Deferred.await(tried), "60 seconds").pipe(
      Effect.provide(
        Subscription.layer([subscription], { retryDelay: { first: "10 millis", max: "10 millis" } }).pipe(
          Layer.provide(failing)
        )
      )
    )
    equal(
      inbox.got.map(({ event }) => event.n),
      [1, 2, 3],
      "one process does each once, however often it cannot note it"
    )
    const store = yield* ProjectionStore.ProjectionStore
    const noted = Effect.gen(function*() {
      yield* inbox.until("all again", (got) => got.length === 6)
      yield* store.awaitPosition({ id: subscription.id, lifecycle: "async" }, inbox.got[5]!.position, "60 seconds")
    })
    yield* noted.pipe(Effect.provide(Subscription.layer([subscription])))
    equal(inbox.got.slice(3).map(({ id }) => id), inbox.got.slice(0, 3).map(({ id }) => id), "the same events")
    yield* append(run, "a", [4])
    yield* inbox.until("the next", (got) => got.length > 6).pipe(Effect.provide(Subscription.layer([subscription])))
    equal(inbox.got.slice(6).map(({ event }) => event.n), [4], "and no more than that, once it is noted")
  }),

  test("an event that cannot be handled parks its stream, is tried as often as said, and others go on", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    let tries = 0
    let healed = false
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      retry: Schedule.recurs(2),
      handle: (event, record) => {
        if (event.n !== 13 || healed) return inbox.put(record)
        tries++
        return Effect.die(new Error("no luck"))
      }
    })
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* Effect.gen(function*() {
      yield* append(run, "a", [11, 13, 15])
      yield* append(run, "b", [1, 3])
      yield* append(run, "a", [17])
      yield* inbox.until("the other stream", (got) => got.some(({ event }) => event.n === 3))
      yield* append(run, "b", [5])
      yield* inbox.until("what comes later", (got) => got.some(({ event }) => event.n === 5))
      equal(inbox.got.map(({ event }) => event.n), [11, 1, 3, 5], "what was handled")
      equal(tries, 3, "how often it was tried")
      const [parked] = yield* driver.parked(subscription.id)
      equal([String(parked?.stream), Number(parked?.version)], [`${run}a`, 2], "the parked event")
      ok(parked?.error.includes("no luck") === true, `the error of the parked event: ${parked?.error}`)
      healed = true
      yield* driver.request(subscription.id, `${run}a`, { action: "retry" })
      yield* inbox.until("the parked stream", (got) => got.some(({ event }) => event.n === 17))
      equal(inbox.got.slice(4).map(({ event }) => event.n), [13, 15, 17], "once it can be handled, all that was parked")
    }).pipe(Effect.provide(Subscription.layer([subscription], { lease: "600 millis" })))
  }),

  test("a subscription that is to stop goes no further than an event that cannot be handled", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    let healed = false
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      onFailure: "stop",
      retry: once,
      handle: (event, record) => event.n === 13 && !healed ? Effect.fail("no luck") : inbox.put(record)
    })
    yield* Effect.gen(function*() {
      yield* append(run, "a", [11, 13])
      yield* append(run, "b", [1])
      const [stuck] = yield* (yield* Subscription.Subscriptions).status.pipe(
        Effect.repeat({ until: ([s]) => s?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("60 seconds")
      )
      ok(stuck?.detail?.includes("no luck") === true, `the detail of the status: ${stuck?.detail}`)
      equal(inbox.got.map(({ event }) => event.n), [11], "what came before it")
      healed = true
      yield* inbox.until("the rest", (got) => got.length >= 3)
      equal(inbox.got.map(({ event }) => event.n), [11, 13, 1], "once it can, it goes on, in order")
    }).pipe(
      Effect.provide(
        Subscription.layer([subscription], { retryDelay: { first: "50 millis", max: "100 millis" } })
      )
    )
  }),

  test("when the database is to blame, nothing is parked, and what was done is not done again", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    let failures = 0
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      retry: once,
      handle: (event, record) =>
        Effect.suspend(() => {
          if (event.n !== 2 || failures >= 4) return inbox.put(record)
          failures++
          const cause = storeError(new StoreUnavailable({ message: "not now", cause: undefined }))
          // Also when it is inside of an error of the handler's own.
          return failures % 2 === 0 ? Effect.fail(cause) : Effect.die(new Error("no", { cause }))
        })
    })
    yield* append(run, "a", [1, 2, 3])
    yield* inbox.until("all", (got) => got.some(({ event }) => event.n === 3)).pipe(
      Effect.provide(
        Subscription.layer([subscription], { retryDelay: { first: "10 millis", max: "10 millis" } })
      )
    )
    equal(inbox.got.map(({ event }) => event.n), [1, 2, 3], "each once")
    equal(failures, 4, "how often it was tried")
    equal(
      yield* (yield* ProjectionStore.ProjectionStore)[internals].driver.parkingLog(subscription.id),
      [],
      "nothing was parked"
    )
  }),

  test("a handler that interrupts itself has failed on its event, and ends nothing else", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      retry: once,
      handle: (event, record) => event.n === 1 ? Effect.interrupt : inbox.put(record)
    })
    yield* append(run, "a", [1])
    yield* append(run, "b", [2])
    yield* inbox.until("the other", (got) => got.length > 0).pipe(Effect.provide(Subscription.layer([subscription])))
    equal(inbox.got.map(({ event }) => event.n), [2], "the other stream")
  }),

  test("a subscription takes the types that it handles, of the streams and with the tags that it names", function*() {
    const run = unique("run")
    const inboxes = yield* Effect.all([makeInbox, makeInbox, makeInbox])
    const tags = [Event.tag("run", run)]
    const byType = Subscription.make(unique("paid"), {
      events: OrderEvent,
      where: { tags },
      handle: {
        Placed: Subscription.ignore,
        Paid: (event, record) => inboxes[0].put({ ...record, event }),
        Noted: (event, record) => inboxes[0].put({ ...record, event })
      }
    })
    const byTag = Subscription.make(unique("tag"), {
      events: OrderEvent,
      where: { tags },
      handle: (_, record) => inboxes[1].put(record)
    })
    const byStream = Subscription.make(unique("stream"), {
      events: OrderEvent,
      where: { streamPrefix: `${run}a` },
      handle: (_, record) => inboxes[2].put(record)
    })
    yield* append(unique("other"), "a", [1, 2])
    yield* append(run, "a1", [1, 2])
    yield* append(run, "b", [3, 4])
    yield* append(run, "a2", [9, 6])
    yield* Effect.gen(function*() {
      yield* inboxes[0].until("types", (got) => got.some(({ event }) => event.n === 6))
      yield* inboxes[1].until("tags", (got) => got.some(({ event }) => event.n === 6))
      yield* inboxes[2].until("streams", (got) => got.some(({ event }) => event.n === 6))
    }).pipe(Effect.provide(Subscription.layer([byType, byTag, byStream])))
    const seen = inboxes.map(({ got }) => got.map((record) => at(record, run)))
    equal(seen[0], ["a12", "b4", "a29", "a26"], "by type")
    equal(seen[1], ["a11", "a12", "b3", "b4", "a29", "a26"], "by tag")
    equal(seen[2], ["a11", "a12", "a29", "a26"], "by stream")
  }),

  test("whoever reads the log, or follows it, is given the events with the tags and of the streams that it names", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const tags = [Event.tag("run", run)]
    yield* append(run, "a", [1])
    yield* append(unique("other"), "a", [1])
    yield* append(run, "b", [2, 3])
    const numbers = (records: ReadonlyArray<OrderRecord>) => records.map(({ event }) => event.n)
    const read = (where: EventFilter) =>
      Effect.map(Stream.runCollect(store.readAll(OrderEvent, { where, pageSize: 1 })), numbers)
    equal(yield* read({ tags }), [1, 2, 3], "by tag")
    equal(yield* read({ streamPrefix: `${run}b` }), [2, 3], "by stream")
    equal(yield* read({ tags, streamPrefix: `${run}a` }), [1], "by both")
    const followed = yield* store.subscribe(OrderEvent, { where: { tags, streamPrefix: `${run}b` } }).pipe(
      Stream.take(3),
      Stream.runCollect,
      Effect.timeout("60 seconds"),
      Effect.forkChild
    )
    yield* append(run, "a", [4])
    yield* append(run, "b", [5])
    equal(numbers(yield* Fiber.join(followed)), [2, 3, 5], "as they come")
  }),

  test("one that begins now is given what is appended from then on, also while it does not run, and nothing else", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const make = (name: string, prefix: string) =>
      Subscription.make(name, {
        events: OrderEvent,
        where: { streamPrefix: `${run}${prefix}` },
        partitions: 2,
        from: "now",
        handle: (_, record) => inbox.put(record)
      })
    const subscription = make(unique("orders"), "a")
    yield* append(run, "a", [1, 2])
    // Two processes begin at the same time.
    yield* Effect.scoped(
      Effect.all(upTo(2).map(() => Layer.build(Layer.fresh(Subscription.layer([subscription])))), { concurrency: 2 })
    )
    yield* append(run, "a", [3])
    yield* append(run, "a2", [5])
    yield* Effect.gen(function*() {
      yield* inbox.until("what came while it did not run", (got) => got.length >= 2)
      yield* append(run, "a", [4])
      yield* inbox.until("what comes now", (got) => got.length >= 3)
    }).pipe(
      // One that looked before the others had begun, and comes to begin only now.
      Effect.provide(
        Subscription.layer([subscription]).pipe(Layer.provide(changed(() => ({ progress: () => Effect.succeed([]) }))))
      )
    )
    equal(inbox.got.map(({ event }) => event.n).toSorted(), [3, 4, 5], "what it was given")
  }),

  test("a subscription and a projection of one name do not know of each other", function*() {
    const run = unique("run")
    const name = unique("orders")
    const inbox = yield* makeInbox
    const where = { tags: [Event.tag("run", run)] }
    const subscription = Subscription.make(name, { events: OrderEvent, where, handle: (_, r) => inbox.put(r) })
    const add = (sum = 0, { n }: OrderEvent) => sum + n
    const project = (name: string) =>
      Projection.make(name, {
        events: OrderEvent,
        where,
        document: Schema.Int,
        key: ({ run }) => run,
        evolve: { Placed: add, Paid: add, Noted: add }
      })
    const projection = project(name)
    const store = yield* ProjectionStore.ProjectionStore
    yield* append(run, "a", [1, 2, 3])
    yield* Effect.gen(function*() {
      yield* inbox.until("all", (got) => got.length === 3)
      const { position } = inbox.got[2]!
      yield* store.awaitPosition(projection, position, "60 seconds")
      equal((yield* ProjectionStore.list(projection)).items, [6], "the projection")
    }).pipe(Effect.provide(Layer.merge(Subscription.layer([subscription]), Projector.layer([projection]))))
    try {
      project(`subscription:${name}`)
      ok(false, "no projection has the id of a subscription")
    } catch (error) {
      ok(String(error).includes("must not begin with"), "it is refused, and said why")
    }
  })
]
