/** Reads as of a position while appends in flight hold the high-water mark back. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AsOf, AsOfNotReached, EventStore, Position } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import { awaitReached } from "../../src/timeTravel/asOfReads.ts"

/**
 * Waits for a position of a log with the last event at 5, and the high-water mark 3 until it has waited some times. Returns the positions that it waited for.
 */
const waitsFor = Effect.fnUntraced(function*(position: bigint, inTransaction = false, times = 1) {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const waits: Array<bigint> = []
  yield* awaitReached({
    ...driver,
    head: Effect.sync(() => Position.make(waits.length < times ? 3n : 5n)),
    last: Effect.succeed(Position.make(5n)),
    inTransaction: () => inTransaction,
    changed: (after) => Effect.sync(() => void waits.push(after))
  }, AsOf.position(position))
  return waits
}, Effect.provide(EventStore.layerMemory))

describe("a read as of a position", () => {
  it.effect("does not wait for a position that the high-water mark has reached", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* waitsFor(3n), [])
    }))

  it.effect("waits for an event that is not final yet", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* waitsFor(4n), [3n])
      assert.deepStrictEqual(yield* waitsFor(5n), [4n])
    }))

  it.effect("waits again when the high-water mark has stayed far below the position", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* waitsFor(5n, false, 3), [4n, 4n, 4n])
    }))

  it.effect("does not wait within a transaction", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* waitsFor(5n, true), [])
    }))

  it.effect("fails at a position beyond the last event", () =>
    Effect.gen(function*() {
      for (const inTransaction of [false, true]) {
        assert.deepStrictEqual(
          yield* Effect.flip(waitsFor(6n, inTransaction)),
          new AsOfNotReached({ asOf: AsOf.position(6n), reached: AsOf.position(5n) })
        )
      }
    }))
})
