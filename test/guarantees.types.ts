/**
 * Code that must not compile. When a guarantee is lost, the compiler reports an unused `@ts-expect-error`. Nearby code without
 * the mistake compiles, which shows that the mistake alone causes the error.
 */
import { Context, type DateTime, Effect, Layer, Option, Result, Schema, Stream } from "effect"
import { Rpc } from "effect/rpc"
import {
  Aggregate,
  AsOf,
  type AsOfNotReached,
  Command,
  CommandBus,
  CommandContext,
  Decision,
  Event,
  EventQuery,
  EventStore,
  type EventStoreError,
  type InvalidCommand,
  PersonalData,
  Projection,
  type ProjectionBehind,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  Receipt,
  Subscription,
  TimeTravel
} from "evsrc"

const UserId = Schema.String.pipe(Schema.brand("UserId"))
const UserEvent = Schema.TaggedUnion({
  UserRegistered: { userId: UserId, name: Schema.NonEmptyString },
  UserRenamed: { userId: UserId, name: Schema.NonEmptyString }
})
const OrderEvent = Schema.TaggedUnion({ OrderPlaced: { orderId: Schema.String } })
const UserState = Schema.TaggedUnion({ Absent: {}, Present: { name: Schema.String } })

class AlreadyRegistered extends Schema.TaggedError<AlreadyRegistered>()("AlreadyRegistered", { userId: UserId }) {}
class NotRegistered extends Schema.TaggedError<NotRegistered>()("NotRegistered", { userId: UserId }) {}

const RegisterUser = Command.make("RegisterUser", {
  payload: { userId: UserId, name: Schema.NonEmptyString },
  error: AlreadyRegistered
})
const RenameUser = Command.make("RenameUser", {
  payload: { userId: UserId, name: Schema.NonEmptyString },
  error: NotRegistered
})

const User = Aggregate.make("User", {
  id: "userId",
  state: UserState,
  events: UserEvent,
  commands: [RegisterUser, RenameUser]
})

const evolve = {
  UserRegistered: (_: typeof UserState.Type, e: { readonly name: string }) =>
    UserState.cases.Present.make({ name: e.name }),
  UserRenamed: (s: typeof UserState.Type) => s
}

// A correct decider.
export const UserDecider = User.decider({
  initial: { _tag: "Absent" },
  evolve: {
    UserRegistered: (_, e) => ({ _tag: "Present", name: e.name }),
    UserRenamed: (s, e) => s._tag === "Present" ? { ...s, name: e.name } : s
  },
  decide: {
    RegisterUser: (s, c) =>
      s._tag === "Absent"
        ? [UserEvent.cases.UserRegistered.make(c)]
        : Result.fail(new AlreadyRegistered({ userId: c.userId })),
    RenameUser: (s, c) =>
      s._tag === "Present"
        ? [{ _tag: "UserRenamed", userId: c.userId, name: c.name }]
        : Result.fail(new NotRegistered({ userId: c.userId }))
  }
})

export const missingDecide = () =>
  User.decider({
    initial: { _tag: "Absent" },
    evolve,
    // @ts-expect-error `decide` lacks a command
    decide: { RegisterUser: () => [] }
  })

export const unknownDecide = () =>
  User.decider({
    initial: { _tag: "Absent" },
    evolve,
    decide: {
      RegisterUser: () => [],
      RenameUser: () => [],
      // @ts-expect-error the aggregate has no such command
      DeleteUser: () => []
    }
  })

export const missingEvolve = () =>
  User.decider({
    initial: { _tag: "Absent" },
    // @ts-expect-error `evolve` lacks an event
    evolve: { UserRegistered: (s) => s },
    decide: { RegisterUser: () => [], RenameUser: () => [] }
  })

export const unknownEvolve = () =>
  User.decider({
    initial: { _tag: "Absent" },
    evolve: {
      UserRegistered: (s) => s,
      UserRenamed: (s) => s,
      // @ts-expect-error there is no such event
      UserDeleted: (s) => s
    },
    decide: { RegisterUser: () => [], RenameUser: () => [] }
  })

export const foreignEvent = () =>
  User.decider({
    initial: { _tag: "Absent" },
    evolve,
    decide: {
      // @ts-expect-error the event belongs to another aggregate
      RegisterUser: () => [OrderEvent.cases.OrderPlaced.make({ orderId: "o1" })],
      RenameUser: () => []
    }
  })

export const undeclaredError = () =>
  User.decider({
    initial: { _tag: "Absent" },
    evolve,
    decide: {
      // @ts-expect-error the command does not declare this error
      RegisterUser: (_, c) => Result.fail(new NotRegistered({ userId: c.userId })),
      RenameUser: () => []
    }
  })

export const wrongState = () =>
  User.decider({
    initial: { _tag: "Absent" },
    evolve: {
      // @ts-expect-error the value is not a state
      UserRegistered: () => ({ _tag: "Somewhere" }),
      UserRenamed: (s) => s
    },
    decide: { RegisterUser: () => [], RenameUser: () => [] }
  })

