/**
 * The messages of the compiler for the most common mistakes: their first two lines name the culprit.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { compile, type Mistake } from "../support/CompileErrors.ts"

/** What every program begins with: an aggregate of users, correct and complete. */
const domain = `
import { Effect, Layer, Result, Schema } from "effect"
import { Aggregate, Command, CommandBus, Decision, Event, EventQuery, EventStore, Projection, ProjectionStore, Query, QueryBus, Subscription } from "evsrc"

const UserEvent = Schema.TaggedUnion({
  UserRegistered: { userId: Schema.String, name: Schema.String },
  UserRenamed: { userId: Schema.String, name: Schema.String },
  UserMoved: { userId: Schema.String, street: Schema.String, city: Schema.String, country: Schema.String },
  UserSuspended: { userId: Schema.String, reason: Schema.String, until: Schema.DateTimeUtc },
  UserDeactivated: { userId: Schema.String, reason: Schema.String }
})
const OrderEvent = Schema.TaggedUnion({ OrderPlaced: { orderId: Schema.String } })
const PaidEvent = Schema.TaggedUnion({
  OrderPaid: { orderId: Schema.String, customer: Schema.String },
  OrderRefunded: { orderId: Schema.String }
}).pipe(Event.tags({ order: "orderId", customer: "customer" }))
class AlreadyRegistered extends Schema.TaggedError<AlreadyRegistered>()("AlreadyRegistered", { userId: Schema.String }) {}
class NotRegistered extends Schema.TaggedError<NotRegistered>()("NotRegistered", { userId: Schema.String }) {}
const RegisterUser = Command.make("RegisterUser", {
  payload: { userId: Schema.String, name: Schema.String },
  error: AlreadyRegistered
})
const RenameUser = Command.make("RenameUser", { payload: { userId: Schema.String, name: Schema.String } })
const User = Aggregate.make("User", {
  id: "userId",
  state: Schema.Struct({ name: Schema.String }),
  events: UserEvent,
  commands: [RegisterUser, RenameUser]
})
const evolve = {
  UserRegistered: (_: { readonly name: string }, e: { readonly name: string }) => ({ name: e.name }),
  UserRenamed: (_: { readonly name: string }, e: { readonly name: string }) => ({ name: e.name }),
  UserMoved: (s: { readonly name: string }) => s,
  UserSuspended: (s: { readonly name: string }) => s,
  UserDeactivated: (s: { readonly name: string }) => s
}
const { UserRenamed: _, ...incomplete } = evolve
const initial = { name: "" }
const decide = { RegisterUser: () => [], RenameUser: () => [] }
const decider = User.decider({ initial, evolve, decide })
const GetUser = Query.make("GetUser", { payload: { userId: Schema.String }, success: Schema.String })
const Nameless = Command.make("Nameless", { payload: { name: Schema.String } })
const document = Schema.Struct({ name: Schema.String })
const key = (e: { readonly userId: string }) => e.userId
const Orders = Projection.make("orders", {
  events: OrderEvent,
  document: Schema.Struct({ orderId: Schema.String, total: Schema.Finite, isGift: Schema.Boolean }),
  index: ["total", "isGift"],
  key: (e) => e.orderId,
  evolve: { OrderPlaced: Projection.ignore }
})
const rename = CommandBus.dispatch(RenameUser, { userId: "u1", name: "Ann" })
export const used = [
  Decision, Event, EventQuery, PaidEvent,
  Effect, Layer, Result, Aggregate, Command, CommandBus, EventStore, Projection, Query, QueryBus, Subscription,
  Orders, ProjectionStore, OrderEvent, AlreadyRegistered, NotRegistered, evolve, initial, decide, decider, GetUser, Nameless, incomplete, document, key, rename
]
`

const ignored = `UserMoved: Projection.ignore, UserSuspended: Projection.ignore, UserDeactivated: Projection.ignore`
const projected = `UserRegistered: (_, e) => ({ name: e.name }), ${ignored}`

