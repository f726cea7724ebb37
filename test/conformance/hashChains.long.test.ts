/** The hash chain of a store after everything else that the suites write, thousands of events included. */
import { Layer } from "effect"
import { EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { layerPglite } from "../support/Database.ts"
import { chained, hashChain, throughClients } from "./backEnds.ts"

chained("memory", EventStore.layerMemoryWith(hashChain))
chained("PGlite", PgEventStore.layerWith(hashChain).pipe(Layer.provide(layerPglite())))
chained("PostgreSQL, through 10 clients", throughClients(10, hashChain))
