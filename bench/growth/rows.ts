/**
 * A process that writes events through a contestant's own API, streams of 10, for some seconds at most, and tells how many, and by how
 * much the database has grown: a line of JSON.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime, Redacted, Schema } from "effect"
import { randomUUID } from "node:crypto"
import { Event, EventStore } from "../../src/index.ts"
import { PgEventStore } from "../../src/pg/index.ts"
import { fresh, payloads, peer } from "../contestant.ts"
import type { Pg } from "../pg.ts"
import type { Grown } from "./report.ts"

const [name = "", url = "", mostText = "", secondsText = ""] = process.argv.slice(2)
const connections = 16
const eventsOfStream = 10

const Order = Schema.TaggedUnion({
  OrderNoted: { orderId: Schema.String, customer: Schema.String, amount: Schema.Int, note: Schema.String }
})
const Tagged = Order.pipe(Event.tags({ order: "orderId", customer: "customer" }))

/** Without commands, 10 events an append; with them, an event a command. */
const evsrc = async (events: typeof Order, commands: boolean) => {
  const database = PgClient.layer({ url: Redacted.make(url), maxConnections: connections })
  const runtime = ManagedRuntime.make(PgEventStore.layer.pipe(Layer.provide(database)))
  const store = await runtime.runPromise(EventStore.EventStore)
  return (stream: string) => {
    const batch = payloads(stream, eventsOfStream).map((data) => Order.cases.OrderNoted.make(data))
    return runtime.runPromise(Effect.forEach(
      commands ? batch.map((event) => [event]) : [batch],
      (one) => store.append(events, stream, one, commands ? { metadata: { commandId: randomUUID() } } : {}),
      { discard: true }
    ))
  }
}

type Writer = (stream: string) => Promise<unknown>

const writers: Readonly<Record<string, () => Promise<Writer>>> = {
  floor: async () => tens(await (await import("../contestants/floor.ts")).make(url, connections)),
  emmett: async () => tens(await (await import("../contestants/emmett.ts")).make(url, connections)),
  castore: async () => tens(await (await import("../contestants/castore.ts")).make(url, connections)),
  "dcb-es": async () => tens(await (await import("../contestants/dcb-es.ts")).make(url, connections)),
  evsrc: () => evsrc(Order, false),
  "evsrc, 2 tags": () => evsrc(Tagged, false),
  "evsrc, 2 tags, a command id": () => evsrc(Tagged, true)
}

const tens = ({ seed }: { readonly seed: (stream: string, events: number) => Promise<unknown> }): Writer => (stream) =>
  seed(stream, eventsOfStream)

const { Client } = await peer<Pg>("pg")
const client = new Client({ connectionString: url })
await client.connect()
const size = async () => {
  const { rows } = await client.query(
    `select sum(pg_total_relation_size(c.oid) - pg_indexes_size(c.oid))::float8 as tables, sum(pg_indexes_size(c.oid))::float8 as indexes
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind = 'r' and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'`
  )
  return { tables: Number(rows[0]?.["tables"]), indexes: Number(rows[0]?.["indexes"]) }
}

const write = await writers[name]!()
const before = await size()
const ends = performance.now() + Number(secondsText) * 1000
let streams = 0
const processor = async () => {
  while (performance.now() < ends && streams < Number(mostText) / eventsOfStream) {
    streams++
    await write(fresh("order"))
  }
}
await Promise.all(Array.from({ length: connections }, processor))
await client.query("vacuum (analyze)")
const after = await size()
const events = streams * eventsOfStream
const grown: Grown = {
  contestant: name,
  events,
  tableBytes: (after.tables - before.tables) / events,
  indexBytes: (after.indexes - before.indexes) / events
}
console.log(JSON.stringify(grown))
process.exit(0)
