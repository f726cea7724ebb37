/**
 * The suite of command ids: one id belongs to one command with one payload. Every back end passes it.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as StreamLifecycle from "../../src/archive/StreamLifecycle.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { race } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as StreamId from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as Event from "../../src/event/Event.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import type { KeyStore } from "../../src/personalData/KeyStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import type { ProjectionStore } from "../../src/projection/ProjectionStore.ts"

const CartEvent = Schema.TaggedUnion({
  Added: { cartId: Schema.String, sku: Schema.String, quantity: Schema.Int },
  Emptied: { cartId: Schema.String }
}).pipe(Event.tags({ cart: "cartId" }))

const addFields = { cartId: Schema.String, sku: Schema.String, quantity: Schema.Int }
class TooMany extends Schema.TaggedError<TooMany>()("TooMany", {}) {}
const Add = Command.make("Add", { payload: addFields, error: TooMany })
/** A later version of the same command. */
const AddLater = Command.make("Add", {
  payload: { ...addFields, note: Schema.optionalKey(Schema.String) },
  error: TooMany
})
const Empty = Command.make("Empty", { payload: { cartId: Schema.String, secret: Schema.Redacted(Schema.String) } })

const addTo = (count: number, command: { readonly cartId: string; readonly sku: string; readonly quantity: number }) =>
  count + command.quantity > 10
    ? Result.fail(new TooMany())
    : [CartEvent.cases.Added.make({ cartId: command.cartId, sku: command.sku, quantity: command.quantity })]

const empty = (count: number, { cartId }: { readonly cartId: string }) =>
  count === 0 ? [] : [CartEvent.cases.Emptied.make({ cartId })]

const options = { id: "cartId", state: Schema.Int, events: CartEvent } as const
const evolve = {
  Added: (count: number, { quantity }: { readonly quantity: number }) => count + quantity,
  Emptied: () => 0
}
const CartDecider = Aggregate.make("Cart", { ...options, commands: [Add, Empty] })
  .decider({ initial: 0, evolve, decide: { Add: addTo, Empty: empty } })
const LaterCartDecider = Aggregate.make("Cart", { ...options, commands: [AddLater, Empty] })
  .decider({ initial: 0, evolve, decide: { Add: addTo, Empty: empty } })
const carts = Aggregate.layer(CartDecider)

const Reserve = Command.make("Reserve", { payload: addFields, error: TooMany })
const reserve = Decision.layer(Decision.make(Reserve, {
  events: CartEvent,
  models: ({ cartId }) => ({
    count: Decision.model({
      events: CartEvent,
      tags: { cart: cartId },
      initial: 0,
      evolve: { Added: (count, { quantity }) => count + quantity }
    })
  }),
  decide: ({ count }, command) =>
    count + command.quantity > 10 ? Result.fail(new TooMany()) : [CartEvent.cases.Added.make(command)]
}))

/** Returns what differs from the first use of a command id. */
export const reuseOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.result(effect), (result) => {
    const error: unknown = Result.isFailure(result) ? result.failure : undefined
    return error instanceof EventStoreError && error.reason._tag === "CommandIdReused" ? error.reason.differs : result
  })

const PersonEvent = Schema.TaggedUnion({
  Joined: {
    personId: Schema.String,
    group: Schema.String,
    name: PersonalData.field(Schema.String, { subject: "personId" })
  },
  Moved: { personId: Schema.String, group: Schema.String }
})
export const Join = Command.make("Join", {
  payload: { personId: Schema.String, group: Schema.String, name: Schema.String }
})
const Move = Command.make("Move", { payload: { personId: Schema.String, group: Schema.String } })
/** Its payload names the personal data as no event does. */
const Enlist = Command.make("Enlist", {
  payload: { personId: Schema.String, group: Schema.String, fullName: Schema.String, coupon: Schema.String }
})
/** The phone number decides, and no event has it. */
const Verify = Command.make("Verify", {
  payload: { personId: Schema.String, group: Schema.String, phone: Schema.String }
})
export const people = Aggregate.layer(
  Aggregate.make("CommandIdPerson", {
    id: "personId",
    state: Schema.String,
    events: PersonEvent,
    commands: [Join, Move, Enlist, Verify]
  })
    .decider({
      initial: "",
      evolve: { Joined: (_, { group }) => group, Moved: (_, { group }) => group },
      decide: {
        Join: (_, command) => [PersonEvent.cases.Joined.make(command)],
        Move: (_, command) => [PersonEvent.cases.Moved.make(command)],
        Enlist: (
          _,
          { fullName, group, personId }
        ) => [PersonEvent.cases.Joined.make({ personId, group, name: fullName })],
        Verify: (_, { group, personId }) => [PersonEvent.cases.Moved.make({ personId, group })]
      }
    })
)

