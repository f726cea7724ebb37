/** Commands, queries and effects of an app, in memory and on PGlite. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { EventStore, InvalidCommand, InvalidQuery, ProjectionStore, StoreUnavailable } from "evsrc"
import { AppClosed, Evsrc } from "evsrc/promise"
import { setImmediate as immediate } from "node:timers/promises"
import * as Orders from "../http/Orders.ts"
import { memory } from "../http/Server.ts"
import { backEnds, collect, id, place, rejection, withShop } from "./Shop.ts"

describe.each(backEnds)("an app on %s", (_, stores) => {
  it(
    "returns the receipt of a command, and a query reads it",
    withShop(stores, async (app) => {
      const placed = await app.dispatch(Orders.PlaceOrder, { orderId: id("o1"), amount: 5 })
      assert.isTrue(placed.ok)
      if (!placed.ok) return
      assert.strictEqual(placed.receipt.version, 1)
      assert.match(placed.cursor, /^1_[0-9a-f-]{36}$/)
      for (const after of [placed.receipt, placed.cursor]) {
        const order = await app.ask(Orders.GetOrder, { orderId: id("o1") }, { after, timeout: "1 minute" })
        assert.deepStrictEqual(order, { ok: true, value: { orderId: id("o1"), amount: 5, paid: false } })
      }
    })
  )

  it(
    "returns declared errors and errors of the bus as results",
    withShop(stores, async (app) => {
      const unknown = await app.dispatch(Orders.PayOrder, { orderId: id("o1"), amount: 5 })
      assert.isFalse(unknown.ok)
      if (!unknown.ok) assert.instanceOf(unknown.error, Orders.OrderNotFound)
      const invalid = await app.dispatchUnknown(Orders.PayOrder, { orderId: "o1", amount: -1, note: "?" })
      assert.isFalse(invalid.ok)
      if (invalid.ok) return
      assert.instanceOf(invalid.error, InvalidCommand)
      for (const path of [`at ["amount"]`, `at ["note"]`]) assert.include(invalid.error.message, path)
      const query = await app.askUnknown(Orders.GetOrder, {})
      assert.isTrue(!query.ok && query.error instanceof InvalidQuery)
    })
  )

  it(
    "returns the first receipt for a repeated command id",
    withShop(stores, async (app) => {
      const command = { orderId: "o1", amount: 5 }
      const options = { commandId: "k1", actor: "ann" }
      const first = await app.dispatchUnknown(Orders.PlaceOrder, command, options)
      const second = await app.dispatchUnknown(Orders.PlaceOrder, command, options)
      assert.isTrue(first.ok)
      assert.deepStrictEqual(second, first)
      const events = await collect(app.events(Orders.OrderEvent, { follow: false }))
      assert.deepStrictEqual(events.map(({ metadata }) => metadata.actor), ["ann"])
    })
  )

  it(
    "rejects a text that is not a cursor, and quotes it",
    withShop(stores, async (app) => {
      const asked = await app.ask(Orders.GetOrder, { orderId: id("o1") }, { after: "yesterday" })
      assert.isFalse(asked.ok)
      if (asked.ok) return
      assert.instanceOf(asked.error, InvalidQuery)
      assert.include(asked.error.message, `not a cursor: "yesterday"`)
      const events = app.events(Orders.OrderEvent, { after: "yesterday" })
      assert.include(String(await rejection(events.next())), `not a cursor: "yesterday"`)
      const documents = app.watch(Orders.OrdersProjection, "o1", { after: "yesterday" })
      assert.include(String(await rejection(documents.next())), `not a cursor: "yesterday"`)
    })
  )
})

describe("a call", () => {
  it(
    "rejects with the Error that a decider throws",
    withShop(memory, async (app) => {
      const died = app.dispatch(Orders.PlaceOrder, { orderId: id("o1"), amount: 5, note: "explode" })
      const error = await rejection(died)
      assert.instanceOf(error, Error)
      assert.include(String(error), "the secret of the decider")
    })
  )

  it(
    "rejects with an Error whose cause is the thrown value",
    withShop(memory, async (app) => {
      const error = await rejection(app.run(Effect.die("no Error")))
      assert.instanceOf(error, Error)
      assert.strictEqual((error as Error).cause, "no Error")
    })
  )

  it(
    "rejects with the reason of its signal, and interrupts the effect",
    withShop(memory, async (app) => {
      const seen = { interrupted: false }
      const controller = new AbortController()
      const effect = Effect.onInterrupt(Effect.never, () => Effect.sync(() => seen.interrupted = true))
      const rejected = rejection(app.run(effect, { signal: controller.signal }))
      const reason = new Error("the client has left")
      controller.abort(reason)
      assert.strictEqual(await rejected, reason)
      assert.isTrue(seen.interrupted)
    })
  )

  it(
    "does nothing when its signal is aborted already",
    withShop(memory, async (app) => {
      const signal = AbortSignal.abort()
      const options = { signal }
      const dispatched = app.dispatch(Orders.PlaceOrder, { orderId: id("o1"), amount: 5 }, options)
      assert.strictEqual(await rejection(dispatched), signal.reason)
      assert.deepStrictEqual(await collect(app.events(Orders.OrderEvent, { follow: false })), [])
    })
  )

  it(
    "rejects with an Error when the effect interrupts itself",
    withShop(memory, async (app) => {
      assert.include(String(await rejection(app.run(Effect.interrupt))), "interrupted itself")
    })
  )

  it(
    "runs an effect with the services of the layer, and rejects with its error",
    withShop(memory, async (app) => {
      await place(app, "o1")
      assert.strictEqual(await app.run(Effect.flatMap(EventStore.EventStore, ({ head }) => head)), 1n)
      const error = new Orders.OrderNotFound({ orderId: id("o9") })
      assert.strictEqual(await rejection(app.run(Effect.fail(error))), error)
    })
  )
})

class Released extends Context.Service<Released, ReadonlyArray<string>>()("test/promise/Released") {}

/** A layer that writes into `log` when it is released. */
const logging = (log: Array<string>) =>
  Layer.effect(
    Released,
    Effect.acquireRelease(Effect.succeed(log), () => Effect.sync(() => void log.push("released")))
  )

