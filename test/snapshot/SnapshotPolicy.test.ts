import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Option, Result, Schema, SchemaTransformation } from "effect"
import { Aggregate, Command, Decider, Event, SnapshotPolicy } from "evsrc"
import * as StateSnapshots from "../../src/snapshot/StateSnapshots.ts"

const policy = SnapshotPolicy.every(10)
const cost = Duration.millis(20)

const State = Schema.Struct({ sum: Schema.Int })
const Events = Schema.TaggedUnion({ Added: { amount: Schema.Int }, Noted: { text: Schema.String } })
const Noted = { Noted: Event.from({ note: Schema.String }).toCurrent(({ note }) => ({ text: note })) }
const OtherNoted = { Noted: Event.from({ note: Schema.Trim }).toCurrent(({ note }) => ({ text: note })) }
const intoAdded = { Noted: Event.from({ note: Schema.String }).renamedTo("Added", () => ({ amount: 1 })) }
const put = Event.from({ amount: Schema.Int })

const made = (options: Partial<Parameters<typeof StateSnapshots.make<typeof State.Type>>[0]>) =>
  StateSnapshots.make({ policy, state: State, initial: { sum: 0 }, events: Events, evolveVersion: 1, ...options })

describe("a snapshot policy", () => {
  it("`every` is due when a load or an append passes a multiple", () => {
    const due = (from: number, to: number) => StateSnapshots.isDue(policy, from, to, undefined)
    assert.deepStrictEqual(
      [due(0, 9), due(0, 10), due(9, 10), due(10, 19), due(10, 20), due(19, 41), due(41, 41)],
      [false, true, true, false, true, true, false]
    )
    assert.isTrue(StateSnapshots.isDue(policy, 9, 11, Duration.zero))
  })

  it("`afterCost` is due when a load took as long and read events", () => {
    const after = SnapshotPolicy.afterCost(cost)
    assert.isTrue(StateSnapshots.isDue(after, 0, 1, cost))
    assert.isFalse(StateSnapshots.isDue(after, 0, 1, Duration.millis(19)))
    assert.isFalse(StateSnapshots.isDue(after, 1, 1, Duration.seconds(9)))
    assert.isFalse(StateSnapshots.isDue(after, 0, 1_000, undefined))
  })

  it("`never` is never due", () => {
    assert.isFalse(StateSnapshots.isDue(SnapshotPolicy.never, 0, 1_000_000, Duration.days(1)))
  })

  it("rejects an invalid number", () => {
    for (const events of [0, -1, 1.5, NaN, Infinity]) {
      assert.throws(() => SnapshotPolicy.every(events), /whole number from 1/)
    }
    for (const evolveVersion of [0, 1.5]) assert.throws(() => made({ evolveVersion }), /evolveVersion .* from 1, not/)
  })
})

describe("the fingerprint of a decider", () => {
  it("changes with everything that determines the state, and nothing else", () => {
    const prints = [
      made({}),
      made({ evolveVersion: 2 }),
      made({ initial: { sum: 1 } }),
      made({ state: Schema.Struct({ sum: Schema.Int.check(Schema.isGreaterThan(-1)) }) }),
      made({ events: Schema.TaggedUnion({ Added: { amount: Schema.Finite }, Noted: { text: Schema.String } }) }),
      made({ events: Schema.TaggedUnion({ Added: { amount: Schema.Int } }) }),
      made({ events: Schema.TaggedUnion({ Put: { amount: Schema.Int }, Noted: { text: Schema.String } }) }),
      made({ events: Events.pipe(Event.upcasters(Noted)) }),
      made({ events: Events.pipe(Event.upcasters(OtherNoted)) }),
      made({ events: Events.pipe(Event.upcasters(intoAdded)) }),
      made({ events: Events.pipe(Event.legacy({ Put: Event.retired })) }),
      made({ events: Events.pipe(Event.legacy({ Put: put.renamedTo("Added", (e) => e) })) }),
      made({ events: Events.pipe(Event.legacy({ Put: put.renamedTo("Noted", () => ({ text: "" })) })) })
    ].map(({ fingerprint }) => fingerprint)
    assert.strictEqual(new Set(prints).size, prints.length)
    const same = [
      made({ policy: SnapshotPolicy.afterCost(1) }),
      made({ state: State.annotate({ description: "a sum" }) }),
      made({ events: Schema.TaggedUnion({ Noted: { text: Schema.String }, Added: { amount: Schema.Int } }) })
    ]
    for (const { fingerprint } of same) assert.strictEqual(fingerprint, prints[0])
  })

  it("covers no function of a Schema: `evolveVersion` does, or another form of the first state", () => {
    const scaled = (factor: number, from: number, evolveVersion = 1) =>
      StateSnapshots.make({
        policy: SnapshotPolicy.never,
        state: Schema.Struct({
          sum: Schema.Finite.pipe(Schema.decodeTo(
            Schema.Finite,
            SchemaTransformation.transform({ decode: (n) => n / factor, encode: (n) => n * factor })
          ))
        }),
        initial: { sum: from },
        events: Events,
        evolveVersion
      }).fingerprint
    assert.strictEqual(scaled(1, 0), scaled(10, 0))
    assert.notStrictEqual(scaled(1, 0), scaled(10, 0, 2))
    assert.notStrictEqual(scaled(1, 1), scaled(10, 1))
  })

  it("is the same in every process", () => {
    assert.strictEqual(made({}).fingerprint, "5415d8c6f494d8d7c8089c54589de3ef")
  })
})

