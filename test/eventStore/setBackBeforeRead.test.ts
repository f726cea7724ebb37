/** A log that is set back just after the first statement of a read: what the read has found out before it is not true any more. */
import { assert, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Layer, Option, Schema, Stream } from "effect"
import {
  Aggregate,
  AsOf,
  Command,
  Decision,
  Event,
  EventStore,
  EventStoreError,
  Projection,
  ProjectionStore,
  Projector,
  TimeTravel
} from "evsrc"
import { PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { id: Schema.String, n: Schema.Int } }).pipe(Event.tags({ ticker: "id" }))
const Add = Command.make("Add", { payload: { id: Schema.String, n: Schema.Int } })
const Ticker = Aggregate.make("Ticker", { id: "id", state: Schema.Int, events: Tick, commands: [Add] }).decider({
  initial: 0,
  evolve: { Ticked: (sum, { n }) => sum + n },
  decide: { Add: (_, { id, n }) => [Tick.cases.Ticked.make({ id, n })] }
})
const byTag = Decision.make(Add, {
  events: Tick,
  models: ({ id }) => ({
    sum: Decision.model({
      events: Tick,
      tags: { ticker: id },
      initial: 0,
      evolve: { Ticked: (sum, { n }) => sum + n }
    })
  }),
  decide: (_, { id, n }) => [Tick.cases.Ticked.make({ id, n })]
})

const sum = {
  events: Tick,
  document: Schema.Int,
  key: ({ id }: { readonly id: string }) => id,
  evolve: { Ticked: (sum: number | undefined, { n }: { readonly n: number }) => (sum ?? 0) + n }
}
const background = Projection.make("background", sum)
const inline = Projection.make("inline", { ...sum, lifecycle: "inline" })
const live = Projection.make("live", { ...sum, lifecycle: "live" })

interface Stores {
  readonly log: EventStore.EventStore["Service"]
  readonly documents: ProjectionStore.ProjectionStore["Service"]
}

const schemas = ["before", "after", "shorter"] as const
type Logs = Record<(typeof schemas)[number], Stores>

const makeLogs = <E, R>(
  storesIn: (schema: string) => Layer.Layer<EventStore.EventStore | ProjectionStore.ProjectionStore, E, R>
) =>
  Effect.map(
    Effect.forEach(schemas, (schema) =>
      Effect.map(Layer.build(Layer.fresh(storesIn(schema))), (built): readonly [typeof schema, Stores] => [schema, {
        log: Context.get(built, EventStore.EventStore),
        documents: Context.get(built, ProjectionStore.ProjectionStore)
      }])),
    (all) =>
      Object.fromEntries(all) as Logs
  )
const logsOnSql = (client: ReturnType<typeof layerPglite>) =>
  Effect.flatMap(
    Layer.build(client),
    (database) => Effect.provideContext(makeLogs((schema) => PgStores.layerWith({ schema, notify: false })), database)
  )

const backEnds = {
  memory: makeLogs(() => Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)),
  PGlite: logsOnSql(layerPglite()),
  PostgreSQL: logsOnSql(layerPostgres({ poolSize: 6 }))
}

/** Appends events that the documents of all projections have, and returns the receipt of the last. */
const fill = ({ documents, log }: Stores, numbers: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    yield* Effect.forEach(numbers, (n) =>
      Effect.flatMap(EventStore.EventStore, (store) =>
        store.append(Tick, "Ticker-a", [{ _tag: "Ticked", id: "a", n }])))
    const receipt = yield* log.headPosition
    yield* ProjectionStore.awaitPosition(background, receipt.position, "1 minute")
    return receipt
  }).pipe(
    Effect.provide(Projector.layer([background])),
    Effect.provide(
      Projector.layerInline([inline]).pipe(
        Layer.provideMerge(Layer.mergeAll(
          Layer.succeed(EventStore.EventStore, log),
          Layer.succeed(ProjectionStore.ProjectionStore, documents)
        ))
      )
    ),
    Effect.scoped
  )

