/** A subscriber that survives the server: it subscribes again after the last event that it has seen. */
import { type Cause, Effect, Fiber, Schedule, Stream } from "effect"
import { EventStore, type EventStoreError, Position } from "evsrc"

const everyFew = Schedule.spaced("5 millis")

export interface Consumer {
  /** The positions that it has received, in order of arrival. */
  readonly seen: ReadonlyArray<Position.Position>
  /** Returns how often it has subscribed again. */
  readonly resumed: () => number
  /** Waits until `enough` returns true. Fails with the error that ends the subscription. */
  readonly until: (
    enough: (seen: ReadonlyArray<Position.Position>) => boolean
  ) => Effect.Effect<void, EventStoreError | Cause.TimeoutError>
}

export const follow = Effect.fnUntraced(function*(pageSize: number, after: Position.Position = Position.start) {
  const store = yield* EventStore.EventStore
  const seen: Array<Position.Position> = []
  let resumed = 0
  const subscribe = Effect.suspend(() =>
    Stream.runForEachArray(
      store.subscribeEncoded({ pageSize, after: seen.at(-1) ?? after }),
      (events) => Effect.sync(() => seen.push(...events.map((event) => event.position)))
    )
  )
  const fiber = yield* subscribe.pipe(
    Effect.retry({
      while: (error) => {
        resumed++
        return error.isRetryable
      },
      schedule: Schedule.spaced("20 millis")
    }),
    Effect.forkScoped
  )
  const consumer: Consumer = {
    seen,
    resumed: () => resumed,
    until: (enough) =>
      Effect.suspend(() => Effect.succeed(enough(seen))).pipe(
        Effect.repeat({ until: (is) => is, schedule: everyFew }),
        Effect.raceFirst(Fiber.join(fiber)),
        Effect.asVoid,
        Effect.timeout("2 minutes")
      )
  }
  return consumer
})
