/** `append_one` takes the steps of `append` in one statement. It has to answer the same, whatever the log and the locks. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { EventStore, StreamLifecycle } from "evsrc"
import { PgStores } from "evsrc/pg"
import { sqlState } from "../../../src/core/sqlState.ts"
import { layerPostgres } from "../../support/Database.ts"

const Noted = Schema.TaggedUnion({ Noted: { n: Schema.Int } })
const noted = (n: number) => Noted.cases.Noted.make({ n })

interface Call {
  readonly wait: boolean
  readonly stream: string
  readonly expected: number | null
  readonly commandId: string | null
  readonly lastEventId: string | null
  readonly type: string
}

const eventId = "00000000-0000-4000-8000-000000000001"

const callOne = (sql: PgClient.PgClient, { commandId, expected, lastEventId, stream, type, wait }: Call) =>
  sql`select outcome, version::text as version, position is not null as written, recorded_at is not null as recorded
    from evsrc.append_one(${wait}, ${stream}, ${expected}, ${commandId}, ${eventId}::uuid, ${type}, 1, '{"n":1}', '{}', ${lastEventId}::uuid)`

const callMany = (sql: PgClient.PgClient, { commandId, expected, lastEventId, stream, type, wait }: Call) =>
  sql`select outcomes[1] as outcome, versions[1]::text as version, positions[1] is not null as written, recorded_at is not null as recorded
    from evsrc.append(${wait}, array[${stream}], array[${expected}::bigint], array[${commandId}::text], '{1}', array[${eventId}::uuid],
      array[${type}], '{1}', array['{"n":1}'], array['{}'], null, null, null, null, null, null, null, null, false, array[${lastEventId}::uuid])`

/** What the call leaves in the log, besides the position, and how far above its in-flight low-water mark the event is. */
const written = (sql: PgClient.PgClient) =>
  sql`select stream, version::text as version, type, schema_version, id::text as id, command_id, command_events, data::text as data,
      metadata::text as metadata, tags, hash, closes, date_trunc('milliseconds', recorded_at) = recorded_at as whole,
      (position - evsrc.own_low_water_mark())::text as above, (select count(*)::integer from evsrc.inline_gaps) as gaps
    from evsrc.events where id = ${eventId}::uuid`

/** Runs a call and what follows it in a transaction that is rolled back. */
const tried = (sql: PgClient.PgClient, effect: Effect.Effect<unknown, SqlError>): Effect.Effect<unknown> =>
  sql.withTransaction(Effect.flatMap(effect, (value) => Effect.fail({ value }))).pipe(
    Effect.flip,
    Effect.map((error) => isSqlError(error) ? `error ${sqlState(error)}` : error.value)
  )

const outcomeOf = (sql: PgClient.PgClient, rows: Effect.Effect<ReadonlyArray<unknown>, SqlError>) =>
  tried(sql, Effect.zip(rows, Effect.suspend(() => written(sql))))

const assertSame = Effect.fnUntraced(function*(sql: PgClient.PgClient, call: Call) {
  const many = yield* outcomeOf(sql, callMany(sql, call))
  const outcomes = { one: yield* outcomeOf(sql, callOne(sql, call)), many }
  assert.deepStrictEqual(outcomes.one, outcomes.many, JSON.stringify(call))
  return outcomes.one
})

/** The streams open, closed and moved have two events each. The command "used" is in the log, and "archived" in the archive. */
const writeStreams = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const under = (commandId: string) => ({ metadata: { command: "Note", commandId } })
  yield* store.append(Noted, "open", [noted(1), noted(2)], under("used"))
  yield* store.append(Noted, "closed", [noted(1)])
  yield* StreamLifecycle.close(Noted, "closed", noted(2))
  yield* store.append(Noted, "moved", [noted(1)], under("archived"))
  yield* StreamLifecycle.close(Noted, "moved", noted(2))
  yield* StreamLifecycle.archive("moved")
})

const register = (sql: PgClient.PgClient, required: boolean) =>
  sql`insert into evsrc.inline_projections (projection, keeps, types, stream_prefix, required)
    values ('sums@1', 'documents', '{Noted}', 'op', ${required})`

const call: Call = { wait: false, stream: "open", expected: null, commandId: null, lastEventId: null, type: "Noted" }

describe("append_one", () => {
  it.live("returns and writes what append does", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* writeStreams
      const [last] = yield* sql<
        { id: string }
      >`select id::text as id from evsrc.events where stream = 'open' and version = 2`
      const seen = new Set<string>()
      for (const stream of ["open", "closed", "moved", "new"]) {
        for (const expected of [null, -1, 0, 1, 2]) {
          for (const commandId of [null, "used", "archived", "fresh"]) {
            for (const lastEventId of [null, last!.id, eventId]) {
              for (const wait of [false, true]) {
                const result = yield* assertSame(sql, { ...call, stream, expected, commandId, lastEventId, wait })
                seen.add(/"outcome":"(\w+)"/.exec(JSON.stringify(result))?.[1] ?? "failed")
              }
            }
          }
        }
      }
      assert.deepStrictEqual(Array.from(seen).toSorted(), ["appended", "closed", "conflict", "diverged", "duplicate"])
      // Beyond 31 bits the lock of the low-water mark has another form.
      for (const position of ["2146999998", "2147483640", "2147483647", "2147483648", "9000000000"]) {
        yield* sql`select setval('evsrc.positions', ${position}::bigint)`
        const result = yield* assertSame(sql, call)
        assert.include(JSON.stringify(result), `"above":"1"`, position)
      }
    }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPostgres())))))

  it.live("is busy where append is, and notes the same gaps of inline projections", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* writeStreams
      const held: Readonly<Record<string, string>> = {
        "-1": "select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext('open'))",
        "-2": "select pg_advisory_xact_lock('evsrc.events_command'::regclass::oid::integer, hashtext('fresh'))",
        "-3": "select pg_advisory_xact_lock('evsrc.event_tags'::regclass::oid::integer, hashtext('yNoted'))"
      }
      const other = yield* PgClient.makeClient(sql.config)
      for (const [number, lock] of Object.entries(held)) {
        const result = yield* other.withTransaction(
          Effect.andThen(other.unsafe(lock), assertSame(sql, { ...call, commandId: "fresh" }))
        )
        assert.include(JSON.stringify(result), `"outcome":"busy"`, number)
        if (number !== "-3") assert.include(JSON.stringify(result), `"version":"${number}"`)
      }
      for (const required of [false, true]) {
        yield* register(sql, required)
        for (const stream of ["open", "new"]) {
          for (const type of ["Noted", "Other"]) yield* assertSame(sql, { ...call, stream, type })
        }
        const [result] = [JSON.stringify(yield* assertSame(sql, call))]
        assert.include(result, required ? "error EV003" : `"gaps":1`)
        yield* sql`delete from evsrc.inline_projections`
      }
    }).pipe(
      Effect.scoped,
      Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPostgres()), Layer.merge(Reactivity.layer)))
    ))
})
