/**
 * One of several writing processes. Its fibers append until the test stops it, with and without a transaction. Transactions pause at
 * random, and a tenth of them roll back. The fibers continue when the server returns. Prints the positions of committed events.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Layer, Option, Random, Redacted, Schema } from "effect"
import { EventStore, type Position } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { once } from "node:events"
import { scale } from "../support/scale.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const ticks = (length: number) => Array.from({ length }, (_, n) => Tick.cases.Ticked.make({ n }))
const [one, many] = [ticks(1), ticks(scale(100, 1000))]
const fibers = 16

const pause = (millis: number) => Effect.flatMap(Random.nextIntBetween(0, millis), (n) => Effect.sleep(n))
const oneIn = (n: number) => Effect.map(Random.next, (random) => random < 1 / n)

class RolledBack extends Schema.TaggedError<RolledBack>()("RolledBack", {}) {}

/** A full stop ends each line, because the last line of a killed process may be incomplete. */
const acknowledge = (events: ReadonlyArray<{ readonly position: Position.Position }>) =>
  Effect.sync(() => console.log([...events.map((event) => event.position), "."].join(" ")))

const writer = (name: string, index: number) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const sql = yield* PgClient.PgClient
    for (let round = 0;; round++) {
      // One fiber appends many events in its first round and in every hundredth.
      const events = index === 1 && round % 100 === 0 ? many : one
      const chosen = yield* Random.nextIntBetween(0, 5)
      const append = (command: number) =>
        store.append(Tick, `Tick-${name}-${chosen + command}`, events, {
          metadata: { commandId: `${name}-${round}-${command}` }
        })
      // Concurrent appends make group commit send groups.
      const alone = Effect.forEach(index === 0 ? [0, 1, 2, 3, 4, 5] : [0], append, { concurrency: "unbounded" })
      const inTransaction = sql.withTransaction(Effect.gen(function*() {
        const receipt = yield* append(0)
        yield* pause(20)
        if (yield* oneIn(10)) return yield* new RolledBack()
        return [receipt]
      }))
      const attempt = (yield* oneIn(2)) ? inTransaction : alone
      // After a failure of the server, the same command ids return the outcome.
      while (true) {
        const exit = yield* Effect.exit(attempt)
        if (Exit.isSuccess(exit)) yield* Effect.forEach(exit.value, ({ events }) => acknowledge(events))
        if (Exit.isSuccess(exit) || wasRolledBack(exit)) break
        yield* pause(100)
      }
      yield* pause(400)
    }
  })

const wasRolledBack = (exit: Exit.Exit<unknown, { readonly _tag: string }>): boolean =>
  Option.exists(Exit.findErrorOption(exit), ({ _tag }) => _tag === "RolledBack")

// The end of the input stops it too, so that it does not outlive the test.
const stopped = Effect.promise(() => Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]))
const database = PgClient.layer({
  url: Redacted.make(process.env["DATABASE_URL"] ?? ""),
  prepare: process.env["DATABASE_PREPARE"] !== "false",
  maxConnections: 12
})

const program = Effect.gen(function*() {
  const names = Array.from({ length: fibers }, (_, i) => `${process.pid}-${i}`)
  console.log("ready")
  const all = Effect.forEach(names, writer, { concurrency: "unbounded" })
  yield* Effect.raceFirst(all, stopped)
})

await Effect.runPromise(
  program.pipe(Effect.provide(PgEventStore.layerWithoutMigrations().pipe(Layer.provideMerge(database))))
)
process.exit(0)
