/** Group read over statements that the test controls: what goes together, what waits, and the result of each caller. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Scope } from "effect"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import type { EventStoreError } from "evsrc"
import { fromSqlError } from "../../../src/pg/PgErrors.ts"
import * as ReadBatcher from "../../../src/pg/read/ReadBatcher.ts"

interface Statement {
  readonly reads: ReadonlyArray<number>
  readonly succeed: Effect.Effect<unknown>
  readonly fail: (error: EventStoreError) => Effect.Effect<unknown>
  isInterrupted: boolean
}

/** Group read with statements that wait until the test ends them. The answer to a number is its double. */
const setup = (
  options: ReadBatcher.ReadBatcherOptions = { alone: 1, inFlight: 1 },
  timeout = 60_000,
  sizes: Pick<ReadBatcher.ReadStatements<number, number>, "sizeOf" | "maxSize" | "together"> = {}
) =>
  Effect.gen(function*() {
    const sent: Array<Statement> = []
    const many = (reads: ReadonlyArray<number>) =>
      Effect.suspend(() => {
        const done = Deferred.makeUnsafe<ReadonlyArray<number>, EventStoreError>()
        const statement: Statement = {
          reads,
          succeed: Deferred.succeed(done, reads.map((n) => 2 * n)),
          fail: (error) => Deferred.fail(done, error),
          isInterrupted: false
        }
        sent.push(statement)
        return Effect.onInterrupt(Deferred.await(done), () =>
          Effect.sync(() => {
            statement.isInterrupted = true
          }))
      })
    const scope = yield* Scope.fork(yield* Effect.scope)
    const read = yield* Scope.provide(
      ReadBatcher.make(
        { ...sizes, timeout, many, one: (n) => Effect.map(many([n]), ([double]) => double!) },
        options
      ),
      scope
    )
    const startNow = (n: number) => Effect.forkChild(read(n), { startImmediately: true })
    /** Starts a read in a turn of its own. */
    const start = (n: number) => Effect.tap(startNow(n), turn)
    const reads = () => sent.map((statement) => statement.reads)
    return { read, reads, scope, sent, start, startNow }
  })

/** Ends the turn of the event loop. */
const turn = Effect.promise(() => Promise.resolve())

const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

const reasonOf = <A>(exit: Exit.Exit<A, EventStoreError>): string | undefined =>
  Option.getOrUndefined(Exit.findErrorOption(exit))?.reason._tag

const damaged = fromSqlError(
  new SqlError({ reason: new UnknownError({ cause: { code: "XX001" }, message: "damaged", operation: "query" }) })
)
const lost = fromSqlError(
  new SqlError({ reason: new ConnectionError({ cause: "gone", message: "gone", operation: "query" }) })
)

