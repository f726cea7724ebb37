/**
 * One of several writing processes: fibers that append in transactions with random pauses, of which a tenth are rolled back, until
 * told to stop. Prints each position it has committed.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Random, Redacted, Schema } from "effect"
import { EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { once } from "node:events"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const fibers = 8

const pause = Effect.flatMap(Random.nextIntBetween(0, 8), (millis) => Effect.sleep(millis))

const writer = (name: string) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const sql = yield* PgClient.PgClient
    while (true) {
      const n = yield* Random.nextIntBetween(1, 4)
      const batch = Array.from({ length: n }, (_, i) => Tick.cases.Ticked.make({ n: i }))
      const append = Effect.gen(function*() {
        const receipt = yield* store.append(Tick, `Tick-${name}-${yield* Random.nextIntBetween(0, 5)}`, batch)
        yield* pause
        if ((yield* Random.next) < 0.1) return yield* Effect.fail("rolled back")
        return receipt
      })
      const receipt = yield* Effect.option(sql.withTransaction(append))
      if (receipt._tag === "Some") console.log(receipt.value.events.map((event) => event.position).join(" "))
      yield* pause
    }
  })

const stopped = Effect.promise(() => once(process.stdin, "data"))
const database = PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: fibers })

const program = Effect.gen(function*() {
  const names = Array.from({ length: fibers }, (_, i) => `${process.pid}-${i}`)
  console.log("ready")
  yield* Effect.raceFirst(Effect.forEach(names, writer, { concurrency: "unbounded" }), stopped)
  console.log("done")
})

await Effect.runPromise(
  program.pipe(Effect.provide(PgEventStore.layerWithoutMigrations().pipe(Layer.provideMerge(database))))
)
process.exit(0)