describe("Evsrc.start", () => {
  it("rejects with the typed error of the layer after it releases what it has built", async () => {
    const log: Array<string> = []
    const error = new StoreUnavailable({ message: "no database", cause: undefined })
    const failing = Layer.effectDiscard(Effect.fail(error)).pipe(Layer.provideMerge(logging(log)))
    assert.strictEqual(await rejection(Evsrc.start(failing)), error)
    assert.deepStrictEqual(log, ["released"])
  })

  it("rejects with the reason of its signal after it releases what it has built", async () => {
    const log: Array<string> = []
    const controller = new AbortController()
    const waiting = Layer.effectDiscard(Effect.never).pipe(Layer.provideMerge(logging(log)))
    const started = rejection(Evsrc.start(waiting, { signal: controller.signal }))
    controller.abort()
    assert.strictEqual(await started, controller.signal.reason)
    assert.deepStrictEqual(log, ["released"])
  })

  it("rejects with an Error when the layer dies", async () => {
    const error = await rejection(Evsrc.start(Layer.effectDiscard(Effect.die("no Error"))))
    assert.instanceOf(error, Error)
  })
})

describe("close", () => {
  it("waits for calls in flight, and then releases the layer", async () => {
    const log: Array<string> = []
    const app = await Evsrc.start(logging(log))
    const { promise, resolve } = Promise.withResolvers<void>()
    const call = app.run(Effect.map(Effect.promise(() => promise), () => log.push("called")))
    const closed = app.close({ timeout: "1 minute" })
    resolve()
    await Promise.all([call, closed])
    assert.deepStrictEqual(log, ["called", "released"])
  })

  it("interrupts a call that does not end in time, and reports its outcome as unknown", async () => {
    const app = await Evsrc.start(memory)
    const call = rejection(app.run(Effect.never))
    await app.close({ timeout: 10 })
    const error = await call
    assert.instanceOf(error, AppClosed)
    assert.isTrue((error as AppClosed).wasInFlight)
  })

  it("does not wait for a call that cannot be interrupted", async () => {
    const log: Array<string> = []
    const app = await Evsrc.start(logging(log))
    const call = rejection(app.run(Effect.uninterruptible(Effect.never)))
    await app.close({ timeout: 10 })
    assert.instanceOf(await call, AppClosed)
    assert.deepStrictEqual(log, ["released"])
  })

  it("releases the layer once, also after several calls", async () => {
    const log: Array<string> = []
    {
      await using app = await Evsrc.start(logging(log))
      assert.strictEqual(app.close(), app.close())
    }
    assert.deepStrictEqual(log, ["released"])
  })

  it(
    "makes later calls fail with AppClosed",
    withShop(memory, async (app) => {
      await place(app, "o1")
      const idle = app.events(Orders.OrderEvent)
      await idle.next()
      await app.close()
      const dispatched = await app.dispatch(Orders.PlaceOrder, { orderId: id("o2"), amount: 5 })
      assert.isTrue(!dispatched.ok && dispatched.error instanceof AppClosed && !dispatched.error.wasInFlight)
      const asked = await app.ask(Orders.GetOrder, { orderId: id("o1") })
      assert.isTrue(!asked.ok && asked.error instanceof AppClosed)
      assert.instanceOf(await rejection(app.run(Effect.void)), AppClosed)
      for (const subscription of [idle, app.events(Orders.OrderEvent)]) {
        assert.instanceOf(await rejection(subscription.next()), AppClosed)
        assert.deepStrictEqual(await subscription.next(), { done: true, value: undefined })
      }
    })
  )

  it(
    "ends a waiting subscription with AppClosed",
    withShop(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory), async (app) => {
      const waiting = rejection(app.events(Orders.OrderEvent).next())
      // The read begins in a microtask.
      await immediate()
      await app.close({ timeout: "10 minutes" })
      const error = await waiting
      assert.isTrue(error instanceof AppClosed && error.wasInFlight)
    })
  )
})
