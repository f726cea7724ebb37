/**
 * Consumers of the log: projections and subscriptions. A consumer is the parameter of `DeliveryAudit`, `Health` and `Parking`; the modules
 * `Projection` and `Subscription` construct them.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import type { LogPosition } from "../core/LogPosition.ts"
import type { Position } from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import type { EventFilter } from "../event/EventFilter.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/**
 * Whether a consumer folds events into a read model, or runs effects for them.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = "projection" | "subscription"

/**
 * The key of a consumer: events with the same key are applied in order, also when one of them fails.
 *
 * - `"stream"`: the stream of the event
 * - `{ tag }`: the value of a tag; the stream for an event without it
 *
 * @since 0.1.0
 * @category options
 */
export type PartitionBy<Tag extends string = string> = "stream" | { readonly tag: Tag }

/**
 * Where a subscription without a checkpoint starts.
 *
 * - `"start"`: with the first event of the log
 * - `"now"`: with the events that are appended after its layer was first built
 * - `{ version }`: where this earlier version of it stands. The earlier version then handles nothing more. `otherwise` says where to start if that has
 *   never run; without it, the layer fails then.
 * - `{ after }`: with the event after a position of the log
 * - `{ since }`: with the first event that was recorded at a time or later. Events that were appended at the same moment may be handled although
 *   they were recorded just before it.
 *
 * @since 0.1.0
 * @category options
 */
export type From =
  | "start"
  | "now"
  | { readonly version: number; readonly otherwise?: "start" | "now" | undefined }
  | { readonly after: Position | LogPosition }
  | { readonly since: DateTime.Utc }

/**
 * Options of every consumer.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<in out Events extends Event.Any = Event.Any> {
  /** Selects events of the set by tags or by stream. By default the consumer takes all of them. */
  readonly where?: EventFilter<NoInfer<Event.TagText<Events>>> | undefined
  /**
   * The number of partitions, from 1 to 256; 1 by default. Each key belongs to one partition, and each partition to one worker at a time.
   * Another number takes over, without loss or repetition, once no program with the old one runs any more.
   */
  readonly partitions?: number | undefined
  /**
   * What happens when an event fails. `"park"`, the default, parks the event's key and continues with the other keys. `"stop"` stops at the
   * event and tries it again until it succeeds.
   */
  readonly onFailure?: "park" | "stop" | undefined
  /**
   * What happens at an event whose type the code does not know: it is not in the set, and its stream belongs to the category in
   * `where.streamPrefix`, or without one to a category of streams that also has events of the set. Most likely newer code appended it.
   *
   * - `"pass"`, the default: the consumer does not read it. `Health` turns yellow and names the type. A later release that handles the type does not
   *   start if events of it were passed.
   * - `"stop"`: the partition stops before it, parks nothing, and lets a process of a newer release take over. Give a `where.streamPrefix` with a
   *   `-`; otherwise it passes events of a category that has no event of the set yet. An inline or live projection cannot stop.
   */
  readonly unknownTypes?: "pass" | "stop" | undefined
  /** Types outside the set, of the same streams, that the consumer leaves out on purpose; `unknownTypes` does not apply to them. */
  readonly ignoreTypes?: ReadonlyArray<string> | undefined
  /**
   * What happens when this code reads events that earlier code under the same version did not, and the log has such events at or below the
   * checkpoint: of a type that is handled now and was ignored or not in the set, or outside the earlier `where`.
   *
   * - `"reject"`, the default: the consumer does not start, and its worker is `stuck`; `Projector.layerInline` fails
   * - `"pass"`: it continues from its checkpoint, and never handles these earlier events. Only for subscriptions and for projections with
   *   handlers; documents would lack the events.
   */
  readonly earlierEvents?: "reject" | "pass" | undefined
  /** 1 by default. Raise it when the meaning of the consumer changes: a new version is a new consumer, which starts with the first event. */
  readonly version?: number | undefined
}

/**
 * A projection or a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface Consumer<out Name extends string = string, out Events extends Event.Any = Event.Any> {
  readonly kind: Kind
  readonly name: Name
  readonly version: number
  /** What the partitions are divided by, and what is parked. `"instance"` is for the inputs of a process manager. */
  readonly partitionBy: "stream" | "document" | "instance" | { readonly tag: string }
  /** Returns the keys of the documents that an event touches; `undefined` when it cannot be decoded. Only of projections with documents. */
  readonly documentKeysOf?: ((event: EncodedEvent) => ReadonlyArray<string> | undefined) | undefined
  /** Returns the instances that take an event; `undefined` when they are unknown. Only of the inputs of process managers. */
  readonly instanceKeysOf?: ((event: EncodedEvent) => ReadonlyArray<string> | undefined) | undefined
  /** `<name>@<version>`, with the prefix `subscription:` for a subscription. Checkpoints and parked keys are stored under it. */
  readonly id: string
  readonly events: Events
  /** The names of the events that the consumer handles. */
  readonly handles: ReadonlyArray<string>
  /** The event types in the log that decode to an event the consumer handles. */
  readonly reads: ReadonlyArray<string>
  readonly where: EventFilter
  readonly partitions: number
  readonly onFailure: "park" | "stop"
  readonly unknownTypes: "pass" | "stop"
  readonly ignoreTypes: ReadonlyArray<string>
  readonly earlierEvents: "reject" | "pass"
  /** Where a consumer without a checkpoint starts. */
  readonly from: From
  /** When the documents of a projection are updated; undefined for a subscription, which is asynchronous. */
  readonly lifecycle?: "async" | "inline" | "live" | undefined
}
