/**
 * Parked streams in memory, and the log of parked events.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { FailedEvent, Parked, ParkingDriver, ParkingEntry } from "../../consumer/ParkingDriver.ts"
import * as MemoryTransaction from "../../eventStore/MemoryTransaction.ts"
import * as MemoryState from "./MemoryState.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): ParkingDriver => ({
  park: (generation, partition, events) =>
    MemoryTransaction.write((now) => {
      const { log, parked } = MemoryState.generationOf(state, generation)
      for (const event of events) {
        parked.set(event.stream, parkedOf(generation, partition, event, now))
        log.push(entryOf(event, "parked", now, event.error))
      }
    }),
  parked: (generation, partition) =>
    Effect.sync(() =>
      Array.from(MemoryState.generationOf(state, generation).parked.values())
        .filter((stream) => partition === undefined || stream.partition === partition)
        .toSorted((a, b) => a.position < b.position ? -1 : 1)
    ),
  request: (generation, stream, request, at) =>
    Effect.sync(() => {
      const { parked } = MemoryState.generationOf(state, generation)
      const found = parked.get(stream)
      if (found === undefined || (at !== undefined && found.position !== at)) return false
      parked.set(stream, { ...found, request })
      return true
    }),
  unpark: ({ action, generation, next, partition, stream }) =>
    MemoryTransaction.write((now) => {
      const { log, parked } = MemoryState.generationOf(state, generation)
      const found = parked.get(stream)
      if (found === undefined) return
      parked.delete(stream)
      const detail = action === "failed" ? next?.error : found.request?.reason
      log.push(entryOf(found, action, now, detail, found.request?.actor))
      if (next === undefined) return
      const isSame = next.position === found.position
      const again = parkedOf(generation, partition, next, isSame ? found.parkedAt : now)
      parked.set(stream, isSame ? { ...again, attempts: found.attempts + 1 } : again)
      if (!isSame) log.push(entryOf(next, "parked", now, next.error))
    }),
  parkingLog: (generation) => Effect.sync(() => Array.from(MemoryState.generationOf(state, generation).log))
})

const parkedOf = (generation: string, partition: number, event: FailedEvent, at: DateTime.Utc): Parked => ({
  ...event,
  generation,
  partition,
  attempts: 1,
  parkedAt: at,
  request: undefined
})

const entryOf = (
  { eventId, position, stream }: FailedEvent,
  action: ParkingEntry["action"],
  at: DateTime.Utc,
  detail?: string,
  actor?: string
): ParkingEntry => ({ stream, position, eventId, action, detail, actor, at })
