/**
 * The schemas of what a scan finds and of what an erasure returns.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Where a scan found personal data in plaintext.
 *
 * @since 0.1.0
 * @category models
 */
export const Location = Schema.Struct({
  /** What was searched: the log, snapshots, projections' documents, parked keys, or the log of parking actions. */
  source: Schema.Literals(["events", "snapshots", "documents", "parked", "parkingLog"]),
  /** The stream of an event or snapshot; for the other sources the projection generation or the consumer. */
  owner: Schema.String,
  /** The version of an event or snapshot, the key of a document, or the parked stream. */
  key: Schema.String,
  /**
   * The path of the first field that holds the value, such as `data.address.city`, `metadata.actor` or `tags.0`. Where a field's name
   * holds the value, the path ends at its parent. A name that is no plain word appears as `*`. Parked streams have no path.
   */
  path: Schema.optionalKey(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Location = typeof Location.Type

/**
 * What the stores hold of a subject.
 *
 * @since 0.1.0
 * @category models
 */
export const ScanReport = Schema.Struct({
  /** The number of events, snapshots and documents that hold encrypted data of the subject. */
  encrypted: Schema.Struct({ events: Schema.Int, snapshots: Schema.Int, documents: Schema.Int }),
  /** The streams of these events, at most 1,000. */
  streams: Schema.Array(Schema.String),
  /**
   * Where the same values appear in plaintext, at most 1,000 locations: in an unannotated field, in metadata, in an error message. An
   * erasure does not reach them. Missing if the key was already deleted, because then the values to search for cannot be decrypted.
   */
  plaintext: Schema.optionalKey(Schema.Array(Location))
})

/**
 * @since 0.1.0
 * @category models
 */
export type ScanReport = typeof ScanReport.Type

/**
 * The result of an erasure. It contains no personal data, so it can be archived.
 *
 * @since 0.1.0
 * @category models
 */
export const ErasureReceipt = Schema.Struct({
  subject: Schema.String,
  /** When the key was first deleted. */
  erasedAt: Schema.DateTimeUtc,
  /** From when on no process can read the data. */
  doneAt: Schema.DateTimeUtc,
  /** What was erased, and which plaintext remains. */
  found: ScanReport
})

/**
 * @since 0.1.0
 * @category models
 */
export type ErasureReceipt = typeof ErasureReceipt.Type
