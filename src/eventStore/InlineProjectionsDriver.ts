/**
 * The inline projections that a log knows. An append that leaves one of them out is recorded as a gap in its documents, or rejected.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type { TypeFilter } from "../event/EventFilter.ts"

/**
 * An inline projection as its program registers it.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineProjection {
  /** The id of the projection, `<name>@<version>`. */
  readonly projection: string
  /** The events that it reads. */
  readonly reads: TypeFilter & { readonly types: ReadonlyArray<string> }
  /** Whether an append of such an event without the projection is rejected; otherwise it is recorded as a gap. */
  readonly isRequired: boolean
}

/**
 * An inline projection as the log knows it.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegisteredInlineProjection extends InlineProjection {
  /** The position of the first event that an append without the projection has written; undefined if no event is missing. */
  readonly missedFrom: Position | undefined
  /** Changes with every `closeGaps` and every new registration, and never returns to an earlier value. */
  readonly edition: bigint
}

/**
 * The inline projections of a log.
 *
 * @since 0.1.0
 * @category services
 */
export interface InlineProjectionsDriver {
  /** Returns all registered inline projections, by their ids. */
  readonly registered: Effect.Effect<ReadonlyArray<RegisteredInlineProjection>, EventStoreError>

  /** Returns a registered inline projection. */
  readonly find: (projection: string) => Effect.Effect<RegisteredInlineProjection | undefined, EventStoreError>

  /** Registers an inline projection, or changes its registration. Its gaps remain. */
  readonly register: (projection: InlineProjection) => Effect.Effect<void, EventStoreError>

  /** Removes the gaps of a projection, because its documents have the missed events now. */
  readonly closeGaps: (projection: string) => Effect.Effect<void, EventStoreError>

  /** Removes a registration and its gaps. Returns whether there was one. */
  readonly unregister: (projection: string) => Effect.Effect<boolean, EventStoreError>

  /** Does the same for good: a later registration, and an append that runs the projection, fails with `GenerationDiscarded`. */
  readonly discard: (projection: string) => Effect.Effect<boolean, EventStoreError>

  /**
   * Runs an effect in the caller's transaction, while no other transaction does so for the same projection. If one does, waits for it, or returns none.
   */
  readonly exclusively: <A, E, R>(
    projection: string,
    waits: boolean,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | EventStoreError, R>
}
