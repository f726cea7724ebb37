/**
 * Stalls for trials, never for production: `PROVOKE=held-back npm start`. docs/stalls.md says what each one looks like.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore } from "evsrc"
import { applicationName } from "./Storage.ts"

const Trial = Schema.TaggedUnion({ Tried: {} })

/** An event that the read model cannot decode. */
const Broken = Schema.TaggedUnion({ UserRenamed: { userId: Schema.Boolean } })

/** Begins a transaction that stays open. */
const holding = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SqlClient, (sql) => sql.withTransaction(Effect.andThen(effect, Effect.never)))

const heldBack = holding(
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Trial, "Trial-1", [{ _tag: "Tried" }]))
)

/** The rows are there when a worker has started. */
const lockedRows = holding(Effect.flatMap(SqlClient, (sql) =>
  sql`select 1 from evsrc.checkpoints for update`.pipe(
    Effect.repeat({ until: (rows) => rows.length > 0, schedule: Schedule.spaced("100 millis") })
  )))

const lockedStream = holding(
  Effect.flatMap(
    SqlClient,
    (sql) => sql`select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext('User-ann'))`
  )
)

const noConnection = Effect.forEach(
  Array.from({ length: 10 }),
  () => holding(Effect.flatMap(SqlClient, (sql) => sql`select 1`)),
  { concurrency: "unbounded", discard: true }
)

/** For five seconds in every half minute. */
const outage = Effect.flatMap(
  SqlClient,
  (sql) =>
    Effect.ignore(sql`select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = ${applicationName} and datname = current_database() and pid <> pg_backend_pid()`).pipe(
      Effect.repeat({ schedule: Schedule.spaced("100 millis"), times: 50 }),
      Effect.andThen(Effect.sleep("25 seconds")),
      Effect.forever
    )
)

const parked = Effect.flatMap(
  EventStore.EventStore,
  (store) => store.append(Broken, "User-provoked", [{ _tag: "UserRenamed", userId: true }])
)

type Stall = Effect.Effect<unknown, { readonly _tag: string }, EventStore.EventStore | SqlClient>

export const stalls = {
  "held-back": heldBack,
  "locked-rows": lockedRows,
  "locked-stream": lockedStream,
  "no-connection": noConnection,
  "outage": outage,
  "parked": parked
} satisfies Readonly<Record<string, Stall>>

export type StallName = keyof typeof stalls

const warning = (name: StallName) => `
****************************************************************************
  PROVOKE=${name}: this program provokes a stall, as docs/stalls.md says.
  It is for trials. Never set PROVOKE in production.
****************************************************************************`

/** Provokes a stall for as long as the layer lives; none without a name. */
export const layer = (name: StallName | undefined): Layer.Layer<never, never, EventStore.EventStore | SqlClient> =>
  name === undefined ? Layer.empty : Layer.effectDiscard(Effect.gen(function*() {
    yield* Console.log(warning(name))
    const stall: Stall = stalls[name]
    yield* Effect.forkScoped(Effect.retry(stall, Schedule.spaced("1 second")))
  }))
