/** Handlers in transactions leave connections of the pool to claims, heartbeats and health. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Latch, Layer, Logger, Redacted, Schedule, Schema, Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Health, Parking, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { inspect } from "node:util"
import { freshDatabase } from "../support/Database.ts"

const Sent = Schema.TaggedUnion({ Sent: { n: Schema.Int } })
const sent = (n: number) => Sent.cases.Sent.make({ n })
const streams = 24

/** Runs an effect on a pool, and ends its projectors before the pool, whose end waits for the transactions of handlers. */
const withPool = (url: string, maxConnections: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provide(
    Effect.scoped(effect),
    PgStores.layerWith({ statementTimeout: "2 minutes", idleInTransactionTimeout: "2 minutes" }).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections }))
    )
  )

/** Repeats an effect until a condition holds for its value. */
const until = <A, E, R>(effect: Effect.Effect<A, E, R>, holds: (value: NoInfer<A>) => boolean) =>
  Effect.suspend(() => {
    let last: A | undefined
    return effect.pipe(
      Effect.map((value) => holds(last = value)),
      Effect.repeat({ until: (is) => is, schedule: Schedule.spaced("20 millis") }),
      Effect.timeoutOrElse({
        duration: "1 minute",
        orElse: () => Effect.sync(() => assert.fail(`${holds} does not hold for ${inspect(last, { depth: 6 })}`))
      })
    )
  })

describe.concurrent("handlers in transactions", () => {
  const endless = {
    "between statements": (_: SqlClient, end: Effect.Effect<void>) => end,
    "during a statement": (sql: SqlClient) => Effect.asVoid(sql`select pg_sleep(40)`)
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
            const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
            yield* Layer.buildWithScope(Layer.fresh(Projector.layer([rows])), scope)
            const { position } = yield* EventStore.append(Sent, "s", [sent(1)])
            yield* Effect.timeout(begun.await, "1 minute")
            // Only the deadline of the statement would end the handler.
            yield* Effect.timeout(Scope.close(scope, Exit.void), "1 minute")
            hangs = false
            yield* Layer.build(Layer.fresh(Projector.layer([rows])))
            yield* ProjectionStore.awaitPosition(rows, position, "1 minute")
            yield* end.open
            assert.isTrue(Exit.isFailure(yield* Effect.timeout(Deferred.await(ended), "1 minute")))
            assert.deepStrictEqual(yield* sql`select n from handled`, [{ n: 1 }])
            // The projector, which goes on, has a transaction for a moment now and then. One that was left open would be in each answer.
            const open = sql`select pid from pg_stat_activity
              where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()`
            yield* until(open, (sessions) => sessions.length === 0)
          }).pipe(withPool(url, 4))
        },
        Effect.scoped
      )
    )
  }

  it.live(
    "park their key after the handlerTimeout also if the server has ended the session meanwhile",
    Effect.fnUntraced(
      function*() {
        const { url } = yield* freshDatabase
        const handled: Array<number> = []
        const idle = Effect.flatMap(
          SqlClient,
          (sql) => Effect.andThen(sql`set local idle_in_transaction_session_timeout = 100`, Effect.never)
        )
        const rows = Projection.handler("rows", {
          events: Sent,
          retry: Schedule.recurs(1),
          handlerTimeout: "2 seconds",
          handle: { Sent: ({ n }) => n === 1 ? idle : Effect.sync(() => handled.push(n)) }
        })
        yield* Effect.gen(function*() {
          yield* EventStore.append(Sent, "s-1", [sent(1)])
          const { position } = yield* EventStore.append(Sent, "s-2", [sent(2)])
          yield* Layer.build(Projector.layer([rows]))
          yield* ProjectionStore.awaitPosition(rows, position, "60 seconds")
          assert.include(handled, 2)
          const [parked] = (yield* Parking.list(rows)).items
          assert.strictEqual(parked?.stream, "s-1")
          assert.include(parked?.error, "its handler has not ended within 2s (handlerTimeout)")
        }).pipe(withPool(url, 4))
      },
      Effect.scoped
    ),
    120_000
  )

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
          yield* until(Effect.sync(() => handlers), (count) => count >= 3)
          yield* Effect.gen(function*() {
            const appends = yield* Effect.forEach(
              Array.from({ length: 6 }, (_, n) => n),
              (n) => Effect.forkScoped(EventStore.append(Kept, `k-${n}`, [{ _tag: "Kept" }]))
            )
            yield* until(Effect.sync(() => active), (count) => count >= 4)
            // Without a connection it fails after the connectionTimeout.
            yield* Health.of([rows])
            assert.strictEqual(maxActive, 4)
            yield* open.open
            yield* Effect.forEach(appends, Fiber.join)
          }).pipe(Effect.provide(Projector.layerInline([kept])))
        }).pipe(withPool(url, 6))
      },
      Effect.scoped
    )
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
            Sent: Effect.fnUntraced(
              function*({ n }) {
                maxActive = Math.max(maxActive, ++active)
                yield* open.await
                const sql = yield* SqlClient
                yield* sql`insert into handled values (${n})`
              },
              Effect.ensuring(Effect.sync(() => active--))
            )
          }
        })
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table handled (n int)`
          for (let n = 0; n < streams; n++) yield* EventStore.append(Sent, `s-${n}`, [sent(n)])
          const context = yield* Layer.build(Projector.layer([rows], { lease: "1 second" })).pipe(
            Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))]))
          )
          yield* until(Effect.sync(() => active), (active) => active >= 2)
          const [first] = yield* sql<{ ends: Date }>`select max(leased_until) as ends from evsrc.checkpoints`
          yield* until(
            sql<{ at: Date }>`select min(heartbeat_at) as at from evsrc.checkpoints`,
            ([last]) => last!.at > first!.ends
          )
          const { consumers } = yield* Health.of([rows], { maxWait: "1 hour", stallTimeout: "1 hour" })
          assert.strictEqual(consumers[0]?.status, "green", JSON.stringify(consumers, (_, value) => String(value)))
          // Six of the partitions wait for one of the two connections. The line has those that have waited for long when it is written.
          const waits = (partitions: string) =>
            new RegExp(
              `the handlers of ${partitions} wait for a connection for their transaction, the first for .*s; transactions of handlers`
            )
          yield* until(
            Effect.sync(() => lines),
            (lines) => lines.some((line) => waits("(partition \\d|\\d partitions)").test(line))
          )
          yield* until(
            Context.get(context, Projector.Projector).status,
            ([status]) => waits("6 partitions").test(status?.detail ?? "")
          )
          const having = (reasons: ReadonlyArray<string>, words: string) =>
            reasons.filter((reason) => reason.includes(words)).length
          yield* until(
            Health.of([rows], { maxWait: "1 second" }),
            ({ reasons }) =>
              having(reasons, "; its worker has no connection for the transaction of its handlers for") === 6
              && having(reasons, "; its worker has event") === 2
          )
          yield* open.open
          const events = yield* EventStore.EventStore
          yield* ProjectionStore.awaitPosition(rows, yield* events.head, "1 minute")
          const [counted] = yield* sql<{ readonly count: bigint }>`select count(*) from handled`
          assert.deepStrictEqual({ maxActive, rows: counted?.count }, { maxActive: 2, rows: BigInt(streams) })
        }).pipe(withPool(url, 4))
      },
      Effect.scoped
    )
  )
})