const LabelEvent = Schema.TaggedUnion({
  Joined: { personId: Schema.String, name: PersonalData.field(Schema.String, { subject: "personId" }) },
  Labelled: { key: Schema.String },
  Named: { key: Schema.String, name: Schema.String }
}).pipe(Event.tags({ label: "key" }))
/** Neither its payload nor its event names a subject; `name` is personal in `Joined`. */
const Label = Command.make("Label", {
  payload: { key: Schema.String, name: Schema.String, alias: Schema.String }
})
const labels = Aggregate.layer(
  Aggregate.make("CommandIdLabel", { id: "key", state: Schema.Null, events: LabelEvent, commands: [Label] }).decider({
    initial: null,
    evolve: { Joined: () => null, Labelled: () => null, Named: () => null },
    decide: {
      Label: (_, { alias, key, name }) => [
        alias === "" ? LabelEvent.cases.Named.make({ key, name }) : LabelEvent.cases.Labelled.make({ key })
      ]
    }
  })
)
/** A decision without a stream of its own name. */
const LabelByDecision = Command.make("LabelByDecision", {
  payload: { key: Schema.String, name: Schema.String, alias: Schema.String }
})
const labelsByDecision = Decision.layer(Decision.make(LabelByDecision, {
  events: LabelEvent,
  models: ({ key }) => ({
    named: Decision.model({ events: LabelEvent, tags: { label: key }, initial: false, evolve: { Named: () => true } })
  }),
  decide: (_, { key }) => [LabelEvent.cases.Labelled.make({ key })]
}))

/** Returns the subjects of the salts of a stream's first event. */
const saltSubjects = Effect.fnUntraced(function*(stream: string) {
  const store = yield* EventStore
  const [first] = yield* Stream.runCollect(store.readStreamEncoded(stream))
  return (first!.metadata.personalPayloadHash?.salts ?? []).map((salt) =>
    Predicate.isObject(salt) ? Reflect.get(salt, "subject") : salt
  )
})

/** Runs an effect on a clock that is some days behind. */
const daysAgo = (days: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const by = -days * 24 * 60 * 60 * 1000
    return Effect.provideService(effect, Clock.Clock, {
      sleep: (duration) => clock.sleep(duration),
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: clock.monotonicTimeNanos,
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + by,
      currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + by),
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(by) * 1_000_000n,
      currentTimeNanos: Effect.map(clock.currentTimeNanos, (now) => now + BigInt(by) * 1_000_000n)
    })
  })

/**
 * Command ids of commands, decisions and appends.
 *
 * @since 0.1.0
 * @category suites
 */
