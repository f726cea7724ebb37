/**
 * Appends that do not share statements with all others: within a transaction, closing a stream, or with inline projections, which share statements with
 * one another if their documents are computed before.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "../../core/errors.ts"
import * as LockWait from "../../core/lockWait.ts"
import { encodedEventsOf } from "../../eventStore/AppendCodec.ts"
import type { AppendRequest, AppendResult } from "../../eventStore/driver/EventStoreDriver.ts"
import type { TransactionState } from "../connections/BoundedConnection.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import { fromAppendError, fromTransactionalAppendError, sqlErrorOf } from "../PgErrors.ts"
import * as PgStatement from "../PgStatement.ts"
import { documentsParameter, type PreparedAppend } from "./AppendParameters.ts"
import * as DocumentsInFlight from "./DocumentsInFlight.ts"
import type { LockTimeoutErrors, Waited } from "./LockTimeoutError.ts"
import { type Attempted, isLockConflict, isLockTimeout, type LockWaits } from "./LockWaits.ts"
import { type AppendRow, attempted, type CommittedAppend, committedOf, heldLock, type PgAppend } from "./PgAppend.ts"

/**
 * Returns a function that appends in the caller's transaction. Outside of one, it appends a request with inline projections by one statement, with documents
 * that were computed before, or in a transaction of its own; another request by one statement.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  context: Context
): (request: AppendRequest) => Effect.Effect<AppendResult, EventStoreError> => {
  const { sql } = context.connections
  const announced = (request: AppendRequest, append: Effect.Effect<AppendResult, EventStoreError>) =>
    Effect.tap(
      append,
      (result) =>
        result._tag === "Appended"
          ? sql.afterCommit(context.committed([{ request, result: () => result }]))
          : Effect.void
    )
  const inFlight = DocumentsInFlight.make()
  return (request) =>
    Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) => {
      const { inTransaction } = request
      if (Option.isSome(transaction)) {
        return announced(
          request,
          inTransaction === undefined ? appendInCaller(context, request) : appendNested(context, request, inTransaction)
        )
      }
      return inTransaction === undefined
        ? Effect.flatMap(appendAlone(context, request), (row) => context.statements.resolve(request, row))
        : appendAhead(context, request, announced(request, appendWithEffect(context, request, inTransaction)), inFlight)
    })
}

/** What an append needs. */
interface Context {
  readonly connections: PgConnections
  readonly statements: PgAppend
  readonly waits: LockWaits
  readonly lockTimeoutErrors: Pick<LockTimeoutErrors, "ofAppend" | "isHeld">
  /** Appends through group commit, which announces what it has committed. */
  readonly inBatch: (request: PreparedAppend) => Effect.Effect<AppendRow, EventStoreError>
  /** Gets the appends that were committed otherwise. */
  readonly committed: (appends: ReadonlyArray<CommittedAppend>) => Effect.Effect<void>
}

type InTransaction = NonNullable<AppendRequest["inTransaction"]>

const failWaiting = ({ lockTimeoutErrors }: Context, request: AppendRequest, waited: Waited = "held") =>
  Effect.flatMap(lockTimeoutErrors.ofAppend(request, waited), Effect.fail)

/** In the caller's transaction, which occupies its connection anyway. It was not committed, so a lost connection has written nothing. */
const appendInCaller = (context: Context, request: AppendRequest): Effect.Effect<AppendResult, EventStoreError> =>
  context.statements.single(request, context.connections.deadlines.lockTimeout).pipe(
    Effect.catch((error) =>
      isLockTimeout(error)
        ? failWaiting(context, request)
        : Effect.fail(fromTransactionalAppendError(error, request.stream))
    ),
    Effect.flatMap((row) => context.statements.resolve(request, row))
  )

/** By one statement of its own, that commits by itself. */
const appendAlone = (context: Context, request: PreparedAppend): Effect.Effect<AppendRow, EventStoreError> =>
  context.waits.attempt(
    (wait) => Effect.map(context.statements.single(request, wait), (row) => attempted(row, request)),
    { request, isHeld: context.lockTimeoutErrors.isHeld(request) }
  ).pipe(
    Effect.mapError((error) => fromAppendError(error, request.stream)),
    Effect.flatMap(Result.match({
      onFailure: (waited) => failWaiting(context, request, waited),
      onSuccess: (row) => Effect.as(context.committed(committedOf([request], [row])), row)
    }))
  )

