/** The back ends that pass every suite, without exception. Each has a file of its own, so that they are tested side by side. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import { EventStore, KeyStore, ProjectionStore } from "evsrc"
import { type Case, EventStoreSuite, HashChainSuite, ProjectionStoreSuite } from "evsrc/conformance"
import { PgEventStore, PgKeyStore, type PgOptions, PgProjectionStore, PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import * as MemoryKeyStore from "../../src/personalData/MemoryKeyStore.ts"
import { commandIds } from "../command/CommandIdSuite.ts"
import { sharedEvents } from "../consumer/SharedEventSuite.ts"
import * as ScanSuite from "../erasure/ScanSuite.ts"
import * as DerivedDataSuite from "../personalData/DerivedDataSuite.ts"
import * as ErasedMeanwhileSuite from "../personalData/ErasedMeanwhileSuite.ts"
import * as ForgedDataSuite from "../personalData/ForgedDataSuite.ts"
import * as HuntSuite from "../personalData/HuntSuite.ts"
import * as PersonalDataSuite from "../personalData/PersonalDataSuite.ts"
import * as SharedReadSuite from "../personalData/SharedReadSuite.ts"
import * as SharedStateSuite from "../personalData/SharedStateSuite.ts"
import * as WithheldSuite from "../personalData/WithheldSuite.ts"
import { personal } from "../process/PersonalSuite.ts"
import { freshDatabase, layerPglite, layerPostgres } from "../support/Database.ts"
import { isLong } from "../support/scale.ts"
import * as RecordingSuite from "../testing/RecordingSuite.ts"
import { conformance } from "./conformance.ts"
import * as RuntimeSuite from "./RuntimeSuite.ts"

/** Deadlines that a busy machine meets too. Tests of the deadlines have others. */
export const patient = { statementTimeout: "1 minute", lockTimeout: "1 minute", connectionTimeout: "1 minute" } as const

/** An erasure waits for as long as keys may be in use, and so would each test that erases. */
const keys = { maxAge: "50 millis" } as const
const keysOnPostgres = PgKeyStore.layerWith(keys)

export const memory = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory).pipe(
  Layer.provideMerge(KeyStore.layer(MemoryKeyStore.make, keys))
)

// Indexes change no answer: one of the two has them.
export const pglite = PgStores.layerWith({ ...patient, causationIndex: true }).pipe(
  Layer.provideMerge(keysOnPostgres),
  // With the client, so that a case can look at all tables.
  Layer.provideMerge(layerPglite())
)

export const postgres = Layer.merge(PgEventStore.layerWith(patient), PgProjectionStore.layerWith(patient)).pipe(
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
        Layer.build(Layer.fresh(PgEventStore.layerWith({ ...patient, ...options })).pipe(Layer.provide(client))),
        (built) => Context.get(built, EventStore.EventStore)[internals].driver
      )
    })
    const [first] = drivers
    let turn = 0
    return { ...first!, append: (request) => drivers[turn++ % clients]!.append(request) }
  }))

/** The option by which a store chains its streams. */
export const hashChain = { hashChain: true }

const writesMany = ({ name }: { readonly name: string }) => /10,000 events|beyond one page/.test(name)

/** Whatever happens in a store that is chained, its chain is intact in the end. A short run is without the most events, which take seconds to verify. */
export const chainedCases: ReadonlyArray<Case<EventStore.EventStore>> = [
  ...EventStoreSuite.cases.filter((one) => isLong || !writesMany(one)),
  ...HashChainSuite.cases
]

export const chained = <E>(name: string, store: Layer.Layer<EventStore.EventStore, E>): void =>
  conformance(`chained EventStore on ${name}`, store, chainedCases)

const suites: Readonly<Record<string, ReadonlyArray<Case<Stores>>>> = {
  EventStore: EventStoreSuite.cases,
  ProjectionStore: ProjectionStoreSuite.cases,
  ...RuntimeSuite.suites,
  "command ids": commandIds,
  "personal data": PersonalDataSuite.cases,
  "derived personal data": DerivedDataSuite.cases,
  "forged data": ForgedDataSuite.cases,
  "withheld words": WithheldSuite.cases,
  "shared reads": SharedReadSuite.cases,
  "data erased meanwhile": ErasedMeanwhileSuite.cases,
  "shared states": SharedStateSuite.cases,
  "shared events": sharedEvents,
  hunt: HuntSuite.cases,
  "personal data of process managers": personal,
  scan: ScanSuite.scans,
  recordings: RecordingSuite.cases
}

export const names: ReadonlyArray<string> = Object.values(suites).flat().map(({ name }) => name)

export const suiteNames: ReadonlyArray<string> = Object.keys(suites)

interface Options {
  /** Selects cases of a suite; all by default. */
  readonly select?: <R>(cases: ReadonlyArray<Case<R>>, suite: string) => ReadonlyArray<Case<R>>
  /** PGlite has one connection and no thread of its own: cases beside each other would share the time of one. */
  readonly concurrent?: boolean
}

export const everySuite = <E>(
  name: string,
  stores: Layer.Layer<Stores, E>,
  { concurrent = true, select = (cases) => cases }: Options = {}
): void => {
  for (const [suite, cases] of Object.entries(suites)) {
    conformance(`${suite} on ${name}`, stores, select(cases, suite), { concurrent: concurrent && suite === "hunt" })
  }
}

type Stores = EventStore.EventStore | ProjectionStore.ProjectionStore | KeyStore.KeyStore
