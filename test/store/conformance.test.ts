/** Every back end passes every suite, without exception. */
import { Layer } from "effect"
import { EventStore, ProjectionStore } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { EventStoreSuite, ProjectionStoreSuite, RuntimeSuite } from "evsrc/testing"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import { conformance } from "./conformance.ts"

const onPostgres = Layer.merge(PgEventStore.layer, PgProjectionStore.layer)

const backEnds = {
  memory: Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory),
  PGlite: onPostgres.pipe(Layer.provide(layerPglite())),
  PostgreSQL: onPostgres.pipe(Layer.provide(layerPostgres({ poolSize: 20 })))
}

for (const [name, stores] of Object.entries(backEnds)) {
  conformance(`EventStore on ${name}`, stores, EventStoreSuite.cases)
  conformance(`ProjectionStore on ${name}`, stores, ProjectionStoreSuite.cases)
  conformance(`runtime on ${name}`, stores, RuntimeSuite.cases)
}
