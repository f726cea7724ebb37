/** Thousands of parked streams, and a stream with very many waiting events: each transaction is bounded, and all of it ends. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { DeliveryAudit, EventStore, Health, Parking, Position, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { inspect } from "node:util"
import { internals } from "../../src/core/internals.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"
import { scale } from "../support/scale.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
let isBroken = true
const Ticks = Projection.make("ticks", {
  partitionBy: "stream",
  events: Tick,
  document: Schema.Struct({ count: Schema.Int }),
  key: (_event, { stream }) => stream,
  evolve: {
    Ticked: (document, { n }) => {
      if (isBroken && n === 0) throw new Error("broken")
      return { count: (document?.count ?? 0) + 1 }
    }
  }
})

const append = (stream: string, numbers: ReadonlyArray<number>) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(Tick, stream, numbers.map((n) => Tick.cases.Ticked.make({ n })))
  )

/** Counts the calls of a driver, by name: each is a statement, or a few. */
const countingCalls = <D extends object>(driver: D, calls: Map<string, number>): D => {
  const counted = { ...driver }
  for (const name of Object.keys(driver)) {
    const call: unknown = Reflect.get(driver, name)
    const count = () => void calls.set(name, (calls.get(name) ?? 0) + 1)
    if (Effect.isEffect(call)) Reflect.set(counted, name, Effect.andThen(Effect.sync(count), call))
    if (typeof call !== "function") continue
    const apply: ProxyHandler<typeof call>["apply"] = (target, receiver, args) => {
      count()
      return Reflect.apply(target, receiver, args)
    }
    Reflect.set(counted, name, new Proxy(call, { apply }))
  }
  return counted
}

/** Counts the calls of the stores, the transactions that free keys, and the most keys and events that one of them has. */
const counting = Effect.gen(function*() {
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  const calls = new Map<string, number>()
  const counts = { transactions: 0, keys: 0, events: 0 }
  const counted = countingCalls(driver, calls)
  const store = yield* ProjectionStore.make({
    ...counted,
    unpark: (...args) => {
      counts.transactions++
      counts.keys = Math.max(counts.keys, args[2].length)
      return counted.unpark(...args)
    },
    recordLateDelivery: (...args) => {
      counts.events = Math.max(counts.events, args[2].length)
      return counted.recordLateDelivery(...args)
    }
  })
  const log = yield* EventStore.make(countingCalls((yield* EventStore.EventStore)[internals].driver, calls))
  /** Returns how many calls an effect makes, and which. */
  const callsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      calls.clear()
      const result = yield* effect
      return {
        result,
        calls: Array.from(calls.values()).reduce((sum, count) => sum + count, 0),
        byName: inspect(new Map(calls))
      }
    })
  return { counts, callsOf, store, log }
})

const numbers = { streams: scale(600, 20_000), waiting: scale(3_000, 100_000) }
const backEnds = {
  // So many that only more streams than one page has are worth a pass through the log.
  memory: { stores: Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory), streams: 1_300, waiting: 55_000 },
  PostgreSQL: { stores: PgStores.layer.pipe(Layer.provide(layerPostgres())), ...numbers },
  PGlite: { stores: PgStores.layer.pipe(Layer.provide(layerPglite())), ...numbers }
}

describe("many parked streams", () => {
  for (const [name, { stores, streams, waiting }] of Object.entries(backEnds)) {
    it.live(
      `are retried in bounded transactions on ${name}, and a stream with very many waiting events too`,
      () =>
        Effect.gen(function*() {
          isBroken = true
          const { callsOf, counts, log, store } = yield* counting
          yield* Effect.forEach(
            Array.from({ length: streams }, (_, index) => `tick-${index}`),
            (stream) => append(stream, [0]),
            { concurrency: 200, discard: true }
          )
          yield* append("tick-long", [0])
          let last = Position.start
          for (let left = waiting; left > 0; left -= 500) {
            last = (yield* append("tick-long", Array.from({ length: Math.min(left, 500) }, () => 1))).position
          }
          yield* Effect.gen(function*() {
            yield* store.awaitPosition(Ticks, last, "10 minutes")
            assert.strictEqual((yield* Parking.count(Ticks)).parked, streams + 1)
            const health = yield* callsOf(Health.of([Ticks]))
            assert.strictEqual(health.result.consumers[0]?.parked, streams + 1)
            // As many as with one parked key, and those of the worker meanwhile.
            assert.isAtMost(health.calls, 30, health.byName)
            isBroken = false
            const { byName, calls, result: outcome } = yield* callsOf(
              Parking.retryAll(Ticks, { timeout: "10 minutes" })
            )
            assert.deepInclude(outcome, { requested: streams + 1, retried: streams + 1, failed: 0, parkedLater: 0 })
            assert.isAtMost(counts.events, 5_000)
            assert.isAtMost(counts.keys, 5_000)
            assert.isAtLeast(counts.transactions, Math.ceil(waiting / 5_000))
            assert.isAtMost(counts.transactions, 20 + (streams + waiting) / 100)
            // With the looks of the worker at its lease and the log meanwhile. A call for each key would be more.
            assert.isAtMost(calls, 200 + streams / 4, byName)
            const document = yield* store.get(Ticks, "tick-long")
            assert.deepInclude(document, { value: { count: waiting + 1 } })
            const { status } = yield* DeliveryAudit.run(Ticks)
            assert.strictEqual(status, "complete")
          }).pipe(
            Effect.provide(Projector.layer([Ticks])),
            Effect.provideService(ProjectionStore.ProjectionStore, store),
            Effect.provideService(EventStore.EventStore, log)
          )
        }).pipe(Effect.provide(stores)),
      scale(60_000, 1_200_000)
    )
  }
})
