/** Each text that docs/stalls.md quotes is what the code says, but for numbers and names. */
import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Duration, Effect, Fiber, Layer, Logger, Schedule, Schema, Semaphore } from "effect"
import type { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  EventStore,
  EventStoreError,
  Health,
  Position,
  ProcessManager,
  Projection,
  ProjectionBehind,
  ProjectionStore,
  Projector,
  ResetRejected,
  StillParked,
  StoreUnavailable,
  StreamId,
  Subscription,
  Version
} from "evsrc"
import * as InstanceQueue from "../../src/aggregate/InstanceQueue.ts"
import type { InHand } from "../../src/consumer/CheckpointDriver.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import * as HandlerTimeout from "../../src/consumer/HandlerTimeout.ts"
import * as HandOver from "../../src/consumer/HandOver.ts"
import * as EventInHand from "../../src/consumer/worker/EventInHand.ts"
import * as WorkerState from "../../src/consumer/worker/WorkerState.ts"
import { internals } from "../../src/core/internals.ts"
import * as DecisionTurns from "../../src/decision/DecisionTurns.ts"
import type { InFlightAppend, LockHolder } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as LockHolders from "../../src/eventStore/driver/LockHolders.ts"
import * as HealthStatus from "../../src/operations/HealthStatus.ts"
import * as LockTimeoutError from "../../src/pg/append/LockTimeoutError.ts"
import * as LockWaits from "../../src/pg/append/LockWaits.ts"
import * as PgConnections from "../../src/pg/connections/PgConnections.ts"
import { lockOfMigrations } from "../../src/pg/locks/PgLockHolders.ts"
import * as PgDeadlines from "../../src/pg/PgDeadlines.ts"
import * as PgErrors from "../../src/pg/PgErrors.ts"
import { read, section, tableOf } from "./Markdown.ts"
import { memory, Sold } from "./orders.ts"

const guide = read("docs/stalls.md")

const reading = (...types: ReadonlyArray<string>) =>
  ConsumerReads.format({ keeps: "handlers", types, ignores: {}, tags: [] })

/** Durations are some duration. */
const normal = (text: string) => text.replaceAll(/\d+(\.\d+)?/g, "N").replaceAll(/\bN ?(ms|s|m)\b/g, "N s")

/** The quoted symptoms of a section. */
const symptomsOf = (heading: string) => tableOf(section(guide, heading)).map(([symptom = ""]) => symptom)

/** Compares the symptoms of a section with what the code has said. */
const assertSaid = (heading: string, said: ReadonlyArray<string>) => {
  const missing = symptomsOf(heading).filter((symptom) => !said.some((text) => normal(text).includes(normal(symptom))))
  assert.deepStrictEqual(missing, [], `the code said:\n${said.join("\n")}`)
}

const session: InFlightAppend = {
  pid: 4711,
  role: "app",
  application: "orders",
  prepared: undefined,
  state: "idle in transaction",
  since: undefined,
  lowWaterMark: Position.make(41n),
  waitingSince: undefined
}
const holder = (at: DateTime.Utc, waiting: number, ...locks: ReadonlyArray<string>): LockHolder => ({
  ...session,
  application: "psql",
  since: at,
  querySince: at,
  locks,
  waiting,
  waitingSince: undefined
})

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const tick = (n: number) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "User-1", [Tick.cases.Ticked.make({ n })]))
const users = (options: { readonly onFailure?: "park" | "stop"; readonly isBroken?: boolean } = {}) =>
  Projection.make("users", {
    events: Tick,
    document: Schema.Int,
    partitionBy: "stream",
    key: (_, { stream }) => stream,
    onFailure: options.onFailure ?? "park",
    evolve: {
      Ticked: (n) => {
        if (options.isBroken === true) throw new Error("broken")
        return (n ?? 0) + 1
      }
    }
  })

