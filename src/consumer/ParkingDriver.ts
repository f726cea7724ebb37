/**
 * What a back end implements for events that a consumer could not process: their streams are parked.
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
 * What somebody wants done with a parked stream: to try its event again, or to leave the event out, and go on with those after it.
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
 * The event of a stream that could not be processed, and why.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedEvent {
  readonly stream: StreamId
  readonly version: Version
  readonly position: Position
  readonly eventId: string
  readonly type: string
  readonly error: string
}

/**
 * A stream that a consumer has parked, from an event on that it could not process.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parked extends FailedEvent {
  readonly generation: string
  readonly partition: number
  readonly attempts: number
  readonly parkedAt: DateTime.Utc
  readonly request: ParkingRequest | undefined
}

/**
 * - `parked`: an event could not be processed, and its stream was parked
 * - `failed`: it could not be processed again
 * - `retried`: it was processed after all
 * - `skipped`: it was left out
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingEntry {
  readonly stream: StreamId
  readonly position: Position
  readonly eventId: string
  readonly action: "parked" | "failed" | "retried" | "skipped"
  readonly detail: string | undefined
  readonly actor: string | undefined
  readonly at: DateTime.Utc
}

/**
 * What a retry or a skip has come to: the parked event's fate, and the stream's, which is parked again at `next` or free.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unpark {
  readonly generation: string
  readonly partition: number
  readonly stream: StreamId
  readonly action: "retried" | "skipped" | "failed"
  readonly next: FailedEvent | undefined
}

/**
 * What consumers could not process.
 *
 * @since 0.1.0
 * @category models
 */
export interface ParkingDriver {
  /** Sets streams aside, within the transaction that moves the checkpoint past their events. */
  readonly park: (
    generation: string,
    partition: number,
    events: ReadonlyArray<FailedEvent>
  ) => Effect.Effect<void, EventStoreError>

  /** The streams of a target that are parked, by position; of one partition, or of all. */
  readonly parked: (generation: string, partition?: number) => Effect.Effect<ReadonlyArray<Parked>, EventStoreError>

  /** Leaves word for the owner of the partition. Answers whether the stream is parked, and at the event `at` if that is given. */
  readonly request: (
    generation: string,
    stream: string,
    request: ParkingRequest,
    at?: Position
  ) => Effect.Effect<boolean, EventStoreError>

  /** Does what was asked, within the transaction that applies the events. */
  readonly unpark: (unpark: Unpark) => Effect.Effect<void, EventStoreError>

  /** All that ever became of a target's parked events, in order. */
  readonly parkingLog: (generation: string) => Effect.Effect<ReadonlyArray<ParkingEntry>, EventStoreError>
}
