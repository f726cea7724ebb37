/** The clock of the server is set back by an hour, as by a failover: to the store, all that was written before is of the future. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Health, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import * as ConsumerKey from "../../src/consumer/ConsumerKey.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { internals } from "../../src/core/internals.ts"
import { layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const ticks = Projection.make("ticks", {
  events: Tick,
  partitions: 2,
  document: Schema.Int,
  key: (_, { stream }) => stream,
  evolve: { Ticked: (count) => (count ?? 0) + 1 }
})

const stores = PgStores.layer.pipe(Layer.provideMerge(layerPostgres({ poolSize: 6 })))

const driver = Effect.map(ProjectionStore.ProjectionStore, ({ [internals]: { driver } }) => driver)

/** A claim as of a worker. */
const claim = (owner: string) =>
  Effect.gen(function*() {
    const { assigned } = yield* (yield* driver).claim({
      consumer: ticks.id,
      owner,
      partitions: ticks.partitions,
      partitionedBy: ConsumerKey.format(ticks.partitionBy),
      reads: ConsumerReads.format(ConsumerReads.of(ticks)),
      lease: Duration.seconds(2)
    })
    return assigned.map(({ epoch, partition }) => [partition, epoch] as const)
  })

const setBack = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql`update evsrc.checkpoints set leased_until = leased_until + interval '1 hour', heartbeat_at = heartbeat_at + interval '1 hour'`
  yield* sql`update evsrc.workers set expires_at = expires_at + interval '1 hour', heartbeat_at = heartbeat_at + interval '1 hour'`
  yield* sql`update evsrc.timer_claims set until = until + interval '1 hour'`
})

describe("after the clock of the server was set back by an hour", () => {
  it.live(
    "a worker takes all partitions over from a dead one, and health is red until then",
    () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* claim("dead"), [[0, 1n], [1, 1n]])
        yield* setBack
        const before = yield* Health.of([ticks])
        assert.strictEqual(before.status, "red")
        assert.match(before.reasons.join(), /its worker dead sent no heartbeat for (1h|3[56]\d\d|60m|59m)/)
        const { events, position } = yield* EventStore.append(Tick, "s", [{ _tag: "Ticked", n: 1 }])
        yield* Layer.build(Projector.layer([ticks], { lease: "2 seconds" }))
        const found = yield* Effect.provideService(ProjectionStore.get(ticks, "s"), ProjectionStore.ReadAfter, {
          position,
          eventId: events[0]!.id,
          timeout: Duration.minutes(1)
        })
        assert.deepStrictEqual(found, Option.some(1))
        const owners = (yield* (yield* driver).progress(ticks.id)).map(({ owner }) => owner)
        assert.notInclude(owners, "dead")
        assert.notStrictEqual((yield* Health.of([ticks])).status, "red")
      }).pipe(Effect.scoped, Effect.provide(stores)),
    120_000
  )

  it.live("a worker that lives keeps its partitions", () =>
    Effect.gen(function*() {
      const owned = yield* claim("one")
      yield* setBack
      assert.deepStrictEqual(yield* claim("two"), [])
      assert.deepStrictEqual(yield* claim("one"), owned)
    }).pipe(Effect.scoped, Effect.provide(stores)))

  it.live("a timer that a dead program has claimed is free", () =>
    Effect.gen(function*() {
      const { claimTimers } = yield* driver
      const claimAs = (owner: string) => claimTimers({ group: "g", keys: ["a"], owner, duration: Duration.minutes(1) })
      assert.deepStrictEqual(yield* claimAs("dead"), ["a"])
      assert.deepStrictEqual(yield* claimAs("one"), [])
      yield* setBack
      assert.deepStrictEqual(yield* claimAs("one"), ["a"])
      assert.deepStrictEqual(yield* claimAs("two"), [])
    }).pipe(Effect.provide(stores)))
})
