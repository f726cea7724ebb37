/** Rows that are larger than the client reads. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Result, Schema, Stream } from "effect"
import { EventStore, EventStoreError } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"

const Note = Schema.TaggedUnion({ Noted: { text: Schema.String } })
const append = (stream: string, length: number) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(Note, stream, [Note.cases.Noted.make({ text: "ä".repeat(length) })])
  )
const read = (stream: string) =>
  Effect.flatMap(EventStore.EventStore, (store) => Stream.runCollect(store.readStream(Note, stream)))

const storeOn = (url: string, maxMessageSize?: number) =>
  PgEventStore.layer.pipe(
    Layer.provide(Layer.fresh(PgClient.layer({
      url: Redacted.make(url),
      maxConnections: 4,
      ...maxMessageSize === undefined ? {} : { maxMessageSize }
    }))),
    Layer.fresh
  )

const reasonOf = (error: unknown): string => error instanceof EventStoreError ? error.reason._tag : String(error)

describe("an event that is larger than the client reads", () => {
  it.live("is rejected", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.gen(function*() {
        const error = yield* Effect.flip(append("large", 50_000))
        assert.strictEqual(reasonOf(error), "InvalidRequest")
        assert.include(error.message, "maxMessageSize")
        yield* append("small", 20_000)
        assert.strictEqual((yield* read("small")).length, 1)
        assert.strictEqual((yield* read("large")).length, 0)
      }).pipe(Effect.provide(storeOn(url, 150 * 1024)))
    }).pipe(Effect.scoped))

  it.live("fails no read with which it shares a statement", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const streams = Array.from({ length: 20 }, (_, n) => `small-${n}`)
      yield* Effect.gen(function*() {
        yield* append("large", 200_000)
        for (const stream of streams) yield* append(stream, 1)
      }).pipe(Effect.provide(storeOn(url)))
      yield* Effect.gen(function*() {
        const [large, ...others] = yield* Effect.forEach(
          ["large", ...streams],
          (stream) => Effect.result(read(stream)),
          { concurrency: "unbounded" }
        )
        assert(large !== undefined && Result.isFailure(large))
        assert.strictEqual(reasonOf(large.failure), "StoreMisconfigured")
        assert.include(large.failure.message, "maxMessageSize")
        assert.deepStrictEqual(others.map(Result.isSuccess), streams.map(() => true))
      }).pipe(Effect.provide(storeOn(url, 150 * 1024)))
    }).pipe(Effect.scoped))
})
