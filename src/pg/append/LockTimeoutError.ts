/**
 * The error of an append that has waited too long for a lock. It names the transaction that holds the lock.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import * as LockWait from "../../core/lockWait.ts"
import type { AppendRequest, KeptOut } from "../../eventStore/driver/EventStoreDriver.ts"
import type { PgConnections } from "../connections/PgConnections.ts"
import * as AppendLocks from "../locks/AppendLocks.ts"
import * as SessionWords from "../locks/SessionWords.ts"
import { inWords } from "../PgDeadlines.ts"
import { documentsParameter } from "./PgAppend.ts"

/** A lock, and whether only appends of one key need it. */
interface Lock {
  readonly text: string
  readonly isOfKey: boolean
}

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
 * Returns a function that makes the error of an append which has waited too long for a lock. It names the lock and its holder if it
 * finds them within a second.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (connections: PgConnections, schema: string) => {
  const { deadlines } = connections
  const find = AppendLocks.finder(connections, schema)
  const lockOf = (
    locks: AppendLocks.Locks,
    unknownHolder: string,
    words = wordsOfAppend
  ): Effect.Effect<Lock> =>
    Effect.map(find(locks), (found) =>
      Option.match(found, {
        onNone: () => ({ text: unknownHolder, isOfKey: false }),
        onSome: (row) => ({ text: describe(words)(row), isOfKey: !row.concerns_others })
      }))
  const errorOf = (waiter: string, timeout: Timeout, lock: string): EventStoreError =>
    storeError(
      new StoreUnavailable({
        message: `${waiter} waited ${inWords(deadlines[timeout])} (${timeout}) for ${lock}; nothing was written; `
          + "try again later",
        cause: undefined
      })
    )
  const wordsOf = (
    types: ReadonlyArray<string>,
    documents: ReadonlyArray<string> | null,
    projection: string | undefined
  ): WaitWords => {
    const waiter = projection === undefined
      ? "A change of the inline projections of these types"
      : `A change of inline projection "${projection}"`
    const lock = lockOf(
      { names: types.map((type) => `y${type}`), isExclusive: true, documents: documents ?? [] },
      "a lock of another transaction",
      wordsOfKeptOut
    )
    return {
      failed: (timeout) => Effect.map(lock, ({ text }) => errorOf(waiter, timeout, text)),
      waiting: Effect.map(
        lock,
        (found) =>
          `${waiter} waits for ${found.text}, up to ${
            inWords(deadlines.maintenanceTimeout)
          } (maintenanceTimeout); end the session if it does not go on`
      )
    }
  }
  return {
    ofAppend: (request: AppendRequest): Effect.Effect<EventStoreError> =>
      Effect.map(
        lockOf(
          {
            stream: request.stream,
            commandId: request.commandId,
            names: namesOf(request),
            isExclusive: request.condition !== undefined,
            documents: documentsParameter(request.touchedDocuments) ?? []
          },
          "a lock of another transaction, or for an earlier append of this process"
        ),
        ({ isOfKey, text }) => {
          const error = errorOf(`The append to stream "${request.stream}"`, "lockTimeout", text)
          return isOfKey ? LockWait.ofKey(error) : error
        }
      ),
    /** Returns the messages of a transaction that keeps out appends. */
    ofKeptOut: ({ projection, types }: KeptOut): WaitWords =>
      wordsOf(types, documentsParameter(projection === undefined ? [] : [{ projection }]), projection),
    /** Returns the messages of a program that waits for appends of these types, to make an inline projection. */
    ofTypes: (types: ReadonlyArray<string>, projection: string): WaitWords => wordsOf(types, null, projection)
  }
}

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

/** The names by which the types and tags of an append are locked. */
const namesOf = ({ condition, events }: AppendRequest): ReadonlyArray<string> =>
  Array.from(
    new Set([
      ...events.flatMap(({ tags = [], type }) => [`y${type}`, ...tags.map((tag) => `t${tag}`)]),
      ...(condition?.query ?? []).flatMap(({ tags = [], types = [] }) =>
        tags.length > 0 ? [`t${tags[0]!}`] : types.map((type) => `y${type}`)
      )
    ])
  )
