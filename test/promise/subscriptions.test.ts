/** Subscriptions of an app, in memory and on PGlite. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, EventStoreError, LogPosition, Position, ProjectionStore } from "evsrc"
import { Evsrc } from "evsrc/promise"
import { setImmediate as immediate } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { internals } from "../../src/core/internals.ts"
import * as Orders from "../http/Orders.ts"
import { memory } from "../http/Server.ts"
import { backEnds, collect, layer, pay, place, rejection, type Shop, until, withShop } from "./Shop.ts"

const ended = { done: true, value: undefined } as const

/** Takes values of a subscription, which then goes on. */
const take = async <A>(subscription: Evsrc.Subscription<A>, count: number): Promise<ReadonlyArray<A>> => {
  const values: Array<A> = []
  while (values.length < count) {
    const next = await subscription.next()
    if (next.done === true) throw new Error("the subscription has ended")
    values.push(next.value)
  }
  return values
}

const idOf = ({ event }: { readonly event: typeof Orders.OrderEvent.Type }) => event.orderId

describe.each(backEnds)("a subscription to events on %s", (_, stores) => {
  it(
    "returns past and future events in the order of the log",
    withShop(stores, async (app) => {
      await place(app, "o1")
      const events = app.events(Orders.OrderEvent)
      const first = await take(events, 1)
      const later = take(events, 2)
      await place(app, "o2")
      await pay(app, "o1")
      assert.deepStrictEqual([...first, ...await later].map(idOf), ["o1", "o2", "o1"])
      await events.return()
    })
  )

  it(
    "starts after a receipt, a cursor or a position, and resumes without a gap",
    withShop(stores, async (app) => {
      const { cursor, receipt } = await place(app, "o1")
      await place(app, "o2")
      for (const after of [receipt, cursor, receipt.position]) {
        const found = await collect(app.events(Orders.OrderEvent, { after, follow: false }))
        assert.deepStrictEqual(found.map(idOf), ["o2"])
        assert.strictEqual(LogPosition.format(LogPosition.ofEvent(found[0]!)).split("_")[0], "2")
      }
    })
  )

  it(
    "returns the events of one stream, and none of a stream with a longer name",
    withShop(stores, async (app) => {
      for (const orderId of ["o1", "o10", "o2"]) await place(app, orderId)
      await pay(app, "o1")
      const found = await collect(
        app.events(Orders.OrderEvent, { stream: "Order-o1", follow: false, pageSize: 1 })
      )
      assert.deepStrictEqual(found.map(({ event }) => event._tag), ["OrderPlaced", "OrderPaid"])
    })
  )

  it(
    "rejects a cursor of another log with the typed error, and ends",
    withShop(stores, async (app) => {
      await place(app, "o1")
      const after = { position: Position.make(1n), eventId: "00000000-0000-4000-8000-000000000000" }
      const events = app.events(Orders.OrderEvent, { after })
      const error = await rejection(events.next())
      assert.instanceOf(error, EventStoreError)
      assert.strictEqual((error as EventStoreError).reason._tag, "LogDiverged")
      assert.deepStrictEqual(await events.next(), ended)
    })
  )

  it(
    "ends a pending next by return, by break and by the signal",
    withShop(stores, async (app) => {
      const { cursor } = await place(app, "o1")
      const returned = app.events(Orders.OrderEvent, { after: cursor })
      const pending = [returned.next(), returned.next()]
      // The read begins in a microtask.
      await immediate()
      assert.deepStrictEqual(await returned.return(), ended)
      assert.deepStrictEqual(await Promise.all(pending), [ended, ended])

      const broken = app.events(Orders.OrderEvent)
      for await (const recorded of broken) {
        assert.strictEqual(idOf(recorded), "o1")
        break
      }
      assert.deepStrictEqual(await broken.next(), ended)

      const controller = new AbortController()
      const aborted = app.events(Orders.OrderEvent, { after: cursor, signal: controller.signal })
      const waiting = aborted.next()
      await immediate()
      controller.abort()
      assert.deepStrictEqual(await waiting, ended)
      const late = app.events(Orders.OrderEvent, { signal: controller.signal })
      assert.deepStrictEqual(await late.next(), ended)
    })
  )
})

