/**
 * Group commit: appends that arrive in one turn of the event loop, or while a statement is in flight, go out together as the next one, or as several at a
 * time under load. An append that arrives alone and finds no statement in flight goes at once; nothing waits for a timer. An append whose stream another
 * transaction holds waits for it alone, so that no other append waits.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Tracer from "effect/Tracer"
import type { EventStoreError } from "../../core/errors.ts"
import { monotonicMillisUnsafe } from "../../core/monotonic.ts"
import type { PgDeadlines } from "../PgDeadlines.ts"
import { fromAppendError, isOfOneAppend } from "../PgErrors.ts"
import * as Timer from "../timer.ts"
import * as Turn from "../turn.ts"
import type { PreparedAppend } from "./AppendParameters.ts"
import * as AppendQueue from "./AppendQueue.ts"
import * as AppendSweep from "./AppendSweep.ts"
import { Held } from "./Held.ts"
import { Reported } from "./LockReports.ts"
import type { LockTimeoutErrors } from "./LockTimeoutError.ts"
import type { LockWaits } from "./LockWaits.ts"
import * as PendingAppend from "./PendingAppend.ts"
import { closedError, finish } from "./PendingAppend.ts"
import { type AppendRow, heldLock, lockOfStream, type PgAppend } from "./PgAppend.ts"
import * as WaitsInQueue from "./WaitsInQueue.ts"

/** How long closing waits for statements in flight. A server that does not respond must not keep a program from ending. */
const shutdownTimeout = "10 seconds"

/** How long a statement may take, in milliseconds, before it no longer keeps others from being sent: its connection may be lost. */
const stalledAfter = 1_000

type Pending = PendingAppend.Pending

/** What the batcher sends, and how it waits. */
interface Statements extends Pick<PgAppend, "single" | "batch"> {
  readonly waits: Pick<LockWaits, "attempt">
  readonly deadlines: Pick<PgDeadlines, "connectionTimeout" | "lockTimeout">
  readonly lockTimeoutErrors: Pick<LockTimeoutErrors, "ofAppend" | "ofQueued" | "isHeld">
}

/** Takes the answers to the appends of a batch, in their order. */
interface Answers {
  readonly answer: (pending: Pending, exit: Exit.Exit<AppendRow, SqlError>) => void
  /** Returns whether the append is behind one that waits for a lock, so that it must not be sent. */
  readonly isHeld: (pending: Pending) => boolean
  /** Ends the batch: an append whose lock another transaction holds waits for it, and those behind it go back to the queue. */
  readonly end: () => void
}

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
): Effect.fn.Return<(request: PreparedAppend) => Effect.Effect<AppendRow, EventStoreError>, never, Scope.Scope> {
  const queue = AppendQueue.make<Pending>(options)
  const clock = yield* Clock.Clock
  const reported = new Reported()
  let isClosed = false

  // Statements outlive the fibers of their callers, so they run in the scope of the layer.
  const fibers = yield* FiberSet.make()
  const fork = yield* FiberSet.runtime(fibers)<never>()
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isClosed = true
      sweep.stop()
      closeAll()
      return Effect.timeoutOption(FiberSet.awaitEmpty(fibers), shutdownTimeout)
    })
  )

  const closeAll = (): void => queue.removeAll().forEach((pending) => finish(pending, Exit.fail(closedError)))

  const sendNext = (): void => {
    for (let batch = queue.nextBatch(); batch.length > 0; batch = queue.nextBatch()) fork(send(batch))
  }

  const sendSoon = Turn.atEnd(sendNext)
  const sweep = AppendSweep.make({ ...statements, queue, reported, clock, fork, fail: finish, removed: sendNext })

  const end = (pending: Pending, isFollowed: boolean): void => {
    queue.end(pending)
    if (!isFollowed) failFollowers(queue, reported, pending)
    sendNext()
  }
  const answered = (pending: Pending, isFollowed: boolean): void => {
    reported.gotLocks(pending)
    end(pending, isFollowed)
  }

  const send = (batch: ReadonlyArray<Pending>): Effect.Effect<void> =>
    inSlot(queue, batch, sendNext, () => sendBatch(statements, batch, answersOf(answered, putBack, startWaiting)))

  const putBack = (followers: ReadonlyArray<Pending>): void => {
    queue.putBack(followers)
    for (const follower of followers.filter(({ isInterrupted }) => isInterrupted)) queue.remove(follower)
    wentBack()
  }
  /** After appends went back to the queue. */
  const wentBack = (): void => {
    if (isClosed) closeAll()
    else sweep.start()
  }

  const startWaiting = WaitsInQueue.make({
    queue,
    reported,
    sweep,
    statements,
    fork,
    wentBack,
    end,
    isClosed: () => isClosed,
    now: () => monotonicMillisUnsafe(clock)
  })

  return (request) =>
    Effect.withFiber((fiber) => {
      if (isClosed) return Effect.fail(closedError)
      const span = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
      const pending = PendingAppend.make(request, span, monotonicMillisUnsafe(clock))
      queue.add(pending)
      request.onQueued?.()
      sendSoon()
      sweep.start()
      return Effect.onInterrupt(Deferred.await(pending.done), () =>
        Effect.sync(() => interrupt(queue, reported, pending, sendNext)))
    })
})

