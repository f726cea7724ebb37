/**
 * The end of a worker: it gives its partitions back.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { EventStoreError } from "../../core/errors.ts"
import * as EventInHand from "./EventInHand.ts"
import * as Heartbeat from "./Heartbeat.ts"
import * as IdleWait from "./IdleWait.ts"
import type { Worker } from "./Worker.ts"
import { logInHand, unpublish } from "./WorkerLog.ts"

/**
 * Interrupts the processors of a worker and gives back its partitions. Leases that cannot be given back end by themselves. The time is that of the computer, as
 * for a handler.
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = (worker: Worker): Effect.Effect<void> =>
  Effect.raceFirst(
    Effect.interruptible(Effect.ignore(giveBack(worker))),
    EventInHand.elapsed(Duration.sum(worker.settings.stopTimeout, Duration.seconds(5)))
  )

/** Most processors end within this time. Then one statement gives back all partitions. */
const togetherWithin = Duration.millis(50)

/** Gives back each partition when its processor has ended, and keeps the others meanwhile: another worker would handle the same events beside it. */
const giveBack = (worker: Worker): Effect.Effect<void, EventStoreError> =>
  Effect.gen(function*() {
    const { logs, owner, processor, running, settings, state, store, wakeUp } = worker
    yield* IdleWait.stopKeeping(worker)
    const fibers = Array.from(running.values(), ({ fiber }) => fiber)
    for (const fiber of fibers) fiber.interruptUnsafe()
    yield* Effect.timeoutOption(Effect.forEach(fibers, Fiber.await, { discard: true }), togetherWithin)
    while (fibers.some((fiber) => fiber.pollUnsafe() === undefined)) {
      // The end of a fiber opens it.
      yield* wakeUp.close
      yield* Effect.ignore(giveBackIdle(worker))
      yield* logInHand(worker)
      yield* Effect.timeoutOption(wakeUp.await, Duration.times(settings.lease, 1 / 3))
    }
    const generation = state.generation ?? settings.generation ?? (yield* store.activeGeneration(processor.consumer.id))
    yield* store.release(generation, owner)
    // The gauges of a rebuild would keep their last values.
    if (settings.generation !== undefined) yield* unpublish(worker)
    yield* logs.parked.summarize({ isEnd: true })
    yield* logs.attempts.summarize({ isEnd: true })
  })

/** Renews the leases, without a share in the partitions from now on, and gives back those whose processor does not run. */
const giveBackIdle = Effect.fnUntraced(function*(worker: Worker): Effect.fn.Return<void, EventStoreError> {
  const { owner, running, store } = worker
  const { assigned, generation } = yield* Heartbeat.send(worker, { stops: true })
  for (const { partition } of assigned) {
    const fiber = running.get(partition)?.fiber
    if (fiber === undefined || fiber.pollUnsafe() !== undefined) yield* store.release(generation, owner, partition)
  }
})
