/**
 * Personal data that can be erased. A customer's name and address are encrypted with the customer's own key wherever they are stored. Deleting
 * the key makes them unreadable in the log, in documents and in every backup; all other data stays unchanged.
 */
import { Console, Effect, Layer, Option, Schema, Stream } from "effect"
import {
  Aggregate,
  Command,
  CommandBus,
  Erasure,
  EventStore,
  KeyStore,
  PersonalData,
  Projection,
  ProjectionStore,
  Projector
} from "evsrc"

const ofCustomer = { subject: "customerId" }
const Name = Schema.NonEmptyString
const Address = Schema.Struct({ street: Schema.String, town: Schema.String })
const order = { customerId: Schema.String, name: Name, address: Address, total: Schema.Int }

const personal = { name: PersonalData.field(Name, ofCustomer), address: PersonalData.field(Address, ofCustomer) }

export const OrderEvent = Schema.TaggedUnion({ Ordered: { ...order, ...personal } })
export const Order = Command.make("Order", { payload: order })

// The state contains no personal data, so there is nothing to erase in it.
export const Customer = Aggregate.make("Customer", {
  id: "customerId",
  state: Schema.Struct({ orders: Schema.Int }),
  events: OrderEvent,
  commands: [Order]
}).decider({
  initial: { orders: 0 },
  evolve: { Ordered: ({ orders }) => ({ orders: orders + 1 }) },
  decide: { Order: (_, order) => [OrderEvent.cases.Ordered.make(order)] }
})

// Personal data in a document needs an annotated Schema. Do not copy it into other fields: a plain `town` would outlive the erasure.
export const Customers = Projection.make("customers", {
  lifecycle: "inline",
  events: OrderEvent,
  document: Schema.Struct({ customerId: Schema.String, name: personal.name, spent: Schema.Int }),
  key: ({ customerId }) => customerId,
  evolve: {
    Ordered: (before, { customerId, name, total }) => ({ customerId, name, spent: (before?.spent ?? 0) + total })
  }
})

const Stores = Projector.layerInline([Customers]).pipe(
  Layer.provide(EventStore.layerMemory),
  Layer.provideMerge(ProjectionStore.layerMemory),
  // In production use PgKeyStore.layer on a separate database.
  Layer.provideMerge(KeyStore.layerMemory)
)

const program = Effect.gen(function*() {
  const address = { street: "12 Mill Lane", town: "Leeds" }
  yield* CommandBus.dispatch(Order, { customerId: "c-1", name: "Ann Archer", address, total: 30 })
  yield* CommandBus.dispatch(Order, { customerId: "c-2", name: "Bob Baker", address, total: 20 })

  const { found } = yield* Erasure.erase("c-1")
  const { encrypted, plaintext = [] } = found
  yield* Console.log(
    `erased in ${encrypted.events} event, ${encrypted.documents} document; left in ${plaintext.length} places`
  )

  const store = yield* EventStore.EventStore
  yield* Stream.runForEach(
    store.readAll(OrderEvent),
    ({ event: { customerId, name, total } }) =>
      Console.log(`${customerId}: ${PersonalData.getOrElse(name, () => "(erased)")} paid ${total}`)
  )
  const ann = Option.getOrThrow(yield* ProjectionStore.get(Customers, "c-1"))
  yield* Console.log(`${PersonalData.isErased(ann.name) ? "an erased customer" : ann.name} has spent ${ann.spent}`)
  const again = CommandBus.dispatch(Order, { customerId: "c-1", name: "Ann Archer", address, total: 5 })
  yield* Effect.catchReason(
    again,
    "EventStoreError",
    "SubjectErased",
    ({ subject }) => Console.log(`the order of ${subject} is rejected, because its key was deleted`)
  )
})

if (process.argv[1] === import.meta.filename) {
  await Effect.runPromise(program.pipe(Effect.provide(Aggregate.layer(Customer)), Effect.provide(Stores)))
}
