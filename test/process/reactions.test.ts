/** What the error of a wrong reaction says: the process manager, the input, what is wrong with it, and what is allowed. */
import { assert, describe, it } from "@effect/vitest"
import { type DateTime, Duration, Effect } from "effect"
import { ProcessManager } from "evsrc"
import { ProcessSpec } from "evsrc/testing"
import { begun, Do, NotDone, probe, ProbeEvent, type Reactions, took } from "./Probe.ts"

/** Returns the message of the error of a step. */
const errorOf = (step: () => unknown): string => {
  try {
    step()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return "no error"
}

/** Runs a reaction that the compiler would reject. */
const reactWith = (reaction: () => unknown) => {
  const Begun = reaction as Reactions["Begun"]
  return errorOf(() => ProcessSpec.given(probe("probe", { Begun }), [begun("i")]))
}

const due = (after: unknown) => [
  ProcessManager.deadline("Due", { what: "due" }, { after: after as "1 day" })
]

describe("a reaction that returns no array of events and actions fails, and the error names", () => {
  const cases: Readonly<Record<string, readonly [() => unknown, string]>> = {
    undefined: [() => undefined, "returned undefined;"],
    null: [() => null, "returned null;"],
    "an event": [() => took("begun"), `returned the event "Took", which is in no array;`],
    "an action": [() => ProcessManager.complete, "returned an action that is in no array;"],
    "a promise": [() => Promise.resolve([]), "returned a Promise; a reaction is not asynchronous;"],
    "a promise that is rejected": [
      () => Promise.reject(new Error("secret")),
      "returned a Promise; a reaction is not asynchronous;"
    ],
    "an effect": [() => Effect.succeed([]), "returned an Effect; a reaction is a pure function;"],
    "a text": [() => "secret", "returned a string;"],
    "a part that is undefined": [() => [took("a"), undefined], "returned an array with undefined at index 1;"],
    "a part that is an array": [() => [[took("a")]], "returned an array with an array at index 0;"],
    "an object": [() => [{ secret: 1 }], "an array with an object that is neither an event nor an action at index 0;"]
  }
  for (const [what, [reaction, says]] of Object.entries(cases)) {
    it(what, () => {
      const message = reactWith(reaction)
      assert.include(
        message,
        `react to "Begun" of the process manager "probe" ${says.startsWith("an ") ? "returned " : ""}${says}`
      )
      assert.include(
        message,
        "return an array of own events and actions, such as [ProcessManager.complete], or [] for none"
      )
      assert.notInclude(message, "secret")
    })
  }

  it("the command of a rejection", () => {
    const process = probe("probe", {
      Begun: () => [ProcessManager.send(Do, { id: "i", what: "go" })],
      refused: (() => undefined) as never
    })
    const sent = ProcessSpec.given(process, [begun("i")])
    assert.include(
      errorOf(() => sent.whenRejected(Do, new NotDone({ what: "go" }))),
      `refused for "Do" of the process manager "probe" returned undefined`
    )
  })
})

describe("the error of a reaction with an invalid value names it, the field and what is allowed", () => {
  const what = "a text that has more than 30 characters"
  const says = "Expected a value with a length of at most 30\n  at [\"what\"]"
  const cases: Readonly<Record<string, readonly [() => unknown, string]>> = {
    "an event by `make`": [
      () => [ProbeEvent.cases.Took.make({ what })],
      `react to "Begun" of "probe" threw: "Took" does not satisfy its Schema: ${says}`
    ],
    "a plain event": [() => [took(what)], `event "Took": ${says}`],
    "a command": [
      () => [ProcessManager.send(Do, { id: "i", what })],
      `a reaction of the process manager "probe" sends the command "Do" with an invalid payload: ${says}`
    ],
    "a payload of a command by `make`": [
      () => [ProcessManager.send(Do, Do.payloadSchema.make({ id: "i", what }))],
      `react to "Begun" of "probe" threw: a value does not satisfy its Schema: ${says}`
    ],
    "a deadline": [
      () => [ProcessManager.deadline("Due", { what }, { after: "1 day" })],
      `sets the deadline "Due" with an invalid payload: ${says}`
    ]
  }
  for (const [name, [reaction, message]] of Object.entries(cases)) {
    it(name, () => {
      assert.include(reactWith(reaction), message)
    })
  }
})

describe("a deadline", () => {
  it("is due at once after a negative time", () => {
    const set = ProcessSpec.given(probe("probe", { Begun: () => due("-1 day") as never }), [begun("i")])
    set.thenDeadlines({ Due: "-1 day" }).after("0 millis").thenEvents([took("due")]).thenDeadlines({})
  })

  const at = (at: Date | DateTime.DateTime) => [ProcessManager.deadline("Due", { what: "due" }, { at })]
  const invalid: Readonly<Record<string, readonly [() => unknown, string]>> = {
    "a text that is no duration": [
      () => due("tomorrow"),
      `sets the deadline "Due" \`after\` a time that is no duration`
    ],
    "not a number": [() => due(Number.NaN), `sets the deadline "Due" \`after\` a time that is no duration`],
    "an invalid date": [() => at(new Date(Number.NaN)), `sets the deadline "Due" \`at\` an invalid date`],
    "an endless time": [
      () => due(Duration.infinity),
      `sets the deadline "Due" to an instant outside of the years 1 to 9999`
    ]
  }
  for (const [what, [reaction, says]] of Object.entries(invalid)) {
    it(`cannot be set to ${what}`, () => {
      assert.include(reactWith(reaction), `a reaction of the process manager "probe" ${says}`)
    })
  }
})

describe("the time of a specification", () => {
  it("does not go back", () => {
    const message = errorOf(() => ProcessSpec.given(probe("probe"), [begun("i")]).after("-1 day"))
    assert.include(message, "cannot go back by 1d; give a duration of zero or more")
  })
})
