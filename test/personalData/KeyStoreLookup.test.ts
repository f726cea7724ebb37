import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { rejectSubjects } from "../../src/personalData/KeyStoreLookup.ts"

const fieldOf = (subject: unknown) => ({ parent: {}, field: "name", subject })

describe("the subjects of personal fields", () => {
  it.effect("are rejected when any of them has no valid name", () =>
    Effect.gen(function*() {
      yield* rejectSubjects("event \"Moved\"", [fieldOf("ann"), fieldOf("bob")])
      for (
        const fields of [[fieldOf("")], [fieldOf("ann"), fieldOf("")], [fieldOf("ann"), fieldOf(7), fieldOf("bob")]]
      ) {
        const error = yield* Effect.flip(rejectSubjects("event \"Moved\"", fields))
        assert.match(error.message, /event "Moved": the subject of the personal field "name"/)
      }
    }))
})
