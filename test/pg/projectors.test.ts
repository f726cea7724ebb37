import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Queue, Redacted, Schedule, Schema, Scope, Stream } from "effect"
import { EventStore, ProjectionStore } from "evsrc"
import { PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { Dice } from "../simulation/Dice.ts"
import { freshDatabase } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import { scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { foldOf, handled, Tick, ticks } from "./ticks.ts"

/** The number of workers that the test kills. */
const deaths = scale(3, 30)
/** The most processes that share the partitions, and how many of them go on when the others are killed. */
const [most, least] = [scale(4, 8), scale(2, 3)]
const often = Schedule.spaced("50 millis")

const withStores = (url: string) =>
  Effect.provide(
    PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 })))
  )

const tableOfHandled = Effect.flatMap(PgClient.PgClient, (sql) => sql`create table handled (position bigint)`)

const append = Effect.fnUntraced(function*(dice: Dice, events: number) {
  const store = yield* EventStore.EventStore
  for (let left = events; left > 0;) {
    const batch = Array.from(
      { length: Math.min(left, dice.from(1, 20)) },
      () => Tick.cases.Ticked.make({ n: dice.below(100) })
    )
    yield* store.append(Tick, `Tick-${dice.below(60)}`, batch)
    left -= batch.length
  }
})

/** Waits for the projections, and asserts that their documents and rows equal a fold of the log. Returns the progress of the partitions. */
const assertEqualsLog = Effect.fnUntraced(function*(partitions: number) {
  const projection = ticks(partitions)
  const events = yield* EventStore.EventStore
  const documents = yield* ProjectionStore.ProjectionStore
  yield* documents.awaitPosition(projection, yield* events.head, "120 seconds")
  const log = yield* Stream.runCollect(events.readAllEncoded({ pageSize: 5_000 }))
  for (const [key, expected] of foldOf(log)) {
    assert.deepStrictEqual(yield* documents.get(projection, key), Option.some(expected), key)
  }
  yield* documents.awaitPosition(handled(partitions), yield* events.head, "120 seconds")
  const sql = yield* PgClient.PgClient
  const rows = yield* sql<{ readonly position: bigint }>`select position from handled order by position`
  assert.deepStrictEqual(
    rows.map(({ position }) => position),
    log.map(({ position }): bigint => position),
    "the positions in the table"
  )
  // Each event has the keys of two documents.
  const progress = yield* documents[internals].driver.progress(projection.id)
  assert.strictEqual(progress.reduce((sum, one) => sum + one.applied, 0n), 2n * BigInt(log.length), "the delivery log")
  return progress
})

const start = (url: string, env: Readonly<Record<string, string>>) =>
  Script.start(import.meta.resolve("./projecting.ts"), { env: { DATABASE_URL: url, ...env } })

