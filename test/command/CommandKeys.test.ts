import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Command, CommandBus, Decision, Event, EventStore, KeyStore, PersonalData } from "../../src/index.ts"

const cancellations = Schema.TaggedUnion({ Cancelled: { orderId: Schema.String } }).pipe(
  Event.tags({ order: "orderId" })
)
const events = Schema.TaggedUnion({
  Placed: { orderId: Schema.String, name: PersonalData.field(Schema.String, { subject: "orderId" }) },
  Cancelled: { orderId: Schema.String }
}).pipe(Event.tags({ order: "orderId" }))
const Cancel = Command.make("Cancel", { payload: { orderId: Schema.String } })
const Refuse = Command.make("Refuse", { payload: { orderId: Schema.String, reason: Schema.String } })
const decisionOf = <C extends typeof Cancel | typeof Refuse>(command: C) =>
  Decision.layer(Decision.make(command, {
    events,
    models: ({ orderId }) => ({
      cancelled: Decision.model({
        events: cancellations,
        tags: { order: orderId },
        initial: false,
        evolve: { Cancelled: () => true }
      })
    }),
    decide: (_, { orderId }) => [events.cases.Cancelled.make({ orderId })]
  }))
const orders = Layer.merge(decisionOf(Cancel), decisionOf(Refuse))
const withoutKeys = orders.pipe(Layer.provideMerge(EventStore.layerMemory))
const withKeys = orders.pipe(Layer.provideMerge(EventStore.layerMemory), Layer.provide(KeyStore.layerMemory))
const refuse = CommandBus.dispatch(Refuse, { orderId: "1", reason: "late" })

describe("a command whose payload has more than its events have in plaintext", () => {
  it.effect("needs a key store, and says for which fields", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatch(Cancel, { orderId: "1" })
      const error = yield* Effect.flip(refuse)
      assert(error._tag === "EventStoreError" && error.reason._tag === "StoreMisconfigured", String(error))
      assert.include(error.message, `fields that its events do not have in plaintext ("reason")`)
      assert.include(error.message, "provide one to its layer, such as PgKeyStore.layer or KeyStore.layerMemory")
    }).pipe(Effect.provide(withoutKeys)))

  it.effect("succeeds with a key store", () =>
    Effect.gen(function*() {
      assert.lengthOf((yield* refuse).events, 1)
    }).pipe(Effect.provide(withKeys)))
})
