/** The cached keys of a process, over requests whose order the test controls. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber } from "effect"
import * as KeyCache from "../../src/personalData/KeyCache.ts"

describe("KeyCache", () => {
  it.effect("agrees on the last erasure after requests around it came back mixed", () =>
    Effect.gen(function*() {
      const requests: Array<Deferred.Deferred<string>> = []
      const cache = yield* KeyCache.make({
        lastErasure: Effect.suspend(() => {
          const request = Deferred.makeUnsafe<string>()
          requests.push(request)
          return Deferred.await(request)
        }),
        find: () => Effect.die("not called"),
        findOrCreate: () => Effect.die("not called"),
        erase: () => Effect.die("not called")
      }, { maxAge: Duration.zero, timeout: Duration.zero, capacity: 10, newKey: Effect.die("not called") })
      const fibers = yield* Effect.forEach(["a", "b", "c"], () => Effect.forkChild(cache.lastErasure))
      yield* Effect.yieldNow
      assert.strictEqual(requests.length, 3)
      // The first request was answered before the erasure. The server answers in the order of the requests.
      for (let answered = 0; answered < requests.length && answered < 50; answered++) {
        yield* Deferred.succeed(requests[answered]!, answered === 0 ? "before" : "after")
        yield* Effect.repeat(Effect.yieldNow, { times: 10 })
      }
      assert.strictEqual(requests.length, 5, "the two that overlapped ask once more")
      const found = yield* Effect.forEach(fibers, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual(found, ["before", "after", "after"])
    }))
})
