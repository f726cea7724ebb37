/**
 * Starts the app of the orders of test/http over a back end.
 */
import { Effect, Layer, Logger } from "effect"
import type { EventStore, ProjectionStore } from "evsrc"
import { PgStores } from "evsrc/pg"
import { Evsrc } from "evsrc/promise"
import * as Orders from "../http/Orders.ts"
import { memory } from "../http/Server.ts"
import { layerPglite } from "../support/Database.ts"

export type Stores = Layer.Layer<EventStore.EventStore | ProjectionStore.ProjectionStore, unknown>

/** Deadlines that a busy machine meets too. */
const patient = { statementTimeout: "1 minute", lockTimeout: "1 minute", connectionTimeout: "1 minute" } as const

export const backEnds: ReadonlyArray<readonly [name: string, stores: Stores]> = [
  ["memory", memory],
  ["PGlite", PgStores.layerWith(patient).pipe(Layer.provide(layerPglite()))]
]

/** The orders over stores, which the app can use too. */
export const layer = (stores: Stores) => Orders.layer.pipe(Layer.provideMerge(stores), Layer.provide(Logger.layer([])))

export type Shop = Evsrc.AppOf<ReturnType<typeof layer>>

/** Runs a test with an app of its own, and closes it. */
export const withShop = (stores: Stores, test: (app: Shop) => Promise<void>) => async () => {
  const app = await Evsrc.start(layer(stores))
  try {
    await test(app)
  } finally {
    await app.close()
  }
}

export const id = (text: string) => Orders.OrderId.make(text)

export const place = async (app: Shop, orderId: string) => {
  const placed = await app.dispatch(Orders.PlaceOrder, { orderId: id(orderId), amount: 5 })
  if (!placed.ok) throw placed.error
  return placed
}

export const pay = async (app: Shop, orderId: string) => {
  const paid = await app.dispatch(Orders.PayOrder, { orderId: id(orderId), amount: 5 })
  if (!paid.ok) throw paid.error
  return paid
}

/** Returns the value with which a promise rejects. */
export const rejection = async (promise: Promise<unknown>): Promise<unknown> => {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return error
  }
  throw new Error(`the promise resolved to ${String(value)}`)
}

/** Waits until a condition holds, for at most 30 seconds. */
export const until = async (isMet: () => boolean | Promise<boolean>): Promise<void> => {
  for (let i = 0; i < 3_000; i++) {
    if (await isMet()) return
    await Effect.runPromise(Effect.sleep("10 millis"))
  }
  throw new Error("the condition was not met within 30 seconds")
}

/** Returns all values of a subscription that ends. */
export const collect = async <A>(subscription: Evsrc.Subscription<A>): Promise<ReadonlyArray<A>> => {
  const values: Array<A> = []
  for await (const value of subscription) values.push(value)
  return values
}