describe("docs/stalls.md", () => {
  it.effect("quotes what health and appends say of locks", () =>
    Effect.gen(function*() {
      const { driver: log } = (yield* EventStore.EventStore)[internals]
      yield* Effect.forEach(Array.from({ length: 42 }, (_, n) => n), tick, { discard: true })
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      yield* driver.claim({
        consumer: "users@1",
        owner: "worker-1",
        partitions: 1,
        partitionedBy: "stream",
        reads: "",
        lease: Duration.seconds(10)
      })
      const since = yield* DateTime.now
      yield* TestClock.adjust("40 seconds")
      const reasonsOf = Effect.fnUntraced(
        function*(appends: ReadonlyArray<InFlightAppend>, holders: ReadonlyArray<LockHolder>) {
          const held = yield* EventStore.make({
            ...log,
            head: Effect.succeed(Position.make(41n)),
            inFlight: Effect.map(log.inFlight, ({ readAt }) => ({ readAt, appends })),
            lockHolders: Effect.succeed(holders)
          })
          const { reasons } = yield* Effect.provideService(Health.of([users()]), EventStore.EventStore, held)
          return reasons.map((reason) => reason.replace("1 event waits", "168 events wait"))
        }
      )
      const waiting = { ...session, pid: 1, waitingSince: since }
      const prepared = { ...session, pid: undefined, prepared: "order 7", state: undefined, since }
      const migrating = LockHolders.describe({ at: yield* DateTime.now }, holder(since, 0, lockOfMigrations))
      assertSaid("## A transaction holds a lock", [
        ...yield* reasonsOf(
          [{ ...session, since }],
          [holder(since, 0, "the in-flight low-water mark of an append")].map((one) => ({
            ...one,
            application: "orders"
          }))
        ),
        ...yield* reasonsOf([{ ...session, state: "idle" }, waiting, { ...waiting, pid: 2 }], []),
        ...yield* reasonsOf([], [holder(since, 3, "rows of the table checkpoints", "the lock of a stream")]),
        ...yield* reasonsOf([prepared], []),
        ...yield* reasonsOf([], [holder(since, 0, "rows of the table checkpoints")]),
        ...texts("src/pg/migrations/MigrationLock.ts", /a lock of schema /).map((text) =>
          `The database is unavailable: canceling statement due to lock timeout (SQLSTATE 55P03): ${text}"evsrc", which the start needs, was not free within the lockTimeout; `
          + `${migrating}, or wait until it has ended, and then start again`
        ),
        WorkerState.heldBack({ head: Position.make(41n), last: Position.make(209n) }),
        ...yield* TestClock.withLive(ofLocks)
      ])
    }).pipe(Effect.scoped, Effect.provide(memory)))

  it.live("quotes what callers and the log say while the server does not respond", () =>
    Effect.gen(function*() {
      const refused = new EventStoreError({
        reason: new StoreUnavailable({ message: "The database is unavailable: connect ECONNREFUSED", cause: undefined })
      })
      let isDown = true
      const whileUp = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.suspend((): Effect.Effect<A, E | EventStoreError, R> => isDown ? Effect.fail(refused) : effect)
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      const { driver: log } = (yield* EventStore.EventStore)[internals]
      const projections = yield* ProjectionStore.make({ ...driver, claim: (request) => whileUp(driver.claim(request)) })
      const events = yield* EventStore.make({ ...log, last: whileUp(log.last) })
      const { lines, logger } = recorder()
      yield* Effect.gen(function*() {
        yield* Health.watch([users()], { interval: "10 millis" })
        yield* Layer.build(Projector.layer([users()], { retryDelay: { first: "10 millis", max: "10 millis" } }))
        yield* until(() => lines.some((line) => line.startsWith("users@1 is retrying")))
        isDown = false
        yield* until(() => lines.some((line) => line.startsWith("users@1 has recovered")))
      }).pipe(
        Effect.provideService(ProjectionStore.ProjectionStore, projections),
        Effect.provideService(EventStore.EventStore, events),
        Effect.provide(logger)
      )
      const silent = yield* responseOf(Effect.never)
      assertSaid("## The network or the server does not respond", [
        ...lines,
        PgErrors.fromSqlError(silent).message,
        (yield* Effect.flip(Effect.provideService(
          Health.of([users()], { timeout: "500 millis" }),
          ProjectionStore.ProjectionStore,
          yield* ProjectionStore.make({ ...driver, activeGeneration: () => Effect.never })
        ))).message,
        PgErrors.fromAppendError(silent, "s").message,
        PgErrors.fromSqlError(yield* responseOf(undefined)).message,
        ...texts("src/pg/PgNotify.ts", /Cannot listen for events of other processes; they are seen at the next poll: /)
          .map((text) => `${text}connect ECONNREFUSED`),
        [
          ...texts("src/snapshot/SnapshotStore.ts", /cannot be read; states are folded from their events/),
          ...texts("src/pg/read/SnapshotReads.ts", /the database has not answered within /),
          ...texts("src/pg/read/SnapshotReads.ts", /; a session may hold a lock on the table "snapshots"/)
        ].reduce((text, part, index) => text + (index === 1 ? ": " : index === 2 ? "2s" : "") + part, "Snapshots ")
      ])
      assert.include(guide, "`users@1 has recovered after 6s`")
    }).pipe(Effect.scoped, Effect.provide(memory)))

  it.effect("quotes what is said of a process manager", () =>
    Effect.gen(function*() {
      const reminder = ProcessManager.make("fulfilment", {
        inputs: Tick,
        correlate: { Ticked: ProcessManager.ignore },
        state: Schema.Null,
        events: Schema.TaggedUnion({}),
        deadlines: { Due: {} }
      }).behaviour({ initial: null, evolve: {}, react: { Due: () => [] } })
      const { instances } = ProcessManager.consumers(reminder)
      const { all, toEvent } = reminder.processEvents
      const at = DateTime.makeUnsafe(0)
      const deferred = { what: "output", eventId: "1", position: Position.make(1n), part: 0 } as const
      yield* Effect.provide(
        EventStore.append(all, "fulfilment-o-1", [
          toEvent({
            kind: "received",
            input: "Ticked",
            eventId: "1",
            position: Position.make(1n),
            recordedAt: at,
            starts: true
          }),
          toEvent({ kind: "deadline", name: "Due", id: "0", dueAt: at, payload: {} })
        ] as never).pipe(
          Effect.andThen(EventStore.append(all, "fulfilment-o-2", [
            toEvent({ ...deferred, kind: "deferred", reason: `the command "Gift"` })
          ] as never))
        ),
        Projector.layerInline([instances])
      )
      yield* TestClock.adjust("40 seconds")
      const { reasons } = yield* ProcessManager.health(reminder)
      assertSaid("## A process manager stands still", [
        ...reasons,
        ...texts("src/process/ProcessTimer.ts", /Deadlines cannot be read or fired/),
        ...texts("src/process/ProcessTimer.ts", /The deadlines of the instance /).map((text) =>
          `${text}"o-1" cannot be fired`
        ),
        ...texts("src/process/ProcessTimer.ts", /The deferred steps of the instance /).map((text) =>
          `${text}"o-1" cannot be carried out`
        ),
        ...texts("src/process/TimerWork.ts", /The deferred steps of an instance have not ended within /).map((text) =>
          `${text}3s after their interruption`
        ),
        ...texts(
          "src/process/health/InstanceHealth.ts",
          /; see ProcessManager.inspect, then use ProcessManager.retry or ProcessManager.abandon/
        ).map((text) => `the instance "o-1" of the process manager "fulfilment" has been parked for 40 s${text}`),
        ...texts("src/process/health/InstanceHealth.ts", /; correct what failed, then use ProcessManager.retry.*/).map((
          text
        ) =>
          `the instance "o-1" of the process manager "fulfilment" has been parked for 40 s at the input "OrderPaid" at position 7${text}`
        )
      ])
    }).pipe(Effect.scoped, Effect.provide(Layer.fresh(memory))))

  it.live("quotes what is said of a consumer", () =>
    Effect.gen(function*() {
      const { lines, logger } = recorder()
      const counts = Subscription.make("counts", {
        events: Tick,
        retry: Schedule.spaced("10 millis").pipe(Schedule.upTo({ times: 2 })),
        handle: { Ticked: () => Effect.die(new Error("broken")) }
      })
      const unknown = yield* Health.of([users()])
      const ticked = { position: Position.make(7n), type: "Ticked" }
      yield* Effect.gen(function*() {
        yield* tick(1)
        yield* Effect.scoped(Effect.andThen(
          Layer.build(Layer.merge(
            Projector.layer([users({ isBroken: true })]),
            Subscription.layer([counts])
          )),
          until(() =>
            lines.some((line) => line.startsWith("users@1 has parked")) &&
            lines.some((line) => line.includes("attempt 2"))
          )
        ))
      }).pipe(Effect.provide(logger), Effect.provide(Layer.fresh(memory)))
      yield* Effect.gen(function*() {
        yield* tick(1)
        yield* Effect.scoped(Effect.andThen(
          Layer.build(Projector.layer([users({ isBroken: true, onFailure: "stop" })])),
          until(() => lines.some((line) => line.startsWith("users@1 is stuck")))
        ))
      }).pipe(Effect.provide(logger), Effect.provide(Layer.fresh(memory)))
      const base: HealthStatus.Signals = {
        owner: "worker-1",
        heartbeatAge: 1,
        position: Position.make(41n),
        waiting: 0,
        isMore: false,
        waited: 0,
        idleFor: 0,
        parked: 0,
        newer: undefined,
        isBeyond: false,
        stored: undefined,
        waitsAt: undefined,
        heartbeatTimeout: 20,
        stallTimeout: 30,
        maxWait: 10
      }
      const at = (seconds: number) => DateTime.makeUnsafe(seconds * 1000)
      const inHand = (event: InHand["event"], seconds: number) =>
        HandOver.describeInHand({ event, since: at(0) }, at(seconds))
      const owned = {
        partition: 2,
        partitions: 4,
        owner: "worker-1",
        position: Position.make(20n),
        leasedUntil: at(28),
        readAt: at(18),
        reads: reading("Sent"),
        inHand: { event: { position: Position.make(21n), type: "Sent" }, since: at(0) }
      }
      const takenBy = reading("Sent", "Seen")
      const worker = (owner: string, partitions: number) => ({
        owner,
        partitions,
        reads: owned.reads,
        successor: undefined,
        resets: false
      })
      const said = (signals: Partial<HealthStatus.Signals>) =>
        HealthStatus.of({ ...base, ...signals }).reasons.map((reason) => `users@1: ${reason}`)
      assertSaid("## A consumer stands still", [
        ...lines,
        `users@1 waits: ${EventInHand.describe(0, { event: ticked, since: 0 }, 14_000)}`,
        `users@1 waits: ${EventInHand.describeWait([0, 1, 2, 3, 4, 5], 0, 14_000)}`,
        EventInHand.abandoned(0, ticked),
        HandlerTimeout.limitOf({ id: "users@1", kind: "projection", events: Tick }, Duration.minutes(1), {
          ...ticked,
          stream: StreamId.StreamId.make("s"),
          version: Version.make(1),
          id: "00000000-0000-4000-8000-000000000007",
          schemaVersion: 1,
          data: { n: 1 },
          metadata: {},
          tags: [],
          recordedAt: DateTime.makeUnsafe(0)
        }).error().message,
        HandOver.ofVersion("mail@2", "mail@1", [owned]).detail,
        HandOver.ofReset("mail@1", [owned]).detail,
        HandOver.of("mail@1", [worker("worker-2", 8)], [owned])?.detail ?? "",
        HandOver.takeover("mail@1", [{ ...worker("worker-2", 4), reads: takenBy }], [{ ...owned, takenBy }])?.detail ??
          "",
        ...HealthStatus.ofOtherPartitions({
          stored: 4,
          defined: 8,
          obstacle: undefined,
          workers: HandOver.workersWith([worker("worker-1", 4)], [owned])
        }).reasons.map((reason) => `mail@1: ${reason}`),
        ...said({ owner: undefined, isHandedOver: true }),
        ...said({ waiting: 168, waited: 40, idleFor: 40, inHand: inHand(ticked, 40) }),
        ...said({ waiting: 168, waited: 11, inHand: inHand(undefined, 11) }),
        ...unknown.reasons,
        ...said({ heartbeatAge: 21 }),
        ...said({ heartbeatAge: 21, owner: undefined }),
        ...said({ owner: undefined }),
        ...said({ waiting: 168, waited: 40, idleFor: 40 }),
        ...said({ waiting: 168, waited: 11 }),
        ...said({ isMore: true, waited: 11 }),
        ...said({ parked: 3 }),
        ...said({ parked: 3, requested: 2 })
      ])
    }).pipe(Effect.scoped, Effect.provide(memory)))

  it("quotes the errors of those who wait for a consumer", () => {
    assertSaid("## A caller waits for a consumer", [
      new ProjectionBehind({ projection: "users@1", reached: Position.make(41n), wanted: Position.make(42n) }).message,
      new StillParked({ consumer: "users@1", action: "retry", keys: 3 }).message,
      new ResetRejected({
        consumer: "users@1",
        reason: "Leased",
        partitions: [{ partition: 2, worker: "worker-1" }],
        detail: "partition 2 (worker worker-1, checkpoint 20, event 21 (Sent) in hand for 18 s)"
      }).message,
      ...texts("src/core/errors/StoreError.ts", /"CircularWait"/)
    ])
  })

  it.effect("quotes the errors of commands on a busy instance", () =>
    Effect.gen(function*() {
      const queue = InstanceQueue.make<number>(3)
      const command = queue.inTurn("Account-ann", () => Effect.never)
      const [, waiting] = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(command, { startImmediately: true }))
      const tooMany = yield* Effect.flip(command)
      yield* TestClock.adjust("10 seconds")
      const waited = yield* Effect.flip(Fiber.join(waiting!))
      const decision = DecisionTurns.make().inTurn(
        [{ tags: ["show:hamlet"] }],
        { command: "ReserveSeat", maxWaiting: 3, layer: "Decision.layer" },
        () => Effect.never
      )
      const [, next] = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(decision, { startImmediately: true }))
      const tooManyDecisions = yield* Effect.flip(decision)
      yield* TestClock.adjust("10 seconds")
      const waitedDecision = yield* Effect.flip(Fiber.join(next!))
      const said = [tooMany, waited, tooManyDecisions, waitedDecision]
      assertSaid("## A command waits for its turn", said.map(({ message }) => message))
    }))

  it.effect("shows a health without faults", () =>
    Effect.gen(function*() {
      const store = yield* ProjectionStore.ProjectionStore
      yield* store[internals].driver.claim({
        consumer: Sold.id,
        owner: "worker-1",
        partitions: Sold.partitions,
        partitionedBy: "document",
        reads: ConsumerReads.format(ConsumerReads.of(Sold)),
        lease: Duration.seconds(10)
      })
      const { log, reasons, status } = yield* Health.of([Sold])
      assert.deepStrictEqual([status, reasons, log.inFlight, log.lockHolders], ["green", [], [], []])
    }).pipe(Effect.provide(memory)))
})

