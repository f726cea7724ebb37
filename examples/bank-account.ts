/** A bank account in memory: commands, decided on the account's events, and balances in a read model. */
import { Console, Effect, Layer, Option, Result, Schema } from "effect"
import { Aggregate, Command, Projection, Query } from "evsrc"
import { CommandBus, EventStore, ProjectionStore, Projector, QueryBus } from "evsrc"

const account = { account: Schema.NonEmptyString }
const transfer = { ...account, amount: Schema.Int.check(Schema.isGreaterThan(0)) }

export const AccountEvent = Schema.TaggedUnion({ Opened: account, Deposited: transfer, Withdrawn: transfer })
const { Deposited, Opened, Withdrawn } = AccountEvent.cases

export class NotOpen extends Schema.TaggedError<NotOpen>()("NotOpen", account) {}
export class InsufficientFunds extends Schema.TaggedError<InsufficientFunds>()("InsufficientFunds", {
  balance: Schema.Int
}) {}

export const Open = Command.make("Open", { payload: account })
export const Deposit = Command.make("Deposit", { payload: transfer, error: NotOpen })
export const Withdraw = Command.make("Withdraw", {
  payload: transfer,
  error: Schema.Union([NotOpen, InsufficientFunds])
})
export const GetBalance = Query.make("GetBalance", { payload: account, success: Schema.Int })

/** The state is the balance; undefined until the account is opened. */
export const Account = Aggregate.make("Account", {
  id: "account",
  state: Schema.UndefinedOr(Schema.Int),
  events: AccountEvent,
  commands: [Open, Deposit, Withdraw]
}).decider({
  initial: undefined,
  evolve: {
    Opened: () => 0,
    Deposited: (balance = 0, { amount }) => balance + amount,
    Withdrawn: (balance = 0, { amount }) => balance - amount
  },
  decide: {
    Open: (balance, command) => balance === undefined ? [Opened.make(command)] : [],
    Deposit: (balance, command) =>
      balance === undefined ? Result.fail(new NotOpen(command)) : [Deposited.make(command)],
    Withdraw: (balance, command) => {
      if (balance === undefined) return Result.fail(new NotOpen(command))
      return balance < command.amount ? Result.fail(new InsufficientFunds({ balance })) : [Withdrawn.make(command)]
    }
  }
})

export const Balances = Projection.make("balances", {
  events: AccountEvent,
  document: Schema.Int,
  key: (event) => event.account,
  evolve: {
    Opened: () => 0,
    Deposited: (balance = 0, { amount }) => balance + amount,
    Withdrawn: (balance = 0, { amount }) => balance - amount
  }
})

const getBalance = QueryBus.handler(
  GetBalance,
  ({ account }) => Effect.map(ProjectionStore.get(Balances, account), Option.getOrElse(() => 0))
)

/** Requires an event store and a projection store, in memory or on PostgreSQL. */
export const Bank = Layer.mergeAll(Aggregate.layer(Account), Projector.layer([Balances]), getBalance)

export const program = Effect.gen(function*() {
  yield* CommandBus.dispatch(Open, { account: "ann" })
  const receipt = yield* CommandBus.dispatch(Deposit, { account: "ann", amount: 100 })
  const error = yield* Effect.flip(CommandBus.dispatch(Withdraw, { account: "ann", amount: 130 }))
  const balance = yield* QueryBus.ask(GetBalance, { account: "ann" }, { after: receipt })
  yield* Console.log(`ann has ${balance} after ${receipt.version} events; withdrawing 130 fails: ${error._tag}`)
})

if (process.argv[1] === import.meta.filename) {
  const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)
  await Effect.runPromise(program.pipe(Effect.provide(Bank), Effect.provide(stores)))
}
