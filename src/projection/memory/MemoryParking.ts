/**
 * Parked keys in memory, and the log of parked events.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as ConsumerKey from "../../consumer/ConsumerKey.ts"
import type {
  FailedEvent,
  Parked,
  ParkedCount,
  ParkedPage,
  ParkedPlace,
  ParkingDriver,
  ParkingEntry,
  ParkingRequest,
  Unpark,
  UnparkResult
} from "../../consumer/parking/ParkingDriver.ts"
import * as Position from "../../core/Position.ts"
import * as MemoryTransaction from "../../eventStore/memory/MemoryTransaction.ts"
import * as MemoryState from "./MemoryState.ts"
import * as MemoryWakeups from "./MemoryWakeups.ts"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (state: MemoryState.MemoryState): ParkingDriver => ({
  ...requests(state),
  park: (generation, partition, events) =>
    MemoryTransaction.write((now) => {
      const { log, parked } = MemoryState.generationOf(state, generation)
      for (const event of events) {
        parked.set(placeOf(partition, event.key), parkedOf(generation, partition, event, now))
        addEntry(log, partition, event, "parked", now, event.error)
      }
    }),
  parked: (generation, page) => Effect.sync(() => pageOf(state, generation, page)),
  parkedKeys: (generation, partition, after, limit) =>
    Effect.sync(() =>
      Array.from(MemoryState.generationOf(state, generation).parked.values())
        .flatMap((one) => one.partition === partition && (after === undefined || one.key > after) ? [one.key] : [])
        .toSorted()
        .slice(0, limit)
    ),
  parkedCounts: (generation) =>
    Effect.sync(() => {
      const counts = new Map<number, ParkedCount>()
      for (const one of MemoryState.generationOf(state, generation).parked.values()) {
        const { partition } = one
        const before = counts.get(partition) ?? { partition, parked: 0, requested: 0, freeing: 0, waitsAt: undefined }
        counts.set(partition, {
          partition,
          parked: before.parked + 1,
          requested: before.requested + (one.request === undefined ? 0 : 1),
          freeing: before.freeing + (one.isFreeing ? 1 : 0),
          waitsAt: one.key === "" ? one : before.waitsAt
        })
      }
      return Array.from(counts.values()).toSorted((a, b) => a.partition - b.partition)
    }),
  parkedPlaces: (generation, filter) =>
    Effect.sync(() => pageOf(state, generation, { ...filter, limit: Number.POSITIVE_INFINITY })),
  unpark: (generation, partition, keys) => {
    const result = (): UnparkResult => {
      const { parked } = MemoryState.generationOf(state, generation)
      const stored = (key: string) => parked.get(placeOf(partition, key))
      if (keys.some(({ key, position }) => stored(key)?.position !== position)) return "moved"
      const changed = keys.flatMap((one) => isChanged(one, stored(one.key)?.request) ? [one.key] : [])
      return changed.length === 0 ? "written" : { changed }
    }
    const write = MemoryTransaction.write((now) => {
      const all = MemoryState.generationOf(state, generation)
      for (const one of keys) unparkOne(all, generation, partition, one, now)
      MemoryWakeups.wake(state, generation)
    }, () => result() === "written")
    return Effect.suspend((): Effect.Effect<UnparkResult> => {
      const found = result()
      return found === "written" ? Effect.as(write, found) : Effect.succeed(found)
    })
  },
  skippedAt: (generation, index, key, positions) =>
    Effect.sync(() => {
      const { log, partitions } = MemoryState.generationOf(state, generation)
      const skipped = new Set(
        log.slice(partitions[index]?.entriesBefore ?? 0).flatMap((entry) =>
          entry.partition === index && entry.action === "skipped" && entry.key === key ? [entry.position] : []
        )
      )
      return positions.filter((position) => skipped.has(position))
    })
})

const requests = (
  state: MemoryState.MemoryState
): Pick<ParkingDriver, "request" | "withdraw" | "requestProgress" | "parkingLog"> => {
  const update = (generation: string, keys: ReadonlyArray<ParkedPlace>, request: ParkingRequest | undefined) =>
    Effect.sync(() => {
      const { parked } = MemoryState.generationOf(state, generation)
      let changed = 0
      for (const { key, partition, position } of keys) {
        const place = placeIn(parked, partition, key)
        const stored = parked.get(place)
        if (stored === undefined || stored.position !== position || stored.isFreeing) continue
        if (request === undefined && stored.request === undefined) continue
        parked.set(place, { ...stored, request })
        changed++
      }
      if (changed > 0) MemoryWakeups.wake(state, generation)
      return changed
    })
  return {
    request: (generation, request, keys) => update(generation, keys, request),
    withdraw: (generation, keys) => update(generation, keys, undefined),
    requestProgress: (generation, id) =>
      Effect.sync(() => {
        const { log, parked } = MemoryState.generationOf(state, generation)
        const entries = { parked: 0, failed: 0, retried: 0, skipped: 0 }
        for (const { action, request } of log) if (request === id && action !== "moved") entries[action]++
        const waiting = Array.from(parked.values()).filter(({ request }) => request?.id === id).length
        return { waiting, entries }
      }),
    parkingLog: (generation, { after = 0n, isDescending = false, key, limit, request }) =>
      Effect.sync(() => {
        const found = MemoryState.generationOf(state, generation).log.filter((entry) =>
          entry.id > after && (key === undefined || entry.key === key)
          && (request === undefined || entry.request === request)
        )
        return (isDescending ? found.toReversed() : found).slice(0, limit)
      })
  }
}

const pageOf = (state: MemoryState.MemoryState, generation: string, page: ParkedPage): ReadonlyArray<Parked> => {
  const { after, error, isRequested = false, key, limit, parkedBefore, partition, position, type, upTo } = page
  return Array.from(MemoryState.generationOf(state, generation).parked.values())
    .filter((one) =>
      (partition === undefined || one.partition === partition)
      && (key === undefined || one.key === key)
      && (position === undefined || one.position === position)
      && (type === undefined || one.type === type)
      && (error === undefined || one.error.includes(error))
      && (parkedBefore === undefined || DateTime.isLessThan(one.parkedAt, parkedBefore))
      && (upTo === undefined || one.position <= upTo)
      && (!isRequested || one.request !== undefined)
      && (after === undefined || comparePlaces(one, after) > 0)
    )
    .toSorted(comparePlaces)
    .slice(0, limit)
}

const comparePlaces = (a: ParkedPlace, b: ParkedPlace): number =>
  a.position !== b.position
    ? a.position < b.position ? -1 : 1
    : a.partition - b.partition || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)

/**
 * Returns whether a request was withdrawn or replaced. A retry by another retry is the same. The request of a key that is being freed cannot change, but it
 * may be another than the one that its first events were read with.
 */
