/**
 * Runs the command line in this process: signals interrupt it, and it ends without an error when the reader of its output closes the pipe.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as Timer from "../pg/timer.ts"
import { ExitCode } from "./ExitCode.ts"
import { run } from "./program.ts"
import * as Secrets from "./Secrets.ts"

/** Succeeds when the reader of the standard output closes the pipe, as `| head` does. That is not an error. */
const readerGone: Effect.Effect<number> = Effect.callback((resume) => {
  process.stdout.on("error", (error: unknown) => {
    const isClosed = Predicate.hasProperty(error, "code") && error.code === "EPIPE"
    if (!isClosed) process.stderr.write(`evsrc: The output cannot be written: ${String(error)}\n`)
    resume(Effect.succeed(isClosed ? ExitCode.fine : ExitCode.failed))
  })
  // The reader of the messages may end too, which must not end the command.
  process.stderr.on("error", () => {})
})

/** Ends the process with one line, without passwords, when the code of a configuration throws in the background. */
const watchConfiguration: Effect.Effect<void> = Effect.map(Secrets.Secrets, (secrets) => {
  process.on("uncaughtException", (error: unknown) => {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    process.stderr.write(
      `evsrc: The code of the configuration threw an error in the background: ${Secrets.hideIn(secrets, text)}\n`
    )
    process.exit(ExitCode.failed)
  })
})

/** How long what a configuration has left open may keep the process alive, in milliseconds. */
const maxEnding = 2_000

/** Ends the process with the exit code that the effect returns. Without a failure, Node first writes all that is left of the output. */
const teardown: Runtime.Teardown = (exit, onExit) => {
  if (!Exit.isSuccess(exit) || !Predicate.isNumber(exit.value)) return Runtime.defaultTeardown(exit, onExit)
  process.exitCode = exit.value
  Timer.start(maxEnding, () => process.exit())?.unref()
}

/**
 * Runs the command line, and ends the process with its exit code.
 *
 * @since 0.1.0
 * @category running
 */
export const start = (version: string): void =>
  NodeRuntime.runMain(
    Secrets.rememberEnvironment(process.env).pipe(
      Effect.andThen(watchConfiguration),
      Effect.andThen(Effect.raceFirst(run(version), readerGone)),
      Effect.provide(NodeServices.layer)
    ),
    { teardown, disableErrorReporting: true }
  )