describe("workers of a projection", () => {
  it.live(
    "die after their seeded call, also when the call fails",
    () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.make()
        yield* withStores(server.url)(tableOfHandled)
        // A worker with nothing to do makes far fewer calls than this before the server has stopped. All later calls fail.
        const env = { PARTITIONS: "4", BATCH: "10", LEASE: "long", KILL_AT: "60", KILL_WHEN: "after" }
        const worker = yield* start(server.url, env)
        yield* worker.waitFor(/ready/)
        yield* server.stop
        const { signal } = yield* Effect.timeout(worker.exited, "1 minute")
        assert.strictEqual(signal, "SIGKILL")
      })
  )

  it.live(
    "write a fold of the log in spite of kill -9 and restarts of the server",
    () =>
      Effect.gen(function*() {
        const dice = new Dice(4)
        const server = yield* PostgresServer.make()
        yield* withStores(server.url)(Effect.andThen(tableOfHandled, append(dice, 200)))
        let died = 0
        const lives = () => died < deaths
        let failedStarts = 0
        // Runs one worker after the other. Each dies at its own seeded call.
        const line = Effect.gen(function*() {
          while (lives()) {
            yield* Effect.scoped(Effect.gen(function*() {
              const env = {
                PARTITIONS: "4",
                BATCH: String(dice.pick([1, 3, 10])),
                LEASE: "short",
                KILL_AT: String(dice.from(2, 60)),
                KILL_WHEN: dice.pick(["before", "during", "after"])
              }
              const worker = yield* start(server.url, env)
              // The output of a worker that neither dies nor works.
              const output = Effect.orDie(Effect.all([worker.stderr, Queue.clear(worker.lines)]))
              const { signal } = yield* Effect.timeoutOrElse(worker.exited, {
                duration: "2 minutes",
                orElse: () => Effect.flatMap(output, (lines) => Effect.die(new Error(JSON.stringify([env, lines]))))
              })
              if (signal === "SIGKILL") died++
              // A worker cannot start while the server is down. More failures than that are an error.
              else if (++failedStarts > 40) return yield* Effect.die(new Error(yield* worker.stderr))
            }))
          }
        })
        const writing = Effect.gen(function*() {
          while (lives()) {
            // An append fails while the server is down.
            yield* Effect.exit(withStores(server.url)(append(dice, 100)))
            yield* Effect.sleep("200 millis")
          }
        })
        const restarts = Effect.gen(function*() {
          for (const part of [1, 2]) {
            yield* Effect.repeat(Effect.sync(() => died), { until: (n) => n >= part * deaths / 3, schedule: often })
            yield* part === 1 ? server.kill : server.stop
            yield* server.start
          }
        })
        yield* Effect.all([line, line, writing, restarts], { concurrency: "unbounded" })
        yield* start(server.url, { PARTITIONS: "4", BATCH: "100", LEASE: "short" })
        yield* withStores(server.url)(assertEqualsLog(4))
      }),
    900_000
  )

  it.live(
    `share every partition, each with one owner, from 1 process to ${most} to ${least}`,
    () =>
      Effect.gen(function*() {
        const dice = new Dice(8)
        const { url } = yield* freshDatabase
        const scope = yield* Scope.Scope
        yield* withStores(url)(Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
          yield* tableOfHandled
          // A trigger logs the writes to checkpoints in the order of their commits, because each locks its row until it commits.
          const statements = [
            `create table writes (id bigint generated always as identity, partition integer, epoch bigint, owner text, position bigint,
            moved boolean, at timestamptz default clock_timestamp())`,
            `create function written() returns trigger language plpgsql as $$
            begin
              insert into public.writes (partition, epoch, owner, position, moved)
                values (new.partition, new.epoch, new.owner, new.position, new.position <> old.position);
              return new;
            end $$`,
            `create trigger written before update on evsrc.checkpoints for each row when (new.generation = 'ticks@1') execute function written()`
          ]
          for (const statement of statements) yield* sql.unsafe(statement)
          const env = { PARTITIONS: "8", BATCH: "20", LEASE: "long" }
          const owners = (n: number) =>
            driver.progress(ticks(8).id).pipe(
              Effect.map((all) => all.map(({ owner }) => owner)),
              Effect.repeat({
                until: (all) => all.length === 8 && !all.includes(undefined) && new Set(all).size === n,
                schedule: often
              }),
              Effect.timeout("1 minute")
            )
          const worker = Effect.provideService(start(url, env), Scope.Scope, scope)
          const workers = [yield* worker]
          yield* append(dice, 300)
          yield* owners(1)
          for (let n = 1; n < most; n++) workers.push(yield* worker)
          yield* append(dice, 300)
          yield* owners(most)
          yield* append(dice, 300)
          for (const one of workers.slice(least)) yield* one.signal("SIGKILL")
          yield* append(dice, 300)
          yield* owners(least)
          const progress = yield* assertEqualsLog(8)
          assert.isNotEmpty(progress)
          assert.deepStrictEqual(progress.filter((one) => one.applied === 0n), [], "partitions without events")

          const rows = yield* sql.unsafe(`select partition, epoch, owner, position, moved from writes order by id`)
          const writes = Schema.decodeUnknownSync(Schema.Array(Schema.Struct({
            partition: Schema.Int,
            epoch: Schema.BigInt,
            owner: Schema.NullOr(Schema.String),
            position: Schema.BigInt,
            moved: Schema.Boolean
          })))(rows)
          for (let partition = 0; partition < 8; partition++) {
            const own = writes.filter((write) => write.partition === partition)
            assert.isNotEmpty(own, `writes to partition ${partition}`)
            const byEpoch = new Map<bigint, Set<string | null>>()
            for (const [index, write] of own.entries()) {
              const before = own[index - 1]
              if (before !== undefined) {
                assert.isAtLeast(Number(write.epoch), Number(before.epoch), "the epoch of a former owner")
                assert.isAtLeast(Number(write.position), Number(before.position), "the position of a checkpoint")
              }
              if (write.moved) byEpoch.set(write.epoch, (byEpoch.get(write.epoch) ?? new Set()).add(write.owner))
            }
            for (const [epoch, all] of byEpoch) {
              assert.strictEqual(all.size, 1, `partition ${partition}, epoch ${epoch}`)
            }
          }
          // After the lease of a dead owner expires, the next claim takes only a few round trips to the database. A machine that does other
          // work delays the renewals of live owners as well.
          const [gaps] = yield* sql<{ readonly partition: number; readonly owner: number }>`
            select extract(epoch from max(at - before))::float8 as partition,
              extract(epoch from max(at - renewed) filter (where owner in (select owner from evsrc.checkpoints)))::float8 as owner
            from (
              select owner, at, lag(at) over (partition by partition order by id) as before,
                lag(at) over (partition by owner order by id) as renewed
              from writes
            ) as write`
          assert.isBelow(gaps!.partition, 2 * 2 + 3 * gaps!.owner, "the longest time that a partition had no writer")
        }))
      }),
    300_000
  )
})
