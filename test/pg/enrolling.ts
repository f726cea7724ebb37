/**
 * One of several enrolling processes. Its fibers enrol students, let them leave and change capacities, as commands and as decisions, until the test
 * stops it. Prints a line for each command: its id, and its position or the error.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Random, Redacted, Schema } from "effect"
import { EventStore, EventStoreError } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { once } from "node:events"
import { heldUp } from "./appendConditionRacer.ts"
import { commands, courseNames, Courses, maxCapacity, studentNames } from "./courses.ts"

/** What became of a command. `error` is the tag of its error, or of the reason. */
export const Outcome = Schema.fromJsonString(Schema.Struct({
  commandId: Schema.String,
  position: Schema.optionalKey(Schema.String),
  error: Schema.optionalKey(Schema.String),
  message: Schema.optionalKey(Schema.String)
}))

const fibers = 8

/** Every wait of a command has a bound; this one is far above them all. */
const patience = "60 seconds"

const one = <A>(values: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, values.length - 1), (index) => values[index]!)

const dispatchOne = Effect.fnUntraced(function*(commandId: string) {
  const payload = { course: yield* one(courseNames), student: yield* one(studentNames) }
  const name = yield* one(["Enrol", "Enrol", "EnrolByDecision", "EnrolByDecision", "Leave", "Leave", "ChangeCapacity"])
  const receipt = yield* name === "ChangeCapacity"
    ? commands.ChangeCapacity(payload.course, yield* Random.nextIntBetween(1, maxCapacity), commandId)
    : name === "Enrol"
    ? commands.Enrol(payload, commandId)
    : name === "Leave"
    ? commands.Leave(payload, commandId)
    : commands.EnrolByDecision(payload, commandId)
  return String(receipt.position)
})

const encodeOutcome = Schema.encodeSync(Outcome)

const worker = Effect.fnUntraced(function*(name: string) {
  for (let round = 0;; round++) {
    const commandId = `${name}-${round}`
    const outcome = yield* dispatchOne(commandId).pipe(
      Effect.timeout(patience),
      Effect.match({
        onSuccess: (position) => ({ commandId, position }),
        onFailure: (error) => ({
          commandId,
          error: error instanceof EventStoreError ? error.reason._tag : error._tag,
          message: error.message
        })
      })
    )
    yield* Effect.sync(() => console.log(encodeOutcome(outcome)))
  }
})

if (import.meta.main) {
  // The end of the input stops it too, so that it does not outlive the test.
  const stopped = Effect.promise(() => Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]))
  const database = PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: 6 })
  const store = EventStore.layer(Effect.map(PgEventStore.makeDriver(), heldUp))
  const names = Array.from({ length: fibers }, (_, index) => `${process.pid}-${index}`)
  const program = Effect.raceFirst(Effect.forEach(names, worker, { concurrency: "unbounded" }), stopped)
  console.log("ready")
  await Effect.runPromise(
    program.pipe(Effect.provide(Courses.pipe(Layer.provide(store), Layer.provide(database))))
  )
  process.exit(0)
}
