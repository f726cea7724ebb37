/**
 * The runtime suite of personal data in process managers: in inputs, states, own events, commands and deadlines.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import { type Case, equal, includes, isAtLeast, test, unique } from "../../src/conformance/Suite.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import type { Stores } from "../personalData/PersonalDataFixtures.ts"
import { requireNoSecret, secret } from "../personalData/WithheldSuite.ts"
import { parkedKeys } from "../support/parked.ts"
import * as Traces from "../support/Traces.ts"
import { uniqueName, until } from "./Probe.ts"

const name = PersonalData.field(Schema.String, { subject: "person" })
const person = Schema.String
const fields = { person, name }

const Input = Schema.TaggedUnion({ Applied: fields, Renamed: fields })
const { Applied } = Input.cases
const OwnEvent = Schema.TaggedUnion({ Noted: fields })
const { Noted } = OwnEvent.cases

const Letter = Schema.TaggedUnion({ LetterSent: fields })

class Unknown extends Schema.TaggedError<Unknown>()("Unknown", { ...fields }) {}

const Send = Command.make("SendLetter", { payload: fields, error: Unknown })
const Letters = Aggregate.make("Letters", {
  id: "person",
  state: Schema.Struct({}),
  events: Letter,
  commands: [Send]
})

const handlers = (rejects: boolean) =>
  Layer.fresh(Aggregate.layer(Letters.decider({
    initial: {},
    evolve: { LetterSent: (state) => state },
    decide: {
      SendLetter: (_, command) => {
        if (rejects) throw new Error(`no letter for ${JSON.stringify(command)}`)
        return [Letter.cases.LetterSent.make(command)]
      }
    }
  })))

/** Quotes all that a function is given, also in a form that does not equal the value. */
const boom = (...values: ReadonlyArray<unknown>): never => {
  const words = JSON.stringify(values)
  throw Object.assign(new Error(`${words} ${words.toUpperCase()}`, { cause: values }), { values })
}

type Where = "correlate" | "id" | "react" | "event" | "payload" | "deadlinePayload" | "deadline" | "command" | "evolve"

const processOf = (where: string | undefined, isWrong: () => boolean) => {
  const isHere = (one: Where) => where === one && isWrong()
  const State = Schema.Struct({ person, name: Schema.optionalKey(name) })
  const processName = uniqueName()
  return ProcessManager.make(processName, {
    inputs: Input,
    where: { streamPrefix: `${processName}.in-` },
    correlate: {
      Applied: (event) =>
        ProcessManager.start(
          isHere("correlate") ? boom(event) : isHere("id") ? `${event.name}\0` : event.person
        ),
      Renamed: ProcessManager.ignore
    },
    state: State,
    events: OwnEvent,
    commands: [Send],
    deadlines: { Due: fields }
  }).behaviour({
    initial: { person: "" },
    evolve: {
      Noted: (_, event) => isHere("evolve") ? boom(event) : { person: event.person, name: event.name }
    },
    react: {
      Applied: (state, event) => {
        if (isHere("react")) return boom(state, event)
        const payload = { person: event.person, name: event.name }
        if (isHere("event")) return [Noted.make({ ...payload, name: [event.name] as never })]
        if (isHere("payload")) return [ProcessManager.send(Send, { ...payload, name: [event.name] as never })]
        const wrong = isHere("deadlinePayload") ? { name: [event.name] as never } : {}
        return [
          Noted.make(payload),
          ProcessManager.deadline("Due", { ...payload, ...wrong }, { after: "1 milli" })
        ]
      },
      Due: (state, payload) => isHere("deadline") ? boom(state, payload) : [ProcessManager.send(Send, payload)]
    },
    refused: { SendLetter: (state, error, command) => boom(state, error, command) }
  })
}

const apply = ({ name }: { readonly name: string }, id: string) =>
  EventStore.append(Input, `${name}.in-${unique("s")}`, [Applied.make({ person: id, name: secret })])

