/** The errors for values that a user's function makes and a Schema rejects. Each names the value, the field and what is allowed. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Schema } from "effect"
import { Aggregate, Command, Decision, PersonalData, Position, Projection, StreamId, Version } from "evsrc"
import * as HandlerError from "../../src/consumer/HandlerError.ts"
import * as SchemaIssues from "../../src/core/schemaIssues.ts"

/** Returns what a function throws. */
const thrownBy = (run: () => unknown): unknown => {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}

const messageOf = (run: () => unknown): unknown => {
  const thrown = thrownBy(run)
  return thrown instanceof Error ? thrown.message : thrown
}

const secret = "ann@example.org"
const Title = Schema.String.check(Schema.isMaxLength(5))
const fields = { id: Schema.String, title: Title }
const personal = { id: Schema.String, title: PersonalData.field(Title, { subject: "id" }) }

const definitionsWith = (fields: { readonly id: typeof Schema.String; readonly title: Schema.Codec<string> }) => {
  const Noted = Schema.TaggedUnion({ Noted: fields })
  const State = Schema.Struct(fields)
  const Note = Command.make("Note", { payload: fields })
  const make = () => [Noted.cases.Noted.make({ id: "1", title: secret })]
  const decider = Aggregate.make("Notes", { id: "id", state: State, events: Noted, commands: [Note] }).decider({
    initial: { id: "", title: "" },
    evolve: { Noted: () => State.make({ id: "1", title: secret }) },
    decide: { Note: make }
  })
  const models = {}
  const decision = Decision.make(Note, { events: Noted, models: () => models, decide: make })
  const projection = Projection.make("notes", {
    events: Noted,
    document: State,
    key: ({ id }) => id,
    evolve: { Noted: () => State.make({ id: "1", title: secret }) }
  })
  return { Noted, decider, decision, projection }
}

const command = { id: "1", title: "a" }
const event = { _tag: "Noted" as const, ...command }

describe("the error of a function that makes an invalid value names it, the field and what is allowed", () => {
  const says = `threw: "Noted" does not satisfy its Schema: Expected a value with a length of at most 5\n  at ["title"]`
  const ofState =
    "threw: a value does not satisfy its Schema: Expected a value with a length of at most 5\n  at [\"title\"]"
  for (const [what, given] of [["", fields], [", with personal data", personal]] as const) {
    const { Noted, decider, decision, projection } = definitionsWith(given as typeof fields)
    it(`decide of an aggregate${what}`, () => {
      const message = messageOf(() => decider.decide.Note(decider.initial, command, {}))
      assert.strictEqual(message, `decide of "Notes" on "Note" ${says}`)
    })

    it(`evolve of an aggregate${what}`, () => {
      const message = messageOf(() => decider.evolve(decider.initial, event))
      assert.strictEqual(message, `evolve of "Notes" on "Noted" ${ofState}`)
    })

    it(`decide of a decision${what}`, () => {
      decision.models(command)
      assert.strictEqual(messageOf(() => decision.decide({}, command)), `decide of "Note" ${says}`)
    })

    it(`evolve of a projection${what}`, () => {
      const recorded = { event, recordedAt: undefined } as never
      assert.strictEqual(
        messageOf(() => projection.evolve(undefined, recorded, "1")),
        `evolve of projection "notes" on "Noted" ${ofState}`
      )
    })

    it(`the handler of a subscription${what}`, () => {
      const recorded = {
        id: "1",
        type: "Noted",
        position: Position.Position.make(1n),
        stream: StreamId.StreamId.make("notes-1"),
        version: Version.Version.make(1),
        data: { id: "1", title: "a" },
        metadata: {}
      } as never
      const consumer = { id: "mails@1", kind: "subscription", parks: [], events: Noted } as const
      const thrown = Cause.die(thrownBy(() => Noted.cases.Noted.make({ id: "1", title: secret })))
      assert.include(
        HandlerError.of(consumer, recorded, thrown).message,
        `"Noted" does not satisfy its Schema: Expected`
      )
    })
  }
})

describe("the safe words of a Schema that a function uses", () => {
  const Known = Schema.Struct({ title: Title, labels: Schema.Record(Schema.String, Schema.Int) })
  const definitions = SchemaIssues.definitionsOf([Known, "no Schema"])
  const safe = (run: () => unknown) => SchemaIssues.inThrown(thrownBy(run), definitions)?.safeMessage

  it("name the fields of a definition, and no keys of records", () => {
    const message = safe(() => Known.make({ title: "a", labels: { [secret]: 1.5 } }))
    assert.strictEqual(message, "a value does not satisfy its Schema: Expected an integer\n  at [\"labels\"][\"*\"]")
  })

  it("are withheld for a Schema that a function makes of its values", () => {
    const made = () => Schema.Literal(secret).make("bob@example.org" as never)
    assert.strictEqual(safe(made), undefined)
    assert.include(SchemaIssues.inThrown(thrownBy(made), definitions)?.message, secret)
  })

  it("are withheld where a parse reports its input", () => {
    const decode = () => Schema.decodeUnknownSync(Known, { reportInput: true })({ title: "a", labels: { a: secret } })
    assert.strictEqual(
      safe(decode),
      "a value does not satisfy its Schema: the words are withheld, because the parse reports its input"
    )
  })

  it("are none for an error of another kind", () => {
    assert.strictEqual(SchemaIssues.inThrown(new Error("Schema validation failed"), definitions), undefined)
    assert.strictEqual(SchemaIssues.inThrown("text"), undefined)
  })
})
