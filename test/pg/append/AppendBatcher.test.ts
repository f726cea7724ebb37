/** Group commit over statements that the test controls: what goes together, what waits, and the result of each caller. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Schema, Scope, Semaphore } from "effect"
import { ConnectionError, DeadlockError, SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { type EventStoreDriver, type EventStoreError, StoreUnavailable, StreamId, type Version } from "evsrc"
import { storeError } from "../../../src/core/errors.ts"
import * as AppendBatcher from "../../../src/pg/append/AppendBatcher.ts"
import type { AppendQueueOptions } from "../../../src/pg/append/AppendQueue.ts"
import type { Queued } from "../../../src/pg/append/LockTimeoutError.ts"
import * as LockWaits from "../../../src/pg/append/LockWaits.ts"
import type { AppendRow } from "../../../src/pg/append/PgAppend.ts"
import * as PgDeadlines from "../../../src/pg/PgDeadlines.ts"

type Request = EventStoreDriver.AppendRequest

const request = (stream: string, commandId?: string, payload = "{}"): Request => ({
  stream: StreamId.StreamId.make(stream),
  expected: "any" satisfies Version.Expected,
  events: [{ id: stream, type: "T", schemaVersion: 1, data: payload, metadata: "{}" }],
  commandId
})

const row = (stream: string): AppendRow => ({
  outcome: "appended",
  stream,
  version: 1n,
  positions: [1n],
  recorded_at: null
})

interface Statement {
  readonly streams: ReadonlyArray<string>
  readonly succeed: Effect.Effect<unknown>
  /** Answers that these streams are busy, and that the rest is done. */
  readonly busy: (...streams: ReadonlyArray<string>) => Effect.Effect<unknown>
  /** Answers that these streams need one lock that another transaction holds, and that the rest is done. */
  readonly held: (...streams: ReadonlyArray<string>) => Effect.Effect<unknown>
  readonly fail: (error: SqlError) => Effect.Effect<unknown>
}

const deadlines = Effect.runSync(PgDeadlines.make({ lockTimeout: "1 minute" }))

const tooLong = (waited: string) =>
  storeError(new StoreUnavailable({ message: `waited too long (${waited})`, cause: undefined }))

const waiting = {
  deadlines,
  waits: LockWaits.make({ deadlines, size: 10, occupations: Semaphore.makeUnsafe(8) }),
  lockTimeoutErrors: {
    ofAppend: (_: Request, waited: string) => Effect.succeed(tooLong(waited)),
    ofQueued: (queued: ReadonlyArray<Queued>) =>
      Effect.succeed(queued.map(({ wait }) => tooLong(wait === undefined ? "not sent" : "was held"))),
    isHeld: () => Effect.succeed(true)
  }
}

/** Group commit with statements that wait until the test ends them. */
const setup = (
  options: AppendQueueOptions = { inFlight: 1 },
  scope?: Scope.Scope,
  limits: Partial<PgDeadlines.PgDeadlines> = {},
  ofQueued = waiting.lockTimeoutErrors.ofQueued
) =>
  Effect.gen(function*() {
    const sent: Array<Statement> = []
    let over = false
    const execute = (requests: ReadonlyArray<Request>) =>
      Effect.suspend(() => {
        if (over) return Effect.fail(lost)
        const done = Deferred.makeUnsafe<ReadonlyArray<AppendRow>, SqlError>()
        const busy = (version: bigint) => (...streams: ReadonlyArray<string>) =>
          Deferred.succeed(
            done,
            requests.map((r) =>
              streams.includes(r.stream) ? { ...row(r.stream), outcome: "busy", version } as const : row(r.stream)
            )
          )
        sent.push({
          streams: requests.map((r) => r.stream),
          succeed: Deferred.succeed(done, requests.map((r) => row(r.stream))),
          busy: busy(-1n),
          held: busy(-4_294_967_297n),
          fail: (error) => Deferred.fail(done, error)
        })
        return Deferred.await(done)
      })
    const make = AppendBatcher.make({
      single: (request) => Effect.map(execute([request]), (rows) => rows[0]!),
      batch: execute,
      ...waiting,
      waits: LockWaits.make({
        deadlines: { ...deadlines, ...limits },
        size: 10,
        occupations: Semaphore.makeUnsafe(8)
      }),
      lockTimeoutErrors: { ...waiting.lockTimeoutErrors, ofQueued },
      deadlines: { ...deadlines, ...limits }
    }, options)
    const append = yield* scope === undefined ? make : Scope.provide(make, scope)
    // A test may leave statements open, for which closing would wait.
    yield* Effect.addFinalizer(() => {
      over = true
      return Effect.forEach(sent, (statement) => statement.fail(lost))
    })
    const startNow = (request: Request) => Effect.forkChild(append(request), { startImmediately: true })
    /** Starts an append in a turn of the event loop of its own. */
    const start = (request: Request) => Effect.tap(startNow(request), Effect.promise(() => Promise.resolve()))
    /** The statement of that number, once it has been sent; others have had every chance to be sent too. */
    const statement = (n: number) =>
      Effect.repeat(Effect.yieldNow, { until: () => sent[n] !== undefined, times: 1000 }).pipe(
        Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 20 })),
        Effect.map(() => {
          const found = sent[n]
          if (found === undefined) throw new Error(`statement ${n} was not sent; sent were ${sent.length}`)
          return found
        })
      )
    return { append, sent, start, startNow, statement }
  })

