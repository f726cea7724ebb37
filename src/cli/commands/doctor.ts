/**
 * `evsrc doctor`: checks the server, the database and the role, and says what to do.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import * as Checks from "../doctor/Checks.ts"
import { Finding } from "../doctor/Finding.ts"
import { BadVerdict } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import type { Style } from "../output/Style.ts"
import { printable } from "../output/Style.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `doctor`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Doctor = Schema.toCodecJson(Schema.Struct({
  /** The worst level of all findings. */
  verdict: Finding.fields.level,
  findings: Schema.Array(Finding)
}))

const levels = ["fine", "warning", "problem"] as const

const worstOf = (findings: ReadonlyArray<Finding>): Finding["level"] =>
  levels[findings.reduce((worst, { level }) => Math.max(worst, levels.indexOf(level)), 0)]!

const looks = { fine: "green", warning: "yellow", problem: "red" } as const

const linesOf = (style: Style, { advice, check, found, level }: Finding): ReadonlyArray<string> => [
  `${style.as(looks[level], level.padEnd(7))} ${style.as("bold", check)}: ${printable(found)}`,
  ...advice === null ? [] : [`        ${advice}`]
]

/**
 * The command `doctor`.
 *
 * @since 0.1.0
 * @category commands
 */
export const doctor = Command.make(
  "doctor",
  {},
  Effect.fnUntraced(function*() {
    const target = yield* Stores.target
    const isConfigured = Option.isSome(target.loaded) && target.loaded.value.config.database === target.client
    const findings = yield* Effect.provide(
      Effect.flatMap(SqlClient.SqlClient, (sql) => Checks.run(sql, target.options, isConfigured)),
      target.client
    )
    const verdict = worstOf(findings)
    yield* Output.document(
      Doctor,
      { verdict, findings },
      (style) => findings.flatMap((finding) => linesOf(style, finding))
    )
    if (verdict === "problem") return yield* new BadVerdict()
  })
).pipe(
  Command.withDescription("Check the server, the database and the role, and say what to do"),
  Command.withExamples([{ command: "evsrc doctor", description: "The exit code is 1 if there is a problem" }])
)
