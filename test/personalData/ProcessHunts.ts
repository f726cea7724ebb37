/**
 * The hunts of process managers: each function and Schema of one fails with words that quote a name.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import { unique } from "../../src/conformance/Suite.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import { parkedKeys } from "../support/parked.ts"
import { failing, type Hunt, type Program } from "./Hunt.ts"
import { secret } from "./WithheldSuite.ts"

const ofPerson = { subject: "person" }
const named = (of: Schema.Codec<string, string>) => ({ person: Schema.String, name: PersonalData.field(of, ofPerson) })
const fields = named(Schema.String)

/** The sets and Schemas, of which one has a name that fails. */
const inputsOf = (of: Schema.Codec<string, string>) => Schema.TaggedUnion({ Applied: named(of) })
const eventsOf = (of: Schema.Codec<string, string>) => Schema.TaggedUnion({ Took: named(of) })
const stateOf = (of: Schema.Codec<string, string>) =>
  Schema.Struct({ person: Schema.String, name: Schema.optionalKey(PersonalData.field(of, ofPerson)) })

class Unknown extends Schema.TaggedError<Unknown>()("Unknown", fields) {}

const commandOf = (of: Schema.Codec<string, string>) =>
  Command.make("WriteLetter", { payload: named(of), error: Unknown })

const Letter = Schema.TaggedUnion({ LetterSent: fields })

/** The handler rejects each letter, with an error that has the name. */
const handlers = Layer.fresh(Aggregate.layer(
  Aggregate.make("HuntedLetters", {
    id: "person",
    state: Schema.Null,
    events: Letter,
    commands: [commandOf(Schema.String)]
  }).decider({
    initial: null,
    evolve: { LetterSent: () => null },
    decide: { WriteLetter: (_, command) => Result.fail(new Unknown(command)) }
  })
))

type Part =
  | "inputs"
  | "state"
  | "events"
  | "commands"
  | "deadlines"
  | "correlate"
  | "evolve"
  | "react"
  | "due"
  | "refused"
type Where = Parameters<typeof failing>[1]

/** Returns a process manager of which one part fails. */
const processOf = (hunt: Hunt, prefix: string, part: Part, where: Where) => {
  const of = (one: Part) => one === part ? failing(hunt, where) : Schema.String
  const boomAt = (one: Part, ...values: ReadonlyArray<unknown>) => one === part ? hunt.boom(values) : undefined
  const command = commandOf(of("commands"))
  return ProcessManager.make(unique("hunt").replaceAll("-", "_"), {
    inputs: inputsOf(of("inputs")),
    where: { streamPrefix: prefix },
    correlate: { Applied: (event) => ProcessManager.start(boomAt("correlate", event) ?? event.person) },
    state: stateOf(of("state")),
    events: eventsOf(of("events")),
    commands: [command],
    deadlines: { Due: named(of("deadlines")) }
  }).behaviour({
    initial: { person: "" },
    evolve: { Took: (state, event) => boomAt("evolve", state, event) ?? { person: event.person, name: event.name } },
    react: {
      Applied: (state, event) => {
        const payload = { person: event.person, name: event.name }
        return boomAt("react", state, event) ?? [
          { _tag: "Took", ...payload },
          ProcessManager.deadline("Due", payload, { after: "1 milli" })
        ]
      },
      Due: (state, payload) => boomAt("due", state, payload) ?? [ProcessManager.send(command, payload)]
    },
    refused: { WriteLetter: (state, error, payload) => boomAt("refused", state, error, payload) ?? [] }
  })
}

/** Runs it until an event is parked, or the instance has come to its end, and looks at it in every way. */
const hunting = (part: Part, where: Where = "check"): Program => (hunt) =>
  Effect.gen(function*() {
    const prefix = `${unique("hunt")}-in`
    const process = processOf(hunt, prefix, part, where)
    const { inputs, outputs } = ProcessManager.consumers(process)
    yield* EventStore.append(inputsOf(Schema.String), prefix, [
      { _tag: "Applied", person: hunt.person, name: secret }
    ])
    yield* Effect.gen(function*() {
      const parked = Effect.map(
        Effect.all([parkedKeys(inputs), parkedKeys(outputs)]),
        ([ofInputs, ofOutputs]) => [
          ...ofInputs.map(({ key }) => [inputs, key] as const),
          ...ofOutputs.map(({ key }) => [outputs, key] as const)
        ]
      )
      const inspected = Effect.map(
        hunt.attempt(ProcessManager.inspect(process, hunt.person)),
        (exit) => exit._tag === "Success" && exit.value._tag === "Some" ? exit.value.value.history.length : 0
      )
      // Everything fails somewhere, or comes to the rejection of the command.
      const look = Effect.gen(function*() {
        return (yield* parked).length > 0 || (yield* inspected) >= 6
      })
      yield* Effect.repeat(look, { until: (isDone) => isDone, schedule: Schedule.spaced("20 millis"), times: 100 })
      yield* hunt.attempt(ProcessManager.list(process))
      yield* hunt.attempt(ProcessManager.health(process, { overdueTimeout: "1 milli" }))
      for (const [consumer, key] of yield* parked) {
        yield* hunt.attempt(Parking.inspect(consumer, key))
        yield* hunt.attempt(Parking.retry(consumer, key))
      }
      yield* hunt.attempt(ProcessManager.abandon(process, hunt.person, "hunt"))
    }).pipe(Effect.provide(
      ProcessManager.layer([process], {
        deadlineInterval: "50 millis",
        retryDelay: { first: "10 millis", max: "50 millis" }
      })
        .pipe(Layer.fresh, Layer.provide(handlers))
    ))
  })

const inEveryWay = (part: Part): ReadonlyArray<Program> =>
  (["decode", "encode", "check"] as const).map((where) => hunting(part, where))

/** The programs of each part. */
export const hunts = {
  inputs: inEveryWay("inputs"),
  state: inEveryWay("state"),
  events: inEveryWay("events"),
  commands: inEveryWay("commands"),
  deadlines: inEveryWay("deadlines"),
  correlate: [hunting("correlate")],
  evolve: [hunting("evolve")],
  react: [hunting("react"), hunting("due")],
  refused: [hunting("refused")]
} as const