/** What the error of the parked event says all the same. */
const hints: Readonly<Record<Where, string>> = {
  correlate: "correlate of",
  id: "an id of an instance of the process manager",
  react: `react to "Applied"`,
  event: `threw: "Noted" does not satisfy its Schema: Expected`,
  payload: `sends the command "SendLetter" with an invalid payload`,
  deadlinePayload: `sets the deadline "Due" with an invalid payload`,
  deadline: `react to "Due"`,
  command: "SendLetter",
  evolve: ""
}

const hidden = ([where, says]: readonly [string, string]): Case<Stores> =>
  test(`withholds personal data that \`${where}\` of a process manager quotes`, function*() {
    const traces = Traces.make()
    const id = unique("p")
    let isWrong = true
    const process = processOf(where, () => isWrong)
    const { inputs, outputs } = ProcessManager.consumers(process)
    yield* Effect.gen(function*() {
      yield* apply(process, id)
      const parked = Effect.map(
        Effect.all([parkedKeys(inputs), parkedKeys(outputs)]),
        ([one, other]) => [...one, ...other]
      )
      if (where !== "evolve") {
        const [first] = yield* until("a parked event", parked, (all) => all.length > 0)
        includes(first!.error, says, "the error")
        const consumer = first!.generation.includes("outputs") ? outputs : inputs
        yield* Parking.inspect(consumer, first!.key)
        yield* Parking.retry(consumer, first!.key)
      } else {
        yield* Effect.exit(ProcessManager.inspect(process, id))
        yield* until("the log", Effect.sync(traces.text), (text) => text.includes("cannot be fired"))
      }
      isWrong = false
    }).pipe(
      Effect.provide(
        ProcessManager.layer([process], { deadlineInterval: "100 millis" }).pipe(
          Layer.fresh,
          Layer.provide(handlers(where === "command"))
        )
      ),
      Effect.provide(traces.layer)
    )
    requireNoSecret(traces.text(), "logs and spans")
    requireNoSecret(yield* Traces.stored, "what is stored")
  })

export const personal: ReadonlyArray<Case<Stores>> = [
  test("personal data of a process manager is encrypted everywhere, and erased", function*() {
    const traces = Traces.make()
    const id = unique("p")
    const process = processOf(undefined, () => false)
    const layer = ProcessManager.layer([process]).pipe(Layer.fresh, Layer.provide(handlers(false)))
    const inspected = Effect.map(ProcessManager.inspect(process, id), Option.getOrThrow)
    yield* Effect.gen(function*() {
      yield* apply(process, id)
      yield* until(
        "the letter",
        Effect.map(
          Effect.exit(ProcessManager.inspect(process, id)),
          (exit) => exit._tag === "Success" && Option.isSome(exit.value) ? exit.value.value.history.length : 0
        ),
        (count) => count >= 5
      )
      equal((yield* inspected).state.state.name, secret, "the name in the state")
      requireNoSecret(yield* Traces.stored, "what is stored")
      const { plaintext } = yield* Erasure.scan(id)
      equal(plaintext, [], "the plaintext")
      yield* Erasure.erase(id)
      const { history, state } = yield* inspected
      equal<unknown>(state.state.name, { _tag: "Erased", subject: id }, "the name after the erasure")
      const names = history.flatMap(({ event }) => {
        const content: unknown = Reflect.get(event, "command") ?? Reflect.get(event, "deadline")
        const payload: unknown = Reflect.get(Object(content), "payload") ?? event
        return Object(payload) === payload && "name" in Object(payload) ? [Reflect.get(Object(payload), "name")] : []
      })
      isAtLeast(names.length, 4, "the number of events with a name")
      equal(names.every(PersonalData.isErased), true, "the names in the history")
    }).pipe(Effect.provide(layer), Effect.provide(traces.layer))
    requireNoSecret(traces.text(), "logs and spans")
    requireNoSecret(yield* Traces.stored, "what is stored in the end")
  }),
  ...Object.entries(hints).map(hidden)
]
