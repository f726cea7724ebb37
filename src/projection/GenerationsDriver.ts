/**
 * What a back end implements for the generations of a consumer, which a rebuild makes.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type { StoredDocument } from "./DocumentsDriver.ts"

/**
 * A generation of a consumer.
 *
 * - `building`: was never active. A consumer's first generation counts as `building`, although readers read it, when a rebuild began it and it
 *   has not reached the position that the log had then
 * - `active`: readers read it, and projectors keep it up to date
 * - `previous`: was active until the last cut-over, and has not changed since
 * - `retired`: was active before the previous one
 * - `discarded`: its documents are removed, or are being removed
 *
 * @since 0.1.0
 * @category models
 */
export interface Generation {
  readonly generation: string
  readonly status: "building" | "active" | "previous" | "retired" | "discarded"
  /** When a rebuild began it; undefined when no rebuild did. */
  readonly startedAt: DateTime.Utc | undefined
  /** When it last became active by a cut-over. */
  readonly activatedAt: DateTime.Utc | undefined
  /** The number of its partitions; 0 before it has run. */
  readonly partitions: number
  /** What they are divided by; undefined before it has run. */
  readonly partitionedBy: string | undefined
  /** The position that all of its partitions have reached. */
  readonly position: Position
  /** The code that a rebuild builds it with, as the caller named it by `build`; undefined if the caller did not. */
  readonly build: string | undefined
}

/**
 * A request to begin a generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface BeginRequest {
  readonly consumer: string
  /** The high-water mark of the log. */
  readonly head: Position
  /** The code that builds a new generation, as the caller names it. */
  readonly build?: string | undefined
  /** Whether to begin one beside the consumer's first generation even if that one is `building`; false by default. */
  readonly isBeside?: boolean | undefined
}

/**
 * A generation that is `building`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BegunGeneration extends Pick<Generation, "generation" | "build"> {
  /** Whether this request began it. */
  readonly isNew: boolean
}

/**
 * A request to make a generation the active one.
 *
 * @since 0.1.0
 * @category models
 */
export interface CutOverRequest {
  readonly consumer: string
  /** The generation that becomes active. */
  readonly to: string
  /**
   * What to do when the generation is behind the active one, so that readers would see older documents. It is behind when one of its partitions
   * has not reached the position of the same partition of the active generation; when the numbers of partitions or their keys differ, of any partition.
   *
   * - `"reject"`: change nothing
   * - `{ hold }`: change nothing, and let no worker advance the active generation for this time, so that the other one can catch up
   * - `"cutOver"`: cut over even so
   */
  readonly ifBehind: "reject" | { readonly hold: Duration.Duration } | "cutOver"
  /**
   * Whether to cut over even if keys are parked in the generation at events that the active one has applied, so that their documents lack these
   * events; false by default.
   */
  readonly evenIfParked?: boolean | undefined
}

/**
 * The outcome of a cut-over.
 *
 * - `CutOver`: the generation is active now; it may have been before
 * - `Behind`: nothing has changed; the generation lacks this many positions
 * - `Parked`: nothing has changed; so many keys are parked in the generation at events that the active one has applied, first of all these
 * - `Unknown`: nothing has changed; the consumer has no such generation, or it has not run, or it was discarded
 *
 * @since 0.1.0
 * @category models
 */
export type CutOverOutcome =
  | { readonly _tag: "CutOver" }
  | { readonly _tag: "Behind"; readonly missing: bigint }
  | { readonly _tag: "Parked"; readonly count: number; readonly keys: ReadonlyArray<string> }
  | { readonly _tag: "Unknown" }

/**
 * A request for a page of documents of a generation, active or not, in key order.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationPage {
  readonly generation: string
  /** The key after which the page starts. */
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * Some documents of a generation, read together with the positions of its partitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationView {
  readonly positions: ReadonlyArray<Position>
  /** The highest position of which a document may contain an event: that of a partition, or of a former one that is ahead of it. */
  readonly reached: Position
  readonly documents: ReadonlyMap<string, StoredDocument>
}

