/** The indexes that the queries of causation trees use. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Causation, EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const Noted = Schema.TaggedUnion({ Noted: { n: Schema.Int } })

describe("a causation tree on PostgreSQL", () => {
  it.live(
    "is found by an index that any process can create later",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const use = <A, E>(effect: Effect.Effect<A, E, EventStore.EventStore>, causationIndex: boolean) =>
          Effect.provide(effect, Layer.fresh(PgEventStore.layerWith({ causationIndex })))
        const write = Effect.flatMap(EventStore.EventStore, (store) =>
          Effect.forEach(
            Array.from({ length: 50 }, (_, n) => n),
            (n) =>
              store.append(Noted, `n-${n}`, Array.from({ length: 20 }, () => ({ _tag: "Noted", n })), {
                metadata: { correlationId: `c-${n}`, attributes: { "\u0000": "\ud800" } }
              })
          ))
        const events = (n: number) =>
          Effect.map(
            Causation.of({ correlationId: `c-${n}` }),
            Option.map((tree) => tree.events)
          )
        const scans = Effect.map(
          sql<{ readonly name: string; readonly scans: bigint }>`
          select indexrelname as name, idx_scan as scans from pg_stat_user_indexes
            where indexrelname in ('events_correlation', 'events_id') order by 1`,
          (rows) => rows.map(({ name, scans }) => [name, scans > 0n])
        )
        yield* use(write, false)
        assert.deepStrictEqual(yield* use(events(7), false), Option.some(20))
        assert.deepStrictEqual(yield* scans, [])
        yield* use(write, true)
        yield* sql`analyze evsrc.events`
        assert.deepStrictEqual(yield* use(events(7), true), Option.some(40))
        const [first] = yield* sql<{ readonly id: string }>`select id from evsrc.events limit 1`
        const byEvent = yield* use(Causation.of({ eventId: first!.id }), false)
        assert.deepStrictEqual(Option.map(byEvent, (tree) => tree.events), Option.some(40))
        const used = yield* scans.pipe(
          // The server publishes its statistics with a delay.
          Effect.repeat({ until: (rows) => rows.filter(([, used]) => used === true).length === 2 }),
          Effect.timeout("1 minute")
        )
        assert.deepStrictEqual(used, [["events_correlation", true], ["events_id", true]])
      }).pipe(Effect.provide(layerPostgres()))
  )
})
