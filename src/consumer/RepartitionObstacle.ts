/**
 * What prevents a change of the number of partitions.
 *
 * @since 0.1.0
 */

/**
 * Why the number of partitions of a generation cannot change now.
 *
 * - `hash`: the server has another hash function, so it cannot tell to which partition a key belongs
 * - `waiting`: a partition waits at a parked event of unknown key
 * - `skipped`: such an event was skipped, and keys have been parked since before it
 * - `documents`: one partition by stream has written documents, so the stream that feeds each of them is not known
 * - `former`: there are many `FormerPartitions` that a partition or a parked key is behind
 *
 * @since 0.1.0
 * @category models
 */
export type RepartitionObstacle = "hash" | "waiting" | "skipped" | "documents" | "former"

const words: Readonly<Record<RepartitionObstacle, string>> = {
  hash: "this server has another hash function, so it cannot tell to which partition a key belongs; raise the version",
  waiting: "a partition waits at a parked event of unknown key; call Parking.retry or Parking.skip with the key \"\"",
  skipped: "keys have been parked since before an event of unknown key that was skipped; retry or skip them first",
  documents:
    "the store does not know which stream feeds each document that one partition by stream has written; rebuild the "
    + "projection by Rebuild.rebuild",
  former:
    "it has changed too often while a partition, or a parked key, was behind; wait until all partitions have caught up, and retry or skip the parked "
    + "keys"
}

/**
 * Returns why the number cannot change, and what to do.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = (obstacle: RepartitionObstacle): string => words[obstacle]
