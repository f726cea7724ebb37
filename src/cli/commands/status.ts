/**
 * `evsrc status`: the health of the log, of consumers and of process managers.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Generations from "../../operations/Generations.ts"
import * as Health from "../../operations/Health.ts"
import * as HealthStatus from "../../operations/HealthStatus.ts"
import type * as ProcessContract from "../../process/ProcessContract.ts"
import * as ProcessManager from "../../process/ProcessManager.ts"
import * as EvsrcConfig from "../EvsrcConfig.ts"
import { BadVerdict } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { printable, type Style } from "../output/Style.ts"
import * as Table from "../output/Table.ts"
import * as GenerationReport from "../reports/GenerationReport.ts"
import * as HealthReport from "../reports/HealthReport.ts"
import type * as ConfigFile from "../session/ConfigFile.ts"
import * as Stores from "../session/Stores.ts"

const StatusReport = Schema.Struct({
  /** The worst status of the log, the consumers and the process managers. */
  verdict: HealthReport.assessment.status,
  /** The time by the clock of the database. */
  at: Schema.DateTimeUtc,
  log: HealthReport.Log,
  consumers: Schema.Array(HealthReport.Consumer),
  processes: Schema.Array(HealthReport.Process),
  /** Active generations of which the configuration has no definition, so that their health is not known. */
  unchecked: Schema.Array(GenerationReport.Generation)
})

type StatusReport = typeof StatusReport.Type

/**
 * The report of `status`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Status = Schema.toCodecJson(StatusReport)

/** Returns the health of a process manager: red, with the reason, if it cannot be read, as before a program has run it. */
const processHealth = (process: ProcessContract.Any) =>
  ProcessManager.health(process).pipe(
    Effect.map(({ consumers, deferred, overdue, reasons, status }): StatusReport["processes"][number] => ({
      process: process.name,
      status,
      reasons,
      consumers,
      overdue: overdue?.id ?? null,
      deferred: deferred.length
    })),
    Effect.catchIf(
      // Without the store nothing is known.
      (error) => error._tag === "ProjectionBehind" || !error.isRetryable,
      ({ message }) =>
        Effect.succeed({
          process: process.name,
          status: "red" as const,
          reasons: [message],
          consumers: [],
          overdue: null,
          deferred: 0
        })
    )
  )

const read = Effect.fnUntraced(function*(loaded: Option.Option<ConfigFile.Loaded>) {
  const config = Option.getOrUndefined(loaded)?.config
  const definitions = config === undefined ? [] : EvsrcConfig.consumersOf(config)
  const health = yield* Health.of(definitions)
  const processes = yield* Effect.forEach(config?.processes ?? [], processHealth)
  const managed = config?.processes.flatMap((process) => Object.values(ProcessManager.consumers(process))) ?? []
  const known = new Set([...definitions, ...managed].map(({ id }) => id))
  const all = yield* Generations.list()
  const { at, consumers, log } = health
  const report: StatusReport = {
    verdict: [health, ...processes].reduce<HealthStatus.Status>(
      (worst, { status }) => HealthStatus.rank(status) > HealthStatus.rank(worst) ? status : worst,
      "green"
    ),
    at,
    log,
    consumers,
    processes,
    unchecked: all.filter(({ consumer, isActive, status }) =>
      isActive && status !== "discarded" && !known.has(consumer)
    )
  }
  return report
})

const assessed = (
  style: Style,
  name: string,
  { reasons, status }: HealthStatus.Assessment,
  details: string
): ReadonlyArray<string> => [
  `${style.as(status, status.padEnd(6))} ${style.as("bold", printable(name))}  ${details}`,
  ...reasons.map((reason) => `         ${printable(reason)}`)
]

const lagOf = ({ lag }: Pick<StatusReport["log"], "lag">): string =>
  lag.events === 0 ? "up to date" : `${lag.events}${lag.isMore ? "+" : ""} events behind, ${Math.round(lag.seconds)} s`

const consumerLines = (style: Style, one: StatusReport["consumers"][number]): ReadonlyArray<string> =>
  assessed(style, one.consumer, one, `${lagOf(one)}${one.parked === 0 ? "" : `, ${one.parked} parked`}`)

const linesOf = (style: Style, { consumers, log, processes, unchecked }: StatusReport): ReadonlyArray<string> => [
  ...assessed(style, "log", log, `last event ${log.last}, high-water mark ${log.head}`),
  ...consumers.flatMap((one) => consumerLines(style, one)),
  ...processes.flatMap((one) => [
    ...assessed(style, one.process, one, "process manager"),
    ...one.consumers.flatMap((consumer) => consumerLines(style, consumer))
  ]),
  ...unchecked.length === 0 ? [] : [
    "",
    "Without a definition in evsrc.config.ts, so their health is not known:",
    ...Table.lines(style, GenerationReport.columns, unchecked.map(GenerationReport.row))
  ]
]

/**
 * The command `status`.
 *
 * @since 0.1.0
 * @category commands
 */
export const status = Command.make(
  "status",
  {
    strict: Flag.Boolean("strict").pipe(
      Flag.withDescription("The exit code is 1 for yellow too, not only for red"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function*({ strict }) {
    const { loaded } = yield* Stores.target
    const report = yield* Effect.provide(read(loaded), Stores.layer)
    yield* Output.document(Status, report, (style) => linesOf(style, report))
    if (report.verdict === "red" || (strict && report.verdict === "yellow")) return yield* new BadVerdict()
  })
).pipe(
  Command.withDescription("Print the health of the log, of consumers and of process managers"),
  Command.withExamples([
    { command: "evsrc status", description: "The exit code is 1 if anything is red" },
    { command: "evsrc status --json | jq .verdict", description: "For a monitor" }
  ])
)
