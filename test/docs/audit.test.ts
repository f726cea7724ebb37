/** Executes the code of docs/audit.md. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Aggregate, Causation, Command, CommandBus, CommandContext, HashChain, Subscription } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const OrderEvent = Schema.TaggedUnion({ OrderPlaced: { orderId: Schema.String, sku: Schema.String } })
const PlaceOrder = Command.make("PlaceOrder", { payload: OrderEvent.cases.OrderPlaced.fields })
const Order = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Boolean,
  events: OrderEvent,
  commands: [PlaceOrder]
}).decider({
  initial: false,
  evolve: { OrderPlaced: () => true },
  decide: { PlaceOrder: (isPlaced, order) => isPlaced ? [] : [OrderEvent.cases.OrderPlaced.make(order)] }
})

const StockEvent = Schema.TaggedUnion({ StockReserved: { sku: Schema.String, orderId: Schema.String } })
const ReserveStock = Command.make("ReserveStock", { payload: StockEvent.cases.StockReserved.fields })
const Stock = Aggregate.make("Stock", {
  id: "sku",
  state: Schema.Int,
  events: StockEvent,
  commands: [ReserveStock]
}).decider({
  initial: 0,
  evolve: { StockReserved: (reserved) => reserved + 1 },
  decide: { ReserveStock: (_, order) => [StockEvent.cases.StockReserved.make(order)] }
})

const Reserving = Subscription.make("reserving", {
  events: OrderEvent,
  handle: {
    // The event's id as command id makes a repetition write nothing.
    OrderPlaced: ({ orderId, sku }, { id }) => CommandBus.dispatch(ReserveStock, { sku, orderId }, { commandId: id })
  }
})

const placeOrder = (user: string, requestId: string, orderId: string) =>
  CommandBus.dispatch(PlaceOrder, { orderId, sku: "tea" }, { commandId: requestId }).pipe(
    CommandContext.provide({ actor: user })
  )

const causationOf = Effect.fnUntraced(function*(requestId: string) {
  const tree = yield* Causation.of({ commandId: requestId })
  return Option.match(tree, { onNone: () => "nothing", onSome: Causation.format })
})

const chained = PgStores.layerWith({ hashChain: true, causationIndex: true })

const findings = Effect.map(
  HashChain.verify(),
  ({ faults }) =>
    faults.map((fault) => "stream" in fault ? `${fault.kind}: ${fault.stream} ${fault.version}` : fault.kind)
)

const AnchorText = Schema.fromJsonString(Schema.toCodecJson(HashChain.Anchor))

const program = Subscription.layer([Reserving]).pipe(
  Layer.provideMerge(Layer.merge(Aggregate.layer(Order), Aggregate.layer(Stock)))
)

const listed = `
PlaceOrder by ann at 2026-03-01T09:00:00.000Z
  OrderPlaced in Order-o-1, version 1
    ReserveStock by subscription:reserving@1 at 2026-03-01T09:00:00.000Z
      StockReserved in Stock-tea, version 1
`

layer(program.pipe(Layer.provideMerge(chained), Layer.provideMerge(layerPostgres())), { excludeTestServices: true })(
  "an audit",
  (it) => {
    it.effect("lists the consequences of a command", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* causationOf("request-1"), "nothing")
        yield* placeOrder("ann", "request-1", "o-1")
        const found = yield* causationOf("request-1").pipe(
          Effect.delay("20 millis"),
          Effect.repeat({ until: (text) => text.includes("StockReserved") }),
          Effect.timeout("30 seconds")
        )
        assert.strictEqual(found.replaceAll(/at \S+/g, "at 2026-03-01T09:00:00.000Z"), listed.trim())
      }))

    it.effect("finds a changed event, and with an anchor a removed one", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const tamper = (statement: string) =>
          Effect.gen(function*() {
            yield* sql`alter table evsrc.events disable trigger user`
            yield* sql.unsafe(statement)
            yield* sql`alter table evsrc.events enable trigger user`
          })
        assert.deepStrictEqual(yield* findings, [])

        assert.strictEqual((yield* HashChain.verify()).verified, 2)

        const { anchor } = yield* HashChain.verify()
        const text = yield* Schema.encodeEffect(AnchorText)(anchor)

        yield* tamper(
          `update evsrc.events set data = replace(data::text, 'tea', 'tee')::json where stream = 'Order-o-1'`
        )
        assert.deepStrictEqual(yield* findings, ["changed: Order-o-1 1"])
        yield* tamper(`delete from evsrc.events where stream = 'Order-o-1'`)
        assert.deepStrictEqual(yield* findings, [])

        const stored = yield* Schema.decodeEffect(AnchorText)(text)
        const { faults, isIntact } = yield* HashChain.verify({ against: stored })

        assert.isFalse(isIntact)
        assert.deepStrictEqual(faults.map(({ kind }) => kind), ["anchor"])
      }))

    it.effect("accepts indexes that were built concurrently", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`drop index evsrc.events_correlation`
        yield* sql`drop index evsrc.events_id`
        const statements = `
          create index concurrently events_correlation on evsrc.events (evsrc.correlation_hash(metadata), position);
          create index concurrently events_id on evsrc.events (id);
        `
        for (const statement of statements.split(";").slice(0, 2)) yield* sql.unsafe(statement)
        yield* Effect.provide(Effect.void, Layer.fresh(chained))
        const indexes = yield* sql`select 1 from pg_index where indrelid = 'evsrc.events'::regclass and indisvalid`
        assert.lengthOf(indexes, 5)
      }))
  }
)
