/**
 * Cases about timers: claims of what is due, and the clock that decides it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import { driver, minute } from "./ProjectionStoreFixtures.ts"
import { type Case, equal, isAtLeast, ok, test, unique } from "./Suite.ts"

/** Claims timers for an owner, and returns their keys in order. */
const claim = (group: string, keys: ReadonlyArray<string>, owner: string, duration: Duration.Duration = minute) =>
  Effect.flatMap(
    driver,
    (store) => Effect.map(store.claimTimers({ group, keys, owner, duration }), (claimed) => claimed.toSorted())
  )

const release = (group: string, keys: ReadonlyArray<string>, owner: string) =>
  Effect.flatMap(driver, (store) => store.releaseTimers({ group, keys, owner }))

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [
  test("gives a timer to one owner until it is released", function*() {
    const [group, other] = [unique("timers"), unique("timers")]
    equal(yield* claim(group, ["a", "b"], "one"), ["a", "b"], "the first claim")
    equal(yield* claim(group, ["a", "b", "c"], "two"), ["c"], "what is left")
    equal(yield* claim(group, ["b", "c"], "one"), ["b"], "a repetition by the owner")
    equal(yield* claim(other, ["a", "b"], "two"), ["a", "b"], "another group")
    yield* release(group, ["a", "b", "c"], "two")
    equal(yield* claim(group, ["a", "b", "c"], "one"), ["a", "b", "c"], "after the other owner has released its own")
    yield* release(group, ["a"], "one")
    equal(yield* claim(group, ["a", "b", "c"], "two"), ["a"], "after a release")
    equal(yield* claim(group, [], "two"), [], "no keys")
  }),

  test("gives a timer to another owner when its claim has ended", function*() {
    const group = unique("timers")
    equal(yield* claim(group, ["a"], "one", Duration.millis(300)), ["a"], "the first claim")
    const taken = yield* claim(group, ["a"], "two").pipe(
      Effect.repeat({ until: (keys) => keys.length > 0, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("30 seconds")
    )
    equal(taken, ["a"], "the second claim")
    equal(yield* claim(group, ["a"], "one"), [], "the first owner")
    yield* release(group, ["a"], "one")
    equal(yield* claim(group, ["a"], "three"), [], "after a release by an owner that has lost it")
  }),

  test("gives each of many timers to one of concurrent owners", function*() {
    const group = unique("timers")
    const keys = Array.from({ length: 100 }, (_, i) => `key-${i}`)
    const owners = Array.from({ length: 8 }, (_, i) => `owner-${i}`)
    const claims = yield* Effect.forEach(
      owners,
      (owner, i) => claim(group, [...keys.slice(i * 10), ...keys.slice(0, i * 10)], owner),
      { concurrency: "unbounded" }
    )
    equal(claims.flat().toSorted(), keys.toSorted(), "all claims")
  }),

  test("returns a time that passes", function*() {
    const { now } = yield* driver
    const [first, second] = [yield* now, yield* Effect.delay(now, "20 millis")]
    isAtLeast(DateTime.toEpochMillis(second), DateTime.toEpochMillis(first), "the later time")
    ok(Number.isInteger(DateTime.toEpochMillis(first)), "whole milliseconds")
  })
]