const Nameless = Command.make("Nameless", { payload: { name: Schema.String } })
export const missingId = () =>
  Aggregate.make("User", {
    id: "userId",
    state: UserState,
    events: UserEvent,
    // @ts-expect-error the payload of a command lacks the aggregate's id
    commands: [RegisterUser, Nameless]
  })

const Plain = Rpc.make("Plain", { payload: { userId: UserId }, success: Receipt })
export const noCommand = () =>
  Aggregate.make("User", {
    id: "userId",
    state: UserState,
    events: UserEvent,
    // @ts-expect-error the Rpc does not declare the errors of every command
    commands: [RegisterUser, Plain]
  })

export const sharedCommandId = () =>
  // @ts-expect-error a context for several commands cannot share a command id
  CommandContext.provide({ commandId: "c" })

const Numbered = Command.make("Numbered", { payload: { userId: Schema.Int } })
export const wrongIdType = () =>
  Aggregate.make("User", {
    id: "userId",
    state: UserState,
    events: UserEvent,
    // @ts-expect-error the id must be a string
    commands: [RegisterUser, Numbered]
  })

// Upcaster chains.
export const evolved = UserEvent.pipe(Event.upcasters({
  UserRegistered: Event.from({ userId: UserId, first: Schema.String, last: Schema.String })
    .to(
      { userId: UserId, fullName: Schema.String },
      (v1) => ({ userId: v1.userId, fullName: `${v1.first} ${v1.last}` })
    )
    .toCurrent((v2) => ({ userId: v2.userId, name: v2.fullName }))
}))

export const noPath = () =>
  UserEvent.pipe(Event.upcasters({
    // @ts-expect-error the upcaster chain ends before the current version
    UserRegistered: Event.from({ userId: UserId, fullName: Schema.String })
  }))

export const noUpcaster = () =>
  // @ts-expect-error the version has no upcaster
  Event.from({ userId: UserId, first: Schema.String }).to({ userId: UserId, fullName: Schema.String })

export const wrongUpcaster = () =>
  Event.from({ userId: UserId, first: Schema.String })
    // @ts-expect-error the upcaster does not return the next version
    .to({ userId: UserId, fullName: Schema.String }, (v1) => ({ userId: v1.userId }))

export const wrongCurrent = () =>
  UserEvent.pipe(Event.upcasters({
    // @ts-expect-error the upcaster does not return the current version
    UserRegistered: Event.from({ userId: UserId, fullName: Schema.String })
      .toCurrent((v1) => ({ userId: v1.userId, fullName: v1.fullName }))
  }))

export const unknownHistory = () =>
  UserEvent.pipe(Event.upcasters({
    // @ts-expect-error there is no such event
    UserDeleted: Event.from({ userId: UserId }).toCurrent((v1) => v1)
  }))

// Legacy types, and versions that were split.
export const split = UserEvent.pipe(
  Event.upcasters({
    UserRegistered: Event.from({ userId: UserId, first: Schema.NonEmptyString, name: Schema.NonEmptyString })
      .splitInto(["UserRegistered", "UserRenamed"], ({ first, name, userId }) => [
        { _tag: "UserRegistered", userId, name: first },
        { _tag: "UserRenamed", userId, name }
      ])
      .from({ userId: UserId, nick: Schema.NonEmptyString })
      .toCurrent((v2) => ({ userId: v2.userId, name: v2.nick }))
  }),
  Event.legacy({
    UserCreated: Event.from({ id: UserId })
      .to({ userId: UserId, name: Schema.String }, (v1) => ({ userId: v1.id, name: "?" }))
      .renamedTo("UserRegistered", (e) => e),
    UserPoked: Event.retired
  }),
  Event.tags({ user: "userId" })
)

// The compiler checks the number of versions of each type.
Event.versions(split) satisfies {
  readonly UserRegistered: 3
  readonly UserRenamed: 1
  readonly UserCreated: 2
  readonly UserPoked: "retired"
}
Event.versions(Event.merge(split, OrderEvent)) satisfies { readonly UserRegistered: 3; readonly OrderPlaced: 1 }

const shifted = UserEvent.pipe(Event.upcasters({
  UserRegistered: Event.from({ userId: UserId, name: Schema.NonEmptyString }).toCurrent((v1) => v1)
}))
// @ts-expect-error the upcaster from version 1 to 2 was deleted, which shifts the later versions
Event.versions(shifted) satisfies { readonly UserRegistered: 3 }

// @ts-expect-error all upcasters were deleted
Event.versions(UserEvent) satisfies { readonly UserRegistered: 3 }

// @ts-expect-error a retired type was deleted
Event.versions(UserEvent) satisfies { readonly UserPoked: "retired" }

export const foreignInto = () =>
  UserEvent.pipe(Event.legacy({
    // @ts-expect-error the type is renamed to an event that is not in the set
    OrderMade: Event.from({ orderId: Schema.String }).renamedTo("OrderPlaced", (e) => e)
  }))

export const wrongInto = () =>
  UserEvent.pipe(Event.legacy({
    // @ts-expect-error a field of the event is missing
    UserCreated: Event.from({ userId: UserId }).renamedTo("UserRegistered", (e) => e)
  }))

export const unnamedInto = () =>
  Event.from({ userId: UserId, name: Schema.String })
    // @ts-expect-error the split does not name the event, so readers would not query it
    .splitInto(["UserRegistered"], (e) => [{ _tag: "UserRenamed", ...e }])

