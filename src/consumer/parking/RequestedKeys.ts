/**
 * The parked keys of a partition for which there are requests.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as ConsumerKey from "../ConsumerKey.ts"
import type { Parked, ParkedPlace } from "./ParkingDriver.ts"
import type { Progress } from "./RequestChunks.ts"
import * as Unparking from "./Unparking.ts"

/** The requests for so many keys are carried out in one pass through the log. */
const maxKeysInPass = 5_000

/**
 * The maximum number of keys without further events that one transaction frees.
 *
 * @since 0.1.0
 * @category options
 */
export const maxKeysInChunk = 1_000

/**
 * Returns the keys for the next pass, as far as they are to be carried out; one of unknown key only if it is the first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const next = Effect.fnUntraced(function*(
  owned: Unparking.OwnedPartition,
  { which }: Progress
): Effect.fn.Return<ReadonlyArray<Parked>, EventStoreError> {
  const { generation, partition, store } = owned
  if (which === "unknownKey") {
    return yield* store.parked(generation, { partition, key: ConsumerKey.unknownKey, isRequested: true, limit: 1 })
  }
  const requested = yield* first(owned)
  yield* Unparking.requireEvents(owned, requested)
  const isUnknown = ({ key }: Parked) => key === ConsumerKey.unknownKey
  return requested.slice(0, 1).some(isUnknown) ? requested : requested.filter((one) => !isUnknown(one))
})

/**
 * Returns the first keys with a request, in the order of their positions: as many as a pass may have, or as are enough.
 *
 * @since 0.1.0
 * @category constructors
 */
export const first = Effect.fnUntraced(function*(
  { generation, partition, store }: Unparking.OwnedPartition,
  areEnough: (requested: ReadonlyArray<Parked>) => boolean = () => false
): Effect.fn.Return<ReadonlyArray<Parked>, EventStoreError> {
  const requested: Array<Parked> = []
  let after: ParkedPlace | undefined
  while (requested.length < maxKeysInPass && !areEnough(requested)) {
    const page = yield* store.parked(generation, { partition, isRequested: true, after, limit: maxKeysInChunk })
    requested.push(...page)
    after = page.at(-1)
    if (page.length < maxKeysInChunk) break
  }
  return requested
})

/**
 * Returns the keys of a chunk whose request was withdrawn or replaced since the pass has begun: that may be long ago.
 *
 * @since 0.1.0
 * @category constructors
 */
export const changedSince = Effect.fnUntraced(function*(
  { generation, partition, store }: Unparking.OwnedPartition,
  { keys }: Unparking.Chunk
): Effect.fn.Return<ReadonlyArray<string>, EventStoreError> {
  const parked = keys.flatMap(({ parked }) => parked.isFreeing ? [] : [parked])
  if (parked.length === 0) return []
  const upTo = parked.reduce((max, { position }) => Position.max(max, position), Position.start)
  const lowest = parked.reduce((min, { position }) => position < min ? position : min, upTo)
  const found = new Map<string, string | undefined>()
  let after: ParkedPlace = { position: lowest, partition: -1, key: "" }
  while (true) {
    const page = yield* store.parked(generation, { partition, isRequested: true, upTo, after, limit: maxKeysInChunk })
    for (const { key, request } of page) found.set(key, request?.id)
    const last = page.at(-1)
    if (last === undefined || page.length < maxKeysInChunk) break
    after = last
  }
  return parked.flatMap(({ key, request }) => found.get(key) === request?.id ? [] : [key])
})
