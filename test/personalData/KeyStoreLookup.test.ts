import { assert, describe, it } from "@effect/vitest"
import { validate } from "../../src/personalData/KeyStoreLookup.ts"

const fieldOf = (subject: unknown) => ({ parent: {}, field: "name", subject })

describe("personal fields", () => {
  it("are rejected when any subject has no valid name", () => {
    assert.isUndefined(validate("{}", [fieldOf("ann"), fieldOf("bob")]))
    for (
      const fields of [[fieldOf("")], [fieldOf("ann"), fieldOf("")], [fieldOf("ann"), fieldOf(7), fieldOf("bob")]]
    ) {
      assert.match(String(validate("{}", fields)), /^the subject of the personal field "name"/)
    }
  })
})
