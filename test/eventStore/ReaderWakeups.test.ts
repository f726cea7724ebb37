/** When a reader that waits for the log to grow reads again. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Position from "../../src/core/Position.ts"
import * as ReaderWakeups from "../../src/eventStore/ReaderWakeups.ts"

const at = (n: number) => Position.make(BigInt(n))

describe("a waiting reader", () => {
  it.effect("goes on when the log stays below its position for a second, and not when it dips for a moment", () =>
    Effect.gen(function*() {
      let head = at(10)
      const { changed } = yield* ReaderWakeups.make({
        head: Effect.sync(() => head),
        interval: "50 millis",
        endsBelow: true
      })
      const reader = yield* Effect.forkChild(changed(at(10)), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(reader.pollUnsafe(), "at its position")
      head = at(4)
      yield* TestClock.adjust("900 millis")
      head = at(10)
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(reader.pollUnsafe(), "while an append in flight held the mark back")
      head = at(4)
      yield* TestClock.adjust("1100 millis")
      assert.isDefined(reader.pollUnsafe(), "a log that was set back")
      yield* Fiber.join(reader)
    }))

  it.effect("waits for a checkpoint however long it stays below the position", () =>
    Effect.gen(function*() {
      let checkpoint = at(4)
      const { changed } = yield* ReaderWakeups.make({ head: Effect.sync(() => checkpoint), interval: "50 millis" })
      const reader = yield* Effect.forkChild(changed(at(9)), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(reader.pollUnsafe(), "below the position")
      checkpoint = at(10)
      yield* TestClock.adjust("50 millis")
      yield* Fiber.join(reader)
    }))
})