const until = (isTrue: () => boolean) =>
  Effect.sync(isTrue).pipe(
    Effect.repeat({ until: (is) => is, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("30 seconds")
  )

const recorder = () => {
  const lines: Array<string> = []
  const logger = Logger.layer([Logger.make(({ message }) => void lines.push(...[message].flat().map(String)))])
  return { lines, logger }
}

/** What the source of a module contains. */
const texts = (path: string, pattern: RegExp): ReadonlyArray<string> => {
  const [found] = pattern.exec(read(path)) ?? []
  return found === undefined ? [] : [found]
}

const deadlines = { ...Effect.runSync(PgDeadlines.make()), connectionTimeout: 10, statementTimeout: 10 }

const transactionService = Context.Service<never, never>("test/transaction")

/** What a statement fails with on a connection that does not respond, or without a connection. */
const responseOf = (statement: Effect.Effect<never> | undefined) => {
  // oxlint-disable-next-line evsrc/no-double-cast -- no more of a client is used
  const sql = {
    reserve: statement === undefined ? Effect.never : Effect.succeed({}),
    transactionService
  } as unknown as SqlClient.SqlClient
  return Effect.flip(PgConnections.make(sql, deadlines).statement(statement ?? Effect.never))
}

/** What appends say that have waited for locks. */
const ofLocks = Effect.gen(function*() {
  const errorsOf = (lock: string, application: string) => {
    const row = { ordinal: 0, lock, projection: null, pid: 4711, application, seconds: 40 }
    const sql = { transactionService, unsafe: () => ({ withoutTransform: Effect.succeed([row]) }) }
    const connections = { deadlines, sql, statement: (statement: Effect.Effect<unknown>) => statement }
    // oxlint-disable-next-line evsrc/no-double-cast -- no more of the connections is used
    return LockTimeoutError.make(connections as unknown as PgConnections.PgConnections, "evsrc")
  }
  const request = { stream: StreamId.StreamId.make("Order-1"), expected: "any", events: [] } as const
  const { message } = yield* (yield* errorsOf("stream", "orders")).ofAppend(request, "held")
  const [notSent] = yield* (yield* errorsOf("stream", "orders")).ofQueued([{ request, wait: undefined }])
  const waits = LockWaits.make({ deadlines, size: 12, occupations: Semaphore.makeUnsafe(10) })
  yield* Effect.forEach(
    Array.from({ length: 10 }),
    () => Effect.forkScoped(waits.transaction(Effect.never), { startImmediately: true })
  )
  const tooMany = yield* Effect.flip(waits.transaction(Effect.never))
  const making = yield* (yield* errorsOf("type", "psql")).ofTypes(
    ["OrderPlaced"],
    `A change of inline projection "orders@1"`
  ).waiting
  return [message, notSent!.message, tooMany.message, making]
})
