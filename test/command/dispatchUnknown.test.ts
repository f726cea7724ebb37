/** Commands and queries whose payload is JSON of unknown form. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Result, Schema, Stream } from "effect"
import { RpcGroup } from "effect/rpc"
import {
  Aggregate,
  Command,
  CommandBus,
  type CommandContext,
  CommandIdReused,
  EventStore,
  EventStoreError,
  InvalidCommand,
  InvalidQuery,
  PersonalData,
  Query,
  QueryBus,
  Version
} from "evsrc"

const Amount = Schema.Int.check(Schema.isGreaterThan(0))
const Booked = Schema.TaggedUnion({
  Booked: { id: Schema.String, amount: Amount, at: Schema.DateTimeUtc, note: Schema.String },
  Closed: { id: Schema.String }
})
class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { amount: Schema.Int }) {}

let made = 0
const Book = Command.make("Book", {
  payload: {
    id: Schema.String,
    amount: Amount,
    at: Schema.DateTimeUtc,
    note: Schema.String.pipe(
      Schema.withDecodingDefaultKey(Effect.sync(() => `note ${++made}`)),
      Schema.withConstructorDefault(Effect.sync(() => `note ${++made}`))
    )
  },
  error: Overdrawn
})
const Close = Command.make("Close", { payload: Booked.cases.Closed.fields })
const Account = Aggregate.make("Account", {
  id: "id",
  state: Schema.Int,
  events: Booked,
  commands: [Book, Close]
})
const accounts = Aggregate.layer(Account.decider({
  initial: 0,
  evolve: { Booked: (balance, { amount }) => balance + amount, Closed: () => 0 },
  decide: {
    Book: (_, command) =>
      command.amount > 100
        ? Result.fail(new Overdrawn({ amount: command.amount }))
        : [Booked.cases.Booked.make(command)],
    Close: (_, command) => [Booked.cases.Closed.make(command)]
  }
}))

const GetPage = Query.make("GetPage", {
  payload: { since: Schema.DateTimeUtc, size: Amount },
  success: Schema.Struct({ year: Schema.Int, size: Schema.Int })
})
const Count = Query.make("Count", { payload: {}, success: Schema.Int })
const queries = Layer.merge(
  QueryBus.handler(GetPage, ({ since, size }) => Effect.succeed({ year: DateTime.getPartUtc(since, "year"), size })),
  QueryBus.handler(Count, () => Effect.succeed(7))
)

const Name = PersonalData.field(Schema.NonEmptyString, { subject: "person" })
const Join = Command.make("Join", { payload: { person: Schema.String, name: Name, age: Schema.Int } })
const Joined = Schema.TaggedUnion({ Joined: { person: Schema.String, name: Name } })
const joins = Aggregate.layer(
  Aggregate.make("Member", { id: "person", state: Schema.Null, events: Joined, commands: [Join] }).decider({
    initial: null,
    evolve: { Joined: () => null },
    decide: { Join: (_, { name, person }) => [Joined.cases.Joined.make({ name, person })] }
  })
).pipe(Layer.provideMerge(Layer.fresh(EventStore.layerMemory)))

const json = { id: "a", amount: 5, at: "2026-01-02T03:04:05.000Z" }
const program = Layer.merge(accounts, queries).pipe(Layer.provideMerge(Layer.fresh(EventStore.layerMemory)))
const events = Effect.map(
  Stream.runCollect(EventStore.readStream(Booked, "Account-a")),
  (all) => all.map(({ event }) => event)
)
const book = (change: object, context?: CommandContext.CommandContext) =>
  CommandBus.dispatchUnknown(Book, { ...json, ...change }, context)

describe("CommandBus.dispatchUnknown", () => {
  it.effect("decodes the payload from JSON, fills in defaults, and returns the receipt", () =>
    Effect.gen(function*() {
      const { version } = yield* book({})
      assert.strictEqual(version, Version.make(1))
      const [event] = yield* events
      assert.deepStrictEqual(
        event,
        Booked.cases.Booked.make({
          id: "a",
          amount: 5,
          at: DateTime.makeUnsafe("2026-01-02T03:04:05Z"),
          note: `note ${made}`
        })
      )
    }).pipe(Effect.provide(program)))

  it.effect("lists all problems of a payload, and writes nothing", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(book({ amount: -1, at: "yesterday", id: 7, hint: "x" }))
      assert.instanceOf(error, InvalidCommand)
      assert.strictEqual(error.command, "Book")
      for (const path of [`command "Book"`, `at ["id"]`, `at ["amount"]`, `at ["at"]`, `at ["hint"]`]) {
        assert.include(error.message, path)
      }
      assert.deepStrictEqual(yield* events, [])
    }).pipe(Effect.provide(program)))

  it.effect("fails with InvalidCommand on what is no object", () =>
    Effect.gen(function*() {
      for (const wrong of [undefined, null, 7, "text", [json], () => json, 1n, Symbol("json")]) {
        assert.instanceOf(yield* Effect.flip(CommandBus.dispatchUnknown(Book, wrong)), InvalidCommand)
      }
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      assert.instanceOf(yield* Effect.flip(CommandBus.dispatchUnknown(Book, proxy)), InvalidCommand)
    }).pipe(Effect.provide(program)))

  it.effect("needs no tag of a command that has the fields of an event, and takes no other tag", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatchUnknown(Close, { id: "a" })
      yield* CommandBus.dispatchUnknown(Close, { _tag: "Closed", id: "a" })
      const error = yield* Effect.flip(CommandBus.dispatchUnknown(Close, { _tag: "Booked", id: "a" }))
      assert.include(error.message, `at ["_tag"]`)
      assert.strictEqual((yield* events).length, 2)
    }).pipe(Effect.provide(program)))

  it.effect("rejects a field that would change the prototype", () =>
    Effect.gen(function*() {
      const polluting = JSON.parse(`{ "id": "a", "__proto__": { "isAdmin": true } }`)
      assert.instanceOf(yield* Effect.flip(CommandBus.dispatchUnknown(Close, polluting)), InvalidCommand)
    }).pipe(Effect.provide(program)))

  it.effect("fails with the error that the command declares", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(book({ amount: 101 }))
      assert.deepStrictEqual(error, new Overdrawn({ amount: 101 }))
    }).pipe(Effect.provide(program)))

  it.effect("takes a repeated command id for the same command, whatever a default has filled in", () =>
    Effect.gen(function*() {
      const context = { commandId: "once" }
      const first = yield* book({}, context)
      assert.deepStrictEqual(yield* book({}, context), first)
      const error = yield* Effect.flip(book({ amount: 6 }, context))
      assert.isTrue(error instanceof EventStoreError && error.reason instanceof CommandIdReused)
      const typed = CommandBus.dispatch(Book, { id: "a", amount: 5, at: DateTime.makeUnsafe(json.at) }, context)
      assert.deepStrictEqual(yield* typed, first)
    }).pipe(Effect.provide(program)))

  it.effect("quotes no personal data", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        CommandBus.dispatchUnknown(Join, { person: "ann", name: ["Ann Secret"], age: "Secret" })
      )
      assert.instanceOf(error, InvalidCommand)
      for (const path of [`at ["name"]`, `at ["age"]`]) assert.include(error.message, path)
      assert.notInclude(error.message, "Secret")
    }).pipe(Effect.provide(joins)))
})

describe("CommandBus.dispatchByName", () => {
  it.effect("dispatches the command of the name", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatchByName(Account.group, "Book", json)
      yield* CommandBus.dispatchByName(Account.group, "Close", { id: "a" }, { commandId: "c" })
      assert.deepStrictEqual((yield* events).map(({ _tag }) => _tag), ["Booked", "Closed"])
    }).pipe(Effect.provide(program)))

  it.effect("lists the names when there is none of this name", () =>
    Effect.gen(function*() {
      for (const name of ["book", "", "toString", "Book\n"]) {
        const error = yield* Effect.flip(CommandBus.dispatchByName(Account.group, name, json))
        assert.instanceOf(error, InvalidCommand)
        assert.strictEqual(error.command, name)
        assert.strictEqual(
          error.message,
          `no command is named ${JSON.stringify(name)}; the names are "Book", "Close"`
        )
      }
    }).pipe(Effect.provide(program)))
})

describe("QueryBus.askUnknown", () => {
  it.effect("decodes the payload from JSON, and returns the answer", () =>
    Effect.gen(function*() {
      const answer = yield* QueryBus.askUnknown(GetPage, { since: json.at, size: 3 })
      assert.deepStrictEqual(answer, { year: 2026, size: 3 })
      assert.strictEqual(yield* QueryBus.askByName(RpcGroup.make(GetPage, Count), "Count", {}), 7)
    }).pipe(Effect.provide(program)))

  it.effect("lists all problems of a payload, and the names when there is none of this name", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(QueryBus.askUnknown(GetPage, { since: 0, size: 0, page: 1 }))
      assert.instanceOf(error, InvalidQuery)
      for (const path of [`query "GetPage"`, `at ["since"]`, `at ["size"]`, `at ["page"]`]) {
        assert.include(error.message, path)
      }
      const unnamed = yield* Effect.flip(QueryBus.askByName(RpcGroup.make(GetPage, Count), "Sum", {}))
      assert.instanceOf(unnamed, InvalidQuery)
      assert.strictEqual(unnamed.message, `no query is named "Sum"; the names are "GetPage", "Count"`)
    }).pipe(Effect.provide(program)))
})
