/**
 * Group commit: appends that arrive while a statement is under way go out together as the next one, or as several at a time where
 * there are many. An append that finds the way free goes at once and alone; nothing ever waits for a timer. An append whose stream is
 * held by a transaction elsewhere steps aside and waits alone, so that it holds up nobody.
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
import { type EventStoreError, OutcomeUnknown, storeError, StoreUnavailable } from "../core/errors.ts"
import type { AppendRequest } from "../eventStore/EventStoreDriver.ts"
import type { AppendRow, PgAppend } from "./PgAppend.ts"
import { fromAppendError, isOfOneAppend } from "./PgErrors.ts"

/**
 * - `inFlight`: the most statements under way at a time, each on a connection of its own; 2 by default
 * - `statementAppends`: how many appends there must be, waiting or under way, for each statement beyond the first; 32 by default, as
 *   a statement costs as much as some twenty more appends in it, in the server and here
 * - `batchAppends`, `batchBytes`: the most appends, and bytes of payload, in a statement; 100 and 4 MiB by default
 *
 * @since 0.1.0
 * @category options
 */
export interface AppendBatcherOptions {
  readonly inFlight?: number | undefined
  readonly statementAppends?: number | undefined
  readonly batchAppends?: number | undefined
  readonly batchBytes?: number | undefined
}

/** How long closing waits for statements under way; a server that does not answer must not keep a program from ending. */
const shutdownTimeout = "10 seconds"

/** How many appends may wait aside at a time; each holds a connection of the pool. */
const waitingAside = 4

interface Pending {
  readonly request: AppendRequest
  readonly keys: ReadonlyArray<string>
  readonly bytes: number
  /** The span of the caller, to which the statement belongs. */
  readonly span: Tracer.AnySpan | undefined
  readonly done: Deferred.Deferred<AppendRow, EventStoreError>
  /** Its caller was interrupted. */
  isGivenUp: boolean
}

