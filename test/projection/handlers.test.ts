/** Projections that write tables of the user's own, on every back end that has an `SqlClient`. */
import { Layer } from "effect"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { conformance } from "../conformance/conformance.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import * as HandlerSuite from "./HandlerSuite.ts"

const stores = Layer.merge(PgEventStore.layer, PgProjectionStore.layer)

conformance("handlers on PGlite", stores.pipe(Layer.provideMerge(layerPglite())), HandlerSuite.cases)
conformance("handlers on PostgreSQL", stores.pipe(Layer.provideMerge(layerPostgres())), HandlerSuite.cases)
