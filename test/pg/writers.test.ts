import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import { isLong, scale } from "../support/scale.ts"
import * as Bystanders from "./bystanders.ts"
import * as Writing from "./writing.ts"

const storeAt = (url: string) =>
  PgEventStore.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })))

/** The number of events that every subscriber sees between two faults. */
const progress = scale(50, 1000)

// Generous, because other load on the machine slows the test down.
const timeout = 300_000

describe("64 writers in four processes", () => {
  it.live(
    "reach subscribers once and in order, through rollbacks, kill -9 and restarts",
    () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.make({ settings: { fsync: "off", max_connections: "200" } })
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          const sql = yield* PgClient.PgClient
          const run = yield* Writing.start(server.url)
          for (const end of [server.kill, server.stop]) {
            yield* Effect.scoped(Effect.gen(function*() {
              const bystanders = yield* Bystanders.open(server.url)
              yield* run.progress(progress)
              yield* run.replaceOne
              yield* run.progress(progress)
              yield* bystanders.areOpen
              yield* end
            }))
            yield* server.start
          }
          const bystanders = yield* Bystanders.open(server.url)
          yield* run.progress(progress)
          const { acknowledged, committed } = yield* run.finish
          yield* bystanders.areOpen

          for (const { resumed, seen } of run.consumers) {
            assert.deepStrictEqual(seen, committed)
            assert.isAtLeast(resumed(), 2, "a subscriber resumed after each end of the server")
          }
          assert.strictEqual(yield* store.head, committed.at(-1))
          const inLog = new Set<bigint>(committed)
          assert.isAbove(acknowledged.length, 2 * progress)
          assert.deepStrictEqual(
            acknowledged.filter((position) => !inLog.has(position)),
            [],
            "acknowledged events that are not in the log"
          )
          assert.strictEqual(new Set(acknowledged).size, acknowledged.length, "no event belongs to two commands")
          assert.isAbove(Number(committed.at(-1)), committed.length, "rollbacks burnt positions")
          const holes = yield* sql`select 1 from evsrc.events group by stream having max(version) <> count(*)`
          assert.strictEqual(holes.length, 0, "streams with a gap in their versions")
        }).pipe(Effect.provide(storeAt(server.url)))
      }),
    timeout
  )

  // Shows that the test above would find the fault. highWaterMark.test.ts shows it for one append in flight.
  if (isLong) {
    it.live(
      "make subscribers lose events without the in-flight low-water mark",
      () =>
        Effect.gen(function*() {
          const { url } = yield* freshDatabase
          yield* Effect.gen(function*() {
            const sql = yield* PgClient.PgClient
            // The high-water mark of a reader that ignores appends in flight.
            yield* sql.unsafe(
              `create or replace function evsrc.high_water_mark() returns bigint language sql volatile as $$
            select coalesce(max(position), 0) from evsrc.events
          $$`
            )
            const run = yield* Writing.start(url)
            yield* run.untilLost
            const { committed } = yield* run.finish
            const completeConsumers = run.consumers.filter(({ seen }) => seen.length === committed.length)
            assert.isBelow(completeConsumers.length, run.consumers.length)
          }).pipe(Effect.provide(storeAt(url)))
        }),
      timeout
    )
  }
})