const isChanged = ({ action, request }: Unpark, stored: ParkingRequest | undefined): boolean =>
  stored?.id !== request && action !== undefined
  && !(stored?.action === "retry" && (action === "retried" || action === "failed"))

const unparkOne = (
  { log, parked }: MemoryState.GenerationState,
  generation: string,
  partition: number,
  { action, key, next, reached }: Unpark,
  now: DateTime.Utc
): void => {
  const place = placeOf(partition, key)
  const found = parked.get(place)!
  const { actor, id, reason } = found.request ?? {}
  if (action !== undefined) {
    addEntry(log, partition, found, action, now, action === "failed" ? next?.error : reason, actor, id)
  }
  if (next !== undefined) {
    const isSame = next.position === found.position
    const again = parkedOf(generation, partition, next, isSame ? found.parkedAt : now)
    parked.set(place, isSame ? { ...again, attempts: found.attempts + again.attempts } : again)
    if (!isSame) addEntry(log, partition, next, "parked", now, next.error, undefined, id)
  } else if (reached === undefined) parked.delete(place)
  else parked.set(place, { ...found, ...eventOf(reached), isFreeing: true })
}

const eventOf = ({ eventId, position, stream, type, version }: Omit<FailedEvent, "key" | "error">) => ({
  eventId,
  position,
  stream,
  type,
  version
})

const placeOf = (partition: number, key: string): string => `${partition}:${key}`

/** Returns where a key is parked. It is in one partition, which may have changed since it was read; only an unknown key is in several. */
const placeIn = (parked: MemoryState.GenerationState["parked"], partition: number, key: string): string => {
  const place = placeOf(partition, key)
  if (key === ConsumerKey.unknownKey || parked.has(place)) return place
  return Array.from(parked).find(([, one]) => one.key === key)?.[0] ?? place
}

const parkedOf = (generation: string, partition: number, event: FailedEvent, at: DateTime.Utc): Parked => ({
  ...event,
  generation,
  partition,
  attempts: event.attempts ?? 1,
  parkedAt: at,
  request: undefined,
  isFreeing: false
})

/**
 * Moves the parked keys of a generation to other partitions.
 *
 * @since 0.1.0
 * @category writing
 */
export const move = (
  { log, parked }: MemoryState.GenerationState,
  partitionOf: (key: string) => number,
  detail: string,
  now: DateTime.Utc
): void => {
  for (const [place, one] of Array.from(parked)) {
    parked.delete(place)
    const partition = partitionOf(one.key)
    parked.set(placeOf(partition, one.key), { ...one, partition })
    const position = Position.make(one.isFreeing ? one.position + 1n : one.position)
    addEntry(log, partition, { ...one, position }, "moved", now, detail)
  }
}

const addEntry = (
  log: Array<ParkingEntry>,
  partition: number,
  { eventId, key, position, stream }: FailedEvent,
  action: ParkingEntry["action"],
  at: DateTime.Utc,
  detail?: string,
  actor?: string,
  request?: string
): void => {
  const id = BigInt(log.length + 1)
  log.push({ id, partition, key, stream, position, eventId, action, detail, actor, request, at })
}
