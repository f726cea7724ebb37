import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { EventStore, KeyStore, PersonalData, Projection, ProjectionStore, Projector } from "evsrc"

const Guest = PersonalData.field(Schema.String, { subject: "guest" })
const Booked = Schema.TaggedUnion({ Booked: { guest: Schema.String, name: Guest } })
const Names = Projection.make("names", {
  events: Booked,
  lifecycle: "inline",
  document: Schema.Struct({ guest: Schema.String, name: Guest }),
  key: ({ guest }) => guest,
  evolve: { Booked: (_, { guest, name }) => ({ guest, name }) }
})

it.effect("inline projections go by the key store of the event store, wherever they are put together", () =>
  Effect.gen(function*() {
    const { append } = yield* EventStore.EventStore
    yield* append(Booked, "Room-1", [Booked.cases.Booked.make({ guest: "g-1", name: "Ann Archer" })])
    const document = Option.getOrThrow(yield* ProjectionStore.get(Names, "g-1"))
    assert.deepStrictEqual(document, { guest: "g-1", name: "Ann Archer" })
  }).pipe(Effect.provide(
    Projector.layerInline([Names]).pipe(
      Layer.provideMerge(
        Layer.mergeAll(EventStore.layerMemory, ProjectionStore.layerMemory).pipe(Layer.provide(KeyStore.layerMemory))
      )
    )
  )))
