/**
 * `evsrc consumers`: the consumers of the store, whether or not a program runs them.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Position } from "../../core/Position.ts"
import { EventStore } from "../../eventStore/EventStore.ts"
import * as Generations from "../../operations/Generations.ts"
import * as Output from "../output/Output.ts"
import * as Table from "../output/Table.ts"
import * as GenerationReport from "../reports/GenerationReport.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `consumers`: the active generation of each.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Consumers = Schema.toCodecJson(Schema.Struct({
  /** The high-water mark of the log. */
  head: Position,
  consumers: Schema.Array(GenerationReport.Generation)
}))

/**
 * The command `consumers`.
 *
 * @since 0.1.0
 * @category commands
 */
export const consumers = Command.make(
  "consumers",
  {},
  Effect.fnUntraced(function*() {
    const { head } = yield* EventStore
    const report = {
      head: yield* head,
      consumers: (yield* Generations.list()).filter(({ isActive, status }) => isActive && status !== "discarded")
    }
    yield* Output.document(Consumers, report, (style) => [
      ...Table.lines(style, GenerationReport.columns, report.consumers.map(GenerationReport.row)),
      report.consumers.length === 0 ? "No consumer has run yet" : `High-water mark of the log: ${report.head}`
    ])
  }, Effect.provide(Stores.layerWithheld))
).pipe(
  Command.withDescription("List the projections and subscriptions of the store, whether or not a program runs them")
)