export const commandIds: ReadonlyArray<Case<EventStore | KeyStore | ProjectionStore>> = [
  test("rejects a command id with another payload, and writes nothing", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const add = (quantity: number) => CommandBus.dispatch(Add, { cartId, sku: "a", quantity }, { commandId })
    yield* Effect.gen(function*() {
      const first = yield* add(3)
      equal(yield* add(3), first, "the same payload")
      equal(yield* reuseOf(add(4)), "payload", "another payload")
      equal(yield* reuseOf(add(40)), "payload", "another payload, which the state would reject")
      yield* CommandBus.dispatch(Add, { cartId, sku: "a", quantity: 6 })
      equal(yield* add(3), first, "the same payload, which the state would now reject")
      const empty = (secret: string) =>
        CommandBus.dispatch(Empty, { cartId, secret: Redacted.make(secret) }, { commandId: `${commandId}-2` })
      const emptied = yield* empty("one")
      equal(yield* empty("two"), emptied, "a redacted value is not compared")
    }).pipe(Effect.provide(carts))
    equal((yield* Aggregate.load(CartDecider, cartId)).version, Version.make(3), "the version")
  }),

  test("compares the encoded payload, so an optional field added later changes nothing", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const payload = { cartId, sku: "a", quantity: 3 }
    const first = yield* Effect.provide(CommandBus.dispatch(Add, payload, { commandId }), carts)
    const later = Aggregate.layer(LaterCartDecider)
    yield* Effect.gen(function*() {
      const reordered = { quantity: 3, sku: "a", cartId }
      equal(yield* CommandBus.dispatch(AddLater, reordered, { commandId }), first, "the same payload, by later code")
      const noted = { ...payload, note: "gift" }
      equal(yield* reuseOf(CommandBus.dispatch(AddLater, noted, { commandId })), "payload", "with the new field")
    }).pipe(Effect.provide(later))
  }),

  test("rejects a decision's command id with another payload", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const run = (quantity: number) => CommandBus.dispatch(Reserve, { cartId, sku: "a", quantity }, { commandId })
    yield* Effect.gen(function*() {
      const first = yield* run(8)
      equal(yield* run(8), first, "the same payload, which the models would now reject")
      equal(yield* reuseOf(run(2)), "payload", "another payload")
      equal(yield* reuseOf(run(5)), "payload", "another payload, which the models reject")
    }).pipe(Effect.provide(reserve))
  }),

  test("accepts one of 16 racing payloads under one command id", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const skus = Array.from({ length: 16 }, (_, index) => `sku-${index % 8}`)
    const exits = yield* race(
      skus.map((sku) =>
        CommandBus.dispatch(Add, { cartId, sku, quantity: 1 }, { commandId }).pipe(
          Effect.as(sku),
          reuseOf,
          Effect.provide(carts)
        )
      )
    )
    const outcomes = exits.map((exit) => Exit.isSuccess(exit) ? exit.value : exit)
    const accepted = outcomes.filter((outcome) => outcome !== "payload")
    equal(accepted.length, 2, "the racers with the payload that was accepted, of 16")
    equal(accepted[0], accepted[1], "their payload")
    equal((yield* Aggregate.load(CartDecider, cartId)).version, Version.make(1), "the version")
  }),

  test("rejects an append's command id with other events, also for a close", function*() {
    const store = yield* EventStore
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const stream = `Cart-${cartId}`
    const added = (quantity: number) => CartEvent.cases.Added.make({ cartId, sku: "a", quantity })
    const options = { metadata: { commandId } }
    const first = yield* store.append(CartEvent, stream, [added(1)], options)
    equal(yield* store.append(CartEvent, stream, [added(1)], options), first, "the same event")
    equal(yield* reuseOf(store.append(CartEvent, stream, [added(2)], options)), "payload", "another event")
    equal(yield* reuseOf(store.append(CartEvent, stream, [added(1), added(1)], options)), "payload", "more events")
    equal(yield* reuseOf(store.close(CartEvent, stream, added(1), options)), "payload", "a close with that event")
    const closing = { metadata: { commandId: unique("command") } }
    const closed = yield* store.close(CartEvent, stream, added(5), closing)
    equal(yield* store.close(CartEvent, stream, added(5), closing), closed, "the same close")
    equal(yield* reuseOf(store.close(CartEvent, stream, added(6), closing)), "payload", "another last event")
    equal(yield* reuseOf(store.append(CartEvent, stream, [added(5)], closing)), "payload", "an append of that event")
  }),

  test("takes 0 and -0 for two payloads and two events", function*() {
    const store = yield* EventStore
    const [cartId, commandId, second] = [unique("cart"), unique("command"), unique("command")]
    yield* Effect.gen(function*() {
      const add = (quantity: number) => CommandBus.dispatch(Add, { cartId, sku: "a", quantity }, { commandId })
      const first = yield* add(-0)
      equal(yield* add(-0), first, "the same payload")
      equal(yield* reuseOf(add(0)), "payload", "the payload with 0")
    }).pipe(Effect.provide(carts))
    const append = (quantity: number) =>
      store.append(CartEvent, `Cart-${cartId}`, [CartEvent.cases.Added.make({ cartId, sku: "a", quantity })], {
        metadata: { commandId: second }
      })
    const first = yield* append(0)
    equal(yield* append(0), first, "the same event")
    equal(yield* reuseOf(append(-0)), "payload", "the event with -0")
  }),

  test("decides again under a command id that wrote no events", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    yield* Effect.gen(function*() {
      const nothing = yield* CommandBus.dispatch(Empty, { cartId, secret: Redacted.make("s") }, { commandId })
      equal(nothing.events, [], "nothing to do")
      const added = yield* CommandBus.dispatch(Add, { cartId, sku: "a", quantity: 1 }, { commandId })
      equal(added.events.length, 1, "the id is free, because nothing is stored under it")
    }).pipe(Effect.provide(carts))
  }),

  test("passes on the metadata of an event without its hash", function*() {
    const store = yield* EventStore
    const cartId = unique("cart")
    const stream = `Cart-${cartId}`
    const added = CartEvent.cases.Added.make({ cartId, sku: "a", quantity: 1 })
    yield* store.append(CartEvent, stream, [added, added], { metadata: { commandId: unique("command"), actor: "ann" } })
    const [first, second] = yield* Stream.runCollect(store.readStreamEncoded(stream))
    equal([typeof first!.metadata.payloadHash, second!.metadata.payloadHash], ["string", undefined], "the hash")
    const { commandId: _, ...passedOn } = first!.metadata
    yield* store.append(CartEvent, stream, [added], { metadata: passedOn })
    const events = yield* Stream.runCollect(store.readStreamEncoded(stream))
    equal(events[2]!.metadata, { actor: "ann" }, "the metadata of the other append")
  }),

  test("compares personal data until it is erased, and the rest afterwards", function*() {
    const store = yield* EventStore
    const [personId, commandId] = [unique("ann"), unique("command")]
    const payload = { personId, group: "g", name: "Ann Archer" }
    const join = (change: Partial<typeof payload>) =>
      CommandBus.dispatch(Join, { ...payload, ...change }, { commandId })
    yield* Effect.gen(function*() {
      const first = yield* join({})
      equal(yield* join({}), first, "the same payload")
      equal(yield* reuseOf(join({ name: "Bob Baker" })), "payload", "another name")
      equal(yield* reuseOf(join({ group: "h" })), "payload", "another group")
      const [event] = yield* Stream.runCollect(store.readStreamEncoded(first.stream))
      // Two people with one name in one group: no hash shows it.
      const other = unique("bob")
      const same = yield* CommandBus.dispatch(Join, { ...payload, personId: other }, { commandId: unique("command") })
      const [twin] = yield* Stream.runCollect(store.readStreamEncoded(same.stream))
      ok(event!.metadata.personalPayloadHash!.hash !== twin!.metadata.personalPayloadHash!.hash, "the hashes differ")
      const moved = yield* CommandBus.dispatch(Move, { personId, group: "m" }, { commandId: `${commandId}-2` })
      yield* Erasure.erase(personId)
      equal(yield* join({}), first, "the same payload after the erasure")
      equal(yield* join({ name: "Bob Baker" }), first, "another name, which cannot be compared any more")
      equal(yield* reuseOf(join({ group: "h" })), "payload", "another group")
      const move = (group: string) => CommandBus.dispatch(Move, { personId, group }, { commandId: `${commandId}-2` })
      equal(yield* move("m"), moved, "a payload without personal data")
      equal(yield* reuseOf(move("n")), "payload", "another one")
    }).pipe(Effect.provide(people))
  }),

  test("stores one hash for payloads that differ in personal data only", function*() {
    const store = yield* EventStore
    yield* Effect.gen(function*() {
      const personId = unique("ann")
      const hashes: Array<string | undefined> = []
      for (const name of ["Ann", "Bob"]) {
        const { events, stream } = yield* CommandBus.dispatch(Join, { personId, group: "g", name })
        const recorded = yield* Stream.runCollect(store.readStreamEncoded(stream))
        hashes.push(recorded.find(({ id }) => id === events[0]!.id)?.metadata.payloadHash)
      }
      equal([typeof hashes[0], hashes[0]], ["string", hashes[1]], "the open hash does not depend on the name")
    }).pipe(Effect.provide(people))
  }),

  test("finds the receipt of a command id whatever its payload", function*() {
    const store = yield* EventStore
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const first = yield* Effect.provide(
      CommandBus.dispatch(Add, { cartId, sku: "a", quantity: 3 }, { commandId }),
      carts
    )
    equal(yield* store.receipt(commandId), Option.some(first), "the receipt")
  }),

  test("no hash allows to guess personal data that a payload names otherwise than its events", function*() {
    const store = yield* EventStore
    const personId = unique("ann")
    /** Every hash that a reader of the log can compute of a guess. */
    const hashes: Array<string | undefined> = []
    yield* Effect.gen(function*() {
      for (const who of ["Ann Archer", "Bob Baker"]) {
        const enlisted = yield* CommandBus.dispatch(Enlist, { personId, group: "g", fullName: who, coupon: who })
        const verified = yield* CommandBus.dispatch(Verify, { personId, group: "g", phone: who })
        const recorded = yield* Stream.runCollect(store.readStreamEncoded(enlisted.stream))
        for (const { events } of [enlisted, verified]) {
          hashes.push(recorded.find(({ id }) => id === events[0]!.id)?.metadata.payloadHash)
        }
      }
    }).pipe(Effect.provide(people))
    equal([typeof hashes[0], typeof hashes[1]], ["string", "string"], "the hashes are stored")
    equal([hashes[0], hashes[1]], [hashes[2], hashes[3]], "they depend on nothing but what the log has in plaintext")
  }),

  test("compares fields that no event has, until their subject is erased", function*() {
    const [personId, commandId] = [unique("ann"), unique("command")]
    const enlisting = { personId, group: "g", fullName: "Ann Archer", coupon: "c" }
    const enlist = (change: Partial<typeof enlisting>) =>
      CommandBus.dispatch(Enlist, { ...enlisting, ...change }, { commandId })
    const verifying = { personId, group: "g", phone: "555-1" }
    const verify = (change: Partial<typeof verifying>) =>
      CommandBus.dispatch(Verify, { ...verifying, ...change }, { commandId: `${commandId}-2` })
    yield* Effect.gen(function*() {
      const enlisted = yield* enlist({})
      const verified = yield* verify({})
      equal([yield* enlist({}), yield* verify({})], [enlisted, verified], "the same payloads")
      equal(yield* reuseOf(enlist({ fullName: "Bob Baker" })), "payload", "another name")
      equal(yield* reuseOf(enlist({ coupon: "d" })), "payload", "another coupon")
      equal(yield* reuseOf(verify({ phone: "555-2" })), "payload", "another number")
      yield* Erasure.erase(personId)
      equal([yield* enlist({}), yield* verify({})], [enlisted, verified], "the same payloads after the erasure")
      equal(yield* verify({ phone: "555-2" }), verified, "another number, which cannot be compared any more")
      equal(yield* reuseOf(verify({ group: "h" })), "payload", "what the log has in plaintext is compared")
      equal(yield* reuseOf(enlist({ group: "h" })), "payload", "also of the other command")
      const later = { commandId: `${commandId}-3` }
      const afterwards = yield* CommandBus.dispatch(Verify, verifying, later)
      equal(afterwards.events.length, 1, "events without personal data are still written")
      equal(yield* CommandBus.dispatch(Verify, verifying, later), afterwards, "the same payload again")
      const other = CommandBus.dispatch(Verify, { ...verifying, group: "h" }, later)
      equal(yield* reuseOf(other), "payload", "another group")
    }).pipe(Effect.provide(people))
  }),

  test("compares what a payload's Schema cannot encode, and leaves out secrets wherever they are", function*() {
    const ids = Array.from({ length: 3 }, () => unique("command"))
    const Fill = Command.make("Fill", {
      payload: {
        cartId: Schema.String,
        anything: Schema.Unknown,
        locked: Schema.Redacted(Schema.String, { disallowJsonEncode: true }),
        list: Schema.Array(Schema.Redacted(Schema.String)),
        nested: Schema.Struct({ pin: Schema.Option(Schema.Redacted(Schema.String)), amount: Schema.Number }),
        // Plain values under the names of secrets.
        items: Schema.Array(Schema.Struct({ pin: Schema.String, locked: Schema.String }))
      }
    })
    const fill = Aggregate.layer(
      Aggregate.make("Fill", { ...options, commands: [Fill] }).decider({
        initial: 0,
        evolve,
        decide: { Fill: (_, { cartId }) => [CartEvent.cases.Emptied.make({ cartId })] }
      })
    )
    const store = yield* EventStore
    const cartId = unique("cart")
    const run = (
      parts: ReadonlyArray<readonly [string, number]>,
      secret: string,
      amount: number,
      commandId = ids[0]!,
      plain = "gold"
    ) =>
      CommandBus.dispatch(Fill, {
        cartId,
        anything: new Map(parts),
        locked: Redacted.make(secret),
        list: [Redacted.make(secret)],
        nested: { pin: Option.some(Redacted.make(secret)), amount },
        items: [{ pin: plain, locked: "no" }]
      }, { commandId })
    yield* Effect.gen(function*() {
      const first = yield* run([["a", 1]], "one", 1)
      equal(yield* run([["a", 1]], "one", 1), first, "the same payload")
      equal(yield* run([["a", 1]], "two", 1), first, "secrets are not compared")
      equal(yield* reuseOf(run([["a", 2]], "one", 1)), "payload", "another map in a value that is not JSON")
      equal(yield* reuseOf(run([["a", 1]], "one", 2)), "payload", "another field")
      const plain = run([["a", 1]], "one", 1, ids[0], "silver")
      equal(yield* reuseOf(plain), "payload", "another plain value under the name of a secret")
      yield* run([["a", 1]], "one", 1, ids[1])
      yield* run([["a", 1]], "two", 1, ids[2])
      const hashes = (yield* Stream.runCollect(store.readStreamEncoded(`Fill-${cartId}`))).map(({ metadata }) =>
        metadata.payloadHash
      )
      equal(new Set(hashes).size, 1, "no hash depends on a secret")
    }).pipe(Effect.provide(fill))
  }),

  test("rejects a payload that cannot be compared, and names the field", function*() {
    const cartId = unique("cart")
    class Money {
      readonly #amount: number
      constructor(amount: number) {
        this.#amount = amount
      }
      get amount() {
        return this.#amount
      }
    }
    const Pay = Command.make("Pay", {
      payload: { cartId: Schema.String, money: Schema.instanceOf(Money), details: Schema.Unknown }
    })
    const PayByDecision = Command.make("PayByDecision", {
      payload: { cartId: Schema.String, details: Schema.Unknown }
    })
    const layer = Layer.merge(
      Aggregate.layer(
        Aggregate.make("CommandIdPay", { ...options, commands: [Pay] }).decider({
          initial: 0,
          evolve,
          decide: { Pay: (_, { cartId }) => [CartEvent.cases.Emptied.make({ cartId })] }
        })
      ),
      Decision.layer(Decision.make(PayByDecision, {
        events: CartEvent,
        models: ({ cartId }) => ({
          count: Decision.model({ events: CartEvent, tags: { cart: cartId }, initial: 0, evolve })
        }),
        decide: (_, { cartId }) => [CartEvent.cases.Emptied.make({ cartId })]
      }))
    )
    const rejects = (name: string, problem: string) =>
      Effect.fnUntraced(function*<A, E, R>(command: Effect.Effect<A, E, R>) {
        const error: unknown = yield* Effect.flip(command)
        ok(error instanceof EventStoreError && error.reason._tag === "InvalidRequest", `the reason: ${String(error)}`)
        ok(String(error).includes(`the payload of command "${name}": ${problem}`), String(error))
      })
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Pay, { cartId, money: new Money(1), details: null }).pipe(
        rejects("Pay", `"/money" is an instance of Money`)
      )
      yield* CommandBus.dispatch(PayByDecision, { cartId, details: [{ pattern: /a/ }] }).pipe(
        rejects("PayByDecision", `"/details/0/pattern" is an instance of RegExp`)
      )
    }).pipe(Effect.provide(layer))
    const store = yield* EventStore
    const events = yield* Stream.runCollect(store.readStreamEncoded(`CommandIdPay-${cartId}`))
    equal(events.length, 0, "nothing is written")
  }),

  test("compares and salts a field that is personal in another event, without a subject", function*() {
    const store = yield* EventStore
    const [key, commandId] = [unique("order"), unique("command")]
    const payload = { key, name: "Ann Archer", alias: "ann" }
    const label = (change: Partial<typeof payload>, id = commandId) =>
      CommandBus.dispatch(Label, { ...payload, ...change }, { commandId: id })
    yield* Effect.gen(function*() {
      const first = yield* label({})
      equal(yield* label({}), first, "the same payload")
      equal(yield* reuseOf(label({ name: "Bob Baker" })), "payload", "another name")
      equal(yield* reuseOf(label({ alias: "bob" })), "payload", "another field that no event has")
      yield* label({ name: "Bob Baker", alias: "bob" }, unique("command"))
      const [one, two] = yield* Stream.runCollect(store.readStreamEncoded(first.stream))
      equal(one!.metadata.payloadHash, two!.metadata.payloadHash, "the open hash depends on neither")
      equal(one!.metadata.personalPayloadHash?.fields, ["key"], "it covers what the event has")
    }).pipe(Effect.provide(labels))
  }),

  test("salts all payloads of a day that name no subject under one key", function*() {
    const [key, ids] = [unique("order"), Array.from({ length: 20 }, () => unique("command"))]
    const subjects = new Set<unknown>()
    const label = (alias: string, commandId: string) =>
      CommandBus.dispatch(LabelByDecision, { key, name: "Ann Archer", alias }, { commandId })
    yield* Effect.gen(function*() {
      for (const [index, commandId] of ids.entries()) {
        const receipt = yield* label(`alias-${index}`, commandId)
        equal(yield* label(`alias-${index}`, commandId), receipt, "the same payload")
        equal(yield* reuseOf(label("other", commandId)), "payload", "another one")
        for (const subject of yield* saltSubjects(receipt.stream)) subjects.add(subject)
      }
    }).pipe(Effect.provide(labelsByDecision))
    // The suite may run across midnight.
    ok(subjects.size === 1 || subjects.size === 2, `one key for 20 streams: ${Array.from(subjects).join()}`)
  }),

  test("erases the key of a day that is over, and what it salted is not compared any more", function*() {
    const [key, commandId] = [unique("order"), unique("command")]
    const label = (alias: string, id: string, orderKey = key) =>
      CommandBus.dispatch(LabelByDecision, { key: orderKey, name: "Ann Archer", alias }, { commandId: id })
    yield* Effect.gen(function*() {
      // A database of an earlier run may have no key of a fixed day any more.
      const first = yield* label("ann", commandId).pipe(daysAgo(9 + Math.floor(Math.random() * 10_000)))
      const [day] = yield* saltSubjects(first.stream)
      equal(yield* reuseOf(label("bob", commandId)), "payload", "another alias, days later")
      const today = yield* label("ann", `${commandId}-2`)
      const [inUse] = yield* saltSubjects(today.stream)
      ok(day !== inUse, "each day has a key")
      const refused = yield* Effect.flip(Erasure.erase(String(inUse)))
      equal(refused.reason._tag, "InvalidRequest", "the key of today is in use")
      ok(refused.message.includes("cannot be erased before"), `it says until when: ${refused.message}`)
      yield* Erasure.erase(String(day))
      equal(yield* label("ann", commandId), first, "the same payload")
      equal(yield* label("bob", commandId), first, "another alias, which cannot be compared any more")
      const other = label("ann", commandId, unique("order"))
      equal(yield* reuseOf(other), "payload", "what the events have in plaintext is compared")
      equal(yield* reuseOf(label("bob", `${commandId}-2`)), "payload", "the other days are compared")
    }).pipe(Effect.provide(labelsByDecision))
  }),

  test("hashes without a salt only fields that an event has with an equal value", function*() {
    const store = yield* EventStore
    const [personId, commandId] = [unique("ann"), unique("command")]
    const Contact = Schema.TaggedUnion({
      Joined: {
        personId: Schema.String,
        name: PersonalData.field(Schema.String, { subject: "personId" }),
        contact: Schema.Struct({ channel: Schema.String }),
        code: Schema.String
      },
      // `secret` is a field of the set, but not of what this command writes.
      Noted: { secret: Schema.String }
    })
    const Register = Command.make("Register", {
      payload: {
        personId: Schema.String,
        name: Schema.String,
        code: Schema.String,
        secret: Schema.String,
        contact: Schema.Struct({ channel: Schema.String, phone: Schema.String })
      }
    })
    const registers = Aggregate.layer(
      Aggregate.make("CommandIdContact", { id: "personId", state: Schema.Null, events: Contact, commands: [Register] })
        .decider({
          initial: null,
          evolve: { Joined: () => null, Noted: () => null },
          decide: {
            Register: (_, { contact: { channel }, name, personId }) => [
              Contact.cases.Joined.make({ personId, name, contact: { channel }, code: "constant" })
            ]
          }
        })
    )
    const payload = { personId, name: "Ann", code: "c1", secret: "s1", contact: { channel: "sms", phone: "555-1" } }
    const register = (change: Partial<typeof payload>, id = commandId) =>
      CommandBus.dispatch(Register, { ...payload, ...change }, { commandId: id })
    yield* Effect.gen(function*() {
      const first = yield* register({})
      const others: ReadonlyArray<Partial<typeof payload>> = [
        { contact: { channel: "sms", phone: "555-2" } },
        { code: "c2" },
        { secret: "s2" }
      ]
      for (const other of others) {
        equal(yield* reuseOf(register(other)), "payload", `before the erasure: ${Object.keys(other)[0]}`)
        yield* register(other, unique("command"))
      }
      const events = yield* Stream.runCollect(store.readStreamEncoded(first.stream))
      equal(new Set(events.map(({ metadata }) => metadata.payloadHash)).size, 1, "no open hash depends on them")
      equal(events[0]!.metadata.personalPayloadHash?.fields, ["personId"], "the field that the event has in plaintext")
      yield* Erasure.erase(personId)
      for (const other of others) equal(yield* register(other), first, `afterwards: ${Object.keys(other)[0]}`)
    }).pipe(Effect.provide(registers))
  }),

  test("compares a field of a payload that is named __proto__", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const Prototype = Command.make("Prototype", { payload: { cartId: Schema.String, ["__proto__"]: Schema.String } })
    const prototypes = Aggregate.layer(
      Aggregate.make("CommandIdPrototype", { ...options, commands: [Prototype] }).decider({
        initial: 0,
        evolve,
        decide: { Prototype: (_, { cartId }) => [CartEvent.cases.Emptied.make({ cartId })] }
      })
    )
    const run = (value: string) => CommandBus.dispatch(Prototype, { cartId, ["__proto__"]: value }, { commandId })
    yield* Effect.gen(function*() {
      const first = yield* run("a")
      equal(yield* run("a"), first, "the same payload")
      equal(yield* reuseOf(run("b")), "payload", "another value")
    }).pipe(Effect.provide(prototypes))
  }),

  test("does not compare a field that a default has filled in", function*() {
    let calls = 0
    const Stamp = Command.make("Stamp", {
      payload: {
        cartId: Schema.String,
        sku: Schema.String,
        serial: Schema.Int.pipe(Schema.withConstructorDefault(Effect.sync(() => ++calls)))
      }
    })
    const stamps = Aggregate.layer(
      Aggregate.make("Stamp", { ...options, commands: [Stamp] }).decider({
        initial: 0,
        evolve,
        decide: {
          Stamp: (_, { cartId, serial, sku }) => [CartEvent.cases.Added.make({ cartId, sku, quantity: serial })]
        }
      })
    )
    const [cartId, commandId, given] = [unique("cart"), unique("command"), unique("command")]
    yield* Effect.gen(function*() {
      const first = yield* CommandBus.dispatch(Stamp, { cartId, sku: "a" }, { commandId })
      equal(yield* CommandBus.dispatch(Stamp, { cartId, sku: "a" }, { commandId }), first, "with another default")
      equal(calls, 2, "the default is computed again")
      equal(yield* reuseOf(CommandBus.dispatch(Stamp, { cartId, sku: "b" }, { commandId })), "payload", "another field")
      const serial = (n: number) => CommandBus.dispatch(Stamp, { cartId, sku: "a", serial: n }, { commandId: given })
      const second = yield* serial(7)
      equal(yield* serial(7), second, "the same number, given by the caller")
      equal(yield* reuseOf(serial(8)), "payload", "another one")
    }).pipe(Effect.provide(stamps))
  }),

  test("rejects a command's id for a decision, and a decision's for a command", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const payload = { cartId, sku: "a", quantity: 1 }
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Add, payload, { commandId })
      equal(yield* reuseOf(CommandBus.dispatch(Reserve, payload, { commandId })), "command", "by a decision")
      const full = { ...payload, quantity: 100 }
      equal(yield* reuseOf(CommandBus.dispatch(Reserve, full, { commandId })), "command", "by one that is rejected")
      yield* CommandBus.dispatch(Reserve, payload, { commandId: `${commandId}-2` })
      equal(
        yield* reuseOf(CommandBus.dispatch(Add, payload, { commandId: `${commandId}-2` })),
        "command",
        "by a command"
      )
    }).pipe(Effect.provide(Layer.merge(carts, reserve)))
  }),

  test("a rejected command and a decision without events leave their id free", function*() {
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const add = (quantity: number) => CommandBus.dispatch(Add, { cartId, sku: "a", quantity }, { commandId })
    yield* Effect.gen(function*() {
      equal(yield* Effect.flip(add(11)), new TooMany(), "rejected")
      const added = yield* add(10)
      equal(added.events.length, 1, "nothing was stored under the id")
      equal(yield* reuseOf(add(11)), "payload", "from now on it belongs to a payload")
      const full = { cartId, sku: "a", quantity: 1 }
      const reserving = { commandId: `${commandId}-2` }
      equal(yield* Effect.flip(CommandBus.dispatch(Reserve, full, reserving)), new TooMany(), "a rejected decision")
      const other = { cartId: unique("cart"), sku: "b", quantity: 2 }
      equal((yield* CommandBus.dispatch(Reserve, other, reserving)).events.length, 1, "its id is free")
    }).pipe(Effect.provide(Layer.merge(carts, reserve)))
  }),

  test("returns the first receipt when the decider would now throw", function*() {
    const Once = Command.make("Once", { payload: { cartId: Schema.String } })
    const OnceByDecision = Command.make("OnceByDecision", { payload: { cartId: Schema.String } })
    const decideOnce = (count: number, { cartId }: { readonly cartId: string }) => {
      if (count > 0) throw new Error("the cart is not empty")
      return [CartEvent.cases.Added.make({ cartId, sku: "a", quantity: 1 })]
    }
    const once = Layer.merge(
      Aggregate.layer(
        Aggregate.make("Once", { ...options, commands: [Once] }).decider({
          initial: 0,
          evolve,
          decide: { Once: decideOnce }
        })
      ),
      Decision.layer(Decision.make(OnceByDecision, {
        events: CartEvent,
        models: ({ cartId }) => ({
          count: Decision.model({ events: CartEvent, tags: { cart: cartId }, initial: 0, evolve })
        }),
        decide: ({ count }, command) => decideOnce(count, command)
      }))
    )
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const runs = {
      command: (id: string) => Effect.provide(CommandBus.dispatch(Once, { cartId }, { commandId: `${id}-1` }), once),
      decision: (id: string) =>
        Effect.provide(CommandBus.dispatch(OnceByDecision, { cartId: `${cartId}-2` }, { commandId: `${id}-2` }), once)
    }
    for (const [name, run] of Object.entries(runs)) {
      const first = yield* run(commandId)
      equal(yield* run(commandId), first, `the same id: ${name}`)
      ok(Exit.hasDies(yield* Effect.exit(run(`${commandId}-other`))), `another id is a defect: ${name}`)
    }
  }),

  test("rejects an invalid command id, also of a command that writes nothing", function*() {
    const cartId = unique("cart")
    const provided = Effect.provide(Layer.merge(carts, reserve))
    for (const commandId of ["", "a\u0000b", "\ud800", "x".repeat(257)]) {
      const rejections = [
        provided(CommandBus.dispatch(Add, { cartId, sku: "a", quantity: 1 }, { commandId })),
        provided(CommandBus.dispatch(Add, { cartId, sku: "a", quantity: 100 }, { commandId })),
        provided(CommandBus.dispatch(Empty, { cartId, secret: Redacted.make("s") }, { commandId })),
        provided(CommandBus.dispatch(Reserve, { cartId, sku: "a", quantity: 1 }, { commandId })),
        provided(CommandBus.dispatch(Reserve, { cartId, sku: "a", quantity: 100 }, { commandId }))
      ]
      for (const [index, command] of rejections.entries()) {
        const error = yield* Effect.flip(command)
        const tag = error instanceof EventStoreError ? error.reason._tag : error._tag
        equal(tag, "InvalidRequest", `command ${index} with the id ${JSON.stringify(commandId).slice(0, 12)}`)
      }
    }
  }),

  test("knows a command id after its stream was closed and archived", function*() {
    const [cartId, commandId, reserving] = [unique("cart"), unique("command"), unique("command")]
    const payload = { cartId, sku: "a", quantity: 3 }
    const Last = CartEvent.cases.Emptied
    yield* Effect.gen(function*() {
      const added = yield* CommandBus.dispatch(Add, payload, { commandId })
      const reserved = yield* CommandBus.dispatch(Reserve, payload, { commandId: reserving })
      for (const step of ["open", "closed", "archived"]) {
        if (step === "closed") {
          yield* Aggregate.close(CartDecider, cartId, Last.make({ cartId }))
          const store = yield* EventStore
          yield* store.close(CartEvent, reserved.stream, Last.make({ cartId }))
        } else if (step === "archived") {
          for (const { stream } of [added, reserved]) yield* StreamLifecycle.archive(stream)
        }
        equal(yield* CommandBus.dispatch(Add, payload, { commandId }), added, `${step}: the same command`)
        const other = { ...payload, quantity: 4 }
        equal(yield* reuseOf(CommandBus.dispatch(Add, other, { commandId })), "payload", `${step}: another payload`)
        const again = CommandBus.dispatch(Reserve, payload, { commandId: reserving })
        equal(yield* again, reserved, `${step}: the same decision`)
        const otherDecision = CommandBus.dispatch(Reserve, other, { commandId: reserving })
        equal(yield* reuseOf(otherDecision), "payload", `${step}: a decision on another payload`)
      }
    }).pipe(Effect.provide(Layer.merge(carts, reserve)))
  }),

  test("returns the first receipt for a command id that was stored without a hash", function*() {
    const { driver } = (yield* EventStore)[internals]
    const [cartId, commandId] = [unique("cart"), unique("command")]
    const event = {
      id: crypto.randomUUID(),
      type: "Added",
      schemaVersion: 1,
      data: JSON.stringify({ cartId, sku: "a", quantity: 3 }),
      metadata: JSON.stringify({ command: "Add", commandId }),
      tags: []
    }
    yield* driver.append({
      stream: StreamId.StreamId.make(`Cart-${cartId}`),
      expected: "any",
      events: [event],
      commandId
    })
    yield* Effect.gen(function*() {
      // Another program has written it, so nothing is known about its payload.
      const { version } = yield* CommandBus.dispatch(Add, { cartId, sku: "b", quantity: 4 }, { commandId })
      equal(version, Version.make(1), "the first receipt")
      const empty = CommandBus.dispatch(Empty, { cartId, secret: Redacted.make("s") }, { commandId })
      equal(yield* reuseOf(empty), "command", "the command is compared")
    }).pipe(Effect.provide(carts))
  })
]
