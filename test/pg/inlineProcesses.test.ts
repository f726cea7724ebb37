/** Processes whose appends change documents of an inline projection together, on a PostgreSQL server. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Redacted, Schedule } from "effect"
import { ProjectionStore, Projector } from "evsrc"
import { PgMigrations } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import { deadlocks } from "../support/deadlocks.ts"
import { scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { Digests, digests, hot, stores, warm } from "./inlineWriting.ts"

const Folded = digests("folded", "live")

/** How often a process is killed and replaced, and the events that are written in between. */
const kills = scale(2, 5)
const between = scale(100, 300)

// Generous, because other load on the machine slows the test down.
const timeout = 300_000

describe("processes whose appends run an inline projection", () => {
  it.live(
    "fold each event into its documents once, in log order, through kill -9",
    () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        yield* Effect.provide(PgMigrations.run(), PgClient.layer({ url: Redacted.make(url) }))
        const start = Effect.gen(function*() {
          const script = yield* Script.start(import.meta.resolve("./inlineWriter.ts"), { env: { DATABASE_URL: url } })
          yield* script.waitFor(/^ready$/)
          return script
        })
        yield* Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const written = sql<{ readonly n: number }>`select count(*)::integer as n from evsrc.events`
          const running = [yield* start, yield* start, yield* start]
          /** Ends when so many more events are written. Fails if a process ends before. */
          const progress = Effect.gen(function*() {
            const [row] = yield* written
            const enough = row!.n + between
            const ended = running.map((script) =>
              Effect.andThen(script.exited, Effect.flatMap(script.stderr, (text) => Effect.die(text)))
            )
            yield* Effect.raceAllFirst([
              Effect.repeat(written, { until: ([row]) => row!.n >= enough, schedule: Schedule.spaced("20 millis") }),
              ...ended
            ])
          }).pipe(Effect.timeout("2 minutes"))
          for (let n = 0; n < kills; n++) {
            yield* progress
            const [killed] = running.splice(0, 1)
            yield* killed!.signal("SIGKILL")
            running.push(yield* start)
          }
          yield* progress
          for (const script of running) {
            yield* script.write("stop")
            const { code } = yield* script.exited
            assert.strictEqual(code, 0, yield* script.stderr)
          }
          const keys = yield* sql<
            { readonly key: string }
          >`select key from evsrc.documents where generation = 'digests@1'`
          assert.includeMembers(keys.map(({ key }) => key), [hot, ...warm])
          assert.isAtLeast(keys.length, 7 + 12)
          let events = 0
          for (const { key } of keys) {
            const document = yield* ProjectionStore.get(Digests, key)
            events += Option.getOrThrow(document).events
            if (key === hot || warm.includes(key) || key.endsWith("-0")) {
              assert.deepStrictEqual(document, yield* ProjectionStore.get(Folded, key), `the document "${key}"`)
            }
          }
          const [read] = yield* sql<{ readonly events: number }>`
            select sum(json_array_length(data->'documents'))::integer as events from evsrc.events where type = 'Marked'`
          assert.strictEqual(events, read!.events, "each event in each of its documents")
          assert.strictEqual(yield* deadlocks, 0)
          const [sharing] = yield* sql<{ readonly transactions: number; readonly events: number }>`
            select count(distinct xmin::text)::integer as transactions, count(*)::integer as events from evsrc.events`
          assert.isBelow(sharing!.transactions, sharing!.events, "appends share statements")
        }).pipe(
          Effect.provide(Projector.layerInline([Digests]).pipe(Layer.provideMerge(stores(url))))
        )
      }),
    timeout
  )
})
