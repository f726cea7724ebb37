/**
 * Group commit: appends that arrive while a statement is in flight go out together as the next one, or as several at a time under
 * load. An append that finds no statement in flight goes at once and alone; nothing waits for a timer. An append whose stream another
 * transaction holds waits for it alone, so that no other append waits.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import * as Tracer from "effect/Tracer"
import { type EventStoreError, OutcomeUnknown, storeError, StoreUnavailable } from "../../core/errors.ts"
import type { AppendRequest } from "../../eventStore/EventStoreDriver.ts"
import { fromAppendError, isOfOneAppend } from "../PgErrors.ts"
import * as AppendQueue from "./AppendQueue.ts"
import type { AppendRow, PgAppend } from "./PgAppend.ts"

/** How long closing waits for statements in flight. A server that does not respond must not keep a program from ending. */
const shutdownTimeout = "10 seconds"

/** The maximum number of appends that wait for a lock in the database at a time; each holds a connection of the pool. */
const maxLockWaits = 4

type Statements = Pick<PgAppend, "single" | "singleNow" | "batch">

interface Pending extends AppendQueue.Entry {
  readonly request: AppendRequest
  /** The span of the caller, to which the statement belongs. */
  readonly span: Tracer.AnySpan | undefined
  readonly done: Deferred.Deferred<AppendRow, EventStoreError>
  isInterrupted: boolean
}

type Answer = (pending: Pending, exit: Exit.Exit<AppendRow, SqlError>) => void

/**
 * Returns a function that appends through group commit. Each statement commits by itself, so call it outside of transactions only.
 *
 * **Details**
 *
 * An append that is interrupted before its statement was sent is not written. When the scope closes, appends that were not sent fail
 * with `StoreUnavailable`; closing waits for the others.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  statements: Statements,
  options: AppendQueue.AppendQueueOptions = {}
): Effect.fn.Return<(request: AppendRequest) => Effect.Effect<AppendRow, EventStoreError>, never, Scope.Scope> {
  const queue = AppendQueue.make<Pending>(options)
  const lockWaits = Semaphore.makeUnsafe(maxLockWaits)
  let isClosed = false

  // Statements outlive the fibers of their callers, so they run in the scope of the layer.
  const fibers = yield* FiberSet.make()
  const fork = yield* FiberSet.runtime(fibers)<never>()
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isClosed = true
      for (const pending of queue.removeAll()) finish(pending, Exit.fail(closedError))
      return Effect.timeoutOption(FiberSet.awaitEmpty(fibers), shutdownTimeout)
    })
  )

  const sendNext = (): void => {
    for (let batch = queue.nextBatch(); batch.length > 0; batch = queue.nextBatch()) fork(send(batch))
  }

  const end = (pending: Pending): void => {
    queue.end(pending)
    sendNext()
  }

  const send = (batch: ReadonlyArray<Pending>): Effect.Effect<void> =>
    sendBatch(statements, batch, answer).pipe(
      Effect.ensuring(Effect.sync(() => {
        queue.statementEnded(batch)
        sendNext()
      })),
      Effect.onInterrupt(() =>
        Effect.sync(() => {
          for (const pending of batch) finish(pending, Exit.fail(abandonedError(pending)))
        })
      )
    )

  const answer: Answer = (pending, exit) => {
    if (Exit.isSuccess(exit) && exit.value.outcome === "busy") {
      fork(withParentSpan(pending.span, Effect.ensuring(sendWaiting(pending), Effect.sync(() => end(pending)))))
      return
    }
    finish(pending, storeExit(pending, exit))
    end(pending)
  }

  const sendWaiting = (pending: Pending): Effect.Effect<void> =>
    Effect.exit(waitForLocks(statements, lockWaits, pending)).pipe(
      Effect.map((exit) => {
        const isInterrupted = Exit.isSuccess(exit) && Option.isNone(exit.value)
        if (!isInterrupted) finish(pending, storeExit(pending, Exit.map(exit, Option.getOrThrow)))
      }),
      Effect.ensuring(Effect.sync(() => finish(pending, Exit.fail(abandonedError(pending)))))
    )

  return (request) =>
    Effect.withFiber((fiber) => {
      if (isClosed) return Effect.fail(closedError)
      const pending = pendingOf(request, Context.getOrUndefined(fiber.context, Tracer.ParentSpan))
      queue.add(pending)
      sendNext()
      return Effect.onInterrupt(Deferred.await(pending.done), () =>
        Effect.sync(() => {
          pending.isInterrupted = true
          queue.remove(pending)
        }))
    })
})

/** Gives a caller its result, unless it has one. */
const finish = (pending: Pending, exit: Exit.Exit<AppendRow, EventStoreError>): void => {
  Deferred.doneUnsafe(pending.done, exit)
}

