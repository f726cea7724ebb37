/** What a worker of a subscription does with the event in hand when it stops, or gives a partition to another. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
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
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import type { ConsumerDriver, Progress } from "../../src/consumer/CheckpointDriver.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import type { ConsumerStatus } from "../../src/consumer/ConsumerStatus.ts"
import * as ParkingRequestWakeups from "../../src/consumer/parking/ParkingRequestWakeups.ts"
import type { WorkerOptions } from "../../src/consumer/worker/WorkerOptions.ts"
import { storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import { partitionOf } from "../../src/core/partitionHash.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"

const Sent = Schema.TaggedUnion({ Sent: { n: Schema.Int } })
const Both = Schema.TaggedUnion({ Sent: { n: Schema.Int }, Seen: { n: Schema.Int } })

const append = Effect.fnUntraced(function*(stream: string, ns: ReadonlyArray<number>) {
  const store = yield* EventStore
  yield* store.append(Sent, stream, ns.map((n) => Sent.cases.Sent.make({ n })))
})

/** The events for which a handler has ended, and a way to wait for a number of them. */
const makeInbox = () => {
  const got: Array<string> = []
  const more = Latch.makeUnsafe(false)
  const put = (label: string) => {
    got.push(label)
    more.openUnsafe()
  }
  const until = (count: number) =>
    Effect.gen(function*() {
      while (got.length < count) {
        yield* more.await
        yield* more.close
      }
    }).pipe(Effect.timeoutOrElse({
      duration: "50 seconds",
      orElse: () => Effect.die(new Error(`timed out waiting for ${count} events; handled ${got.join(" ")}`))
    }))
  return { got, put, until }
}

const buildWorker = (
  subscription:
    | Subscription.Subscription<string, typeof Sent, never>
    | Subscription.Subscription<string, typeof Both, never>,
  options: WorkerOptions,
  scope: Scope.Scope
) => Layer.buildWithScope(Layer.fresh(attentive(Subscription.layer([subscription], options), subscription)), scope)

/** Waits until a partition of a consumer is as wanted. */
const untilProgress = ({ id }: { readonly id: string }, isRight: (one: Progress) => boolean) =>
  Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store[internals].driver.progress(id)).pipe(
    Effect.repeat({ until: (progress) => progress.some(isRight), schedule: Schedule.spaced("5 millis") }),
    Effect.timeout("1 minute")
  )

/** A store, as of another process, whose heartbeats fail while it is separated. */
const separable = (replaced: (driver: ConsumerDriver) => Partial<ConsumerDriver> = () => ({})) =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const unavailable = storeError(new StoreUnavailable({ message: "The database is unavailable", cause: undefined }))
    let isSeparated = false
    const store = yield* ProjectionStore.make({
      ...driver,
      inProcess: undefined,
      claim: (options) => isSeparated ? Effect.fail(unavailable) : driver.claim(options),
      ...replaced(driver)
    })
    const separate = (separated: boolean) => {
      isSeparated = separated
    }
    return { store, separate }
  })

/**
 * The cases.
 *
 * @since 0.1.0
 * @category suites
 */
