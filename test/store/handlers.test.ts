/** Projections that write tables of the user's own, on every back end that has an `SqlClient`. */
import { Layer } from "effect"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { HandlerSuite } from "evsrc/testing"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import { conformance } from "./conformance.ts"

const stores = Layer.merge(PgEventStore.layer, PgProjectionStore.layer)

conformance("handlers on PGlite", stores.pipe(Layer.provideMerge(layerPglite())), HandlerSuite.cases)
conformance("handlers on PostgreSQL", stores.pipe(Layer.provideMerge(layerPostgres())), HandlerSuite.cases)
