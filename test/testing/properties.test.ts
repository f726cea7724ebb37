/** The properties hold for correct code, and each fails for faulty code. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Option, Result, Schema, SchemaGetter } from "effect"
import { Aggregate, Command, Event } from "evsrc"
import { type Case, DeciderProperties, EventProperties } from "evsrc/testing"
import * as Bank from "../../examples/bank-account.ts"
import { CourseEvent } from "../../examples/courses.ts"
import { UserAggregate } from "../../examples/users/contract/UserAggregate.ts"
import { UserEvent } from "../../examples/users/contract/UserEvent.ts"
import { UserDecider } from "../../examples/users/UserDecider.ts"

const balance = Schema.UndefinedOr(Schema.Int)

describe("the examples", () => {
  const properties = [
    ...EventProperties.all(UserEvent),
    ...EventProperties.all(Bank.AccountEvent),
    ...EventProperties.all(CourseEvent),
    ...DeciderProperties.all(UserDecider, { state: UserAggregate.state }),
    ...DeciderProperties.all(Bank.Account, { state: balance })
  ]
  for (const { name, test } of properties) it.effect(name, () => test)
})

/** Returns the name of each property and its failure. */
const outcomes = (properties: ReadonlyArray<Case<never>>) =>
  Effect.forEach(properties, ({ name, test }) =>
    Effect.map(Effect.scoped(Effect.result(test)), (result) => ({
      name,
      failure: Result.isFailure(result) ? String(result.failure) : undefined
    })))

const onlyFails = (properties: ReadonlyArray<Case<never>>, part: string, reasons: ReadonlyArray<string | RegExp>) =>
  Effect.gen(function*() {
    const failed = (yield* outcomes(properties)).filter(({ failure }) => failure !== undefined)
    assert.deepEqual(failed.map(({ name }) => name.includes(part)), [true], failed.map(({ name }) => name).join())
    // Every failure has a replay.
    for (const reason of [...reasons, "Replay: "]) {
      const failure = failed[0]?.failure ?? ""
      if (typeof reason === "string") assert.include(failure, reason)
      else assert.match(failure, reason)
    }
  })

const state = Schema.Struct({ count: Schema.Int })
const Added = Schema.TaggedUnion({ Added: { id: Schema.String, n: Schema.Int }, Cleared: { id: Schema.String } })
const Add = Command.make("Add", { payload: { id: Schema.String, n: Schema.Int } })
const Clear = Command.make("Clear", { payload: { id: Schema.String } })

type State = typeof state.Type

const counter = (wrong: {
  readonly add?: (state: State, n: number) => State
  readonly added?: (n: number) => number
  readonly schema?: Schema.Codec<State, unknown>
  readonly replay?: string
}) => {
  const contract = Aggregate.make("Counter", { id: "id", state, events: Added, commands: [Add, Clear] })
  const right = contract.decider({
    initial: { count: 0 },
    evolve: {
      Added: wrong.add === undefined ? (s, e) => ({ count: s.count + e.n }) : (s, e) => wrong.add!(s, e.n),
      Cleared: () => ({ count: 0 })
    },
    decide: {
      Add: (_, { id, n }) => [{ _tag: "Added", id, n: wrong.added?.(n) ?? n }],
      Clear: (s, c) => s.count === 0 ? [] : [Added.cases.Cleared.make(c)]
    }
  })
  return DeciderProperties.all(right, { state: wrong.schema ?? state, seed: 1, replay: wrong.replay })
}

