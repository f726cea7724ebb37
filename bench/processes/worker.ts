/** A program that runs the process manager of `processes.ts` until it is ended. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Logger } from "effect"
import { program } from "./processes.ts"

const running = Layer.effectDiscard(Effect.sync(() => process.stdout.write("running\n"))).pipe(
  Layer.provide(program(process.env["DATABASE_URL"] ?? "")),
  Layer.provide(Logger.layer([]))
)

NodeRuntime.runMain(Layer.launch(running))
