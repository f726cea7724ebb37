/**
 * The runtime suite of subscriptions.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { OutcomeUnknown, storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { IdGenerator } from "../../src/core/IdGenerator.ts"
import { internals } from "../../src/core/internals.ts"
import type * as Position from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import type { EventFilter } from "../../src/event/EventFilter.ts"
import type { RecordedEvent } from "../../src/event/RecordedEvent.ts"
import { EventStore, make as makeEventStore } from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import type { ProjectionStoreDriver } from "../../src/projection/ProjectionStoreDriver.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"

const OrderEvent = Schema.TaggedUnion({
  Placed: { run: Schema.String, n: Schema.Int },
  Paid: { run: Schema.String, n: Schema.Int },
  Noted: { run: Schema.String, n: Schema.Int }
}).pipe(Event.tags({ run: "run" }))
type OrderEvent = typeof OrderEvent.Type
type OrderRecord = RecordedEvent<OrderEvent>

const noRetry = Schedule.recurs(0)
const labelOf = ({ event, stream }: OrderRecord, run: string) => `${stream.slice(run.length)}${event.n}`

/** The events that a subscription handled, in order, and a way to wait for them. */
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
        orElse: () =>
          Effect.die(new Error(`timed out waiting for ${what}; handled ${got.map((r) => r.event.n).join(" ")}`))
      })
    )
  const put = (record: OrderRecord) =>
    Effect.sync(() => {
      got.push(record)
      more.openUnsafe()
    })
  return { got, until, put }
})

