/**
 * Why something cannot be done with the builds of a projection.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Nothing was changed.
 *
 * - `NoBuild`: there is no such build, or it was discarded
 * - `Behind`: readers would see documents that are older than those they may have seen, and the build has not caught up in the time given
 * - `OtherPartitions`: the build was begun with another number of partitions than the projection has in this program, which could not keep
 *   it up to date
 * - `Active`: it is the one that is read
 * - `NotFollowed`: nobody has brought one of the two to be compared up to date in the time given
 *
 * @since 0.1.0
 * @category errors
 */
export class RebuildRejected extends Schema.TaggedError<RebuildRejected>("evsrc/RebuildRejected")("RebuildRejected", {
  projection: Schema.String,
  reason: Schema.Literals(["NoBuild", "Behind", "OtherPartitions", "Active", "NotFollowed"]),
  detail: Schema.String
}) {
  override get message(): string {
    return `Projection "${this.projection}": ${this.detail}`
  }
}