/**
 * Appends through group commit. Outside of transactions only: each statement commits by itself.
 *
 * An append that is interrupted before its statement has left is not written. When the layer is closed, appends that have not
 * left fail with `StoreUnavailable`, and those that have are waited for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  statements: Pick<PgAppend, "single" | "singleNow" | "batch">,
  options: AppendBatcherOptions = {}
): Effect.fn.Return<(request: AppendRequest) => Effect.Effect<AppendRow, EventStoreError>, never, Scope.Scope> {
  const inFlight = options.inFlight ?? 2
  const statementAppends = options.statementAppends ?? 32
  const batchAppends = options.batchAppends ?? 100
  const batchBytes = options.batchBytes ?? 4 * 1024 * 1024

  // In order of arrival. A Set, since an interrupted append is taken out from wherever it stands.
  const waiting = new Set<Pending>()
  // The streams and command ids under way: a statement does not see what it, or another in flight, is writing.
  const busy = new Set<string>()
  let underWay = 0
  let appendsUnderWay = 0
  let closed = false

  // The statements outlive the fibers that asked for them, so they run in the scope of the layer.
  const fibers = yield* FiberSet.make()
  const fork = yield* FiberSet.runtime(fibers)<never>()
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closed = true
      for (const pending of waiting) {
        Deferred.doneUnsafe(
          pending.done,
          Exit.fail(storeError(
            new StoreUnavailable({ message: "The event store is shutting down; nothing was written", cause: undefined })
          ))
        )
      }
      waiting.clear()
      return Effect.timeoutOption(FiberSet.awaitEmpty(fibers), shutdownTimeout)
    })
  )

  const patient = Semaphore.makeUnsafe(waitingAside)

  const release = ({ keys }: Pending): void => {
    for (const key of keys) busy.delete(key)
    pump()
  }

  const finish = (pending: Pending, exit: Exit.Exit<AppendRow, EventStoreError>): void => {
    Deferred.doneUnsafe(pending.done, exit)
  }

  /**
   * Waits in the database if there is a place to wait at. As long as all places are taken, perhaps for long, it asks now and then. None when
   * its caller has given it up.
   */
  const sendPatiently = Effect.fnUntraced(function*(
    pending: Pending
  ): Effect.fn.Return<Option.Option<AppendRow>, SqlError> {
    for (let delay = 1;; delay = Math.min(delay * 2, 50)) {
      if (pending.isGivenUp) return Option.none()
      const waited = yield* patient.withPermitsIfAvailable(1)(
        Effect.suspend(() => statements.single(pending.request))
      )
      if (Option.isSome(waited)) return waited
      const row = yield* Effect.suspend(() => statements.singleNow(pending.request))
      if (row.outcome !== "busy") return Option.some(row)
      yield* Effect.sleep(delay)
    }
  })

  /** Waits for whoever holds its stream or command id, beside the statements that are counted. */
  const sendAside = (pending: Pending): Effect.Effect<void> =>
    Effect.exit(sendPatiently(pending)).pipe(
      Effect.map((exit) => {
        if (Exit.isSuccess(exit) && Option.isNone(exit.value)) return
        finish(
          pending,
          Exit.mapBoth(exit, {
            onSuccess: Option.getOrThrow,
            onFailure: (error) => fromAppendError(error, pending.request.stream)
          })
        )
      }),
      Effect.ensuring(Effect.sync(() => {
        finish(pending, Exit.fail(unanswered(pending.request.stream)))
        release(pending)
      }))
    )

  /** Ends an append by its answer, or sets it aside. */
  const answer = (pending: Pending, exit: Exit.Exit<AppendRow, EventStoreError>): void => {
    if (Exit.isSuccess(exit) && exit.value.outcome === "busy") {
      fork(within(pending.span, sendAside(pending)))
      return
    }
    finish(pending, exit)
    release(pending)
  }

  const sendOne = (pending: Pending): Effect.Effect<void> =>
    Effect.map(
      Effect.exit(Effect.suspend(() => statements.singleNow(pending.request))),
      (exit) => answer(pending, Exit.mapError(exit, (error) => fromAppendError(error, pending.request.stream)))
    )

  const sendAll = (batch: ReadonlyArray<Pending>): Effect.Effect<void> =>
    Effect.matchCauseEffect(Effect.suspend(() => statements.batch(batch.map((pending) => pending.request))), {
      onSuccess: (rows) =>
        Effect.sync(() => {
          for (const [index, pending] of batch.entries()) answer(pending, Exit.succeed(rows[index]!))
        }),
      onFailure: (cause) => {
        const exit: Exit.Exit<never, SqlError> = Exit.failCause(cause)
        const error = Exit.findErrorOption(exit)
        // Nothing of a failed statement is written. Where one append may be to blame, each is sent alone and gets its own answer. What fails
        // for all alike is not tried for each in turn; and when the connection is lost, it cannot be known what is written.
        if (error._tag === "Some" && isOfOneAppend(error.value)) {
          return Effect.forEach(batch, sendOne, { discard: true })
        }
        return Effect.sync(() => {
          for (const pending of batch) {
            answer(pending, Exit.mapError(exit, (error) => fromAppendError(error, pending.request.stream)))
          }
        })
      }
    })

  /** Takes from those that wait, in order, as many as fit and are independent of each other and of those under way. */
  const take = (max: number): ReadonlyArray<Pending> => {
    const batch: Array<Pending> = []
    const passed = new Set<string>()
    let bytes = 0
    for (const pending of waiting) {
      const { keys } = pending
      // Whatever shares a key with one that must wait has to wait behind it.
      if (keys.some((key) => busy.has(key) || passed.has(key))) {
        for (const key of keys) passed.add(key)
        continue
      }
      if (batch.length > 0 && bytes + pending.bytes > batchBytes) break
      for (const key of keys) busy.add(key)
      waiting.delete(pending)
      bytes += pending.bytes
      if (batch.push(pending) === max) break
    }
    return batch
  }

  const send = (batch: ReadonlyArray<Pending>): Effect.Effect<void> => {
    const [first] = batch
    return Effect.ensuring(
      batch.length === 1
        ? within(first!.span, sendOne(first!))
        : Effect.withSpan(sendAll(batch), "EventStore.commit", {
          root: true,
          links: batch.flatMap(({ span }) => span === undefined ? [] : [{ span, attributes: {} }]),
          attributes: { "evsrc.appends": batch.length },
          captureStackTrace: false
        }),
      Effect.sync(() => {
        underWay--
        appendsUnderWay -= batch.length
        pump()
      })
    ).pipe(Effect.onInterrupt(() =>
      Effect.sync(() => {
        for (const pending of batch) finish(pending, Exit.fail(unanswered(pending.request.stream)))
      })
    ))
  }

  const pump = (): void => {
    while (waiting.size > 0) {
      const all = waiting.size + appendsUnderWay
      const statements = Math.max(1, Math.min(inFlight, Math.floor(all / statementAppends)))
      if (underWay >= statements) return
      // Each statement takes its share. Else one would take nearly all, and would go on to: who is answered together, asks together again.
      const batch = take(Math.min(batchAppends, Math.ceil(all / statements)))
      if (batch.length === 0) return
      underWay++
      appendsUnderWay += batch.length
      fork(send(batch))
    }
  }

  return (request) =>
    Effect.withFiber((fiber) => {
      if (closed) {
        return Effect.fail(
          storeError(
            new StoreUnavailable({ message: "The event store is closed; nothing was written", cause: undefined })
          )
        )
      }
      const pending: Pending = {
        request,
        keys: keysOf(request),
        bytes: bytesOf(request),
        span: Context.getOrUndefined(fiber.context, Tracer.ParentSpan),
        done: Deferred.makeUnsafe(),
        isGivenUp: false
      }
      waiting.add(pending)
      pump()
      return Effect.onInterrupt(Deferred.await(pending.done), () =>
        Effect.sync(() => {
          pending.isGivenUp = true
          waiting.delete(pending)
        }))
    })
})

/** The last word to a caller whose statement was given up at shutdown; everybody else has had an answer by then. */
const unanswered = (stream: string): EventStoreError =>
  storeError(
    new OutcomeUnknown({
      stream,
      message: "The event store was closed before the database answered; the append may or may not have been written",
      cause: undefined
    })
  )

const within = (span: Tracer.AnySpan | undefined, effect: Effect.Effect<void>): Effect.Effect<void> =>
  span === undefined ? effect : Effect.withParentSpan(effect, span, { captureStackTrace: false })

const keysOf = ({ commandId, stream }: AppendRequest): ReadonlyArray<string> =>
  commandId === undefined ? [`s${stream}`] : [`s${stream}`, `c${commandId}`]

const bytesOf = ({ events }: AppendRequest): number => {
  let bytes = 0
  for (const { data, metadata } of events) bytes += data.length + metadata.length
  return bytes
}
