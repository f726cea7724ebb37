/** Start and close of an app whose layer or calls fail, hang or never end. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Scope } from "effect"
import { EventStore } from "evsrc"
import { AppClosed, Evsrc, LayerTimeout } from "evsrc/promise"
import { getEventListeners } from "node:events"
import * as Orders from "../http/Orders.ts"
import { memory } from "../http/Server.ts"
import { collect, id, layer, place, rejection, withShop } from "./Shop.ts"

class Released extends Context.Service<Released, ReadonlyArray<string>>()("test/promise/Released") {}

/** A layer that writes into `log` when it is released. */
const logging = (log: Array<string>) =>
  Layer.effect(
    Released,
    Effect.acquireRelease(Effect.succeed(log), () => Effect.sync(() => void log.push("released")))
  )

/** A layer whose release is this effect. */
const releasing = (release: Effect.Effect<void>) => Layer.effectDiscard(Effect.addFinalizer(() => release))

const gateOf = () => Promise.withResolvers<void>()

const uninterruptible = (gate: Promise<void>) => Effect.uninterruptible(Effect.promise(() => gate))

describe("a layer that is not built", () => {
  it("leaves nothing in the scope of the app", async () => {
    const log: Array<string> = []
    // The layers of Effect 4.1 release what they hold themselves; one of another origin may leave it to the scope.
    const failing: Layer.Layer<never, string> = Object.assign(Object.create(Layer.empty), {
      build: (_: Layer.MemoMap, scope: Scope.Scope) =>
        Effect.andThen(Scope.addFinalizer(scope, Effect.sync(() => void log.push("released"))), Effect.fail("no"))
    })
    assert.strictEqual(await rejection(Evsrc.start(failing)), "no")
    assert.deepStrictEqual(log, ["released"])
  })

  it("rejects with LayerTimeout when an acquire hangs", async () => {
    const log: Array<string> = []
    const hanging = Layer.effectDiscard(Effect.never).pipe(Layer.provideMerge(logging(log)))
    const error = await rejection(Evsrc.start(hanging, { timeout: 10 }))
    assert.instanceOf(error, LayerTimeout)
    assert.include(String(error), "not built within 10ms")
    assert.deepStrictEqual(log, ["released"])
  })

  it("releases what an acquire that cannot be interrupted returns after the timeout", async () => {
    const log: Array<string> = []
    const { promise, resolve } = gateOf()
    const late = Layer.effect(
      Released,
      Effect.acquireRelease(
        Effect.as(Effect.promise(() => promise), log),
        () => Effect.sync(() => void log.push("released"))
      )
    )
    const controller = new AbortController()
    const started = rejection(Evsrc.start(late, { signal: controller.signal }))
    controller.abort()
    resolve()
    assert.strictEqual(await started, controller.signal.reason)
    assert.deepStrictEqual(log, ["released"])
  })

  it("rejects with the error of the layer when its release dies", async () => {
    const error = new Error("no database")
    const dying = Layer.effectDiscard(Effect.fail(error)).pipe(Layer.provideMerge(releasing(Effect.die("late"))))
    assert.strictEqual(await rejection(Evsrc.start(dying)), error)
  })

  it("rejects with a RangeError when the timeout is not a duration", async () => {
    for (const timeout of [-1, NaN]) {
      assert.instanceOf(await rejection(Evsrc.start(Layer.empty, { timeout })), RangeError)
    }
  })
})

