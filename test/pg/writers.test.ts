import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Redacted, Ref, Schedule, Stream } from "effect"
import { EventStore, Position } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import * as Script from "../support/Script.ts"

const everyFew = Schedule.spaced("5 millis")

describe("several writing processes", () => {
  it.live("subscribers see every committed event once and in order, through rollbacks, pauses and kill -9", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const database = PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const sql = yield* PgClient.PgClient
        const writers = yield* Effect.forEach(
          [1, 2, 3, 4],
          () => Script.start(import.meta.resolve("./writer.ts"), { env: { DATABASE_URL: url } })
        )
        for (const writer of writers) yield* writer.waitFor(/^ready$/)

        // In pages of one, a reader is at the head all the time, where events would be lost.
        const subscribers = yield* Effect.forEach([1, 500], (pageSize) =>
          Effect.gen(function*() {
            const seen = yield* Ref.make<ReadonlyArray<Position.Position>>([])
            const fiber = yield* Effect.forkChild(Stream.runForEachArray(
              store.subscribeRecorded({ pageSize }),
              (events) => Ref.update(seen, (all) => [...all, ...events.map((event) => event.position)])
            ))
            return { seen, fiber }
          }))
        const enough = (count: number) =>
          Effect.repeat(Ref.get(subscribers[0]!.seen), { until: (seen) => seen.length >= count, schedule: everyFew })
        yield* Effect.timeout(enough(300), "60 seconds")
        yield* writers[0]!.signal("SIGKILL")
        yield* Effect.timeout(enough(900), "60 seconds")
        for (const writer of writers.slice(1)) yield* writer.write("stop")
        for (const writer of writers) yield* writer.exited

        const rows = yield* sql<{ readonly position: bigint }>`select position from evsrc.events order by position`
        const committed = rows.map((row) => Position.make(row.position))
        for (const { fiber, seen } of subscribers) {
          yield* Effect.timeout(
            Effect.repeat(Ref.get(seen), { until: (all) => all.length >= committed.length, schedule: everyFew }),
            "30 seconds"
          )
          // Long enough for one that came twice to be seen, were there any.
          yield* Effect.sleep("200 millis")
          assert.deepStrictEqual(yield* Ref.get(seen), committed)
          yield* Fiber.interrupt(fiber)
        }
        const acknowledged = yield* Effect.forEach(writers, (writer) => Queue.collect(writer.lines))
        const positions = acknowledged.flat().flatMap((line) =>
          /^[\d ]+$/.test(line) ? line.split(" ").map(BigInt) : []
        )
        const known = new Set<bigint>(committed)
        assert.isAbove(positions.length, 500)
        assert.deepStrictEqual(
          positions.filter((position) => !known.has(position)),
          [],
          "an acknowledged event is in the log"
        )
        const holes = yield* sql`select 1 from evsrc.events group by stream having max(version) <> count(*)`
        assert.strictEqual(holes.length, 0, "versions run without a hole")
      }).pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provideMerge(database))))
    }))
})
