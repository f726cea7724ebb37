/**
 * The error of an append that has waited too long for a lock. It names the transaction that holds the lock.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type EventStoreError, storeError, StoreUnavailable } from "../../core/errors.ts"
import * as LockWait from "../../core/lockWait.ts"
import type { AppendRequest, KeptOut } from "../../eventStore/EventStoreDriver.ts"
import type { PgConnections } from "../PgConnections.ts"
import { inWords } from "../PgDeadlines.ts"
import { documentsParameter } from "./PgAppend.ts"

/** The caller has waited long enough. */
const timeout = 1_000

interface HolderRow {
  readonly lock: "stream" | "command" | "tag" | "type" | "document" | "documents"
  /** Whether locks are held for which appends to other streams wait too. */
  readonly concerns_others: boolean
  /** The inline projection whose document is locked. */
  readonly projection: string | null
  readonly pid: number
  readonly application: string | null
  readonly seconds: number | null
}

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
  const { deadlines, sql } = connections
  const find = (parameters: ReadonlyArray<unknown>) =>
    connections.statement(
      sql.unsafe<HolderRow>(statementIn(schema), parameters).withoutTransform,
      timeout
    ).pipe(
      // Not in the caller's transaction, which has failed.
      Effect.updateContext((context: Context.Context<never>) => Context.omit(sql.transactionService)(context)),
      Effect.timeoutOption(timeout),
      Effect.map(Option.flatMap(([row]) => Option.fromUndefinedOr(row))),
      Effect.catch(() => Effect.succeedNone)
    )
  const lockOf = (
    parameters: ReadonlyArray<unknown>,
    unknownHolder: string,
    words = wordsOfAppend
  ): Effect.Effect<Lock> =>
    Effect.map(find(parameters), (found) =>
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
      ? "A change of what appends of these types run"
      : `A change of inline projection "${projection}"`
    const lock = lockOf(
      [null, null, types.map((type) => `y${type}`), true, documents ?? []],
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
          [
            request.stream,
            request.commandId ?? null,
            namesOf(request),
            request.condition !== undefined,
            documentsParameter(request.touchedDocuments) ?? []
          ],
          "a lock of another transaction, or for an earlier append of this process"
        ),
        ({ isOfKey, text }) => {
          const error = errorOf(`The append to stream "${request.stream}"`, "lockTimeout", text)
          return isOfKey ? LockWait.ofKey(error) : error
        }
      ),
    /** The words of a transaction that keeps out appends. */
    ofKeptOut: ({ projection, types }: KeptOut): WaitWords =>
      wordsOf(types, documentsParameter(projection === undefined ? [] : [{ projection }]), projection),
    /** The words of a program that waits for appends of these types, to make an inline projection. */
    ofTypes: (types: ReadonlyArray<string>, projection: string): WaitWords => wordsOf(types, null, projection)
  }
}

/**
 * What a wait for appends in flight says.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitWords {
  /** The error when it has ended. */
  readonly failed: (timeout: Timeout) => Effect.Effect<EventStoreError>
  /** The message while it goes on. */
  readonly waiting: Effect.Effect<string>
}

type Timeout = "lockTimeout" | "maintenanceTimeout"

const describe =
  (words: typeof wordsOfAppend) => ({ application, lock, pid, projection, seconds }: HolderRow): string =>
    `a lock on ${words[lock]}${
      projection === null ? "" : ` inline projection "${projection}"`
    }, held by the session ${pid} (application "${application ?? ""}"${
      seconds === null ? "" : `, in a transaction for ${seconds} s`
    })`

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

/**
 * The second key of an advisory lock is listed as an oid, which has no sign. A shared lock blocks only sessions that want an exclusive one, so an
 * exclusive lock comes first.
 */
const statementIn = (schema: string): string =>
  `with wanted as (
    select '${schema}.events'::regclass::oid as class, (hashtext($1)::bigint & 4294967295)::oid as object, 'stream' as lock,
        null as projection, true as exclusive
    union all
    select '${schema}.events_command'::regclass::oid, (hashtext($2)::bigint & 4294967295)::oid, 'command', null, true
      where $2::text is not null
    union all
    select '${schema}.event_tags'::regclass::oid, (hashtext(name)::bigint & 4294967295)::oid,
        case when starts_with(name, 't') then 'tag' else 'type' end, null, $4::boolean
      from unnest($3::text[]) as name
    union all
    select '${schema}.documents'::regclass::oid, (hashtext(substr(name, 2))::bigint & 4294967295)::oid,
        case when position(E'\\x1f' in name) > 0 then 'document' else 'documents' end, split_part(substr(name, 2), E'\\x1f', 1),
        starts_with(name, 'x')
      from unnest($5::text[]) as name
  )
  select wanted.lock, bool_or(wanted.lock in ('type', 'documents')) over () as concerns_others, wanted.projection, held.pid, activity.application_name as application,
      extract(epoch from clock_timestamp() - activity.xact_start)::integer as seconds
    from pg_locks held join wanted on held.classid = wanted.class and held.objid = wanted.object
      left join pg_stat_activity activity on activity.pid = held.pid
    where held.locktype = 'advisory' and held.granted and held.objsubid = 2 and held.pid <> pg_backend_pid()
      and held.database = (select oid from pg_database where datname = current_database())
      and (wanted.exclusive or held.mode = 'ExclusiveLock')
    order by held.mode <> 'ExclusiveLock', activity.xact_start limit 1`