describe.each(backEnds)("a subscription to documents on %s", (_, stores) => {
  it(
    "returns the current state, and the state after each change",
    withShop(stores, async (app) => {
      const orders = app.watch(Orders.OrdersProjection, "o1")
      assert.deepStrictEqual(await take(orders, 1), [undefined])
      const placed = take(orders, 1)
      await place(app, "o1")
      assert.deepStrictEqual((await placed).map((order) => order?.paid), [false])
      const paid = take(orders, 1)
      await pay(app, "o1")
      assert.deepStrictEqual((await paid).map((order) => order?.paid), [true])
      await orders.return()
    })
  )

  it(
    "waits until the read model has reached the caller's own write",
    withShop(stores, async (app) => {
      const { cursor } = await place(app, "o1")
      const options = { after: cursor, timeout: "1 minute" } as const
      const orders = app.watch(Orders.OrdersProjection, "o1", options)
      assert.deepStrictEqual((await take(orders, 1)).map((order) => order?.amount), [5])
      const pages = app.watchList(Orders.OrdersProjection, { where: { paid: false } }, options)
      const [page] = await take(pages, 1)
      assert.deepStrictEqual(page?.items.map(({ orderId }) => String(orderId)), ["o1"])
      assert.isUndefined(page?.next)
    })
  )
})

/** Stores in memory that count the reads of the log by subscriptions. */
const counting = (count: { reads: number }) =>
  Layer.effect(
    EventStore.EventStore,
    Effect.flatMap(EventStore.EventStore, ({ [internals]: { driver } }) =>
      EventStore.make({
        ...driver,
        readAll: (page) =>
          Effect.suspend(() => {
            if (page.limit === 2) count.reads++
            return driver.readAll(page)
          })
      }))
  ).pipe(Layer.provide(EventStore.layerMemory), Layer.merge(ProjectionStore.layerMemory))

describe("a subscription", () => {
  it("reads no further while its consumer does not call next", async () => {
    const count = { reads: 0 }
    await withShop(counting(count), async (app) => {
      for (const orderId of ["o1", "o2", "o3", "o4", "o5"]) await place(app, orderId)
      const events = app.events(Orders.OrderEvent, { pageSize: 2 })
      assert.strictEqual(count.reads, 0)
      await take(events, 2)
      for (let i = 0; i < 20; i++) await immediate()
      assert.strictEqual(count.reads, 1)
      await take(events, 1)
      assert.strictEqual(count.reads, 2)
      await events.return()
    })()
  })

  it(
    "settles overlapping calls of next in their order",
    withShop(memory, async (app) => {
      for (const orderId of ["o1", "o2", "o3"]) await place(app, orderId)
      const events = app.events(Orders.OrderEvent, { pageSize: 1 })
      const found = await Promise.all([events.next(), events.next(), events.next()])
      assert.deepStrictEqual(found.map(({ value }) => String(value?.event.orderId)), ["o1", "o2", "o3"])
    })
  )

  it("ends at the end of an await using block", async () => {
    await withShop(memory, async (app) => {
      const { cursor } = await place(app, "o1")
      let pending: Promise<unknown>
      {
        await using events = app.events(Orders.OrderEvent, { after: cursor })
        pending = events.next()
        await immediate()
      }
      assert.deepStrictEqual(await pending, ended)
    })()
  })

  it("is garbage-collected when its consumer drops it between two events", async () => {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("gc") as () => void
    const app = await Evsrc.start(layer(memory))
    const forget = async (app: Shop) => {
      await place(app, "o1")
      const { signal } = controller
      const events = app.events(Orders.OrderEvent, { signal })
      await events.next()
      return new WeakRef(events)
    }
    // A signal that lives longer than the subscription.
    const controller = new AbortController()
    const forgotten = await forget(app)
    await until(() => {
      collect()
      return forgotten.deref() === undefined
    })
    controller.abort()
    await app.close()
  })
})
