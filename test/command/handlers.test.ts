/** Two handlers of one command or query, or two events of one name, in one program. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer, Schema } from "effect"
import { Aggregate, Command, CommandBus, Decision, EventStore, Query, QueryBus } from "evsrc"

const Closed = Schema.TaggedUnion({ Closed: { id: Schema.String } })
const Close = Command.make("Close", { payload: { id: Schema.String } })

const aggregateOf = (name: string) =>
  Aggregate.make(name, { id: "id", state: Schema.Null, events: Closed, commands: [Close] }).decider({
    initial: null,
    evolve: { Closed: () => null },
    decide: { Close: (_, command) => [Closed.cases.Closed.make(command)] }
  })
const [order, cart] = [aggregateOf("Order"), aggregateOf("Cart")]
const model = Decision.model({ events: Closed, initial: 0, evolve: { Closed: (count) => count + 1 } })
const decision = Decision.make(Close, {
  events: Closed,
  stream: () => "one-close",
  models: () => ({ model }),
  decide: (_, command) => [Closed.cases.Closed.make(command)]
})
const closeIn = (handlers: Layer.Layer<Command.HandlerOf<typeof Close>, never, EventStore.EventStore>) =>
  Effect.provide(CommandBus.dispatch(Close, { id: "a" }), handlers)

describe("two handlers of one command", () => {
  const pairs = {
    "of two aggregates": [
      Aggregate.layer(order),
      Aggregate.layer(cart),
      `the aggregate "Order"`,
      `the aggregate "Cart"`
    ],
    "of a decision and an aggregate": [
      Decision.layer(decision),
      Aggregate.layer(cart),
      `the decision of "Close"`,
      `the aggregate "Cart"`
    ]
  } as const
  for (const [name, [one, other, oneName, otherName]] of Object.entries(pairs)) {
    it.effect(`${name} in one layer are rejected, in either order`, () =>
      Effect.gen(function*() {
        for (const layers of [Layer.merge(one, other), Layer.merge(other, one)]) {
          const message = Cause.pretty(yield* Effect.flip(Effect.sandbox(closeIn(layers))))
          for (const part of [`"Close" has two handlers`, oneName, otherName]) assert.include(message, part)
        }
        assert.strictEqual(yield* EventStore.head, 0n)
      }).pipe(Effect.provide(EventStore.layerMemory)))
  }

  it.effect("of one definition are one", () =>
    Effect.gen(function*() {
      const { stream } = yield* closeIn(Layer.merge(Aggregate.layer(order), Aggregate.layer(order, { load: "fresh" })))
      assert.strictEqual(stream, "Order-a")
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("may be provided one within the other, and one after the other", () =>
    Effect.gen(function*() {
      const inner = closeIn(Aggregate.layer(cart))
      const both = Effect.all([closeIn(Aggregate.layer(order)), Effect.provide(inner, Aggregate.layer(order)), inner])
      assert.deepStrictEqual((yield* both).map(({ stream }) => stream), ["Order-a", "Cart-a", "Cart-a"])
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("a decision without a stream and an aggregate that is named like its command", () => {
  const id = { id: Schema.String }
  const aggregate = Aggregate.layer(
    Aggregate.make("Transfer", {
      id: "id",
      state: Schema.Null,
      events: Closed,
      commands: [Command.make("Book", { payload: id })]
    }).decider({ initial: null, evolve: { Closed: () => null }, decide: { Book: () => [] } })
  )
  const decisionOf = (stream?: () => string) =>
    Decision.layer(Decision.make(Command.make("Transfer", { payload: id }), {
      events: Closed,
      ...(stream === undefined ? {} : { stream }),
      models: () => ({ model }),
      decide: (_, command) => [Closed.cases.Closed.make(command)]
    }))

  it.effect("are rejected, in either order", () =>
    Effect.gen(function*() {
      for (const layers of [Layer.merge(aggregate, decisionOf()), Layer.merge(decisionOf(), aggregate)]) {
        const message = Cause.pretty(yield* Effect.flip(Effect.sandbox(Effect.scoped(Layer.build(layers)))))
        assert.include(message, `the decision of "Transfer" has no \`stream\``)
        assert.include(message, `instances of the aggregate "Transfer"`)
      }
      yield* Effect.scoped(Layer.build(Layer.merge(aggregate, decisionOf(() => "transfers"))))
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("two events of one name", () => {
  const id = { id: Schema.String }
  const UserEvent = Schema.TaggedUnion({ Renamed: id })
  const TeamEvent = Schema.TaggedUnion({ Founded: id, Renamed: id })
  const [RenameUser, RenameTeam] = [
    Command.make("RenameUser", { payload: id }),
    Command.make("RenameTeam", { payload: id })
  ]
  const users = Aggregate.layer(
    Aggregate.make("User", { id: "id", state: Schema.Null, events: UserEvent, commands: [RenameUser] }).decider({
      initial: null,
      evolve: { Renamed: () => null },
      decide: { RenameUser: (_, command) => [UserEvent.cases.Renamed.make(command)] }
    })
  )
  const teams = Decision.layer(Decision.make(RenameTeam, {
    events: TeamEvent,
    stream: ({ id }) => `Team-${id}`,
    models: () => ({ founded: Decision.model({ events: TeamEvent, initial: 0, evolve: { Founded: (n) => n + 1 } }) }),
    decide: (_, command) => [TeamEvent.cases.Renamed.make(command)]
  }))
  const rename = Effect.all([
    CommandBus.dispatch(RenameUser, { id: "a" }),
    CommandBus.dispatch(RenameTeam, { id: "a" })
  ])

  it.effect("that one program writes to one store are rejected, in either order", () =>
    Effect.gen(function*() {
      for (const layers of [Layer.merge(users, teams), Layer.merge(teams, users)]) {
        const message = Cause.pretty(yield* Effect.flip(Effect.sandbox(Effect.provide(rename, layers))))
        for (
          const part of [`the aggregate "User"`, `the decision of "RenameTeam"`, `an event "Renamed" with different`]
        ) {
          assert.include(message, part)
        }
      }
      assert.strictEqual(yield* EventStore.head, 0n)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("may be in two stores", () =>
    Effect.gen(function*() {
      const written = yield* Effect.provide(
        rename,
        Layer.merge(
          users.pipe(Layer.provide(Layer.fresh(EventStore.layerMemory))),
          teams.pipe(Layer.provide(Layer.fresh(EventStore.layerMemory)))
        )
      )
      assert.deepStrictEqual(written.map(({ stream }) => stream), ["User-a", "Team-a"])
    }))
})

describe("two handlers of one query", () => {
  const Count = Query.make("Count", { payload: {}, success: Schema.Int })
  const answering = (answer: number) => QueryBus.handler(Count, () => Effect.succeed(answer))
  const [one, two] = [answering(1), answering(2)]
  const ask = QueryBus.ask(Count, {})

  it.effect("in one layer are rejected, in either order", () =>
    Effect.gen(function*() {
      for (const layers of [Layer.merge(one, two), Layer.merge(two, one)]) {
        const message = Cause.pretty(yield* Effect.flip(Effect.sandbox(Effect.provide(ask, layers))))
        assert.include(message, `"Count" has two handlers`)
      }
    }))

  it.effect("may be the same one, one within the other, and one after the other", () =>
    Effect.gen(function*() {
      const inner = Effect.provide(ask, two)
      const all = Effect.all([
        Effect.provide(ask, Layer.merge(one, Layer.fresh(one))),
        Effect.provide(inner, one),
        inner
      ])
      assert.deepStrictEqual(yield* all, [1, 2, 2])
    }))
})
