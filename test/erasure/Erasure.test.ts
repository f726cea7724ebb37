/** The erasure of a subject with personal data in many streams. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Erasure, EventStore, KeyStore, PersonalData, ProjectionStore } from "evsrc"
import { internals } from "../../src/core/internals.ts"
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
    assert.deepStrictEqual(dropped.map(({ length }) => length), [PersonalDataScan.maxReported, 1])
    assert.deepStrictEqual(dropped.flat(), streams)
    const again = yield* erase
    assert.deepStrictEqual(again.erasedAt, first.erasedAt)
    assert.notProperty(again.found, "plaintext")
  }).pipe(Effect.scoped, Effect.provide(stores)))
