/** Executes the code of docs/time-travel.md. */
import { assert, layer } from "@effect/vitest"
import { DateTime, Effect, JsonPatch, Layer, Option, Result, Schema, Stream } from "effect"
import { Aggregate, Command, CommandBus, Decision, Event, EventStore } from "evsrc"
import { AsOf, Projection, ProjectionStore, TimeTravel, Version } from "evsrc"

const account = Schema.NonEmptyString
const owner = Schema.NonEmptyString
const amount = Schema.Int.check(Schema.isGreaterThan(0))

const AccountEvent = Schema.TaggedUnion({
  Opened: { account, owner },
  Deposited: { account, owner, amount },
  Withdrawn: { account, owner, amount }
}).pipe(Event.tags({ account: "account", owner: "owner" }))
const { Deposited, Opened, Withdrawn } = AccountEvent.cases

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}

const Open = Command.make("Open", { payload: { account, owner } })
const Deposit = Command.make("Deposit", { payload: { account, owner, amount } })
const Withdraw = Command.make("Withdraw", { payload: { account, owner, amount }, error: Overdrawn })

const Account = Aggregate.make("Account", {
  id: "account",
  state: Schema.Struct({ open: Schema.Boolean, balance: Schema.Int }),
  events: AccountEvent,
  commands: [Open, Deposit, Withdraw]
})
const behaviour: Parameters<typeof Account.decider>[0] = {
  initial: { open: false, balance: 0 },
  evolve: {
    Opened: (state) => ({ ...state, open: true }),
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount }),
    Withdrawn: (state, { amount }) => ({ ...state, balance: state.balance - amount })
  },
  decide: {
    Open: ({ open }, command) => open ? [] : [Opened.make(command)],
    Deposit: (_, command) => [Deposited.make(command)],
    Withdraw: ({ balance }, command) =>
      command.amount > balance ? Result.fail(new Overdrawn({ balance })) : [Withdrawn.make(command)]
  }
}
const Accounts = Account.decider(behaviour)

const Wealth = Projection.make("wealth", {
  events: AccountEvent,
  document: Schema.Struct({ accounts: Schema.Int, total: Schema.Int }),
  key: (event) => event.owner,
  evolve: {
    Opened: (wealth = { accounts: 0, total: 0 }) => ({ ...wealth, accounts: wealth.accounts + 1 }),
    Deposited: (wealth, { amount }) => wealth && { ...wealth, total: wealth.total + amount },
    Withdrawn: (wealth, { amount }) => wealth && { ...wealth, total: wealth.total - amount }
  }
})

class NotEnough extends Schema.TaggedError<NotEnough>()("NotEnough", { owned: Schema.Int }) {}
const Lend = Command.make("Lend", { payload: { account, owner, amount }, error: NotEnough })
const Lending = Decision.make(Lend, {
  events: AccountEvent,
  models: ({ owner }) => ({
    owned: Decision.model({
      events: AccountEvent,
      tags: { owner },
      initial: 0,
      evolve: { Deposited: (sum, { amount }) => sum + amount, Withdrawn: (sum, { amount }) => sum - amount }
    })
  }),
  decide: ({ owned }, command) =>
    command.amount > 2 * owned ? Result.fail(new NotEnough({ owned })) : [Deposited.make(command)]
})

const Stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)
const Handlers = Layer.merge(Aggregate.layer(Accounts), Decision.layer(Lending))

layer(Handlers.pipe(Layer.provideMerge(Stores)), { excludeTestServices: true })("time travel", (it) => {
  it.effect("reads, compares and decides as of points in time", () =>
    Effect.gen(function*() {
      const [account, owner] = ["a-1", "ann"]
      yield* CommandBus.dispatch(Open, { account, owner })
      const receipt = yield* CommandBus.dispatch(Deposit, { account, owner, amount: 100 })
      yield* CommandBus.dispatch(Withdraw, { account, owner, amount: 30 })

      const before = yield* TimeTravel.aggregate(Accounts, account, AsOf.version(2))
      assert.deepStrictEqual(before.state, { open: true, balance: 100 })
      const events = yield* Stream.runCollect(before.events)
      assert.deepStrictEqual(events.map(({ event }) => event._tag), ["Opened", "Deposited"])

      const early = yield* Aggregate.load(Accounts, account, { atVersion: Version.make(2) })
      assert.deepStrictEqual(early.state, before.state)

      const same = yield* TimeTravel.aggregate(Accounts, account, AsOf.position(receipt.position))
      assert.deepStrictEqual(same.state, before.state)
      const yesterday = DateTime.subtract(yield* DateTime.now, { days: 1 })
      const absent = yield* TimeTravel.aggregate(Accounts, account, AsOf.instant(yesterday))
      assert.deepStrictEqual(absent.state, { open: false, balance: 0 })

      const firstBelow = yield* TimeTravel.history(Accounts, account).pipe(
        Stream.filter(({ encoded, state }) => encoded.version > 2 && state.balance < 100),
        Stream.runHead
      )
      assert.strictEqual(Option.getOrThrow(firstBelow).encoded.version, 3)

      const { document } = yield* TimeTravel.document(Wealth, owner, AsOf.position(receipt.position), {
        find: [{ tags: [Event.tag("owner", owner)] }]
      })
      assert.deepStrictEqual(document, Option.some({ accounts: 1, total: 100 }))

      const asked = { account, owner, amount: 150 }
      const { states } = yield* TimeTravel.decision(Lending, asked, AsOf.position(receipt.position))
      assert.strictEqual(states.owned, 100)

      const diff = yield* TimeTravel.aggregateDiff(Accounts, account, { from: AsOf.version(1), to: AsOf.now })
      assert.deepStrictEqual(diff.changes, [{ op: "replace", path: "/balance", old: 0, value: 70 }])
      assert.deepStrictEqual(JsonPatch.apply(diff.changes, diff.from.state), { open: true, balance: 70 })
      assert.strictEqual(yield* Stream.runCount(diff.events), 2)

      const wanted = { account, owner, amount: 80 }
      const refused = yield* Effect.flip(TimeTravel.whatIf(Accounts, Withdraw, wanted, AsOf.now))
      assert.deepStrictEqual(refused, new Overdrawn({ balance: 70 }))
      const then = yield* TimeTravel.whatIf(Accounts, Withdraw, wanted, AsOf.version(2))
      assert.deepStrictEqual([then.events, then.state.balance], [[Withdrawn.make(wanted)], 20])
      const next = yield* TimeTravel.whatIf(Accounts, Deposit, { account, owner, amount: 5 }, then)
      assert.strictEqual(next.state.balance, 25)

      const Generous = Account.decider({
        ...behaviour,
        decide: {
          ...behaviour.decide,
          Withdraw: ({ balance }, command) =>
            command.amount > balance + 50 ? Result.fail(new Overdrawn({ balance })) : [Withdrawn.make(command)]
        }
      })
      const generous = yield* TimeTravel.whatIf(Generous, Withdraw, wanted, AsOf.now)
      assert.strictEqual(generous.state.balance, -10)

      const lent = yield* TimeTravel.whatIfDecided(Lending, asked, AsOf.position(receipt.position))
      assert.deepStrictEqual([lent.before.states.owned, lent.states.owned], [100, 250])
      assert.isTrue(Result.isFailure(yield* Effect.result(CommandBus.dispatch(Lend, asked))))

      const unreached = yield* Effect.flip(TimeTravel.aggregate(Accounts, account, AsOf.version(4)))
      assert.strictEqual(
        unreached.message,
        "Stream \"Account-a-1\" has reached version 3, not yet version 4; use an earlier point in time, or read again later"
      )
    }))
})
