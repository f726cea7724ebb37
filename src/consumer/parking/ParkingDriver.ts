/**
 * The contract of a back end for parked keys: keys with an event that failed. The consumer declares what the key of an event is.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../../core/errors.ts"
import type { Position } from "../../core/Position.ts"
import type { StreamId } from "../../core/StreamId.ts"
import type { Version } from "../../core/Version.ts"

/**
 * An operator's request for parked keys: retry the parked event of each, or skip it. Either way the later events of the key follow.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingRequest {
  /** One request may be for many keys; the entries of the parking log name it. */
  readonly id: string
  readonly action: "retry" | "skip"
  readonly actor?: string | undefined
  readonly reason?: string | undefined
}

/**
 * An event of the log, as a parked key refers to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkedEvent {
  readonly stream: StreamId
  readonly version: Version
  readonly position: Position
  readonly eventId: string
  readonly type: string
}

/**
 * An event that failed, and the message of its error.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedEvent extends ParkedEvent {
  /** The key under which it failed; empty when its key is unknown. */
  readonly key: string
  readonly error: string
  /** How often it was tried; once by default. */
  readonly attempts?: number | undefined
}

/**
 * A parked key, and the event at which it is parked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parked extends FailedEvent {
  readonly generation: string
  readonly partition: number
  /** How often the event was tried, over all retries. */
  readonly attempts: number
  readonly parkedAt: DateTime.Utc
  readonly request: ParkingRequest | undefined
  /**
   * Whether a worker frees the key: it has applied or skipped the event that failed, and has reached the event that is named here. Later events of
   * the key wait for it.
   */
  readonly isFreeing: boolean
}

/**
 * Which parked keys: those that satisfy all of these conditions.
 *
 * @since 0.1.0
 * @category options
 */
export interface ParkedFilter {
  readonly key?: string | undefined
  /** The position of the parked event. */
  readonly position?: Position | undefined
  /** The type of the parked event, as it is stored. */
  readonly type?: string | undefined
  /** A text that the error contains. */
  readonly error?: string | undefined
  /** Parked before this time, by the clock of the store. */
  readonly parkedBefore?: DateTime.Utc | undefined
}

/**
 * Where a page of parked keys ended. They are in the order of positions, then of partitions, then of keys.
 *
 * @since 0.1.0
 * @category models
 */
export type ParkedPlace = Pick<Parked, "position" | "partition" | "key">

/**
 * A page of parked keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkedPage extends ParkedFilter {
  readonly partition?: number | undefined
  /** Only those with a request. */
  readonly isRequested?: boolean | undefined
  /** Only those whose event is at this position or before it. */
  readonly upTo?: Position | undefined
  readonly after?: ParkedPlace | undefined
  readonly limit: number
}

/**
 * The number of parked keys of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkedCount {
  readonly partition: number
  readonly parked: number
  /** Those with a request that is not carried out yet. */
  readonly requested: number
  /** Those of them that a worker frees. */
  readonly freeing: number
  /** The parked event of unknown key at which the partition waits. */
  readonly waitsAt: Pick<ParkedEvent, "stream" | "version" | "position"> | undefined
}

/**
 * An entry of the parking log.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingEntry {
  /** Counts up. */
  readonly id: bigint
  readonly partition: number
  readonly key: string
  readonly stream: StreamId
  readonly position: Position
  readonly eventId: string
  /**
   * `parked`: the event failed; `failed`: a retry of it failed; `retried`: a retry succeeded; `skipped`: it was skipped; `moved`: the key came to
   * this partition, because their number changed.
   */
  readonly action: "parked" | "failed" | "retried" | "skipped" | "moved"
  readonly detail: string | undefined
  readonly actor: string | undefined
  /** The id of the request that led to it. */
  readonly request: string | undefined
  readonly at: DateTime.Utc
}

/**
 * A page of the parking log, in order.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingLogPage {
  readonly key?: string | undefined
  /** Only the entries of a request. */
  readonly request?: string | undefined
  /** Only entries with a larger id. */
  readonly after?: bigint | undefined
  readonly limit: number
  /** Begins with the last entry. */
  readonly isDescending?: boolean | undefined
}