const mistakes: ReadonlyArray<Mistake> = [
  {
    name: "missingDecide",
    program: `User.decider({ initial, evolve, decide: { RegisterUser: () => [] } })`,
    says: [`Property 'RenameUser' is missing in type '{ RegisterUser:`, `required in type 'Decide<`]
  },
  {
    name: "unknownDecide",
    program:
      `User.decider({ initial, evolve, decide: { RegisterUser: () => [], RenameUser: () => [], DeleteUser: () => [] } })`,
    says: [`'DeleteUser' does not exist in type 'Decide<`]
  },
  {
    name: "missingEvolve",
    program: `User.decider({ initial, evolve: incomplete, decide })`,
    says: [`Property 'UserRenamed' is missing in type '{ UserRegistered:`, `required in type 'Evolve<`]
  },
  {
    name: "misspeltEvolve",
    program: `User.decider({ initial, evolve: { ...incomplete, UserRenames: (s) => s }, decide })`,
    says: [`'UserRenames' does not exist in type 'Evolve<`, `Did you mean to write 'UserRenamed'?`]
  },
  {
    name: "foreignEvent",
    program: `User.decider({ initial, evolve, decide: { ...decide, RegisterUser: () =>
      [OrderEvent.cases.OrderPlaced.make({ orderId: "o1" })] } })`,
    says: [
      `Type '{ readonly _tag: "OrderPlaced"; readonly orderId: string; }' is not assignable to type`,
      `_tag: "User`
    ]
  },
  {
    name: "undeclaredError",
    program: `User.decider({ initial, evolve, decide: { ...decide, RegisterUser: (_, c) =>
      Result.fail(new NotRegistered({ userId: c.userId })) } })`,
    says: [`Type 'Result<never, NotRegistered>' is not assignable to type 'Decision<AlreadyRegistered, `]
  },
  {
    name: "undeclaredDecisionError",
    program: `Decision.make(RegisterUser, { events: UserEvent, models: () => ({}), decide: (_, c) =>
      Result.fail(new NotRegistered({ userId: c.userId })) })`,
    says: [`Type 'Result<never, NotRegistered>' is not assignable to type 'Outcome<AlreadyRegistered, `]
  },
  {
    name: "missingHandlersOfProgram",
    program: `Effect.runPromise(Effect.gen(function*() {
      yield* CommandBus.dispatch(RegisterUser, { userId: "u1", name: "Ann" })
      return yield* rename
    }))`,
    says: [
      `Argument of type 'Effect<Receipt, AlreadyRegistered | `,
      `\nType 'Handler<"RegisterUser"> | Handler<"RenameUser">' is not assignable to type 'never'.`
    ]
  },
  {
    name: "misspeltPayload",
    program: `CommandBus.dispatch(RenameUser, { userId: "u1", nam: "Ann" })`,
    says: [
      `'nam' does not exist in type '{ readonly userId: string; readonly name: string; }'. Did you mean to write 'name'?`
    ]
  },
  {
    name: "missingPayload",
    program: `CommandBus.dispatch(RenameUser, { userId: "u1" })`,
    says: [`Property 'name' is missing in type '{ userId: string; }' but required in type '{ readonly userId: string;`]
  },
  {
    name: "misspeltQueryPayload",
    program: `QueryBus.ask(GetUser, { userID: "u1" })`,
    says: [`'userID' does not exist in type '{ readonly userId: string; }'. Did you mean to write 'userId'?`]
  },
  {
    name: "missingHandler",
    program: `Effect.runPromise(rename)`,
    says: [
      `Argument of type 'Effect<Receipt, ConcurrencyConflict | EventStoreError | InvalidCommand, Handler<"RenameUser">>'`,
      `\nType 'Handler<"RenameUser">' is not assignable to type 'never'.`
    ]
  },
  {
    name: "missingStore",
    program: `Effect.runPromise(Effect.provide(rename, Aggregate.layer(decider)))`,
    says: [
      `Argument of type 'Effect<Receipt, ConcurrencyConflict | EventStoreError | InvalidCommand, EventStore>'`,
      `\nType 'EventStore' is not assignable to type 'never'.`
    ]
  },
  {
    name: "missingProjectionCase",
    program: `Projection.make("users", { events: UserEvent, document, key, evolve: { ${projected} } })`,
    says: [`Property 'UserRenamed' is missing in type '{ UserRegistered:`, `required in type 'Evolve<`]
  },
  {
    name: "misspeltProjectionCase",
    program:
      `Projection.make("users", { events: UserEvent, document, key, evolve: { ${projected}, UserRenames: Projection.ignore } })`,
    says: [`'UserRenames' does not exist in type 'Evolve<`, `Did you mean to write 'UserRenamed'?`]
  },
  {
    name: "missingHandlerCase",
    program:
      `Projection.handler("users", { events: UserEvent, handle: { UserRegistered: () => Effect.void, ${ignored} } })`,
    says: [`Property 'UserRenamed' is missing in type '{ UserRegistered:`, `required in type 'Handlers<`]
  },
  {
    name: "misspeltHandlerCase",
    program:
      `Subscription.make("users", { events: UserEvent, handle: { UserRegistered: () => Effect.void, UserRenamed: Subscription.ignore,
        ${ignored}, UserRenames: Subscription.ignore } })`,
    says: [`Type 'unique symbol' is not assignable to type 'UnknownEvent<"UserRenames"> & unique symbol'.`]
  },
  {
    name: "undeclaredHandlerError",
    program:
      `Subscription.make("users", { events: UserEvent, handle: { UserRenamed: Subscription.ignore, ${ignored}, UserRegistered: (e) =>
        CommandBus.dispatch(RegisterUser, e) } })`,
    says: [`is not assignable to type 'UndeclaredError<"AlreadyRegistered">`]
  },
  {
    name: "untaggedHandlerError",
    program:
      `Projection.handler("users", { events: UserEvent, handle: { UserRenamed: Projection.ignore, ${ignored}, UserRegistered: () =>
        Effect.fail("no") } })`,
    says: [`Type '() => Effect.Effect<never, string, never>' is not assignable to type 'UntaggedError<string>`]
  },
  {
    name: "unusedPark",
    program:
      `Subscription.make("users", { events: UserEvent, parks: ["NotRegisterd"], handle: { UserRenamed: Subscription.ignore, ${ignored},
        UserRegistered: () => Effect.fail(new NotRegistered({ userId: "" })) } })`,
    says: [`Type '"NotRegisterd"' is not assignable to type '"NotRegisterd" & UnusedError<"NotRegisterd">'.`]
  },
  {
    name: "undeclaredModelTag",
    program:
      `Decision.model({ events: PaidEvent, tags: { costumer: "c1" }, initial: 0, evolve: { OrderPaid: (n) => n + 1 } })`,
    says: [`'costumer' does not exist in type '{ readonly customer?: string; readonly order?: string; }'.`]
  },
  {
    name: "modelTagWithoutTags",
    program:
      `Decision.model({ events: OrderEvent, tags: { order: "o1" }, initial: 0, evolve: { OrderPlaced: (n) => n + 1 } })`,
    says: [`Type 'string' is not assignable to type 'NoTagsDeclared'.`]
  },
  {
    name: "undeclaredFilterTag",
    program: `Projection.handler("paid", { events: PaidEvent, where: { tags: [Event.tag("costumer", "c1")] }, handle: {
      OrderPaid: Projection.ignore, OrderRefunded: Projection.ignore } })`,
    says: ["Type '`costumer:${string}`' is not assignable to type '`customer:${string}` | `order:${string}`'."]
  },
  {
    name: "undeclaredFindTag",
    program: `Projection.make("paid", { events: PaidEvent, document, lifecycle: "live", key: () => "k",
      find: (key) => [{ tags: [Event.tag("costumer", key)] }], evolve: { OrderPaid: Projection.ignore, OrderRefunded: Projection.ignore } })`,
    says: [
      "Type '(key: string) => { tags: `costumer:${string}`[]; }[]' is not assignable to type",
      "`customer:${string}` | `order:${string}`"
    ]
  },
  {
    name: "undeclaredQueryTag",
    program: `EventQuery.make(PaidEvent, [{ tags: [Event.tag("costumer", "c1")] }])`,
    says: ["Type '`costumer:${string}`' is not assignable to type '`customer:${string}` | `order:${string}`'."]
  },
  {
    name: "queryNotMade",
    program: `EventStore.readByQuery([{ types: ["OrderPaid"] }])`,
    says: [`'"~a query is made by EventQuery.make or EventQuery.ofStoredTypes"' is missing`]
  },
  {
    name: "undeclaredReadTag",
    program: `EventStore.readAll(PaidEvent, { where: { tags: [Event.tag("costumer", "c1")] } })`,
    says: ["Type '`costumer:${string}`' is not assignable to type '`customer:${string}` | `order:${string}`'."]
  },
  {
    name: "unknownQueryType",
    program: `EventQuery.make(PaidEvent, [{ types: ["OrderPayed"] }])`,
    says: [`Type '"OrderPayed"' is not assignable to type '"OrderPaid" | "OrderRefunded"'. Did you mean '"OrderPaid"'?`]
  },
  {
    name: "unindexedFilter",
    program: `ProjectionStore.list(Orders, { where: { totl: 10 } })`,
    says: [`'totl' does not exist in type 'Where<`, `Did you mean to write 'total'?`]
  },
  {
    name: "unindexedOrder",
    program: `ProjectionStore.list(Orders, { orderBy: { field: "orderId" } })`,
    says: [`Type '"orderId"' is not assignable to type 'OrderField<`]
  },
  {
    name: "boundOfAnotherType",
    program: `ProjectionStore.list(Orders, { where: { total: { gte: "10" } } })`,
    says: [`Type 'string' is not assignable to type 'number'.`]
  },
  {
    name: "unknownOperator",
    program: `ProjectionStore.list(Orders, { where: { total: { above: 10 } } })`,
    says: [`'above' does not exist in type 'Comparison<number>'.`]
  },
  {
    name: "rangeOfBooleans",
    program: `ProjectionStore.list(Orders, { where: { isGift: { gte: true } } })`,
    says: [`'gte' does not exist in type 'OneOf<boolean>'.`]
  },
  {
    name: "conflictingEvents",
    program: `Event.merge(OrderEvent, Schema.TaggedUnion({ OrderPlaced: { id: Schema.Int } }))`,
    says: [`is not assignable to type 'readonly [EventConflict<"OrderPlaced">, EventConflict<"OrderPlaced">]'.`]
  },
  {
    name: "missingId",
    program:
      `Aggregate.make("User", { id: "userId", state: document, events: UserEvent, commands: [RenameUser, Nameless] })`,
    says: [
      `Type 'Command<"Nameless",`,
      String.raw`"the payload of \"Nameless\" lacks the aggregate's id \"userId\", a string"`
    ]
  }
]

describe("the first two lines of the compiler's message name the culprit", () => {
  let messages: ReadonlyMap<string, string> = new Map()
  beforeAll(async () => {
    messages = await compile(domain, mistakes)
  })

  it.each(mistakes)("$name", ({ name, says }) => {
    const message = messages.get(name)
    assert.isDefined(message, "the program must not compile")
    for (const part of says) assert.include(message, part)
  })

  it("reports no other errors", () => {
    assert.deepStrictEqual([...messages.keys()].toSorted(), mistakes.map(({ name }) => name).toSorted())
  })
})
