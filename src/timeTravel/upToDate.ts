/**
 * What a read of the past returns while a subject is erased: nothing that was erased since the read began.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type EventStoreError, LogDiverged, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"

/**
 * Reads, and reads again if a subject was erased meanwhile: states that were folded before may have its data.
 *
 * @since 0.1.0
 * @category combinators
 */
export const read = <A, E, R>(
  isPersonal: boolean,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | EventStoreError, R | EventStore> =>
  isPersonal
    ? Effect.flatMap(EventStore, ({ [internals]: { keys } }) => KeyStoreLookup.readUpToDate(keys, () => effect))
    : effect

/** A subject was erased since the steps began. */
class ErasedMeanwhile extends Data.TaggedError("ErasedMeanwhile") {}

/**
 * Returns steps whose state was folded from the events before. After an erasure, the Stream begins again and leaves out the steps that it has delivered.
 *
 * @since 0.1.0
 * @category combinators
 */
export const steps =
  ({ [internals]: { keys } }: EventStore["Service"], isPersonal: boolean) =>
  <A extends { readonly encoded: EncodedEvent }, E, R>(
    all: Stream.Stream<A, E, R>
  ): Stream.Stream<A, E | EventStoreError, R> =>
    !isPersonal ? all : Stream.suspend(() => {
      let delivered: EncodedEvent | undefined
      const isNew = ({ encoded: { id, position } }: A) => {
        if (delivered === undefined || position > delivered.position) return Effect.succeed(true)
        return position < delivered.position || id === delivered.id
          ? Effect.succeed(false)
          : Effect.fail(storeError(new LogDiverged({ eventId: delivered.id, position })))
      }
      const begin: Stream.Stream<A, E | EventStoreError, R> = Stream.unwrap(
        Effect.map(keys.lastErasure, (lastErasure) =>
          all.pipe(
            Stream.filterEffect(isNew),
            Stream.mapEffect((step) =>
              Effect.flatMap(keys.lastErasure, (now) => {
                if (now !== lastErasure) return Effect.fail(new ErasedMeanwhile())
                delivered = step.encoded
                return Effect.succeed(step)
              })
            ),
            Stream.catchIf(
              (error): error is ErasedMeanwhile => error instanceof ErasedMeanwhile,
              () => begin
            )
          ))
      )
      return begin
    })
