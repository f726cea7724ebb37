/**
 * Locks of streams that are held between a read and the appends that were decided on it, for a stream to which several processes append all
 * the time.
 *
 * **Details**
 *
 * A lock is a transaction. It occupies a connection and keeps out others, so it ends after a short time, whatever its owner does.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Tracer from "effect/Tracer"
import { type EventStoreError, OutcomeUnknown, storeError, StoreUnavailable } from "../../core/errors.ts"
import type { StreamId } from "../../core/StreamId.ts"
import { encodedEventsOf } from "../../eventStore/AppendCodec.ts"
import type {
  AppendRequest,
  AppendResult,
  EventStoreDriver,
  StreamLock
} from "../../eventStore/driver/EventStoreDriver.ts"
import type { TransactionState } from "../connections/BoundedConnection.ts"
import { isEmbedded } from "../connections/ClientPool.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { settingOf } from "../PgDeadlines.ts"
import { fromAppendError, fromTransactionalAppendError, isConnectionLost, sqlErrorOf } from "../PgErrors.ts"
import * as Timer from "../timer.ts"
import type { LockTimeoutErrors } from "./LockTimeoutError.ts"
import { type Attempted, isLockConflict, type LockWait, type LockWaits } from "./LockWaits.ts"
import { bytesOf } from "./PendingAppend.ts"
import { type AppendRow, type CommittedAppend, committedOf, lockOfStream, type PgAppend } from "./PgAppend.ts"

/** How long a lock is held before its appends are sent, in milliseconds. */
const maxHold = 500

/** The maximum number of appends, and of bytes of their payload, that are written under one lock. One append may exceed the latter. */
const maxAppends = 100
const maxBytes = 4 * 1024 * 1024

/** How long closing waits for transactions in flight. */
const shutdownTimeout = "10 seconds"

/** What locks need. */
interface Dependencies {
  readonly connections: PgConnections
  readonly statements: Pick<PgAppend, "single" | "batch" | "resolve">
  readonly waits: LockWaits
  readonly lockTimeoutErrors: Pick<LockTimeoutErrors, "ofAppend" | "isHeld">
  /** Gets the appends that were written under a lock, after the commit. */
  readonly committed: (appends: ReadonlyArray<CommittedAppend>) => Effect.Effect<void>
}

/** An append under a lock. */
interface Pending {
  readonly request: AppendRequest
  /** The context of the caller, in which the effect of the request runs. */
  readonly context: Context.Context<never>
  /** None when nothing was written, and the append has to be sent by itself. */
  readonly done: Deferred.Deferred<Option.Option<AppendRow>, EventStoreError>
}

/**
 * The locks of a store.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamLocks {
  readonly lockStream: EventStoreDriver["lockStream"]
  /** Appends under the lock that the request names. Returns none when it has to be sent like any other. */
  readonly append: (request: AppendRequest) => Effect.Effect<Option.Option<AppendResult>, EventStoreError>
}

