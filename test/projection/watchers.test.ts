/** Many watchers of one document or list share the reads that a change makes necessary, on every back end. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Latch, Layer, Option, Schema, Stream } from "effect"
import { Event, EventStore, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const Ticked = Schema.TaggedUnion({ Ticked: { id: Schema.String, n: Schema.Int } }).pipe(Event.tags({ id: "id" }))
const numbered = {
  events: Ticked,
  document: Schema.Int,
  key: ({ id }: { readonly id: string }) => id,
  evolve: { Ticked: (_: number | undefined, { n }: { readonly n: number }) => n }
}
const projections = {
  async: Projection.make("numbers", { ...numbered, lifecycle: "async" }),
  inline: Projection.make("inline-numbers", { ...numbered, lifecycle: "inline" }),
  live: Projection.make("live-numbers", {
    ...numbered,
    lifecycle: "live",
    find: (id) => [{ tags: [Event.tag("id", id)] }]
  })
}

/** Stores that count the reads of documents and events that their drivers do. */
const counting = Effect.gen(function*() {
  const log = (yield* EventStore.EventStore)[internals].driver
  const documents = (yield* ProjectionStore.ProjectionStore)[internals].driver
  const counts = { reads: 0 }
  const counted =
    <Args extends ReadonlyArray<unknown>, A, E>(read: (...args: Args) => Effect.Effect<A, E>) =>
    (...args: Args): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        counts.reads++
        return read(...args)
      })
  const events = yield* EventStore.make({
    ...log,
    head: counted(() => log.head)(),
    eventTypes: counted(() => log.eventTypes)(),
    visibleEventTypes: counted(log.visibleEventTypes),
    unindexedTags: counted(log.unindexedTags),
    eventIds: counted(log.eventIds),
    readByQuery: counted(log.readByQuery)
  })
  const store = yield* Effect.provideService(
    ProjectionStore.make(
      {
        ...documents,
        get: counted(documents.get),
        list: counted(documents.list),
        inlineProjection: counted(documents.inlineProjection)
      },
      { pollInterval: "50 millis" }
    ),
    EventStore.EventStore,
    events
  )
  return {
    counts,
    stores: Context.make(EventStore.EventStore, events).pipe(Context.add(ProjectionStore.ProjectionStore, store))
  }
})

/** How many watch at once. */
const watchers = 300

/** Returns how many reads one change takes that all watchers see. */
const readsOfOneChange = <E, R>(
  watch: Stream.Stream<number, E, R>,
  counts: { readonly reads: number }
) =>
  Effect.gen(function*() {
    yield* EventStore.append(Ticked, "t-1", [{ _tag: "Ticked", id: "1", n: 1 }])
    let ready = 0
    const allReady = Latch.makeUnsafe(false)
    const watcher = watch.pipe(
      Stream.tap((n) => Effect.sync(() => n === 1 && ++ready === watchers ? allReady.openUnsafe() : undefined)),
      Stream.takeUntil((n) => n === 2),
      Stream.runDrain
    )
    const fibers = yield* Effect.forEach(Array.from({ length: watchers }), () => Effect.forkScoped(watcher))
    yield* allReady.await
    const before = counts.reads
    yield* EventStore.append(Ticked, "t-1", [{ _tag: "Ticked", id: "1", n: 2 }])
    yield* Effect.forEach(fibers, Fiber.join, { discard: true })
    return counts.reads - before
  })

const backEnds = {
  memory: Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory),
  PGlite: PgStores.layer.pipe(Layer.provide(layerPglite())),
  PostgreSQL: PgStores.layer.pipe(Layer.provide(layerPostgres({ poolSize: 6 })))
}

for (const [name, stores] of Object.entries(backEnds)) {
  describe(`${watchers} watchers on ${name}`, () => {
    for (const [lifecycle, projection] of Object.entries(projections)) {
      const document = Stream.map(ProjectionStore.watch(projection, "1"), Option.getOrElse(() => 0))
      const list = Stream.map(ProjectionStore.watchList(projection, { limit: 10 }), ({ items }) => items[0] ?? 0)
      for (const [what, watch] of Object.entries({ document, list })) {
        it.live(`of one ${lifecycle} ${what} share their reads`, () =>
          Effect.gen(function*() {
            const { counts, stores } = yield* counting
            const reads = yield* readsOfOneChange(watch, counts).pipe(
              Effect.provide(Layer.mergeAll(
                Projector.layer([projections.async]),
                Projector.layerInline([projections.inline])
              )),
              Effect.provideContext(stores)
            )
            assert.isBelow(reads, watchers / 10)
          }).pipe(Effect.scoped, Effect.provide(Layer.fresh(stores))))
      }
    }
  })
}
