/** One instance to which several processes send commands all the time. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Stream } from "effect"
import { EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import * as Script from "../support/Script.ts"
import { CounterEvent, judgeEvents } from "./counters.ts"

const start = Effect.fnUntraced(function*(url: string) {
  const script = yield* Script.start(import.meta.resolve("./hotCounter.ts"), { env: { DATABASE_URL: url } })
  yield* script.waitFor(/^ready$/)
  const acknowledged: Array<string> = []
  /** Waits for so many further commands that succeed; none may fail. */
  const take = (count: number) =>
    Effect.gen(function*() {
      for (const enough = acknowledged.length + count; acknowledged.length < enough;) {
        const line = yield* script.waitFor(/^error| \.$/)
        assert.notMatch(line, /^error/)
        acknowledged.push(line.slice(0, -2))
      }
    })
  return { script, acknowledged, take }
})

it.live(
  "commands of several processes on one instance do not fail, also when one is killed",
  () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const [killed, ...others] = yield* Effect.all([start(url), start(url)], {
          concurrency: "unbounded"
        })
        const all = [killed!, ...others]
        for (const { script } of all) yield* script.write("go")
        yield* Effect.forEach(all, ({ take }) => take(60), { concurrency: "unbounded" })
        yield* killed!.script.signal("SIGKILL")
        yield* killed!.script.exited
        yield* Effect.forEach(others, ({ take }) => take(60), { concurrency: "unbounded" })
        for (const { script } of others) yield* script.write("stop")
        for (const { script } of others) assert.strictEqual((yield* script.exited).code, 0)

        const events = yield* Stream.runCollect(store.readStream(CounterEvent, "Counter-hot"))
        const written = judgeEvents(events.map(({ event }) => event))
        for (const [from, { length }] of written) assert.strictEqual(length, 1, `${from} is written once`)
        for (const { acknowledged } of all) {
          assert.deepStrictEqual(acknowledged.filter((from) => !written.has(from)), [], "acknowledged and not written")
        }
      }).pipe(
        Effect.provide(
          Layer.provide(PgEventStore.layer, PgClient.layer({ url: Redacted.make(url), maxConnections: 2 }))
        )
      )
    })
)
