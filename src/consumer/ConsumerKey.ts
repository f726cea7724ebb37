/**
 * The key of a consumer: what its partitions are divided by, and what is parked when an event fails. Order holds within a key.
 *
 * @since 0.1.0
 */
import { partitionKeys, partitionOf } from "../core/partitionHash.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { PartitionFilter } from "../eventStore/driver/EventStoreDriver.ts"
import type * as Consumer from "./Consumer.ts"
import { digestOf } from "./DeliveryLog.ts"

/**
 * The key of an event whose key is unknown, because the event cannot be decoded. Any later event may have the same key, so the partition waits.
 *
 * @since 0.1.0
 * @category constants
 */
export const unknownKey = ""

/**
 * Returns a key as it is stored with the checkpoints.
 *
 * @since 0.1.0
 * @category accessors
 */
export const format = (by: Consumer.Consumer["partitionBy"]): string => typeof by === "string" ? by : `tag:${by.tag}`

/**
 * Returns a key from its stored form.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (stored: string): Consumer.Consumer["partitionBy"] =>
  stored === "stream" || stored === "document" || stored === "instance" ? stored : { tag: stored.slice("tag:".length) }

/**
 * Returns a key with its kind, as messages name it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = (by: Consumer.Consumer["partitionBy"], key: string): string =>
  `the ${typeof by === "string" ? by : "tag"} "${key}"`

/**
 * Returns why a partition waits at an event of unknown key, and what to do.
 *
 * @since 0.1.0
 * @category accessors
 */
export const waitsAt = ({ position, stream, version }: Pick<EncodedEvent, "stream" | "version" | "position">): string =>
  `waits at the event at position ${position} (version ${version} of stream "${stream}"), because its key is unknown: it cannot be decoded, or `
  + `\`key\` or \`correlate\` throws, and any later event may have the same key; deploy code that can process it and call Parking.retry with the key "", or call `
  + `Parking.skip with it`

/** The parts of a consumer that say which keys an event has. */
type Keyed = Pick<Consumer.Consumer, "partitionBy" | "documentKeysOf" | "instanceKeysOf">

/**
 * Returns whether the keys of events are computed by the consumer's code, and not by the store.
 *
 * @since 0.1.0
 * @category guards
 */
export const isComputed = (by: Consumer.Consumer["partitionBy"]): boolean => by === "document" || by === "instance"

/**
 * Returns the keys of an event, at least one; `undefined` when they are unknown, because the event cannot be decoded. An event that touches no
 * document, or that has no such tag, has its stream as the key.
 *
 * @since 0.1.0
 * @category accessors
 */
export const keysOf = (
  { documentKeysOf, instanceKeysOf, partitionBy }: Keyed,
  event: EncodedEvent
): ReadonlyArray<string> | undefined => {
  if (partitionBy !== "document" && partitionBy !== "instance") {
    return partitionKeys(event, partitionBy === "stream" ? undefined : partitionBy.tag)
  }
  const keys = (partitionBy === "document" ? documentKeysOf : instanceKeysOf)?.(event)
  return keys?.length === 0 ? [event.stream] : keys
}

/**
 * Returns the partition as a filter of the log. The keys of documents and instances are computed from decoded events, so each partition reads all events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const partitionFilter = (
  partitionBy: Consumer.Consumer["partitionBy"],
  index: number,
  of: number
): PartitionFilter | undefined =>
  of === 1 || partitionBy === "document" || partitionBy === "instance"
    ? undefined
    : { index, of, tag: partitionBy === "stream" ? undefined : partitionBy.tag }

/**
 * An event, and the keys under which a consumer applies it.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyedEvent {
  readonly event: EncodedEvent
  readonly keys: ReadonlyArray<string>
  /** Whether the event has one key. */
  readonly isSingle: boolean
}

/**
 * Returns an event with its keys of one partition, without those that are left out; `undefined` when none is left. An event of unknown key belongs to every
 * partition.
 *
 * @since 0.1.0
 * @category accessors
 */
export const select = (
  event: EncodedEvent,
  keys: ReadonlyArray<string> | undefined,
  { index, isLeftOut, isRead = false, of }: {
    readonly index: number
    /** Whether a filter of the partition has selected the event, so that a single key belongs to it. */
    readonly isRead?: boolean | undefined
    readonly of: number
    readonly isLeftOut?: ((key: string) => boolean) | undefined
  }
): KeyedEvent | undefined => {
  const all = keys ?? [unknownKey]
  const found = all.filter((key) =>
    (keys === undefined || (isRead && all.length === 1) || partitionOf(key, of) === index) && isLeftOut?.(key) !== true
  )
  return found.length === 0 ? undefined : { event, keys: found, isSingle: all.length === 1 }
}

/**
 * Returns events with all their keys.
 *
 * @since 0.1.0
 * @category accessors
 */
export const selectAll = (consumer: Keyed, events: ReadonlyArray<EncodedEvent>): ReadonlyArray<KeyedEvent> =>
  events.flatMap((event) => select(event, keysOf(consumer, event), { index: 0, of: 1 }) ?? [])

/**
 * An event under one of its keys: the unit that is applied once, parked, retried and skipped.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delivery {
  readonly event: EncodedEvent
  readonly key: string
  readonly digest: bigint
}

/**
 * Returns the delivery of an event under a key. The deliveries of an event with several keys have different digests.
 *
 * @since 0.1.0
 * @category constructors
 */
export const delivery = (event: EncodedEvent, key: string, isSingle: boolean): Delivery => ({
  event,
  key,
  digest: digestOf(event.id, isSingle ? undefined : key)
})

/**
 * Returns the deliveries of events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const deliveriesOf = (events: ReadonlyArray<KeyedEvent>): ReadonlyArray<Delivery> =>
  events.flatMap(({ event, isSingle, keys }) => keys.map((key) => delivery(event, key, isSingle)))
