/** emmett on PostgreSQL, with a pool of `pg` given to it. */
import { instanceEvents } from "../cells.ts"
import {
  type Actions,
  type Contestant,
  fresh,
  payload,
  payloads,
  peer,
  promiseLoop,
  type PromiseRun
} from "../contestant.ts"
import type { Pg, Queries } from "../pg.ts"

interface Event {
  readonly type: string
  readonly data: unknown
}

interface Store {
  readonly schema: { readonly migrate: () => Promise<unknown> }
  readonly appendToStream: (
    stream: string,
    events: ReadonlyArray<Event>,
    options: { readonly expectedStreamVersion: bigint }
  ) => Promise<unknown>
  readonly readStream: (stream: string) => Promise<{ readonly events: ReadonlyArray<unknown> }>
  readonly close: () => Promise<void>
}

interface EmmettPostgres {
  readonly getPostgreSQLEventStore: (
    url: string,
    options: { readonly connectionOptions: { readonly pool: Queries } }
  ) => Store
  readonly readMessagesBatch: (
    execute: unknown,
    options: { readonly after: bigint; readonly batchSize: number }
  ) => Promise<{ readonly messages: ReadonlyArray<unknown>; readonly currentGlobalPosition: bigint }>
}

interface Dumbo {
  readonly dumbo: (
    options: { readonly connectionString: string; readonly pool: Queries }
  ) => { readonly execute: unknown }
}

interface Emmett {
  readonly CommandHandler: (options: {
    readonly initialState: () => number
    readonly evolve: (state: number, event: Event) => number
    readonly retry: { readonly onVersionConflict: true }
  }) => (store: Store, id: string, handle: (state: number) => Event) => Promise<unknown>
}

export const make = async (url: string, size: number): Promise<Contestant<PromiseRun>> => {
  const { Pool } = await peer<Pg>("pg")
  const { CommandHandler } = await peer<Emmett>("@event-driven-io/emmett")
  const { getPostgreSQLEventStore, readMessagesBatch } = await peer<EmmettPostgres>(
    "@event-driven-io/emmett-postgresql"
  )
  const { dumbo } = await peer<Dumbo>("@event-driven-io/dumbo")
  const pool = new Pool({ connectionString: url, max: size })
  const store = getPostgreSQLEventStore(url, { connectionOptions: { pool } })
  await store.schema.migrate()
  const { execute } = dumbo({ connectionString: url, pool })
  const append = (stream: string, count: number) =>
    store.appendToStream(stream, payloads(stream, count).map((data) => ({ type: "OrderNoted", data })), {
      expectedStreamVersion: 0n
    })
  const handle = CommandHandler({
    initialState: () => 0,
    evolve: (total) => total + 1,
    retry: { onVersionConflict: true }
  })
  const actions: Actions<PromiseRun> = {
    append: (events) => () => append(fresh("order"), events),
    read: (stream) => async () => (await store.readStream(stream)).events.length,
    log: (events) => async () => {
      let after = 0n
      let count = 0
      while (count < events) {
        const page = await readMessagesBatch(execute, { after, batchSize: Math.min(500, events - count) })
        if (page.messages.length === 0) throw new Error("The log ends too soon")
        after = page.currentGlobalPosition
        count += page.messages.length
      }
      return count
    },
    commands: {
      create: (id) => append(id, instanceEvents),
      run: (id) => () => handle(store, id, () => ({ type: "OrderNoted", data: payload(id) })),
      load: (id) => () => store.readStream(id)
    }
  }
  return {
    loop: promiseLoop,
    actions,
    seed: append,
    appendTo: (stream) => append(stream, 1),
    close: () => store.close()
  }
}
