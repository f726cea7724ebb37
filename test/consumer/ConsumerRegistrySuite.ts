/**
 * Several layers of projections and subscriptions in one program.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import type { ConsumerStatus } from "../../src/consumer/ConsumerStatus.ts"
import * as EventStoreModule from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import type { Stores } from "../support/AccountFixtures.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

const projection = () =>
  Projection.make(unique("ticks"), {
    events: Tick,
    document: Schema.Int,
    key: () => "all",
    evolve: { Ticked: (n) => (n ?? 0) + 1 }
  })

const subscription = () => Subscription.make(unique("ticks"), { events: Tick, handle: () => Effect.void })

/** Waits until every listed consumer is live, and returns their ids. */
const liveIds = <E, R>(status: Effect.Effect<ReadonlyArray<ConsumerStatus>, E, R>) =>
  status.pipe(
    Effect.repeat({
      until: (all) => all.every(({ state }) => state === "live"),
      schedule: Schedule.spaced("10 millis")
    }),
    Effect.map((all) => all.map(({ consumer }) => consumer)),
    Effect.timeout("1 minute")
  )

const projectionIds = liveIds(Effect.flatMap(Projector.Projector, ({ status }) => status))
const subscriptionIds = liveIds(Effect.flatMap(Subscription.Subscriptions, ({ status }) => status))

const append = Effect.flatMap(
  EventStoreModule.EventStore,
  (store) => store.append(Tick, unique("stream"), [{ _tag: "Ticked", n: 1 }])
)

/** The message of the defect with which a layer fails to build. */
const defectOf = <A, E, R>(layer: Layer.Layer<A, E, R>) =>
  Effect.map(
    Effect.exit(Effect.scoped(Layer.build(layer))),
    Exit.match({
      onSuccess: () => "built",
      onFailure: (cause) => Cause.prettyErrors(cause).map(({ message }) => message).join("; ")
    })
  )

const alreadyRuns = (maker: string, id: string) =>
  `${maker}: the consumer "${id}" already runs in this program; give it to one layer, once`

/**
 * Several layers in one program.
 *
 * @since 0.1.0
 * @category suites
 */
export const registries: ReadonlyArray<Case<Stores>> = [
  test("merged projector layers run and report all projections", function*() {
    const [a, b] = [projection(), projection()]
    yield* append
    yield* Effect.gen(function*() {
      equal((yield* projectionIds).toSorted(), [a.id, b.id].toSorted(), "projections")
    }).pipe(Effect.provide(Layer.mergeAll(Projector.layer([a]), Projector.layer([b]))))
  }),

  test("merged subscription layers run and report all subscriptions", function*() {
    const [a, b, c] = [subscription(), subscription(), projection()]
    yield* append
    yield* Effect.gen(function*() {
      equal((yield* subscriptionIds).toSorted(), [a.id, b.id].toSorted(), "subscriptions")
      equal(yield* projectionIds, [c.id], "projections")
    }).pipe(
      Effect.provide(Layer.mergeAll(Subscription.layer([a]), Projector.layer([c]), Subscription.layer([b])))
    )
  }),

  test("a layer provided within another adds its consumers while it lives", function*() {
    const [outer, inner] = [projection(), projection()]
    yield* Effect.gen(function*() {
      equal(yield* projectionIds, [outer.id], "before")
      equal(yield* projectionIds.pipe(Effect.provide(Projector.layer([inner]))), [outer.id, inner.id], "within")
      equal(yield* projectionIds, [outer.id], "afterwards")
    }).pipe(Effect.provide(Projector.layer([outer])))
  }),

  test("a projector of another store reports its own projections only", function*() {
    const [here, there] = [projection(), projection()]
    const other = Layer.fresh(Layer.merge(EventStoreModule.layerMemory, ProjectionStore.layerMemory))
    yield* Effect.gen(function*() {
      const elsewhere = yield* Layer.build(Projector.layer([there]).pipe(Layer.provide(other)))
      equal(yield* Effect.provideContext(projectionIds, elsewhere), [there.id], "the other store")
      equal(yield* projectionIds, [here.id], "this store")
    }).pipe(Effect.scoped, Effect.provide(Projector.layer([here])))
  }),

  test("a consumer given to two layers or twice to one fails the build", function*() {
    const [a, b] = [projection(), subscription()]
    equal(
      yield* defectOf(Layer.mergeAll(Projector.layer([a]), Projector.layer([a]))),
      alreadyRuns("Projector.layer", a.id),
      "two projector layers"
    )
    equal(yield* defectOf(Projector.layer([a, a])), alreadyRuns("Projector.layer", a.id), "twice in one layer")
    equal(
      yield* defectOf(Layer.mergeAll(Subscription.layer([b]), Subscription.layer([b]))),
      alreadyRuns("Subscription.layer", b.id),
      "two subscription layers"
    )
    equal(yield* defectOf(Projector.layer([a])), "built", "a layer on its own, after the others have ended")
  })
]
