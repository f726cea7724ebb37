/**
 * Workers that notice soon what other workers and operators ask of them, and that lose no lease when the machine stalls. A worker looks every third
 * of its lease, so that a short lease makes it look often; but a short lease is lost in a stall, and then events are handled again.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as ParkingRequestWakeups from "../../src/consumer/parking/ParkingRequestWakeups.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"

/** Returns workers that send a heartbeat, and look for requests, every 100 milliseconds, whatever their lease. */
export const attentive = <A, E, R>(
  workers: Layer.Layer<A, E, R>,
  ...consumers: ReadonlyArray<{ readonly id: string }>
): Layer.Layer<A, E, R | ProjectionStore.ProjectionStore> =>
  Layer.merge(
    workers,
    Layer.effectDiscard(Effect.gen(function*() {
      const driver = yield* ProjectionStore.driver
      const wake = Effect.forEach(consumers, ({ id }) => ParkingRequestWakeups.wake(driver, id), { discard: true })
      yield* Effect.forkScoped(Effect.repeat(wake, Schedule.spaced("100 millis")))
    }))
  )
