/** Inline projections extend the appends of the one event store. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Layer, Option, Schema, Stream } from "effect"
import { EventStore, KeyStore, PersonalData, Projection, ProjectionStore, Projector } from "evsrc"
import { internals } from "../../../src/core/internals.ts"

const name = PersonalData.field(Schema.String, { subject: "guest" })
const Booked = Schema.TaggedUnion({ Booked: { guest: Schema.String, name } })

const namesOf = (projection: string, evolve?: () => never) =>
  Projection.make(projection, {
    events: Booked,
    lifecycle: "inline",
    document: Schema.Struct({ guest: Schema.String, name }),
    key: ({ guest }) => guest,
    evolve: { Booked: (_, { guest, name }) => evolve?.() ?? { guest, name } }
  })

const book = (guest: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(Booked, "Room-1", [Booked.cases.Booked.make({ guest, name: "Ann Archer" })])
  )

const namedBy = (projection: ReturnType<typeof namesOf>, guest: string) =>
  Effect.map(ProjectionStore.get(projection, guest), (found) => Option.getOrUndefined(found)?.name)

const stores = Layer.mergeAll(EventStore.layerMemory, ProjectionStore.layerMemory).pipe(
  Layer.provide(KeyStore.layerMemory)
)
const [first, second] = [namesOf("first"), namesOf("second")]

describe("Projector.layerInline", () => {
  it.effect("encrypts documents by the key store of the event store", () =>
    Effect.gen(function*() {
      yield* book("g-1")
      assert.strictEqual(yield* namedBy(first, "g-1"), "Ann Archer")
    }).pipe(Effect.provide(Projector.layerInline([first]).pipe(Layer.provideMerge(stores)))))

  it.effect("shares the driver, the keys and the snapshots of the event store", () =>
    Effect.gen(function*() {
      const base = (yield* EventStore.EventStore)[internals]
      const layer = Projector.layerInline([second]).pipe(Layer.provide(Projector.layerInline([first])))
      const extended = Context.get(yield* Layer.build(layer), EventStore.EventStore)[internals]
      assert.strictEqual(extended.driver, base.driver)
      assert.strictEqual(extended.keys, base.keys)
      assert.strictEqual(extended.snapshots, base.snapshots)
    }).pipe(Effect.provide(Layer.fresh(stores))))

  it.effect("applies the projections of stacked layers, and makes gaps without them", () =>
    Effect.gen(function*() {
      const stacked = Projector.layerInline([second]).pipe(Layer.provide(Projector.layerInline([first])))
      yield* Effect.provide(book("g-1"), stacked)
      assert.deepStrictEqual([yield* namedBy(first, "g-1"), yield* namedBy(second, "g-1")], [
        "Ann Archer",
        "Ann Archer"
      ])
      yield* book("g-2")
      for (const projection of [first, second]) {
        assert.include(
          (yield* Effect.flip(namedBy(projection, "g-2"))).message,
          `"${projection.id}" lack the event at position 2`
        )
      }
    }).pipe(Effect.provide(Layer.fresh(stores))))

  it.effect("leaves appends that no projection reads as they are", () =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const inTransaction: Array<boolean> = []
      const store = yield* EventStore.make({
        ...driver,
        append: (request) => {
          inTransaction.push(request.inTransaction !== undefined)
          return driver.append(request)
        }
      })
      const Cleaning = Schema.TaggedUnion({ Cleaned: {}, Inspected: {} })
      const cleanings = Projection.make("cleanings", {
        events: Cleaning,
        lifecycle: "inline",
        document: Schema.Int,
        key: () => "all",
        evolve: { Cleaned: (count) => (count ?? 0) + 1, Inspected: Projection.ignore }
      })
      const append = (_tag: "Cleaned" | "Inspected") => EventStore.append(Cleaning, "Room-1", [{ _tag }])
      yield* Effect.andThen(append("Inspected"), append("Cleaned")).pipe(
        Effect.provide(Projector.layerInline([cleanings])),
        Effect.provideService(EventStore.EventStore, store)
      )
      assert.deepStrictEqual(inTransaction, [false, true])
    }).pipe(Effect.provide(Layer.fresh(stores))))

  for (
    const [where, layer] of [
      ["one list", Projector.layerInline([first, second, first])],
      [
        "stacked layers",
        Projector.layerInline([first]).pipe(Layer.provide(Projector.layerInline([second, namesOf("first")])))
      ]
    ] as const
  ) {
    it.effect(`dies when ${where} name a projection twice, which would run twice`, () =>
      Effect.gen(function*() {
        const cause = yield* Effect.flip(Effect.sandbox(Layer.build(layer)))
        assert.include(
          Cause.pretty(cause),
          `the event store already runs the projection "first@1"; give it to one layer, once`
        )
      }).pipe(Effect.provide(Layer.fresh(stores))))
  }

  for (const failing of ["the inner", "the outer"]) {
    it.effect(`writes nothing when a projection of ${failing} layer fails`, () =>
      Effect.gen(function*() {
        const broken = namesOf("broken", () => {
          throw new Error("no bookings today")
        })
        const [inner, outer] = failing === "the inner" ? [broken, first] : [first, broken]
        const stacked = Projector.layerInline([outer]).pipe(Layer.provide(Projector.layerInline([inner])))
        const error = yield* Effect.flip(Effect.provide(book("g-1"), stacked))
        assert.include(error.message, "no bookings today")
        assert.strictEqual(yield* namedBy(first, "g-1"), undefined)
        const { readStreamEncoded } = yield* EventStore.EventStore
        assert.deepStrictEqual(yield* Stream.runCollect(readStreamEncoded("Room-1")), [])
      }).pipe(Effect.provide(Layer.fresh(stores))))
  }
})
