/** The erasure of a subject with personal data in many streams. */
import { assert, it } from "@effect/vitest"
import { DateTime, Deferred, Effect, Fiber, Layer, Schema } from "effect"
import { Erasure, EventStore, KeyStore, PersonalData, ProjectionStore, Version } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import type { Fingerprint } from "../../src/core/SchemaFingerprint.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as PersonalDataScan from "../../src/erasure/PersonalDataScan.ts"

const Named = Schema.TaggedUnion({
  Named: { person: Schema.String, name: PersonalData.field(Schema.String, { subject: "person" }) }
})
const stores = Layer.mergeAll(EventStore.layerMemory, ProjectionStore.layerMemory).pipe(
  Layer.provideMerge(KeyStore.layerMemoryWith({ maxAge: 0 }))
)

it.live("drops the snapshots of many streams in batches, and reports no plaintext the second time", () =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const dropped: Array<ReadonlyArray<string>> = []
    const store = yield* EventStore.make({
      ...driver,
      snapshots: {
        ...driver.snapshots,
        drop: (streams) => {
          dropped.push(streams)
          return driver.snapshots.drop(streams)
        }
      }
    })
    const streams = Array.from({ length: PersonalDataScan.maxReported + 1 }, (_, n) => `Person-${n}`)
    for (const stream of streams) {
      yield* store.append(Named, stream, [Named.cases.Named.make({ person: "ann", name: "Ann Archer" })])
    }
    const erase = Effect.provideService(Erasure.erase("ann"), EventStore.EventStore, store)
    const first = yield* erase
    assert.strictEqual(first.found.encrypted.events, streams.length)
    assert.deepStrictEqual(first.found.plaintext, [])
    assert.deepStrictEqual(dropped.map(({ length }) => length), [0, PersonalDataScan.maxReported, 1])
    assert.deepStrictEqual(dropped.flat(), streams)
    const again = yield* erase
    assert.deepStrictEqual(again.erasedAt, first.erasedAt)
    assert.notProperty(again.found, "plaintext")
  }).pipe(Effect.scoped, Effect.provide(stores)))

it.live("drops a snapshot that another process writes after the first scan", () =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const committed = yield* Deferred.make<void>()
    const other = yield* EventStore.make({
      ...driver,
      append: (request) => Effect.andThen(Deferred.await(committed), driver.append(request))
    })
    const appending = yield* Effect.forkChild(
      other.append(Named, "Person-ann", [Named.cases.Named.make({ person: "ann", name: "Ann Archer" })]),
      { startImmediately: true }
    )
    const commit = Effect.gen(function*() {
      if (!(yield* Deferred.succeed(committed, undefined))) return
      const { events: [event] } = yield* Fiber.join(appending)
      yield* driver.snapshots.write({
        stream: StreamId.make("Person-ann"),
        fingerprint: "print" as Fingerprint,
        version: Version.make(1),
        position: event!.position,
        eventId: event!.id,
        state: `{"badge":"ANN ARCHER"}`,
        takenAt: yield* DateTime.now
      })
    }).pipe(Effect.orDie)
    const store = yield* EventStore.make({
      ...driver,
      snapshots: {
        ...driver.snapshots,
        // A drop waits for the writes of snapshots that have begun.
        drop: (streams) => Effect.andThen(commit, driver.snapshots.drop(streams))
      }
    })
    const { found } = yield* Effect.provideService(Erasure.erase("ann"), EventStore.EventStore, store)
    assert.deepStrictEqual(found.encrypted, { events: 1, snapshots: 0, documents: 0 })
    assert.deepStrictEqual(yield* driver.snapshots.page(undefined, 10), [])
  }).pipe(Effect.scoped, Effect.provide(stores)))
