/** Executes the code of docs/archiving.md. */
import { NodeFileSystem } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem, Layer, Schema, Stream } from "effect"
import { Event, EventStore, LogTransfer, StreamLifecycle } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const LedgerEvent = Schema.TaggedUnion({
  Booked: { amount: Schema.Int },
  YearClosed: { balance: Schema.Int }
})
const { Booked, YearClosed } = LedgerEvent.cases

const closeTheYear = Effect.gen(function*() {
  yield* EventStore.append(LedgerEvent, "Ledger-2025", [Booked.make({ amount: 70 }), Booked.make({ amount: -20 })])
  yield* StreamLifecycle.close(LedgerEvent, "Ledger-2025", YearClosed.make({ balance: 50 }))
  return yield* StreamLifecycle.status("Ledger-2025")
})

const late = EventStore.append(LedgerEvent, "Ledger-2025", [Booked.make({ amount: 1 })]).pipe(
  Effect.catchReason(
    "EventStoreError",
    "StreamClosed",
    ({ stream, version }) => Effect.succeed(`${stream} ended at version ${version}`)
  )
)

const archiveAll = StreamLifecycle.closed.pipe(
  Stream.filter(({ archivedAt }) => archivedAt === undefined),
  Stream.runForEach(({ stream }) => StreamLifecycle.archive(stream))
)

const exported = LogTransfer.exportToFile("ledger.ndjson", {
  resume: true,
  onProgress: ({ head, position }) => Effect.logDebug(`${position} of ${head}`)
})
const imported = LogTransfer.importFromFile("ledger.ndjson")

const copied = Effect.flatMap(
  Effect.map(Stream.runCollect(LogTransfer.export()), (lines) => Stream.fromIterable(lines)),
  (lines) => LogTransfer.verify(lines)
)

const BookingEvent = Schema.TaggedUnion({
  Booked: { amount: Schema.Int, by: Schema.optionalKey(Schema.String) }
}).pipe(Event.tags({ by: "by" }))

const retagged = LogTransfer.exportToFile("retagged.ndjson", { resume: true, retag: BookingEvent })

/** A file system whose files are in a temporary directory. */
const files = Layer.effect(
  FileSystem.FileSystem,
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped()
    const at = (path: string) => `${folder}/${path}`
    return {
      ...fs,
      exists: (path) => fs.exists(at(path)),
      open: (path, options) => fs.open(at(path), options),
      stream: (path, options) => fs.stream(at(path), options),
      truncate: (path, length) => fs.truncate(at(path), length)
    }
  })
).pipe(Layer.provide(NodeFileSystem.layer))

const backEnds = {
  memory: EventStore.layerMemory,
  PGlite: PgEventStore.layer.pipe(Layer.provide(layerPglite())),
  PostgreSQL: PgEventStore.layer.pipe(Layer.provide(layerPostgres()))
}

for (const [name, store] of Object.entries(backEnds)) {
  layer(Layer.merge(store, files), { excludeTestServices: true })(`the ledger on ${name}`, (it) => {
    it.effect("closes, archives, exports and imports a stream", () =>
      Effect.gen(function*() {
        const closed = yield* closeTheYear
        assert.strictEqual(closed._tag, "closed")
        assert.strictEqual(yield* late, "Ledger-2025 ended at version 3")
        yield* archiveAll
        assert.strictEqual((yield* StreamLifecycle.status("Ledger-2025"))._tag, "archived")
        assert.strictEqual((yield* exported).events, 3)
        assert.strictEqual((yield* retagged).events, 3)
        assert.strictEqual((yield* imported).written, 0)
        const other = yield* Effect.gen(function*() {
          const { written } = yield* imported
          return [written, yield* late, (yield* StreamLifecycle.status("Ledger-2025"))._tag]
        }).pipe(Effect.provide(Layer.fresh(EventStore.layerMemory)))
        assert.deepStrictEqual(other, [3, "Ledger-2025 ended at version 3", "archived"])
        assert.deepInclude(yield* copied, { events: 3, archived: 1 })
      }))
  })
}
