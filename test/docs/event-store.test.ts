/** Executes the code of docs/event-store.md. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Option, Schema, Stream } from "effect"
import { EventStore, Version } from "evsrc"

const Reading = Schema.TaggedUnion({
  Measured: { celsius: Schema.Finite },
  Calibrated: { offset: Schema.Finite }
})
const { Calibrated, Measured } = Reading.cases

const Paid = Schema.TaggedUnion({
  Paid: {
    method: Schema.Union([
      Schema.Struct({ iban: Schema.String }),
      Schema.Struct({ iban: Schema.String, limit: Schema.Int })
    ])
  }
})

layer(EventStore.layerMemory, { excludeTestServices: true })("an event store", (it) => {
  it.effect("appends and reads", () =>
    Effect.gen(function*() {
      const receipt = yield* EventStore.append(Reading, "Sensor-1", [
        Calibrated.make({ offset: 0.5 }),
        Measured.make({ celsius: 21 })
      ], { expected: "noStream", metadata: { commandId: "batch-1", actor: "gateway" } })
      assert.strictEqual(receipt.version, 2)

      const conflict = yield* Effect.flip(
        EventStore.append(Reading, "Sensor-1", [Measured.make({ celsius: 22 })], { expected: Version.make(1) })
      )
      assert(conflict._tag === "ConcurrencyConflict")
      assert.strictEqual(conflict.actual, 2)

      const latest = yield* Stream.runHead(
        EventStore.readStream(Reading, "Sensor-1", { direction: "backward", limit: 1 })
      )
      assert.deepStrictEqual(Option.map(latest, ({ event }) => event), Option.some(Measured.make({ celsius: 21 })))

      const all = yield* Stream.runCollect(EventStore.readAll(Reading))
      assert.deepStrictEqual(all.map(({ stream, version }) => [stream, Number(version)]), [
        ["Sensor-1", 1],
        ["Sensor-1", 2]
      ])

      const found = yield* EventStore.receipt("batch-1")
      assert.deepStrictEqual(found, Option.some(receipt))
    }))

  it.effect("rejects a value that would change", () =>
    Effect.gen(function*() {
      const rejected = yield* Effect.flip(
        EventStore.append(Paid, "Payment-1", [{ _tag: "Paid", method: { iban: "x", limit: 5 } }])
      )
      assert.include(rejected.message, `event "Paid": "/method/limit" would be read back as another value`)
    }))

  it.effect("is followed", () =>
    Effect.gen(function*() {
      const warm = yield* EventStore.subscribe(Reading).pipe(
        Stream.filter(({ event }) => event._tag === "Measured" && event.celsius > 30),
        Stream.runHead,
        Effect.forkChild
      )
      yield* EventStore.append(Reading, "Sensor-2", [Measured.make({ celsius: 31 })])
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(warm)).stream, "Sensor-2")
    }))
})
