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
import { inWords, type PgDeadlines } from "../PgDeadlines.ts"
import { documentsParameter } from "./AppendParameters.ts"
import type { AwaitedLock, WaitForLock } from "./LockReports.ts"
import * as LocksOfAppend from "./LocksOfAppend.ts"

const wordsOfAppend = {
  stream: "its stream",
  command: "its command id",
  tag: "a type or tag of its events or condition",
  type: "a type or tag of its events or condition",
  document: "a document of",
  documents: "all documents of"
}

/** For an append behind another one. */
const wordsOfOther = { ...wordsOfAppend, stream: "that stream" }
const wordsOfKeptOut = { ...wordsOfAppend, type: "a type of its events" }

/**
 * What is known of the wait of an append that was not written in time: the server has just reported a lock of another transaction, or has reported one
 * before.
 *
 * @since 0.1.0
 * @category models
 */
export type Waited = "held" | "was held"

/**
 * An append that was not sent in time, and the lock for which it has waited; without one, others were before it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queued {
  readonly request: AppendRequest
  readonly wait: WaitForLock | undefined
}

/**
 * The errors of waits that have timed out.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockTimeoutErrors {
  /** Returns the error of an append that was not written in time. It names a lock only if the server has reported one. */
  readonly ofAppend: (request: AppendRequest, waited: Waited) => Effect.Effect<EventStoreError>
  /**
   * Returns the errors of appends that were not sent in time. The server is asked once for each lock that appends need themselves, and for all locks of an
   * append that waits behind another one.
   */
  readonly ofQueued: (queued: ReadonlyArray<Queued>) => Effect.Effect<ReadonlyArray<EventStoreError>>
  /** Returns whether another transaction holds a lock that an append needs. */
  readonly isHeld: (request: AppendRequest) => Effect.Effect<boolean>
  /** Returns the oldest session that holds a lock which an append needs, if there is one and the server answers in time. */
  readonly holderOf: (request: AppendRequest) => Effect.Effect<AppendLocks.HeldLock | undefined>
  /** Returns the messages of a transaction that keeps out appends. */
  readonly ofKeptOut: (keptOut: KeptOut) => WaitWords
  /** Returns the messages of a program that waits for appends of these types. */
  readonly ofTypes: (types: ReadonlyArray<string>, waiter: string) => WaitWords
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
    waiter: string
  ): WaitWords => {
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
  const ofAppend = makeOfAppend(deadlines)
  const errorOf = (request: AppendRequest, waited: Waited) =>
    Effect.map(find(LocksOfAppend.of(request)), (found) => ofAppend(request, waited, found))
  return {
    ofAppend: errorOf,
    ofQueued: (queued) => ofQueued(find, queued, ofAppend),
    isHeld: (request) =>
      Effect.map(find(LocksOfAppend.of(request)), (found) => found === undefined || Option.isSome(found)),
    holderOf: (request) =>
      Effect.map(find(LocksOfAppend.of(request)), (found) => Option.getOrUndefined(found ?? Option.none())),
    ofKeptOut: ({ projection, types }) =>
      wordsOf(
        types,
        documentsParameter(projection === undefined ? [] : [{ projection }]),
        projection === undefined
          ? "A change of the inline projections of these types"
          : `A change of inline projection "${projection}"`
      ),
    ofTypes: (types, waiter) => wordsOf(types, null, waiter)
  }
})

/** Returns the error of an append, from what was found of its locks. It waits behind an append to the stream `behind`, if that is given. */
type OfAppend = (
  request: AppendRequest,
  waited: Waited | "not sent",
  found: AppendLocks.Found,
  behind?: string
) => EventStoreError

const makeOfAppend = (deadlines: PgDeadlines): OfAppend => ({ stream }, waited, found, behind) => {
  const waiter = `The append to stream "${stream}"`
  const notSent = (timeout: "lockTimeout" | "connectionTimeout", why: string) =>
    unavailable(`${waiter} was not sent within ${inWords(deadlines[timeout])} (${timeout})${why}: ${overloaded}`)
  const tooLong = (lock: string) =>
    unavailable(
      `${waiter} waited ${inWords(deadlines.lockTimeout)} (lockTimeout) ${
        behind === undefined ? "for" : `behind the append to stream "${behind}", which waits for`
      } ${lock}; nothing was written; try again later`
    )
  if (waited === "not sent") return notSent("connectionTimeout", "")
  if (found === undefined) return tooLong(anotherLock)
  if (Option.isSome(found)) {
    const error = tooLong(describe(behind === undefined ? wordsOfAppend : wordsOfOther)(found.value))
    return found.value.concerns_others ? error : LockWait.ofKey(error)
  }
  return waited === "held"
    ? tooLong(anotherLock)
    : notSent("lockTimeout", ", although no other transaction holds its locks any more")
}

const ofQueued = Effect.fnUntraced(function*(
  find: (locks: AppendLocks.Locks) => Effect.Effect<AppendLocks.Found>,
  queued: ReadonlyArray<Queued>,
  ofAppend: OfAppend
): Effect.fn.Return<ReadonlyArray<EventStoreError>> {
  const awaited = new Set(queued.flatMap(({ wait }) => wait?.awaited ?? []))
  const holders = new Map<AwaitedLock, AppendLocks.Found>(
    yield* Effect.forEach(
      awaited,
      (one) => Effect.map(find(one.locks), (found) => [one, found] as const),
      { concurrency: "unbounded" }
    )
  )
  return yield* Effect.forEach(queued, ({ request, wait }) => {
    if (wait === undefined) return Effect.succeed(ofAppend(request, "not sent", undefined))
    const { awaited, isOwn } = wait
    const found = holders.get(awaited)
    if (isOwn) return Effect.succeed(ofAppend(request, "was held", found))
    return Effect.map(find(LocksOfAppend.of(request)), (own) =>
      own === undefined || Option.isSome(own)
        ? ofAppend(request, "was held", own)
        : ofAppend(request, "was held", found, awaited.stream))
  }, { concurrency: "unbounded" })
})

const anotherLock = "a lock of another transaction"

/** The error's words when no lock is the reason. */
const overloaded =
  "this program or the database is overloaded, or all connections of the client's pool are in use; nothing was written; try again later, "
  + "append less at a time, or give the client more connections"

const unavailable = (message: string): EventStoreError =>
  storeError(new StoreUnavailable({ message, cause: undefined }))

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
