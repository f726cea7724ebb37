/** emmett on PostgreSQL: its consumer with a projector of a Pongo projection over several streams. */
import { setTimeout } from "node:timers/promises"
import { peer } from "../contestant.ts"
import type { Pg } from "../pg.ts"
import { customers, latencyOf, payload, type Sent, type Subject, timed } from "./task.ts"

interface Event {
  readonly type: string
  readonly data: { readonly customer: string; readonly amount: number }
}

interface Document {
  readonly events: number
  readonly total: number
}

interface Consumer {
  readonly projector: (options: { readonly processorId: string; readonly projection: unknown }) => unknown
  readonly start: () => Promise<void>
  readonly close: () => Promise<void>
}

interface Store {
  readonly schema: { readonly migrate: () => Promise<unknown> }
  readonly appendToStream: (
    stream: string,
    events: ReadonlyArray<Event>,
    options: { readonly expectedStreamVersion: bigint }
  ) => Promise<unknown>
  readonly close: () => Promise<void>
}

interface EmmettPostgres {
  readonly getPostgreSQLEventStore: (url: string) => Store
  readonly postgreSQLEventStoreConsumer: (options: {
    readonly connectionString: string
    readonly stopWhen?: { readonly noMessagesLeft: boolean }
    readonly pulling?: { readonly batchSize: number }
  }) => Consumer
  readonly pongoMultiStreamProjection: (options: {
    readonly collectionName: string
    readonly canHandle: ReadonlyArray<string>
    readonly getDocumentId: (event: Event) => string
    readonly initialState: () => Document
    readonly evolve: (document: Document, event: Event) => Document
  }) => unknown
}

let names = 0

export const make = async (url: string): Promise<Subject> => {
  const { Pool } = await peer<Pg>("pg")
  const { getPostgreSQLEventStore, pongoMultiStreamProjection, postgreSQLEventStoreConsumer } = await peer<
    EmmettPostgres
  >("@event-driven-io/emmett-postgresql")
  const pool = new Pool({ connectionString: url, max: 2 })
  const store = getPostgreSQLEventStore(url)
  await store.schema.migrate()
  const count = async () => Number((await pool.query("select count(*) as n from emt_messages")).rows[0]?.["n"])
  const counting = (collectionName: string) =>
    pongoMultiStreamProjection({
      collectionName,
      canHandle: ["OrderNoted"],
      getDocumentId: ({ data }) => data.customer,
      initialState: () => ({ events: 0, total: 0 }),
      evolve: ({ events, total }, { data }) => ({ events: events + 1, total: total + data.amount })
    })
  const sum = async (collection: string) =>
    Number((await pool.query(`select sum((data->>'events')::integer) as n from "${collection}"`)).rows[0]?.["n"])
  const open: Array<Consumer> = []

  return {
    fill: async (events) => {
      const from = await count()
      await pool.query(`insert into emt_streams (stream_id, stream_position, partition, stream_type, stream_metadata)
        select 'Order-' || (g / 10), max(1 + g % 10), 'emt:default', 'Order', '{}'
          from generate_series(${from}, ${from + events - 1}) g group by g / 10`)
      await pool.query(`insert into emt_messages (stream_id, stream_position, partition, message_data, message_metadata,
          message_schema_version, message_type, message_kind, message_id, transaction_id)
        select 'Order-' || (g / 10), 1 + g % 10, 'emt:default', ${payload}::jsonb, '{}', '1', 'OrderNoted', 'E',
            gen_random_uuid()::text, pg_current_xact_id()
          from generate_series(${from}, ${from + events - 1}) g`)
      await pool.query("vacuum analyze emt_messages")
    },
    catchUp: async ({ batchSize }) => {
      const total = await count()
      const name = `counting_${process.pid}_${++names}`
      const consumer = postgreSQLEventStoreConsumer({
        connectionString: url,
        stopWhen: { noMessagesLeft: true },
        ...batchSize === undefined ? {} : { pulling: { batchSize } }
      })
      consumer.projector({ processorId: name, projection: counting(name) })
      const took = await timed(total, () => consumer.start())
      await consumer.close()
      const counted = await sum(name)
      if (counted !== total) throw new Error(`${counted} events in the documents instead of ${total}`)
      return took
    },
    follow: async (name) => {
      const consumer = postgreSQLEventStoreConsumer({ connectionString: url })
      consumer.projector({ processorId: name, projection: counting(name) })
      open.push(consumer)
      void consumer.start()
      const total = await count()
      for (let tries = 0; tries < 600; tries++) {
        await setTimeout(100)
        if (await sum(name).catch(() => 0) === total) return
      }
      throw new Error("The consumer has not caught up")
    },
    latency: async (name, seconds) => {
      const sent: Array<Sent> = []
      const customer = `customer-${customers}`
      const state = { writing: true }
      // All go to one document: its count is how many of them it shows.
      const watch = async () => {
        for (let last = performance.now(), seen = 0; state.writing || seen < sent.length;) {
          const { rows } = await pool.query({
            name: "watch",
            text: `select data->>'events' as n from "${name}" where _id = $1`,
            values: [customer]
          })
          const now = performance.now()
          for (const n = Number(rows[0]?.["n"] ?? 0); seen < n; seen++, last = now) {
            if (sent[seen] === undefined) break
            sent[seen]!.seen = now
          }
          if (now - last > 10_000) return
          await setTimeout(3)
        }
      }
      const watching = watch()
      const begun = performance.now()
      for (let i = 0; performance.now() - begun < seconds * 1000; i++) {
        const called = performance.now()
        await store.appendToStream(`Latency-${process.pid}-${i}`, [
          { type: "OrderNoted", data: { customer, amount: 129 } }
        ], { expectedStreamVersion: 0n })
        sent.push({ called, answered: performance.now(), seen: undefined })
        await setTimeout(15 + i % 11)
      }
      state.writing = false
      await watching
      return latencyOf(sent)
    },
    close: async () => {
      for (const consumer of open) await consumer.close()
      await store.close()
      await pool.end()
    }
  }
}
