/** Faults while many commands of one instance are in flight. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, ManagedRuntime, Option, Redacted, Stream } from "effect"
import { Aggregate, CommandBus, EventStore, EventStoreError } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import * as Proxy from "../support/Proxy.ts"
import { Count, Counter, CounterEvent, judgeEvents } from "./counters.ts"

const program = (url: string, cached = 1_000) =>
  ManagedRuntime.make(
    Aggregate.layer(Counter).pipe(
      Layer.provideMerge(PgEventStore.layerWith({ notify: false })),
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 })),
      Layer.provide(Layer.succeed(Aggregate.StateCache, { capacity: cached, timeToLive: "1 minute" }))
    )
  )

type Program = ReturnType<typeof program>

const inProgram = <A, E>(
  runtime: Program,
  effect: Effect.Effect<A, E, ManagedRuntime.ManagedRuntime.Services<Program>>
): Effect.Effect<Exit.Exit<A, unknown>> => Effect.promise(() => runtime.runPromiseExit(effect))

const count = (counter: string, from: string, commandId = from) =>
  CommandBus.dispatch(Count, { counter, times: 1, from }, { commandId })

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

const eventsOf = (counter: string) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Effect.map(
      Stream.runCollect(store.readStream(CounterEvent, `Counter-${counter}`)),
      (events) => events.map(({ event }) => event)
    ))

const started = Effect.fnUntraced(function*(url: string, cached?: number) {
  const runtime = program(url, cached)
  yield* Effect.addFinalizer(() => Effect.promise(() => runtime.dispose()))
  yield* inProgram(runtime, EventStore.EventStore)
  return runtime
})

const value = <A, E>(exit: Exit.Exit<A, E>): A => {
  assert.isTrue(Exit.isSuccess(exit), String(exit))
  return (exit as Exit.Success<A, E>).value
}

describe("faults in the turn of an instance", () => {
  it.live("100 commands whose connection is lost at the commit all get their receipts, and are written once", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const proxy = yield* Proxy.make(url)
      const runtime = yield* started(proxy.url)
      value(yield* inProgram(runtime, count("c", "first")))
      const receipts = value(
        yield* inProgram(
          runtime,
          Effect.gen(function*() {
            // It leaves alone. When it has ended the others leave together, and the answer to their statement is lost.
            yield* Effect.forkChild(Effect.andThen(count("c", "alone"), proxy.loseNextAnswer), {
              startImmediately: true
            })
            return yield* Effect.forEach(upTo(100), (n) => count("c", `${n}`), { concurrency: "unbounded" })
          })
        )
      )
      assert.strictEqual(yield* proxy.lost, 1)
      assert.strictEqual(new Set(receipts.map(({ version }) => version)).size, 100)
      const written = judgeEvents(value(yield* inProgram(runtime, eventsOf("c"))))
      assert.strictEqual(written.size, 102)
      for (const [from, { length }] of written) assert.strictEqual(length, 1, from)
      const again = value(
        yield* inProgram(runtime, Effect.forEach(upTo(100), (n) => count("c", `${n}`), { concurrency: 10 }))
      )
      assert.deepStrictEqual(again, receipts, "the same receipts")
    }))

  it.live("at shutdown each command is written and answered, or fails and says whether it is unknown", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const proxy = yield* Proxy.make(url)
      const runtime = yield* started(proxy.url)
      value(yield* inProgram(runtime, count("c", "first")))
      yield* proxy.delay(5)
      const fiber = yield* Effect.forkChild(
        inProgram(
          runtime,
          Effect.forEach(upTo(300), (n) => Effect.exit(count("c", `${n}`)), { concurrency: "unbounded" })
        ),
        { startImmediately: true }
      )
      yield* Effect.sleep("20 millis")
      yield* Effect.promise(() => runtime.dispose())
      const exit = yield* Fiber.join(fiber)
      const next = yield* started(url)
      const written = judgeEvents(value(yield* inProgram(next, eventsOf("c"))))
      for (const [from, { length }] of written) assert.strictEqual(length, 1, from)
      for (const [index, each] of (Exit.isSuccess(exit) ? exit.value : []).entries()) {
        const error = Option.getOrUndefined(Exit.findErrorOption(each))
        const isUnknown = error instanceof EventStoreError && error.reason._tag === "OutcomeUnknown"
        if (!isUnknown && !Exit.hasInterrupts(each)) {
          assert.strictEqual(written.has(`${index + 1}`), Exit.isSuccess(each), `${index + 1}: ${String(each)}`)
        }
      }
      // Whatever became of them, the same ids end it.
      value(yield* inProgram(next, Effect.forEach(upTo(300), (n) => count("c", `${n}`), { concurrency: "unbounded" })))
      assert.strictEqual(judgeEvents(value(yield* inProgram(next, eventsOf("c")))).size, 301)
    }))

  it.live("events beyond the size of a statement are split over several, in their order", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const runtime = yield* started(url)
      const large = "x".repeat(400_000)
      value(
        yield* inProgram(
          runtime,
          Effect.forEach(upTo(15), (n) => count("c", `${n}${large}`, `${n}`), { concurrency: "unbounded" })
        )
      )
      assert.strictEqual(judgeEvents(value(yield* inProgram(runtime, eventsOf("c")))).size, 15)
      const [row] = value(
        yield* inProgram(
          runtime,
          Effect.flatMap(PgClient.PgClient, (sql) =>
            sql<{ readonly most: bigint }>`select max(bytes) as most from (
              select sum(octet_length(data::text)) as bytes from evsrc.events group by xmin::text
            ) as statements`)
        )
      )
      assert.isBelow(Number(row!.most), 5 * 1024 * 1024)
    }))

  it.live("commands wait for instances whose states are evicted meanwhile", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const runtime = yield* started(url, 1)
      value(
        yield* inProgram(
          runtime,
          Effect.forEach(upTo(150), (n) => count(`c${n % 5}`, `${n}`), { concurrency: "unbounded" })
        )
      )
      for (const n of upTo(5)) {
        assert.strictEqual(judgeEvents(value(yield* inProgram(runtime, eventsOf(`c${n % 5}`)))).size, 30)
      }
    }))
})