/** A lock, from when it is asked for until its appends have ended. */
class Lock implements StreamLock {
  readonly stream: StreamId
  readonly #held = Deferred.makeUnsafe<void, EventStoreError>()
  readonly #mayEnd = Deferred.makeUnsafe<void>()
  readonly #released = Deferred.makeUnsafe<void>()
  readonly #pendings = new Set<Pending>()
  #bytes = 0
  #isOpen = true
  #timer: Timer.Timer
  readonly held = Deferred.await(this.#held)
  readonly mayEnd = Deferred.await(this.#mayEnd)
  readonly released = Deferred.await(this.#released)

  constructor(stream: StreamId) {
    this.stream = stream
  }

  readonly isOpen = (): boolean => this.#isOpen

  readonly release = (): void => {
    this.#isOpen = false
    Deferred.doneUnsafe(this.#mayEnd, Effect.void)
  }

  add(pending: Pending): void {
    this.#pendings.add(pending)
    this.#bytes += bytesOf(pending.request)
    // The next append of the stream comes after the effect of this one.
    if (this.#pendings.size >= maxAppends || this.#bytes >= maxBytes || !isPlain(pending.request)) this.release()
  }

  /** Removes an append that was not sent yet. */
  remove(pending: Pending): void {
    this.#pendings.delete(pending)
  }

  begin(): void {
    this.#timer = Timer.start(maxHold, this.release)
    Deferred.doneUnsafe(this.#held, Effect.void)
  }

  /** Takes the appends to be sent. */
  take(): ReadonlyArray<Pending> {
    this.release()
    const pendings = Array.from(this.#pendings)
    this.#pendings.clear()
    return pendings
  }

  /** Fails what was not sent. */
  end(error: EventStoreError): void {
    Timer.stop(this.#timer)
    for (const pending of this.take()) Deferred.doneUnsafe(pending.done, Effect.fail(error))
    Deferred.doneUnsafe(this.#held, Effect.fail(error))
    Deferred.doneUnsafe(this.#released, Effect.void)
  }
}

/**
 * Makes the locks of a schema, given by its quoted name. A client with a single connection has none to spare, and PGlite has no other process.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  dependencies: Dependencies,
  schema: string
): Effect.fn.Return<StreamLocks, never, Scope.Scope> {
  const { connections, statements } = dependencies
  const run = runner(dependencies, schema)
  const waiting = new Map<Lock, Fiber.Fiber<void>>()
  let isClosed = false
  const fibers = yield* FiberSet.make<void>()
  const fork = yield* FiberSet.runtime(fibers)<never>()
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isClosed = true
      for (const [lock, fiber] of waiting) {
        lock.end(closedError)
        fiber.interruptUnsafe()
      }
      return Effect.timeoutOption(FiberSet.awaitEmpty(fibers), shutdownTimeout)
    })
  )
  const lockStream = (stream: StreamId): StreamLock => {
    const lock = new Lock(stream)
    if (isClosed) {
      lock.end(closedError)
      return lock
    }
    const sent = () => waiting.delete(lock)
    waiting.set(lock, fork(Effect.ensuring(run(lock, sent), Effect.sync(sent))))
    return lock
  }
  return {
    lockStream: isEmbedded(connections.sql) || connections.size < 2 ? undefined : lockStream,
    append: (request) =>
      Effect.withFiber(({ context }) => {
        const { lock } = request
        if (!(lock instanceof Lock) || !lock.isOpen()) return Effect.succeedNone
        const pending: Pending = { request, context, done: Deferred.makeUnsafe() }
        lock.add(pending)
        if (isPlain(request)) request.onQueued?.()
        return Effect.flatMap(
          Effect.onInterrupt(Deferred.await(pending.done), () => Effect.sync(() => lock.remove(pending))),
          (row): Effect.Effect<Option.Option<AppendResult>, EventStoreError> =>
            Option.isNone(row) ? Effect.succeedNone : Effect.asSome(statements.resolve(request, row.value))
        )
      })
  }
})

/** Returns whether an append can share a statement with others. */
const isPlain = ({ closes, inTransaction }: AppendRequest): boolean => inTransaction === undefined && closes !== true

/** Another transaction holds the lock. */
class Busy extends Data.TaggedError("Busy") {}

/** Returns the effect that holds a lock and ends it. `onSend` is called when its appends are sent. */
const runner = (dependencies: Dependencies, schema: string) => {
  const { committed, connections, lockTimeoutErrors, waits } = dependencies
  const take = taker(connections, schema)
  const write = writer(dependencies)
  return (lock: Lock, onSend: () => void): Effect.Effect<void> => {
    const attempt = (wait: LockWait): Effect.Effect<Attempted<void>, SqlError | EventStoreError> => {
      const state: TransactionState = { commitSent: false }
      let pendings: ReadonlyArray<Pending> | undefined
      const transaction = Effect.gen(function*() {
        if (!(yield* take(lock.stream, wait))) return yield* new Busy()
        lock.begin()
        pendings = []
        yield* lock.mayEnd
        pendings = lock.take()
        onSend()
        return yield* inCommitSpan(write(pendings), pendings)
      })
      return waits.transaction(connections.transaction(transaction, { isLimited: false, state })).pipe(
        Effect.onExit((exit) => {
          if (pendings === undefined) return Effect.void
          answer(pendings, exit, state)
          return Exit.isSuccess(exit)
            ? committed(committedOf(pendings.map(({ request }) => request), exit.value))
            : Effect.void
        }),
        Effect.map((): Attempted<void> => Result.succeed(undefined)),
        Effect.catchCause((cause) => {
          if (pendings !== undefined) return Effect.succeed<Attempted<void>>(Result.succeed(undefined))
          const error = sqlErrorOf(cause)
          return error !== undefined && isLockConflict(error)
            ? Effect.succeed<Attempted<void>>(Result.fail(undefined))
            : Effect.failCause(cause)
        }),
        Effect.catchTag("Busy", () => Effect.succeed<Attempted<void>>(Result.fail(lockOfStream(lock.stream))))
      )
    }
    const request: AppendRequest = { stream: lock.stream, expected: "any", events: [] }
    return waits.attempt(attempt, { request, isHeld: lockTimeoutErrors.isHeld(request), isTransaction: true }).pipe(
      Effect.flatMap(Result.match({
        onFailure: (waited) => lockTimeoutErrors.ofAppend(request, waited),
        onSuccess: () => Effect.succeed(closedError)
      })),
      Effect.catch((error) =>
        Effect.succeed(isSqlError(error) ? fromTransactionalAppendError(error, lock.stream) : error)
      ),
      Effect.map((error) => lock.end(error)),
      Effect.ensuring(Effect.sync(() => lock.end(closedError)))
    )
  }
}

/** The span of the statements that write the appends, as in group commit. */
const inCommitSpan = <A, E>(write: Effect.Effect<A, E>, pendings: ReadonlyArray<Pending>): Effect.Effect<A, E> =>
  Effect.withSpan("EventStore.commit", {
    root: true,
    links: pendings.flatMap(({ context }) => {
      const span = Context.getOrUndefined(context, Tracer.ParentSpan)
      return span === undefined ? [] : [{ span, attributes: {} }]
    }),
    attributes: { "evsrc.appends": pendings.length }
  }, { captureStackTrace: false })(write)

/** Returns a function that takes the lock of a stream in the transaction, and returns whether it got it. */
const taker = ({ deadlines, sql, statement }: PgConnections, schema: string) => {
  const { idleInTransactionTimeout, lockTimeout, statementTimeout, transactionTimeout } = deadlines
  const text = `select ${schema}.lock_stream($1, $2, $3::integer[]) as is_held`
  return (stream: StreamId, wait: LockWait): Effect.Effect<boolean, SqlError> => {
    const limits = [wait === "now" ? lockTimeout : wait, statementTimeout, idleInTransactionTimeout, transactionTimeout]
    return Effect.map(
      statement(
        sql.unsafe<{ readonly is_held: boolean }>(text, [wait !== "now", stream, limits.map(settingOf)])
          .withoutTransform
      ),
      ([row]) => row!.is_held
    )
  }
}

/** Returns a function that writes appends in the transaction, in their order. */
const writer = ({ connections: { deadlines, sql }, statements }: Dependencies) => {
  const alone = Effect.fnUntraced(function*({ context, request }: Pending) {
    const row = yield* statements.single(request, deadlines.lockTimeout)
    const result = yield* statements.resolve(request, row)
    if (result._tag === "Appended" && request.inTransaction !== undefined) {
      const inTransaction = request.inTransaction(encodedEventsOf(request, result))
      yield* Effect.withFiber((fiber) =>
        Effect.provideContext(
          inTransaction,
          Context.add(context, sql.transactionService, Context.getUnsafe(fiber.context, sql.transactionService))
        )
      )
    }
    return row
  })
  return Effect.fnUntraced(function*(
    pendings: ReadonlyArray<Pending>
  ): Effect.fn.Return<ReadonlyArray<AppendRow>, SqlError | EventStoreError> {
    const plain = pendings.filter(({ request }) => isPlain(request))
    const rows = plain.length < 2
      ? yield* Effect.forEach(plain, ({ request }) => statements.single(request, deadlines.lockTimeout))
      : yield* statements.batch(plain.map(({ request }) => request), true)
    // It is the last one, because it releases the lock.
    const last = pendings.find(({ request }) => !isPlain(request))
    return last === undefined ? rows : [...rows, yield* alone(last)]
  })
}

/** Gives the callers their results. */
const answer = (
  pendings: ReadonlyArray<Pending>,
  exit: Exit.Exit<ReadonlyArray<AppendRow>, SqlError | EventStoreError | Busy>,
  { commitSent }: TransactionState
): void => {
  const result = Exit.isSuccess(exit) ? undefined : failureOf(exit.cause, commitSent, pendings.length)
  for (const [index, { done, request }] of pendings.entries()) {
    Deferred.doneUnsafe(
      done,
      Exit.isSuccess(exit) ? Exit.succeed(Option.some(exit.value[index]!)) : result!(request)
    )
  }
}

/** Returns the result of the appends of a transaction that has failed. */
const failureOf = (
  cause: Cause.Cause<SqlError | EventStoreError | Busy>,
  commitSent: boolean,
  appends: number
): (request: AppendRequest) => Exit.Exit<Option.Option<AppendRow>, EventStoreError> => {
  if (Cause.hasInterrupts(cause)) {
    return ({ stream }) => Exit.fail(commitSent ? abandonedError(stream) : closedError)
  }
  const error = sqlErrorOf(cause)
  // Nothing is written, and one append may be the reason.
  if (
    !commitSent &&
    (error === undefined ? appends > 1 : isLockConflict(error) || appends > 1 && !isConnectionLost(error))
  ) return () => Exit.succeed(Option.none())
  return ({ stream }) =>
    error === undefined
      ? Exit.failCause(cause as Cause.Cause<EventStoreError>)
      : Exit.fail((commitSent ? fromAppendError : fromTransactionalAppendError)(error, stream))
}

const closedError: EventStoreError = storeError(
  new StoreUnavailable({ message: "The event store is closed; the append was not written", cause: undefined })
)

/** For a caller whose transaction was abandoned at shutdown. */
const abandonedError = (stream: StreamId): EventStoreError =>
  storeError(
    new OutcomeUnknown({
      stream,
      message: "The event store was closed before the database responded; the append may or may not have been written",
      cause: undefined
    })
  )
