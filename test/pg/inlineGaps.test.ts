/** Gaps of inline projections, and who may change a registration, while other transactions are in flight, on a PostgreSQL server. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Logger, Option, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Generations, Position, Projection, ProjectionStore, Projector } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const Change = Schema.TaggedUnion({
  Filled: { tank: Schema.String, by: Schema.Int },
  Drained: { tank: Schema.String, by: Schema.Int }
})

/** Two releases of one projection: the second ignores an event. */
const levels = (drains: boolean) =>
  Projection.make("levels", {
    events: Change,
    lifecycle: "inline",
    document: Schema.Int,
    key: ({ tank }) => tank,
    evolve: {
      Filled: (level, { by }) => (level ?? 0) + by,
      Drained: drains ? (level, { by }) => (level ?? 0) - by : Projection.ignore
    }
  })
const [old, current] = [levels(true), levels(false)]

const filled = (tank: string, by: number) => EventStore.append(Change, tank, [{ _tag: "Filled", tank, by }])
const drained = (tank: string, by: number) => EventStore.append(Change, tank, [{ _tag: "Drained", tank, by }])
const start = (projection: typeof old, options?: Projector.InlineOptions) =>
  Layer.build(Layer.fresh(Projector.layerInline([projection], { repairInterval: "1 hour", ...options })))
const registered = Effect.map(Projector.inlineProjections, ([one]) => one!)

/** Runs an effect in a transaction that stays open, and returns the effect that commits it. */
const open = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const sql = yield* SqlClient
  const [began, ended] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  const fiber = yield* Effect.forkChild(sql.withTransaction(
    effect.pipe(Effect.tap(Deferred.succeed(began, undefined)), Effect.tap(Deferred.await(ended)))
  ))
  yield* Effect.raceFirst(Deferred.await(began), Fiber.join(fiber))
  return { commit: Effect.andThen(Deferred.succeed(ended, undefined), Fiber.join(fiber)) }
})

/** Waits until a session waits for a lock. */
const isWaiting = Effect.flatMap(
  SqlClient,
  (sql) =>
    sql`select 1 from pg_stat_activity where wait_event_type = 'Lock'`.pipe(
      Effect.repeat({ until: (rows) => rows.length > 0 }),
      Effect.timeout("1 minute")
    )
)

const stores = () =>
  Layer.mergeAll(PgEventStore.layer, PgProjectionStore.layer).pipe(Layer.provideMerge(layerPostgres({ poolSize: 8 })))