export const unfinishedLegacy = () =>
  UserEvent.pipe(Event.legacy({
    // @ts-expect-error the upcaster chain of a legacy type ends without an event
    UserCreated: Event.from({ userId: UserId })
  }))

export const currentLegacy = () =>
  UserEvent.pipe(Event.legacy({
    // @ts-expect-error a legacy type has no current payload
    UserCreated: Event.from({ userId: UserId, name: Schema.String }).toCurrent((v1) => v1)
  }))

export const knownLegacy = () =>
  UserEvent.pipe(Event.legacy({
    // @ts-expect-error the event is still in the set
    UserRenamed: Event.retired
  }))

export const wrongSplit = () =>
  UserEvent.pipe(Event.upcasters({
    // @ts-expect-error a past version is split into an event that is not in the set
    UserRegistered: Event.from({ userId: UserId }).renamedTo("UserMade", (e) => e)
  }))

const UserView = Schema.Struct({ userId: UserId, name: Schema.String })
export const Users = Projection.make("users", {
  events: UserEvent,
  document: UserView,
  index: ["name"],
  key: (e) => e.userId,
  evolve: { UserRegistered: (_, e) => ({ userId: e.userId, name: e.name }), UserRenamed: Projection.ignore }
})

export const unhandled = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    key: (e) => e.userId,
    // @ts-expect-error the event is neither handled nor ignored
    evolve: { UserRegistered: (_, e) => ({ userId: e.userId, name: e.name }) }
  })

export const forgottenReturn = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    key: (e) => e.userId,
    evolve: {
      UserRegistered: (_, e) => ({ userId: e.userId, name: e.name }),
      // @ts-expect-error this function never returns a document
      UserRenamed: (user, e) => {
        Object.assign({}, user, { name: e.name })
      }
    }
  })

export const removedByUndefined = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    key: (e) => e.userId,
    evolve: {
      UserRegistered: (_, e) => ({ userId: e.userId, name: e.name }),
      // @ts-expect-error Projection.remove removes a document
      UserRenamed: () => undefined
    }
  })

export const removedOrChanged = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    key: (e) => e.userId,
    evolve: {
      UserRegistered: () => Projection.remove,
      UserRenamed: (user, e) => user && { ...user, name: e.name }
    }
  })

export const foreignHandled = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    key: (e) => e.userId,
    evolve: {
      UserRegistered: Projection.ignore,
      UserRenamed: Projection.ignore,
      // @ts-expect-error the projection does not take this event
      OrderPlaced: Projection.ignore
    }
  })

export const wrongDocument = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    key: (e) => e.userId,
    evolve: {
      // @ts-expect-error the value is not a document
      UserRegistered: () => ({ userId: 1 }),
      UserRenamed: Projection.ignore
    }
  })

export const unknownIndex = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    // @ts-expect-error the document has no such field
    index: ["status"],
    key: (e) => e.userId,
    evolve: { UserRegistered: Projection.ignore, UserRenamed: Projection.ignore }
  })

const OrderView = Schema.Struct({
  orderId: Schema.String,
  total: Schema.Finite,
  cents: Schema.NullOr(Schema.BigInt),
  status: Schema.Literals(["open", "paid"]),
  isGift: Schema.Boolean,
  placedAt: Schema.optionalKey(Schema.DateTimeUtc),
  lines: Schema.Array(Schema.String)
})
const Orders = Projection.make("orders", {
  events: OrderEvent,
  document: OrderView,
  index: ["total", "cents", "status", "isGift", "placedAt", "lines"],
  key: (e) => e.orderId,
  evolve: { OrderPlaced: Projection.ignore }
})
export const listed = (since: DateTime.Utc) => [
  ProjectionStore.list(Orders, {
    where: { total: { gte: 10, lt: 20 }, placedAt: { gt: since }, status: { in: ["open"] }, isGift: true },
    orderBy: { field: "placedAt", direction: "desc" },
    limit: 10
  }),
  ProjectionStore.list(Orders, {
    where: { cents: { between: [1n, 2n] }, lines: ["tea"] },
    orderBy: { field: "cents" }
  }),
  ProjectionStore.list(Orders, { where: { cents: null, isGift: { in: [true] } }, orderBy: { direction: "desc" } })
]
export const filteredByUnindexed = () =>
  // @ts-expect-error the projection has no index on the field
  ProjectionStore.list(Orders, { where: { orderId: "1" } })
export const orderedByUnindexed = () =>
  // @ts-expect-error the projection has no index on the field
  ProjectionStore.list(Orders, { orderBy: { field: "orderId" } })
export const wrongBound = () =>
  // @ts-expect-error the field is a number
  ProjectionStore.list(Orders, { where: { total: { gte: "10" } } })
export const wrongOperator = () =>
  // @ts-expect-error there is no such operator
  ProjectionStore.list(Orders, { where: { total: { above: 10 } } })
export const rangeOfBooleans = () =>
  // @ts-expect-error booleans have no ranges
  ProjectionStore.list(Orders, { where: { isGift: { gte: true } } })