describe("a property of deciders", () => {
  it.effect("holds for a correct decider", () =>
    Effect.gen(function*() {
      assert.deepEqual((yield* outcomes(counter({}))).map(({ failure }) => failure), [undefined, undefined, undefined])
    }))

  const rejects = "decides only events that its evolve accepts"
  it.effect("fails for an event that breaks its own Schema", () =>
    onlyFails(counter({ added: (n) => n + 0.5 }), rejects, ["which does not satisfy its Schema", "Added"]))

  it.effect("fails for an event on which evolve throws", () =>
    onlyFails(
      counter({
        add: (s, n) => {
          if (n > 3) throw new Error("too much")
          return { count: s.count + n }
        }
      }),
      rejects,
      ["on which evolve throws: Error: too much"]
    ))

  it.effect("fails for an event that leads to an invalid state", () =>
    onlyFails(counter({ add: (s, n) => ({ count: s.count + n / 2 }) }), rejects, [
      "after which the state does not satisfy its Schema"
    ]))

  it.effect("fails for a decide that throws", () =>
    onlyFails(
      counter({
        added: (n) => {
          if (n < 0) throw new Error("not that")
          return n
        }
      }),
      rejects,
      ["decide throws: Error: not that"]
    ))

  it.effect("fails for a state that changes when it is stored", () => {
    // The encoding drops the sign.
    const schema: Schema.Codec<State, unknown> = Schema.Struct({
      count: Schema.Int.pipe(Schema.decodeTo(Schema.Int, {
        decode: SchemaGetter.passthrough(),
        encode: SchemaGetter.transform(Math.abs)
      }))
    })
    return onlyFails(counter({ schema }), "a stored state", ["events and the events after it lead to"])
  })

  it.effect("shows the part of a state that its Schema omits", () =>
    onlyFails(
      // An object with a key more is a state to the compiler.
      counter({ add: (s, n) => Object.assign({}, { count: s.count + n }, { last: "x" }) }),
      "a stored state",
      [
        /events and the events after it lead to {"count":-?\d+} instead of {"count":-?\d+,"last":"x"}\. /,
        /Both are encoded as {"count":-?\d+}: the Schema omits a part of the state/
      ]
    ))

  it.effect("shows encodings of states that print equally", () =>
    Effect.gen(function*() {
      // Instances print equally, and two with the same value are not equal.
      class Secret {
        readonly n: () => number
        constructor(n: number) {
          this.n = () => n
        }
        toString() {
          return "secret"
        }
      }
      const hidden = (encoded: (n: number) => number) => {
        const state = Schema.Struct({ secret: Schema.declare((u): u is Secret => u instanceof Secret) }).pipe(
          Schema.encodeTo(Schema.Struct({ n: Schema.Int }), {
            decode: SchemaGetter.transform(({ n }) => ({ secret: new Secret(n) })),
            encode: SchemaGetter.transform(({ secret }) => ({ n: encoded(secret.n()) }))
          })
        )
        const decider = Aggregate.make("Counter", { id: "id", state, events: Added, commands: [Add] }).decider({
          initial: { secret: new Secret(0) },
          evolve: { Added: ({ secret }) => ({ secret: new Secret(secret.n() + 1) }), Cleared: (s) => s },
          decide: { Add: (_, { id, n }) => [{ _tag: "Added", id, n }] }
        })
        return Effect.map(outcomes(DeciderProperties.all(decider, { state, seed: 1 })), (all) => all[1]?.failure)
      }
      assert.include(yield* hidden((n) => n + 1), `lead to a state encoded as {"n":2} instead of {"n":1}`)
      const alike = yield* hidden((n) => n)
      assert.match(alike ?? "", /that prints equally: .*secret.*\. A part of it cannot be compared/)
    }))

  it.effect("fails for an evolve that uses hidden state", () => {
    let calls = 0
    return Effect.gen(function*() {
      const properties = counter({ add: (s, n) => ({ count: s.count + n + (++calls % 7 === 0 ? 1 : 0) }) })
      const failed = (yield* outcomes(properties)).filter(({ failure }) => failure !== undefined)
      assert.deepEqual(failed.map(({ name }) => name.includes("stored state") || name.includes("in batches")), [
        true,
        true
      ])
    })
  })

  it.effect("fails for an evolve that mutates its argument", () => {
    const properties = counter({
      add: (s, n) => {
        Object.assign(s, { count: s.count + n })
        return s
      }
    })
    return Effect.gen(function*() {
      const failures = (yield* outcomes(properties)).flatMap(({ failure }) => failure === undefined ? [] : [failure])
      assert.isTrue(failures.length > 0)
      // States are frozen outside production.
      for (const failure of failures) assert.include(failure, "changed a value that it was given")
    })
  })
})

describe("a property of deciders whose commands lead to few events", () => {
  const contract = Aggregate.make("Counter", { id: "id", state, events: Added, commands: [Add] })
  /** Decides an event only for 7. */
  const lucky = contract.decider({
    initial: { count: 0 },
    evolve: { Added: (s, e) => ({ count: s.count + e.n }), Cleared: () => ({ count: 0 }) },
    decide: { Add: (_, { id, n }) => n === 7 ? [{ _tag: "Added", id, n }] : [] }
  })
  const seven = { Add: Arbitrary.schema(Schema.Struct({ id: Schema.String, n: Schema.Literal(7) })) }
  const failures = (options: Partial<DeciderProperties.Options<State, typeof Add>>) =>
    Effect.map(
      outcomes(DeciderProperties.all(lucky, { state, seed: 1, ...options })),
      (all) => all.map(({ failure }) => failure)
    )

  it.effect("fails with the number of histories with events and the remedy", () =>
    Effect.gen(function*() {
      const all = yield* failures({})
      assert.strictEqual(all.length, 3)
      for (const failure of all) {
        assert.match(failure ?? "", /Too few of the generated histories contain events.*give generators/)
        assert.match(failure ?? "", /at least 20 of 100 histories with events/)
      }
    }))

  it.effect("holds with a generator of payloads, and with a lower minimum", () =>
    Effect.gen(function*() {
      const holds = [undefined, undefined, undefined]
      assert.deepStrictEqual(yield* failures({ commands: seven }), holds)
      assert.deepStrictEqual(yield* failures({ minHistoriesWithEvents: 0 }), holds)
    }))

  it.effect("requires a fifth of the runs", () =>
    Effect.gen(function*() {
      const [failure] = yield* failures({ runs: 30 })
      assert.include(failure, "at least 6 of 30 histories with events")
    }))
})

