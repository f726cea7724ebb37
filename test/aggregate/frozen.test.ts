/** States that a user's function changes in place, and errors that quote personal data. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Schema } from "effect"
import { Aggregate, Command, CommandBus, EventStore, KeyStore, PersonalData } from "evsrc"
import { deepFreeze } from "../../src/core/deepFreeze.ts"

const Add = Command.make("Add", { payload: { listId: Schema.String, item: Schema.String } })
const ListEvent = Schema.TaggedUnion({ Added: { listId: Schema.String, item: Schema.String } })

const List = Aggregate.make("List", {
  id: "listId",
  state: Schema.Struct({ items: Schema.Array(Schema.String) }),
  events: ListEvent,
  commands: [Add]
})

describe("a decider that changes its state", () => {
  const changing = List.decider({
    initial: { items: [] },
    evolve: { Added: ({ items }, { item }) => ({ items: [...items, item] }) },
    decide: {
      Add: ({ items }, command) => {
        ;(items as Array<string>).push("changed in place")
        return [{ _tag: "Added", ...command }]
      }
    }
  })

  it.effect("fails, names aggregate and command, and leaves the first state as it is", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(CommandBus.dispatch(Add, { listId: "1", item: "a" }))
      assert.include(
        Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "",
        `decide of "List" on "Add" changed the state`
      )
      assert.deepStrictEqual(changing.initial, { items: [] })
      assert.deepStrictEqual((yield* Aggregate.load(changing, "1")).state, { items: [] })
    }).pipe(Effect.provide(Aggregate.layer(changing)), Effect.provide(EventStore.layerMemory)))

  it("finds everything frozen but instances of classes, in cycles too", () => {
    const date = new Date(0)
    const state: { self?: unknown; at: Date; inner: Array<{ n: number }> } = { at: date, inner: [{ n: 1 }] }
    state.self = state
    deepFreeze(Object.freeze(state))
    assert.isTrue(Object.isFrozen(state.inner[0]) && Object.isFrozen(state.inner))
    assert.isFalse(Object.isFrozen(date))
  })
})

describe("a function that quotes personal data", () => {
  const PersonEvent = Schema.TaggedUnion({
    Named: { personId: Schema.String, name: PersonalData.field(Schema.String, { subject: "personId" }) }
  })
  const Name = Command.make("Name", { payload: { personId: Schema.String, name: Schema.String } })
  const Person = Aggregate.make("Person", {
    id: "personId",
    state: Schema.Struct({ named: Schema.Boolean }),
    events: PersonEvent,
    commands: [Name]
  })
  const secret = "Ada \"Countess\" Byron"
  const quoting = (where: "decide" | "evolve") =>
    Person.decider({
      initial: { named: false },
      evolve: {
        Named: (_, { name }) => {
          if (where === "evolve") throw new Error(`no ${String(name)}`, { cause: new Error(String(name)) })
          return { named: true }
        }
      },
      decide: {
        Name: (_, { name, personId }) => {
          if (where === "decide") throw new TypeError(`no ${name}`, { cause: name })
          return [{ _tag: "Named", name, personId }]
        }
      }
    })

  for (const where of ["decide", "evolve"] as const) {
    it.effect(`throws in ${where}, and its words are withheld`, () => {
      const decider = quoting(where)
      return Effect.gen(function*() {
        const dispatched = yield* Effect.exit(CommandBus.dispatch(Name, { personId: "1", name: secret }))
        const loaded = yield* Effect.exit(Aggregate.load(decider, "1"))
        const failed = where === "decide" ? Exit.asVoid(dispatched) : Exit.asVoid(loaded)
        assert.isTrue(Exit.isFailure(failed))
        const text = Exit.isFailure(failed) ? Cause.pretty(failed.cause) : ""
        assert.include(text, `${where} of "Person" on "Name${where === "decide" ? "" : "d"}" threw`)
        assert.notInclude(text, "Countess")
        assert.notInclude(text, "Byron")
      }).pipe(
        Effect.provide(Aggregate.layer(decider)),
        Effect.provide(EventStore.layerMemory),
        Effect.provide(KeyStore.layerMemoryWith({ maxAge: 0 }))
      )
    })
  }
})
