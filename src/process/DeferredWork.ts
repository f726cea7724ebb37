/**
 * Reads from the stream of an instance the steps that a release has deferred to a newer one, because it does not declare what the instance has.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import * as Position from "../core/Position.ts"
import * as EventCodec from "../event/EventCodec.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStore } from "../eventStore/EventStore.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import { type Deferred, typeOf } from "./ProcessEvents.ts"
import * as ProcessState from "./ProcessState.ts"

const keyOf = ({ eventId, part }: Pick<Deferred, "eventId" | "part">): string => `${eventId}:${part}`

/**
 * Returns the deferred steps that were not carried out yet, in their order.
 *
 * @since 0.1.0
 * @category accessors
 */
export const outstanding = (
  store: EventStore["Service"],
  { decider, name, processEvents }: ProcessContract.Any,
  id: string
): Effect.Effect<ReadonlyArray<Deferred>, EventStoreError> => {
  const types = (["deferred", "resumed", "completed", "abandoned"] as const).map((kind) => typeOf(name, kind))
  const { decode } = EventCodec.make(processEvents.all)
  const left = new Map<string, Deferred>()
  let status: ProcessState.Status = "running"
  const read = Stream.runForEach(
    Stream.filter(store.readStreamEncoded(decider.aggregate.streamOf(id)), ({ type }) => types.includes(type)),
    (encoded) =>
      Effect.map(Effect.mapError(Effect.fromResult(decode(encoded)), storeError), (all) => {
        for (const { event } of all) {
          const one = processEvents.fromEvent(event)
          if (one?.kind === "deferred" && ProcessState.isOutstanding({ status }, one)) left.set(keyOf(one), one)
          if (one?.kind === "resumed") left.delete(keyOf(one))
          if (one?.kind === "completed" || one?.kind === "abandoned") status = one.kind
          if (one?.kind === "abandoned") left.clear()
        }
      })
  )
  return Effect.map(read, () => Array.from(left.values()))
}

/**
 * Returns the event of a deferred step.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eventOf = (
  store: EventStore["Service"],
  { eventId, position }: Deferred
): Effect.Effect<EncodedEvent, EventStoreError> =>
  Effect.flatMap(
    Stream.runHead(store.readAllEncoded({ after: Position.make(position - 1n), pageSize: 1 })),
    (found) =>
      Option.isSome(found) && found.value.id === eventId
        ? Effect.succeed(found.value)
        // An append in flight may hold back the readers of the log.
        : storeError(
          new StoreUnavailable({
            message:
              `The event ${eventId} at position ${position}, which a release has deferred to a newer one, cannot be read while an append in flight holds back `
              + "the high-water mark; the read is repeated",
            cause: undefined
          })
        )
  )
