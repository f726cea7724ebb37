/** A process that follows the whole log, decoded, and tells its memory as it goes: a line of JSON each time. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schema, Stream } from "effect"
import { EventStore } from "../../src/index.ts"
import { PgEventStore } from "../../src/pg/index.ts"
import type { Sample } from "./report.ts"

const [url = "", totalText = "", samplesText = ""] = process.argv.slice(2)
const [total, samples] = [Number(totalText), Number(samplesText)]

const Enrolled = Schema.TaggedUnion({
  StudentEnrolled: { courseId: Schema.String, studentId: Schema.String, note: Schema.String }
})

const started = performance.now()
let events = 0
const tell = Effect.sync(() => {
  const seconds = (performance.now() - started) / 1000
  globalThis.gc!()
  const { heapUsed, rss } = process.memoryUsage()
  const sample: Sample = { events, seconds, rss, heapUsed }
  console.log(JSON.stringify(sample))
})

const follow = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  yield* store.subscribe(Enrolled).pipe(
    Stream.take(total),
    Stream.runForEachArray((page) =>
      Effect.suspend(() => {
        const due = Math.floor((events + page.length) * samples / total) > Math.floor(events * samples / total)
        events += page.length
        return due ? tell : Effect.void
      })
    )
  )
})

const database = PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })
await Effect.runPromise(follow.pipe(Effect.provide(PgEventStore.layer.pipe(Layer.provide(database)))))
process.exit(0)
