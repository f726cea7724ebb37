/**
 * The command line as an Effect: all commands, logs on the standard error, errors without passwords, exit codes.
 *
 * @since 0.1.0
 */
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { archive } from "./commands/archive.ts"
import { audit } from "./commands/audit.ts"
import { causation } from "./commands/causation.ts"
import { consumers } from "./commands/consumers.ts"
import { doctor } from "./commands/doctor.ts"
import { erase } from "./commands/erase.ts"
import { generations } from "./commands/generations.ts"
import { init } from "./commands/init.ts"
import { migrate } from "./commands/migrate.ts"
import { parked } from "./commands/parked.ts"
import { deadlines, processes } from "./commands/processes.ts"
import { rebuild, rollback } from "./commands/rebuild.ts"
import { status } from "./commands/status.ts"
import { stream } from "./commands/stream.ts"
import { tail } from "./commands/tail.ts"
import * as Transfer from "./commands/transfer.ts"
import { verify } from "./commands/verify.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Output from "./output/Output.ts"
import * as Root from "./Root.ts"
import * as Secrets from "./Secrets.ts"

/**
 * The command `evsrc` with all of its commands.
 *
 * @since 0.1.0
 * @category commands
 */
export const evsrc = Root.root.pipe(
  Command.withSubcommands([
    { group: "Project", commands: [init] },
    { group: "Database", commands: [migrate, doctor] },
    { group: "Log", commands: [tail, stream, causation, verify, archive, erase, Transfer.export, Transfer.import] },
    { group: "Consumers", commands: [status, consumers, parked, audit, rebuild, rollback, generations] },
    { group: "Process managers", commands: [processes, deadlines] }
  ])
)

/** Logs go to the standard error, so that the output stays what a program can read. */
const logger = Logger.withConsoleError(Logger.make(({ fiber, logLevel, message }) => {
  const words = Array.isArray(message) ? message.map(String).join(" ") : String(message)
  return Secrets.hideIn(fiber.getRef(Secrets.Secrets), `evsrc: ${logLevel.toLowerCase()}: ${words}`)
}))

/** Help that was asked for is output; help after a mistake is not, and a program that reads the output must not get it. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.gen(function*() {
        const { canColor } = yield* TerminalCapabilities.TerminalCapabilities
        const formatter = CliOutput.defaultFormatter({ colors: canColor })
        yield* Console.error(formatter.formatErrors(event.errors))
        yield* Console.error(`\nSee: ${event.commandPath.join(" ")} --help`)
      })
      : CliOutput.defaultPresenter.present(event)
}

/**
 * Runs the command line, and returns its exit code.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (version: string) =>
  Command.run(evsrc, { version }).pipe(
    Effect.as<number>(ExitCode.ExitCode.fine),
    Effect.catchCause((cause) => {
      const { code, message } = ExitCode.ofCause(cause)
      return Effect.as(
        message === undefined
          ? Effect.void
          : Effect.flatMap(Secrets.hide(message), (safe) => Output.note(`evsrc: ${safe}`)),
        code
      )
    }),
    Effect.provide(Layer.mergeAll(
      CliConfig.layer({
        builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel]
      }),
      CliOutput.layerPresenter(presenter),
      Logger.layer([logger]),
      Layer.succeed(References.MinimumLogLevel, "Warn")
    ))
  )
