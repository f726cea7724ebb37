/**
 * The gauges of the pools that the stores of a program use. They are read when the metrics are, and cost nothing before.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import * as Metrics from "../../core/telemetry/Metrics.ts"
import { isEmbedded, sizeOf, useOf } from "./ClientPool.ts"

/** The clients of a registry of metrics, each with the number of its stores. */
interface Pools {
  readonly stores: Map<SqlClient, number>
  readonly remove: () => void
}

const registered = new WeakMap<object, Pools>()

/**
 * Adds the pool of a client to the gauges, for as long as the scope lives.
 *
 * @since 0.1.0
 * @category combinators
 */
export const register = (sql: SqlClient): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) => {
    const registry = Context.get(context, Metric.MetricRegistry)
    return Effect.acquireRelease(
      Effect.sync(() => {
        const { stores } = poolsOf(registry, context)
        stores.set(sql, (stores.get(sql) ?? 0) + 1)
      }),
      () => Effect.sync(() => release(registry, sql))
    )
  })

const poolsOf = (registry: object, context: Context.Context<never>): Pools => {
  const found = registered.get(registry)
  if (found !== undefined) return found
  const stores: Pools["stores"] = new Map()
  const sum = (of: (sql: SqlClient) => number) => () => ({
    value: Array.from(stores.keys()).reduce((total, sql) => total + of(sql), 0)
  })
  const registrations = [
    gauge(Metrics.poolConnections, context, sum((sql) => isEmbedded(sql) ? 1 : sizeOf(sql))),
    gauge(Metrics.poolInUse, context, sum((sql) => useOf(sql).inUse)),
    gauge(Metrics.poolWaiting, context, sum((sql) => useOf(sql).waiting))
  ]
  const pools = { stores, remove: () => registrations.forEach(({ remove }) => remove()) }
  registered.set(registry, pools)
  return pools
}

const gauge = (
  metric: Metric.Gauge<number>,
  context: Context.Context<never>,
  get: () => Metric.GaugeState<number>
): Metric.Registration => Metric.registerUnsafe(metric, context, { get, update: () => {}, modify: () => {} })

const release = (registry: object, sql: SqlClient): void => {
  const pools = registered.get(registry)
  const left = (pools?.stores.get(sql) ?? 1) - 1
  if (left > 0) pools?.stores.set(sql, left)
  else pools?.stores.delete(sql)
  if (pools?.stores.size !== 0) return
  pools.remove()
  registered.delete(registry)
}