/**
 * A reason not to discard a generation.
 *
 * - `active`: it is the active one, or an inline projection
 * - `previous`: a rollback would make it active
 * - `leased`: a worker has leases on it, or waits for some
 *
 * @since 0.1.0
 * @category models
 */
export type AgainstDiscard = "active" | "previous" | "leased"

/**
 * A number of rows, counted up to a maximum.
 *
 * @since 0.1.0
 * @category models
 */
export interface RowCount {
  readonly count: number
  /** Whether there are more. */
  readonly isMore: boolean
}

/**
 * A generation of any consumer, with what it has written.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredGeneration {
  readonly generation: string
  /** The id of the consumer, such as `orders@1` or `subscription:mail@2`. */
  readonly consumer: string
  readonly kind: "projection" | "inline" | "subscription"
  readonly status: Generation["status"]
  /** Whether queries read it and workers write to it. */
  readonly isActive: boolean
  /** Whether `Rebuild.rollback` makes it active. */
  readonly isRollbackTarget: boolean
  /** The workers that have a lease on one of its partitions, or wait for one; empty if none has sent a heartbeat within its lease. */
  readonly owners: ReadonlyArray<string>
  /** The number of its checkpoints; 0 for an inline projection. */
  readonly checkpoints: number
  /** The lowest of its checkpoints; undefined without one. */
  readonly position: Position | undefined
  readonly documents: RowCount
  readonly parked: RowCount
  readonly parkingLog: RowCount
  /** When a worker last sent a heartbeat or applied an event; undefined without checkpoints. */
  readonly lastActivity: DateTime.Utc | undefined
}

/**
 * The generations of a consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationsDriver {
  /**
   * Returns the generation that a rebuild is building, or begins a new one. The first generation of a consumer that has never run is the
   * consumer's own.
   */
  readonly beginGeneration: (request: BeginRequest) => Effect.Effect<BegunGeneration, EventStoreError>

  /** Returns the generations of a consumer, oldest first. */
  readonly generations: (consumer: string) => Effect.Effect<ReadonlyArray<Generation>, EventStoreError>

  /** Makes a generation the active one, all or nothing. Workers on either generation lose their partitions and can write nothing more. */
  readonly cutOver: (request: CutOverRequest) => Effect.Effect<CutOverOutcome, EventStoreError>

  /**
   * Discards a generation, all or nothing, unless a reason against it holds that `evenIf` does not name. From then on no worker can write to it, no
   * cut-over can make it active, and reads and claims of a consumer whose active generation it is fail with `GenerationDiscarded`.
   * `removeDiscarded` removes its rows.
   */
  readonly discard: (
    consumer: string,
    generation: string,
    evenIf: ReadonlyArray<AgainstDiscard>
  ) => Effect.Effect<"discarded" | "unknown" | AgainstDiscard, EventStoreError>

  /** Removes a part of what a discarded generation has written, in one transaction. Returns whether there may be more. */
  readonly removeDiscarded: (
    generation: string,
    options: { readonly parkingLog: boolean }
  ) => Effect.Effect<boolean, EventStoreError>

  /** Returns a page of the generations of all consumers, by name. */
  readonly allGenerations: (page: {
    /** The name after which the page begins. */
    readonly after: string | undefined
    readonly limit: number
    /** Documents, parked keys and entries of the parking log are counted up to this number. */
    readonly maxCount: number
  }) => Effect.Effect<ReadonlyArray<StoredGeneration>, EventStoreError>

  /** Returns a page of documents of a generation. */
  readonly generationPage: (page: GenerationPage) => Effect.Effect<ReadonlyArray<StoredDocument>, EventStoreError>

  /** Returns documents of two generations as of one point in time. */
  readonly views: (
    generations: readonly [string, string],
    keys: ReadonlyArray<string>
  ) => Effect.Effect<readonly [GenerationView, GenerationView], EventStoreError>
}
