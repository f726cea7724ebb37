/**
 * The errors of `Generations`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const explanations = {
  Unknown:
    "the store has no such generation; Generations.list returns their names, such as \"orders@1\" or \"subscription:mail@2\"",
  Active:
    "it is the active generation of its consumer: programs that run the consumer stop, and its reads and appends of inline projections fail; "
    + "if no program uses the consumer any more, give the option `evenIfActive: true`",
  RollbackTarget:
    "Rebuild.rollback would make it active again; if no rollback is to follow, give the option `evenIfRollbackTarget: true`",
  Leased:
    "workers run it, or ran it until less than a lease ago; stop the programs that run it, and try again when their leases have ended"
}

/**
 * A generation was not discarded. Nothing was changed.
 *
 * - `Unknown`: the store has no such generation
 * - `Active`: it is the active one, and the call does not say `evenIfActive`
 * - `RollbackTarget`: it is the one that a rollback makes active, and the call does not say `evenIfRollbackTarget`
 * - `Leased`: workers run it
 *
 * @since 0.1.0
 * @category errors
 */
export class DiscardRejected extends Schema.TaggedError<DiscardRejected>("evsrc/DiscardRejected")("DiscardRejected", {
  generation: Schema.String,
  reason: Schema.Literals(["Unknown", "Active", "RollbackTarget", "Leased"])
}) {
  override get message(): string {
    return `Generation "${this.generation}" was not discarded: ${explanations[this.reason]}`
  }
}