const storeExit = <A>({ request }: Pending, exit: Exit.Exit<A, SqlError>): Exit.Exit<A, EventStoreError> =>
  Exit.mapError(exit, (error) => fromAppendError(error, request.stream))

const sendOne = (statements: Statements, pending: Pending, answer: Answer): Effect.Effect<void> =>
  Effect.map(
    Effect.exit(Effect.suspend(() => statements.singleNow(pending.request))),
    (exit) => answer(pending, exit)
  )

const sendAll = (statements: Statements, batch: ReadonlyArray<Pending>, answer: Answer): Effect.Effect<void> =>
  Effect.matchCauseEffect(Effect.suspend(() => statements.batch(batch.map((pending) => pending.request))), {
    onSuccess: (rows) =>
      Effect.sync(() => {
        for (const [index, pending] of batch.entries()) answer(pending, Exit.succeed(rows[index]!))
      }),
    onFailure: (cause) => {
      const exit: Exit.Exit<never, SqlError> = Exit.failCause(cause)
      const error = Exit.findErrorOption(exit)
      // A failed statement has written nothing. If one append may be the reason, each is sent alone and gets its own result. An error
      // that concerns all would only repeat; and after a lost connection it is unknown what is written.
      if (Option.isSome(error) && isOfOneAppend(error.value)) {
        return Effect.forEach(batch, (pending) => sendOne(statements, pending, answer), { discard: true })
      }
      return Effect.sync(() => {
        for (const pending of batch) answer(pending, exit)
      })
    }
  })

const sendBatch = (statements: Statements, batch: ReadonlyArray<Pending>, answer: Answer): Effect.Effect<void> => {
  const [first] = batch
  return batch.length === 1
    ? withParentSpan(first!.span, sendOne(statements, first!, answer))
    : sendAll(statements, batch, answer).pipe(
      Effect.withSpan("EventStore.commit", {
        root: true,
        links: batch.flatMap(({ span }) => span === undefined ? [] : [{ span, attributes: {} }]),
        attributes: { "evsrc.appends": batch.length }
      }, { captureStackTrace: false })
    )
}

/**
 * Appends, and waits in the database for its locks if one of the `permits` is free. Otherwise it polls. Returns none if the caller was
 * interrupted.
 */
const waitForLocks = Effect.fnUntraced(function*(
  statements: Statements,
  permits: Semaphore.Semaphore,
  pending: Pending
): Effect.fn.Return<Option.Option<AppendRow>, SqlError> {
  for (let delay = 1;; delay = Math.min(delay * 2, 50)) {
    if (pending.isInterrupted) return Option.none()
    const waited = yield* permits.withPermitsIfAvailable(1)(Effect.suspend(() => statements.single(pending.request)))
    if (Option.isSome(waited)) return waited
    const row = yield* Effect.suspend(() => statements.singleNow(pending.request))
    if (row.outcome !== "busy") return Option.some(row)
    yield* Effect.sleep(delay)
  }
})

const closedError: EventStoreError = storeError(
  new StoreUnavailable({ message: "The event store is closed; the append was not written", cause: undefined })
)

/** For a caller whose statement was abandoned at shutdown. */
const abandonedError = ({ request }: Pending): EventStoreError =>
  storeError(
    new OutcomeUnknown({
      stream: request.stream,
      message: "The event store was closed before the database responded; the append may or may not have been written",
      cause: undefined
    })
  )

const withParentSpan = (span: Tracer.AnySpan | undefined, effect: Effect.Effect<void>): Effect.Effect<void> =>
  span === undefined ? effect : Effect.withParentSpan(effect, span, { captureStackTrace: false })

const pendingOf = (request: AppendRequest, span: Tracer.AnySpan | undefined): Pending => ({
  request,
  keys: keysOf(request),
  bytes: bytesOf(request),
  span,
  done: Deferred.makeUnsafe(),
  isInterrupted: false
})

const keysOf = ({ commandId, stream }: AppendRequest): ReadonlyArray<string> =>
  commandId === undefined ? [`s${stream}`] : [`s${stream}`, `c${commandId}`]

const bytesOf = ({ events }: AppendRequest): number => {
  let bytes = 0
  for (const { data, metadata } of events) bytes += data.length + metadata.length
  return bytes
}