export const rangeOfArrays = () =>
  // @ts-expect-error arrays have no order
  ProjectionStore.list(Orders, { where: { lines: { gte: ["tea"] } } })
export const orderedByArrays = () =>
  // @ts-expect-error arrays have no order
  ProjectionStore.list(Orders, { orderBy: { field: "lines" } })
export const nullBound = () =>
  // @ts-expect-error null is within no bounds
  ProjectionStore.list(Orders, { where: { cents: { gte: null } } })
export const wrongDirection = () =>
  // @ts-expect-error the direction is "asc" or "desc"
  ProjectionStore.list(Orders, { orderBy: { field: "total", direction: "down" } })

export const findOfStored = () =>
  Projection.make("users", {
    events: UserEvent,
    document: UserView,
    key: (e) => e.userId,
    evolve: { UserRegistered: Projection.ignore, UserRenamed: Projection.ignore },
    // @ts-expect-error only a live projection has `find`
    find: (key: string) => [{ tags: [key] }]
  })

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)
const taggedUserEvent = UserEvent.pipe(Event.tags({ user: "userId" }))

const LiveUsers = Projection.make("live-users", {
  events: taggedUserEvent,
  document: UserView,
  lifecycle: "live",
  key: (e) => e.userId,
  evolve: { UserRegistered: Projection.ignore, UserRenamed: Projection.ignore },
  find: (key) => [{ tags: [Event.tag("user", key)] }]
})
export const liveRead = () => Effect.runPromise(ProjectionStore.get(LiveUsers, "u1").pipe(Effect.provide(stores)))
export const storedRead = () =>
  Effect.runPromise(ProjectionStore.get(Users, "u1").pipe(Effect.provide(ProjectionStore.layerMemory)))

const userOptions = {
  document: UserView,
  key: (e: typeof taggedUserEvent.Type) => e.userId,
  evolve: { UserRegistered: Projection.ignore, UserRenamed: Projection.ignore }
} as const
export const byDeclaredTag = () => [
  Projection.make("users", { ...userOptions, events: taggedUserEvent, partitionBy: { tag: "user" } }),
  Subscription.make("mail", { events: taggedUserEvent, partitionBy: { tag: "user" }, handle: () => Effect.void })
]
export const byUndeclaredTag = () =>
  // @ts-expect-error the set declares no such tag
  Projection.make("users", { ...userOptions, events: taggedUserEvent, partitionBy: { tag: "usr" } })
export const byTagOfUntaggedSet = () =>
  // @ts-expect-error the set declares no tags
  Projection.make("users", { ...userOptions, events: UserEvent, partitionBy: { tag: "user" } })
export const handledByUndeclaredTag = () =>
  // @ts-expect-error the set declares no such tag
  Subscription.make("mail", { events: taggedUserEvent, partitionBy: { tag: "usr" }, handle: () => Effect.void })
export const writtenByUndeclaredTag = () =>
  Projection.handler("users", {
    events: taggedUserEvent,
    // @ts-expect-error the set declares no such tag
    partitionBy: { tag: "usr" },
    handle: { UserRegistered: Projection.ignore, UserRenamed: Projection.ignore }
  })
export const handledByDocument = () =>
  // @ts-expect-error a subscription has no documents
  Subscription.make("mail", { events: taggedUserEvent, partitionBy: "document", handle: () => Effect.void })

const noLog = Effect.provide(ProjectionStore.layerMemory)
export const liveReadWithoutLog = () =>
  // @ts-expect-error a live projection reads the event store
  Effect.runPromise(ProjectionStore.get(LiveUsers, "u1").pipe(noLog))
export const liveListWithoutLog = () =>
  // @ts-expect-error a live projection reads the event store
  Effect.runPromise(ProjectionStore.list(LiveUsers).pipe(noLog))
export const liveWatchWithoutLog = () =>
  // @ts-expect-error a watch of a live projection reads the event store
  Effect.runPromise(Stream.runDrain(ProjectionStore.watch(LiveUsers, "u1")).pipe(noLog))
export const erasedReadWithoutLog = (projection: Projection.Any) =>
  // @ts-expect-error the projection may be live, and then needs the event store
  Effect.runPromise(ProjectionStore.get(projection, "u1").pipe(noLog))

export const projectLive = () =>
  // @ts-expect-error the projector does not run live projections
  Projector.layer([LiveUsers])
export const projectAsyncInline = () =>
  // @ts-expect-error an append does not update asynchronous projections
  Projector.layerInline([Users])

class Mailer extends Context.Service<Mailer, { readonly send: (to: string) => Effect.Effect<void> }>()("Mailer") {}
class Search extends Context.Service<Search, { readonly index: (id: string) => Effect.Effect<void> }>()("Search") {}
const mail = (to: string) => Effect.flatMap(Mailer, (mailer) => mailer.send(to))
const index = (id: string) => Effect.flatMap(Search, (search) => search.index(id))

const Rows = Projection.handler("rows", {
  events: UserEvent,
  handle: { UserRegistered: (e) => index(e.userId), UserRenamed: (e, { version }) => mail(`${e.name} ${version}`) }
})
const InlineRows = Projection.handler("rows", {
  events: UserEvent,
  lifecycle: "inline",
  handle: { UserRegistered: (e) => index(e.userId), UserRenamed: Projection.ignore }
})
export const rowsNeed: Layer.Layer<
  Projector.Projector,
  never,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Mailer | Search
