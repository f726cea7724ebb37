/** A log that is set back, and grows again, between two pages of a read that is folded into a state. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Result, Schema, Stream } from "effect"
import { Aggregate, Command, CommandBus, Decision, Event, EventStore, Limits, Projection, ProjectionStore } from "evsrc"
import * as Position from "../../src/core/Position.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as MemoryEventStore from "../../src/eventStore/memory/MemoryEventStore.ts"

const payment = { id: Schema.String, amount: Schema.Int }
const Payments = Schema.TaggedUnion({ Paid: payment }).pipe(Event.tags({ id: "id" }))
class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}
const Pay = Command.make("Pay", { payload: payment, error: Overdrawn })
const add = (balance: number = 0, { amount }: { readonly amount: number }) => balance + amount
const decide = (balance: number, payment: { readonly id: string; readonly amount: number }) =>
  balance + payment.amount < 0
    ? Result.fail(new Overdrawn({ balance }))
    : [{ _tag: "Paid" as const, ...payment }]

const Account = Aggregate.make("Account", { id: "id", state: Schema.Int, events: Payments, commands: [Pay] })
const AccountDecider = Account.decider({ initial: 0, evolve: { Paid: add }, decide: { Pay: decide } })
const payByTag = Decision.make(Pay, {
  events: Payments,
  stream: ({ id }) => `Account-${id}`,
  models: ({ id }) => ({
    balance: Decision.model({ events: Payments, tags: { id }, initial: 0, evolve: { Paid: add } })
  }),
  decide: ({ balance }, payment) => decide(balance, payment)
})
const balances = Projection.make("balances", {
  lifecycle: "live",
  events: Payments,
  document: Schema.Int,
  key: ({ id }) => id,
  find: (id) => [{ tags: [Event.tag("id", id)] }],
  evolve: { Paid: add }
})

/** A log of 6 payments of 1, which after its first page has only 2 of them, and then 4 payments of 0. */
const setBack = Effect.gen(function*() {
  const [before, after] = [yield* MemoryEventStore.make(), yield* MemoryEventStore.make()]
  const pay = (driver: EventStoreDriver, amount: number) =>
    Effect.flatMap(
      EventStore.make(driver),
      (store) => store.append(Payments, "Account-x", [{ _tag: "Paid", id: "x", amount }])
    )
  for (const amount of [1, 1]) yield* pay(before, amount)
  const { events } = yield* before.readStored({ after: Position.start, limit: 10 })
  yield* after.restore({ after: Position.start, events })
  for (const amount of [1, 1, 1, 1]) yield* pay(before, amount)
  for (const amount of [0, 0, 0, 0]) yield* pay(after, amount)
  let current = before
  const ofNow = <A, E, R>(of: (driver: EventStoreDriver) => Effect.Effect<A, E, R>) => Effect.suspend(() => of(current))
  const thenSetBack = <A, E, R>(of: (driver: EventStoreDriver) => Effect.Effect<A, E, R>) =>
    Effect.tap(ofNow(of), () => Effect.sync(() => (current = after)))
  return yield* EventStore.make({
    ...before,
    append: (request) => ofNow((driver) => driver.append(request)),
    receipt: (id) => ofNow((driver) => driver.receipt(id)),
    eventIds: (positions) => ofNow((driver) => driver.eventIds(positions)),
    readStream: (page) => thenSetBack((driver) => driver.readStream(page)),
    readByQuery: (page) => thenSetBack((driver) => driver.readByQuery(page))
  })
})

const onSetBack = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(
    Effect.provide(effect, [
      Layer.effect(EventStore.EventStore, setBack),
      ProjectionStore.layerMemory
    ])
  ).pipe(Effect.provideService(Limits, { ...Limits.defaultValue(), pageSize: 4 }))

const dispatch = CommandBus.dispatch(Pay, { id: "x", amount: -3 })

describe("a log that is set back between two pages", () => {
  it.effect("has no part in the state of an aggregate, nor in its decisions", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* onSetBack(Aggregate.load(AccountDecider, "x"))).state, 2)
      const decided = Effect.flip(dispatch).pipe(Effect.provide(Aggregate.layer(AccountDecider)))
      assert.deepStrictEqual(yield* onSetBack(decided), new Overdrawn({ balance: 2 }))
    }))

  it.effect("has no part in the models of a decision", () =>
    Effect.gen(function*() {
      const decided = Effect.flip(dispatch).pipe(Effect.provide(Decision.layer(payByTag)))
      assert.deepStrictEqual(yield* onSetBack(decided), new Overdrawn({ balance: 2 }))
    }))

  it.effect("has no part in a live document, and makes a watch of it fail", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* onSetBack(ProjectionStore.get(balances, "x")), Option.some(2))
      const watched = Stream.runHead(ProjectionStore.watch(balances, "x"))
      const error = yield* onSetBack(Effect.flip(watched))
      assert.strictEqual("reason" in error ? error.reason._tag : error._tag, "LogDiverged")
    }))

  it.effect("makes a read of a stream fail, in both directions", () =>
    Effect.gen(function*() {
      for (const direction of ["forward", "backward"] as const) {
        const read = Stream.runDrain(EventStore.readStream(Payments, "Account-x", { direction }))
        const error = yield* onSetBack(Effect.flip(read))
        assert.strictEqual(error.reason._tag, "LogDiverged", direction)
      }
    }))
})
