/**
 * The contract of a back end for parked keys: keys with an event that failed. The consumer declares what the key of an event is.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"

/**
 * An operator's request for a parked key: retry the parked event, or skip it. Either way the later events of the key follow.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingRequest {
  readonly action: "retry" | "skip"
  readonly actor?: string | undefined
  readonly reason?: string | undefined
}

/**
 * An event that failed, and the message of its error.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedEvent {
  /** The key under which it failed; empty when its key is unknown. */
  readonly key: string
  readonly stream: StreamId
  readonly version: Version
  readonly position: Position
  readonly eventId: string
  readonly type: string
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
}

/**
 * An entry of the parking log.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingEntry {
  readonly partition: number
  readonly key: string
  readonly stream: StreamId
  readonly position: Position
  readonly eventId: string
  /** `parked`: the event failed; `failed`: a retry of it failed; `retried`: a retry succeeded; `skipped`: it was skipped. */
  readonly action: "parked" | "failed" | "retried" | "skipped"
  readonly detail: string | undefined
  readonly actor: string | undefined
  readonly at: DateTime.Utc
}

/**
 * The result of a retry or a skip. The key is parked again at `next`, or free.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unpark {
  readonly generation: string
  readonly partition: number
  readonly key: string
  /** The position of the event at which it is parked. */
  readonly position: Position
  readonly action: "retried" | "skipped" | "failed"
  readonly next: FailedEvent | undefined
}

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

  /** Returns the parked keys of a generation, or of one of its partitions, by position. */
  readonly parked: (generation: string, partition?: number) => Effect.Effect<ReadonlyArray<Parked>, EventStoreError>

  /** Queues a request for the owners of the partitions in which the key is parked. Returns whether it is parked, and at the event `at` if given. */
  readonly request: (
    generation: string,
    key: string,
    request: ParkingRequest,
    at?: Position
  ) => Effect.Effect<boolean, EventStoreError>

  /**
   * Writes the result of a request, within the transaction that applies the events. Returns false, with nothing written, if the key is not
   * parked at the position any more. Another transaction has then applied the events, and this one must be rolled back.
   */
  readonly unpark: (unpark: Unpark) => Effect.Effect<boolean, EventStoreError>

  /** Returns the parking log of a generation, in order. */
  readonly parkingLog: (generation: string) => Effect.Effect<ReadonlyArray<ParkingEntry>, EventStoreError>
}
