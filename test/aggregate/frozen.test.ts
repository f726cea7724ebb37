/** States that a user's function changes in place, and errors that quote personal data. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Chunk, Effect, Exit, HashMap, Schema } from "effect"
import { Aggregate, Command, CommandBus, EventStore, KeyStore, PersonalData, Projection, ProjectionStore } from "evsrc"
import { execFileSync } from "node:child_process"
import * as Url from "node:url"
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
        `decide of "List" on "Add" changed a value`
      )
      assert.deepStrictEqual(changing.initial, { items: [] })
      assert.deepStrictEqual((yield* Aggregate.load(changing, "1")).state, { items: [] })
    }).pipe(Effect.provide(Aggregate.layer(changing)), Effect.provide(EventStore.layerMemory)))

  it.effect("fails when it changes the command, which is decided again after a conflict", () =>
    Effect.gen(function*() {
      const names = Schema.mutable(Schema.Array(Schema.String))
      const AddAll = Command.make("AddAll", { payload: { listId: Schema.String, names } })
      const decider = Aggregate.make("Names", { id: "listId", state: names, events: ListEvent, commands: [AddAll] })
        .decider({
          initial: [],
          evolve: { Added: (items, { item }) => [...items, item] },
          decide: {
            AddAll: (_, command) => {
              command.names.push("changed in place")
              return command.names.map((item) => ListEvent.cases.Added.make({ listId: command.listId, item }))
            }
          }
        })
      const exit = yield* CommandBus.dispatch(AddAll, { listId: "1", names: ["a"] }).pipe(
        Effect.provide(Aggregate.layer(decider)),
        Effect.exit
      )
      assert.include(
        Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "",
        `decide of "Names" on "AddAll" changed a value`
      )
      assert.strictEqual(yield* EventStore.head, 0n)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it("finds plain objects, arrays and instances of Schema.Class frozen, in cycles too", () => {
    class Point extends Schema.Class<Point>("Point")({ at: Schema.Struct({ x: Schema.Int }) }) {}
    const state: { self?: unknown; inner: Array<{ n: number }>; point: Point } = {
      inner: [{ n: 1 }],
      point: new Point({ at: { x: 1 } })
    }
    state.self = state
    deepFreeze(Object.freeze(state))
    assert.isTrue(Object.isFrozen(state.inner[0]) && Object.isFrozen(state.inner))
    assert.isTrue(Object.isFrozen(state.point) && Object.isFrozen(state.point.at))
  })

  it("finds maps, sets and dates read-only, and copies of them not", () => {
    const state = deepFreeze({ map: new Map([["a", { n: 1 }]]), set: new Set([{ n: 1 }]), at: new Date(0) })
    const changes = [
      () => state.map.set("b", { n: 2 }),
      () => state.map.delete("a"),
      () => state.map.clear(),
      () => state.set.add({ n: 2 }),
      () => state.set.clear(),
      () => state.at.setTime(1),
      () => state.at.setUTCFullYear(1)
    ]
    for (const change of changes) assert.throws(change, /is read-only/)
    assert.isTrue(Object.isFrozen(state.map.get("a")) && Object.isFrozen(Array.from(state.set)[0]))
    const copy = new Map(state.map).set("b", { n: 2 })
    assert.deepStrictEqual([copy.size, state.map.size, state.set.size, state.at.getTime()], [2, 1, 1, 0])
    assert.deepStrictEqual(state.map, new Map([["a", { n: 1 }]]))
  })

  it("leaves instances of other classes as they are", () => {
    class Counter {
      n = 0
    }
    const state = deepFreeze({ counter: new Counter(), chunk: Chunk.make(1, 2), hash: HashMap.make(["a", 1]) })
    state.counter.n = 1
    assert.isFalse(Object.isFrozen(state.counter) || Object.isFrozen(state.chunk) || Object.isFrozen(state.hash))
  })

  const isFrozen = (setup: string, env: string | undefined) =>
    execFileSync(process.execPath, [
      "--conditions=@evsrc/source",
      "--input-type=module",
      "-e",
      `const log = console.log; ${setup}
       const { freezeOutsideProduction } = await import(${
        JSON.stringify(import.meta.resolve("../../src/core/deepFreeze.ts"))
      })
       log(Object.isFrozen(freezeOutsideProduction({})))`
    ], { env: { ...process.env, NODE_ENV: env }, encoding: "utf8" }).trim()

  it("freezes unless NODE_ENV is production, also where there is no `process`", () => {
    assert.strictEqual(isFrozen("", undefined), "true")
    assert.strictEqual(isFrozen("", "production"), "false")
    assert.strictEqual(isFrozen("delete globalThis.process", "production"), "true")
    assert.strictEqual(isFrozen("globalThis.process = {}", "production"), "true")
  })

  it("fail in production too when they change what others share, and change nothing", () => {
    const output = execFileSync(process.execPath, [
      "--conditions=@evsrc/source",
      Url.fileURLToPath(import.meta.resolve("./changing.ts"))
    ], { env: { ...process.env, NODE_ENV: "production" }, encoding: "utf8", timeout: 60_000 })
    const { document, load, ...results } = JSON.parse(output.trim().split("\n").at(-1)!)
    const changed = (what: string) =>
      `Error: ${what} changed a value that it was given, which other calls use too; return a new value instead`
    assert.include(document, `evolve of projection "lists" on "Added" changed a value`)
    assert.include(load, "TypeError: Cannot add property")
    assert.deepStrictEqual(results, {
      decide: changed(`decide of "List" on "Add"`),
      evolve: changed(`evolve of "List" on "Added"`),
      payload: changed(`decide of "List" on "AddAll"`),
      model: changed(`decide of "Count"`),
      events: ["a", "c"],
      state: ["a", "c"],
      snapshot: `{"items":["a","c"]}`,
      parked: { items: ["a", "x", "evolve", "c", "d"] }
    })
  })

  it.effect("fails a projection that changes its document, and names it", () =>
    Effect.gen(function*() {
      const Lists = Projection.make("lists", {
        events: ListEvent,
        document: Schema.Struct({ items: Schema.Array(Schema.String) }),
        lifecycle: "live",
        key: ({ listId }) => listId,
        evolve: {
          Added: (list, { item }) => {
            if (list === undefined) return { items: [item] }
            ;(list.items as Array<string>).push(item)
            return list
          }
        }
      })
      const store = yield* EventStore.EventStore
      const added = ListEvent.cases.Added.make({ listId: "1", item: "a" })
      yield* store.append(ListEvent, "List-1", [added, added])
      const error = yield* Effect.flip(ProjectionStore.get(Lists, "1"))
      assert.include(error.message, `evolve of projection "lists" on "Added" changed a value that it was given`)
    }).pipe(Effect.provide(ProjectionStore.layerMemory), Effect.provide(EventStore.layerMemory)))
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
