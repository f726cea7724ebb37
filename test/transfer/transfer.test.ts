/** Runs the transfer suite on every back end, each test on fresh stores: on PGlite in the long tests. */
import { Context, Effect, Layer } from "effect"
import { EventStore, KeyStore } from "evsrc"
import { TransferSuite } from "evsrc/conformance"
import { PgEventStore } from "evsrc/pg"
import { conformance } from "../conformance/conformance.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import { isLong } from "../support/scale.ts"
import * as RetagSuite from "./RetagSuite.ts"

/** A new PGlite for each store takes long, and runs the statements of the server. */
const backEnds = isLong ? { PGlite: PgEventStore.layer.pipe(Layer.provide(layerPglite())) } : {
  memory: EventStore.layerMemory,
  PostgreSQL: PgEventStore.layer.pipe(Layer.provide(layerPostgres({ poolSize: 4 })))
}

/** One key store for all stores, because an export has no keys. */
const keys = Layer.effectContext(Effect.cached(Layer.build(KeyStore.layerMemory)).pipe(Effect.runSync))

for (const [name, layer] of Object.entries(backEnds)) {
  const fresh = Effect.map(
    Layer.build(Layer.fresh(layer.pipe(Layer.provide(keys)))),
    (built) => Context.get(built, EventStore.EventStore)
  )
  conformance(`transfer on ${name}`, Layer.empty, TransferSuite.cases(fresh))
  conformance(`transfer with other tags on ${name}`, Layer.empty, RetagSuite.cases(fresh))
}