export const handOvers: ReadonlyArray<Case<Stores>> = [
  test("repeats no event after a worker was closed in the middle of a batch", function*() {
    const prefix = unique("mail")
    const inbox = makeInbox()
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      handle: (_, { stream, version }) =>
        Effect.andThen(Effect.sleep("2 millis"), Effect.sync(() => inbox.put(`${stream}/${version}`)))
    })
    for (const stream of ["a", "b", "c"]) yield* append(`${prefix}${stream}`, upTo(20))
    for (const round of upTo(8)) {
      const scope = yield* Scope.make()
      yield* buildWorker(subscription, { batchSize: 50 }, scope)
      yield* inbox.until(round * 7)
      yield* Scope.close(scope, Exit.void)
    }
    yield* Effect.scoped(
      Effect.flatMap(
        Effect.scope,
        (scope) => Effect.andThen(buildWorker(subscription, { batchSize: 50 }, scope), inbox.until(60))
      )
    )
    equal(inbox.got.length, new Set(inbox.got).size, "the number of handled events")
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
  }),

  test("repeats no event when partitions are given to another worker", function*() {
    const prefix = unique("mail")
    const inbox = makeInbox()
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      partitions: 4,
      handle: (_, { stream, version }) =>
        Effect.andThen(Effect.sleep("5 millis"), Effect.sync(() => inbox.put(`${stream}/${version}`)))
    })
    const streams = upTo(8).map((n) => `${prefix}${n}`)
    for (const stream of streams) yield* append(stream, upTo(20))
    yield* Effect.scoped(Effect.gen(function*() {
      const scope = yield* Effect.scope
      const options = { batchSize: 50 } as const
      yield* buildWorker(subscription, options, scope)
      yield* inbox.until(10)
      // It takes two of the four partitions over, each with a batch in hand; and gives them back.
      const second = yield* Scope.make()
      yield* buildWorker(subscription, options, second)
      yield* inbox.until(100)
      yield* Scope.close(second, Exit.void)
      yield* inbox.until(160)
    }))
    equal(inbox.got.length, new Set(inbox.got).size, "the number of handled events")
    for (const stream of streams) {
      const versions = inbox.got.flatMap((label) => label.startsWith(`${stream}/`) ? [Number(label.split("/")[1])] : [])
      equal(versions, upTo(20), `the versions of ${stream}`)
    }
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
  }),

  ...([[[1, 2, 3], []], [[1, 3], [2]]] as const).map(([sent, seen]) =>
    test(`repeats no event before ${seen.length === 0 ? "a" : "one that is new to a"} release that reads more`, function*() {
      const [name, prefix] = [unique("mails"), unique("mail")]
      const inbox = makeInbox()
      const [begun, proceed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
      const handle = (release: string) => ({ n }: { readonly n: number }) =>
        Effect.andThen(
          n === 1 ? Effect.andThen(begun.open, proceed.await) : Effect.void,
          Effect.sync(() => inbox.put(`${release} ${n}`))
        )
      const common = { where: { streamPrefix: prefix } }
      const older = Subscription.make(name, { ...common, events: Sent, handle: handle("old") })
      const newer = Subscription.make(name, { ...common, events: Both, handle: handle("new") })
      const { append } = yield* EventStore
      for (const n of [...sent, ...seen].toSorted()) {
        const event = { n, _tag: (seen as ReadonlyArray<number>).includes(n) ? "Seen" : "Sent" } as const
        yield* append(Both, StreamId.make(`${prefix}a`), [event])
      }
      const scope = yield* Effect.scope
      yield* buildWorker(older, {}, scope)
      yield* begun.await
      yield* buildWorker(newer, {}, scope)
      const reads = ConsumerReads.format(ConsumerReads.of(newer))
      yield* untilProgress(older, (one) => one.takenBy === reads || one.reads === reads)
      yield* proceed.open
      yield* untilProgress(older, (one) => one.reads === reads)
      yield* append(Both, StreamId.make(`${prefix}a`), [{ _tag: "Sent", n: 4 }])
      const of = (release: string) =>
        inbox.got.flatMap((label) => label.startsWith(release) ? [Number(label.slice(-1))] : [])
      while (of("new").at(-1) !== 4) yield* inbox.until(inbox.got.length + 1)
      const later = upTo(4).filter((n) => n > (seen.length === 0 ? of("old").length : 1))
      equal(of("new"), later, `what the new one handles after ${of("old").join(", ")} of the old one`)
      equal((yield* DeliveryAudit.run(newer)).status, "complete", "the audit")
    })
  ),

  test("names the release that reads more, and the event in hand for which it waits", function*() {
    const [name, prefix] = [unique("mails"), unique("mail")]
    const inbox = makeInbox()
    const [begun, proceed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push(String(message)))
    const common = { where: { streamPrefix: prefix } }
    const older = Subscription.make(name, {
      ...common,
      events: Sent,
      handle: () => Effect.andThen(begun.open, proceed.await)
    })
    const newer = Subscription.make(name, {
      ...common,
      events: Both,
      handle: () => Effect.sync(() => inbox.put("new"))
    })
    yield* append(`${prefix}a`, [1])
    const scope = yield* Effect.scope
    yield* buildWorker(older, { lease: "2 seconds" }, scope)
    yield* Effect.addFinalizer(() => proceed.open)
    yield* begun.await
    const context = yield* buildWorker(newer, { lease: "2 seconds" }, scope).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Info")
    )
    const waits =
      /mails\S+@1 changes to the release of worker \S+, which also reads "Seen", when its workers have given back partition 0 \(worker \S+, checkpoint \d+, event \d+ \(Sent\) in hand for \d+ s\)$/
    const until = <A, E, R>(read: Effect.Effect<A, E, R>, textsOf: (read: A) => ReadonlyArray<string | undefined>) =>
      Effect.repeat(read, {
        until: (read) => textsOf(read).some((text) => waits.test(text ?? "")),
        schedule: Schedule.spaced("20 millis")
      }).pipe(Effect.timeout("1 minute"))
    for (const release of [older, newer]) {
      equal((yield* until(Health.of([release]), ({ reasons }) => reasons)).status, "yellow", "the health")
    }
    yield* until(
      Context.get(context, Subscription.Subscriptions).status,
      (all) => all.map(({ detail }) => detail)
    )
    yield* until(Effect.sync(() => lines), (lines) => lines)
    yield* proceed.open
    yield* append(`${prefix}a`, [2])
    yield* inbox.until(1)
    yield* Effect.repeat(Health.of([older, newer]), {
      until: ({ reasons }) => !reasons.some((reason) => reason.includes("changes to the release")),
      schedule: Schedule.spaced("20 millis")
    }).pipe(Effect.timeout("1 minute"))
  }),

  test("repeats no event of a retry in hand when a release that reads more takes over", function*() {
    const [name, prefix] = [unique("mails"), unique("mail")]
    const inbox = makeInbox()
    const [begun, proceed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    let isFailing = true
    const handle = (release: string) => ({ n }: { readonly n: number }) =>
      Effect.gen(function*() {
        if (isFailing) return yield* Effect.die("down")
        if (n === 1) yield* Effect.andThen(begun.open, proceed.await)
        inbox.put(`${release} ${n}`)
      })
    const common = { where: { streamPrefix: prefix }, retry: Schedule.recurs(0) }
    const older = Subscription.make(name, { ...common, events: Sent, handle: handle("old") })
    const newer = Subscription.make(name, { ...common, events: Both, handle: handle("new") })
    const stream = `${prefix}a`
    yield* append(stream, upTo(3))
    const scope = yield* Effect.scope
    yield* buildWorker(older, {}, scope)
    yield* Effect.timeout(
      Effect.repeat(Parking.count(older), {
        until: ({ parked }) => parked === 1,
        schedule: Schedule.spaced("5 millis")
      }),
      "20 seconds"
    )
    isFailing = false
    const retried = yield* Effect.forkChild(Parking.retry(older, stream))
    yield* begun.await
    yield* buildWorker(newer, {}, scope)
    const reads = ConsumerReads.format(ConsumerReads.of(newer))
    yield* untilProgress(older, (one) => one.takenBy === reads || one.reads === reads)
    yield* proceed.open
    equal((yield* Fiber.join(retried)).outcome, "retried", "the outcome")
    yield* untilProgress(older, (one) => one.reads === reads)
    yield* inbox.until(3)
    equal(inbox.got.map((label) => Number(label.slice(-1))), upTo(3), `the events of ${inbox.got.join(", ")}`)
    equal((yield* DeliveryAudit.run(newer)).status, "complete", "the audit")
  }),

  test("hands over an event after its checkpoint that only the other release reads", function*() {
    const [name, prefix] = [unique("mails"), unique("mail")]
    const inbox = makeInbox()
    const [saving, proceed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const handle = (release: string) => ({ n }: { readonly n: number }) =>
      Effect.sync(() => inbox.put(`${release} ${n}`))
    const common = { where: { streamPrefix: prefix } }
    const older = Subscription.make(name, { ...common, events: Sent, handle: handle("old") })
    const newer = Subscription.make(name, { ...common, events: Both, handle: handle("new") })
    const scope = yield* Effect.scope
    const old = yield* separable((driver) => ({
      advance: (request) =>
        request.applied.length > 0
          ? driver.advance(request)
          : Effect.andThen(Effect.andThen(saving.open, proceed.await), driver.advance(request))
    }))
    yield* Effect.addFinalizer(() => proceed.open)
    yield* append(`${prefix}a`, [1])
    yield* Effect.provideService(buildWorker(older, {}, scope), ProjectionStore.ProjectionStore, old.store)
    yield* inbox.until(1)
    yield* (yield* EventStore).append(Both, `${prefix}b`, [{ _tag: "Seen", n: 2 }])
    yield* Effect.timeout(saving.await, "1 minute")
    // Its next heartbeat would end it.
    old.separate(true)
    yield* buildWorker(newer, {}, scope)
    const reads = ConsumerReads.format(ConsumerReads.of(newer))
    yield* untilProgress(older, (one) => one.takenBy === reads)
    yield* proceed.open
    old.separate(false)
    yield* inbox.until(2)
    equal([...inbox.got], ["old 1", "new 2"], "the handled events")
    equal((yield* DeliveryAudit.run(newer)).status, "complete", "the audit")
  }),

  test("handles no further event after its lease expired and another worker took over", function*() {
    const [name, prefix] = [unique("mails"), unique("mail")]
    const inbox = makeInbox()
    const [begun, proceed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const mails = (worker: string) =>
      Subscription.make(name, {
        events: Sent,
        where: { streamPrefix: prefix },
        handle: {
          Sent: ({ n }) =>
            Effect.andThen(
              worker === "old" && n === 1 ? Effect.andThen(begun.open, proceed.await) : Effect.void,
              Effect.sync(() => inbox.put(`${worker} ${n}`))
            )
        }
      })
    yield* append(`${prefix}a`, upTo(3))
    const scope = yield* Effect.scope
    const options = { retryDelay: { first: "20 millis", max: "50 millis" } } as const
    const old = yield* separable()
    const worker = buildWorker(mails("old"), { ...options, lease: "300 millis" }, scope)
    yield* Effect.provideService(worker, ProjectionStore.ProjectionStore, old.store)
    yield* begun.await
    old.separate(true)
    yield* buildWorker(mails("new"), options, scope)
    yield* inbox.until(3)
    yield* proceed.open
    yield* inbox.until(4)
    old.separate(false)
    yield* append(`${prefix}a`, [4])
    yield* inbox.until(5)
    equal([...inbox.got], ["new 1", "new 2", "new 3", "old 1", "new 4"], "the handled events")
  }),

  test("handles no further event after its heartbeat shows that another worker took over", function*() {
    const [name, prefix] = [unique("mails"), unique("mail")]
    const inbox = makeInbox()
    const [begun, proceed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const [committed, end] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const handle = (worker: string) => ({ n }: { readonly n: number }) =>
      Effect.andThen(
        worker === "old" && n === 1 ? Effect.andThen(begun.open, proceed.await) : Effect.void,
        Effect.sync(() => inbox.put(`${worker} ${n}`))
      )
    const common = { where: { streamPrefix: prefix } }
    const older = Subscription.make(name, { ...common, events: Sent, handle: handle("old") })
    const newer = Subscription.make(name, { ...common, events: Both, handle: handle("new") })
    yield* append(`${prefix}a`, upTo(3))
    const scope = yield* Effect.scope
    const options = { retryDelay: { first: "20 millis", max: "50 millis" } } as const
    const old = yield* separable((driver) => ({
      // It looks whether its code reads what the other one has read, and that takes its time.
      progress: (generation) => Effect.andThen(Effect.andThen(proceed.open, end.await), driver.progress(generation)),
      advance: (request) => Effect.tap(driver.advance(request), committed.open)
    }))
    const worker = buildWorker(older, { ...options, lease: "300 millis" }, scope)
    yield* Effect.provideService(worker, ProjectionStore.ProjectionStore, old.store)
    yield* begun.await
    old.separate(true)
    yield* buildWorker(newer, options, scope)
    yield* inbox.until(3)
    old.separate(false)
    yield* Effect.addFinalizer(() => end.open)
    yield* Effect.timeout(committed.await, "1 minute")
    equal([...inbox.got], ["new 1", "new 2", "new 3", "old 1"], "the handled events")
  }),

  test("repeats no event that its handler ends while a heartbeat is under way", function*() {
    const prefix = unique("mail")
    const inbox = makeInbox()
    const [begun, proceed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      handle: {
        Sent: ({ n }) =>
          Effect.andThen(
            n === 2 ? Effect.andThen(begun.open, proceed.await) : Effect.void,
            Effect.sync(() => inbox.put(String(n)))
          )
      }
    })
    yield* append(`${prefix}a`, upTo(3))
    const [drained, claimed] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const [received, saved] = [Latch.makeUnsafe(true), Latch.makeUnsafe(false)]
    const { store } = yield* separable((driver) => ({
      claim: (request) =>
        Effect.tap(driver.claim(request), ({ change }) => {
          if (change === "drain") return drained.open
          return drained.isOpen() ? Effect.andThen(claimed.open, received.await) : Effect.void
        }),
      advance: (request) => Effect.tap(driver.advance(request), () => drained.isOpen() ? saved.open : Effect.void)
    }))
    const { driver } = store[internals]
    const wake = ParkingRequestWakeups.wake(driver, subscription.id)
    yield* Layer.build(Layer.fresh(Subscription.layer([subscription], { stopTimeout: "1 hour" }))).pipe(
      Effect.provideService(ProjectionStore.ProjectionStore, store)
    )
    yield* begun.await
    // As by a reset that is given up: the processor is to stop after the event in hand.
    yield* driver.drain(subscription.id, "reset", Duration.minutes(1))
    yield* Effect.andThen(wake, drained.await)
    yield* driver.release(subscription.id, "reset")
    yield* received.close
    yield* Effect.andThen(wake, claimed.await)
    yield* proceed.open
    yield* Effect.timeout(saved.await, "1 minute")
    // Nothing shows the end of the processor, which follows at once.
    yield* Effect.sleep("50 millis")
    yield* received.open
    yield* inbox.until(3)
    equal([...inbox.got], ["1", "2", "3"], "the handled events")
    equal((yield* DeliveryAudit.run(subscription)).status, "complete", "the audit")
  }),

  test("interrupts the event in hand at once when it has lost its lease", function*() {
    const [name, prefix] = [unique("mails"), unique("mail")]
    const inbox = makeInbox()
    const begun = Latch.makeUnsafe(false)
    const mails = (worker: string) =>
      Subscription.make(name, {
        events: Sent,
        where: { streamPrefix: prefix },
        handle: {
          Sent: () =>
            worker === "old"
              ? Effect.onInterrupt(
                Effect.andThen(begun.open, Effect.never),
                () => Effect.sync(() => inbox.put("interrupted"))
              )
              : Effect.sync(() => inbox.put(worker))
        }
      })
    yield* append(`${prefix}a`, [1])
    const scope = yield* Effect.scope
    const options = { retryDelay: { first: "20 millis", max: "50 millis" } } as const
    const old = yield* separable()
    const worker = buildWorker(mails("old"), { ...options, lease: "300 millis", stopTimeout: "1 hour" }, scope)
    yield* Effect.provideService(worker, ProjectionStore.ProjectionStore, old.store)
    yield* begun.await
    old.separate(true)
    yield* buildWorker(mails("new"), options, scope)
    yield* inbox.until(1)
    old.separate(false)
    yield* inbox.until(2)
    equal([...inbox.got], ["new", "interrupted"], "what happened")
  }),

  test("gives up a handler that does not end within stopTimeout, and handles its event again", function*() {
    const prefix = unique("mail")
    const inbox = makeInbox()
    const begun = Latch.makeUnsafe(false)
    let hangs = true
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      handle: {
        Sent: ({ n }) =>
          Effect.suspend(() =>
            n === 3 && hangs ? Effect.andThen(begun.open, Effect.never) : Effect.sync(() => inbox.put(String(n)))
          )
      }
    })
    yield* append(`${prefix}a`, upTo(5))
    const scope = yield* Scope.make()
    yield* buildWorker(subscription, { stopTimeout: "50 millis" }, scope)
    yield* begun.await
    yield* Effect.timeout(Scope.close(scope, Exit.void), "1 minute")
    equal([...inbox.got], ["1", "2"], "the events before it")
    hangs = false
    yield* Effect.scoped(
      Effect.flatMap(Effect.scope, (scope) => Effect.andThen(buildWorker(subscription, {}, scope), inbox.until(5)))
    )
    equal([...inbox.got], ["1", "2", "3", "4", "5"], "all events")
  }),

  test("names the event in hand, and no transaction, while a handler takes long", function*() {
    const prefix = unique("mail")
    const proceed = Latch.makeUnsafe(false)
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push(String(message)))
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      handle: { Sent: ({ n }) => n === 2 ? proceed.await : Effect.void }
    })
    yield* append(`${prefix}a`, [1])
    const scope = yield* Effect.scope
    const context = yield* buildWorker(subscription, { lease: "2 seconds" }, scope).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Info")
    )
    const status = Effect.map(Context.get(context, Subscription.Subscriptions).status, ([one]) => one!)
    const until = (done: (one: ConsumerStatus) => boolean) =>
      Effect.repeat(status, { until: done, schedule: Schedule.spaced("20 millis") }).pipe(
        Effect.timeout("1 minute")
      )
    yield* until(({ state }) => state === "live")
    yield* append(`${prefix}a`, [2])
    yield* append(`${prefix}b`, [3])
    const isLogged = () => lines.some((line) => line.includes("in hand"))
    const { applied, detail, heartbeat, state } = yield* until(({ detail = "" }) =>
      detail.includes("in hand") && isLogged()
    )
    equal([state, applied, /^the handler has had event \d+ \(Sent\) of partition 0 in hand/.test(detail ?? "")], [
      "catching-up",
      1,
      true
    ], detail ?? "")
    // The next claims compare the last event with the high-water mark.
    yield* until((one) => one.heartbeat > heartbeat + 300)
    yield* proceed.open
    const after = yield* until(({ applied }) => applied === 3)
    equal(after.detail, undefined, "the detail after it")
    equal(lines.filter((line) => line.includes("holds back")), [], "the log")
  }),

  test("an attempt that takes long and fails is no recovery, the next that succeeds is", function*() {
    const prefix = unique("mail")
    const attempts = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    let begun = 0
    const lines: Array<string> = []
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      retry: Schedule.recurs(1),
      handle: {
        Sent: () =>
          Effect.suspend(() => Effect.andThen(attempts[begun++]!.await, begun === 1 ? Effect.die("busy") : Effect.void))
      }
    })
    yield* append(`${prefix}a`, [1])
    const until = (done: () => boolean) =>
      Effect.repeat(Effect.sync(done), { until: (isDone) => isDone, schedule: Schedule.spaced("20 millis") }).pipe(
        Effect.timeout("1 minute")
      )
    const context = yield* buildWorker(subscription, { lease: "2 seconds" }, yield* Effect.scope).pipe(
      Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])),
      Effect.provideService(References.MinimumLogLevel, "Info")
    )
    const status = Effect.map(Context.get(context, Subscription.Subscriptions).status, ([one]) => one!)
    const inHand = () => lines.filter((line) => line.includes("in hand")).length
    const hasRecovered = () => lines.some((line) => line.includes("has recovered"))
    yield* until(() => inHand() === 1)
    yield* attempts[0]!.open
    yield* until(() => begun === 2)
    const { heartbeat } = yield* status
    // Two claims, each of which looks at what is in hand.
    yield* Effect.repeat(status, {
      until: (one) => one.heartbeat > heartbeat + 250,
      schedule: Schedule.spaced("20 millis")
    }).pipe(Effect.timeout("1 minute"))
    equal([inHand(), hasRecovered()], [1, false], "the log during the second attempt")
    yield* attempts[1]!.open
    yield* until(hasRecovered)
  }),

  test("hands on a partition whose handler ignores its interruption", function*() {
    const [name, prefix] = [unique("mails"), unique("mail")]
    const inbox = makeInbox()
    const [begun, end] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const options = { events: Sent, where: { streamPrefix: prefix } }
    const older = Subscription.make(name, {
      ...options,
      handle: {
        Sent: ({ n }) =>
          n === 2
            ? Effect.uninterruptible(Effect.andThen(begun.open, end.await))
            : Effect.sync(() => inbox.put(`old ${n}`))
      }
    })
    const newer = Subscription.make(name, {
      ...options,
      version: 2,
      from: { version: 1 },
      handle: { Sent: ({ n }) => Effect.sync(() => inbox.put(`new ${n}`)) }
    })
    yield* append(`${prefix}a`, upTo(4))
    const timing = { lease: "2 seconds", stopTimeout: "50 millis" } as const
    const scope = yield* Scope.make()
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push(String(message)))
    const build = (subscription: typeof older, scope: Scope.Scope) =>
      buildWorker(subscription, timing, scope).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Info")
      )
    yield* build(older, scope)
    yield* begun.await
    const context = yield* build(newer, yield* Effect.scope)
    const waits =
      /mails\S+@2 waits until \S+@1 has given back partition 0 \(worker \S+, checkpoint \d+, event \d+ \(Sent\) in hand for \d+ s\)$/
    const shows = (one: { readonly reasons: ReadonlyArray<string> }) => one.reasons.some((text) => waits.test(text))
    yield* Effect.repeat(Health.of([newer]), { until: shows, schedule: Schedule.spaced("20 millis") }).pipe(
      Effect.timeout("1 minute")
    )
    yield* Effect.repeat(Context.get(context, Subscription.Subscriptions).status, {
      until: ([one]) => waits.test(one?.detail ?? ""),
      schedule: Schedule.spaced("20 millis")
    }).pipe(Effect.timeout("1 minute"))
    yield* inbox.until(4)
    equal(lines.some((line) => waits.test(line)), true, `the log of the one that waits: ${lines.join("\n")}`)
    const gives =
      /@1 waits: it gives its partitions back.*: the handler has had event \d+ \(Sent\) of partition 0 in hand/
    equal(lines.some((line) => gives.test(line)), true, `the log of the other: ${lines.join("\n")}`)
    equal([...inbox.got], ["old 1", "new 2", "new 3", "new 4"], "the handled events")
    yield* Effect.timeout(Scope.close(scope, Exit.void), "1 minute")
    yield* end.open
    yield* append(`${prefix}a`, [5])
    yield* inbox.until(5)
    equal([...inbox.got].slice(4), ["new 5"], "the event after it")
  }),

  test("hands on a partition whose handler in a transaction ignores its interruption", function*() {
    const [name, prefix] = [unique("rows"), unique("mail")]
    const inbox = makeInbox()
    const [begun, end] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push(String(message)))
    const build = (worker: string, scope: Scope.Scope) =>
      Layer.buildWithScope(
        Layer.fresh(Projector.layer([
          Projection.handler(name, {
            events: Sent,
            where: { streamPrefix: prefix },
            handle: {
              Sent: ({ n }) =>
                worker === "old" && n === 2
                  ? Effect.uninterruptible(Effect.andThen(begun.open, end.await))
                  : Effect.sync(() => inbox.put(`${worker} ${n}`))
            }
          })
        ], { batchSize: 1 })),
        scope
      )
    yield* append(`${prefix}a`, upTo(3))
    const scope = yield* Scope.make()
    yield* build("old", scope).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Info")
    )
    yield* begun.await
    yield* Effect.addFinalizer(() => end.open)
    yield* Effect.timeout(Scope.close(scope, Exit.void), "1 minute")
    equal(
      lines.some((line) => /^The handler of event \d+ \(Sent\) .* is rolled back, partition 0/.test(line)),
      true,
      "the log"
    )
    yield* build("new", yield* Effect.scope)
    yield* inbox.until(3)
    yield* end.open
    yield* append(`${prefix}a`, [4])
    yield* inbox.until(4)
    equal([...inbox.got], ["old 1", "new 2", "new 3", "new 4"], "the handled events")
  }),

  ...[4, 8].map((later) =>
    test(
      `gives back each partition when its handler has ended, to a worker with ${later === 4 ? "as many" : "more"}`,
      function*() {
        const [name, prefix] = [unique("mails"), unique("mail")]
        const inbox = makeInbox()
        const [begun, end] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
        const mails = (worker: string, partitions: number) =>
          Subscription.make(name, {
            events: Sent,
            where: { streamPrefix: prefix },
            partitions,
            handle: {
              Sent: ({ n }) =>
                Effect.andThen(
                  n === 0 ? Effect.andThen(begun.open, end.await) : Effect.void,
                  Effect.sync(() => inbox.put(`${worker} ${n}`))
                )
            }
          })
        const timing = { lease: "2 seconds", stopTimeout: "1 hour" } as const
        const first = `${prefix}0`
        yield* append(first, [0])
        const scope = yield* Scope.make()
        yield* buildWorker(mails("old", 4), timing, scope)
        yield* begun.await
        const closing = yield* Effect.forkScoped(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* Effect.addFinalizer(() => end.open)
        const context = yield* buildWorker(mails("new", later), timing, yield* Effect.scope)
        yield* Effect.repeat(Context.get(context, Subscription.Subscriptions).status, {
          until: ([one]) => one?.partitions === 3,
          schedule: Schedule.spaced("20 millis")
        }).pipe(Effect.timeout("1 minute"))
        const isWaiting = (n: number) => partitionOf(`${prefix}${n}`, 4) === partitionOf(first, 4)
        for (const n of upTo(12)) yield* append(`${prefix}${n}`, [n])
        const [waiting, others] = [upTo(12).filter(isWaiting), upTo(12).filter((n) => !isWaiting(n))]
        const inHand =
          /once no program with 4 runs any more \(worker \S+: partition \d, event \d+ \(Sent\) in hand for \d+ s\)/
        const check = Health.of([mails("new", later)])
        yield* later === 4 ? check : Effect.repeat(check, {
          until: ({ reasons }) => reasons.some((text) => inHand.test(text)),
          schedule: Schedule.spaced("20 millis")
        }).pipe(Effect.timeout("1 minute"))
        yield* inbox.until(others.length)
        equal(inbox.got.toSorted(), others.map((n) => `new ${n}`).toSorted(), "while the handler runs")
        yield* end.open
        yield* Effect.timeout(Fiber.join(closing), "1 minute")
        yield* inbox.until(13)
        const rest = [...inbox.got].slice(others.length)
        equal(rest[0], "old 0", "the event in hand")
        equal(rest.slice(1).toSorted(), waiting.map((n) => `new ${n}`).toSorted(), "after it")
      }
    )
  ),

  test("stops at once in the pause before a retry, and keeps what it has handled", function*() {
    const prefix = unique("mail")
    const inbox = makeInbox()
    const failed = Latch.makeUnsafe(false)
    let fails = true
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      retry: Schedule.spaced("20 seconds"),
      handle: {
        Sent: ({ n }) =>
          Effect.suspend(() =>
            n === 3 && fails
              ? Effect.andThen(failed.open, Effect.die(new Error("not now")))
              : Effect.sync(() => inbox.put(String(n)))
          )
      }
    })
    yield* append(`${prefix}a`, upTo(5))
    const scope = yield* Scope.make()
    yield* buildWorker(subscription, { stopTimeout: "1 hour" }, scope)
    yield* failed.await
    yield* Effect.timeout(Scope.close(scope, Exit.void), "15 seconds")
    fails = false
    yield* Effect.scoped(
      Effect.flatMap(Effect.scope, (scope) => Effect.andThen(buildWorker(subscription, {}, scope), inbox.until(5)))
    )
    equal([...inbox.got], ["1", "2", "3", "4", "5"], "all events")
    equal((yield* Parking.list(subscription)).items, [], "the parked keys")
  }),

  test("repeats no event of a parked key when it stops in the middle of its retry", function*() {
    const prefix = unique("mail")
    const inbox = makeInbox()
    let fails = true
    const subscription = Subscription.make(unique("mails"), {
      events: Sent,
      where: { streamPrefix: prefix },
      retry: Schedule.recurs(0),
      handle: (_, { stream, version }) =>
        fails
          ? Effect.die(new Error("not now"))
          : Effect.andThen(Effect.sleep("2 millis"), Effect.sync(() => inbox.put(`${stream}/${version}`)))
    })
    const streams = upTo(3).map((n) => `${prefix}${n}`)
    for (const stream of streams) yield* append(stream, upTo(15))
    const parked = Effect.map(Parking.list(subscription), ({ items }) => items.length)
    const until = (count: number) =>
      Effect.repeat(parked, { until: (keys) => keys === count, schedule: Schedule.spaced("20 millis") }).pipe(
        Effect.timeout("1 minute")
      )
    yield* Effect.scoped(
      Effect.flatMap(Effect.scope, (scope) => Effect.andThen(buildWorker(subscription, {}, scope), until(3)))
    )
    fails = false
    // The requests stay queued.
    equal(
      (yield* Effect.flip(Parking.retryAll(subscription, { timeout: "10 millis" })))._tag,
      "StillParked",
      "without a worker"
    )
    for (const round of upTo(5)) {
      const scope = yield* Scope.make()
      yield* buildWorker(subscription, { batchSize: 50 }, scope)
      yield* inbox.until(round * 8)
      yield* Scope.close(scope, Exit.void)
    }
    yield* Effect.scoped(
      Effect.flatMap(
        Effect.scope,
        (scope) => Effect.all([buildWorker(subscription, {}, scope), until(0), inbox.until(45)])
      )
    )
    for (const stream of streams) {
      const versions = inbox.got.flatMap((label) => label.startsWith(`${stream}/`) ? [Number(label.split("/")[1])] : [])
      equal(versions, upTo(15), `the versions of ${stream}`)
    }
  })
]
