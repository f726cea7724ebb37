/**
 * The error of `Checkpoints`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const explanations = {
  Leased: {
    why: (partitions: string) => `its workers have not given back ${partitions} within the timeout`,
    remedy:
      "wait until the handler has ended, or stop that program, and reset again; a worker that is dead or frozen keeps its partitions until its lease ends"
  },
  InTransaction: {
    why: (partitions: string) => `in a transaction it cannot ask the workers to give back ${partitions}`,
    remedy: "reset outside a transaction, or stop the programs that run the consumer before"
  }
} as const

/**
 * The checkpoints of a consumer were not reset, because workers have partitions. Nothing was changed.
 *
 * - `Leased`: a worker has not given back its partitions within the timeout
 * - `InTransaction`: the call is in a transaction, where workers do not see what it asks
 *
 * @since 0.1.0
 * @category errors
 */
export class ResetRejected extends Schema.TaggedError<ResetRejected>("evsrc/ResetRejected")("ResetRejected", {
  consumer: Schema.String,
  reason: Schema.Literals(["Leased", "InTransaction"]),
  /** The partitions that are not free, each with its worker; without one, a partition is held until the lease of its former worker ends. */
  partitions: Schema.Array(Schema.Struct({ partition: Schema.Int, worker: Schema.optionalKey(Schema.String) })),
  /** The text that names some of them, with the events that their workers have in hand. */
  detail: Schema.String
}) {
  override get message(): string {
    const { remedy, why } = explanations[this.reason]
    return `The checkpoints of "${this.consumer}" were not reset, and nothing was changed: ${
      why(this.detail)
    }; ${remedy}`
  }
}
