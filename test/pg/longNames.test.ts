/** Schemas whose names are as long as PostgreSQL allows, and names derived from them. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Option, Redacted, Stream } from "effect"
import { Event, EventQuery, EventStore, Position, ProjectionStore, Projector } from "evsrc"
import { PgEventStore, PgKeyStore, PgMigrations, PgStores } from "evsrc/pg"
import * as PgConnections from "../../src/pg/connections/PgConnections.ts"
import * as PgDeadlines from "../../src/pg/PgDeadlines.ts"
import * as PgNotify from "../../src/pg/PgNotify.ts"
import { freshDatabase, layerPostgres } from "../support/Database.ts"
import { Tick, tick, Total } from "./taggedTicks.ts"

/** Names of one length that differ at the end only. */
const namesOf = (length: number) => ["a", "B"].map((end) => `Sch_${"x".repeat(length - 5)}${end}`)

describe("a schema", () => {
  for (const length of [57, 58, 59, 60, 61, 62, 63]) {
    it.live(`with a name of ${length} characters has every feature, beside another one`, () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const client = PgClient.layer({ url: Redacted.make(url) })
        for (const schema of namesOf(length)) {
          const options = { schema, hashChain: true, causationIndex: true }
          const stores = PgStores.layerWith(options).pipe(Layer.provideMerge(client))
          yield* Effect.gen(function*() {
            const store = yield* EventStore.EventStore
            const projections = yield* ProjectionStore.ProjectionStore
            const { position } = yield* store.append(Tick, "s", [tick(1), tick(2)])
            yield* projections.awaitPosition(Total, position, "60 seconds").pipe(
              Effect.provide(Projector.layer([Total]))
            )
            assert.deepStrictEqual(yield* ProjectionStore.get(Total, "all"), Option.some({ sum: 3 }))
            assert.strictEqual(
              (yield* store.readByQuery(EventQuery.ofStoredTypes([{ tags: [Event.tag("tag", "t")] }]))).events.length,
              2
            )
          }).pipe(Effect.provide(stores))
          yield* PgMigrations.check(options).pipe(Effect.provide(client))
          yield* Effect.asVoid(Layer.build(PgKeyStore.layerWith({ schema: `${schema.slice(0, -1)}k` }))).pipe(
            Effect.scoped,
            Effect.provide(client)
          )
        }
      }))

    it.live(`with a name of ${length} characters wakes readers of other processes`, () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const [schema] = namesOf(length)
        // Without its notification the reader sees the event at its next poll only, after an hour.
        const store = Effect.map(
          Layer.build(
            PgEventStore.layerWith({ schema: schema!, pollInterval: "1 hour" }).pipe(
              Layer.provide(PgClient.layer({ url: Redacted.make(url) }))
            )
          ),
          Context.get(EventStore.EventStore)
        )
        const reader = yield* store
        const writer = yield* store
        yield* writer.append(Tick, "s", [tick(0)])
        const reading = yield* Effect.forkChild(
          reader.subscribe(Tick, { after: Position.start }).pipe(Stream.take(2), Stream.runCollect)
        )
        // Repeated: the reader may not listen yet when the first is sent.
        const appending = yield* Effect.forkChild(
          Effect.forever(Effect.andThen(writer.append(Tick, "s", [tick(1)]), Effect.sleep("200 millis")))
        )
        const events = yield* Effect.timeout(Fiber.join(reading), "1 minute")
        yield* Fiber.interrupt(appending)
        assert.deepStrictEqual(events.map(({ event }) => event.n), [0, 1])
      }).pipe(Effect.scoped))
  }

  it("has a channel of at most 63 characters, and another one than a similar name", () => {
    for (const length of [1, 57, 58, 63]) {
      const channels = ["a", "b"].map((end) => PgNotify.channelOf("x".repeat(length - 1) + end))
      for (const channel of channels) assert.isAtMost(channel.length, 63)
      assert.strictEqual(new Set(channels).size, 2)
    }
    assert.strictEqual(PgNotify.channelOf("evsrc"), "evsrc_evsrc")
  })

  it.live("that cannot be listened to is reported by one warning", () =>
    Effect.gen(function*() {
      const warnings: Array<unknown> = []
      const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
        if (logLevel === "Warn") warnings.push(message)
      })
      const sql = yield* PgClient.PgClient
      const connections = PgConnections.make(sql, yield* PgDeadlines.make())
      yield* PgNotify.make({ channel: "x".repeat(64), connections, onLog: Effect.void }).pipe(
        Effect.andThen(Effect.sleep("2500 millis")),
        Effect.scoped,
        Effect.provide(Logger.layer([logger]))
      )
      assert.strictEqual(warnings.length, 1)
      assert.include(String(warnings[0]), "Cannot listen for events of other processes")
    }).pipe(Effect.provide(layerPostgres())))

  it.live("with a name that is too long, or not of the allowed characters, is rejected", () =>
    Effect.gen(function*() {
      for (const schema of ["x".repeat(64), "sch\u00e9ma", "\u540d\u524d", "e".repeat(62) + "\u00e9"]) {
        const exit = yield* Effect.exit(Effect.suspend(() => PgMigrations.run({ schema })))
        assert.strictEqual(exit._tag, "Failure")
        assert.include(String(exit), "must have 1 to 63 of the characters")
      }
    }).pipe(Effect.provide(layerPostgres())))
})
