/**
 * Parked keys in memory, and the log of parked events.
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
        parked.set(placeOf(partition, event.key), parkedOf(generation, partition, event, now))
        log.push(entryOf(partition, event, "parked", now, event.error))
      }
    }),
  parked: (generation, partition) =>
    Effect.sync(() =>
      Array.from(MemoryState.generationOf(state, generation).parked.values())
        .filter((one) => partition === undefined || one.partition === partition)
        .toSorted((a, b) => a.position < b.position ? -1 : 1)
    ),
  request: (generation, key, request, at) =>
    Effect.sync(() => {
      const { parked } = MemoryState.generationOf(state, generation)
      const found = Array.from(parked).filter(([, one]) => one.key === key && (at === undefined || one.position === at))
      for (const [place, one] of found) parked.set(place, { ...one, request })
      return found.length > 0
    }),
  unpark: ({ action, generation, key, next, partition, position }) => {
    const place = placeOf(partition, key)
    const find = () => {
      const found = MemoryState.generationOf(state, generation).parked.get(place)
      return found?.position === position ? found : undefined
    }
    const write = MemoryTransaction.write((now) => {
      const { log, parked } = MemoryState.generationOf(state, generation)
      const found = find()
      if (found === undefined) return
      parked.delete(place)
      const detail = action === "failed" ? next?.error : found.request?.reason
      log.push(entryOf(partition, found, action, now, detail, found.request?.actor))
      if (next === undefined) return
      const isSame = next.position === found.position
      const again = parkedOf(generation, partition, next, isSame ? found.parkedAt : now)
      parked.set(place, isSame ? { ...again, attempts: found.attempts + (next.attempts ?? 1) } : again)
      if (!isSame) log.push(entryOf(partition, next, "parked", now, next.error))
    }, () => find() !== undefined)
    return Effect.suspend(() => find() === undefined ? Effect.succeed(false) : Effect.as(write, true))
  },
  parkingLog: (generation) => Effect.sync(() => Array.from(MemoryState.generationOf(state, generation).log))
})

const placeOf = (partition: number, key: string): string => `${partition}:${key}`

const parkedOf = (generation: string, partition: number, event: FailedEvent, at: DateTime.Utc): Parked => ({
  ...event,
  generation,
  partition,
  attempts: event.attempts ?? 1,
  parkedAt: at,
  request: undefined
})

const entryOf = (
  partition: number,
  { eventId, key, position, stream }: FailedEvent,
  action: ParkingEntry["action"],
  at: DateTime.Utc,
  detail?: string,
  actor?: string
): ParkingEntry => ({ partition, key, stream, position, eventId, action, detail, actor, at })
