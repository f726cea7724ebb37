/** Executes the code of docs/operations.md. */
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Layer, Option, Schedule, Schema, Stream } from "effect"
import {
  Checkpoints,
  DeliveryAudit,
  Event,
  EventStore,
  Generations,
  Health,
  Parking,
  Projection,
  ProjectionStore,
  Projector,
  Rebuild,
  Subscription
} from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"
import {
  append,
  Mails,
  memory,
  OrderCancelled,
  OrderEvent,
  OrderMail,
  OrderShipped,
  place,
  sent,
  Sold,
  unreachable
} from "./orders.ts"

/** Waits until this many streams are parked. */
const untilParked = (count: number) =>
  Parking.list(OrderMail).pipe(
    Effect.repeat({ until: ({ items }) => items.length === count, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("30 seconds")
  )

layer(Mails.pipe(Layer.provideMerge(memory)), { excludeTestServices: true })("a subscription", (it) => {
  it.effect("parks the streams of events on which it fails", () =>
    Effect.gen(function*() {
      // Another file may have run in this process before.
      sent.clear()
      yield* place("1", "bob")
      yield* append(OrderShipped.make({ orderId: "1", customer: "bob" }))
      yield* place("2", "cem")
      yield* place("3", "ann")
      yield* untilParked(2)
      unreachable.delete("bob")

      const { items: parked } = yield* Parking.list(OrderMail)
      assert.deepStrictEqual(parked.map(({ key }) => key), ["Order-1", "Order-2"])
      const { events, history, waiting } = yield* Parking.inspect(OrderMail, "Order-1")
      assert.deepStrictEqual(waiting.map(({ type }) => type), ["OrderShipped"])
      const retried = yield* Parking.retry(OrderMail, "Order-1", { actor: "ann", reason: "address corrected" })
      assert.deepStrictEqual([retried.outcome, retried.parked], ["retried", undefined])
      const skipped = yield* Parking.skip(OrderMail, "Order-2", { actor: "ann", reason: "customer has no address" })
      assert.strictEqual(skipped.outcome, "skipped")
      assert.match(history[0]?.detail ?? "", /no mail can be sent to bob$/)
      assert.strictEqual(events._tag, "Success")

      yield* ProjectionStore.awaitPosition(
        { id: OrderMail.id, lifecycle: "async" },
        yield* EventStore.head,
        "10 seconds"
      )
      assert.sameMembers(Array.from(sent.values()), [
        "ann: 3 is placed",
        "bob: 1 is placed",
        "bob: 1 is on its way"
      ])
      const audit = yield* DeliveryAudit.run(OrderMail)
      assert.deepStrictEqual(audit.partitions.map(({ applied, skipped }) => [applied, skipped]), [[3, 1]])

      const lastShared = yield* EventStore.head
      const reset = yield* Checkpoints.reset(OrderMail, lastShared)
      assert.deepStrictEqual(reset.from.map(({ position }) => position), [lastShared])
    }))
})

layer(Mails.pipe(Layer.provideMerge(memory)), { excludeTestServices: true })("many parked keys", (it) => {
  it.effect("are retried in bulk", () =>
    Effect.gen(function*() {
      unreachable.add("bob")
      yield* place("4", "bob")
      yield* place("5", "cem")
      yield* untilParked(2)
      unreachable.delete("bob")

      const outcome = yield* Parking.retryAll(OrderMail, { actor: "ann", error: "no mail can be sent to" })
      assert.deepStrictEqual(outcome, { requested: 2, retried: 1, failed: 1, skipped: 0, parkedLater: 0 })
      const { parked, requested } = yield* Parking.count(OrderMail)
      assert.deepStrictEqual([parked, requested], [1, 0])
      assert.strictEqual(yield* Parking.withdraw(OrderMail), 0)
    }))
})

layer(Mails.pipe(Layer.provideMerge(memory)), { excludeTestServices: true })(
  "a parked event with a wrong fact",
  (it) => {
    it.effect("is corrected by other events, and skipped", () =>
      Effect.gen(function*() {
        sent.clear()
        unreachable.add("amn")
        yield* place("6", "amn")
        yield* untilParked(1)

        const [wrong] = (yield* Parking.list(OrderMail)).items
        yield* append(OrderCancelled.make({ orderId: "6", customer: "amn" }))
        const { position } = yield* place("7", "ann")
        const corrected = yield* Parking.skip(OrderMail, "Order-6", {
          position: wrong!.position,
          actor: "ben",
          reason: `wrong customer; the order at position ${position} replaces it`
        })
        assert.deepStrictEqual([corrected.outcome, corrected.parked], ["skipped", undefined])
        const end = yield* EventStore.head
        yield* ProjectionStore.awaitPosition({ id: OrderMail.id, lifecycle: "async" }, end, "10 seconds")
        assert.deepStrictEqual(Array.from(sent.values()), ["ann: 7 is placed"])
        const { items } = yield* Parking.history(OrderMail, { key: "Order-6" })
        const entry = items.at(-1)
        assert.deepStrictEqual([entry?.action, entry?.actor, entry?.detail], [
          "skipped",
          "ben",
          `wrong customer; the order at position ${position} replaces it`
        ])
        assert.strictEqual((yield* DeliveryAudit.run(OrderMail)).status, "complete")
      }))
  }
)

const Weighed = Schema.TaggedUnion({ ParcelWeighed: { parcelId: Schema.String, grams: Schema.Int } }).pipe(
  Event.upcasters({
    ParcelWeighed: Event.from({ parcelId: Schema.String, grams: Schema.Number })
      .toCurrent(({ grams, parcelId }) => ({ parcelId, grams: Math.round(grams) }))
  })
)

/** The release before it, and a program that wrote another form. */
const Earlier = Schema.TaggedUnion({ ParcelWeighed: { parcelId: Schema.String, grams: Schema.Int } })
const Foreign = Schema.TaggedUnion({ ParcelWeighed: { parcelId: Schema.String, grams: Schema.Number } })

layer(memory, { excludeTestServices: true })("a parked event of a wrong form", (it) => {
  it.effect("is repaired by an upcaster, and retried", () =>
    Effect.gen(function*() {
      const grams: Array<number> = []
      const subscribe = (events: typeof Earlier | typeof Weighed) =>
        Subscription.make("weights", {
          events,
          handle: { ParcelWeighed: (event) => Effect.sync(() => grams.push(event.grams)) }
        })
      const [earlier, repaired] = [subscribe(Earlier), subscribe(Weighed)]
      yield* EventStore.append(Foreign, "Parcel-1", [{ _tag: "ParcelWeighed", parcelId: "1", grams: 12.6 }])
      yield* EventStore.append(Earlier, "Parcel-1", [{ _tag: "ParcelWeighed", parcelId: "1", grams: 14 }])
      yield* Parking.list(earlier).pipe(
        Effect.repeat({ until: ({ items }) => items.length === 1, schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("30 seconds"),
        Effect.provide(Subscription.layer([earlier]))
      )
      const { outcome } = yield* Parking.retry(repaired, "Parcel-1", { actor: "ben" }).pipe(
        Effect.provide(Subscription.layer([repaired]))
      )
      assert.deepStrictEqual([outcome, grams], ["retried", [13, 14]])
      assert.strictEqual((yield* DeliveryAudit.run(repaired)).status, "complete")
    }))
})

const PlacedMail = Subscription.make("placed-mail", {
  events: Schema.TaggedUnion({ OrderPlaced: OrderEvent.cases.OrderPlaced.fields }),
  where: { streamPrefix: "Order-" },
  unknownTypes: "stop",
  handle: { OrderPlaced: () => Effect.void }
})

layer(memory, { excludeTestServices: true })("an unknown type", (it) => {
  it.effect("is named by health", () =>
    Effect.gen(function*() {
      yield* place("1", "ann")
      yield* append(OrderShipped.make({ orderId: "1", customer: "ann" }))

      const { consumers: [oldMail] } = yield* Health.of([PlacedMail])
      assert.deepStrictEqual(oldMail?.unknownTypes.map(({ events, type }) => [type, events]), [["OrderShipped", 1]])
    }))
})

const OpenOrders = Projection.make("open-orders", {
  lifecycle: "inline",
  events: OrderEvent,
  document: Schema.Int,
  key: (event) => event.customer,
  evolve: { OrderPlaced: (open = 0) => open + 1, OrderShipped: Projection.ignore, OrderCancelled: Projection.ignore }
})

layer(memory, { excludeTestServices: true })("an inline projection", (it) => {
  it.effect("lacks the events of a program without it, until it is repaired", () =>
    Effect.gen(function*() {
      yield* Effect.provide(place("1", "ann"), Projector.layerInline([OpenOrders]))
      yield* place("2", "ann")

      const incomplete = (yield* Projector.inlineProjections).filter(({ missedFrom }) => missedFrom !== undefined)
      const lines = incomplete.map(({ missedFrom, projection }) => `${projection} lacks event ${missedFrom}`)
      const repaired = yield* Projector.repairInline(OpenOrders)
      assert.deepStrictEqual([lines, repaired], [["open-orders@1 lacks event 2"], true])
      assert.deepStrictEqual(yield* ProjectionStore.get(OpenOrders, "ann"), Option.some(2))

      const wasKnown = yield* Projector.retireInline(OpenOrders.id)
      assert.isTrue(wasKnown)
    }))
})

const soldOf = (version: number) =>
  Projection.make("sold", {
    version,
    events: OrderEvent,
    document: Schema.Int,
    key: (event) => event._tag === "OrderPlaced" ? event.lines.map(({ sku }) => sku) : [],
    evolve: {
      OrderPlaced: (sold = 0) => sold + 1,
      OrderShipped: Projection.ignore,
      OrderCancelled: Projection.ignore
    }
  })

layer(memory, { excludeTestServices: true })("a retired version", (it) => {
  it.effect("is listed and discarded", () =>
    Effect.gen(function*() {
      const { position } = yield* place("1", "ann", [{ sku: "tea", quantity: 5 }])
      for (const projection of [soldOf(1), soldOf(3)]) {
        yield* ProjectionStore.awaitPosition(projection, position, "10 seconds").pipe(
          Effect.provide(Projector.layer([projection]))
        )
      }

      const all = yield* Generations.list()
      const retired = all.filter(({ newerVersion, owners, status }) =>
        newerVersion !== undefined && owners.length === 0 && status !== "discarded"
      )
      assert.deepStrictEqual(retired.map(({ documents, generation }) => [generation, documents.count]), [["sold@1", 1]])
      for (const { generation } of retired) yield* Generations.discard(generation, { evenIfActive: true })

      const error = yield* Effect.flip(ProjectionStore.get(soldOf(1), "tea"))
      assert.include(error.message, `Generation "sold@1" was discarded`)
      assert.deepStrictEqual(yield* ProjectionStore.get(soldOf(3), "tea"), Option.some(1))
    }))
})

/** The first release of `Sold`, with a mistake. */
const SoldBefore: typeof Sold = Projection.make("sold", {
  events: OrderEvent,
  document: Schema.Int,
  partitions: 4,
  key: (event) => event._tag === "OrderPlaced" ? event.lines.map(({ sku }) => sku) : [],
  evolve: {
    OrderPlaced: (sold = 0) => sold + 1,
    OrderShipped: Projection.ignore,
    OrderCancelled: Projection.ignore
  }
})

describe("a wrong projection", () => {
  it.live("is rebuilt, and rolled back", () =>
    Effect.gen(function*() {
      const { position } = yield* place("1", "ann", [{ sku: "tea", quantity: 5 }])
      yield* ProjectionStore.awaitPosition(SoldBefore, position, "10 seconds").pipe(
        Effect.provide(Projector.layer([SoldBefore]))
      )
      yield* Layer.build(Projector.layer([Sold]))
      let screen = ""
      const commit = "8363141"
      const write = (text: string) => screen += text

      const progress = yield* Rebuild.rebuild(Sold, { build: commit, compare: true }).pipe(
        Stream.tap((progress) => Effect.sync(() => write(`\r${Rebuild.formatProgress(progress)}\x1b[K`))),
        Stream.runCollect
      )
      const differences = progress.flatMap(({ compared }) => compared?.differences ?? [])
      assert.deepStrictEqual(differences, [{ _tag: "Different", key: "tea", active: 1, rebuilt: 5 }])
      assert.strictEqual(progress.at(-1)?.phase, "cut-over")
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(5))

      assert.match(screen, /sold@1~1 █+ 100 % {2}1 of 1 events {2}cut-over/)

      const back = yield* Rebuild.rollback(Sold)
      assert.deepStrictEqual(back, { active: "sold@1", previous: "sold@1~1" })
      assert.deepStrictEqual(yield* ProjectionStore.get(Sold, "tea"), Option.some(1))
      yield* Rebuild.rollback(Sold)
      yield* Rebuild.discard(Sold, "sold@1")

      const audit = yield* DeliveryAudit.run(Sold)
      assert.deepStrictEqual([audit.generation, audit.status], ["sold@1~1", "complete"])
    }).pipe(Effect.scoped, Effect.provide(memory)))
})

describe("a projection", () => {
  it.live("has a complete delivery log, and is healthy", () =>
    Effect.gen(function*() {
      yield* Layer.build(Projector.layer([Sold]))
      const { position } = yield* place("1", "ann", [{ sku: "tea", quantity: 1 }])
      yield* ProjectionStore.awaitPosition(Sold, position, "10 seconds")

      const audit = yield* DeliveryAudit.run(Sold)
      assert.strictEqual(audit.status, "complete")
      const health = yield* Health.of([Sold])
      assert.notStrictEqual(health.status, "red", health.reasons.join("; "))
      const { inFlight, lag } = health.log
      assert.deepStrictEqual([inFlight, lag.events], [[], 0])
      const [sold] = health.consumers
      assert.strictEqual(sold?.lag.events, 0)
    }).pipe(Effect.scoped, Effect.provide(memory)))
})

describe("deadlines", () => {
  it.live("are options of the layers", () =>
    Effect.gen(function*() {
      const Stores = PgStores.layerWith({ statementTimeout: "5 seconds", lockTimeout: "2 seconds" })
      yield* Layer.build(Stores)
    }).pipe(Effect.scoped, Effect.provide(layerPostgres())))
})
