/** A worker stops within its own time, whatever its handlers do. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Latch, Layer, Schema, Scope } from "effect"
import { EventStore, type EventStoreError, Projection, ProjectionStore, Projector, Subscription } from "evsrc"

const Sent = Schema.TaggedUnion({ Sent: { n: Schema.Int } })
const sent = (n: number) => Sent.cases.Sent.make({ n })
const options = { lease: "1 second", stopTimeout: "100 millis" } as const

const hanging = {
  "that does not end its interruption": (begin: Effect.Effect<unknown>, open: Latch.Latch) =>
    Effect.acquireUseRelease(begin, () => Effect.never, () => open.await),
  "that cannot be interrupted": (begin: Effect.Effect<unknown>, open: Latch.Latch) =>
    Effect.uninterruptible(Effect.andThen(begin, open.await))
}

/** Closes the scope while the handler hangs, and returns how long that took. The handler ends afterwards. */
const closing = (
  open: Latch.Latch,
  layer: (
    handle: Effect.Effect<void>
  ) => Layer.Layer<never, EventStoreError, EventStore.EventStore | ProjectionStore.ProjectionStore>,
  handlerOf: (begin: Effect.Effect<unknown>, open: Latch.Latch) => Effect.Effect<void>
) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const begun = yield* Deferred.make<void>()
    for (const stream of ["s", "t"]) yield* EventStore.append(Sent, stream, [sent(1)])
    yield* Layer.buildWithScope(layer(handlerOf(Deferred.succeed(begun, undefined), open)), scope)
    yield* Effect.timeout(Deferred.await(begun), "1 minute")
    const [took] = yield* Effect.timed(Effect.timeout(Scope.close(scope, Exit.void), "1 minute"))
    return Duration.toMillis(took)
  }).pipe(
    Effect.ensuring(open.open),
    Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])
  )

describe.concurrent("a worker stops in time with a handler", () => {
  for (const [what, handlerOf] of Object.entries(hanging)) {
    for (const concurrency of [1, 4]) {
      it.live(`of a subscription with concurrency ${concurrency} ${what}`, () =>
        Effect.gen(function*() {
          const open = Latch.makeUnsafe(false)
          const layer = (handle: Effect.Effect<void>) =>
            Layer.effectDiscard(
              Layer.build(Subscription.layer([Subscription.make("mail", {
                events: Sent,
                concurrency,
                handle: { Sent: () => handle }
              })], options))
            )
          assert.isBelow(yield* closing(open, layer, handlerOf), 12_000)
        }))
    }

    it.live(`of a projection ${what}`, () =>
      Effect.gen(function*() {
        const open = Latch.makeUnsafe(false)
        const layer = (handle: Effect.Effect<void>) =>
          Layer.effectDiscard(
            Layer.build(Projector.layer([Projection.handler("rows", {
              events: Sent,
              handle: { Sent: () => handle }
            })], options))
          )
        assert.isBelow(yield* closing(open, layer, handlerOf), 12_000)
      }))
  }
})
