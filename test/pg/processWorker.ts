/** A program that runs the process manager of `processes.ts` until it is killed. CLOCK shifts its clock by some milliseconds. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { shifted, worker } from "./processes.ts"

const { CLOCK = "0", DATABASE_URL = "" } = process.env

const running = Layer.effectDiscard(Effect.sync(() => console.log("running"))).pipe(
  Layer.provide(worker(DATABASE_URL)),
  Layer.provide(shifted(Number(CLOCK)))
)

NodeRuntime.runMain(Layer.launch(running))
