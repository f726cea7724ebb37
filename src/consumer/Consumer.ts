/**
 * Consumers of the log: projections and subscriptions. A consumer is the parameter of `DeliveryAudit`, `Health` and `Parking`; the modules
 * `Projection` and `Subscription` construct them.
 *
 * @since 0.1.0
 */
import type * as Event from "../event/Event.ts"
import type { EventFilter } from "../event/EventFilter.ts"

/**
 * Whether a consumer folds events into a read model, or runs effects for them.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = "projection" | "subscription"

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
   * The number of partitions, from 1 to 256; 1 by default. Each stream belongs to one partition, and each partition to one worker at a time.
   * Order is preserved within a stream, not between streams of different partitions. To change the number, rebuild the projection or raise
   * `version`.
   */
  readonly partitions?: number | undefined
  /**
   * What happens when an event fails. `"park"`, the default, parks the event's stream and continues with the other streams. `"stop"` stops
   * at the event and tries it again until it succeeds.
   */
  readonly onFailure?: "park" | "stop" | undefined
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
  /** `<name>@<version>`, with the prefix `subscription:` for a subscription. Checkpoints and parked streams are stored under it. */
  readonly id: string
  readonly events: Events
  /** The names of the events that the consumer handles. */
  readonly handles: ReadonlyArray<string>
  /** The event types in the log that decode to an event the consumer handles. */
  readonly reads: ReadonlyArray<string>
  readonly where: EventFilter
  readonly partitions: number
  readonly onFailure: "park" | "stop"
  /** Where a consumer without a checkpoint starts: with the first event, or after the last event of the log. */
  readonly from: "start" | "now"
}
