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

/** Counts the transactions that free keys, and the most keys and events that one of them has. */
const counting = Effect.gen(function*() {
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  const counts = { transactions: 0, keys: 0, events: 0 }
  const store = yield* ProjectionStore.make({
    ...driver,
    unpark: (...args) => {
      counts.transactions++
      counts.keys = Math.max(counts.keys, args[2].length)
      return driver.unpark(...args)
    },
    recordLateDelivery: (...args) => {
      counts.events = Math.max(counts.events, args[2].length)
      return driver.recordLateDelivery(...args)
    }
  })
  return { counts, store }
})

const backEnds = { PostgreSQL: layerPostgres(), PGlite: layerPglite() }

describe("many parked streams", () => {
  for (const [name, database] of Object.entries(backEnds)) {
    it.live(
      `are retried in bounded transactions on ${name}, and a stream with very many waiting events too`,
      () =>
        Effect.gen(function*() {
          isBroken = true
          const { counts, store } = yield* counting
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
            assert.strictEqual((yield* Health.of([Ticks])).consumers[0]?.parked, streams + 1)
            isBroken = false
            const outcome = yield* Parking.retryAll(Ticks, { timeout: "10 minutes" })
            assert.deepInclude(outcome, { requested: streams + 1, retried: streams + 1, failed: 0, parkedLater: 0 })
            assert.isAtMost(counts.events, 5_000)
            assert.isAtMost(counts.keys, 5_000)
            assert.isAtLeast(counts.transactions, Math.ceil(waiting / 5_000))
            assert.isAtMost(counts.transactions, 20 + (streams + waiting) / 100)
            const document = yield* store.get(Ticks, "tick-long")
            assert.deepInclude(document, { value: { count: waiting + 1 } })
            const { status } = yield* DeliveryAudit.run(Ticks)
            assert.strictEqual(status, "complete")
          }).pipe(
            Effect.provide(Projector.layer([Ticks])),
            Effect.provideService(ProjectionStore.ProjectionStore, store)
          )
        }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(database)))),
      scale(60_000, 1_200_000)
    )
  }
})
