/** The back ends that pass every suite, without exception. Each has a file of its own, so that they are tested side by side. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import { EventStore, KeyStore, ProjectionStore } from "evsrc"
import { EventStoreSuite, HashChainSuite, ProjectionStoreSuite } from "evsrc/conformance"
import { PgEventStore, PgKeyStore, type PgOptions, PgProjectionStore, PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import * as MemoryKeyStore from "../../src/personalData/MemoryKeyStore.ts"
import { commandIds } from "../command/CommandIdSuite.ts"
import * as ScanSuite from "../erasure/ScanSuite.ts"
import * as DerivedDataSuite from "../personalData/DerivedDataSuite.ts"
import * as ForgedDataSuite from "../personalData/ForgedDataSuite.ts"
import * as HuntSuite from "../personalData/HuntSuite.ts"
import * as PersonalDataSuite from "../personalData/PersonalDataSuite.ts"
import * as WithheldSuite from "../personalData/WithheldSuite.ts"
import { freshDatabase, layerPglite, layerPostgres } from "../support/Database.ts"
import * as RecordingSuite from "../testing/RecordingSuite.ts"
import { conformance } from "./conformance.ts"
import * as RuntimeSuite from "./RuntimeSuite.ts"

/** An erasure waits for as long as keys may be in use, and so would each test that erases. */
const keys = { maxAge: "50 millis" } as const
const keysOnPostgres = PgKeyStore.layerWith(keys)

export const memory = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory).pipe(
  Layer.provideMerge(KeyStore.layer(MemoryKeyStore.make, keys))
)

// Indexes change no answer: one of the two has them.
export const pglite = PgStores.layerWith({ causationIndex: true }).pipe(
  Layer.provideMerge(keysOnPostgres),
  // With the client, so that a case can look at all tables.
  Layer.provideMerge(layerPglite())
)

export const postgres = Layer.merge(PgEventStore.layer, PgProjectionStore.layer).pipe(
  Layer.provideMerge(keysOnPostgres.pipe(Layer.provide(Layer.fresh(layerPostgres({ poolSize: 4 }))))),
  Layer.provideMerge(layerPostgres({ poolSize: 20 }))
)

/**
 * A store whose appends go, in turn, through clients of their own: to each other these are as processes are, so that what races in
 * a suite races in the database, and not only in the group commit of one client.
 */
export const throughClients = (clients: number, options: PgOptions = {}) =>
  EventStore.layer(Effect.gen(function*() {
    const { url } = yield* freshDatabase
    const drivers = yield* Effect.forEach(Array.from({ length: clients }), () => {
      const client = Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
      return Effect.map(
        Layer.build(Layer.fresh(PgEventStore.layerWith(options)).pipe(Layer.provide(client))),
        (built) => Context.get(built, EventStore.EventStore)[internals].driver
      )
    })
    const [first] = drivers
    let turn = 0
    return { ...first!, append: (request) => drivers[turn++ % clients]!.append(request) }
  }))

/** The option by which a store chains its streams. */
export const hashChain = { hashChain: true }

/** Whatever happens in a store that is chained, its chain is intact in the end. */
export const chained = <E>(name: string, store: Layer.Layer<EventStore.EventStore, E>): void =>
  conformance(`chained EventStore on ${name}`, store, [...EventStoreSuite.cases, ...HashChainSuite.cases])

export const everySuite = <E>(
  name: string,
  stores: Layer.Layer<Stores, E>,
  // PGlite has one connection and no thread of its own: cases beside each other would share the time of one.
  { concurrent = true }: { readonly concurrent?: boolean } = {}
): void => {
  conformance(`EventStore on ${name}`, stores, EventStoreSuite.cases)
  conformance(`ProjectionStore on ${name}`, stores, ProjectionStoreSuite.cases)
  conformance(`runtime on ${name}`, stores, RuntimeSuite.cases)
  conformance(`command ids on ${name}`, stores, commandIds)
  conformance(`personal data on ${name}`, stores, PersonalDataSuite.cases)
  conformance(`derived personal data on ${name}`, stores, DerivedDataSuite.cases)
  conformance(`forged data on ${name}`, stores, ForgedDataSuite.cases)
  conformance(`withheld words on ${name}`, stores, WithheldSuite.cases)
  conformance(`hunt on ${name}`, stores, HuntSuite.cases, { concurrent })
  conformance(`scan on ${name}`, stores, ScanSuite.scans)
  conformance(`recordings on ${name}`, stores, RecordingSuite.cases)
}

type Stores = EventStore.EventStore | ProjectionStore.ProjectionStore | KeyStore.KeyStore
