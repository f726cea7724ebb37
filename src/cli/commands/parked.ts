/**
 * `evsrc parked`: lists and inspects parked keys, and asks the workers to retry or skip their events.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Schema from "effect/Schema"
import * as ParkedReport from "../reports/ParkedReport.ts"
import * as ParkedReading from "./parkedReading.ts"
import * as ParkedRequests from "./parkedRequests.ts"

/**
 * The report of `parked list`, one line for each key.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ParkedList = Schema.toCodecJson(ParkedReport.ParkedKey)

/**
 * The report of `parked inspect`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ParkedInspection = ParkedReading.Inspection

/**
 * The report of `parked retry` and `parked skip` for one key.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ParkedOutcome = ParkedRequests.Outcome

/**
 * The report of `parked retry --all` and `parked skip --all`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ParkedBulkOutcome = ParkedRequests.BulkOutcome

/**
 * The command `parked`.
 *
 * @since 0.1.0
 * @category commands
 */
export const parked = Command.make("parked").pipe(
  Command.withDescription("List and inspect parked keys, and retry or skip their events"),
  Command.withSubcommands([
    ParkedReading.list,
    ParkedReading.inspect,
    ParkedRequests.retry,
    ParkedRequests.skip
  ]),
  Command.withExamples([
    { command: "evsrc parked list", description: "The parked keys of all consumers" },
    {
      command: "evsrc parked skip orders Order-7 --reason 'the event is damaged'",
      description: "Skip one event for good"
    }
  ])
)