describe("a property of deciders, of commands", () => {
  it.effect("sends all commands to one instance, with given payloads", () =>
    Effect.gen(function*() {
      const ids: Array<string> = []
      const amounts = new Set<number>()
      let several = false
      const contract = Aggregate.make("Counter", { id: "id", state, events: Added, commands: [Add, Clear] })
      const decider = contract.decider({
        initial: { count: 0 },
        evolve: { Added: (s) => ({ count: s.count + 1 }), Cleared: (s) => s },
        decide: {
          Add: (s, { id, n }) => {
            if (s.count === 0) ids.length = 0
            ids.push(id)
            amounts.add(n)
            several ||= s.count > 3
            assert.strictEqual(new Set(ids).size, 1)
            return [{ _tag: "Added", id, n }]
          },
          Clear: () => []
        }
      })
      const one = Arbitrary.map(Arbitrary.schema(Schema.String), (id) => ({ id, n: 7 }))
      const [first] = DeciderProperties.all(decider, { state, commands: { Add: one } })
      yield* Effect.scoped(first!.test)
      assert.deepEqual([...amounts], [7])
      assert.isTrue(several)
    }))
})

describe("a property of events", () => {
  const Lossy = Schema.Struct({
    _tag: Schema.tag("Lossy"),
    text: Schema.String.pipe(Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transform((text) => text.trim()),
      encode: SchemaGetter.passthrough()
    }))
  })

  it.effect("fails for an event that decodes to another", () =>
    onlyFails(EventProperties.all(Schema.Union([Lossy]).pipe(Schema.toTaggedUnion("_tag"))), "Lossy: equals itself", [
      "would be read back as another value"
    ]))

  const User = Schema.TaggedUnion({ Registered: { name: Schema.NonEmptyString } })

  it.effect("fails for an upcaster that fails for valid old payloads", () =>
    onlyFails(
      EventProperties.all(User.pipe(Event.upcasters({
        Registered: Event.from({ fullName: Schema.String }).toCurrent(({ fullName }) => ({ name: fullName }))
      }))),
      "Registered: every payload of version 1",
      [`made no valid "Registered"`, "fullName", "expected: Registered: every payload of version 1"]
    ))

  it.effect("fails for upcasters that return no event or throw", () =>
    Effect.gen(function*() {
      const properties = EventProperties.all(User.pipe(Event.legacy({
        SignedUp: Event.from({ name: Schema.String })
          .renamedTo("Registered", ({ name }) => ({ name })),
        Came: Event.from({ at: Schema.Option(Schema.Int) })
          .renamedTo("Registered", ({ at }) => ({ name: `${Option.getOrThrow(at)}` }))
      })))
      const all = yield* outcomes(properties)
      assert.deepEqual(all.map(({ failure }) => failure !== undefined), [false, true, true])
      assert.include(all[2]!.failure, "threw")
    }))
})

describe("a replay", () => {
  const User = Schema.TaggedUnion({ Registered: { name: Schema.NonEmptyString } })
  const upcast = (name: (fullName: string) => string) =>
    User.pipe(Event.upcasters({
      Registered: Event.from({ fullName: Schema.String }).toCurrent(({ fullName }) => ({ name: name(fullName) }))
    }))
  const broken = upcast((fullName) => fullName)
  const replayOf = (failure: string | undefined) => /^Replay: (.*)$/m.exec(failure ?? "")?.[1] ?? ""

  it.effect("repeats one property with its input, and checks the others as usual", () =>
    Effect.gen(function*() {
      const first = yield* outcomes(EventProperties.all(broken))
      const replay = replayOf(first[0]?.failure)
      assert.isTrue(replay.startsWith("Registered: every payload of version 1"))
      const again = yield* outcomes(EventProperties.all(broken, { replay }))
      assert.deepEqual(again.map(({ failure }) => failure !== undefined), [true, false])
      assert.strictEqual(replayOf(again[0]?.failure), replay)
      assert.include(again[0]?.failure, "after 1 runs")
      const fixed = yield* outcomes(EventProperties.all(upcast((fullName) => fullName || "?"), { replay }))
      assert.include(fixed[0]?.failure, "no longer occurs (PropertyPassed); remove the option")
      assert.isUndefined(fixed[1]?.failure)
      const deciders = yield* outcomes(counter({ added: (n) => n + 0.5 }))
      const ours = replayOf(deciders[0]?.failure)
      assert.isTrue(ours.startsWith("Counter: decides only events"))
      assert.deepEqual(
        (yield* outcomes(counter({ added: (n) => n + 0.5, replay: ours }))).map(({ failure }) => replayOf(failure)),
        [ours, "", ""]
      )
    }))

  it("is rejected if it belongs to no property, with their names", () => {
    for (const replay of ["[0,\"1\",1,1,[],0]", "Other: equals itself [0]", "Registered", ""]) {
      assert.throws(
        () => EventProperties.all(broken, { replay }),
        /belongs to none of these properties.*\n.*\n- Registered: every payload of version 1/
      )
    }
  })
})
