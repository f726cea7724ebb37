/**
 * The runtime suite of many parked keys and many waiting events: requests in bulk, chunks, progress and pages.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, isAbove, isAtLeast, test, unique } from "../../src/conformance/Suite.ts"
import { storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import { monotonicMillis } from "../../src/core/monotonic.ts"
import * as Position from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import type { ProjectionStoreDriver } from "../../src/projection/ProjectionStoreDriver.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { parkedKeys, parkingLog } from "../support/parked.ts"
import { equalComplete, fixture } from "./ParkingSuite.ts"

/** A projection store with changes to its driver. */
const storeWith = (change: (driver: ProjectionStoreDriver) => Partial<ProjectionStoreDriver>) =>
  Effect.flatMap(
    ProjectionStore.ProjectionStore,
    ({ [internals]: { driver } }) => ProjectionStore.make({ ...driver, ...change(driver) })
  )

const kinds = { stream: "stream", document: "document", tag: { tag: "document" } } as const

const progress: ReadonlyArray<Case<Stores>> = [
  test("shows in the status how many keys are free and parked again during requests", function*() {
    const Ticked = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
    const prefix = unique("Freed")
    let isBroken = true
    const ticks = Subscription.make(unique("freed"), {
      events: Ticked,
      where: { streamPrefix: prefix },
      retry: Schedule.recurs(0),
      handle: { Ticked: () => isBroken ? Effect.die("broken") : Effect.sleep("5 millis") }
    })
    const store = yield* EventStore.EventStore
    yield* Effect.forEach(upTo(30), (n) => store.append(Ticked, `${prefix}-${n}`, [Ticked.cases.Ticked.make({ n })]), {
      discard: true
    })
    yield* Effect.gen(function*() {
      const { status } = yield* Subscription.Subscriptions
      const until = (isTrue: (status: Subscription.ConsumerStatus) => boolean) =>
        status.pipe(
          Effect.repeat({ until: ([one]) => one !== undefined && isTrue(one), schedule: Schedule.spaced("2 millis") }),
          Effect.timeout("1 minute"),
          Effect.map(([one]) => one?.detail)
        )
      yield* until(({ parked }) => parked === 30)
      isBroken = false
      const retried = yield* Effect.forkChild(Parking.retryAll(ticks))
      const detail = yield* until(({ detail }) => detail !== undefined)
      includes(detail ?? "", "is carrying out requests for parked keys: so far ", "the detail")
      equal((yield* Fiber.join(retried)).retried, 30, "the number of retried keys")
      equal(yield* until(({ detail }) => detail === undefined), undefined, "the detail after that")
    }).pipe(Effect.provide(Subscription.layer([ticks])))
  })
]

