import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { DecisionSpec, SpecFailed } from "evsrc/testing"
import { reserveSeat, SeatEvent, TooMany } from "../support/Theatre.ts"

const planned = SeatEvent.cases.ShowPlanned.make({ show: "hamlet", seats: 9 })
const reserved = (guest: string, show = "hamlet") => SeatEvent.cases.SeatReserved.make({ show, guest })
const ann = { show: "hamlet", guest: "ann" }

const failureOf = (run: () => void) => {
  try {
    run()
  } catch (error) {
    if (error instanceof SpecFailed) return error.message.split("\n")[0]
  }
  return undefined
}

describe("DecisionSpec", () => {
  it("folds the given events that each model selects", () => {
    const outcome = DecisionSpec.given(reserveSeat, [planned, reserved("ann", "faust"), reserved("bob")]).when(ann)
    outcome.thenStates({ free: 8, taken: 1 })
    outcome.thenStream("Show-hamlet")
    assert.deepStrictEqual(outcome.thenEvents([reserved("ann")]), { free: 7, taken: 2 })
  })

  it("adds events of another set", () => {
    const Others = Schema.TaggedUnion({ SomethingElse: { n: Schema.Int } })
    DecisionSpec.given(reserveSeat, [planned]).and(Others, [{ _tag: "SomethingElse", n: 1 }]).and(SeatEvent, [
      reserved("ann"),
      reserved("ann", "lear")
    ]).when(ann).thenFails(new TooMany({ guest: "ann" }))
  })

  it("throws when an expectation does not hold", () => {
    const given = DecisionSpec.given(reserveSeat, [planned])
    assert.deepStrictEqual([
      failureOf(() => given.when(ann).thenNothing()),
      failureOf(() => given.when(ann).thenFails(new TooMany({ guest: "ann" }))),
      failureOf(() => given.when(ann).thenStates({ free: 1, taken: 0 })),
      failureOf(() => given.when(ann).thenStream("Show-lear")),
      failureOf(() => DecisionSpec.given(reserveSeat, []).when(ann).thenEvents([reserved("ann")]))
    ], [
      "the events differ from the expected ones",
      "the command did not fail, but an error was expected",
      "the states of the models differ from the expected ones",
      "the stream differs from the expected one",
      "the command failed, but events were expected"
    ])
  })
})
