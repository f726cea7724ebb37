/** Inline projections of programs that list them in another order, and deadlocks that remain, on a PostgreSQL server. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Option, Redacted, Schema } from "effect"
import { Aggregate, Command, CommandBus, Projection, ProjectionStore, Projector } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import { deadlocks } from "../support/deadlocks.ts"

const Counted = Schema.TaggedUnion({ Counted: { first: Schema.String, second: Schema.String } })
const Count = Command.make("Count", { payload: { id: Schema.String, first: Schema.String, second: Schema.String } })
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Null,
  events: Counted,
  commands: [Count]
})
const CounterDecider = Counter.decider({
  initial: null,
  evolve: { Counted: () => null },
  decide: { Count: (_, { first, second }) => [Counted.cases.Counted.make({ first, second })] }
})

const documents = (name: string) =>
  Projection.make(name, {
    events: Counted,
    lifecycle: "inline",
    document: Schema.Int,
    key: () => "all",
    evolve: { Counted: (n) => (n ?? 0) + 1 }
  })
const [a, b, c] = [documents("a"), documents("b"), documents("c")]

const add = Effect.fnUntraced(function*(key: string) {
  const sql = yield* PgClient.PgClient
  yield* sql`update counters set n = n + 1 where key = ${key}`
})

/** A projection with a table of its own. `key` returns the rows that an event adds to, in order. */
const rows = (name: string, keys: ReadonlyArray<string>) =>
  Projection.handler(name, {
    events: Counted,
    lifecycle: "inline",
    handle: { Counted: () => Effect.orDie(Effect.forEach(keys, add, { discard: true })) }
  })
const [x, y] = [rows("x", ["x"]), rows("y", ["y"])]

const clientOf = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 8 })
const storesOf = (url: string) =>
  Layer.mergeAll(PgEventStore.layerWith({ lockTimeout: "30 seconds" }), PgProjectionStore.layer).pipe(
    Layer.provideMerge(clientOf(url))
  )

const makeTable = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`create table counters (key text primary key, n integer not null)`
  yield* sql`insert into counters values ('x', 0), ('y', 0)`
})

const count = (id: string, first = "x", second = "y") => CommandBus.dispatch(Count, { id, first, second })

describe("Two programs with the same inline projections", () => {
  for (
    const [how, one, other, counted] of [
      // Documents are locked before any handler runs, so with them the appends take turns.
      ["list handlers", Projector.layerInline([x, y]), Projector.layerInline([y, x]), []],
      ["list them", Projector.layerInline([a, b, c, x, y]), Projector.layerInline([y, x, c, b, a]), [a, b, c]],
      [
        "stack them",
        Projector.layerInline([a, x]).pipe(Layer.provideMerge(Projector.layerInline([b, c, y]))),
        Projector.layerInline([y, c, b]).pipe(Layer.provideMerge(Projector.layerInline([x, a]))),
        [a, b, c]
      ]
    ] as const
  ) {
    it.live(`append without deadlocks when they ${how} in opposite order`, () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        yield* Effect.provide(makeTable, clientOf(url))
        const program = (name: string, inline: typeof one) =>
          Effect.forEach(Array.from({ length: 40 }, (_, n) => `${name}-${n}`), (id) => count(id), {
            concurrency: 3,
            discard: true
          }).pipe(
            Effect.provide(Aggregate.layer(CounterDecider)),
            Effect.provide(inline),
            Effect.provide(Layer.fresh(storesOf(url)))
          )
        yield* Effect.all([program("one", one), program("other", other)], { concurrency: 2 })
        yield* Effect.gen(function*() {
          for (const projection of counted) {
            assert.deepStrictEqual(yield* ProjectionStore.get(projection, "all"), Option.some(80))
          }
          const sql = yield* PgClient.PgClient
          const found = yield* sql<{ readonly n: number }>`select n from counters`
          assert.deepStrictEqual(found.map(({ n }) => n), [80, 80])
          assert.strictEqual(yield* deadlocks, 0)
        }).pipe(Effect.provide(storesOf(url)))
      }))
  }

  it.live("append again after a deadlock of their own statements", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.provide(makeTable, clientOf(url))
      const arrived = yield* Deferred.make<void>()
      let waiting = 0
      let attempts = 0
      /** Lets the first attempts of both appends go on when each holds a row. */
      const meet = Effect.suspend(() => {
        waiting++
        return waiting >= 2 ? Deferred.succeed(arrived, undefined) : Deferred.await(arrived)
      })
      const both = Projection.handler("both", {
        events: Counted,
        lifecycle: "inline",
        handle: {
          Counted: ({ first, second }) =>
            Effect.gen(function*() {
              attempts++
              yield* add(first)
              yield* meet
              yield* add(second)
            })
        }
      })
      yield* Effect.gen(function*() {
        yield* Effect.all([count("1", "x", "y"), count("2", "y", "x")], { concurrency: 2 })
        const sql = yield* PgClient.PgClient
        const events = yield* sql<{ readonly stream: string }>`select stream from evsrc.events order by stream`
        assert.deepStrictEqual(events.map(({ stream }) => stream), ["Counter-1", "Counter-2"])
        const found = yield* sql<{ readonly n: number }>`select n from counters`
        assert.deepStrictEqual(found.map(({ n }) => n), [2, 2])
        assert.isAtLeast(attempts, 3)
      }).pipe(
        Effect.provide(Aggregate.layer(CounterDecider)),
        Effect.provide(Projector.layerInline([both])),
        Effect.provide(storesOf(url))
      )
    }))
})
