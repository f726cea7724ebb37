/** Handlers in transactions leave connections of the pool to claims, heartbeats and health. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Latch, Layer, Logger, Redacted, Schedule, Schema, Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Health, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"

const Sent = Schema.TaggedUnion({ Sent: { n: Schema.Int } })
const sent = (n: number) => Sent.cases.Sent.make({ n })
const streams = 24

const withPool = (url: string, maxConnections: number) =>
  Effect.provide(
    PgStores.layerWith({ connectionTimeout: "2 seconds" }).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections }))
    )
  )

const often = Schedule.spaced("20 millis")

describe.concurrent("handlers in transactions", () => {
  const endless = {
    "between statements": (_: SqlClient, end: Effect.Effect<void>) => end,
    "during a statement": (sql: SqlClient) => Effect.asVoid(sql`select pg_sleep(30)`)
  }
  for (const [when, wait] of Object.entries(endless)) {
    it.live(
      `write nothing after they were given up ${when}`,
      Effect.fnUntraced(
        function*() {
          const { url } = yield* freshDatabase
          const [begun, end] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
          const ended = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
          let hangs = true
          const rows = Projection.handler("rows", {
            events: Sent,
            handle: {
              Sent: Effect.fnUntraced(function*({ n }) {
                const sql = yield* SqlClient
                const insert = sql`insert into handled values (${n})`
                yield* insert
                if (!hangs) return
                const rest = Effect.andThen(wait(sql, end.await), insert)
                yield* begun.open
                yield* Effect.uninterruptible(
                  Effect.flatMap(Effect.exit(rest), (exit) => Deferred.succeed(ended, exit))
                )
              })
            }
          })
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* sql`create table handled (n int)`
            const scope = yield* Scope.make()
            yield* Layer.buildWithScope(Layer.fresh(Projector.layer([rows])), scope)
            const { position } = yield* EventStore.append(Sent, "s", [sent(1)])
            yield* begun.await
            yield* Effect.timeout(Scope.close(scope, Exit.void), "7 seconds")
            hangs = false
            yield* Layer.build(Layer.fresh(Projector.layer([rows])))
            yield* ProjectionStore.awaitPosition(rows, position, "20 seconds")
            yield* end.open
            assert.isTrue(Exit.isFailure(yield* Effect.timeout(Deferred.await(ended), "10 seconds")))
            assert.deepStrictEqual(yield* sql`select n from handled`, [{ n: 1 }])
            const open =
              yield* sql`select pid from pg_stat_activity where datname = current_database() and xact_start is not null
              and pid <> pg_backend_pid()`
            assert.deepStrictEqual(open, [])
          }).pipe(withPool(url, 4))
        },
        Effect.scoped
      ),
      60_000
    )
  }

  it.live(
    "and appends with inline projections leave two connections to claims and health",
    Effect.fnUntraced(
      function*() {
        const { url } = yield* freshDatabase
        const open = Latch.makeUnsafe(false)
        let [active, maxActive, handlers] = [0, 0, 0]
        const wait = Effect.suspend(() => {
          maxActive = Math.max(maxActive, ++active)
          return Effect.ensuring(open.await, Effect.sync(() => active--))
        })
        const rows = Projection.handler("rows", {
          events: Sent,
          partitions: 8,
          handle: { Sent: () => Effect.andThen(Effect.sync(() => handlers++), wait) }
        })
        const Kept = Schema.TaggedUnion({ Kept: {} })
        const kept = Projection.handler("kept", { events: Kept, lifecycle: "inline", handle: { Kept: () => wait } })
        yield* Effect.gen(function*() {
          for (let n = 0; n < streams; n++) yield* EventStore.append(Sent, `s-${n}`, [sent(n)])
          yield* Layer.build(Projector.layer([rows], { lease: "3 seconds" }))
          yield* Effect.repeat(Effect.sync(() => handlers), { until: (count) => count >= 3, schedule: often })
          yield* Effect.gen(function*() {
            const appends = yield* Effect.forEach(
              Array.from({ length: 6 }, (_, n) => n),
              (n) => Effect.forkScoped(EventStore.append(Kept, `k-${n}`, [{ _tag: "Kept" }]))
            )
            yield* Effect.repeat(Effect.sync(() => active), { until: (count) => count >= 4, schedule: often })
            // Without a connection it fails after the connectionTimeout.
            yield* Health.of([rows])
            assert.strictEqual(maxActive, 4)
            yield* open.open
            yield* Effect.forEach(appends, Fiber.join)
          }).pipe(Effect.provide(Projector.layerInline([kept])))
        }).pipe(withPool(url, 6))
      },
      Effect.scoped
    ),
    60_000
  )

  it.live(
    "leave half of the connections to claims and health",
    Effect.fnUntraced(
      function*() {
        const { url } = yield* freshDatabase
        const open = Latch.makeUnsafe(false)
        let active = 0
        let maxActive = 0
        const lines: Array<string> = []
        const rows = Projection.handler("rows", {
          events: Sent,
          partitions: 8,
          handle: {
            Sent: Effect.fnUntraced(function*({ n }) {
              maxActive = Math.max(maxActive, ++active)
              yield* open.await
              const sql = yield* SqlClient
              yield* sql`insert into handled values (${n})`
              active--
            })
          }
        })
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table handled (n int)`
          for (let n = 0; n < streams; n++) yield* EventStore.append(Sent, `s-${n}`, [sent(n)])
          const context = yield* Layer.build(Projector.layer([rows], { lease: "1 second" })).pipe(
            Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))]))
          )
          yield* Effect.repeat(Effect.sync(() => active), { until: (active) => active >= 2, schedule: often })
          // Longer than the lease, so that heartbeats must have renewed it.
          yield* Effect.sleep("1500 millis")
          const { consumers } = yield* Effect.timeout(Health.of([rows]), "1500 millis")
          assert.strictEqual(consumers[0]?.status, "green", JSON.stringify(consumers, (_, value) => String(value)))
          // Six of the partitions wait for one of the two connections.
          const waits =
            /the handlers of \d partitions wait for a connection for their transaction, the first for \d+s; transactions of handlers/
          yield* Effect.repeat(Effect.sync(() => lines), {
            until: (lines) => lines.some((line) => waits.test(line)),
            schedule: often
          }).pipe(Effect.timeout("20 seconds"))
          const [status] = yield* Context.get(context, Projector.Projector).status
          assert.match(status?.detail ?? "", waits)
          const having = (reasons: ReadonlyArray<string>, words: string) =>
            reasons.filter((reason) => reason.includes(words)).length
          yield* Effect.repeat(Health.of([rows], { maxWait: "1 second" }), {
            until: ({ reasons }) =>
              having(reasons, "; its worker has no connection for the transaction of its handlers for") === 6
              && having(reasons, "; its worker has event") === 2,
            schedule: often
          }).pipe(Effect.timeout("20 seconds"))
          yield* open.open
          const events = yield* EventStore.EventStore
          yield* ProjectionStore.awaitPosition(rows, yield* events.head, "20 seconds")
          const [counted] = yield* sql<{ readonly count: bigint }>`select count(*) from handled`
          assert.deepStrictEqual({ maxActive, rows: counted?.count }, { maxActive: 2, rows: BigInt(streams) })
        }).pipe(withPool(url, 4))
      },
      Effect.scoped
    ),
    60_000
  )
})
