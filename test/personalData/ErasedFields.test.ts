import { assert, describe, it } from "@effect/vitest"
import { Option, Schema } from "effect"
import { PersonalData } from "evsrc"
import { erasedIn } from "../../src/personalData/ErasedFields.ts"

const id = Schema.String
const name = PersonalData.field(Schema.String, { subject: "id" })
const Person = Schema.Struct({ id, name })
class PersonClass extends Schema.Class<PersonClass>("PersonClass")({ id, name }) {}
interface Tree {
  readonly id: string
  readonly name: string | PersonalData.Erased
  readonly children: ReadonlyArray<Tree>
}
const Tree = Schema.Struct({
  id,
  name,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree, unknown> => Tree))
})

const erased = PersonalData.Erased.make({ subject: "ann" })
const ann = { id: "ann", name: erased }
const bob = { id: "bob", name: "Bob" }

const schemas = {
  "a struct": [Person, ann],
  "a class": [PersonClass, new PersonClass(ann)],
  "an optional field": [Schema.Struct({ id, name: Schema.optionalKey(name) }), ann],
  "a nullable field": [Schema.Struct({ id, name: Schema.NullOr(name) }), ann],
  "an array": [Schema.Array(Person), [bob, ann]],
  "a tuple": [Schema.Tuple([Schema.Int, Person]), [1, ann]],
  "a record": [Schema.Record(Schema.String, Person), { bob, ann }],
  "an option": [Schema.Option(Person), Option.some(ann)],
  "a map": [Schema.ReadonlyMap(Schema.String, Person), new Map([["ann", ann]])],
  "a union": [Schema.Union([Schema.Struct({ kind: Schema.Literal("none") }), Person]), ann],
  "a recursive struct": [Tree, { ...bob, children: [{ ...ann, children: [] }] }]
} satisfies Record<string, readonly [Schema.Top, unknown]>

describe("the erased fields of a payload", () => {
  for (const [what, [schema, value]] of Object.entries(schemas)) {
    it(`are found in ${what}`, () => {
      assert.deepStrictEqual(erasedIn(schema, value).map(({ field, subject }) => [field, subject]), [["name", "ann"]])
    })
  }

  it("belong to their own subject or to another", () => {
    const owners = ["ann", "bob"].map((id) => erasedIn(Person, { id, name: erased })[0]?.isOwn)
    assert.deepStrictEqual(owners, [true, false])
  })

  it("are none without annotation, and none in a field without it", () => {
    assert.deepStrictEqual(erasedIn(Schema.Struct({ id, name: Schema.Json }), ann), [])
    assert.deepStrictEqual(erasedIn(Schema.Struct({ id, name, more: Schema.Json }), { ...bob, more: erased }), [])
  })
})
