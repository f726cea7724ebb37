/** A log that loses an event, as by a failover, while a consumer has the event in hand: its checkpoint stays before it, and it goes on by itself. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Latch, Layer, Option, Schedule, Schema } from "effect"
import { EventStore, type Position, Projection, ProjectionStore, Projector, Subscription } from "evsrc"
import { PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPostgres } from "../support/Database.ts"

const Counted = Schema.TaggedUnion({ Counted: { n: Schema.Int } })

const append = (stream: string, n: number) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Counted, stream, [Counted.cases.Counted.make({ n })]))

/** Loses an event, as a failover does that lost the last commit. */
const lose = Effect.fnUntraced(function*(position: Position.Position) {
  const sql = yield* PgClient.PgClient
  yield* sql`alter table evsrc.events disable trigger user`
  yield* sql`delete from evsrc.events where position = ${position}`
  yield* sql`alter table evsrc.events enable trigger user`
})

/** A step that waits the first time that it comes to an event, until it may go on. */
const makePause = Effect.sync(() => {
  const [begun, mayGoOn] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
  return { begun, mayGoOn, here: Effect.andThen(begun.open, mayGoOn.await) }
})

const until = <E, R>(isReached: Effect.Effect<boolean, E, R>) =>
  isReached.pipe(
    Effect.repeat({ until: (reached) => reached, schedule: Schedule.spaced("20 millis") }),
    Effect.timeout("1 minute")
  )

const options = { retryDelay: { first: "20 millis", max: "100 millis" }, lease: "2 seconds" } as const

const onStores = Effect.provide(PgStores.layer.pipe(Layer.provideMerge(layerPostgres())))

describe("an event that is lost while a consumer has it in hand", () => {
  it.live("does not stop a subscription", () =>
    Effect.gen(function*() {
      const { begun, here, mayGoOn } = yield* makePause
      const handled: Array<number> = []
      const mail = Subscription.make("mail", {
        events: Counted,
        handle: {
          Counted: ({ n }) => Effect.andThen(n === 2 ? here : Effect.void, Effect.sync(() => handled.push(n)))
        }
      })
      yield* Effect.gen(function*() {
        yield* append("a", 1)
        yield* until(Effect.sync(() => handled.length === 1))
        const { position } = yield* append("a", 2)
        yield* begun.await
        yield* lose(position)
        yield* append("b", 3)
        yield* mayGoOn.open
        yield* until(Effect.sync(() => handled.includes(3)))
        assert.deepStrictEqual(handled, [1, 2, 3])
      }).pipe(Effect.provide(Subscription.layer([mail], options)))
    }).pipe(onStores))

  it.live("does not get into a document", () =>
    Effect.gen(function*() {
      const { begun, here, mayGoOn } = yield* makePause
      const { [internals]: { driver } } = yield* ProjectionStore.ProjectionStore
      const sums = Projection.make("sums", {
        events: Counted,
        document: Schema.Int,
        key: () => "all",
        evolve: { Counted: (sum = 0, { n }) => sum + n }
      })
      let loads = 0
      const pausing = ProjectionStore.make({
        ...driver,
        load: (generation, keys) => Effect.andThen(++loads === 2 ? here : Effect.void, driver.load(generation, keys))
      })
      const sum = Effect.map(ProjectionStore.get(sums, "all"), Option.getOrUndefined)
      yield* Effect.gen(function*() {
        yield* append("a", 1)
        yield* until(Effect.map(sum, (sum) => sum === 1))
        const { position } = yield* append("a", 20)
        yield* begun.await
        yield* lose(position)
        yield* append("b", 300)
        yield* mayGoOn.open
        yield* until(Effect.map(sum, (sum = 0) => sum > 100))
        assert.strictEqual(yield* sum, 301)
      }).pipe(
        Effect.provide(
          Projector.layer([sums], options).pipe(
            Layer.provideMerge(Layer.effect(ProjectionStore.ProjectionStore, pausing))
          )
        )
      )
    }).pipe(onStores))
})
