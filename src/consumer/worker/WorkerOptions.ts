/**
 * The options of workers, checked and with their defaults.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Limits } from "../../eventStore/Limits.ts"
import type { BatchProcessor } from "../batch/BatchProcessor.ts"
import * as EventInHand from "./EventInHand.ts"
import type * as WorkerState from "./WorkerState.ts"

/**
 * Options of the workers of consumers.
 *
 * @since 0.1.0
 * @category options
 */
export interface WorkerOptions {
  /**
   * The maximum number of events in a transaction; 500 by default. By default, documents that catch up on small events take up to 5,000. A
   * subscription handles up to this number again after a crash; its default is 10.
   */
  readonly batchSize?: number | undefined
  /**
   * How long a worker owns a partition after its last heartbeat; 10 seconds by default. Another process takes the partition over after
   * that. A worker sends a heartbeat every third of the lease; on a store in memory only while it has something to do.
   */
  readonly lease?: Duration.Input | undefined
  /**
   * The pause before a failed request to the database is repeated, or an event at which the consumer has stopped. It starts with `first`, 200
   * milliseconds by default, and doubles up to `max`, 30 seconds by default. While the database is unavailable it is at most a third of the lease.
   */
  readonly retryDelay?: { readonly first: Duration.Input; readonly max: Duration.Input } | undefined
  /**
   * How long the handler of an event may take to end when the worker stops, or gives the partition to another; 3 seconds by default. Then it is
   * interrupted, and the next owner of the partition handles the event again, after another 3 seconds even if the handler still runs. The worker ends at
   * most 5 seconds later. A handler in the transaction is interrupted at once, because its writes are rolled back. After 3 seconds the transaction is
   * rolled back even if the handler still runs, and its further statements fail.
   */
  readonly stopTimeout?: Duration.Input | undefined
}

/**
 * The options with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings extends WorkerState.Timing {
  readonly batchSize: number
  readonly maxBatchSize: number
  /** The maximum number of events that a read of the log returns. */
  readonly pageSize: number
  readonly generation: string | undefined
  readonly stopTimeout: Duration.Duration
}

/**
 * Returns the settings of a worker. Dies when an option is invalid.
 *
 * @since 0.1.0
 * @category constructors
 */
export const settingsOf = Effect.fnUntraced(function*(
  { consumer, grows }: BatchProcessor,
  options: WorkerOptions & { readonly generation?: string | undefined }
): Effect.fn.Return<Settings> {
  const { pageSize } = yield* Limits
  const batchSize = options.batchSize ?? Math.min(500, pageSize)
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > pageSize) {
    return yield* Effect.die(
      new Error(`${consumer.id}: batchSize is ${batchSize}; it must be a whole number from 1 to ${pageSize}`)
    )
  }
  const lease = Duration.fromInputUnsafe(options.lease ?? "10 seconds")
  if (!Duration.isFinite(lease) || Duration.toMillis(lease) < 100) {
    return yield* Effect.die(
      new Error(
        `${consumer.id}: lease is ${Duration.format(lease)}; it must be at least 100 milliseconds, and not infinite`
      )
    )
  }
  const stopTimeout = Duration.fromInputUnsafe(options.stopTimeout ?? EventInHand.defaultTimeout)
  if (!Duration.isFinite(stopTimeout) || Duration.isNegative(stopTimeout)) {
    return yield* Effect.die(
      new Error(
        `${consumer.id}: stopTimeout is ${Duration.format(stopTimeout)}; it must be 0 or more, and not infinite`
      )
    )
  }
  return {
    batchSize,
    pageSize,
    maxBatchSize: options.batchSize === undefined && grows ? Math.min(5000, pageSize) : batchSize,
    lease,
    retryDelay: {
      first: Duration.fromInputUnsafe(options.retryDelay?.first ?? "200 millis"),
      max: Duration.fromInputUnsafe(options.retryDelay?.max ?? "30 seconds")
    },
    generation: options.generation,
    stopTimeout
  }
})
