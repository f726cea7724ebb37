/** When an event whose handler failed is retried. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import * as Retries from "../../src/consumer/Retries.ts"
import { invalidRequest, storeError, StoreUnavailable } from "../../src/core/errors.ts"

const broken = invalidRequest("a bug")

/** The attempts of an event that always fails, each in no time. */
const attemptsOf = Effect.fnUntraced(function*(options: Parameters<typeof Retries.policyOf>[2]) {
  const retries = yield* Retries.make(Retries.policyOf("test", "mails", options))
  while (true) {
    const { attempts, delay } = yield* retries.failed(broken)
    if (delay === undefined) return attempts
    yield* TestClock.adjust(delay)
  }
})

describe("retries", () => {
  it.effect("end with the schedule, or with the timeout", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* attemptsOf({}), 5)
      assert.strictEqual(yield* attemptsOf({ retry: Schedule.recurs(2) }), 3)
      assert.strictEqual(yield* attemptsOf({ retry: Schedule.spaced("1 second") }), 31)
      assert.strictEqual(yield* attemptsOf({ retry: Schedule.spaced("1 second"), retryTimeout: "2 seconds" }), 3)
      assert.strictEqual(yield* attemptsOf({ retry: Schedule.spaced("1 second"), retryTimeout: 0 }), 1)
      assert.strictEqual(yield* attemptsOf({ retry: Schedule.spaced("1 hour") }), 1)
    }))

  it.effect("are not for a store that is unavailable", () =>
    Effect.gen(function*() {
      const retries = yield* Retries.make(Retries.policyOf("test", "mails", {}))
      const { delay } = yield* retries.failed(storeError(new StoreUnavailable({ message: "down", cause: undefined })))
      assert.isUndefined(delay)
    }))

  it("have a finite timeout", () => {
    for (const retryTimeout of [Duration.infinity, Duration.millis(-1)]) {
      assert.throws(() => Retries.policyOf("Subscription.make", "mails", { retryTimeout }), /`retryTimeout` of "mails"/)
    }
  })
})
