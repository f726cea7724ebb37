/** Commands whose append ends without a known outcome, as when the connection breaks during the commit. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Result, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Command, type EventStoreError, OutcomeUnknown, Position, type Receipt, StreamId, Version } from "evsrc"
import * as CommandExecution from "../../src/command/CommandExecution.ts"
import { storeError } from "../../src/core/errors.ts"

const unknown = storeError(new OutcomeUnknown({ stream: "s", message: "the connection broke", cause: "a test" }))
const Add = Command.make("Add", { payload: {} })
const Added = Schema.TaggedUnion({ Added: {} })
const receiptAt = (version: number): Receipt => ({
  command: "Add",
  stream: StreamId.StreamId.make("s"),
  version: Version.make(version),
  position: Position.make(BigInt(version)),
  events: []
})

/** Executes a command on a log that has its first receipt. The handler fails a number of times, then asks for that receipt. */
const execute = (failures: number) =>
  Effect.gen(function*() {
    let [attempts, lookups] = [0, 0]
    const run = yield* CommandExecution.make({
      keys: { erased: () => Effect.succeed(new Set()) },
      firstReceipt: () =>
        Effect.sync(() => {
          lookups++
          return Option.some(receiptAt(7))
        })
    }, {})
    const fiber = yield* Effect.forkChild(Effect.result(
      run({ rpc: Add, payload: {}, events: Added, streamOf: () => "s" }, ({ firstReceiptOr }) =>
        Effect.suspend((): Effect.Effect<Receipt, EventStoreError> =>
          attempts++ < failures ? Effect.fail(unknown) : firstReceiptOr(Effect.succeed(receiptAt(0)))
        ))
    ))
    for (let n = 0; n < 300; n++) {
      yield* TestClock.adjust("50 millis")
    }
    const result = yield* Fiber.join(fiber)
    return { result, lookups, attempts }
  })

describe("a command whose outcome is unknown", () => {
  it.effect("is repeated under its command id and returns its first receipt", () =>
    Effect.gen(function*() {
      const { attempts, lookups, result } = yield* execute(2)
      assert.deepStrictEqual(result, Result.succeed(receiptAt(7)))
      assert.deepStrictEqual({ attempts, lookups }, { attempts: 3, lookups: 1 })
    }))

  it.effect("fails with the unknown outcome when the store stays unreachable", () =>
    Effect.gen(function*() {
      const { result } = yield* execute(Infinity)
      assert.deepStrictEqual(result, Result.fail(unknown))
    }))
})

describe("a command with a new id", () => {
  it.effect("does not look for an earlier receipt", () =>
    Effect.gen(function*() {
      const { attempts, lookups, result } = yield* execute(0)
      assert.deepStrictEqual(result, Result.succeed(receiptAt(0)))
      assert.deepStrictEqual({ attempts, lookups }, { attempts: 1, lookups: 0 })
    }))
})
