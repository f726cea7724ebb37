/** A projection store whose schema is not that of the event store. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer, Schema } from "effect"
import { Projection, Projector, Subscription } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const Noted = Schema.TaggedUnion({ Noted: { id: Schema.String } })
const notes = <L extends "async" | "inline">(lifecycle: L) =>
  Projection.make("notes", {
    events: Noted,
    lifecycle,
    document: Schema.Int,
    key: () => "all",
    evolve: { Noted: (count = 0) => count + 1 }
  })
const subscription = Subscription.make("mail", { events: Noted, handle: { Noted: () => Effect.void } })

const stores = Layer.mergeAll(PgEventStore.layerWith({ schema: "tenant_b" }), PgProjectionStore.layer)

describe("an event store and a projection store in different schemas of one client", () => {
  const layers = {
    "Projector.layer": Layer.effectDiscard(Layer.build(Projector.layer([notes("async")]))),
    "Projector.layerInline": Layer.effectDiscard(Layer.build(Projector.layerInline([notes("inline")]))),
    "Subscription.layer": Layer.effectDiscard(Layer.build(Subscription.layer([subscription])))
  }
  for (const [name, layer] of Object.entries(layers)) {
    it.live(`die in ${name}: another log may keep its documents there`, () =>
      Effect.gen(function*() {
        const cause = yield* Effect.flip(Effect.sandbox(Layer.build(Layer.provide(layer, stores))))
        assert.include(
          Cause.pretty(cause),
          `${name}: the event store uses the schema "tenant_b" and the projection store the schema "evsrc"`
        )
      }).pipe(Effect.scoped, Effect.provide(layerPostgres())))
  }
})
