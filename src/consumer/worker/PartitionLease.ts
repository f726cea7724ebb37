/**
 * What a worker knows of its lease on a partition, without asking the store.
 *
 * @since 0.1.0
 */

/**
 * - `held`: no other worker owns the partition
 * - `expired`: the lease was not renewed in time, so another worker may own the partition
 * - `lost`: another worker owns it, or the worker itself under a later epoch
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "held" | "expired" | "lost"

/**
 * The lease of a worker on a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionLease {
  readonly status: () => Status
}
