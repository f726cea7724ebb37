/** Appends with inline projections that share statements, on databases. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Schedule, Schema, Tracer } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const Counted = Schema.TaggedUnion({ Counted: { key: Schema.String } })
const Other = Schema.TaggedUnion({ Other: { key: Schema.String } })

const Bare = Schema.TaggedUnion({ Bare: {} })

const counts = Projection.make("counts", {
  events: Counted,
  lifecycle: "inline",
  document: Schema.Int,
  key: ({ key }) => key,
  evolve: { Counted: (n) => (n ?? 0) + 1 }
})
const others = Projection.make("others", {
  events: Other,
  lifecycle: "inline",
  document: Schema.Int,
  key: ({ key }) => key,
  evolve: { Other: (n) => (n ?? 0) + 1 }
})

const append = (key: string, options?: EventStore.AppendOptions) =>
  EventStore.append(Counted, `C-${key}`, [{ _tag: "Counted", key }], options)
const appendOther = (key: string) => EventStore.append(Other, `O-${key}`, [{ _tag: "Other", key }])

const keys = Array.from({ length: 24 }, (_, n) => `k${n}`)
const together = { concurrency: "unbounded" } as const

/** How many appends each shared statement had, and how many transactions ran. */
const statements: Array<number> = []
let transactions = 0
const tracer = Tracer.make({
  span: (options) => {
    const span = new Tracer.NativeSpan(options)
    const { end } = span
    if (options.name === "sql.transaction") transactions++
    if (options.name === "EventStore.commit") {
      span.end = (...args) => {
        statements.push(Number(span.attributes.get("evsrc.appends")))
        end.apply(span, args)
      }
    }
    return span
  }
})

const stores = <E>(
  client: Layer.Layer<PgClient.PgClient | SqlClient, E>,
  options?: Parameters<typeof PgStores.layerWith>[0]
) =>
  Layer.fresh(
    PgStores.layerWith(options).pipe(
      Layer.provideMerge(client),
      Layer.provideMerge(Layer.succeed(Tracer.Tracer, tracer))
    )
  )

const documents = Effect.forEach(keys, (key) => Effect.map(ProjectionStore.get(counts, key), Option.getOrNull))

for (const [name, client] of Object.entries({ PGlite: layerPglite, PostgreSQL: layerPostgres })) {
  describe(`appends with inline projections on ${name}`, () => {
    it.live("share statements, and each has its own result", () =>
      Effect.gen(function*() {
        yield* append("k3")
        statements.length = 0
        transactions = 0
        const exits = yield* Effect.forEach(
          keys,
          (key) => Effect.exit(append(key, { expected: "noStream" })),
          together
        )
        assert.deepStrictEqual(exits.map(Exit.isSuccess), keys.map((key) => key !== "k3"))
        assert.deepStrictEqual(yield* documents, keys.map(() => 1))
        assert.isAbove(statements.reduce((sum, appends) => sum + appends, 0), keys.length / 2)
        assert.isBelow(statements.length, keys.length / 4)
        assert.strictEqual(transactions, 0)
      }).pipe(Effect.provide(Projector.layerInline([counts])), Effect.provide(stores(client()))))

    it.live("run in a transaction only if one of their documents has changed meanwhile", () =>
      Effect.gen(function*() {
        const base = yield* EventStore.EventStore
        const other = yield* Layer.build(Layer.fresh(Projector.layerInline([counts])))
        const haveRead = yield* Deferred.make<void>()
        let waiting = keys.length
        // When all have read their documents, another layer changes one of them.
        const changed = Effect.suspend(() =>
          --waiting > 0 ? Effect.void : Effect.orDie(append("k7")).pipe(
            Effect.provideContext(other),
            Effect.andThen(Deferred.succeed(haveRead, undefined))
          )
        )
        const slow = base[internals].changeAppends((request) => ({
          ...request,
          documentsAhead: request.documentsAhead && request.documentsAhead.pipe(
            Effect.tap(changed),
            Effect.tap(Deferred.await(haveRead))
          )
        }))
        yield* Effect.gen(function*() {
          statements.length = 0
          transactions = 0
          yield* Effect.forEach(keys, (key) => append(key), together)
          assert.deepStrictEqual(yield* documents, keys.map((key) => key === "k7" ? 2 : 1))
          // The append in between finds its document in flight, and that in flight finds it changed.
          assert.strictEqual(transactions, 2)
          assert.isAbove(Math.max(...statements), 2)
        }).pipe(
          Effect.provide(
            Projector.layerInline([counts]).pipe(
              Layer.provide(Layer.succeed(EventStore.EventStore, slow))
            )
          )
        )
      }).pipe(Effect.provide(stores(client()))))

    it.live("fail alone if their projection was retired after the program was started", () =>
      Effect.gen(function*() {
        const { driver } = (yield* EventStore.EventStore)[internals]
        yield* append("k1")
        yield* driver.inlineProjections.unregister(others.id)
        statements.length = 0
        const [failed, ...rest] = yield* Effect.all([
          ...keys.slice(0, 4).map((key) => Effect.exit(append(key))),
          Effect.exit(appendOther("o")),
          ...keys.slice(4).map((key) => Effect.exit(append(key)))
        ], together).pipe(Effect.map((exits) => [exits[4]!, ...exits.toSpliced(4, 1)]))
        assert.deepStrictEqual(rest.map(Exit.isSuccess), keys.map(() => true))
        const error = Option.getOrThrow(Exit.findErrorOption(failed!))
        assert("reason" in error, error._tag)
        assert.strictEqual(error.reason._tag, "StoreMisconfigured")
        assert.include(error.message, "Start the program again")
        assert.deepStrictEqual(yield* documents, keys.map((key) => key === "k1" ? 2 : 1))
        assert.isAbove(Math.max(...statements), 4)
      }).pipe(Effect.provide(Projector.layerInline([counts, others])), Effect.provide(stores(client()))))
  })
}

describe("appends without inline projections", () => {
  it.live("go on while a session locks the table of documents", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const other = yield* Effect.provide(PgClient.makeClient(sql.config), Reactivity.layer)
      const waiting = sql`select from pg_locks where not granted and relation = 'evsrc.documents'::regclass`
      yield* append("k0")
      yield* other`begin`
      yield* other`lock table evsrc.documents in exclusive mode`
      const held: Array<Fiber.Fiber<unknown, unknown>> = []
      // As many as may stall without keeping others from being sent, and one more.
      for (const n of [1, 2, 3]) {
        held.push(yield* Effect.forkChild(append(`k${n}`)))
        yield* Effect.repeat(waiting, { until: (rows) => rows.length === n, schedule: Schedule.spaced("20 millis") })
          .pipe(
            Effect.timeout("1 minute")
          )
      }
      yield* Effect.timeout(
        EventStore.append(Bare, "B-1", [{ _tag: "Bare" }]),
        "1 minute"
      )
      yield* other`rollback`
      yield* Effect.forEach(held, Fiber.join)
      assert.deepStrictEqual((yield* documents).slice(0, 4), [1, 1, 1, 1])
    }).pipe(
      Effect.provide(Projector.layerInline([counts])),
      Effect.provide(stores(layerPostgres(), { statementTimeout: "5 minutes" }))
    ))
})
