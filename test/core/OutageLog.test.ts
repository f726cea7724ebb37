import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Logger } from "effect"
import { TestClock } from "effect/testing"
import * as OutageLog from "../../src/core/telemetry/OutageLog.ts"

const scenario = (
  body: (
    log: OutageLog.OutageLog,
    failed: (source: string, kind: string, message: string) => Effect.Effect<void>,
    taken: () => Array<string>
  ) => Effect.Effect<void>
) => {
  const lines: Array<string> = []
  const log = OutageLog.make("users@1")
  const failed = (source: string, kind: string, message: string) =>
    log.failed({ source, kind, message, cause: Cause.empty })
  const recorder = Logger.make(({ logLevel, message }) => {
    if (logLevel !== "Debug") lines.push(String(message))
  })
  return Effect.provide(body(log, failed, () => lines.splice(0)), Logger.layer([recorder]))
}

describe("the log of outages", () => {
  it.effect("has a line for a kind of failures, and one when all sources have succeeded", () =>
    scenario(Effect.fnUntraced(function*(log, failed, taken) {
      yield* failed("a", "retrying", "first")
      yield* failed("b", "retrying", "second")
      yield* failed("a", "retrying", "third")
      assert.deepStrictEqual(taken(), ["first"])
      yield* log.succeeded("a")
      yield* failed("a", "retrying", "fourth")
      assert.deepStrictEqual(taken(), [], "the other one fails all along")
      yield* TestClock.adjust("3 seconds")
      yield* log.succeeded("a", "b")
      assert.deepStrictEqual(taken(), ["users@1 has recovered after 3s"])
    })))

  it.effect("has a line for each outage while another source is stuck", () =>
    scenario(Effect.fnUntraced(function*(log, failed, taken) {
      yield* failed("stuck", "an event of newer code", "is stuck")
      yield* failed("claim", "retrying", "first outage")
      assert.deepStrictEqual(taken(), ["is stuck", "first outage"])
      yield* log.succeeded("claim")
      yield* failed("stuck", "an event of newer code", "is stuck")
      yield* failed("claim", "retrying", "second outage")
      assert.deepStrictEqual(taken(), ["second outage"])
      yield* log.succeeded("claim")
      yield* log.succeeded("stuck")
      assert.deepStrictEqual(taken(), ["users@1 has recovered after 0"])
    })))
})
