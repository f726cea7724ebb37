/**
 * The error of rebuilds.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A rebuild, cut-over, rollback, comparison or discard was rejected. Nothing was changed.
 *
 * - `NoGeneration`: the projection has no such generation, or it was discarded
 * - `Running`: another run is building the generation, and may have other code
 * - `OtherBuild`: the generation was begun with another `build`
 * - `Parked`: keys are parked in the generation at events that the active one has applied, so readers would see documents without these events
 * - `Behind`: the generation has not caught up with the active one within the timeout, so readers would see older documents
 * - `PartitionMismatch`: the generation has another number of partitions than the projection has in this program, which could not keep it up to
 *   date
 * - `Active`: the generation is the active one
 * - `Stalled`: one of the two compared generations has not advanced within the timeout, as no worker keeps it up to date
 *
 * @since 0.1.0
 * @category errors
 */
export class RebuildRejected extends Schema.TaggedError<RebuildRejected>("evsrc/RebuildRejected")("RebuildRejected", {
  projection: Schema.String,
  reason: Schema.Literals([
    "NoGeneration",
    "Running",
    "OtherBuild",
    "Parked",
    "Behind",
    "PartitionMismatch",
    "Active",
    "Stalled"
  ]),
  detail: Schema.String
}) {
  override get message(): string {
    return `Projection "${this.projection}": ${this.detail}`
  }
}