> = Projector.layer([Users, Rows])
// @ts-expect-error the layer requires the services of every handler
export const rowsNeedMore: Layer.Layer<
  Projector.Projector,
  never,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Search
> = Projector.layer([Users, Rows])
// @ts-expect-error the inline layer also requires the services of every handler
export const inlineRowsNeedMore: Layer.Layer<
  EventStore.EventStore,
  never,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> = Projector.layerInline([InlineRows])

export const unhandledRow = () =>
  Projection.handler("rows", {
    events: UserEvent,
    // @ts-expect-error the event is neither handled nor ignored
    handle: { UserRegistered: () => Effect.void }
  })
export const foreignRow = () =>
  Projection.handler("rows", {
    events: UserEvent,
    handle: {
      UserRegistered: () => Effect.void,
      UserRenamed: Projection.ignore,
      // @ts-expect-error the projection does not take this event
      OrderPlaced: () => Effect.void
    }
  })
export const liveRow = () =>
  Projection.handler("rows", {
    events: UserEvent,
    // @ts-expect-error a handler has effects, so readers must not run it again
    lifecycle: "live",
    handle: { UserRegistered: Projection.ignore, UserRenamed: Projection.ignore }
  })
export const noEffect = () =>
  Projection.handler("rows", {
    events: UserEvent,
    // @ts-expect-error a handler returns an Effect, not a promise
    handle: { UserRegistered: async () => {}, UserRenamed: Projection.ignore }
  })
export const readRows = () =>
  // @ts-expect-error a handler has no documents
  ProjectionStore.get(Rows, "u1")

const Welcome = Subscription.make("welcome", { events: UserEvent, handle: (e) => mail(e.name) })
export const welcomeNeeds: Layer.Layer<
  Subscription.Subscriptions,
  EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore | Mailer
> = Subscription.layer([Welcome])
// @ts-expect-error the layer requires the services of its handlers
export const welcomeNeedsMore: Layer.Layer<
  Subscription.Subscriptions,
  EventStoreError,
  EventStore.EventStore | ProjectionStore.ProjectionStore
> = Subscription.layer([Welcome])

export const unhandledSubscription = () =>
  Subscription.make("welcome", {
    events: UserEvent,
    // @ts-expect-error the event is neither handled nor ignored
    handle: { UserRegistered: (e) => mail(e.name) }
  })
export const parksError = Subscription.make("rename", {
  events: UserEvent,
  parks: ["AlreadyRegistered"],
  handle: {
    UserRegistered: ({ name, userId }) => CommandBus.dispatch(RegisterUser, { userId, name }),
    UserRenamed: ({ name, userId }) =>
      CommandBus.dispatch(RenameUser, { userId, name }).pipe(Effect.catchTag("NotRegistered", () => Effect.void))
  }
})
export const forgottenSubscriptionError = () =>
  Subscription.make("rename", {
    events: UserEvent,
    handle: {
      // @ts-expect-error the handler neither handles the command's error nor names it
      UserRegistered: ({ name, userId }) => CommandBus.dispatch(RegisterUser, { userId, name }),
      UserRenamed: Subscription.ignore
    }
  })
export const forgottenErrorOfOneHandler = () =>
  Subscription.make("rename", {
    events: UserEvent,
    // @ts-expect-error one of two errors is named
    handle: (e) => Effect.andThen(CommandBus.dispatch(RegisterUser, e), CommandBus.dispatch(RenameUser, e)),
    parks: ["AlreadyRegistered"]
  })
export const unusedPark = () =>
  Subscription.make("rename", {
    events: UserEvent,
    // @ts-expect-error no handler fails with this error
    parks: ["AlreadyRegistred"],
    handle: { UserRegistered: () => Effect.void, UserRenamed: Subscription.ignore }
  })
export const untaggedError = () =>
  Subscription.make("rename", {
    events: UserEvent,
    handle: {
      // @ts-expect-error an error without a tag cannot be named
      UserRegistered: () => Effect.fail("no"),
      // @ts-expect-error an unknown error can be anything
      UserRenamed: () => Effect.fail<unknown>("no")
    }
  })
export const forgottenErrorOfProjection = () =>
  Projection.handler("rename", {
    events: UserEvent,
    handle: {
      // @ts-expect-error the handler neither handles the command's error nor names it
      UserRegistered: ({ name, userId }) => CommandBus.dispatch(RegisterUser, { userId, name }),
      UserRenamed: Projection.ignore
    }
  })

export const foreignSubscription = () =>
  Subscription.make("welcome", {
    events: UserEvent,
    handle: {
      UserRegistered: (e) => mail(e.name),
      UserRenamed: Subscription.ignore,
      // @ts-expect-error the subscription does not take this event
      OrderPlaced: Subscription.ignore
    }
  })
export const projectSubscription = () =>
  // @ts-expect-error a subscription is not a projection: its effects run outside the store's transactions
  Projector.layer([Welcome])

