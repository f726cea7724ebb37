/** Readers that run while their log is replaced by one with other events at the same positions. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Layer, Option, Schedule, Schema, Stream } from "effect"
import { EventBus, EventStore, EventStoreError, Projection, ProjectionStore, Projector } from "evsrc"
import { internals } from "../../src/core/internals.ts"

const Counted = Schema.TaggedUnion({ Counted: { n: Schema.Int } })
const sum = Projection.make("sum", {
  events: Counted,
  lifecycle: "live",
  document: Schema.Int,
  key: () => "all",
  evolve: { Counted: (sum = 0, { n }) => sum + n }
})
const numbered = {
  events: Counted,
  document: Schema.Int,
  key: ({ n }: { readonly n: number }) => String(n),
  evolve: { Counted: (_: number | undefined, { n }: { readonly n: number }) => n }
}
const stored = Projection.make("numbers", { ...numbered, lifecycle: "async" })
const live = Projection.make("live-numbers", { ...numbered, lifecycle: "live" })
const append = (store: EventStore.EventStore["Service"], n: number) =>
  store.append(Counted, "s", [{ _tag: "Counted", n }])

const fresh = Effect.provide(EventStore.EventStore, Layer.fresh(EventStore.layerMemory))

/** A store whose log can be replaced. */
const replaceable = Effect.gen(function*() {
  const [first, second] = [yield* fresh, yield* fresh]
  let current = first[internals].driver
  const store = yield* EventStore.make({
    ...current,
    readAll: (page) => current.readAll(page),
    readByQuery: (page) => current.readByQuery(page),
    eventIds: (positions) => current.eventIds(positions),
    head: Effect.suspend(() => current.head),
    last: Effect.suspend(() => current.last),
    changed: (after) =>
      Effect.suspend(() => current.head).pipe(
        Effect.repeat({ until: (head) => head > after, schedule: Schedule.spaced("10 millis") }),
        Effect.asVoid
      )
  })
  const replace = Effect.sync(() => {
    current = second[internals].driver
  })
  return { first, second, store, replace }
})

const reasonOf = (error: unknown): string => error instanceof EventStoreError ? error.reason._tag : String(error)

/** Collects a stream until it fails, and a latch that opens at each element. */
const collect = Effect.fnUntraced(function*<A, E, R>(stream: Stream.Stream<A, E, R>) {
  const got: Array<A> = []
  const more = Latch.makeUnsafe(false)
  const fiber = yield* Effect.forkChild(
    Effect.flip(Stream.runForEach(stream, (a) =>
      Effect.sync(() => {
        got.push(a)
        more.openUnsafe()
      })))
  )
  return { got, more, failure: Effect.timeout(Fiber.join(fiber), "1 minute") }
})

describe("a log that is replaced while it is read", () => {
  it.live("ends a subscription, a listener of the bus, and a watch of a live document", () =>
    Effect.gen(function*() {
      const { first, replace, second, store } = yield* replaceable
      yield* append(first, 1)
      for (const n of [10, 20, 30]) yield* append(second, n)
      yield* Effect.gen(function*() {
        const subscribed = yield* collect(store.subscribe(Counted))
        const heard = yield* collect(yield* EventBus.listen(Counted))
        const watched = yield* collect(ProjectionStore.watch(sum, "all"))
        yield* append(first, 2)
        for (const { more } of [subscribed, heard, watched]) yield* more.await
        yield* Effect.repeat(Effect.sleep("10 millis"), { until: () => subscribed.got.length === 2 })
        yield* Effect.repeat(Effect.sleep("10 millis"), {
          until: () => Option.getOrUndefined(watched.got.at(-1) ?? Option.none()) === 3
        })
        yield* replace
        for (const { failure } of [subscribed, heard, watched]) {
          assert.strictEqual(reasonOf(yield* failure), "LogDiverged")
        }
        assert.deepStrictEqual(subscribed.got.map(({ event }) => event.n), [1, 2])
        assert.deepStrictEqual(heard.got.map(({ event }) => event.n), [2])

        // A listener that begins now gets the events of this log.
        const again = yield* collect(yield* EventBus.listen(Counted))
        yield* append(second, 40)
        yield* Effect.timeout(again.more.await, "1 minute")
        assert.deepStrictEqual(again.got.map(({ event }) => event.n), [40])
      }).pipe(Effect.provide(
        Layer.merge(EventBus.layer(), ProjectionStore.layerMemory).pipe(
          Layer.provideMerge(Layer.succeed(EventStore.EventStore, store))
        )
      ))
    }))

  it.live("rejects the cursor of a list", () =>
    Effect.gen(function*() {
      const { first, replace, second, store } = yield* replaceable
      for (const n of [10, 20, 30]) yield* append(second, n)
      yield* Effect.gen(function*() {
        for (const n of [1, 2]) yield* append(store, n)
        const { position } = yield* append(first, 3)
        yield* ProjectionStore.awaitPosition(stored, position, "1 minute").pipe(
          Effect.provide(Projector.layer([stored]))
        )
        const options = { orderBy: { direction: "desc" }, limit: 1 } as const
        for (const projection of [stored, live]) {
          const { next } = yield* ProjectionStore.list(projection, options)
          const second = ProjectionStore.list(projection, { ...options, after: Option.getOrThrow(next) })
          assert.deepStrictEqual((yield* second).items, [2], projection.name)
        }
        const cursors = yield* Effect.forEach([stored, live], (projection) =>
          Effect.map(ProjectionStore.list(projection, options), ({ next }) => [projection, next] as const))
        yield* replace
        for (const [projection, next] of cursors) {
          const page = ProjectionStore.list(projection, { ...options, after: Option.getOrThrow(next) })
          assert.strictEqual(reasonOf(yield* Effect.flip(page)), "LogDiverged", projection.name)
        }
      }).pipe(Effect.provide(
        ProjectionStore.layerMemory.pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, store)))
      ))
    }))
})
