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

  const counted = Effect.gen(function*() {
    let head = at(1)
    let reads = 0
    const { changed, wake } = yield* ReaderWakeups.make({
      head: Effect.sync(() => {
        reads++
        return head
      })
    })
    const wait = (after: number) =>
      Effect.tap(
        Effect.forkChild(changed(at(after), { mayEndEarly: true }), { startImmediately: true }),
        () => settle
      )
    const grow = (to: number) =>
      Effect.andThen(
        Effect.suspend(() => {
          head = at(to)
          return wake
        }),
        settle
      )
    const readsSince = () => {
      const before = reads
      return () => reads - before
    }
    return { grow, readsSince, wait, wake }
  })
  const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

  it.effect("that may end early goes on at a wake-up before the mark is read", () =>
    Effect.gen(function*() {
      const { grow, readsSince, wait, wake } = yield* counted
      const reader = yield* wait(1)
      const reads = readsSince()
      yield* grow(2)
      assert.isDefined(reader.pollUnsafe())
      assert.strictEqual(reads(), 0)

      // It has found nothing new, because an append in flight held the mark back, and waits for the mark.
      const again = yield* wait(2)
      yield* wake
      yield* settle
      assert.isDefined(again.pollUnsafe(), "the first wake-up after this position")
      const third = yield* wait(2)
      yield* Effect.repeat(Effect.andThen(wake, settle), { times: 3 })
      assert.isUndefined(third.pollUnsafe())
      yield* grow(3)
      yield* Fiber.join(third)
    }))

  it.effect("waits for the mark, which is read once for all, when there are many", () =>
    Effect.gen(function*() {
      const { grow, readsSince, wait, wake } = yield* counted
      const readers = yield* Effect.forEach([1, 1, 1, 1, 2], wait)
      const reads = readsSince()
      yield* wake
      yield* settle
      assert.isTrue(readers.every((reader) => reader.pollUnsafe() === undefined))
      yield* grow(2)
      assert.deepStrictEqual(readers.map((reader) => reader.pollUnsafe() !== undefined), [
        true,
        true,
        true,
        true,
        false
      ])
      assert.strictEqual(reads(), 2)
      yield* Fiber.interrupt(readers[4]!)
    }))
})