const NamedUserEvent = UserEvent.pipe(Event.tags({ name: "name" }))
const taken = (name: string) =>
  Decision.model({ events: NamedUserEvent, tags: { name }, initial: false, evolve: { UserRegistered: () => true } })

export const decision = Decision.make(RegisterUser, {
  events: UserEvent,
  models: (c) => ({ taken: taken(c.name) }),
  decide: ({ taken }, c) =>
    taken ? Result.fail(new AlreadyRegistered({ userId: c.userId })) : [{ _tag: "UserRegistered", ...c }]
})

export const unknownModel = () =>
  Decision.make(RegisterUser, {
    events: UserEvent,
    models: (c) => ({ taken: taken(c.name) }),
    // @ts-expect-error there is no such model
    decide: ({ token }) => token ? [] : []
  })

export const undeclaredDecisionError = () =>
  Decision.make(RegisterUser, {
    events: UserEvent,
    models: (c) => ({ taken: taken(c.name) }),
    // @ts-expect-error the command does not declare this error
    decide: (_, c) => Result.fail(new NotRegistered({ userId: c.userId }))
  })

export const foreignDecisionEvent = () =>
  Decision.make(RegisterUser, {
    events: UserEvent,
    models: (c) => ({ taken: taken(c.name) }),
    // @ts-expect-error the event belongs to another set
    decide: () => [OrderEvent.cases.OrderPlaced.make({ orderId: "o1" })]
  })

export const unknownModelEvent = () =>
  Decision.model({
    events: UserEvent,
    initial: 0,
    // @ts-expect-error there is no such event
    evolve: { UserDeleted: (n) => n }
  })

export const tagged = UserEvent.pipe(Event.tags({ user: "userId" }))

const twiceTagged = tagged.pipe(Event.tags({ name: "name" }), Event.upcasters({}))
const mergedTagged = Event.merge(twiceTagged, OrderEvent)
const countOf = { initial: 0, evolve: { UserRegistered: (n: number) => n + 1 } }
const whereOf = {
  document: UserView,
  key: (e: { readonly userId: string }) => e.userId,
  evolve: { UserRegistered: Projection.ignore, UserRenamed: Projection.ignore }
} as const

export const declaredTags = [
  Decision.model({ events: twiceTagged, tags: { user: "u1", name: "Ann" }, ...countOf }),
  Decision.model({ events: mergedTagged, tags: { user: "u1" }, ...countOf }),
  Projection.make("users", { events: twiceTagged, where: { tags: [Event.tag("name", "Ann"), "user:u1"] }, ...whereOf }),
  EventStore.readAll(mergedTagged, { where: { tags: [Event.tag("user", "u1")] } }),
  EventQuery.make(mergedTagged, [{ types: ["OrderPlaced"] }, { tags: [Event.tag("name", "Ann")] }])
]
export const undeclaredModelTag = () =>
  // @ts-expect-error the set declares no such tag
  Decision.model({ events: twiceTagged, tags: { usr: "u1" }, ...countOf })
export const modelTagWithoutTags = () =>
  // @ts-expect-error the set declares no tags
  Decision.model({ events: UserEvent, tags: { user: "u1" }, ...countOf })
export const undeclaredTagOfMerged = () =>
  // @ts-expect-error neither set declares such a tag
  Decision.model({ events: mergedTagged, tags: { order: "o1" }, ...countOf })
export const undeclaredTagOfRead = () =>
  // @ts-expect-error the set declares no such tag
  EventStore.readAll(mergedTagged, { where: { tags: [Event.tag("order", "o1")] } })
export const undeclaredTagOfConsumer = () =>
  Projection.make("users", {
    events: twiceTagged,
    // @ts-expect-error the set declares no such tag
    where: { tags: [Event.tag("usr", "u1")] },
    ...whereOf
  })
export const undeclaredTagOfFind = () =>
  Projection.make("users", {
    events: twiceTagged,
    lifecycle: "live",
    // @ts-expect-error the set declares no such tag
    find: (key) => [{ tags: [Event.tag("usr", key)] }],
    ...whereOf
  })
export const unknownTypeOfFind = () =>
  Projection.make("users", {
    events: twiceTagged,
    lifecycle: "live",
    // @ts-expect-error the set has no such event
    find: (key) => [{ types: ["UserRegisterd"], tags: [Event.tag("user", key)] }],
    ...whereOf
  })
export const undeclaredTagOfQuery = () =>
  // @ts-expect-error the set declares no such tag
  EventQuery.make(twiceTagged, [{ tags: [Event.tag("usr", "u1")] }])
const currentNames: EventQuery.QueryOf<typeof twiceTagged> = [{ types: ["UserRegistered"] }]
export const queryOfCurrentNames = () =>
  // @ts-expect-error the store would not find the events that are stored under other names
  EventStore.readByQuery(currentNames)
export const madeQueries = [
  EventStore.readByQuery(EventQuery.make(twiceTagged, currentNames)),
  EventStore.readByQuery(EventQuery.ofStoredTypes([{ types: ["UserRegistered"] }]))
]
export const unknownTypeOfQuery = () =>
  // @ts-expect-error the set has no such event
  EventQuery.make(twiceTagged, [{ types: ["UserRegisterd"] }])

