/** A store inside a program that has another store, as with a store for each tenant: what docs/reference.md says about it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import {
  Aggregate,
  Command,
  CommandBus,
  Decision,
  EventStore,
  Position,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus
} from "evsrc"

const Noted = Schema.TaggedUnion({ Noted: { id: Schema.String } })
const Note = Command.make("Note", { payload: { id: Schema.String } })
const Decide = Command.make("Decide", { payload: { id: Schema.String } })
const Count = Query.make("Count", { payload: {}, success: Schema.BigInt })
const Notes = Projection.make("notes", {
  lifecycle: "inline",
  events: Noted,
  document: Schema.Int,
  key: () => "all",
  evolve: { Noted: (count = 0) => count + 1 }
})

const aggregate = Aggregate.layer(
  Aggregate.make("Note", { id: "id", state: Schema.Null, events: Noted, commands: [Note] }).decider({
    initial: null,
    evolve: { Noted: () => null },
    decide: { Note: (_, command) => [Noted.cases.Noted.make(command)] }
  })
)
const decision = Decision.layer(
  Decision.make(Decide, {
    events: Noted,
    models: () => ({ count: Decision.model({ events: Noted, initial: 0, evolve: { Noted: (count) => count + 1 } }) }),
    decide: (_, command) => [Noted.cases.Noted.make(command)]
  })
)
const handlers = Layer.merge(aggregate, decision)
const inline = Projector.layerInline([Notes])
const store = () =>
  inline.pipe(
    Layer.provide(Layer.fresh(EventStore.layerMemory)),
    Layer.provideMerge(Layer.fresh(ProjectionStore.layerMemory))
  )

describe("a constant layer of handlers, provided locally over a second store", () => {
  for (const command of [Note, Decide]) {
    it.live(`writes the events of ${command._tag} to the store that it stands over`, () =>
      Effect.gen(function*() {
        const outer = handlers.pipe(Layer.provideMerge(store()))
        const inner = handlers.pipe(Layer.provideMerge(store()))
        const state = Effect.all([
          EventStore.head,
          Effect.map(ProjectionStore.get(Notes, "all"), Option.getOrUndefined)
        ])
        yield* Effect.gen(function*() {
          yield* CommandBus.dispatch(command, { id: "a" })
          const dispatched = Effect.andThen(CommandBus.dispatch(command, { id: "b" }), state)
          assert.deepStrictEqual(
            yield* Effect.provide(dispatched, inner, { local: true }),
            [Position.make(1n), 1],
            "the inner store"
          )
          assert.deepStrictEqual(yield* state, [Position.make(1n), 1], "the outer store")
        }).pipe(Effect.provide(outer))
      }))
  }

  it.live("answers a query from the store that it stands over", () =>
    Effect.gen(function*() {
      const handler = QueryBus.handler(Count, () => Effect.orDie(EventStore.head))
      const count = QueryBus.ask(Count, {})
      const [outer, inner] = [0, 1].map(() => handler.pipe(Layer.provideMerge(Layer.fresh(EventStore.layerMemory))))
      yield* Effect.gen(function*() {
        yield* EventStore.append(Noted, "s", [Noted.cases.Noted.make({ id: "a" })])
        assert.deepStrictEqual([yield* count, yield* Effect.provide(count, inner!, { local: true })], [1n, 0n])
      }).pipe(Effect.provide(outer!))
    }))
})
