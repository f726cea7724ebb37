/**
 * Bank accounts and the total of each owner, for the conformance suite of the runtime.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import { unique } from "../../src/conformance/Suite.ts"
import type { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import type * as ProjectionStore from "../../src/projection/ProjectionStore.ts"

export type Stores = EventStore | ProjectionStore.ProjectionStore

export const AccountEvent = Schema.TaggedUnion({
  Opened: { id: Schema.String, owner: Schema.String },
  Deposited: { id: Schema.String, owner: Schema.String, amount: Schema.Int },
  Withdrawn: { id: Schema.String, owner: Schema.String, amount: Schema.Int }
})
export class Closed extends Schema.TaggedError<Closed>()("Closed", { id: Schema.String }) {}
export class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}

export const Open = Command.make("Open", { payload: { id: Schema.String, owner: Schema.NonEmptyString } })
export const Deposit = Command.make("Deposit", {
  payload: { id: Schema.String, amount: Schema.Int.check(Schema.isGreaterThan(0)) },
  error: Closed
})
export const Withdraw = Command.make("Withdraw", {
  payload: { id: Schema.String, amount: Schema.Int },
  error: Schema.Union([Closed, Overdrawn])
})

export const Account = Aggregate.make("Account", {
  id: "id",
  state: Schema.Struct({ owner: Schema.optionalKey(Schema.String), balance: Schema.Int }),
  events: AccountEvent,
  commands: [Open, Deposit, Withdraw]
})

export const AccountDecider = Account.decider({
  initial: { balance: 0 },
  evolve: {
    Opened: (_, e) => ({ owner: e.owner, balance: 0 }),
    Deposited: (s, e) => ({ ...s, balance: s.balance + e.amount }),
    Withdrawn: (s, e) => ({ ...s, balance: s.balance - e.amount })
  },
  decide: {
    Open: (s, c) => s.owner === undefined ? [AccountEvent.cases.Opened.make(c)] : [],
    Deposit: (s, c) =>
      s.owner === undefined
        ? Result.fail(new Closed({ id: c.id }))
        : [AccountEvent.cases.Deposited.make({ ...c, owner: s.owner })],
    Withdraw: (s, c) =>
      s.owner === undefined
        ? Result.fail(new Closed({ id: c.id }))
        : s.balance < c.amount
        ? Result.fail(new Overdrawn({ balance: s.balance }))
        : [AccountEvent.cases.Withdrawn.make({ ...c, owner: s.owner })]
  }
})

export const Wealth = Schema.Struct({ owner: Schema.String, total: Schema.Int, events: Schema.Int })

/** Returns a projection of each owner's total over all accounts. The total shows an event that is applied twice. */
export const wealth = <L extends Projection.Lifecycle>(lifecycle: L) =>
  Projection.make(unique("wealth"), {
    // Other suites leave events in the log that cannot be decoded.
    partitionBy: "stream",
    events: AccountEvent,
    document: Wealth,
    lifecycle,
    // Other suites write other events of these names.
    where: { streamPrefix: "Account-" },
    key: (event) => event.owner,
    evolve: {
      Opened: (w, e) => ({ owner: e.owner, total: w?.total ?? 0, events: (w?.events ?? 0) + 1 }),
      Deposited: (w, e) => ({ owner: e.owner, total: (w?.total ?? 0) + e.amount, events: (w?.events ?? 0) + 1 }),
      Withdrawn: (w, e) => ({ owner: e.owner, total: (w?.total ?? 0) - e.amount, events: (w?.events ?? 0) + 1 })
    }
  })

export const accounts = Aggregate.layer(AccountDecider)

export const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)