export const sharedCase = Event.merge(UserEvent, Event.merge(UserEvent, OrderEvent))
export const conflictingEvents = () =>
  // @ts-expect-error the sets have different events of one name
  Event.merge(UserEvent, Schema.TaggedUnion({ UserRenamed: { userId: UserId } }))
export const conflictingFields = () =>
  // @ts-expect-error the fields of the two events differ
  Event.merge(OrderEvent, Schema.TaggedUnion({ OrderPlaced: { orderId: Schema.Int } }))

export const unknownTagField = () =>
  // @ts-expect-error no event has such a field
  UserEvent.pipe(Event.tags({ user: "userID" }))

const email = PersonalData.field(Schema.String, { subject: "userId" })
const ContactEvent = Schema.TaggedUnion({ ContactGiven: { userId: UserId, email } })
const Contact = Schema.Struct({ userId: UserId, email })
const given = { ContactGiven: (_: typeof Contact.Type | undefined, e: typeof Contact.Type) => e }

export const contacts = Projection.make("contacts", {
  events: ContactEvent,
  document: Contact,
  index: ["userId"],
  key: (e) => e.userId,
  evolve: given
})

export const personalTag = () =>
  // @ts-expect-error personal data cannot be a tag: it may be erased
  ContactEvent.pipe(Event.tags({ email: "email" }))

export const personalKey = () =>
  // @ts-expect-error personal data cannot be the key of a document: it may be erased
  Projection.make("contacts", { events: ContactEvent, document: Contact, key: (e) => e.email, evolve: given })

export const forgottenErased = () =>
  Projection.make("contacts", {
    events: ContactEvent,
    document: Schema.Struct({ email: Schema.String }),
    key: (e) => e.userId,
    // @ts-expect-error the document does not allow an erased email
    evolve: { ContactGiven: (_, e) => ({ email: e.email }) }
  })

export const handledErased = () =>
  Projection.make("contacts", {
    events: ContactEvent,
    document: Schema.Struct({ email: Schema.String }),
    key: (e) => e.userId,
    evolve: { ContactGiven: (_, e) => ({ email: PersonalData.getOrElse(e.email, () => "") }) }
  })

export const GiveContact = Command.make("GiveContact", { payload: { userId: UserId, email: Schema.String } })
export const forgottenInState = () =>
  Aggregate.make("Contact", {
    id: "userId",
    state: Schema.Struct({ email: Schema.String }),
    events: ContactEvent,
    commands: [GiveContact]
  }).decider({
    initial: { email: "" },
    // @ts-expect-error the state does not allow an erased email
    evolve: { ContactGiven: (_, e) => ({ email: e.email }) },
    decide: { GiveContact: (_, c) => [ContactEvent.cases.ContactGiven.make(c)] }
  })

const register = CommandBus.dispatch(RegisterUser, { userId: UserId.make("u1"), name: "Ann" })
const handlers = Aggregate.layer(UserDecider).pipe(Layer.provide(EventStore.layerMemory))
export const handled = () => Effect.runPromise(Effect.provide(register, handlers))

export const unhandledCommand = () =>
  // @ts-expect-error the command has no handler
  Effect.runPromise(register)

const Other = Command.make("Other", { payload: { userId: UserId } })
export const otherCommand = () =>
  // @ts-expect-error the provided handlers belong to other commands
  Effect.runPromise(Effect.provide(CommandBus.dispatch(Other, { userId: UserId.make("u1") }), handlers))

const Ask = Query.make("Ask", { payload: {}, success: Schema.String })
export const unhandledQuery = () =>
  // @ts-expect-error the query has no handler
  Effect.runPromise(QueryBus.ask(Ask, {}))

export const wrongPayload = () =>
  // @ts-expect-error a field of the payload is missing
  CommandBus.dispatch(RegisterUser, { userId: UserId.make("u1") })

export const wrongQueryPayload = () =>
  // @ts-expect-error a field of the query's payload has another type
  QueryBus.ask(Named, { name: 1 })
const Named = Query.make("Named", { payload: { name: Schema.String }, success: Schema.String })
const named = QueryBus.ask(Named, { name: "Ann" })
export const queryErrors: Effect.Effect<string, Query.BusError, unknown> = named
// @ts-expect-error a query can fail with an invalid payload
export const forgottenInvalidQuery: Effect.Effect<string, ProjectionBehind | EventStoreError, unknown> = named

export const preciseErrors: Effect.Effect<unknown, AlreadyRegistered | Command.BusError, unknown> = register
// @ts-expect-error a command can fail with its own error
export const forgottenError: Effect.Effect<unknown, Command.BusError, unknown> = register

// Time travel: only an aggregate has versions, and results are typed.
const u1 = UserId.make("u1")
export const aggregateAtVersion = TimeTravel.aggregate(UserDecider, "u1", AsOf.version(3))
export const documentAtPosition = TimeTravel.document(Users, "u1", AsOf.position(3n))
export const documentAtVersion = () =>
  // @ts-expect-error a document combines many streams, so it has no version
  TimeTravel.document(Users, "u1", AsOf.version(3))
