/** Runs the transfer suite on every back end, each test on fresh stores. */
import { Context, Effect, Layer } from "effect"
import { EventStore } from "evsrc"
import { TransferSuite } from "evsrc/conformance"
import { PgEventStore } from "evsrc/pg"
import { conformance } from "../conformance/conformance.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const backEnds = {
  memory: EventStore.layerMemory,
  PGlite: PgEventStore.layer.pipe(Layer.provide(layerPglite())),
  PostgreSQL: PgEventStore.layer.pipe(Layer.provide(layerPostgres({ poolSize: 4 })))
}

for (const [name, layer] of Object.entries(backEnds)) {
  const fresh = Effect.map(
    Layer.build(Layer.fresh(layer)),
    (built) => Context.get(built, EventStore.EventStore)
  )
  conformance(`transfer on ${name}`, Layer.empty, TransferSuite.cases(fresh))
}
