/** Executes the code of docs/testing.md, on examples/bank-account.ts. */
import { assert, describe, it, layer } from "@effect/vitest"
import { DateTime, Effect, Exit, Layer, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, CommandBus, Decider, EventCodec, EventStore, ProjectionStore, QueryBus } from "evsrc"
import { EventStoreError, OutcomeUnknown } from "evsrc"
import { EventStoreSuite } from "evsrc/conformance"
import { PgStores } from "evsrc/pg"
import { DeciderProperties, DeciderSpec, DecisionSpec, TestDatabase } from "evsrc/testing"
import { inject } from "vitest"
import * as Bank from "../../examples/bank-account.ts"
import { ReserveSeat, reserveSeat, SeatEvent, ShowDecider, TooMany } from "../support/Theatre.ts"

const { Deposited, Opened, Withdrawn } = Bank.AccountEvent.cases
const opened = Opened.make({ account: "ann" })
const deposited = (amount: number) => Deposited.make({ account: "ann", amount })
const withdrawn = (amount: number) => Withdrawn.make({ account: "ann", amount })

describe("an account", () => {
  it("pays out an available amount", () => {
    DeciderSpec.given(Bank.Account, [opened, deposited(100)])
      .when(Bank.Withdraw, { account: "ann", amount: 70 })
      .thenEvents([withdrawn(70)])
  })

  it("rejects an overdraft", () => {
    DeciderSpec.given(Bank.Account, [opened, deposited(100)])
      .when(Bank.Withdraw, { account: "ann", amount: 101 })
      .thenFails(new Bank.InsufficientFunds({ balance: 100 }))
  })

  it("opens once", () => {
    DeciderSpec.given(Bank.Account, [opened]).when(Bank.Open, { account: "ann" }).thenNothing()
  })

  it("folds its events to a balance", () => {
    DeciderSpec.given(Bank.Account, [opened, deposited(100), withdrawn(30)]).thenState(70)
  })
})

const planned = SeatEvent.cases.ShowPlanned.make({ show: "hamlet", seats: 9 })
const reserved = (guest: string, show = "hamlet") => SeatEvent.cases.SeatReserved.make({ show, guest })

describe("a theatre", () => {
  it("lets a guest reserve two seats", () => {
    DecisionSpec.given(reserveSeat, [planned, reserved("ann")])
      .when({ show: "hamlet", guest: "ann" })
      .thenEvents([reserved("ann")])
    DecisionSpec.given(reserveSeat, [planned, reserved("ann"), reserved("ann")])
      .when({ show: "hamlet", guest: "ann" })
      .thenFails(new TooMany({ guest: "ann" }))
  })

  it("counts the reservations for all shows", () => {
    DeciderSpec.given(ShowDecider, [planned])
      .and(SeatEvent, [reserved("ann", "faust"), reserved("ann", "lear")])
      .when(ReserveSeat, { show: "hamlet", guest: "ann" })
      .thenFails(new TooMany({ guest: "ann" }))
  })
})

const Transfer = Schema.TaggedUnion({
  Deposit: Bank.Deposit.payloadSchema.fields,
  Withdraw: Bank.Withdraw.payloadSchema.fields
})

describe("an account under generated commands", () => {
  it.effect.prop("is never overdrawn", [Schema.Array(Transfer)], ([transfers]) =>
    Effect.sync(() => {
      let balance = Decider.fold(Bank.Account, [opened])
      for (const { _tag, ...payload } of transfers) {
        const decision = Decider.decide(Bank.Account, balance, _tag, payload)
        if (Result.isSuccess(decision)) balance = Decider.fold(Bank.Account, decision.success, balance)
        assert.isAtLeast(balance ?? 0, 0)
      }
    }))
})

describe("the properties of an account", () => {
  const State = Schema.UndefinedOr(Schema.Int)
  const properties = DeciderProperties.all(Bank.Account, { state: State, runs: 300 })
  for (const { name, test } of properties) it.effect(name, () => test)
})

for (const { name, test } of DeciderProperties.all(Bank.Account, { state: Schema.UndefinedOr(Schema.Int) })) {
  it(`${name}, without @effect/vitest`, () => Effect.runPromise(Effect.scoped(test)))
}

describe("an event", () => {
  it("decodes a payload of an earlier release", () => {
    const stored = { type: "Deposited", schemaVersion: 1, data: { account: "ann", amount: 100 } }
    assert.deepStrictEqual(EventCodec.make(Bank.AccountEvent).decodeData(stored), Result.succeed([deposited(100)]))
  })
})

const url = inject("postgresUrl")

const backEnds = {
  memory: Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory),
  PGlite: PgStores.layer.pipe(Layer.provide(TestDatabase.layerPglite())),
  PostgreSQL: PgStores.layer.pipe(Layer.provide(TestDatabase.layerPostgres({ url })))
}

