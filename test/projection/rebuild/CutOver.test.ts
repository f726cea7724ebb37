/** When a cut-over holds the active generation: only for a generation that is close, half a second at a time, until its timeout. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, Projection, ProjectionStore } from "evsrc"
import { internals } from "../../../src/core/internals.ts"
import type { CutOverRequest, ProjectionStoreDriver } from "../../../src/projection/ProjectionStoreDriver.ts"
import * as CutOver from "../../../src/projection/rebuild/CutOver.ts"

const Counted = Schema.TaggedUnion({ Counted: { id: Schema.String } })
const counts = Projection.make("counts", {
  events: Counted,
  document: Schema.Struct({ n: Schema.Int }),
  key: ({ id }) => id,
  evolve: { Counted: (count) => ({ n: (count?.n ?? 0) + 1 }) }
})

interface Attempt {
  /** In milliseconds since the cut-over began. */
  readonly at: number
  readonly ifBehind: CutOverRequest["ifBehind"]
}

/** Cuts over to a generation that lacks `missing` positions at each attempt, and returns the attempts, on the test's clock. */
const attempts = (timeout: number, missing: (attempt: number) => bigint) =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const log = yield* EventStore.driver
    const began = yield* Clock.currentTimeMillis
    const made: Array<Attempt> = []
    const store: ProjectionStoreDriver = {
      ...driver,
      cutOver: ({ ifBehind }) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const lacking = missing(made.length)
          made.push({ at: now - began, ifBehind })
          return lacking === 0n ? { _tag: "CutOver" } : { _tag: "Behind", missing: lacking }
        })
    }
    const running = yield* Effect.forkChild(
      Effect.exit(CutOver.whenCaughtUp({ log, store }, counts, "counts@1~1", {
        evenIfParked: false,
        timeout: Duration.millis(timeout)
      }))
    )
    for (let time = 0; time <= timeout + 10; time += 10) yield* TestClock.adjust(10)
    return { made, exit: yield* Fiber.join(running) }
  }).pipe(Effect.provide([ProjectionStore.layerMemory, EventStore.layerMemory]))

const holdsOf = (made: ReadonlyArray<Attempt>) =>
  made.filter(({ ifBehind }) => ifBehind !== "reject").map(({ at, ifBehind }) => {
    assert.deepStrictEqual(ifBehind, { hold: Duration.millis(500) })
    return at
  })

describe("a cut-over to a generation that never catches up", () => {
  it.effect("holds the active generation half a second at a time, until the timeout", () =>
    Effect.gen(function*() {
      const { exit, made } = yield* attempts(1_200, (attempt) => BigInt(Math.max(1, 200 - attempt)))
      assert.deepStrictEqual(holdsOf(made), [10, 510, 1010])
      assert.strictEqual(made.length, 121)
      assert.deepStrictEqual(made.at(-1), { at: 1_200, ifBehind: "reject" })
      assert.include(String(exit), "80 positions behind")
    }))

  it.effect("doubles the pauses between holds while the generation gets no closer", () =>
    Effect.gen(function*() {
      const { made } = yield* attempts(9_000, (attempt) => attempt < 700 ? 3n : 2n)
      // It is closer from 7 s on.
      assert.deepStrictEqual(holdsOf(made), [10, 510, 1510, 3010, 5510])
      const closer = yield* attempts(9_000, (attempt) => attempt < 400 ? 3n : 2n)
      assert.deepStrictEqual(holdsOf(closer.made), [10, 510, 1510, 3010, 5510, 6010, 7010, 8510])
    }))

  it.effect("never holds it for a generation that lacks more than 5,000 positions", () =>
    Effect.gen(function*() {
      const far = yield* attempts(1_200, () => 5_001n)
      assert.deepStrictEqual(holdsOf(far.made), [])
      assert.strictEqual(far.made.length, 121)
      const close = yield* attempts(30, () => 5_000n)
      assert.deepStrictEqual(holdsOf(close.made), [10])
    }))

  it.effect("tries once without a timeout, and never holds after the timeout", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* attempts(0, () => 1n)).made, [{ at: 0, ifBehind: "reject" }])
      assert.deepStrictEqual((yield* attempts(10, () => 1n)).made, [
        { at: 0, ifBehind: "reject" },
        { at: 10, ifBehind: "reject" }
      ])
    }))
})

it.effect("a cut-over ends at the first attempt that succeeds", () =>
  Effect.gen(function*() {
    const { exit, made } = yield* attempts(1_200, (attempt) => attempt < 3 ? 1n : 0n)
    assert.deepStrictEqual(made.map(({ at }) => at), [0, 10, 20, 30])
    assert.strictEqual(exit._tag, "Success")
  }))
