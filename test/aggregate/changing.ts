/**
 * A program in production whose functions change what they are given. Prints what each did, and the results, which must be right.
 */
import { Cause, Console, Effect, Exit, Layer, Option, Schema, Stream } from "effect"
import {
  Aggregate,
  Command,
  CommandBus,
  Decision,
  Event,
  EventStore,
  Projection,
  ProjectionStore,
  Projector,
  SnapshotPolicy
} from "evsrc"
import { internals } from "../../src/core/internals.ts"

const Added = Schema.TaggedUnion({ Added: { listId: Schema.String, item: Schema.String } }).pipe(
  Event.tags({ list: "listId" })
)
const Add = Command.make("Add", { payload: { listId: Schema.String, item: Schema.String } })
const names = Schema.mutable(Schema.Array(Schema.String))
const AddAll = Command.make("AddAll", { payload: { listId: Schema.String, names } })
const Count = Command.make("Count", { payload: { listId: Schema.String } })

const push = (items: ReadonlyArray<string>, item: string) => (items as Array<string>).push(item)

const List = Aggregate.make("List", {
  id: "listId",
  state: Schema.Struct({ items: Schema.Array(Schema.String) }),
  events: Added,
  commands: [Add, AddAll]
})
const ListDecider = List.decider({
  snapshots: SnapshotPolicy.every(1),
  initial: { items: [] },
  evolve: {
    Added: ({ items }, { item }) => {
      if (item === "evolve") push(items, "changed")
      return { items: [...items, item] }
    }
  },
  decide: {
    Add: ({ items }, { item, listId }) => {
      if (item === "decide") push(items, "changed")
      return [{ _tag: "Added", item, listId }]
    },
    AddAll: (_, { listId, names }) => {
      names.push("changed")
      return names.map((item) => ({ _tag: "Added" as const, item, listId }))
    }
  }
})

const counted = Decision.make(Count, {
  events: Added,
  models: ({ listId }) => ({
    list: Decision.model({
      events: Added,
      tags: { list: listId },
      initial: { items: [] as ReadonlyArray<string> },
      state: Schema.Struct({ items: Schema.Array(Schema.String) }),
      evolve: { Added: ({ items }, { item }) => ({ items: [...items, item] }) }
    })
  }),
  decide: ({ list }, { listId }) => {
    push(list.items, "changed")
    return [{ _tag: "Added", item: "counted", listId }]
  }
})

const lists = Projection.make("lists", {
  lifecycle: "live",
  events: Added,
  document: Schema.Struct({ items: Schema.Array(Schema.String) }),
  key: ({ listId }) => listId,
  evolve: {
    Added: (list, event) => {
      Object.assign(event, { item: "changed" })
      return { items: [...list?.items ?? [], event.item] }
    }
  }
})

/** On its second event of a batch it changes the document and fails; the third has the document of the first. */
const parking = Projection.make("parking", {
  events: Added,
  partitionBy: "stream",
  document: Schema.Struct({ items: Schema.Array(Schema.String) }),
  key: () => "all",
  evolve: {
    Added: (list, { item }) => {
      if (list !== undefined && item === "park") {
        push(list.items, "changed")
        throw new Error("not this one")
      }
      return { items: [...list?.items ?? [], item] }
    }
  }
})

const outcome = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => Exit.isSuccess(exit) ? "succeeds" : Cause.pretty(exit.cause).split("\n")[0])

const program = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const { driver, snapshots } = store[internals]
  const add = (item: string) => CommandBus.dispatch(Add, { listId: "1", item })
  const load = Effect.map(Aggregate.load(ListDecider, "1"), ({ state }) => state.items)
  yield* add("a")
  yield* store.append(Added, "List-2", [{ _tag: "Added", listId: "2", item: "x" }])
  yield* Aggregate.load(ListDecider, "2")
  yield* snapshots.settled
  const results: Record<string, unknown> = {
    decide: yield* outcome(add("decide")),
    evolve: yield* outcome(Effect.andThen(
      store.append(Added, "List-2", [{ _tag: "Added", listId: "2", item: "evolve" }]),
      Aggregate.load(ListDecider, "2")
    )),
    payload: yield* outcome(CommandBus.dispatch(AddAll, { listId: "1", names: ["b"] })),
    model: yield* outcome(CommandBus.dispatch(Count, { listId: "1" })),
    document: yield* outcome(ProjectionStore.get(lists, "1")),
    load: yield* outcome(Effect.flatMap(load, (items) => Effect.sync(() => push(items, "changed"))))
  }
  yield* add("c")
  yield* snapshots.settled
  const [snapshot] = (yield* driver.snapshots.page(undefined, 10)).filter(({ stream }) => stream === "List-1")
  const events = yield* Stream.runCollect(store.readStream(Added, "List-1"))
  yield* store.append(Added, "Parked-1", [{ _tag: "Added", listId: "1", item: "park" }])
  yield* store.append(Added, "List-3", [{ _tag: "Added", listId: "3", item: "d" }])
  const parked = yield* Effect.gen(function*() {
    const documents = yield* ProjectionStore.ProjectionStore
    yield* documents.awaitPosition(parking, yield* store.head, "1 minute")
    return yield* documents.get(parking, "all")
  }).pipe(Effect.provide(Projector.layer([parking])))
  yield* Console.log(JSON.stringify({
    ...results,
    events: events.map(({ event }) => event.item),
    state: yield* load,
    snapshot: snapshot?.state,
    parked: Option.getOrUndefined(parked)
  }))
})

await Effect.runPromise(program.pipe(
  Effect.provide(Layer.mergeAll(Aggregate.layer(ListDecider), Decision.layer(counted))),
  Effect.provide(ProjectionStore.layerMemory.pipe(Layer.provideMerge(EventStore.layerMemory)))
))