/**
 * Appends with documents that were computed before, by one statement. In a transaction, if they cannot be, or one of them has changed or is likely to
 * change meanwhile.
 */
const appendAhead = (
  context: Context,
  request: AppendRequest,
  inOneTransaction: Effect.Effect<AppendResult, EventStoreError>,
  inFlight: DocumentsInFlight.DocumentsInFlight
): Effect.Effect<AppendResult, EventStoreError> => {
  const { documentsAhead, touchedDocuments = [] } = request
  if (documentsAhead === undefined) return inOneTransaction
  const names = documentsParameter(touchedDocuments) ?? []
  return inFlight.whileIn(
    names,
    (isContended) =>
      isContended ? inOneTransaction : Effect.flatMap(documentsAhead, (documents) => {
        if (documents === undefined) return inOneTransaction
        const prepared: PreparedAppend = {
          ...request,
          documents,
          // It may lose its place in the queue: if the documents have changed, its transaction comes after the appends behind it.
          onQueued: undefined
        }
        const sent = request.closes === true ? appendAlone(context, prepared) : context.inBatch(prepared)
        return Effect.flatMap(sent, (row) => {
          if (row.outcome !== "stale") return context.statements.resolve(request, row)
          inFlight.contended(names)
          return inOneTransaction
        })
      })
  )
}

const appendWithEffect = (
  context: Context,
  request: AppendRequest,
  inTransaction: InTransaction
): Effect.Effect<AppendResult, EventStoreError> => {
  const { connections, statements, waits } = context
  let ofHandler: EventStoreError | undefined
  return waits.attempt(
    (wait) => {
      const state: TransactionState = { commitSent: false }
      const failed = (error: SqlError) =>
        // Before COMMIT, a lost connection has written nothing.
        isLockConflict(error)
          ? Effect.succeed(Result.fail(undefined))
          : Effect.fail((state.commitSent ? fromAppendError : fromTransactionalAppendError)(error, request.stream))
      const transaction = statements.single(request, wait, true).pipe(
        Effect.filterOrFail(({ outcome }) => outcome !== "busy", (row) => new Busy({ lock: heldLock(row, request) })),
        Effect.flatMap((row) => statements.resolve(request, row)),
        Effect.tap((result) =>
          result._tag === "Appended" ? inTransaction(encodedEventsOf(request, result)) : Effect.void
        )
      )
      return waits.transaction(connections.transaction(transaction, { isLimited: false, state })).pipe(
        Effect.map((result): Attempted<AppendResult> => Result.succeed(result)),
        Effect.catchCause((cause) => {
          const sqlError = sqlErrorOf(cause)
          return sqlError === undefined ? Effect.failCause(cause) : failed(sqlError)
        }),
        Effect.catchTags({ SqlError: failed, Busy: ({ lock }) => Effect.succeed(Result.fail(lock)) }),
        Effect.tapError((error) =>
          Effect.sync(() => {
            ofHandler = LockWait.isOfKey(error) ? error : undefined
          })
        )
      )
    },
    { request, isHeld: context.lockTimeoutErrors.isHeld(request), isTransaction: true }
  ).pipe(
    Effect.flatMap(Result.match({
      onFailure: (waited) => ofHandler === undefined ? failWaiting(context, request, waited) : Effect.fail(ofHandler),
      onSuccess: Effect.succeed
    }))
  )
}

const appendNested = (
  context: Context,
  request: AppendRequest,
  inTransaction: InTransaction
): Effect.Effect<AppendResult, EventStoreError> =>
  PgStatement.transactional(
    context.connections,
    Effect.tap(appendInCaller(context, request), (result) =>
      result._tag === "Appended" ? inTransaction(encodedEventsOf(request, result)) : Effect.void)
  )

/** Ends a transaction, so that another attempt begins later. */
class Busy extends Data.TaggedError("Busy")<{ readonly lock: string | undefined }> {}
