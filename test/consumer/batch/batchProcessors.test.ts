/** Handlers in the transaction that moves the checkpoint. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schedule, Schema, Stream } from "effect"
import { LockTimeoutError, SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { EventStore, Position, Projection, ProjectionStore, UndecodableEvent, Version } from "evsrc"
import * as EffectsProcessor from "../../../src/consumer/batch/EffectsProcessor.ts"
import type { Handler } from "../../../src/consumer/batch/EventHandling.ts"
import * as TransactionalProcessor from "../../../src/consumer/batch/TransactionalProcessor.ts"
import * as ConsumerKey from "../../../src/consumer/ConsumerKey.ts"
import { storeError } from "../../../src/core/errors.ts"
import { internals } from "../../../src/core/internals.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const ticks = Projection.make("ticks", {
  events: Tick,
  document: Schema.Int,
  key: () => "all",
  evolve: { Ticked: (n) => (n ?? 0) + 1 }
})

describe("a transactional processor", () => {
  for (const advanced of ["advanced", "lost", "changed"] as const) {
    it.effect(`returns the result of a commit that ${advanced}, and rolls back unless it advanced`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
        yield* store.append(Tick, "s", [{ _tag: "Ticked", n: 1 }])
        const events = yield* Stream.runCollect(store.readAllEncoded())
        let rollbacks = 0
        let handled = 0
        const processor = TransactionalProcessor.make(
          { ...ticks, parks: [] },
          () => Effect.sync(() => handled++),
          { retry: Schedule.recurs(0), retryTimeout: Duration.seconds(1), handlerTimeout: Duration.minutes(1) },
          {
            ...driver,
            transaction: (effect) => Effect.tapError(driver.transaction(effect), () => Effect.sync(() => rollbacks++))
          }
        )
        const result = { advanced, note: "of this commit" }
        assert.deepStrictEqual(
          yield* processor.apply(
            { generation: "ticks@1", partition: 0, epoch: 1n },
            ConsumerKey.selectAll(ticks, events),
            () => Effect.succeed(result)
          ),
          result
        )
        assert.deepStrictEqual({ handled, rollbacks }, { handled: 1, rollbacks: advanced === "advanced" ? 0 : 1 })
      }).pipe(Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])))
  }

  it.effect("commits what it has after the maximum, without failures of events that it has not tried again", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      for (const n of [1, 2, 3, 4]) yield* store.append(Tick, `s-${n}`, [{ _tag: "Ticked", n }])
      const events = yield* Stream.runCollect(store.readAllEncoded())
      const calls: Array<bigint> = []
      const processor = TransactionalProcessor.make(
        { ...ticks, partitionBy: "stream", parks: [] },
        Effect.fnUntraced(function*({ position }) {
          // The first attempt meets the failure in time.
          if (calls.length > 3) yield* TestClock.adjust("2 seconds")
          calls.push(position)
          if (position === events[3]?.position) return yield* Effect.fail("wrong")
        }),
        { retry: Schedule.recurs(0), retryTimeout: Duration.seconds(1), handlerTimeout: Duration.minutes(1) },
        driver
      )
      const positions = events.map(({ position }) => position)
      const plan = yield* processor.apply(
        { generation: "ticks@1", partition: 0, epoch: 1n, maxDuration: Duration.seconds(3) },
        events.map((event) => ({ event, keys: [event.stream], isSingle: true })),
        (plan) => Effect.succeed({ advanced: "advanced" as const, ...plan })
      )
      assert.deepStrictEqual(calls, [...positions, ...positions.slice(0, 2)])
      assert.deepStrictEqual(plan.applied.map(({ event }) => event.position), positions.slice(0, 2))
      assert.deepStrictEqual(plan.failures, [])
      assert.strictEqual(plan.untriedFrom, positions[2])
    }).pipe(Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])))
})

const locked = new SqlError({
  reason: new LockTimeoutError({
    message: "lock timeout",
    cause: { code: "55P03", message: "lock timeout", where: "while updating tuple (0,1) in relation \"mine\"" },
    operation: "query"
  })
})
const newer = storeError(
  new UndecodableEvent({
    position: Position.make(3n),
    stream: "s-3",
    version: Version.make(1),
    type: "Ticked",
    schemaVersion: 2,
    problem: "NewerVersion",
    detail: "newer"
  })
)

describe("a processor that stops at an event of newer code while a key waits for a lock", () => {
  for (const kind of ["transactional", "effects"] as const) {
    it.effect(`handles no event after it (${kind})`, () =>
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
        for (const n of [1, 2, 3, 4]) yield* store.append(Tick, `s-${n}`, [{ _tag: "Ticked", n }])
        const events = yield* Stream.runCollect(store.readAllEncoded())
        const consumer = { ...ticks, partitionBy: "stream" as const, parks: [] }
        const handle: Handler = ({ stream }) =>
          stream === "s-1" ? Effect.fail(locked) : stream === "s-3" ? Effect.fail(newer) : Effect.void
        const policy = {
          retry: Schedule.recurs(0),
          retryTimeout: Duration.seconds(1),
          handlerTimeout: Duration.minutes(1)
        }
        const processor = kind === "effects"
          ? EffectsProcessor.make({ ...consumer, concurrency: 1 }, handle, policy)
          : TransactionalProcessor.make(consumer, handle, policy, driver)
        const { applied, failures } = yield* processor.apply(
          { generation: "ticks@1", partition: 0, epoch: 1n },
          events.map((event) => ({ event, keys: [event.stream], isSingle: true })),
          (plan) => Effect.succeed({ advanced: "advanced" as const, ...plan })
        )
        assert.deepStrictEqual(applied.map(({ key }) => key), ["s-2"])
        assert.deepStrictEqual(failures.map(({ key }) => key).toSorted(), ["s-1", "s-3"])
      }).pipe(Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])))
  }
})
