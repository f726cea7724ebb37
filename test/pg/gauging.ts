/** One of several processes that append to the same streams, with or without the inline projection, until the input ends. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Random } from "effect"
import { EventStore } from "evsrc"
import { once } from "node:events"
import { Gauge, storesAt, streams } from "./gauges.ts"

const withLayer = process.env["WITH_LAYER"] === "true"
const url = process.env["DATABASE_URL"] ?? ""

const pause = (millis: number) => Effect.flatMap(Random.nextIntBetween(0, millis), (n) => Effect.sleep(n))

const appendForever = (stream: string) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    while (true) {
      const several = yield* Random.nextBoolean
      const append = EventStore.append(
        Gauge,
        stream,
        several ? [{ _tag: "Described" }, { _tag: "Gauged" }] : [{ _tag: "Gauged" }]
      )
      yield* (yield* Random.nextBoolean) ? append : sql.withTransaction(Effect.andThen(append, pause(5)))
      console.log("appended")
      yield* pause(withLayer ? 20 : 1500)
    }
  })

const stopped = Effect.promise(() => Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]))
const program = Effect.raceFirst(Effect.forEach(streams, appendForever, { concurrency: "unbounded" }), stopped)

await Effect.runPromise(program.pipe(Effect.provide(storesAt(url, withLayer))))
process.exit(0)