for (const [name, stores] of Object.entries(backEnds)) {
  layer(Bank.Bank.pipe(Layer.provideMerge(stores)), { excludeTestServices: true })(`the bank on ${name}`, (it) => {
    it.effect("returns the balance after a deposit", () =>
      Effect.gen(function*() {
        yield* CommandBus.dispatch(Bank.Open, { account: "ben" })
        const receipt = yield* CommandBus.dispatch(Bank.Deposit, { account: "ben", amount: 100 })
        const balance = yield* QueryBus.ask(Bank.GetBalance, { account: "ben" }, { after: receipt })
        assert.strictEqual(balance, 100)
      }))

    it.effect("books a deposit once when it is sent again", () =>
      Effect.gen(function*() {
        yield* CommandBus.dispatch(Bank.Open, { account: "cleo" })
        const deposit = CommandBus.dispatch(Bank.Deposit, { account: "cleo", amount: 100 }, { commandId: "deposit-1" })
        const receipts = yield* Effect.all([deposit, deposit, deposit], { concurrency: "unbounded" })
        assert.deepStrictEqual(receipts[1], receipts[0])
        assert.deepStrictEqual(receipts[2], receipts[0])
        const { state } = yield* Aggregate.load(Bank.Account, "cleo")
        assert.strictEqual(state, 100)
      }))

    it.effect("rejects concurrent withdrawals beyond the balance", () =>
      Effect.gen(function*() {
        yield* CommandBus.dispatch(Bank.Open, { account: "dora" })
        yield* CommandBus.dispatch(Bank.Deposit, { account: "dora", amount: 50 })
        const withdrawal = Effect.exit(CommandBus.dispatch(Bank.Withdraw, { account: "dora", amount: 10 }))
        const exits = yield* Effect.replicateEffect(withdrawal, 10, { concurrency: "unbounded" })
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 5)
      }))

    it.effect("stores the actor", () =>
      Effect.gen(function*() {
        yield* CommandBus.dispatch(Bank.Open, { account: "eve" }, { actor: "clerk 7" })
        const events = yield* Stream.runCollect(EventStore.readStream(Bank.AccountEvent, "Account-eve"))
        assert.deepStrictEqual(events.map((e) => [e.event._tag, e.metadata.actor]), [["Opened", "clerk 7"]])
      }))
  })
}

describe("the bank in memory", () => {
  it.effect("reads the balance as of an instant of the test clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2025, 11, 31, 23))
      yield* CommandBus.dispatch(Bank.Open, { account: "ann" })
      yield* CommandBus.dispatch(Bank.Deposit, { account: "ann", amount: 100 })
      yield* TestClock.adjust("2 hours")
      yield* CommandBus.dispatch(Bank.Withdraw, { account: "ann", amount: 30 })
      const newYear = DateTime.makeUnsafe("2026-01-01T00:00:00Z")
      assert.strictEqual((yield* Aggregate.load(Bank.Account, "ann", { atTime: newYear })).state, 100)
      assert.strictEqual((yield* Aggregate.load(Bank.Account, "ann")).state, 70)
    }).pipe(Effect.provide(Aggregate.layer(Bank.Account)), Effect.provide(EventStore.layerMemory)))

  it.effect("books a deposit once when the reply is lost", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatch(Bank.Open, { account: "ann" })
      const receipt = yield* CommandBus.dispatch(Bank.Deposit, { account: "ann", amount: 100 })
      const { state, version } = yield* Aggregate.load(Bank.Account, "ann")
      assert.deepStrictEqual([state, version], [100, receipt.version])
    }).pipe(Effect.provide(Aggregate.layer(Bank.Account)), Effect.provide(losingOneReply)))
})

/** A memory store that writes the first deposit, then reports a lost connection. */
const losingOneReply = Layer.effect(
  EventStore.EventStore,
  Effect.gen(function*() {
    const driver = yield* EventStore.driver
    let done = false
    return yield* EventStore.make({
      ...driver,
      append: (request) =>
        Effect.tap(driver.append(request), () => {
          if (done || request.events[0]?.type !== "Deposited") return Effect.void
          done = true
          const { stream } = request
          const reason = new OutcomeUnknown({ stream, message: "The connection was lost", cause: undefined })
          return Effect.fail(new EventStoreError({ reason }))
        })
    })
  })
).pipe(Layer.provide(EventStore.layerMemory))

/** Your driver; here that of the memory store. */
const ownStore = EventStore.layer(EventStore.driver).pipe(Layer.provide(EventStore.layerMemory))

layer(ownStore, { excludeTestServices: true })("my store", (it) => {
  for (const { name, test } of EventStoreSuite.cases) it.effect(name, () => test)
})