/** Reads until the result is as expected. */
const until = <A, E, R>(what: string, self: Effect.Effect<A, E, R>, isExpected: (a: A) => boolean) =>
  self.pipe(
    Effect.repeat({ until: isExpected, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOrElse({
      duration: "1 minute",
      orElse: () => Effect.die(new Error(`timed out waiting for ${what}`))
    })
  )

const append = Effect.fnUntraced(function*(run: string, stream: string, ns: ReadonlyArray<number>) {
  const store = yield* EventStore
  const tag = (n: number) => (n % 10 === 9 ? "Noted" : n % 2 === 0 ? "Paid" : "Placed")
  yield* store.append(OrderEvent, `${run}${stream}`, ns.map((n): OrderEvent => ({ _tag: tag(n), run, n })))
})

/** The projection store with some driver operations replaced. */
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
 * All cases of subscriptions.
 *
 * @since 0.1.0
 * @category suites
 */
export const subscriptions: ReadonlyArray<Case<Stores>> = [
  test("handles every event in stream order, through restarts and competing workers", function*() {
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
        const worker = Layer.fresh(Subscription.layer([subscription], { batchSize: 2, lease: "300 millis" }))
        yield* Effect.forEach(upTo(2), () => Layer.build(worker), { discard: true })
        for (const stream of ["a", "b", "c"]) yield* append(run, stream, upTo(4).map((n) => round * 10 + n))
        // Every second round interrupts the workers while they process events.
        if (round % 2 === 1) yield* inbox.until(`round ${round}`, (got) => distinct(got) === round * 12)
      }))
    }
    for (const stream of ["a", "b", "c"]) {
      const versions = inbox.got.filter((r) => r.stream === `${run}${stream}`).map(({ version }) => Number(version))
      const first = versions.filter((version, i) => versions.indexOf(version) === i)
      equal(first, upTo(20), `the versions of ${stream} in the order of their first handling`)
    }
  }),

  test("handles an event again under the same id when its checkpoint was not stored", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      handle: (_, record) => inbox.put(record)
    })
    yield* append(run, "a", [1, 2, 3])
    let attempts = 0
    const failedThrice = yield* Deferred.make<void>()
    const failing = changed(() => ({
      advance: () =>
        Effect.suspend(() => {
          attempts++
          if (attempts === 3) Deferred.doneUnsafe(failedThrice, Effect.void)
          return Effect.fail(storeError(new StoreUnavailable({ message: "not now", cause: undefined })))
        })
    }))
    yield* Effect.timeout(Deferred.await(failedThrice), "1 minute").pipe(
      Effect.provide(
        Subscription.layer([subscription], { retryDelay: { first: "10 millis", max: "10 millis" } }).pipe(
          Layer.provide(failing)
        )
      )
    )
    equal(
      inbox.got.map(({ event }) => event.n),
      [1, 2, 3],
      "the events that one process handled while the checkpoint failed"
    )
    const store = yield* ProjectionStore.ProjectionStore
    const awaitCheckpoint = Effect.gen(function*() {
      yield* inbox.until("all again", (got) => got.length === 6)
      yield* store.awaitPosition({ id: subscription.id, lifecycle: "async" }, inbox.got[5]!.position, "60 seconds")
    })
    yield* awaitCheckpoint.pipe(Effect.provide(Subscription.layer([subscription])))
    equal(
      inbox.got.slice(3).map(({ id }) => id),
      inbox.got.slice(0, 3).map(({ id }) => id),
      "the ids of the events handled again"
    )
    yield* append(run, "a", [4])
    yield* inbox.until("the next", (got) => got.length > 6).pipe(Effect.provide(Subscription.layer([subscription])))
    equal(inbox.got.slice(6).map(({ event }) => event.n), [4], "the events handled after the checkpoint")
  }),

  test("moves its checkpoint past other events, on a server not at each of them", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      handle: (_, record) => inbox.put(record)
    })
    let advances = 0
    const counting = changed((driver) => ({
      advance: (request) =>
        Effect.suspend(() => {
          advances++
          return driver.advance(request)
        })
    }))
    const store = yield* ProjectionStore.ProjectionStore
    const { append: appendTo, [internals]: { driver } } = yield* EventStore
    yield* Effect.gen(function*() {
      yield* append(run, "a", [1])
      yield* inbox.until("the first", (got) => got.length === 1)
      advances = 0
      const began = performance.now()
      const other = unique("run")
      for (const n of upTo(40)) yield* append(other, "a", [n])
      const { position } = yield* appendTo(OrderEvent, `${other}b`, [{ _tag: "Paid", run: other, n: 0 }])
      yield* store.awaitPosition({ id: subscription.id, lifecycle: "async" }, position, "60 seconds")
      const most = Math.floor((performance.now() - began) / 100) + 2
      if (driver.schema !== undefined && advances > most) {
        equal(advances, most, "how often the checkpoint moved, at most")
      }
      yield* append(run, "a", [2])
      yield* inbox.until("the next", (got) => got.length === 2)
    }).pipe(Effect.provide(Subscription.layer([subscription]).pipe(Layer.provide(counting))))
    equal(inbox.got.map(({ event }) => event.n), [1, 2], "the events of its own")
  }),

  test("handles each of several events with the same id", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { streamPrefix: run },
      handle: (_, record) => inbox.put(record)
    })
    const id = crypto.randomUUID()
    const repeating = yield* Effect.flatMap(EventStore, (store) => makeEventStore(store[internals].driver)).pipe(
      Effect.provideService(IdGenerator, () => id)
    )
    yield* Effect.forEach(["a", "a", "b"], (stream) => append(run, stream, [2, 4])).pipe(
      Effect.provideService(EventStore, repeating)
    )
    yield* inbox.until("all", (got) => got.length === 6).pipe(Effect.provide(Subscription.layer([subscription])))
    equal(distinct(inbox.got), 1, "the ids")
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
  }),

  test("keeps its partitions while it closes and a handler takes longer than the lease", function*() {
    const run = unique("run")
    const begun = Latch.makeUnsafe(false)
    const mayEnd = Latch.makeUnsafe(false)
    let inHand = 0
    let overlaps = 0
    const subscription = Subscription.make(unique("slow"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      handle: () =>
        Effect.gen(function*() {
          if (inHand++ > 0) overlaps++
          yield* begun.open
          yield* mayEnd.await
          inHand--
        }).pipe(Effect.uninterruptible)
    })
    const worker = Layer.fresh(Subscription.layer([subscription], { lease: "3 seconds" }))
    const progress = Effect.flatMap(ProjectionStore.driver, (driver) => driver.progress(subscription.id))
    const caughtUp = Effect.fnUntraced(function*(position: Position.Position) {
      yield* Effect.repeat(progress, {
        until: ([one]) => one!.position >= position,
        schedule: Schedule.spaced("20 millis")
      })
    })
    const { position } = yield* Effect.flatMap(
      EventStore,
      (store) => store.append(OrderEvent, `${run}a`, [{ _tag: "Placed", run, n: 1 }])
    )
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(worker, scope)
    yield* begun.await
    yield* Effect.gen(function*() {
      yield* Layer.build(worker)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      const [start] = yield* progress
      // The lease of before ends meanwhile.
      const leaseEnds = DateTime.add(start!.heartbeatAt, { milliseconds: 3_200 })
      yield* Effect.repeat(progress, {
        until: ([one]) => overlaps > 0 || DateTime.isGreaterThan(one!.readAt, leaseEnds),
        schedule: Schedule.spaced("20 millis")
      })
      equal(overlaps, 0, "the handlers of the next worker that began beside it")
      yield* mayEnd.open
      yield* Fiber.join(closing)
      yield* caughtUp(position)
    }).pipe(Effect.ensuring(mayEnd.open), Effect.scoped, Effect.timeout("1 minute"))
  }),

  test("retries a failing event by its policy, parks its stream, and continues others", function*() {
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
      yield* inbox.until("the later event", (got) => got.some(({ event }) => event.n === 5))
      equal(inbox.got.map(({ event }) => event.n), [11, 1, 3, 5], "the handled events")
      equal(tries, 3, "the number of attempts")
      const [parked] = yield* driver.parked(subscription.id, { limit: 100 })
      equal([String(parked?.stream), Number(parked?.version)], [`${run}a`, 2], "the parked event")
      includes(parked?.error ?? "", "no luck", "the error of the parked event")
      healed = true
      yield* driver.request(
        subscription.id,
        { id: "test", action: "retry" },
        yield* driver.parkedPlaces(subscription.id, { key: `${run}a` })
      )
      yield* inbox.until("the parked stream", (got) => got.some(({ event }) => event.n === 17))
      equal(inbox.got.slice(4).map(({ event }) => event.n), [13, 15, 17], "the events handled by the retry")
    }).pipe(Effect.provide(attentive(Subscription.layer([subscription]), subscription)))
  }),

  test("bounds a retry schedule without end, shows each attempt, and parks the key", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    let tries = 0
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      // Fewer attempts than the log shows within a minute.
      retry: Schedule.spaced("300 millis"),
      retryTimeout: "2 seconds",
      handle: (event, record) => {
        if (event.n !== 13) return inbox.put(record)
        tries++
        return Effect.die(new Error("no luck"))
      }
    })
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const lines: Array<string> = []
    yield* Effect.gen(function*() {
      const { status } = yield* Subscription.Subscriptions
      yield* append(run, "a", [11, 13, 15])
      yield* append(run, "b", [1])
      yield* until("the retries in the status", status, ([one]) => one?.state === "retrying" && tries > 1)
      const [retrying] = yield* status
      includes(retrying?.detail ?? "", "no luck", "the cause in the status")
      yield* inbox.until("the other stream", (got) => got.some(({ event }) => event.n === 1))
      equal(inbox.got.map(({ event }) => event.n), [11, 1], "the handled events")
      const parked = yield* until(
        "the parked key",
        driver.parked(subscription.id, { limit: 100 }),
        (parked) => parked.length === 1
      )
      equal([parked[0]?.key, parked[0]?.attempts], [`${run}a`, tries], "the key, and the number of attempts")
      yield* until("the state after it", status, ([one]) => one?.state === "live" && one.parked === 1)
      const attempts = lines.filter((line) => line.includes("failed; the next follows") && line.includes("no luck"))
      equal(attempts.length, tries - 1, "a line for each attempt that another follows")
    }).pipe(
      Effect.provide(attentive(Subscription.layer([subscription]), subscription)),
      Effect.provide(Logger.layer([Logger.map(Logger.formatJson, (line) => void lines.push(line))])),
      Effect.provideService(References.MinimumLogLevel, "Warn"),
      Effect.timeout("1 minute")
    )
  }),

  test("stops at a failing event with onFailure stop, and continues once it succeeds", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    let healed = false
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      onFailure: "stop",
      retry: noRetry,
      handle: (event, record) => event.n === 13 && !healed ? Effect.die("no luck") : inbox.put(record)
    })
    yield* Effect.gen(function*() {
      yield* append(run, "a", [11, 13])
      yield* append(run, "b", [1])
      const [stuck] = yield* (yield* Subscription.Subscriptions).status.pipe(
        Effect.repeat({ until: ([s]) => s?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("1 minute")
      )
      includes(stuck?.detail ?? "", "no luck", "the detail of the status")
      equal(inbox.got.map(({ event }) => event.n), [11], "the events before it")
      healed = true
      yield* inbox.until("the rest", (got) => got.length >= 3)
      equal(inbox.got.map(({ event }) => event.n), [11, 13, 1], "the events after it succeeds")
    }).pipe(
      Effect.provide(
        Subscription.layer([subscription], { retryDelay: { first: "50 millis", max: "100 millis" } })
      )
    )
  }),

  test("names an undeclared error where it parks, and not a declared one", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    class OutOfStock extends Schema.TaggedError<OutOfStock>()("OutOfStock", { message: Schema.String }) {}
    class NoAddress extends Schema.TaggedError<NoAddress>()("NoAddress", { message: Schema.String }) {}
    const typed = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      retry: noRetry,
      parks: ["OutOfStock", "NoAddress"],
      handle: (event, record) => {
        if (event.n === 1) return Effect.fail(new OutOfStock({ message: "none left" }))
        return event.n === 2 ? Effect.fail(new NoAddress({ message: "no street" })) : inbox.put(record)
      }
    })
    // As from code without types, where the compiler does not see the second error.
    const subscription = { ...typed, parks: ["OutOfStock"] }
    yield* append(run, "a", [1])
    yield* append(run, "b", [2])
    yield* append(run, "c", [3])
    yield* inbox.until("the third stream", (got) => got.length > 0).pipe(
      Effect.andThen(
        Effect.repeat((yield* ProjectionStore.ProjectionStore)[internals].driver.parked(typed.id, { limit: 100 }), {
          until: (parked) => parked.length === 2,
          schedule: Schedule.spaced("10 millis")
        })
      ),
      Effect.timeout("1 minute"),
      Effect.provide(Subscription.layer([subscription]))
    )
    const parked = yield* (yield* ProjectionStore.ProjectionStore)[internals].driver.parked(typed.id, { limit: 100 })
    const detailOf = (stream: string) =>
      parked.find((entry) => entry.stream === `${run}${stream}`)?.error.replace(/^.*at position \d+: /, "")
    equal(
      [detailOf("a"), detailOf("b")],
      ["none left", "no street (the handler does not declare \"NoAddress\": handle it, or name it in `parks`)"],
      "the errors of the parked events"
    )
  }),

  test("a command whose outcome is unknown parks nothing, and its event is handled again", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    let failures = 0
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      retry: noRetry,
      handle: (_, record) =>
        Effect.suspend(() => {
          if (failures >= 3) return inbox.put(record)
          failures++
          return Effect.fail(storeError(new OutcomeUnknown({ stream: "s", message: "lost", cause: undefined })))
        })
    })
    yield* append(run, "a", [1])
    yield* inbox.until("the event", (got) => got.length > 0).pipe(
      Effect.provide(Subscription.layer([subscription], { retryDelay: { first: "10 millis", max: "10 millis" } }))
    )
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    equal(
      [failures, yield* driver.parkingLog(subscription.id, { limit: 100 })],
      [3, []],
      "failures, and the parking log"
    )
  }),

  test("a database failure parks nothing and repeats no handled event", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    let failures = 0
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      retry: noRetry,
      handle: (event, record) =>
        Effect.suspend(() => {
          if (event.n !== 2 || failures >= 4) return inbox.put(record)
          failures++
          const cause = storeError(new StoreUnavailable({ message: "not now", cause: undefined }))
          // Every second time the failure is the cause of the handler's own error.
          return failures % 2 === 0 ? Effect.fail(cause) : Effect.die(new Error("no", { cause }))
        })
    })
    yield* append(run, "a", [1, 2, 3])
    yield* inbox.until("all", (got) => got.some(({ event }) => event.n === 3)).pipe(
      Effect.provide(
        Subscription.layer([subscription], { retryDelay: { first: "10 millis", max: "10 millis" } })
      )
    )
    equal(inbox.got.map(({ event }) => event.n), [1, 2, 3], "the handled events")
    equal(failures, 4, "the number of failures")
    equal(
      yield* (yield* ProjectionStore.ProjectionStore)[internals].driver.parkingLog(subscription.id, { limit: 100 }),
      [],
      "the parking log"
    )
  }),

  test("a handler that interrupts itself fails only its event", function*() {
    const run = unique("run")
    const inbox = yield* makeInbox
    const subscription = Subscription.make(unique("orders"), {
      events: OrderEvent,
      where: { tags: [Event.tag("run", run)] },
      retry: noRetry,
      handle: (event, record) => event.n === 1 ? Effect.interrupt : inbox.put(record)
    })
    yield* append(run, "a", [1])
    yield* append(run, "b", [2])
    yield* inbox.until("the other", (got) => got.length > 0).pipe(Effect.provide(Subscription.layer([subscription])))
    equal(inbox.got.map(({ event }) => event.n), [2], "the handled events")
  }),

  test("takes only the types it handles, and the streams and tags it selects", function*() {
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
    const seen = inboxes.map(({ got }) => got.map((record) => labelOf(record, run)))
    equal(seen[0], ["a12", "b4", "a29", "a26"], "the events selected by type")
    equal(seen[1], ["a11", "a12", "b3", "b4", "a29", "a26"], "the events selected by tag")
    equal(seen[2], ["a11", "a12", "a29", "a26"], "the events selected by stream")
  }),

  test("readAll and subscribe return only the streams and tags they select", function*() {
    const run = unique("run")
    const store = yield* EventStore
    const tags = [Event.tag("run", run)]
    yield* append(run, "a", [1])
    yield* append(unique("other"), "a", [1])
    yield* append(run, "b", [2, 3])
    const numbers = (records: ReadonlyArray<OrderRecord>) => records.map(({ event }) => event.n)
    const read = (where: EventFilter<Event.TagText<typeof OrderEvent>>) =>
      Effect.map(Stream.runCollect(store.readAll(OrderEvent, { where, pageSize: 1 })), numbers)
    equal(yield* read({ tags }), [1, 2, 3], "the events read by tag")
    equal(yield* read({ streamPrefix: `${run}b` }), [2, 3], "the events read by stream")
    equal(yield* read({ tags, streamPrefix: `${run}a` }), [1], "the events read by both")
    const subscribed = yield* store.subscribe(OrderEvent, { where: { tags, streamPrefix: `${run}b` } }).pipe(
      Stream.take(3),
      Stream.runCollect,
      Effect.timeout("1 minute"),
      Effect.forkChild
    )
    yield* append(run, "a", [4])
    yield* append(run, "b", [5])
    equal(numbers(yield* Fiber.join(subscribed)), [2, 3, 5], "the events of `subscribe`")
  }),

  test("a subscription from \"now\" takes later events, also those while it was down", function*() {
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
    // Two processes start at the same time.
    yield* Effect.scoped(
      Effect.all(upTo(2).map(() => Layer.build(Layer.fresh(Subscription.layer([subscription])))), { concurrency: 2 })
    )
    yield* append(run, "a", [3])
    yield* append(run, "a2", [5])
    yield* Effect.gen(function*() {
      yield* inbox.until("the events while it was down", (got) => got.length >= 2)
      yield* append(run, "a", [4])
      yield* inbox.until("the event while it runs", (got) => got.length >= 3)
    }).pipe(
      // A process that read the progress before the other two created it, and starts only now.
      Effect.provide(
        Subscription.layer([subscription]).pipe(Layer.provide(changed(() => ({ progress: () => Effect.succeed([]) }))))
      )
    )
    equal(inbox.got.map(({ event }) => event.n).toSorted(), [3, 4, 5], "the handled events")
  }),

  test("a subscription and a projection with one name are independent", function*() {
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
      equal((yield* ProjectionStore.list(projection)).items, [6], "the documents of the projection")
    }).pipe(Effect.provide(Layer.merge(Subscription.layer([subscription]), Projector.layer([projection]))))
    const rejected = yield* Effect.flip(Effect.try({ try: () => project(`subscription:${name}`), catch: String }))
    includes(rejected, "must not begin with", "the error of a projection with the id of a subscription")
  })
]