describe("close of a layer", () => {
  it("rejects with LayerTimeout when a release hangs, also at a second call", async () => {
    const { promise, resolve } = gateOf()
    const app = await Evsrc.start(releasing(Effect.promise(() => promise)))
    const closes = [app.close({ releaseTimeout: 10 }), app.close()]
    for (const error of await Promise.all(closes.map(rejection))) {
      assert.instanceOf(error, LayerTimeout)
      assert.include(String(error), "not released within 10ms")
    }
    resolve()
  })

  it("rejects with the Error of a finalizer, after the other finalizers", async () => {
    const log: Array<string> = []
    const defect = new Error("the finalizer has died")
    const app = await Evsrc.start(releasing(Effect.die(defect)).pipe(Layer.provideMerge(logging(log))))
    assert.strictEqual(await rejection(app.close()), defect)
    assert.deepStrictEqual(log, ["released"])
  })

  it("does nothing when a timeout is not a duration", async () => {
    const log: Array<string> = []
    const app = await Evsrc.start(logging(log))
    for (const options of [{ timeout: NaN }, { releaseTimeout: -1 }]) {
      assert.instanceOf(await rejection(app.close(options)), RangeError)
    }
    assert.strictEqual(await app.run(Effect.succeed(1)), 1)
    await app.close()
    assert.deepStrictEqual(log, ["released"])
  })

  it("ends the wait for a call that cannot be interrupted", async () => {
    const { promise, resolve } = gateOf()
    const log: Array<string> = []
    const app = await Evsrc.start(logging(log))
    const call = rejection(app.run(uninterruptible(promise)))
    await app.close({ timeout: 10 })
    assert.deepStrictEqual(log, ["released"])
    const error = await call
    assert.isTrue(error instanceof AppClosed && error.wasInFlight)
    resolve()
  })

  it("ends in bounded time when a call of the app waits for it", async () => {
    const app = await Evsrc.start(memory)
    const error = await rejection(app.run(Effect.promise(() => app.close({ timeout: 10 }))))
    assert.instanceOf(error, AppClosed)
    await app.close()
  })

  it("waits for commands in flight, which all succeed", async () => {
    await withShop(memory, async (app) => {
      const head = Effect.flatMap(EventStore.EventStore, ({ head }) => head)
      const dispatched = Array.from({ length: 100 }, (_, i) => place(app, `o${i}`))
      const probe = app.run(head)
      const closed = app.close({ timeout: "1 minute" })
      const late = await app.dispatch(Orders.PlaceOrder, { orderId: id("late"), amount: 5 })
      assert.isTrue(!late.ok && late.error instanceof AppClosed && !late.error.wasInFlight)
      const positions = (await Promise.all(dispatched)).map(({ receipt }) => receipt.position)
      assert.strictEqual(new Set(positions).size, 100)
      await Promise.all([closed, probe])
    })()
  })
})

describe("the signal of a call", () => {
  it(
    "ends the wait for code that cannot be interrupted",
    withShop(memory, async (app) => {
      const { promise, resolve } = gateOf()
      const controller = new AbortController()
      const ends = { ended: false }
      const effect = Effect.onExit(uninterruptible(promise), () => Effect.sync(() => void (ends.ended = true)))
      const call = rejection(app.run(effect, { signal: controller.signal }))
      controller.abort()
      assert.strictEqual(await call, controller.signal.reason)
      assert.isFalse(ends.ended)
      const closed = app.close({ timeout: "1 minute" })
      resolve()
      await closed
      assert.isTrue(ends.ended)
    })
  )

  it(
    "has no listener of ended calls and subscriptions",
    withShop(memory, async (app) => {
      const { signal } = new AbortController()
      await Promise.all(
        Array.from(
          { length: 20 },
          (_, i) => app.dispatch(Orders.PlaceOrder, { orderId: id(`o${i}`), amount: 5 }, { signal })
        )
      )
      await collect(app.events(Orders.OrderEvent, { signal, follow: false }))
      await rejection(app.run(Effect.fail("no"), { signal }))
      assert.lengthOf(getEventListeners(signal, "abort"), 0)
    })
  )

  it(
    "changes nothing after the end of the call",
    withShop(memory, async (app) => {
      const controller = new AbortController()
      const call = app.run(Effect.succeed(1), { signal: controller.signal })
      controller.abort()
      assert.strictEqual(await call, 1)
    })
  )
})

describe("a consumer", () => {
  it(
    "that throws ends its subscription",
    withShop(memory, async (app) => {
      await place(app, "o1")
      const events = app.events(Orders.OrderEvent)
      const error = new Error("the consumer has failed")
      const consume = async () => {
        for await (const recorded of events) {
          throw Object.assign(error, { event: recorded.event._tag })
        }
      }
      assert.strictEqual(await rejection(consume()), error)
      assert.deepStrictEqual(await events.next(), { done: true, value: undefined })
    })
  )

  it("that never reads does not delay close", async () => {
    const app = await Evsrc.start(layer(memory))
    await place(app, "o1")
    app.events(Orders.OrderEvent)
    await app.events(Orders.OrderEvent).next()
    await app.close({ timeout: "10 minutes" })
  })
})

it(
  "10,000 concurrent commands all succeed",
  withShop(memory, async (app) => {
    const results = await Promise.all(
      Array.from({ length: 10_000 }, (_, i) => app.dispatch(Orders.PlaceOrder, { orderId: id(`o${i}`), amount: 5 }))
    )
    assert.lengthOf(results.filter(({ ok }) => ok), 10_000)
    assert.lengthOf(await collect(app.events(Orders.OrderEvent, { follow: false })), 10_000)
  })
)
