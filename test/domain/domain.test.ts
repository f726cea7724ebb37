/** Definitions of `evsrc/domain` run on the layers of `evsrc`: they are the same values and types. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Result, Schema } from "effect"
import * as Evsrc from "evsrc"
import * as Domain from "evsrc/domain"

const account = Schema.NonEmptyString
const AccountEvent = Schema.TaggedUnion({
  Deposited: { account, amount: Schema.Int }
}).pipe(Domain.Event.tags({ account: "account" }))
class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", {}) {}
const Deposit = Domain.Command.make("Deposit", { payload: { account, amount: Schema.Int }, error: Overdrawn })
class LimitReached extends Schema.TaggedError<LimitReached>()("LimitReached", {}) {}
const Bonus = Domain.Command.make("Bonus", { payload: { account }, error: LimitReached })
const GetBalance = Domain.Query.make("GetBalance", { payload: { account }, success: Schema.Int })
const deposited = (account: string, amount: number) => AccountEvent.cases.Deposited.make({ account, amount })

const Account = Domain.Aggregate.make("Account", {
  id: "account",
  state: Schema.Int,
  events: AccountEvent,
  commands: [Deposit]
}).decider({
  initial: 0,
  evolve: { Deposited: (balance, event) => balance + event.amount },
  decide: {
    Deposit: (_, { account, amount }) => amount < 0 ? Result.fail(new Overdrawn()) : [deposited(account, amount)]
  }
})
const Balances = Domain.Projection.make("balances", {
  version: 1,
  lifecycle: "live",
  events: AccountEvent,
  key: (event) => event.account,
  document: Schema.Int,
  evolve: { Deposited: (balance, event) => (balance ?? 0) + event.amount }
})
const deposits = (account: string) =>
  Domain.Decision.model({
    events: AccountEvent,
    tags: { account },
    initial: 0,
    evolve: { Deposited: (count) => count + 1 }
  })
const GiveBonus = Domain.Decision.make(Bonus, {
  events: AccountEvent,
  models: ({ account }) => ({ count: deposits(account) }),
  decide: ({ count }, { account }) => count > 1 ? Result.fail(new LimitReached()) : [deposited(account, 1)]
})

describe("evsrc/domain", () => {
  it("exports what evsrc exports, under the same names", () => {
    const all: Readonly<Record<string, unknown>> = Evsrc
    for (const [name, value] of Object.entries(Domain)) {
      const other = all[name]
      if (typeof value !== "object" || value === null) {
        assert.strictEqual(other, value, name)
        continue
      }
      for (const [member, exported] of Object.entries(value)) {
        assert.strictEqual(Reflect.get(Object(other), member), exported, `${name}.${member}`)
      }
    }
  })

  it.effect("makes definitions that the layers of evsrc run", () =>
    Effect.gen(function*() {
      yield* Evsrc.CommandBus.dispatch(Deposit, { account: "ann", amount: 5 })
      yield* Effect.flip(Evsrc.CommandBus.dispatch(Deposit, { account: "ann", amount: -1 }))
      yield* Evsrc.CommandBus.dispatch(Bonus, { account: "ann" })
      yield* Effect.flip(Evsrc.CommandBus.dispatch(Bonus, { account: "ann" }))
      assert.strictEqual((yield* Evsrc.Aggregate.load(Account, "ann")).state, 5)
      assert.strictEqual(yield* Evsrc.QueryBus.ask(GetBalance, { account: "ann" }), 6)
    }).pipe(
      Effect.provide(Layer.mergeAll(
        Evsrc.Aggregate.layer(Account),
        Evsrc.Decision.layer(GiveBonus),
        Evsrc.QueryBus.handler(GetBalance, ({ account }) =>
          Effect.map(Evsrc.ProjectionStore.get(Balances, account), Option.getOrElse(() => 0)))
      )),
      Effect.provide(Layer.merge(Evsrc.EventStore.layerMemory, Evsrc.ProjectionStore.layerMemory))
    ))
})
