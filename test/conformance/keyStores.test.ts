import { Effect, Layer } from "effect"
import { KeyStoreSuite } from "evsrc/conformance"
import { PgKeyStore } from "evsrc/pg"
import * as MemoryKeyStore from "../../src/personalData/MemoryKeyStore.ts"
import { layerPostgres } from "../support/Database.ts"
import { conformance } from "./conformance.ts"

/** Creates a database for each test. */
const onPostgres = Effect.flatMap(
  Layer.build(Layer.fresh(Layer.provideMerge(PgKeyStore.layer, layerPostgres({ poolSize: 8 })))),
  (built) => Effect.provide(PgKeyStore.makeDriver(), built)
)

conformance("KeyStore in memory", Layer.empty, KeyStoreSuite.cases(MemoryKeyStore.make))
conformance("KeyStore on PostgreSQL", Layer.empty, KeyStoreSuite.cases(onPostgres))
