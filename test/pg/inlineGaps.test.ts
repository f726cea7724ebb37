/** Processes with and without an inline projection append to the same streams. No read answers wrongly. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Redacted } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { ProjectionStore, Projector } from "evsrc"
import { PgMigrations } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import { scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { gauges, storesAt, streams } from "./gauges.ts"

const start = (url: string, withLayer: boolean) =>
  Effect.tap(
    Script.start(import.meta.resolve("./gauging.ts"), { env: { DATABASE_URL: url, WITH_LAYER: String(withLayer) } }),
    ({ waitFor }) => waitFor(/^appended$/)
  )

/** How often each outcome of a read was seen. */
const seen = { complete: 0, incomplete: 0 }

/** Reads a document. It must contain all events of its stream up to one that is as new as the newest before the read. */
const readOnce = Effect.gen(function*() {
  const sql = yield* SqlClient
  const stream = streams[(seen.complete + seen.incomplete) % streams.length]!
  const [last] = yield* sql<{ readonly version: bigint }>`
    select coalesce(max(version), 0) as version from evsrc.events where stream = ${stream}`
  const read = yield* Effect.result(ProjectionStore.get(gauges, stream))
  if (read._tag === "Failure") {
    assert.include(read.failure.message, "lack the event at position")
    seen.incomplete++
    // The pauses between the repairs of the processes grow.
    if (seen.incomplete % 20 === 0) yield* Projector.repairInline(gauges)
    return
  }
  const { events, version } = Option.getOrElse(read.success, () => ({ events: 0, version: 0 }))
  assert.strictEqual(events, version, `${stream} has all events up to its version`)
  assert.isAtLeast(version, Number(last!.version), `${stream} has the events from before the read`)
  seen.complete++
})

const readFor = (reads: number) =>
  Effect.suspend(() => {
    const [complete, incomplete] = [seen.complete + reads, seen.incomplete + reads]
    return Effect.repeat(readOnce, { until: () => seen.complete >= complete && seen.incomplete >= incomplete })
  }).pipe(Effect.timeout("120 seconds"))

describe("An inline projection that two of three processes run", () => {
  it.live("is complete or not read, through appends without it and kill -9", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.provide(PgMigrations.run(), PgClient.layer({ url: Redacted.make(url) }))
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        const first = yield* start(url, true)
        const second = yield* start(url, true)
        const without = yield* start(url, false)
        yield* readFor(scale(10, 200))
        yield* first.signal("SIGKILL")
        yield* without.signal("SIGKILL")
        const replacements = [yield* start(url, true), yield* start(url, false)]
        yield* readFor(scale(10, 200))
        for (const { write } of [second, ...replacements]) yield* write("stop")
        for (const { exited, stderr } of [second, ...replacements]) {
          assert.strictEqual((yield* exited).code, 0, yield* stderr)
        }

        yield* readOnce
        yield* Effect.scoped(Effect.asVoid(Layer.build(Projector.layerInline([gauges]))))
        const { items } = yield* ProjectionStore.list(gauges)
        const log = yield* sql<{ readonly events: bigint }>`
          select count(*) as events from evsrc.events group by stream order by stream`
        assert.deepStrictEqual(items.map(({ events }) => events), log.map(({ events }) => Number(events)))
        assert.deepStrictEqual(items.map(({ version }) => version), log.map(({ events }) => Number(events)))
      }).pipe(Effect.provide(storesAt(url, false)))
    }), 300_000)
})
