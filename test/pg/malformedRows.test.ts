/** Rows with malformed columns, as an operator could write them after disabling the triggers and constraints. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Ref, Stream } from "effect"
import { EventStore, HashChain, Position, ProjectionStore, Projector, Subscription } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import { parkedKeys } from "../support/parked.ts"
import { isLong } from "../support/scale.ts"
import { Tick, tick, Total } from "./taggedTicks.ts"

/** What is set on one event, and what its error says. */
const changes: Readonly<Record<string, readonly [change: string, detail: string]>> = {
  "a null among the tags": ["tags = array['tag:t', null]", "the column tags"],
  "an empty tag": ["tags = array['']", "the column tags"],
  "metadata that is an array": ["metadata = '[]'", "the column metadata"],
  "metadata that is null": ["metadata = 'null'", "the column metadata"],
  "metadata that is a text": ["metadata = '\"x\"'", "the column metadata"],
  "an infinite time": ["recorded_at = 'infinity'", "the column recorded_at"],
  "a payload that is null": ["data = 'null'", "not a JSON object"],
  "a payload that is a number": ["data = '7'", "not a JSON object"]
}

for (const [name, client] of Object.entries({ PGlite: layerPglite, PostgreSQL: layerPostgres })) {
  describe(`a malformed row on ${name}`, () => {
    // PGlite runs the same statements.
    const all = Object.entries(changes)
    for (const [what, [change, detail]] of isLong || name !== "PGlite" ? all : all.slice(0, 1)) {
      it.live(`stops no reader: ${what}`, () =>
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const store = yield* EventStore.EventStore
          const projections = yield* ProjectionStore.ProjectionStore
          for (const stream of ["bad", "good"]) yield* store.append(Tick, stream, [tick(1)])
          const { position } = yield* store.append(Tick, "good", [tick(2)])
          yield* sql`alter table evsrc.events disable trigger user`
          yield* sql`alter table evsrc.events drop constraint events_tags_valid`
          yield* sql.unsafe(`update evsrc.events set ${change} where stream = 'bad'`)

          for (
            const read of [
              store.readAll(Tick),
              store.readStream(Tick, "bad"),
              store.subscribe(Tick, { after: Position.start })
            ]
          ) {
            const error = yield* Effect.flip(Stream.runDrain(read))
            assert.strictEqual(error.reason._tag, "UndecodableEvent")
            for (const part of ["position 1", "\"bad\"", "\"Ticked\"", detail]) assert.include(error.message, part)
          }
          const events = yield* Stream.runCollect(store.readStream(Tick, "good"))
          assert.deepStrictEqual(events.map(({ event }) => event.n), [1, 2])

          // The stream of the event is parked; the others go on.
          const seen = yield* Ref.make<ReadonlyArray<number>>([])
          const Seen = Subscription.make("seen", {
            events: Tick,
            handle: { Ticked: ({ n }) => Ref.update(seen, (numbers) => [...numbers, n]) }
          })
          yield* projections.awaitPosition(Total, position, "60 seconds").pipe(
            Effect.provide(Projector.layer([Total])),
            Effect.provide(Subscription.layer([Seen]))
          )
          assert.deepStrictEqual(yield* ProjectionStore.get(Total, "all"), Option.some({ sum: 3 }))
          const [parked] = yield* parkedKeys(Total)
          assert.deepStrictEqual<unknown>([parked?.stream, parked?.position, parked?.type], ["bad", 1n, "Ticked"])
          assert.include(parked?.error, detail)

          // The verification names the event, and goes on behind it.
          const report = yield* HashChain.verify()
          assert.deepStrictEqual(
            report.faults.map(({ kind, position }) => [kind, position]),
            ["changed", ...what === "an empty tag" ? ["tagMissing", "tagExtra"] : []].map((kind) => [kind, 1n])
          )
          assert.strictEqual(report.verified, 2)
        }).pipe(Effect.provide(PgStores.layerWith({ hashChain: true }).pipe(Layer.provideMerge(client())))))
    }
  })
}
