/** A search for a correlation on PostgreSQL takes several statements for a page; all of them are of one log. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, Limits } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import * as PgLogReader from "../../src/pg/PgLogReader.ts"
import type { PgStatement } from "../../src/pg/PgStatement.ts"
import { layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: {} })

const storeOf = (schema: string) =>
  Effect.map(
    Layer.build(Layer.fresh(PgEventStore.layerWith({ schema, notify: false }))),
    (built) => Context.get(built, EventStore.EventStore)
  )

it.live("fails when the log is set back between two statements of a page", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [before, after] = [yield* storeOf("before"), yield* storeOf("after")]
    const append = (store: typeof before, correlationId: string) =>
      store.append(Tick, "s", [{ _tag: "Ticked" }], { metadata: { correlationId } })
    for (const correlationId of ["searched", "other"]) yield* append(before, correlationId)
    const page = { after: Position.start, limit: 10 }
    const { events } = yield* before[internals].driver.readStored(page)
    yield* after[internals].driver.restore({ after: Position.start, events })
    for (const correlationId of ["other", "other", "other", "searched"]) yield* append(before, correlationId)
    // The search passes positions 1 to 3 of the first log by, and would not find the event at position 3 of the second one.
    for (const correlationId of ["searched", "other", "other", "other", "searched"]) yield* append(after, correlationId)

    let pages = 0
    const query = <Row extends object>(text: string, params: ReadonlyArray<unknown>) => {
      if (text.includes("scan_end")) pages++
      const onCurrent = pages > 2 ? text.replaceAll("\"before\"", "\"after\"") : text
      return Effect.orDie(sql.unsafe<Row>(onCurrent, params).withoutTransform)
    }
    const reader = PgLogReader.make(query as PgStatement, "\"before\"")
    const error = yield* Effect.flip(reader.readCorrelation({ ...page, correlationId: "searched" }))
    assert.strictEqual(error.reason._tag, "LogDiverged")
    assert.isAbove(pages, 2)
  }).pipe(
    Effect.updateService(Limits, (limits) => ({ ...limits, scannedPositions: 1 })),
    Effect.provide(layerPostgres({ poolSize: 4 })),
    Effect.scoped
  ))