const reason = <A>(exit: Exit.Exit<A, EventStoreError>): string | undefined =>
  Option.getOrUndefined(Exit.findErrorOption(exit))?.reason._tag

const lost = new SqlError({ reason: new ConnectionError({ cause: "gone", message: "gone", operation: "query" }) })
const refused = new SqlError({ reason: new ConnectionError({ cause: "gone", message: "gone", operation: "connect" }) })
const deadlock = new SqlError({ reason: new DeadlockError({ cause: { code: "40P01" }, message: "dead" }) })

describe("AppendBatcher", () => {
  it.effect("sends the first append at once, and those that arrive meanwhile together", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      const first = yield* start(request("a"))
      const statementA = yield* statement(0)
      assert.deepStrictEqual(statementA.streams, ["a"])
      const others = yield* Effect.forEach(["b", "c", "d"], (stream) => start(request(stream)))
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      assert.strictEqual(sent.length, 1)
      yield* statementA.succeed
      assert.strictEqual((yield* Fiber.join(first)).stream, "a")
      const together = yield* statement(1)
      assert.deepStrictEqual(together.streams, ["b", "c", "d"])
      yield* together.succeed
      const rows = yield* Effect.forEach(others, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual(rows.map((r) => r.stream), ["b", "c", "d"])
    }))

  it.effect("sends those that are asked for in one turn together, without one that is interrupted", () =>
    Effect.gen(function*() {
      const { sent, startNow, statement } = yield* setup()
      const gone = yield* startNow(request("a"))
      const all = yield* Effect.forEach(["b", "c", "d"], (stream) => startNow(request(stream)))
      yield* Fiber.interrupt(gone)
      const together = yield* statement(0)
      assert.deepStrictEqual(together.streams, ["b", "c", "d"])
      yield* together.succeed
      assert.deepStrictEqual((yield* Effect.forEach(all, Fiber.join)).map((r) => r.stream), ["b", "c", "d"])
      assert.strictEqual(sent.length, 1)
    }))

  it.effect("sends appends of one stream together in order, those of one command apart", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      for (
        const r of [request("a", "1"), request("b"), request("a", "2"), request("c", "1"), request("c"), request("d")]
      ) {
        yield* start(r)
      }
      yield* (yield* statement(0)).succeed
      // c under command 1 waits for a under command 1, and the other c behind it.
      assert.deepStrictEqual((yield* statement(1)).streams, ["a", "a", "b", "d"])
      yield* (yield* statement(1)).succeed
      assert.deepStrictEqual((yield* statement(2)).streams, ["c", "c"])
      yield* (yield* statement(2)).succeed
      assert.strictEqual(sent.length, 3)
    }))

  it.effect("sends the appends behind one that is interrupted while its lock is held", () =>
    Effect.gen(function*() {
      const { start, statement } = yield* setup()
      yield* start(request("x"))
      const [first, second, third] = yield* Effect.forEach(["a", "a", "a"], (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      const together = yield* statement(1)
      yield* Effect.forkChild(Fiber.interrupt(first!), { startImmediately: true })
      yield* together.busy("a")
      const behind = yield* statement(2)
      assert.deepStrictEqual(behind.streams, ["a", "a"])
      yield* behind.succeed
      yield* Fiber.join(second!)
      yield* Fiber.join(third!)
    }))

  it.effect("sends the appends behind one that waits for a lock when it has ended", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      const fibers = yield* Effect.forEach(["a", "a", "b", "a"], (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      const together = yield* statement(1)
      assert.deepStrictEqual(together.streams, ["a", "a", "a", "b"])
      yield* together.busy("a")
      const waiting = yield* statement(2)
      assert.deepStrictEqual(waiting.streams, ["a"])
      const later = yield* start(request("a"))
      yield* Fiber.interrupt(fibers[1]!)
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      assert.strictEqual(sent.length, 3)
      yield* waiting.succeed
      const behind = yield* statement(3)
      assert.deepStrictEqual(behind.streams, ["a", "a"])
      yield* behind.succeed
      yield* Effect.forEach([fibers[0]!, fibers[2]!, fibers[3]!, later], (fiber) => Fiber.join(fiber))
      assert.strictEqual(sent.length, 4)
    }))

  it.effect("fails the appends behind one that waited too long for a lock together with it", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      const fibers = yield* Effect.forEach(["a", "a", "a"], (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).busy("a")
      yield* statement(2)
      yield* TestClock.adjust("1 minute")
      // The wait in the database has ended without the lock.
      yield* (yield* statement(2)).busy("a")
      yield* TestClock.adjust("1 second")
      const exits = yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
      assert.deepStrictEqual(exits.map(reason), ["StoreUnavailable", "StoreUnavailable", "StoreUnavailable"])
      assert.strictEqual(sent.length, 3, "those behind it have not been sent again")
    }))

  it.effect("of the appends that need one lock, one asks for it, and the others are sent together afterwards", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      const streams = ["a", "b", "c", "d"]
      const fibers = yield* Effect.forEach(streams, (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).held(...streams)
      assert.deepStrictEqual((yield* statement(2)).streams, ["a"])
      const other = yield* start(request("o"))
      yield* (yield* statement(3)).succeed
      yield* Fiber.join(other)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(sent.length, 4)
      yield* (yield* statement(2)).succeed
      assert.deepStrictEqual((yield* statement(4)).streams, ["b", "c", "d"])
      yield* (yield* statement(4)).succeed
      yield* Effect.forEach(fibers, (fiber) => Fiber.join(fiber))
    }))

  it.effect("of the appends that need one lock, the next asks for it when the first has waited too long", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      const early = yield* start(request("a"))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).held("a")
      yield* statement(2)
      yield* TestClock.adjust("30 seconds")
      const late = yield* Effect.forEach(["b", "c", "d"], (stream) => start(request(stream)))
      yield* (yield* statement(3)).held("b")
      yield* (yield* statement(4)).held("c", "d")
      yield* TestClock.adjust("31 seconds")
      yield* (yield* statement(2)).held("a")
      assert.strictEqual(reason(yield* Fiber.await(early)), "StoreUnavailable")
      assert.deepStrictEqual((yield* statement(5)).streams, ["b"])
      yield* Fiber.interrupt(late[1]!)
      yield* (yield* statement(5)).succeed
      assert.deepStrictEqual((yield* statement(6)).streams, ["d"])
      yield* (yield* statement(6)).succeed
      yield* Fiber.join(late[2]!)
      assert.strictEqual(sent.length, 7)
    }))

  it.live("another append asks for a lock while the first one waits for long", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      const streams = ["a", "b", "c", "d"]
      const [first, ...others] = yield* Effect.forEach(streams, (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).held(...streams)
      assert.deepStrictEqual((yield* statement(2)).streams, ["a"])
      yield* Effect.repeat(Effect.sleep("10 millis"), { until: () => sent.length === 4 }).pipe(
        Effect.timeout("1 minute")
      )
      assert.deepStrictEqual((yield* statement(3)).streams, ["b"])
      yield* (yield* statement(3)).succeed
      assert.deepStrictEqual((yield* statement(4)).streams, ["c", "d"])
      yield* (yield* statement(4)).succeed
      yield* Effect.forEach(others, (fiber) => Fiber.join(fiber))
      yield* (yield* statement(2)).succeed
      yield* Fiber.join(first!)
    }))

  it.effect("sends the append behind one that is interrupted while another asks for its lock", () =>
    Effect.gen(function*() {
      const { start, statement } = yield* setup()
      yield* start(request("x"))
      yield* start(request("a"))
      const held = yield* start(request("b"))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).held("a", "b")
      assert.deepStrictEqual((yield* statement(2)).streams, ["a"])
      const behind = yield* start(request("b", "behind"))
      yield* Fiber.interrupt(held)
      assert.deepStrictEqual((yield* statement(3)).streams, ["b"])
      yield* (yield* statement(3)).succeed
      yield* Fiber.join(behind)
    }))

  it.live("distinguishes appends not sent in time from those that waited for a lock", () =>
    Effect.gen(function*() {
      const { start, statement } = yield* setup({ inFlight: 1 }, undefined, { connectionTimeout: 100, lockTimeout: 50 })
      const message = (fiber: Effect.Success<ReturnType<typeof start>>) =>
        Effect.map(Fiber.await(fiber), (exit) => Option.getOrThrow(Exit.findErrorOption(exit)).message)
      yield* start(request("slow"))
      assert.strictEqual(yield* message(yield* start(request("slow"))), "waited too long (not sent)")
      yield* (yield* statement(0)).busy("slow")
      assert.strictEqual(yield* message(yield* start(request("slow"))), "waited too long (was held)")
    }))

  it.effect("waits its whole lockTimeout for a lock, however long it was queued before", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup({ inFlight: 1 }, undefined, {
        connectionTimeout: 60_000,
        lockTimeout: 5_000
      })
      yield* start(request("x"))
      const queued = yield* start(request("a"))
      yield* TestClock.adjust("20 seconds")
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).busy("a")
      yield* TestClock.adjust("4 seconds")
      yield* (yield* statement(2)).succeed
      yield* Fiber.join(queued)
      assert.strictEqual(sent.length, 3)
    }))

  it.live(
    "fails what has waited too long also when the store is closed before its error is known",
    () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const isAsked = yield* Deferred.make<void>()
        const { start, statement } = yield* setup(
          { inFlight: 1 },
          scope,
          { connectionTimeout: 50, lockTimeout: 50 },
          () => Effect.andThen(Deferred.succeed(isAsked, undefined), Effect.never)
        )
        yield* start(request("x"))
        yield* statement(0)
        const late = yield* start(request("a"))
        yield* Effect.timeout(Deferred.await(isAsked), "1 minute")
        yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        assert.strictEqual(reason(yield* Effect.timeout(Fiber.await(late), "1 minute")), "StoreUnavailable")
      })
  )

  it.effect("never has one stream in two statements in flight", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup({ inFlight: 2, statementAppends: 1 })
      for (const stream of ["a", "a", "b", "c"]) yield* start(request(stream))
      assert.deepStrictEqual((yield* statement(0)).streams, ["a"])
      assert.deepStrictEqual((yield* statement(1)).streams, ["b"])
      yield* (yield* statement(1)).succeed
      assert.deepStrictEqual((yield* statement(2)).streams, ["c"])
      yield* (yield* statement(2)).succeed
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      assert.strictEqual(sent.length, 3, "the second append to a waits for the first")
      yield* (yield* statement(0)).succeed
      assert.deepStrictEqual((yield* statement(3)).streams, ["a"])
    }))

  it.effect("sends a second statement only with enough appends for two, and divides them", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup({ inFlight: 2, statementAppends: 2 })
      for (const stream of ["x", "a", "b"]) yield* start(request(stream))
      assert.deepStrictEqual((yield* statement(0)).streams, ["x"])
      assert.strictEqual(sent.length, 1, "three are not enough for two")
      for (const stream of ["c", "d"]) yield* start(request(stream))
      assert.deepStrictEqual((yield* statement(1)).streams, ["a", "b"])
      yield* (yield* statement(0)).succeed
      assert.deepStrictEqual((yield* statement(2)).streams, ["c", "d"])
      yield* (yield* statement(1)).succeed
      for (const stream of ["e", "f"]) yield* start(request(stream))
      assert.deepStrictEqual((yield* statement(3)).streams, ["e", "f"])
    }))

  it.effect("limits the appends and bytes of a statement, but sends at least one append", () =>
    Effect.gen(function*() {
      const { start, statement } = yield* setup({ inFlight: 1, batchAppends: 3, batchBytes: 100 })
      yield* start(request("x"))
      for (const stream of ["a", "b", "c", "d"]) yield* start(request(stream))
      yield* start(request("large", undefined, JSON.stringify("x".repeat(1000))))
      yield* start(request("e"))
      const expected = [["x"], ["a", "b", "c"], ["d"], ["large"], ["e"]]
      for (const [n, streams] of expected.entries()) {
        assert.deepStrictEqual((yield* statement(n)).streams, streams)
        yield* (yield* statement(n)).succeed
      }
    }))

  it.effect("sends the appends of a failed statement alone, and fails only the cause", () =>
    Effect.gen(function*() {
      const { start, statement } = yield* setup()
      yield* start(request("x"))
      const fibers = yield* Effect.forEach(["a", "b", "c"], (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).fail(deadlock)
      for (const [n, stream] of ["a", "b", "c"].entries()) {
        const alone = yield* statement(n + 2)
        assert.deepStrictEqual(alone.streams, [stream])
        yield* stream === "b" ? alone.fail(deadlock) : alone.succeed
      }
      const exits = yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
      assert.deepStrictEqual(exits.map(reason), [undefined, "StoreUnavailable", undefined])
    }))

  it.effect("an append with a held stream waits with its successors, and others continue", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      const x = yield* start(request("x"))
      yield* (yield* statement(0)).busy("x")
      // Alone, now waiting, while others come and go.
      assert.deepStrictEqual((yield* statement(1)).streams, ["x"])
      const [a, b] = yield* Effect.forEach(["a", "b"], (stream) => start(request(stream)))
      const second = yield* start(request("x"))
      assert.deepStrictEqual((yield* statement(2)).streams, ["a"])
      yield* (yield* statement(2)).succeed
      yield* (yield* statement(3)).busy("b")
      assert.deepStrictEqual((yield* statement(4)).streams, ["b"])
      assert.strictEqual((yield* Fiber.join(a!)).stream, "a")
      assert.isUndefined(x.pollUnsafe())
      assert.strictEqual(sent.length, 5, "the second append to x has not been sent")
      yield* (yield* statement(1)).succeed
      assert.strictEqual((yield* Fiber.join(x)).outcome, "appended")
      assert.deepStrictEqual((yield* statement(5)).streams, ["x"])
      yield* (yield* statement(5)).succeed
      yield* (yield* statement(4)).succeed
      yield* Fiber.join(second)
      yield* Fiber.join(b!)
    }))

  it.effect("does not retry appends one by one after an error that concerns all", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      const fibers = yield* Effect.forEach(["a", "b", "c"], (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).fail(refused)
      const exits = yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
      assert.deepStrictEqual(exits.map(reason), ["StoreUnavailable", "StoreUnavailable", "StoreUnavailable"])
      assert.strictEqual(sent.length, 2)
    }))

  it.effect("fails the callers of a statement that throws, and sends the next", () =>
    Effect.gen(function*() {
      const broken = (): never => {
        throw new Error("cannot be encoded")
      }
      let ok = false
      const append = yield* AppendBatcher.make({
        single: (r) => ok ? Effect.succeed(row(r.stream)) : broken(),
        batch: broken,
        ...waiting
      }, { inFlight: 1 })
      const exits = yield* Effect.forEach(["a", "a", "b", "c"], (stream) => Effect.exit(append(request(stream))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(exits.map(Exit.hasDies), [true, true, true, true])
      ok = true
      assert.strictEqual((yield* append(request("a"))).stream, "a")
    }))

  it.effect("reports OutcomeUnknown for each append of a lost connection", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup()
      yield* start(request("x"))
      const fibers = yield* Effect.forEach(["a", "b"], (stream) => start(request(stream)))
      yield* (yield* statement(0)).succeed
      yield* (yield* statement(1)).fail(lost)
      const exits = yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
      assert.deepStrictEqual(exits.map(reason), ["OutcomeUnknown", "OutcomeUnknown"])
      assert.strictEqual(sent.length, 2, "nothing is sent twice by itself")
      const next = yield* start(request("c"))
      yield* (yield* statement(2)).fail(refused)
      assert.strictEqual(reason(yield* Fiber.await(next)), "StoreUnavailable", "what never left is not unknown")
    }))

  it.effect("does not send an append that is interrupted while it waits", () =>
    Effect.gen(function*() {
      const { start, statement } = yield* setup()
      const underWay = yield* start(request("x"))
      const waiting = yield* start(request("a"))
      yield* start(request("b"))
      yield* statement(0)
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(underWay)
      yield* (yield* statement(0)).succeed
      assert.deepStrictEqual((yield* statement(1)).streams, ["b"])
    }))

  it.effect("stops polling for an append that is interrupted while it waits for a lock", () =>
    Effect.gen(function*() {
      const { sent, start, statement } = yield* setup({ inFlight: 1 })
      const callers: Array<Effect.Success<ReturnType<typeof start>>> = []
      for (const [n, stream] of ["a", "b", "c", "d"].entries()) {
        callers.push(yield* start(request(stream)))
        yield* (yield* statement(n * 2)).busy(stream)
        yield* statement(n * 2 + 1)
      }
      const late = yield* start(request("e"))
      yield* (yield* statement(8)).busy("e")
      // With no place left it asks again after a pause.
      yield* Effect.repeat(Effect.yieldNow, { times: 20 })
      yield* Fiber.interrupt(late)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(sent.length, 9)
      yield* start(request("e"))
      yield* statement(9)
    }))

  it.effect("at shutdown waits for statements in flight, and fails the other appends", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { append, start, statement } = yield* setup({ inFlight: 1 }, scope)
      const underWay = yield* start(request("x"))
      const waiting = yield* start(request("a"))
      const first = yield* statement(0)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      assert.strictEqual(reason(yield* Fiber.await(waiting)), "StoreUnavailable")
      assert.isUndefined(closing.pollUnsafe())
      assert.strictEqual(reason(yield* Effect.exit(append(request("b")))), "StoreUnavailable")
      yield* first.succeed
      assert.strictEqual((yield* Fiber.join(underWay)).stream, "x")
      yield* Fiber.join(closing)
    }))

  it.effect("at shutdown abandons a server that does not respond, with OutcomeUnknown", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { start, statement } = yield* setup({ inFlight: 1 }, scope)
      const underWay = yield* start(request("x"))
      yield* statement(0)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(reason(yield* Fiber.await(underWay)), "OutcomeUnknown")
      yield* Fiber.join(closing)
    }))

  it.effect.prop(
    "sends every append once, and the appends of each stream in their order",
    [Schema.Array(Schema.Literals(["a", "b", "c", "d"])), Schema.Literals([1, 2, 3])],
    ([streams, inFlight]) =>
      Effect.gen(function*() {
        const log: Array<string> = []
        const open = new Set<string>()
        const execute = (requests: ReadonlyArray<Request>) =>
          Effect.gen(function*() {
            const streams = new Set(requests.map(({ stream }) => stream))
            for (const stream of streams) {
              assert.notInclude(Array.from(open), stream, "streams in flight")
              open.add(stream)
            }
            yield* Effect.yieldNow
            for (const r of requests) {
              open.delete(r.stream)
              log.push(r.events[0]!.data)
            }
            return requests.map((r) => row(r.stream))
          })
        const append = yield* AppendBatcher.make({
          single: (r) => Effect.map(execute([r]), (rows) => rows[0]!),
          batch: execute,
          ...waiting
        }, { inFlight, batchAppends: 3 })
        const payload = (stream: string, i: number) => `${stream}${i}`
        yield* Effect.forEach(streams, (stream, i) => append(request(stream, undefined, payload(stream, i))), {
          concurrency: "unbounded"
        })
        for (const stream of ["a", "b", "c", "d"]) {
          const expected = streams.flatMap((s, i) => s === stream ? [payload(s, i)] : [])
          assert.deepStrictEqual(log.filter((sent) => sent.startsWith(stream)), expected)
        }
      }).pipe(Effect.scoped)
  )
})