/**
 * How far a request is.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestProgress {
  /** How many keys wait for it. */
  readonly waiting: number
  /** How many entries the parking log has of it, by action. */
  readonly entries: Record<Exclude<ParkingEntry["action"], "moved">, number>
}

/**
 * The result of a retry or a skip. The key is parked again at the event `next`, or has `reached` an event and waits for the later ones, or else is
 * free.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unpark {
  readonly key: string
  /** The position of the event at which it is parked. */
  readonly position: Position
  /** The id of its request, as it was read. */
  readonly request: string | undefined
  /** What happened to the parked event, for the parking log; undefined for a key that was being freed. */
  readonly action: "retried" | "skipped" | "failed" | undefined
  readonly next?: FailedEvent | undefined
  readonly reached?: ParkedEvent | undefined
}

/**
 * Whether results were written. Unless they are `written`, nothing was, and the transaction is to be rolled back: a key is not parked at its position
 * any more, because another transaction has applied its events (`moved`), or the requests of some keys were withdrawn or replaced (`changed`).
 *
 * @since 0.1.0
 * @category models
 */
export type UnparkResult = "written" | "moved" | { readonly changed: ReadonlyArray<string> }

/**
 * Parked keys and the parking log.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingDriver {
  /** Parks keys, within the transaction that moves the checkpoint past their events. */
  readonly park: (
    generation: string,
    partition: number,
    events: ReadonlyArray<FailedEvent>
  ) => Effect.Effect<void, EventStoreError>

  /** Returns a page of the parked keys of a generation. */
  readonly parked: (generation: string, page: ParkedPage) => Effect.Effect<ReadonlyArray<Parked>, EventStoreError>

  /** Returns the parked keys of a partition, without their events, by key: those after a key, up to a number. */
  readonly parkedKeys: (
    generation: string,
    partition: number,
    after: string | undefined,
    limit: number
  ) => Effect.Effect<ReadonlyArray<string>, EventStoreError>

  /** Returns the number of parked keys of each partition that has some. */
  readonly parkedCounts: (generation: string) => Effect.Effect<ReadonlyArray<ParkedCount>, EventStoreError>

  /** Returns where all keys are parked that satisfy a filter, in order, as of one moment. */
  readonly parkedPlaces: (
    generation: string,
    filter: ParkedFilter & Pick<ParkedPage, "isRequested">
  ) => Effect.Effect<ReadonlyArray<ParkedPlace>, EventStoreError>

  /**
   * Queues a request for the owners of the partitions of parked keys, without those that are parked elsewhere by now, or that are being freed.
   * Returns the number of the others.
   */
  readonly request: (
    generation: string,
    request: ParkingRequest,
    keys: ReadonlyArray<ParkedPlace>
  ) => Effect.Effect<number, EventStoreError>

  /** Withdraws the requests for parked keys, except for those that are parked elsewhere by now, or that are being freed. Returns the number of the others. */
  readonly withdraw: (generation: string, keys: ReadonlyArray<ParkedPlace>) => Effect.Effect<number, EventStoreError>

  /** Returns how far a request is. */
  readonly requestProgress: (generation: string, id: string) => Effect.Effect<RequestProgress, EventStoreError>

  /**
   * Writes the results for keys of a partition, within the transaction that applies the events, if each is still parked at the position and has the
   * same request. A retry may have been replaced by another retry: the entries in the parking log are then those of the later one.
   */
  readonly unpark: (
    generation: string,
    partition: number,
    keys: ReadonlyArray<Unpark>
  ) => Effect.Effect<UnparkResult, EventStoreError>

  /** Returns a page of the parking log of a generation. */
  readonly parkingLog: (
    generation: string,
    page: ParkingLogPage
  ) => Effect.Effect<ReadonlyArray<ParkingEntry>, EventStoreError>

  /** Returns which of the events at some positions were skipped under a key since the last reset. */
  readonly skippedAt: (
    generation: string,
    partition: number,
    key: string,
    positions: ReadonlyArray<Position>
  ) => Effect.Effect<ReadonlyArray<Position>, EventStoreError>
}
