import { Layer } from "effect"
import { PgEventStore } from "evsrc/pg"
import { layerPglite } from "../support/Database.ts"
import { chained, hashChain } from "./backEnds.ts"

chained("PGlite", PgEventStore.layerWith(hashChain).pipe(Layer.provide(layerPglite())))