const chunks: ReadonlyArray<Case<Stores>> = Object.entries(kinds).flatMap(([name, partitionBy]) => [
  test(`frees keys by ${name} in transactions of a batch, and applies new events behind the old ones`, function*() {
    const { append, awaitConsumer, poison, projection, seen } = fixture(1, partitionBy)
    poison.add("a1").add("b2")
    const late: Array<number> = []
    let isRetried = false
    const services = yield* Effect.context<Stores>()
    const store = yield* storeWith((driver) => ({
      recordLateDelivery: (...args) =>
        Effect.andThen(
          Effect.sync(() => late.push(args[2].length)),
          driver.recordLateDelivery(...args)
        ),
      transaction: (effect) =>
        Effect.andThen(
          Effect.provide(Effect.suspend(() => isRetried && late.length === 3 ? between : Effect.void), services),
          driver.transaction(effect)
        )
    }))
    let isDone = false
    /** Appends before the fourth transaction of the retry. */
    const between = Effect.suspend(() => {
      if (isDone) return Effect.void
      isDone = true
      return Effect.orDie(Effect.andThen(append("a", 11), append("good", 2)))
    })
    yield* Effect.gen(function*() {
      for (const n of upTo(10)) for (const id of ["a", "b"]) yield* append(id, n)
      yield* awaitConsumer(yield* append("good", 1))
      poison.clear()
      isRetried = true
      const outcome = yield* Parking.retryAll(projection, { actor: "ann", reason: "fixed" })
      equal(outcome, { requested: 2, retried: 2, failed: 0, skipped: 0, parkedLater: 0 }, "the outcome")
      equal(yield* seen("b"), upTo(10).map((n) => `b${n}`), "the document of the other key")
      yield* awaitConsumer(yield* append("good", 3))
      equal(yield* seen("a"), upTo(11).map((n) => `a${n}`), "the document")
      equal(yield* seen("good"), ["good1", "good2", "good3"], "the key that was not parked")
      equal([Math.max(...late) <= 3, late.length >= 7], [true, true], `events by transaction: ${late.join()}`)
      equal((yield* parkingLog(projection)).map(({ action }) => action).toSorted(), [
        "parked",
        "parked",
        "retried",
        "retried"
      ], "the parking log")
      yield* equalComplete(projection)
    }).pipe(
      Effect.provide(Projector.layer([projection], { batchSize: 3 })),
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
  }),

  test(`a skip by ${name} skips one event, and goes on after a crash in the middle`, function*() {
    const { append, awaitConsumer, poison, projection, seen } = fixture(1, partitionBy)
    poison.add("a1")
    let unparked = 0
    const store = yield* storeWith((driver) => ({
      unpark: (...args) =>
        Effect.suspend(() =>
          ++unparked > 2
            ? Effect.fail(storeError(new StoreUnavailable({ message: "a crash", cause: undefined })))
            : driver.unpark(...args)
        )
    }))
    const projector = Projector.layer([projection], {
      batchSize: 2,
      retryDelay: { first: "10 millis", max: "20 millis" }
    })
    const key = yield* Effect.gen(function*() {
      yield* append("a", 1)
      for (const n of upTo(9)) yield* append("a", n + 1)
      yield* awaitConsumer(yield* append("good", 1))
      const [parked] = yield* parkedKeys(projection)
      const skip = Parking.skip(projection, parked!.key, { reason: "a test" })
      const waiting = yield* Effect.forkChild(skip)
      // A store that fails again and again is like none.
      yield* Effect.repeat(Effect.sync(() => unparked), {
        until: (calls) => calls > 3,
        schedule: Schedule.spaced("5 millis")
      })
      const [freeing] = yield* parkedKeys(projection)
      equal([freeing?.isFreeing, freeing?.request?.action], [true, "skip"], "the key in the middle")
      const error = yield* Effect.flip(skip)
      equal(error._tag, "NotParked", "another skip meanwhile")
      equal(yield* Parking.count(projection), { parked: 1, requested: 1, freeing: 1 }, "the count")
      equal(yield* Parking.withdraw(projection), 0, "the withdrawn requests")
      const applied = yield* seen("a")
      equal(applied, upTo(applied.length).map((n) => `a${n + 1}`), "the first events")
      equal([applied.length > 0, applied.length < 9], [true, true], "some of them")
      yield* equalComplete(projection)
      yield* Fiber.interrupt(waiting)
      return parked!.key
    }).pipe(Effect.provide(projector), Effect.provideService(ProjectionStore.ProjectionStore, store))
    yield* Effect.gen(function*() {
      yield* Effect.repeat(parkedKeys(projection), {
        until: (all) => all.length === 0,
        schedule: Schedule.spaced("10 millis")
      }).pipe(Effect.timeout("1 minute"))
      equal(yield* seen("a"), upTo(9).map((n) => `a${n + 1}`), "all but the skipped event, once")
      equal((yield* parkingLog(projection)).map((entry) => [entry.key, entry.action]), [[key, "parked"], [
        key,
        "skipped"
      ]], "the parking log")
      yield* equalComplete(projection)
    }).pipe(Effect.provide(projector))
  })
])

const bulk: ReadonlyArray<Case<Stores>> = [
  test("retries many parked streams in a few transactions", function*() {
    const { append, awaitConsumer, parked, poison, projection, seen } = fixture(2)
    const ids = upTo(150).map((n) => `s${n}-`)
    for (const id of ids) poison.add(`${id}1`)
    poison.add("s7-2")
    let transactions = 0
    const store = yield* storeWith((driver) => ({
      unpark: (...args) => Effect.andThen(Effect.sync(() => transactions++), driver.unpark(...args))
    }))
    yield* Effect.gen(function*() {
      yield* Effect.forEach(ids, (id) => append(id, 1), { concurrency: 20 })
      yield* Effect.forEach(ids, (id) => append(id, 2), { concurrency: 20 })
      yield* awaitConsumer(yield* append("last", 1))
      equal((yield* parkedKeys(projection)).length, 150, "the parked streams")
      const health = yield* Health.of([projection])
      equal([health.consumers[0]?.parked, health.consumers[0]?.requested], [150, 0], "as health shows it")
      for (const id of ids) poison.delete(`${id}1`)
      const outcome = yield* Parking.retryAll(projection)
      equal(outcome, { requested: 150, retried: 150, failed: 0, skipped: 0, parkedLater: 1 }, "the outcome")
      equal(yield* parked, [["s7-", 2, 1]], "what is parked later")
      for (const id of ids) equal((yield* seen(id)).length, id === "s7-" ? 1 : 2, `the document of ${id}`)
      equal(transactions <= 12, true, `${transactions} transactions`)
      yield* equalComplete(projection)
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
  }),

  test("retries parked streams of different lengths, also where a batch ends within one", function*() {
    for (const batchSize of [1, 2, 5, 10]) {
      const { append, awaitConsumer, poison, projection, seen } = fixture()
      const lengths = [3, 1, 1, 1, 1, 1, 1, 2, 1, 7, 1, 2]
      yield* Effect.gen(function*() {
        for (const [index, length] of lengths.entries()) {
          poison.add(`s${index}-1`)
          for (const n of upTo(length)) yield* append(`s${index}-`, n)
        }
        yield* awaitConsumer(yield* append("good", 1))
        poison.clear()
        const outcome = yield* Parking.retryAll(projection)
        equal([outcome.requested, outcome.retried], [12, 12], `the outcome in batches of ${batchSize}`)
        for (const [index, length] of lengths.entries()) {
          equal(
            yield* seen(`s${index}-`),
            upTo(length).map((n) => `s${index}-${n}`),
            `stream ${index} in batches of ${batchSize}`
          )
        }
        yield* equalComplete(projection)
      }).pipe(Effect.provide(Projector.layer([projection], { batchSize })))
    }
  }),

  test("frees no key before the high-water mark has reached the checkpoint again", function*() {
    const { append, awaitConsumer, poison, projection, seen } = fixture(1, "document")
    poison.add("a1")
    const events = yield* EventStore.EventStore
    const { driver } = events[internals]
    let last = Position.start
    let stepsBack = 0
    const steppingBack = {
      ...events,
      [internals]: {
        ...events[internals],
        driver: {
          ...driver,
          readAll: (page: Parameters<typeof driver.readAll>[0]) =>
            Effect.map(driver.readAll(page), (found) => {
              if (poison.size > 0 || page.after >= last || stepsBack === 3) return found
              stepsBack++
              const head = Position.make(last - 1n)
              const reached = LogPosition.make(Position.max(page.after, head), undefined)
              return { ...found, head, reached, events: found.events.filter(({ position }) => position <= head) }
            })
        }
      }
    }
    yield* Effect.gen(function*() {
      for (const n of upTo(3)) last = yield* append("a", n)
      yield* awaitConsumer(last)
      poison.clear()
      yield* Parking.retryAll(projection)
      equal(yield* seen("a"), ["a1", "a2", "a3"], "the document")
      isAbove(stepsBack, 0, "how often the mark was lower")
      yield* equalComplete(projection)
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provideService(EventStore.EventStore, steppingBack)
    )
  }),

  test("waits for the high-water mark while it is below the checkpoint, and other keys go on", function*() {
    const { append, awaitConsumer, poison, projection, seen } = fixture(1, "document")
    poison.add("a1")
    const events = yield* EventStore.EventStore
    const { driver } = events[internals]
    const mark = yield* Deferred.make<void>()
    let [last, looks] = [Position.start, 0]
    const heldBack = {
      ...events,
      [internals]: {
        ...events[internals],
        driver: {
          ...driver,
          readAll: (page: Parameters<typeof driver.readAll>[0]) =>
            Effect.map(driver.readAll(page), (found) => {
              if (poison.size > 0 || page.after >= last || Deferred.isDoneUnsafe(mark)) return found
              looks++
              return { ...found, events: [], head: page.after, reached: LogPosition.make(page.after, undefined) }
            }),
          changed: (...args: Parameters<typeof driver.changed>) =>
            poison.size === 0 && args[0] < last ? Deferred.await(mark) : driver.changed(...args)
        }
      }
    }
    yield* Effect.gen(function*() {
      for (const n of upTo(3)) last = yield* append("a", n)
      yield* awaitConsumer(last)
      poison.clear()
      const retried = yield* Effect.forkChild(Parking.retryAll(projection))
      yield* Effect.repeat(Effect.sync(() => looks), {
        until: (looks) => looks > 0,
        schedule: Schedule.spaced("5 millis")
      })
      const [before, since] = [looks, yield* monotonicMillis]
      yield* awaitConsumer(yield* append("good", 1))
      equal(yield* seen("good"), ["good1"], "the other key meanwhile")
      yield* Effect.sleep("1 second")
      const most = 2 + 2 * ((yield* monotonicMillis) - since) / 1_000
      equal(looks - before <= most, true, `${looks - before} looks at the log`)
      yield* Deferred.succeed(mark, undefined)
      equal((yield* Fiber.join(retried)).retried, 1, "the number of retried keys")
      equal(yield* seen("a"), ["a1", "a2", "a3"], "the document")
      yield* equalComplete(projection)
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provideService(EventStore.EventStore, heldBack)
    )
  }),

  test("lists parked keys and the parking log in pages, and retries and skips those of a filter", function*() {
    const { append, awaitConsumer, poison, projection, streamOf, type } = fixture()
    const ids = ["a", "b", "c", "d", "e"]
    for (const id of ids) poison.add(`${id}1`)
    const pagesOf = Effect.fnUntraced(function*<A, E, R>(
      read: (after: string | undefined) => Effect.Effect<ProjectionStore.Page<A>, E, R>
    ) {
      const pages: Array<ReadonlyArray<A>> = []
      let next: Option.Option<string> = Option.none()
      do {
        const page: ProjectionStore.Page<A> = yield* read(Option.getOrUndefined(next))
        pages.push(page.items)
        next = page.next
      } while (Option.isSome(next))
      return pages
    })
    yield* Effect.gen(function*() {
      for (const id of ids) yield* append(id, 1)
      yield* awaitConsumer(yield* append("good", 1))
      const pages = yield* pagesOf((after) => Parking.list(projection, { after, limit: 2 }))
      equal(pages.map((page) => page.map(({ key }) => key)), [
        [streamOf("a"), streamOf("b")],
        [streamOf("c"), streamOf("d")],
        [streamOf("e")]
      ], "the pages")
      const log = yield* pagesOf((after) => Parking.history(projection, { after, limit: 3 }))
      equal(log.map((page) => page.length), [3, 2], "the pages of the log")
      const wrong = yield* Effect.flip(Parking.list(projection, { after: "no cursor" }))
      includes(wrong.message, "`next` of an earlier page", "the error of another text")
      const tooMany = yield* Effect.flip(Parking.list(projection, { limit: 0 }))
      includes(tooMany.message, "a page must have 1 to", "the error of a limit")
      const listed = (filter: Parking.Filter) =>
        Effect.map(Parking.list(projection, filter), ({ items }) => items.map(({ key }) => key))
      equal(yield* listed({ error: "poison c" }), [streamOf("c")], "by a text of the error")
      equal([(yield* listed({ type })).length, (yield* listed({ type: "Other" })).length], [5, 0], "by type")
      const [, , third] = (yield* Parking.list(projection)).items
      equal((yield* listed({ parkedBefore: third!.parkedAt })).length <= 2, true, "by time")

      const none = { requested: 0, retried: 0, failed: 0, skipped: 0, parkedLater: 0 }
      equal(yield* Parking.retryAll(projection, { type: "Other" }), none, "a retry of no key")
      const skipped = yield* Parking.skipAll(projection, { reason: "a test", error: "poison a" })
      equal(skipped, { ...none, requested: 1, skipped: 1 }, "a skip of one")
      poison.clear()
      const retried = yield* Parking.retryAll(projection, { error: "poison b" })
      equal(retried, { ...none, requested: 1, retried: 1 }, "a retry of one")
      equal(yield* listed({}), ["c", "d", "e"].map(streamOf), "what is still parked")
      equal(
        (yield* Parking.history(projection, { key: streamOf("a") })).items.map(({ action, detail }) => [
          action,
          action === "skipped" ? detail : undefined
        ]),
        [["parked", undefined], ["skipped", "a test"]],
        "the log of a key"
      )
    }).pipe(Effect.provide(Projector.layer([projection])))
    const error = yield* Effect.flip(Parking.retryAll(projection, { timeout: "20 millis" }))
    equal([error._tag, "keys" in error && error.keys], ["StillParked", 3], "without a worker")
    const { consumers: [health] } = yield* Health.of([projection])
    equal([health?.parked, health?.requested], [3, 3], "as health shows it")
    includes(health?.reasons.join() ?? "", "3 of them until its worker has retried or skipped them", "the reason")
    equal(yield* Parking.withdraw(projection, { error: "poison c" }), 1, "a withdrawal")
    equal(yield* Parking.count(projection), { parked: 3, requested: 2, freeing: 0 }, "the count")
  }),

  test("many keys that are parked at a time write a few lines to the log", function*() {
    const { append, awaitConsumer, poison, projection } = fixture()
    const ids = upTo(40).map((n) => `s${n}-`)
    for (const id of ids) poison.add(`${id}1`)
    const lines: Array<string> = []
    const ofConsumer = () => lines.filter((line) => line.includes(projection.id))
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
      if (logLevel === "Error") lines.push(String(Array.isArray(message) ? message[0] : message))
    })
    yield* Effect.gen(function*() {
      for (const id of ids) yield* append(id, 1)
      yield* awaitConsumer(yield* append("last", 1))
      // The worker writes them after the checkpoint.
      yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => ofConsumer().length >= 10 }).pipe(
        Effect.timeoutOption("10 seconds")
      )
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Info")
    )
    isAtLeast(ofConsumer().length, 10, "the lines")
    equal(ofConsumer().length, 11, ofConsumer().join("\n"))
    includes(ofConsumer().at(-1)!, "has parked 30 more keys", "the last line")
  })
]

/** Runs an effect once, before the first transaction of the store after it was armed. */
const beforeTransaction = Effect.fnUntraced(function*(run: Effect.Effect<unknown, unknown, Stores>) {
  const services = yield* Effect.context<Stores>()
  let isArmed = false
  const once = Effect.suspend(() => {
    if (!isArmed) return Effect.void
    isArmed = false
    return Effect.orDie(Effect.provide(run, services))
  })
  const store = yield* storeWith((driver) => ({
    transaction: (effect) => Effect.andThen(once, driver.transaction(effect))
  }))
  return {
    store,
    arm: Effect.sync(() => {
      isArmed = true
    })
  }
})

/** Streams a, b and c, of which the first event fails. A test changes the request for b when the worker has read it. */
const threeParked = (partitionBy: typeof kinds[keyof typeof kinds]) => {
  const made = fixture(1, partitionBy)
  const { append, awaitConsumer, poison, projection } = made
  const keyOf = Effect.map(parkedKeys(projection), (all) => all.find(({ error }) => error.includes("poison b"))?.key)
  return {
    ...made,
    keyOf,
    begin: Effect.gen(function*() {
      for (const id of ["a", "b", "c"]) poison.add(`${id}1`)
      for (const n of upTo(2)) for (const id of ["a", "b", "c"]) yield* append(id, n)
      yield* awaitConsumer(yield* append("good", 1))
    })
  }
}

const changedRequests: ReadonlyArray<Case<Stores>> = Object.entries(kinds).flatMap(([name, partitionBy]) => [
  test(`a skip by ${name} that is withdrawn after its worker has read it is not carried out`, function*() {
    const { begin, poison, projection, seen } = threeParked(partitionBy)
    const { arm, store } = yield* beforeTransaction(Effect.gen(function*() {
      equal(yield* Parking.withdraw(projection, { error: "poison b" }), 1, "the withdrawn requests")
    }))
    yield* Effect.gen(function*() {
      yield* begin
      yield* arm
      const outcome = yield* Parking.skipAll(projection, { reason: "a mistake" })
      equal(outcome, { requested: 3, retried: 0, failed: 0, skipped: 2, parkedLater: 0 }, "the outcome")
      equal((yield* parkedKeys(projection)).map(({ error }) => error.includes("poison b")), [true], "what is parked")
      poison.clear()
      yield* Parking.retryAll(projection)
      equal([yield* seen("a"), yield* seen("b"), yield* seen("c")], [["a2"], ["b1", "b2"], ["c2"]], "the documents")
      yield* equalComplete(projection)
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
  }),

  test(`a retry by ${name} takes the place of a skip that its worker has read`, function*() {
    const { begin, keyOf, poison, projection, seen } = threeParked(partitionBy)
    let retry: Fiber.Fiber<Parking.Outcome, unknown> | undefined
    const { arm, store } = yield* beforeTransaction(Effect.gen(function*() {
      poison.clear()
      const key = yield* keyOf
      retry = yield* Effect.forkDetach(Parking.retry(projection, key!, { reason: "must be applied" }))
      yield* Effect.repeat(parkedKeys(projection), {
        until: (all) => all.some(({ request }) => request?.action === "retry"),
        schedule: Schedule.spaced("5 millis")
      })
    }))
    yield* Effect.gen(function*() {
      yield* begin
      yield* arm
      const outcome = yield* Parking.skipAll(projection, { reason: "a mistake" })
      equal(outcome.skipped, 2, "the skipped keys")
      const { entry, outcome: ofRetry, parked } = yield* Fiber.join(retry!)
      equal([ofRetry, entry.detail, parked], ["retried", "must be applied", undefined], "the outcome of the retry")
      equal([yield* seen("a"), yield* seen("b"), yield* seen("c")], [["a2"], ["b1", "b2"], ["c2"]], "the documents")
      yield* equalComplete(projection)
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
  })
])

const handlers: ReadonlyArray<Case<Stores>> = (["retry", "skip"] as const).flatMap((action) =>
  [1, 100].map((batchSize) =>
    test(`keys that are withdrawn while a handler runs stay parked: ${action}, by ${batchSize} events`, function*() {
      const type = unique("Noted")
      const Events = Schema.TaggedUnion({ [type]: { key: Schema.String, n: Schema.Int } }).pipe(
        Event.tags({ k: "key" })
      )
      const handled: Array<string> = []
      const [entered, opened] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let isBroken = true
      const keys = ["a", "b", "c", "d"]
      const subscription = Subscription.make(unique("mail"), {
        events: Events,
        partitionBy: { tag: "k" },
        retry: Schedule.recurs(0),
        parks: ["Bad"],
        handle: {
          [type]: ({ key, n }) =>
            Effect.gen(function*() {
              if (n === 1 && isBroken) return yield* Effect.fail({ _tag: "Bad" } as const)
              if (key === "a" && n === (action === "skip" ? 2 : 1)) {
                yield* Deferred.succeed(entered, undefined)
                yield* Deferred.await(opened)
              }
              handled.push(`${key}${n}`)
            })
        }
      })
      const until = (isReached: (count: Parking.Count) => boolean) =>
        Effect.repeat(Parking.count(subscription), { until: isReached, schedule: Schedule.spaced("10 millis") })
          .pipe(Effect.timeout("1 minute"))
      yield* Effect.gen(function*() {
        const events = yield* EventStore.EventStore
        for (const n of upTo(2)) {
          for (const key of keys) yield* events.append(Events, `${type}-${key}`, [{ _tag: type, key, n }])
        }
        yield* until(({ parked }) => parked === keys.length)
        if (action === "retry") isBroken = false
        const asking = action === "skip"
          ? Parking.skipAll(subscription, { reason: "a mistake" })
          : Parking.retryAll(subscription)
        const asked = yield* Effect.forkChild(asking)
        yield* Deferred.await(entered)
        isBroken = false
        const withdrawn = yield* Parking.withdraw(subscription)
        yield* Deferred.succeed(opened, undefined)
        const outcome = yield* Fiber.join(asked)
        equal(outcome.retried + outcome.skipped, keys.length - withdrawn, "the keys that were not withdrawn")
        const after = yield* until(({ requested }) => requested === 0)
        equal(after.parked, withdrawn, "the keys that are still parked")
        equal((yield* Parking.retryAll(subscription)).retried, withdrawn, "the retried keys")
        equal(
          handled.filter((one) => one.endsWith("1")).length,
          action === "skip" ? withdrawn : keys.length,
          "how many first events were handled"
        )
        for (const key of keys) {
          const ofKey = handled.filter((one) => one.startsWith(key))
          equal(ofKey, ofKey.length === 1 ? [`${key}2`] : [`${key}1`, `${key}2`], `the events of ${key}`)
        }
        equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
      }).pipe(Effect.provide(Subscription.layer([subscription], { batchSize })))
    })
  )
)

const repeatedRequests: ReadonlyArray<Case<Stores>> = [
  test("a second retry request while a handler runs repeats no event in the next program", function*() {
    const type = unique("Noted")
    const Events = Schema.TaggedUnion({ [type]: { n: Schema.Int } })
    const handled: Array<number> = []
    const entered = yield* Deferred.make<void>()
    let [isBroken, isBlocked] = [true, true]
    const subscription = Subscription.make(unique("mail"), {
      events: Events,
      retry: Schedule.recurs(0),
      parks: ["Bad"],
      handle: {
        [type]: ({ n }) =>
          Effect.gen(function*() {
            if (n === 1 && isBroken) return yield* Effect.fail({ _tag: "Bad" } as const)
            if (n === 3 && isBlocked) {
              yield* Deferred.succeed(entered, undefined)
              return yield* Effect.never
            }
            handled.push(n)
          })
      }
    })
    const until = (parked: number) =>
      Effect.repeat(Parking.count(subscription), {
        until: (count) => count.parked === parked,
        schedule: Schedule.spaced("10 millis")
      }).pipe(Effect.timeout("1 minute"))
    const request = Effect.map(parkedKeys(subscription), ([one]) => one?.request?.id)
    const events = yield* EventStore.EventStore
    yield* events.append(Events, `${type}-a`, upTo(3).map((n) => ({ _tag: type, n })))
    yield* Effect.gen(function*() {
      yield* until(1)
      isBroken = false
      yield* Effect.forkChild(Effect.exit(Parking.retryAll(subscription)))
      yield* Effect.timeout(Deferred.await(entered), "1 minute")
      const first = yield* request
      yield* Effect.forkChild(Effect.exit(Parking.retryAll(subscription)))
      yield* Effect.repeat(request, { until: (id) => id !== first, schedule: Schedule.spaced("10 millis") }).pipe(
        Effect.timeout("1 minute")
      )
    }).pipe(Effect.provide(Layer.fresh(Subscription.layer([subscription], { stopTimeout: "10 millis" }))))
    isBlocked = false
    yield* Effect.provide(until(0), Layer.fresh(Subscription.layer([subscription])))
    equal(handled, [1, 2, 3], "the handled events")
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
  })
]

const bounds: ReadonlyArray<Case<Stores>> = [
  test("a skip of very many keys skips the event of each that was parked when it was asked for", function*() {
    const { append, awaitConsumer, poison, projection, seen } = fixture(1)
    const ids = upTo(501).map((n) => `s${n}-`)
    for (const id of ids) for (const n of upTo(2)) poison.add(`${id}${n}`)
    // The worker carries out the requests of a page before the next page is requested.
    const store = yield* storeWith((driver) => ({
      request: (...args) =>
        driver.requestProgress(projection.id, args[1].id).pipe(
          Effect.repeat({ until: ({ waiting }) => waiting === 0, schedule: Schedule.spaced("10 millis") }),
          Effect.andThen(driver.request(...args))
        )
    }))
    yield* Effect.gen(function*() {
      for (const n of upTo(2)) yield* Effect.forEach(ids, (id) => append(id, n), { concurrency: 20 })
      yield* awaitConsumer(yield* append("last", 1))
      const outcome = yield* Parking.skipAll(projection, { reason: "the first events are obsolete" })
      equal(outcome, { requested: 501, retried: 0, failed: 0, skipped: 501, parkedLater: 501 }, "the outcome")
      poison.clear()
      yield* Parking.retryAll(projection)
      for (const id of ids) equal(yield* seen(id), [`${id}2`], `the document of ${id}`)
      yield* equalComplete(projection)
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
  })
]

const unknownKeys: ReadonlyArray<Case<Stores>> = ([
  ["all", "retry"],
  ["the key", "retry"],
  ["the key", "skip"]
] as const).flatMap(([first, then]) =>
  [1, 3].map((partitions) =>
    test(
      `an event of unknown key is applied once beside a parked key: retry ${first}, then ${then}, ${partitions} partitions`,
      function*() {
        const type = unique("Paid")
        const Events = Schema.TaggedUnion({ [type]: { account: Schema.String, cents: Schema.Int } })
        let isDeployed = false
        const projection = Projection.make(unique("balance"), {
          events: Events,
          document: Schema.Int,
          partitions,
          key: ({ account, cents }) => {
            if (cents === 100 && !isDeployed) throw new Error("no key")
            return account
          },
          evolve: {
            [type]: (sum = 0, { cents }) => {
              if (cents === 1 && !isDeployed) throw new Error("poison")
              return sum + cents
            }
          }
        })
        yield* Effect.gen(function*() {
          const events = yield* EventStore.EventStore
          let last = Position.start
          for (const cents of [1, 10, 100, 1_000]) {
            last = (yield* events.append(Events, `${type}-a`, [{ _tag: type, account: "a", cents }])).position
          }
          yield* Effect.repeat(Parking.count(projection), {
            until: ({ parked }) => parked === 1 + partitions,
            schedule: Schedule.spaced("10 millis")
          }).pipe(Effect.timeout("1 minute"))
          isDeployed = true
          if (first === "the key") {
            yield* Parking.retry(projection, "a")
            equal(Option.getOrUndefined(yield* ProjectionStore.get(projection, "a")), 11, "the balance in between")
            yield* equalComplete(projection)
          }
          if (then === "skip") yield* Parking.skip(projection, "", { reason: "a test" })
          else yield* Parking.retryAll(projection)
          yield* Effect.flatMap(
            ProjectionStore.ProjectionStore,
            (store) => store.awaitPosition(projection, last, "50 seconds")
          )
          const balance = Option.getOrUndefined(yield* ProjectionStore.get(projection, "a"))
          equal(balance, then === "skip" ? 1_011 : 1_111, "the balance")
          equal(yield* parkedKeys(projection), [], "the parked keys")
          yield* equalComplete(projection)
        }).pipe(Effect.provide(Projector.layer([projection])))
      }
    )
  )
)

/**
 * All cases of many parked keys.
 *
 * @since 0.1.0
 * @category suites
 */
export const massParking: ReadonlyArray<Case<Stores>> = [
  ...progress,
  ...chunks,
  ...bulk,
  ...bounds,
  ...changedRequests,
  ...handlers,
  ...repeatedRequests,
  ...unknownKeys
]
