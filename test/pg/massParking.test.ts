/** Thousands of parked streams, and a stream with very many waiting events: each transaction is bounded, and all of it ends. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { DeliveryAudit, EventStore, Health, Parking, Position, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
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

const streams = scale(600, 20_000)
const waiting = scale(3_000, 100_000)

const append = (stream: string, numbers: ReadonlyArray<number>) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(Tick, stream, numbers.map((n) => Tick.cases.Ticked.make({ n })))
  )

/** Counts the calls of a driver: each is a statement, or a few. */
const countingCalls = <D extends object>(driver: D, counts: { calls: number }): D => {
  const counted = { ...driver }
  for (const name of Object.keys(driver)) {
    const call: unknown = Reflect.get(driver, name)
    const count = () => void counts.calls++
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
  const counts = { calls: 0, transactions: 0, keys: 0, events: 0 }
  const counted = countingCalls(driver, counts)
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
  const log = yield* EventStore.make(countingCalls((yield* EventStore.EventStore)[internals].driver, counts))
  /** Returns how many calls an effect makes. */
  const callsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const before = counts.calls
      const result = yield* effect
      return { result, calls: counts.calls - before }
    })
  return { counts, callsOf, store, log }
})

const backEnds = { PostgreSQL: layerPostgres(), PGlite: layerPglite() }

describe("many parked streams", () => {
  for (const [name, database] of Object.entries(backEnds)) {
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
            assert.isAtMost(health.calls, 30)
            isBroken = false
            const { calls, result: outcome } = yield* callsOf(Parking.retryAll(Ticks, { timeout: "10 minutes" }))
            assert.deepInclude(outcome, { requested: streams + 1, retried: streams + 1, failed: 0, parkedLater: 0 })
            assert.isAtMost(counts.events, 5_000)
            assert.isAtMost(counts.keys, 5_000)
            assert.isAtLeast(counts.transactions, Math.ceil(waiting / 5_000))
            assert.isAtMost(counts.transactions, 20 + (streams + waiting) / 100)
            // With the heartbeats of a minute. A call for each event would be more.
            assert.isAtMost(calls, 200 + (streams + waiting) / 5)
            const document = yield* store.get(Ticks, "tick-long")
            assert.deepInclude(document, { value: { count: waiting + 1 } })
            const { status } = yield* DeliveryAudit.run(Ticks)
            assert.strictEqual(status, "complete")
          }).pipe(
            Effect.provide(Projector.layer([Ticks])),
            Effect.provideService(ProjectionStore.ProjectionStore, store),
            Effect.provideService(EventStore.EventStore, log)
          )
        }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(database)))),
      scale(60_000, 1_200_000)
    )
  }
})
