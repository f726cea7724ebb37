import { Layer } from "effect"
import { PgEventStore } from "evsrc/pg"
import { layerPglite } from "../support/Database.ts"
import { chained, everySuite, hashChain, pglite } from "./backEnds.ts"

everySuite("PGlite", pglite)
chained("PGlite", PgEventStore.layerWith(hashChain).pipe(Layer.provide(layerPglite())))