describe("ReadBatcher", () => {
  it.live("sends the first read at once, and those that arrive meanwhile together", () =>
    Effect.gen(function*() {
      const { reads, sent, start } = yield* setup()
      const first = yield* start(1)
      assert.deepStrictEqual(reads(), [[1]], "before anything else runs")
      const others = yield* Effect.forEach([2, 3, 4], start)
      assert.deepStrictEqual(reads(), [[1]])
      yield* sent[0]!.succeed
      assert.strictEqual(yield* Fiber.join(first), 2)
      assert.deepStrictEqual(reads(), [[1], [2, 3, 4]])
      yield* sent[1]!.succeed
      assert.deepStrictEqual(yield* Effect.forEach(others, Fiber.join), [4, 6, 8])
      yield* start(5)
      assert.deepStrictEqual(reads().at(-1), [5], "a read after them goes at once again")
    }))

  it.live("sends those that are asked for in one turn together", () =>
    Effect.gen(function*() {
      const { reads, sent, startNow } = yield* setup({})
      const all = yield* Effect.forEach([1, 2, 3], startNow)
      assert.deepStrictEqual(reads(), [], "before the turn ends")
      yield* turn
      assert.deepStrictEqual(reads(), [[1, 2, 3]])
      yield* Effect.forEach([4, 5], startNow)
      yield* turn
      assert.deepStrictEqual(reads(), [[1, 2, 3], [4, 5]], "also while others are in flight")
      yield* Effect.forEach([6, 7, 8, 9], startNow)
      yield* turn
      assert.deepStrictEqual(reads().length, 2, "more than eight wait for a statement")
      yield* sent[0]!.succeed
      assert.deepStrictEqual(yield* Effect.forEach(all, Fiber.join), [2, 4, 6])
      yield* settle
      assert.deepStrictEqual(reads()[2], [6, 7, 8, 9])
    }))

  it.live("sends those of one turn side by side when they are long", () =>
    Effect.gen(function*() {
      let together = 2
      const { reads, startNow } = yield* setup({}, undefined, { together: () => together })
      yield* Effect.forEach([1, 2, 3], startNow)
      yield* turn
      assert.deepStrictEqual(reads(), [[1, 2], [3]])
      together = 1
      yield* Effect.forEach([4, 5], startNow)
      yield* turn
      assert.deepStrictEqual(reads(), [[1, 2], [3], [4], [5]])
    }))

  it.live("does not send a read that is interrupted before its turn ends", () =>
    Effect.gen(function*() {
      const { reads, startNow } = yield* setup()
      const gone = yield* startNow(1)
      yield* Fiber.interrupt(gone)
      yield* startNow(2)
      yield* turn
      assert.deepStrictEqual(reads(), [[2]])
    }))

  it.live("reads alone what waits when its scope closes before the turn ends", () =>
    Effect.gen(function*() {
      const { reads, scope, sent, startNow } = yield* setup()
      const fiber = yield* startNow(1)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* settle
      assert.deepStrictEqual(reads(), [[1]])
      yield* sent[0]!.succeed
      assert.strictEqual(yield* Fiber.join(fiber), 2)
      yield* Fiber.join(closing)
    }))

  it.live("sends a few reads side by side, and more in equal parts of a limited size", () =>
    Effect.gen(function*() {
      const { reads, sent, start } = yield* setup({ alone: 3, inFlight: 2, batchReads: 4 })
      yield* Effect.forEach([1, 2, 3], start)
      assert.deepStrictEqual(reads(), [[1], [2], [3]])
      yield* Effect.forEach([4, 5, 6, 7, 8, 9, 10], start)
      yield* Effect.forEach(sent.slice(0, 2), ({ succeed }) => succeed)
      yield* settle
      assert.deepStrictEqual(reads().slice(3), [[4, 5, 6, 7]])
      yield* sent[3]!.succeed
      yield* settle
      assert.deepStrictEqual(reads().slice(4), [[8, 9]])
    }))

  it.live("sends no more in a statement than its size allows, but one read of any size", () =>
    Effect.gen(function*() {
      const { reads, sent, start } = yield* setup(undefined, undefined, { sizeOf: (n) => n, maxSize: 5 })
      yield* Effect.forEach([1, 2, 3, 1, 9, 5, 1], start)
      for (let n = 0; n < 4; n++) {
        yield* sent[n]!.succeed
        yield* settle
      }
      assert.deepStrictEqual(reads(), [[1], [2, 3], [1], [9], [5]])
    }))

  it.live("does not send a read that was interrupted, and answers the others of a statement", () =>
    Effect.gen(function*() {
      const { reads, sent, start } = yield* setup()
      yield* start(1)
      const [waiting, gone, kept] = yield* Effect.forEach([2, 3, 4], start)
      yield* Fiber.interrupt(waiting!)
      yield* sent[0]!.succeed
      yield* settle
      assert.deepStrictEqual(reads(), [[1], [3, 4]])
      yield* Fiber.interrupt(gone!)
      assert.isFalse(sent[1]!.isInterrupted)
      yield* sent[1]!.succeed
      assert.strictEqual(yield* Fiber.join(kept!), 8)
    }))

  it.live("interrupts a statement whose callers are all interrupted, and sends the next", () =>
    Effect.gen(function*() {
      const { reads, sent, start } = yield* setup()
      const first = yield* start(1)
      const together = yield* Effect.forEach([2, 3], start)
      yield* Fiber.interrupt(first)
      assert.isTrue(sent[0]!.isInterrupted)
      const last = yield* start(4)
      yield* Fiber.interruptAll(together)
      yield* settle
      assert.isTrue(sent[1]!.isInterrupted)
      assert.deepStrictEqual(reads(), [[1], [2, 3], [4]])
      yield* sent[2]!.succeed
      assert.strictEqual(yield* Fiber.join(last), 8)
    }))

  it.live("reads each alone when a statement fails for a reason that may be one of them", () =>
    Effect.gen(function*() {
      const { reads, sent, start } = yield* setup()
      yield* start(1)
      const [broken, intact] = yield* Effect.forEach([2, 3], start)
      yield* sent[0]!.succeed
      yield* settle
      yield* sent[1]!.fail(damaged)
      yield* settle
      assert.deepStrictEqual(reads().slice(2), [[2], [3]])
      yield* sent[2]!.fail(damaged)
      yield* sent[3]!.succeed
      assert.strictEqual(reasonOf(yield* Fiber.await(broken!)), "StoreFailure")
      assert.strictEqual(yield* Fiber.join(intact!), 6)
    }))

  it.live("fails all reads of a statement whose connection was lost", () =>
    Effect.gen(function*() {
      const { reads, sent, start } = yield* setup()
      yield* start(1)
      const both = yield* Effect.forEach([2, 3], start)
      yield* sent[0]!.succeed
      yield* settle
      yield* sent[1]!.fail(lost)
      const exits = yield* Effect.forEach(both, Fiber.await)
      assert.deepStrictEqual(exits.map(reasonOf), ["StoreUnavailable", "StoreUnavailable"])
      assert.strictEqual(reads().length, 2)
    }))

  it.live("sends other reads beside a statement that takes long", () =>
    Effect.gen(function*() {
      const { sent, start } = yield* setup()
      yield* start(1)
      const second = yield* start(2)
      yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => sent[1] !== undefined, times: 2_000 })
      yield* sent[1]!.succeed
      assert.strictEqual(yield* Fiber.join(second), 4)
    }))

  it.live("fails a read that could not be sent in time", () =>
    Effect.gen(function*() {
      const { sent, start } = yield* setup(undefined, 20)
      yield* start(1)
      const exit = yield* Effect.exit(Effect.flatMap(start(2), Fiber.join))
      assert.strictEqual(reasonOf(exit), "StoreUnavailable")
      assert.include(String(Exit.findErrorOption(exit)), "connectionTimeout")
      assert.strictEqual(sent.length, 1)
    }))

  it.live("lets reads end after its scope was closed", () =>
    Effect.gen(function*() {
      const { reads, scope, sent, start } = yield* setup()
      const first = yield* start(1)
      const together = yield* Effect.forEach([2, 3], start)
      yield* sent[0]!.succeed
      yield* Fiber.join(first)
      const waiting = yield* start(4)
      yield* Scope.close(scope, Exit.void)
      const exits = yield* Effect.forEach(together, Fiber.await)
      assert.deepStrictEqual(exits.map(reasonOf), ["StoreUnavailable", "StoreUnavailable"])
      yield* start(5)
      yield* settle
      assert.deepStrictEqual(reads(), [[1], [2, 3], [4], [5]])
      yield* sent[2]!.succeed
      assert.strictEqual(yield* Fiber.join(waiting), 8)
    }))
})
