/** emmett: inline projections of Pongo. */
import { payload, peer } from "../contestant.ts"
import type { Pg, Queries } from "../pg.ts"
import type { Subject } from "./measure.ts"

interface Store {
  readonly schema: { readonly migrate: () => Promise<unknown> }
  readonly close: () => Promise<void>
}

interface EmmettPostgres {
  readonly getPostgreSQLEventStore: (
    url: string,
    options: {
      readonly connectionOptions: { readonly pool: Queries }
      readonly projections: ReadonlyArray<{ readonly type: "inline"; readonly projection: unknown }>
    }
  ) => Store
  readonly pongoSingleStreamProjection: (options: {
    readonly collectionName: string
    readonly canHandle: ReadonlyArray<string>
    readonly initialState: () => { readonly notes: number }
    readonly evolve: (order: { readonly notes: number }) => { readonly notes: number }
  }) => unknown
}

interface Emmett {
  readonly CommandHandler: (options: {
    readonly initialState: () => number
    readonly evolve: (state: number) => number
  }) => (store: Store, id: string, handle: () => { readonly type: string; readonly data: unknown }) => Promise<unknown>
}

export const make = async (url: string): Promise<Subject> => {
  const { Pool } = await peer<Pg>("pg")
  const { CommandHandler } = await peer<Emmett>("@event-driven-io/emmett")
  const { getPostgreSQLEventStore, pongoSingleStreamProjection } = await peer<EmmettPostgres>(
    "@event-driven-io/emmett-postgresql"
  )
  const handle = CommandHandler({ initialState: () => 0, evolve: (total) => total + 1 })
  const storeWith = async (count: number) => {
    const store = getPostgreSQLEventStore(url, {
      connectionOptions: { pool: new Pool({ connectionString: url, max: 8 }) },
      projections: Array.from({ length: count }, (_, n) => ({
        type: "inline",
        projection: pongoSingleStreamProjection({
          collectionName: `orders_${count}_${n}`,
          canHandle: ["OrderNoted"],
          initialState: () => ({ notes: 0 }),
          evolve: ({ notes }) => ({ notes: notes + 1 })
        })
      }))
    })
    await store.schema.migrate()
    return store
  }
  const [one, five] = [await storeWith(1), await storeWith(5)]
  const note = (store: Store, id: string) => handle(store, id, () => ({ type: "OrderNoted", data: payload(id) }))
  return {
    operations: { inline1: () => note(one, "inline-1"), inline5: () => note(five, "inline-5") }
  }
}
