/** The program of the soak: orders with an asynchronous and an inline projection and a subscription, and courses with decisions. */
import { Effect, Layer, Result, Schema } from "effect"
// Not by name: bench is a package of its own, in whose scope there is no "evsrc".
import {
  Aggregate,
  Command,
  Decision,
  Event,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  Subscription
} from "../../src/index.ts"
import { PgStores } from "../../src/pg/index.ts"

const order = { orderId: Schema.NonEmptyString, customer: Schema.String, amount: Schema.Int }
export const OrderEvent = Schema.TaggedUnion({ OrderNoted: order })
export const NoteOrder = Command.make("NoteOrder", { payload: order })
export const Order = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Int,
  events: OrderEvent,
  commands: [NoteOrder]
}).decider({
  initial: 0,
  evolve: { OrderNoted: (total, { amount }) => total + amount },
  decide: { NoteOrder: (_, command) => [OrderEvent.cases.OrderNoted.make(command)] }
})

export const CourseEvent = Schema.TaggedUnion({
  StudentEnrolled: { courseId: Schema.String, studentId: Schema.String }
}).pipe(Event.tags({ course: "courseId", student: "studentId" }))
export class Full extends Schema.TaggedError<Full>()("Full", {}) {}
export const Enrol = Command.make("Enrol", {
  payload: { courseId: Schema.String, studentId: Schema.String },
  error: Full
})
export const capacity = 30
const enrol = Decision.make(Enrol, {
  events: CourseEvent,
  models: ({ courseId }) => ({
    taken: Decision.model({
      events: CourseEvent,
      tags: { course: courseId },
      initial: 0,
      evolve: { StudentEnrolled: (taken) => taken + 1 }
    })
  }),
  decide: ({ taken }, command) =>
    taken >= capacity ? Result.fail(new Full()) : [CourseEvent.cases.StudentEnrolled.make(command)]
})

const Document = Schema.Struct({ events: Schema.Int, total: Schema.Int })
interface Totals extends Schema.Schema.Type<typeof Document> {}
const added = (before: Totals | undefined, { amount }: { readonly amount: number }): Totals => ({
  events: (before?.events ?? 0) + 1,
  total: (before?.total ?? 0) + amount
})

export const Orders = Projection.make("orders", {
  events: OrderEvent,
  document: Document,
  key: ({ orderId }) => orderId,
  partitions: 2,
  evolve: { OrderNoted: added }
})
export const Customers = Projection.make("customers", {
  events: OrderEvent,
  document: Document,
  lifecycle: "inline",
  key: ({ customer }) => customer,
  evolve: { OrderNoted: added }
})

export const GetOrder = Query.make("GetOrder", { payload: { orderId: Schema.String }, success: Document })
const answering = QueryBus.handler(GetOrder, ({ orderId }) =>
  Effect.map(
    ProjectionStore.ProjectionStore.use((store) => store.get(Orders, orderId)),
    (found): Totals => found._tag === "Some" ? found.value : { events: 0, total: 0 }
  ))

/** The ids of the events that the subscription has handled, which grow with the log, so only the numbers stay. */
export const handled = { events: 0, total: 0 }
export const Notified = Subscription.make("notified", {
  events: OrderEvent,
  handle: {
    OrderNoted: ({ amount }) =>
      Effect.sync(() => {
        handled.events++
        handled.total += amount
      })
  }
})

/** Everything that runs in the process of the soak, above the client. */
export const Program = Layer.mergeAll(
  Aggregate.layer(Order),
  Decision.layer(enrol),
  answering,
  Projector.layer([Orders]),
  Subscription.layer([Notified], { batchSize: 500 })
).pipe(Layer.provideMerge(Projector.layerInline([Customers])), Layer.provideMerge(PgStores.layer))
