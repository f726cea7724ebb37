import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { TestClock } from "effect/testing"
import type { Health } from "evsrc"
import * as HealthLog from "../../src/operations/HealthLog.ts"

describe("the log of health", () => {
  it.effect("has lines when a part is not green for long, turns red, and is green again", () => {
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const log = HealthLog.make(10)
      const reportAfter = Effect.fnUntraced(
        function*(seconds: number, status: Health.Status, ...reasons: Array<string>) {
          lines.length = 0
          yield* TestClock.adjust(`${seconds} seconds`)
          yield* log.report([
            { name: "users@1", status, reasons },
            { name: "the log", status: "green", reasons: [] }
          ])
          return [...lines]
        }
      )
      assert.deepStrictEqual(yield* reportAfter(0, "yellow", "it is behind"), [])
      assert.deepStrictEqual(yield* reportAfter(9, "red", "it is stalled"), [])
      assert.deepStrictEqual(yield* reportAfter(1, "green"), [], "for a moment")

      yield* reportAfter(30, "yellow", "it is behind")
      assert.deepStrictEqual(yield* reportAfter(10, "yellow", "it is behind"), [
        "Warn: Health: users@1 is yellow: it is behind"
      ])
      assert.deepStrictEqual(yield* reportAfter(10, "yellow", "it is behind"), [])
      assert.deepStrictEqual(yield* reportAfter(10, "red", "a", "b", "c", "d", "e"), [
        "Error: Health: users@1 is red: a; b; c; and 2 more"
      ])
      assert.deepStrictEqual(yield* reportAfter(10, "red", "a"), [])
      assert.deepStrictEqual(yield* reportAfter(10, "yellow", "a"), [])
      assert.deepStrictEqual(yield* reportAfter(10, "red", "a"), ["Error: Health: users@1 is red: a"])
      assert.deepStrictEqual(yield* reportAfter(5, "green"), ["Info: Health: users@1 is green again after 1m 5s"])
    }).pipe(Effect.provide(Logger.layer([
      Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${String(message)}`))
    ])))
  })

  const scenario = (
    body: (
      report: (seconds: number, status: Health.Status, ...reasons: Array<string>) => Effect.Effect<Array<string>>
    ) => Effect.Effect<void>
  ) => {
    const lines: Array<string> = []
    const log = HealthLog.make(10)
    return body(Effect.fnUntraced(function*(seconds, status, ...reasons) {
      lines.length = 0
      yield* TestClock.adjust(`${seconds} seconds`)
      yield* log.report([{ name: "the log", status, reasons }])
      return [...lines]
    })).pipe(Effect.provide(Logger.layer([
      Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${String(message)}`))
    ])))
  }

  it.effect("has a line for another cause that has lasted, and none for other numbers", () =>
    scenario(Effect.fnUntraced(function*(report) {
      yield* report(0, "red", "2 events wait: the session 1 holds")
      assert.deepStrictEqual(yield* report(10, "red", "12 events wait: the session 1 holds"), [
        "Error: Health: the log is red: 12 events wait: the session 1 holds"
      ])
      assert.deepStrictEqual(yield* report(10, "red", "22 events wait: the session 2 holds"), [])
      assert.deepStrictEqual(yield* report(10, "red", "32 events wait: the session 2 holds"), [
        "Error: Health: the log is red: 32 events wait: the session 2 holds"
      ])
      assert.deepStrictEqual(yield* report(10, "red", "42 events wait: the session 2 holds"), [])
    })))

  it.effect("has a line for a stall that every second check sees", () =>
    scenario(Effect.fnUntraced(function*(report) {
      yield* report(0, "red", "the session 1 holds")
      assert.deepStrictEqual(yield* report(10, "green"), [])
      assert.deepStrictEqual(yield* report(10, "red", "the session 1 holds"), [
        "Error: Health: the log is red: the session 1 holds"
      ])
    })))

  it.effect("has no line for a cause that shows for a moment now and then", () =>
    scenario(Effect.fnUntraced(function*(report) {
      yield* report(0, "red", "1 key is parked")
      assert.lengthOf(yield* report(10, "red", "1 key is parked"), 1)
      for (let n = 0; n < 3; n++) {
        assert.deepStrictEqual(yield* report(10, "red", "1 key is parked", "the session 2 holds"), [])
        for (let pause = 0; pause < 6; pause++) assert.deepStrictEqual(yield* report(10, "red", "1 key is parked"), [])
      }
      yield* report(10, "red", "1 key is parked", "the session 2 holds")
      assert.deepStrictEqual(yield* report(10, "red", "1 key is parked", "the session 2 holds"), [
        "Error: Health: the log is red: 1 key is parked; the session 2 holds"
      ])
    })))

  it.effect("has a line for another cause that has lasted between rare checks", () =>
    scenario(Effect.fnUntraced(function*(report) {
      yield* report(0, "red", "the session 1 holds")
      assert.lengthOf(yield* report(60, "red", "the session 1 holds"), 1)
      assert.deepStrictEqual(yield* report(60, "red", "the session 2 holds"), [])
      assert.lengthOf(yield* report(60, "red", "the session 2 holds"), 1)
      assert.deepStrictEqual(yield* report(60, "red", "the session 2 holds"), [])
    })))
})
