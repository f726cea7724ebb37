/** The runtime suite of consumers whose events are rare: pages without events are progress, and checkpoints move through them. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, isAbove, ok, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import { Limits } from "../../src/eventStore/Limits.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"

/** So many positions are examined by a page. The logs of these cases have the events of others, too. */
const scannedPositions = 100
const gap = 3 * scannedPositions

const briefly = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.updateService(effect, Limits, (limits) => ({ ...limits, scannedPositions }))

/** Two rare events, each after a stretch of common ones, and a third stretch. */
const fixture = Effect.fnUntraced(function*() {
  const store = yield* EventStore.EventStore
  const run = unique("Sparse")
  const Rare = Schema.TaggedUnion({ [`${run}Rare`]: { n: Schema.Int } })
  const Common = Schema.TaggedUnion({ [`${run}Common`]: { n: Schema.Int } })
  const common = store.append(Common, `${run}-common`, upTo(gap).map((n) => ({ _tag: `${run}Common`, n })))
  const rare = store.append(Rare, `${run}-rare`, [{ _tag: `${run}Rare`, n: 1 }])
  const start = yield* store.head
  yield* common
  yield* rare
  yield* common
  yield* rare
  const { position: last } = yield* common
  const define = <const L extends "async" | "inline" | "live">(lifecycle: L) =>
    Projection.make(`${run}-${lifecycle}`, {
      events: Rare,
      document: Schema.Int,
      lifecycle,
      key: () => "all",
      evolve: { [`${run}Rare`]: (count = 0) => count + 1 }
    })
  return { Rare, run, rare, start, last, define }
})

const count = (projection: Projection.Any) =>
  Effect.map(ProjectionStore.get(projection as Projection.Any<"async">, "all"), Option.getOrUndefined)

/** Runs an effect with a store in which no consumer reads on from a position or later until the latch is open. */
const heldAt = Effect.fnUntraced(function*(position: Position.Position, latch: Latch.Latch) {
  const { driver } = (yield* EventStore.EventStore)[internals]
  return yield* EventStore.make({
    ...driver,
    readAll: (page) =>
      page.after >= position && page.limit > 1
        ? Effect.andThen(latch.await, driver.readAll(page))
        : driver.readAll(page)
  })
})

/**
 * The cases of consumers whose events are rare.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rareEvents: ReadonlyArray<Case<Stores>> = [
  test("a checkpoint moves through a stretch without events, and a restart goes on from there", function*() {
    const { define, last, rare, start } = yield* fixture()
    const projection = define("async")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const progress = Effect.map(driver.progress(projection.id), ([one]) => one)
    // The page that begins there ends before the rare event, and so does the count after it.
    const within = Position.make(start + BigInt(scannedPositions))
    const held = yield* heldAt(within, Latch.makeUnsafe(false))
    yield* Effect.gen(function*() {
      const moved = yield* Effect.repeat(progress, {
        until: (one) => (one?.position ?? 0n) > start,
        schedule: Schedule.spaced("20 millis")
      }).pipe(Effect.timeout("1 minute"))
      equal(moved?.applied, 0n, "the events applied in the empty stretch")
      ok(moved?.eventId !== undefined, "whether the checkpoint has the id of an event of another type")
      const health = yield* briefly(Health.of([projection], { maxWait: 0, stallTimeout: "1 hour" }))
      const [found] = health.consumers
      equal([found?.lag.events, found?.lag.isMore], [0, true], "the lag")
      includes((found?.reasons ?? []).join("; "), "are to be examined", "the reason")
    }).pipe(
      Effect.provide(
        Projector.layer([projection]).pipe(
          Layer.provide(Layer.succeed(EventStore.EventStore, held))
        )
      ),
      briefly,
      Effect.scoped
    )
    const before = yield* progress
    isAbove<bigint>(before?.position ?? 0n, start, "the checkpoint after the worker has ended")
    yield* Effect.gen(function*() {
      const documents = yield* ProjectionStore.ProjectionStore
      yield* documents.awaitPosition(projection, last, "1 minute")
      equal(yield* count(projection), 2, "the document")
      const third = yield* rare
      yield* documents.awaitPosition(projection, third.position, "1 minute")
      equal(yield* count(projection), 3, "the document after a third event")
      const { consumers: [health] } = yield* briefly(Health.of([projection]))
      equal([health?.lag.events, health?.lag.isMore], [0, false], "the lag at the end")
      equal((yield* briefly(DeliveryAudit.run(projection))).status, "complete", "the audit")
    }).pipe(Effect.provide(Projector.layer([projection])), briefly)
  }),

  test("inline, live and rebuilt documents of rare events are complete", function*() {
    const { define, last, rare } = yield* fixture()
    const [inline, live, rebuilt] = [define("inline"), define("live"), define("async")]
    equal(yield* briefly(ProjectionStore.get(live, "all")), Option.some(2), "the live document")
    yield* Effect.gen(function*() {
      equal(yield* ProjectionStore.get(inline, "all"), Option.some(2), "the inline document")
    }).pipe(Effect.provide(Projector.layerInline([inline])), briefly)
    yield* Effect.gen(function*() {
      const documents = yield* ProjectionStore.ProjectionStore
      yield* documents.awaitPosition(rebuilt, last, "1 minute")
      const progress = yield* Stream.runCollect(Rebuild.rebuild(rebuilt))
      equal(progress.at(-1)?.phase, "cut-over", "the last phase of the rebuild")
      equal(yield* count(rebuilt), 2, "the rebuilt document")
      const { position } = yield* rare
      yield* documents.awaitPosition(rebuilt, position, "1 minute")
      equal(yield* count(rebuilt), 3, "the rebuilt document after another event")
    }).pipe(Effect.provide(Projector.layer([rebuilt])), briefly)
  }),

  test("a subscription to rare events handles each once, in order", function*() {
    const { Rare, last, rare, run } = yield* fixture()
    const handled: Array<bigint> = []
    const subscription = Subscription.make(`${run}-subscription`, {
      events: Rare,
      handle: (_, { position }) => Effect.sync(() => void handled.push(position))
    })
    yield* Effect.gen(function*() {
      const documents = yield* ProjectionStore.ProjectionStore
      yield* documents[internals].driver.progress(subscription.id).pipe(
        Effect.repeat({ until: ([one]) => (one?.position ?? 0n) >= last, schedule: Schedule.spaced("20 millis") }),
        Effect.timeout("1 minute")
      )
      equal(handled.length, 2, "the events handled")
      const { position } = yield* rare
      yield* Effect.repeat(Effect.sync(() => handled.length), {
        until: (length) => length === 3,
        schedule: Schedule.spaced("20 millis")
      }).pipe(Effect.timeout("1 minute"))
      equal(handled[2], position, "the third event")
    }).pipe(Effect.provide(Subscription.layer([subscription])), briefly)
  })
]
