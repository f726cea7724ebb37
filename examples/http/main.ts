/**
 * The program of `npm start`: users and orders over HTTP.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as App from "./App.ts"
import * as Observability from "./Observability.ts"
import * as Provoke from "./Provoke.ts"
import * as Settings from "./Settings.ts"
import * as StartupMessages from "./StartupMessages.ts"
import * as Storage from "./Storage.ts"

const program = Effect.gen(function*() {
  const settings = yield* Settings.load
  const announce = Effect.flatMap(
    HttpServer.HttpServer,
    ({ address }) => Console.log(StartupMessages.welcome(address, settings))
  )
  const running = Layer.effectDiscard(announce).pipe(
    Layer.provide([App.layer(settings), Provoke.layer(settings.provoke)]),
    Layer.provide(Storage.layer(settings))
  )
  return yield* Layer.launch(running).pipe(
    Effect.mapError((error) => new StartupMessages.CannotStart({ message: StartupMessages.reason(error, settings) }))
  )
})

program.pipe(
  Effect.tapCause((cause) =>
    cause.reasons.some(Cause.isFailReason) || Cause.hasInterruptsOnly(cause)
      ? Effect.void
      : Effect.logFatal("The program has failed", cause)
  ),
  Effect.provide(Observability.layer),
  // After the log, so that the reason is the last line.
  Effect.tapError(({ message }) => Console.error(`evsrc: ${message}`)),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    // SIGTERM and SIGINT are the usual ways to stop the program, so they exit with 0.
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? 0 : 1)
  })
)