describe("the text of a state", () => {
  const failure = (result: Result.Result<string, string>) => Result.getOrThrow(Result.flip(result))

  it("is undefined when its Schema rejects, truncates or changes the state", () => {
    const rounded = Schema.Finite.pipe(
      Schema.decodeTo(Schema.Finite, SchemaTransformation.transform({ decode: (n: number) => n, encode: Math.round }))
    )
    assert.include(failure(made({}).encode({ sum: 1.5 })), "sum")
    const wide: typeof State.Type & { readonly secret: number } = { sum: 1, secret: 2 }
    assert.include(failure(made({}).encode(wide)), "secret")
    const rounding = StateSnapshots.make({ policy, state: rounded, initial: 0, events: Events, evolveVersion: 1 })
    assert.include(failure(rounding.encode(1.4)), "does not decode what it encodes to the same value")
    assert.deepStrictEqual(rounding.encode(2), Result.succeed("2"))
  })

  it("does not decode when it has another Schema", () => {
    for (const text of ["", "{", "null", "[]", `{"sum":"1"}`, `{"sum":1.5}`]) {
      assert.isTrue(Result.isFailure(made({}).decode(text)), text)
    }
  })

  it("is undefined when a function of its Schema throws", () => {
    const throwing = Schema.Int.check(Schema.makeFilter((n) => {
      if (n > 1) throw new Error("boom")
      return true
    }))
    const snapshots = StateSnapshots.make({ policy, state: throwing, initial: 0, events: Events, evolveVersion: 1 })
    assert.isTrue(Result.isFailure(snapshots.encode(2)))
    assert.isTrue(Result.isFailure(snapshots.decode("2")))
  })
})

/** A state with much that is not JSON. */
const LedgerEvent = Schema.TaggedUnion({
  Booked: { id: Schema.String, at: Schema.DateTimeUtc, amount: Schema.BigInt, note: Schema.optionalKey(Schema.String) },
  Labelled: { id: Schema.String, label: Schema.NullOr(Schema.String) },
  Cleared: { id: Schema.String, ratio: Schema.Finite }
})
class Entry extends Schema.Class<Entry>("Entry")({
  amount: Schema.BigInt,
  note: Schema.optionalKey(Schema.String)
}) {}
const DeliveryState = Aggregate.make("Ledger", {
  id: "id",
  state: Schema.Struct({
    total: Schema.BigInt,
    last: Schema.Option(Schema.DateTimeUtc),
    entries: Schema.Array(Entry),
    labels: Schema.ReadonlyMap(Schema.String, Schema.NullOr(Schema.Int)),
    ratio: Schema.Number
  }),
  events: LedgerEvent,
  commands: [Command.make("Book", { payload: { id: Schema.String } })]
}).decider({
  initial: { total: 0n, last: Option.none(), entries: [], labels: new Map(), ratio: NaN },
  snapshots: SnapshotPolicy.every(1),
  evolve: {
    Booked: (state, { amount, at, note }) => ({
      ...state,
      total: state.total * 3n + amount,
      last: Option.some(at),
      entries: [...state.entries, new Entry(note === undefined ? { amount } : { amount, note })].slice(-3)
    }),
    Labelled: (state, { label }) => ({
      ...state,
      labels: new Map([...state.labels, [label ?? "", label === null ? null : state.labels.size]])
    }),
    Cleared: (state, { ratio }) => ({ ...state, entries: [], ratio: 1 / ratio })
  },
  decide: { Book: () => [] }
})

it.effect.prop(
  "a snapshot and the events after it make the state that all events make, wherever it was taken",
  [Schema.Array(LedgerEvent), Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20 }))],
  ([events, cut]) =>
    Effect.sync(() => {
      const { decode, encode } = DeliveryState.stateSnapshots!
      const text = Result.getOrThrow(encode(Decider.fold(DeliveryState, events.slice(0, cut))))
      const continued = Decider.fold(DeliveryState, events.slice(cut), Result.getOrThrow(decode(text)))
      assert.deepStrictEqual(continued, Decider.fold(DeliveryState, events))
    })
)