/** Sends a batch, which has a slot of the queue until the server has answered. */
const inSlot = (
  queue: AppendQueue.AppendQueue<Pending>,
  batch: ReadonlyArray<Pending>,
  sendNext: () => void,
  sent: () => Effect.Effect<void>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const timer = Timer.start(stalledAfter, () => {
      queue.statementStalled(batch)
      sendNext()
    })
    return Effect.ensuring(
      sent(),
      Effect.sync(() => {
        Timer.stop(timer)
        queue.statementEnded(batch)
        sendNext()
      })
    )
  }).pipe(Effect.onInterrupt(() => PendingAppend.abandon(batch)))

/**
 * Fails the appends that rest on one that was not written, each through the one before it. Sent, each of them could wait for a lock of its own before
 * it fails.
 */
const failFollowers = (queue: AppendQueue.AppendQueue<Pending>, reported: Reported, pending: Pending): void => {
  for (const follower of queue.removeFollowers(pending)) {
    reported.remove(follower)
    finish(follower, Exit.succeed({ ...PendingAppend.notSent(follower), outcome: "diverged" }))
  }
}

const interrupt = (
  queue: AppendQueue.AppendQueue<Pending>,
  reported: Reported,
  pending: Pending,
  sendNext: () => void
): void => {
  pending.isInterrupted = true
  if (!queue.remove(pending)) return
  reported.remove(pending)
  failFollowers(queue, reported, pending)
  // Others of its stream may have waited behind it.
  sendNext()
}

const storeExit = <A>({ request }: Pending, exit: Exit.Exit<A, SqlError>): Exit.Exit<A, EventStoreError> =>
  Exit.mapError(exit, (error) => fromAppendError(error, request.stream))

const answersOf = (
  end: (pending: Pending, isFollowed: boolean) => void,
  putBack: (followers: ReadonlyArray<Pending>) => void,
  startWaiting: (pending: Pending, lock: string) => void
): Answers => {
  const waiting: Array<readonly [Pending, string]> = []
  const followers: Array<Pending> = []
  const held = new Held()
  return {
    answer: (pending, exit) => {
      if (!PendingAppend.isBusy(exit)) {
        if (Exit.isSuccess(exit) && exit.value.outcome === "duplicate") pending.request.onRepeated?.()
        finish(pending, storeExit(pending, exit))
        return end(pending, PendingAppend.mayBeFollowed(exit))
      }
      const isBehind = held.has(pending)
      const lock = heldLock(exit.value, pending.request)
      held.add(pending)
      if (lock === lockOfStream(pending.stream)) held.freeNames(pending)
      if (isBehind) followers.push(pending)
      else waiting.push([pending, lock ?? `those of append ${pending.eventId}`])
    },
    isHeld: (pending) => held.has(pending),
    end: () => {
      if (followers.length > 0) putBack(followers)
      for (const [pending, lock] of waiting) startWaiting(pending, lock)
    }
  }
}

const sendOne = (statements: Statements, pending: Pending): Effect.Effect<Exit.Exit<AppendRow, SqlError>> =>
  Effect.exit(Effect.suspend(() => statements.single(pending.request, "now")))

/** Sends each append alone, except those behind one that waits for a lock. */
const sendEach = (statements: Statements, batch: ReadonlyArray<Pending>, answers: Answers): Effect.Effect<void> =>
  Effect.forEach(
    batch,
    (pending) =>
      Effect.map(
        answers.isHeld(pending)
          ? Effect.succeed(Exit.succeed(PendingAppend.notSent(pending)))
          : sendOne(statements, pending),
        (exit) => answers.answer(pending, exit)
      ),
    { discard: true }
  )

const sendAll = (statements: Statements, batch: ReadonlyArray<Pending>, answers: Answers): Effect.Effect<void> =>
  Effect.matchCauseEffect(Effect.suspend(() => statements.batch(batch.map((pending) => pending.request))), {
    onSuccess: (rows) =>
      Effect.sync(() => {
        for (const [index, pending] of batch.entries()) answers.answer(pending, Exit.succeed(rows[index]!))
      }),
    onFailure: (cause) => {
      const exit: Exit.Exit<never, SqlError> = Exit.failCause(cause)
      const error = Exit.findErrorOption(exit)
      // A failed statement has written nothing. If one append may be the reason, each is sent alone and gets its own result. An error
      // that concerns all would only repeat; and after a lost connection it is unknown what is written.
      if (Option.isSome(error) && isOfOneAppend(error.value)) {
        return sendEach(statements, batch, answers)
      }
      return Effect.sync(() => {
        for (const pending of batch) answers.answer(pending, exit)
      })
    }
  })

const sendBatch = (statements: Statements, batch: ReadonlyArray<Pending>, answers: Answers): Effect.Effect<void> => {
  const [first] = batch
  const sent = batch.length === 1
    ? PendingAppend.withParentSpan(first!.span, sendEach(statements, batch, answers))
    : sendAll(statements, batch, answers).pipe(
      Effect.withSpan("EventStore.commit", {
        root: true,
        links: batch.flatMap(({ span }) => span === undefined ? [] : [{ span, attributes: {} }]),
        attributes: { "evsrc.appends": batch.length }
      }, { captureStackTrace: false })
    )
  return Effect.andThen(sent, Effect.sync(answers.end))
}