export const decisionAtPosition = TimeTravel.decision(decision, { userId: u1, name: "Ann" }, AsOf.position(3n))
export const decisionAtVersion = () =>
  // @ts-expect-error a decision combines many streams, so it has no version
  TimeTravel.decision(decision, { userId: u1, name: "Ann" }, AsOf.version(3))
export const decisionDiffAtVersion = () =>
  TimeTravel.decisionDiff(decision, { userId: u1, name: "Ann" }, {
    from: AsOf.position(1n),
    // @ts-expect-error the difference of a decision has no version either
    to: AsOf.version(3)
  })

export const stateThen: Effect.Effect<
  typeof UserState.Type,
  AsOfNotReached | EventStoreError,
  EventStore.EventStore
> = Effect.map(aggregateAtVersion, ({ state }) => state)
export const takenThen: Effect.Effect<
  boolean,
  InvalidCommand | AsOfNotReached | EventStoreError,
  EventStore.EventStore
> = Effect.map(decisionAtPosition, ({ states }) => states.taken)
export const unknownModelThen = () =>
  // @ts-expect-error there is no such model
  Effect.map(decisionAtPosition, ({ states }) => states.token)
export const nameThen = Effect.map(documentAtPosition, ({ document }) => Option.map(document, ({ name }) => name))
export const unknownFieldThen = () =>
  // @ts-expect-error the document has no such field
  Effect.map(documentAtPosition, ({ document }) => Option.map(document, ({ status }) => status))

const renameUser = { userId: u1, name: "Ann" }
export const renamed: Effect.Effect<
  TimeTravel.WhatIfResult<typeof UserState.Type, typeof UserEvent.Type>,
  NotRegistered | InvalidCommand | AsOfNotReached | EventStoreError,
  EventStore.EventStore
> = TimeTravel.whatIf(UserDecider, RenameUser, renameUser, AsOf.version(1))
// @ts-expect-error a what-if can fail with the command's own errors
export const renamedNever: Effect.Effect<
  TimeTravel.WhatIfResult<typeof UserState.Type, typeof UserEvent.Type>,
  InvalidCommand | AsOfNotReached | EventStoreError,
  EventStore.EventStore
> = TimeTravel.whatIf(UserDecider, RenameUser, renameUser, AsOf.version(1))
export const foreignCommand = () =>
  // @ts-expect-error the command belongs to another aggregate
  TimeTravel.whatIf(UserDecider, Nameless, { name: "Ann" }, AsOf.now)
export const wrongPayloadThen = () =>
  // @ts-expect-error the payload belongs to another command
  TimeTravel.whatIf(UserDecider, RenameUser, { userId: u1 }, AsOf.now)
export const foreignImagined = (other: TimeTravel.WhatIfResult<number, never>) =>
  // @ts-expect-error the state belongs to another aggregate
  TimeTravel.whatIf(UserDecider, RenameUser, renameUser, other)
export const readWithoutLog = () =>
  // @ts-expect-error time travel reads the event store, for every lifecycle
  Effect.runPromise(documentAtPosition.pipe(noLog))
export const wrongModelSchema = () =>
  // @ts-expect-error the Schema belongs to another state
  Decision.model({ events: UserEvent, initial: 0, evolve: { UserRegistered: (n) => n + 1 }, state: Schema.String })

// Decisions on the stream of an aggregate, and aggregates with models.

const ForeignEvent = Schema.TaggedUnion({ Foreign: { userId: Schema.String } })
const Touch = Command.make("Touch", { payload: { userId: Schema.String } })
export const onOwnStream = Decision.make(Touch, {
  events: UserEvent,
  stream: ({ userId }) => User.streamOf(userId),
  models: () => ({
    count: Decision.model({ events: UserEvent, initial: 0, evolve: { UserRegistered: (n) => n + 1 } })
  }),
  decide: () => []
})
export const onForeignStream = () =>
  Decision.make(Touch, {
    events: ForeignEvent,
    // @ts-expect-error the aggregate does not have these events
    stream: ({ userId }) => User.streamOf(userId),
    models: () => ({}),
    decide: () => []
  })
export const onNamedStream = Decision.make(Touch, {
  events: ForeignEvent,
  stream: ({ userId }) => `Foreign-${userId}`,
  models: () => ({}),
  decide: () => []
})
const Toucher = Aggregate.make("Toucher", { id: "userId", state: Schema.Int, events: ForeignEvent, commands: [Touch] })
export const withModels = Toucher.withModels({
  Touch: ({ userId }) => ({
    count: Decision.model({ events: ForeignEvent, tags: {}, initial: userId.length, evolve: { Foreign: (n) => n } })
  })
}).decider({
  initial: 0,
  evolve: { Foreign: (n) => n + 1 },
  decide: { Touch: (n, command, { count }) => count + n === 0 ? [] : [{ _tag: "Foreign", userId: command.userId }] }
})
export const modelsOfUnknownCommand = () =>
  Toucher.withModels({
    Touch: () => ({}),
    // @ts-expect-error the aggregate has no command "Tuoch"
    Tuoch: () => ({})
  })
export const unknownModelOf = () =>
  Toucher.decider({
    initial: 0,
    evolve: { Foreign: (n) => n + 1 },
    // @ts-expect-error there is no such model
    decide: { Touch: (_n, _command, { count: _count }) => [] }
  })
