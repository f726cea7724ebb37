/** The stores behind a connection pooler in transaction mode, which has fewer connections than clients. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { KeyStore } from "evsrc"
import { EventStoreSuite, ProjectionStoreSuite } from "evsrc/conformance"
import { PgStores } from "evsrc/pg"
import { describe } from "vitest"
import { conformance } from "../conformance/conformance.ts"
import * as LongCases from "../conformance/longCases.ts"
import * as RuntimeSuite from "../conformance/RuntimeSuite.ts"
import { freshDatabase } from "../support/Database.ts"
import * as Pgbouncer from "../support/Pgbouncer.ts"
import { isLong, scale } from "../support/scale.ts"
import * as Writing from "./writing.ts"

/** Without named prepared statements, because the pooler may run the next execution on another connection. */
const clientAt = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 20, prepare: false })

const stores = PgStores.layer.pipe(
  Layer.provideMerge(KeyStore.layerMemory),
  Layer.provide(Layer.unwrap(Effect.gen(function*() {
    const { url } = yield* freshDatabase
    return clientAt(yield* Pgbouncer.make(url, 5))
  })))
)

describe("through pgbouncer in transaction mode", Pgbouncer.needed, () => {
  const select = LongCases.of("pooler")
  conformance("EventStore", stores, select(EventStoreSuite.cases))
  conformance("ProjectionStore", stores, select(ProjectionStoreSuite.cases))
  // Two minutes of tests that hardly touch what a pooler changes.
  if (isLong) {
    for (const [suite, cases] of Object.entries(RuntimeSuite.suites)) conformance(suite, stores, cases)
  }

  it.live(
    "subscribers see every event of 64 writers once and in order",
    () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const pooler = yield* Pgbouncer.make(url, 8)
        yield* Effect.gen(function*() {
          const run = yield* Writing.start(pooler, { prepare: false })
          yield* run.progress(scale(40, 1000))
          yield* run.replaceOne
          yield* run.progress(scale(40, 1000))
          const { committed } = yield* run.finish
          for (const { seen } of run.consumers) assert.deepStrictEqual(seen, committed)
        }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(clientAt(pooler)))))
      }),
    300_000
  )
})
