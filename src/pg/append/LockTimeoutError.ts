/**
 * The error of an append that has waited too long: for a lock, and then it names the transaction that holds the lock, or because the program is
 * overloaded.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import * as LockWait from "../../core/lockWait.ts"
import type { AppendRequest, KeptOut } from "../../eventStore/driver/EventStoreDriver.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import * as AppendLocks from "../locks/AppendLocks.ts"
import * as SessionWords from "../locks/SessionWords.ts"
import { inWords } from "../PgDeadlines.ts"
import { documentsParameter } from "./AppendParameters.ts"

const wordsOfAppend = {
  stream: "its stream",
  command: "its command id",
  tag: "a type or tag of its events or condition",
  type: "a type or tag of its events or condition",
  document: "a document of",
  documents: "all documents of"
}

const wordsOfKeptOut = { ...wordsOfAppend, type: "a type of its events" }

/**
 * What is known of the wait of an append that was not written in time: the server has just reported a lock of another transaction; or has reported one
 * before; or has not been asked, because others were before it.
 *
 * @since 0.1.0
 * @category models
 */
export type Waited = "held" | "was held" | "not sent"

/**
 * The errors of waits that have timed out.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockTimeoutErrors {
  /** Returns the error of an append that was not written in time. It names a lock only if the server has reported one. */
  readonly ofAppend: (request: AppendRequest, waited: Waited) => Effect.Effect<EventStoreError>
  /** Returns the errors of appends that wait for the same lock, by one request to the server. */
  readonly ofAppends: (
    requests: readonly [AppendRequest, ...ReadonlyArray<AppendRequest>],
    waited: Waited
  ) => Effect.Effect<ReadonlyArray<EventStoreError>>
  /** Returns whether another transaction holds a lock that an append needs. */
  readonly isHeld: (request: AppendRequest) => Effect.Effect<boolean>
  /** Returns the messages of a transaction that keeps out appends. */
  readonly ofKeptOut: (keptOut: KeptOut) => WaitWords
  /** Returns the messages of a program that waits for appends of these types, to make an inline projection. */
  readonly ofTypes: (types: ReadonlyArray<string>, projection: string) => WaitWords
}

/**
 * Makes the errors of waits that have timed out. They name the lock and its holder if the server answers within a second.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  connections: PgConnections,
  schema: string
): Effect.fn.Return<LockTimeoutErrors, never, Scope.Scope> {
  const { deadlines } = connections
  const find = yield* AppendLocks.finder(connections, schema)
  const waitedTooLong = (waiter: string, timeout: Timeout, lock: string): string =>
    `${waiter} waited ${inWords(deadlines[timeout])} (${timeout}) for ${lock}; nothing was written; try again later`
  const wordsOf = (
    types: ReadonlyArray<string>,
    documents: ReadonlyArray<string> | null,
    projection: string | undefined
  ): WaitWords => {
    const waiter = projection === undefined
      ? "A change of the inline projections of these types"
      : `A change of inline projection "${projection}"`
    const lock = Effect.map(
      find({ shared: [], exclusive: types.map((type) => `y${type}`), documents: documents ?? [] }),
      (found) => found === undefined || Option.isNone(found) ? anotherLock : describe(wordsOfKeptOut)(found.value)
    )
    return {
      failed: (timeout) => Effect.map(lock, (text) => unavailable(waitedTooLong(waiter, timeout, text))),
      waiting: Effect.map(
        lock,
        (text) =>
          `${waiter} waits for ${text}, up to ${
            inWords(deadlines.maintenanceTimeout)
          } (maintenanceTimeout); end the session if it does not go on`
      )
    }
  }
  const ofAppends: LockTimeoutErrors["ofAppends"] = (requests, waited) => {
    const errorsOf = (message: (waiter: string) => string, isOfKey = false) =>
      requests.map(({ stream }) => {
        const error = unavailable(message(`The append to stream "${stream}"`))
        return isOfKey ? LockWait.ofKey(error) : error
      })
    const tooLong = (lock: string, isOfKey = false) =>
      errorsOf((waiter) => waitedTooLong(waiter, "lockTimeout", lock), isOfKey)
    const notSent = (timeout: "lockTimeout" | "connectionTimeout") =>
      `was not sent within ${inWords(deadlines[timeout])} (${timeout})`
    if (waited === "not sent") {
      return Effect.sync(() => errorsOf((waiter) => `${waiter} ${notSent("connectionTimeout")}: ${overloaded}`))
    }
    return Effect.map(find(locksOf(requests[0])), (found) => {
      if (found === undefined) return tooLong(anotherLock)
      if (Option.isSome(found)) return tooLong(describe(wordsOfAppend)(found.value), !found.value.concerns_others)
      return waited === "held"
        ? tooLong(anotherLock)
        : errorsOf((waiter) =>
          `${waiter} ${notSent("lockTimeout")}, although no other transaction holds its locks any more: ${overloaded}`
        )
    })
  }
  return {
    ofAppend: (request, waited) => Effect.map(ofAppends([request], waited), ([error]) => error!),
    ofAppends,
    isHeld: (request) => Effect.map(find(locksOf(request)), (found) => found === undefined || Option.isSome(found)),
    ofKeptOut: ({ projection, types }) =>
      wordsOf(types, documentsParameter(projection === undefined ? [] : [{ projection }]), projection),
    ofTypes: (types, projection) => wordsOf(types, null, projection)
  }
})

const anotherLock = "a lock of another transaction"

/** The error's words when no lock is the reason. */
const overloaded =
  "this program or the database is overloaded, or all connections of the client's pool are in use; nothing was written; try again later, "
  + "append less at a time, or give the client more connections"

const unavailable = (message: string): EventStoreError =>
  storeError(new StoreUnavailable({ message, cause: undefined }))

const locksOf = ({ commandId, condition, events, stream, touchedDocuments }: AppendRequest): AppendLocks.Locks => ({
  stream,
  commandId,
  shared: Array.from(
    new Set(events.flatMap(({ tags = [], type }) => [`y${type}`, ...tags.map((tag) => `t${tag}`)]))
  ),
  exclusive: Array.from(
    new Set(
      (condition?.query ?? []).flatMap(({ tags = [], types = [] }) =>
        tags.length > 0 ? [`t${tags[0]!}`] : types.map((type) => `y${type}`)
      )
    )
  ),
  documents: documentsParameter(touchedDocuments) ?? []
})

/**
 * The messages of a wait for appends in flight.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitWords {
  /** Returns the error of a wait that a timeout has ended. */
  readonly failed: (timeout: Timeout) => Effect.Effect<EventStoreError>
  /** Returns the log message of a wait that goes on. */
  readonly waiting: Effect.Effect<string>
}

type Timeout = "lockTimeout" | "maintenanceTimeout"

const describe = (words: typeof wordsOfAppend) => ({ lock, projection, ...session }: AppendLocks.HeldLock): string =>
  `a lock on ${words[lock]}${projection === null ? "" : ` inline projection "${projection}"`}, held by ${
    SessionWords.of(session)
  }`