/** Stores on the first log, and on another one after the first statement since `arm`. */
const setBack = Effect.fnUntraced(function*(before: Stores, after: Stores) {
  let current: Stores = before
  let isArmed = false
  const switching = <A>(first: Effect.Effect<A>): Effect.Effect<A> =>
    Effect.tap(first, () =>
      Effect.sync(() => {
        if (isArmed) current = after
      }))
  const following = <D extends object>(driver: D, of: (stores: Stores) => D): D =>
    new Proxy(driver, {
      get: (_, name) => {
        const value: unknown = Reflect.get(of(current), name)
        if (Effect.isEffect(value)) {
          return switching(Effect.suspend(() => Reflect.get(of(current), name) as Effect.Effect<unknown>))
        }
        if (typeof value !== "function") return value
        return (...args: ReadonlyArray<unknown>) => {
          const run = () => (Reflect.get(of(current), name) as (...args: ReadonlyArray<unknown>) => unknown)(...args)
          const result = run()
          return Effect.isEffect(result)
            ? switching(Effect.suspend(() => run() as Effect.Effect<unknown>))
            : result
        }
      }
    })
  const log = yield* EventStore.make(following(before.log[internals].driver, ({ log }) => log[internals].driver))
  const documents = yield* ProjectionStore.make(
    following(before.documents[internals].driver, ({ documents }) => documents[internals].driver)
  )
  const stores = Layer.mergeAll(
    Layer.succeed(EventStore.EventStore, log),
    Layer.succeed(ProjectionStore.ProjectionStore, documents)
  )
  return <A, E, R>(read: Effect.Effect<A, E, R>) =>
    Effect.provide(Effect.andThen(Effect.sync(() => void (isArmed = true)), read), stores)
})

const queries = {
  "a document of a live projection": ProjectionStore.get(live, "a"),
  "a list of a live projection": ProjectionStore.list(live),
  "a document of an inline projection": ProjectionStore.get(inline, "a"),
  "a list of an inline projection": ProjectionStore.list(inline),
  "a document of an async projection": ProjectionStore.get(background, "a"),
  "a list of an async projection": ProjectionStore.list(background),
  "the first document of a watch": Stream.runHead(ProjectionStore.watch(live, "a"))
}

const pastReads = (asOf: ReturnType<typeof AsOf.position>) => ({
  "an aggregate": TimeTravel.aggregate(Ticker, "a", asOf),
  "the history of an aggregate": Stream.runCollect(TimeTravel.history(Ticker, "a", asOf)),
  "a document": TimeTravel.document(live, "a", asOf),
  "a decision": TimeTravel.decision(byTag, { id: "a", n: 1 }, asOf)
})

/** The reason why each read has failed; what it has answered if it has not. */
const reasonsOf = <R>(
  { after, before }: Logs,
  reads: {
    readonly [what: string]: Effect.Effect<
      unknown,
      unknown,
      EventStore.EventStore | ProjectionStore.ProjectionStore | R
    >
  }
) =>
  Effect.forEach(Object.entries(reads), ([what, read]) =>
    Effect.map(
      Effect.exit(Effect.flatMap(setBack(before, after), (onLogs) => onLogs(read))),
      (exit) => [what, reasonOf(exit)] as const
    ))

const reasonOf = (exit: Exit.Exit<unknown, unknown>): unknown => {
  if (Exit.isSuccess(exit)) return exit.value
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  return error instanceof EventStoreError ? error.reason._tag : error
}

for (const [name, backEnd] of Object.entries(backEnds)) {
  it.live(`a read on ${name} is of one log, which may be set back after its first statement`, () =>
    Effect.gen(function*() {
      const logs: Logs = yield* backEnd
      const receipt = yield* fill(logs.before, [1, 2, 3, 4])
      yield* fill(logs.after, [10, 20, 30, 40])
      yield* fill(logs.shorter, [10, 20])
      const found = [
        ...yield* Effect.provideService(reasonsOf(logs, queries), ProjectionStore.ReadAfter, {
          position: receipt.position,
          eventId: receipt.eventId!,
          timeout: Duration.seconds(1)
        }),
        ...yield* reasonsOf(logs, pastReads(AsOf.position(receipt)))
      ]
      assert.deepStrictEqual(found, found.map(([what]) => [what, "LogDiverged"] as const))

      const onLogs = yield* setBack(logs.before, logs.shorter)
      assert.deepStrictEqual(yield* onLogs(EventStore.headPosition), yield* logs.shorter.log.headPosition)
    }).pipe(Effect.scoped))
}