describe("Gaps of inline projections on PostgreSQL", () => {
  it.live(
    "a repair waits for an append in flight of a type that only an older program reads",
    () =>
      Effect.gen(function*() {
        const program = yield* start(old)
        yield* start(current)
        yield* Effect.provide(filled("a", 1), program)
        const { position } = yield* Effect.provide(drained("b", 10), program)
        assert.strictEqual((yield* registered).missedFrom, position)
        const other = yield* open(Effect.provide(drained("c", 100), program))
        const repairing = yield* Effect.forkChild(Projector.repairInline(current))
        yield* isWaiting
        yield* other.commit
        assert.isTrue(yield* Fiber.join(repairing))
        assert.strictEqual((yield* registered).missedFrom, undefined)
        const documents = yield* Effect.forEach(["a", "b", "c"], (tank) => ProjectionStore.get(current, tank))
        assert.deepStrictEqual(documents.map(Option.getOrUndefined), [1, undefined, undefined])
      }).pipe(Effect.provide(Layer.fresh(stores())))
  )

  for (
    const [what, end] of Object.entries({
      retiring: Projector.retireInline(old.id),
      discarding: Generations.discard(old.id, { evenIfActive: true })
    })
  ) {
    it.live(
      `${what} waits for an append in flight of a type that only an older program reads`,
      () =>
        Effect.gen(function*() {
          const program = yield* start(old)
          yield* Effect.provide(filled("a", 1), program)
          yield* start(current)
          const other = yield* open(Effect.provide(drained("b", 10), program))
          const ending = yield* Effect.forkChild(end)
          yield* isWaiting
          yield* other.commit
          yield* Fiber.join(ending)
          const sql = yield* SqlClient
          assert.deepStrictEqual(yield* sql`select key from evsrc.documents`, [])
        }).pipe(Effect.provide(Layer.fresh(stores())))
    )
  }

  it.live(
    "retiring waits for an append of a type that the registered handlers ignore",
    () =>
      Effect.gen(function*() {
        const handlers = (drains: boolean) =>
          Projection.handler("levels", {
            events: Change,
            lifecycle: "inline",
            handle: { Filled: () => Effect.void, Drained: drains ? () => Effect.void : Projection.ignore }
          })
        const [older, newer] = [handlers(true), handlers(false)]
        const program = yield* Layer.build(Layer.fresh(Projector.layerInline([older])))
        yield* Projector.closeInlineGap(newer, { correctedUpTo: Position.start })
        const other = yield* open(Effect.provide(drained("b", 10), program))
        const ending = yield* Effect.forkChild(Projector.retireInline(newer.id))
        yield* isWaiting
        yield* other.commit
        assert.isTrue(yield* Fiber.join(ending))
      }).pipe(Effect.provide(Layer.fresh(stores())))
  )

  it.live(
    "closing the gap of handlers waits for appends in flight, and leaves their gaps",
    () =>
      Effect.gen(function*() {
        const handler = Projection.handler("levels", {
          events: Change,
          lifecycle: "inline",
          handle: { Filled: () => Effect.void, Drained: Projection.ignore }
        })
        yield* Layer.build(Projector.layerInline([handler]))
        const { position } = yield* filled("a", 1)
        const other = yield* open(filled("b", 1))
        const correctedUpTo = yield* EventStore.head
        assert.strictEqual(correctedUpTo, position)
        const closing = yield* Effect.forkChild(Projector.closeInlineGap(handler, { correctedUpTo }))
        yield* isWaiting
        const later = yield* other.commit
        assert.deepStrictEqual(yield* Fiber.join(closing), Option.some(position))
        assert.strictEqual((yield* registered).missedFrom, later.position)
      }).pipe(Effect.provide(Layer.fresh(stores())))
  )

  it.live(
    "a repair gives way to transactions that append events of two types in any order",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const program = yield* start(old)
        const both = [filled("a", 1), drained("a", 1)]
        for (const [first, second] of [both, both.toReversed()]) {
          // A gap.
          yield* filled("b", 1)
          const repairing = yield* sql.withTransaction(
            Effect.gen(function*() {
              yield* Effect.provide(first!, program)
              const repairing = yield* Effect.forkDetach(
                Effect.updateContext(
                  Projector.repairInline(old),
                  (context: Context.Context<EventStore.EventStore | ProjectionStore.ProjectionStore>) =>
                    Context.omit(sql.transactionService)(context) as typeof context
                )
              )
              yield* Effect.sleep("300 millis")
              yield* Effect.provide(second!, program)
              return repairing
            })
          )
          assert.isTrue(yield* Fiber.join(repairing))
        }
        assert.deepStrictEqual(yield* ProjectionStore.get(old, "b"), Option.some(2))
      }).pipe(Effect.provide(Layer.fresh(stores())))
  )

  it.live("a program that requires a projection does not undo another's registration", () =>
    Effect.gen(function*() {
      const running = yield* start(current)
      yield* Effect.provide(Effect.andThen(filled("a", 5), drained("a", 2)), running)
      const other = yield* open(Projector.repairInline(old))
      const starting = yield* Effect.forkChild(start(current, { appendsWithout: "reject" }))
      yield* isWaiting
      yield* other.commit
      yield* Fiber.join(starting)
      const { isRequired, reads } = yield* registered
      assert.deepStrictEqual([isRequired, reads.types.toSorted()], [true, ["Drained", "Filled"]])
      assert.include((yield* Effect.flip(ProjectionStore.get(current, "a"))).message, "levels@1")
      assert.deepStrictEqual(yield* ProjectionStore.get(old, "a"), Option.some(3))
    }).pipe(Effect.provide(Layer.fresh(stores()))))

  it.live("a program requires a projection that another one makes at that moment", () =>
    Effect.gen(function*() {
      yield* filled("a", 5)
      const other = yield* open(start(current))
      const waits = yield* Deferred.make<void>()
      const logger = Logger.make(({ message }) => {
        if (String(message).startsWith("This program waits")) Deferred.doneUnsafe(waits, Effect.void)
      })
      const starting = yield* Effect.forkChild(
        Effect.provide(start(current, { appendsWithout: "reject" }), Logger.layer([logger]))
      )
      yield* Effect.timeout(Deferred.await(waits), "1 minute")
      yield* other.commit
      yield* Fiber.join(starting)
      assert.isTrue((yield* registered).isRequired)
      assert.include((yield* Effect.flip(filled("a", 1))).message, "levels@1")
    }).pipe(Effect.provide(Layer.fresh(stores()))))
})
