/**
 * A program that uses each part of evsrc once, and prints the number of its checks. DATABASE_URL selects a server; without it, PGlite is used.
 * It runs on each runtime, with each server, from each bundler, and each TypeScript checks it.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Option, Redacted, Result, Schema, Stream } from "effect"
import {
  Aggregate,
  Command,
  CommandBus,
  Decision,
  Erasure,
  Event,
  EventBus,
  EventStore,
  PersonalData,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  Rebuild,
  SnapshotPolicy,
  Version
} from "evsrc"
import { PgKeyStore, PgStores } from "evsrc/pg"

const account = Schema.NonEmptyString
const owner = PersonalData.field(Schema.NonEmptyString, { subject: "account" })
const AccountEvent = Schema.TaggedUnion({
  Opened: { account, owner },
  Deposited: { account, amount: Schema.Int }
}).pipe(Event.tags({ account: "account" }))
const { Deposited, Opened } = AccountEvent.cases

class NotOpen extends Schema.TaggedError<NotOpen>()("NotOpen", { account }) {}
class HasBonus extends Schema.TaggedError<HasBonus>()("HasBonus", { account }) {}
const Open = Command.make("Open", { payload: { account, owner: Schema.NonEmptyString } })
const Deposit = Command.make("Deposit", { payload: { account, amount: Schema.Int }, error: NotOpen })
const Bonus = Command.make("Bonus", { payload: { account }, error: HasBonus })
const GetBalance = Query.make("GetBalance", { payload: { account }, success: Schema.Int })

const Account = Aggregate.make("Account", {
  id: "account",
  state: Schema.Struct({ open: Schema.Boolean, balance: Schema.Int }),
  events: AccountEvent,
  commands: [Open, Deposit]
}).decider({
  snapshots: SnapshotPolicy.every(2),
  initial: { open: false, balance: 0 },
  evolve: {
    Opened: (state) => ({ ...state, open: true }),
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount })
  },
  decide: {
    Open: (_, payload) => [Opened.make(payload)],
    Deposit: (state, payload) =>
      state.open ? [Deposited.make(payload)] : Result.fail(new NotOpen({ account: payload.account }))
  }
})

const Deposits = (account: string) =>
  Decision.model({ events: AccountEvent, tags: { account }, initial: 0, evolve: { Deposited: (count) => count + 1 } })

const GiveBonus = Decision.make(Bonus, {
  events: AccountEvent,
  models: ({ account }) => ({ deposits: Deposits(account) }),
  decide: ({ deposits }, { account }) =>
    deposits > 2 ? Result.fail(new HasBonus({ account })) : [Deposited.make({ account, amount: 1 })]
})

const Balances = Projection.make("balances", {
  events: AccountEvent,
  document: Schema.Struct({ balance: Schema.Int }),
  key: (event) => event.account,
  evolve: {
    Opened: () => ({ balance: 0 }),
    Deposited: (before, { amount }) => ({ balance: (before?.balance ?? 0) + amount })
  }
})

const balanceOf = (account: string) =>
  Effect.map(
    ProjectionStore.get(Balances, account),
    Option.match({ onNone: () => 0, onSome: ({ balance }) => balance })
  )

let checks = 0
const check = (name: string, actual: unknown, expected: unknown): void => {
  if (actual !== expected) throw new Error(`${name}: ${String(actual)} instead of ${String(expected)}`)
  checks++
}

const commands = Effect.gen(function*() {
  const woken = yield* EventBus.listen(AccountEvent)
  const opened = yield* CommandBus.dispatch(Open, { account: "ä-1", owner: "Änne İpek" })
  check("the version after a command", opened.version, 1)
  const first = yield* Stream.runHead(woken).pipe(Effect.timeout("20 seconds"))
  check("the event that wakes a listener", Option.getOrThrow(first).type, "Opened")
  const error = yield* Effect.flip(CommandBus.dispatch(Deposit, { account: "none", amount: 1 }))
  check("a declared error", error._tag, "NotOpen")
  const commandId = "one-command"
  const deposit = CommandBus.dispatch(Deposit, { account: "ä-1", amount: 10 }, { commandId })
  const receipts = [yield* deposit, yield* deposit]
  check("the same command twice", receipts[1]!.position, receipts[0]!.position)
  yield* CommandBus.dispatch(Bonus, { account: "ä-1" })
  const last = yield* CommandBus.dispatch(Deposit, { account: "ä-1", amount: 5 })
  check("the version after three commands", last.version, 3)
  check("a decision", (yield* Effect.flip(CommandBus.dispatch(Bonus, { account: "ä-1" })))._tag, "HasBonus")
  return last
})

const appends = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const event = Deposited.make({ account: "ß", amount: 1 })
  const append = store.append(AccountEvent, "ß", [event], { expected: "noStream" })
  check("an append", (yield* append).version, 1)
  const conflict = yield* Effect.flip(append)
  check("a conflict", conflict._tag, "ConcurrencyConflict")
  const exact = yield* store.append(AccountEvent, "ß", [event, event], { expected: Version.make(1) })
  check("the version after a batch", exact.version, 3)
  const read = yield* Stream.runCollect(store.readStream(AccountEvent, "ß"))
  check("the events of a stream", read.length, 3)
  const writers = Effect.replicateEffect(store.append(AccountEvent, "busy", [event]), 30, { concurrency: "unbounded" })
  check("thirty writers", Math.max(...(yield* writers).map(({ version }) => version)), 30)
})

const program = Effect.gen(function*() {
  const receipt = yield* commands
  yield* appends
  check("a query after a receipt", yield* QueryBus.ask(GetBalance, { account: "ä-1" }, { after: receipt }), 16)
  const loaded = yield* Aggregate.load(Account, "ä-1")
  check("the state of an aggregate", loaded.state.balance, 15)
  yield* Stream.runDrain(Rebuild.rebuild(Balances, { compare: true, interval: "50 millis" }))
  check("a document after a rebuild", yield* balanceOf("ä-1"), 16)
  const store = yield* EventStore.EventStore
  const nameOf = Effect.map(
    Stream.runHead(store.readStream(AccountEvent, receipt.stream)),
    (record) => {
      const { event } = Option.getOrThrow(record)
      return event._tag === "Opened" ? PersonalData.getOrElse(event.owner, () => "erased") : "none"
    }
  )
  check("personal data", yield* nameOf, "Änne İpek")
  const { found } = yield* Erasure.erase("ä-1")
  check("encrypted events of an erased subject", found.encrypted.events, 1)
  check("erased personal data", yield* nameOf, "erased")
})

const Program = Layer.mergeAll(
  Aggregate.layer(Account),
  Decision.layer(GiveBonus),
  EventBus.layer(),
  Projector.layer([Balances]),
  QueryBus.handler(GetBalance, ({ account }) => balanceOf(account))
)

const addressOf = (url: URL, socket: string | undefined) =>
  socket === undefined ? { url: Redacted.make(url.href) } : {
    path: socket,
    username: url.username,
    password: Redacted.make(url.password),
    database: url.pathname.slice(1)
  }

const url = process.env["DATABASE_URL"]
const Client = url === undefined
  ? Layer.unwrap(Effect.map(
    Effect.promise(() => import("evsrc/pglite")),
    ({ PgliteClient }) => PgliteClient.layer()
  ))
  : PgClient.layer({
    ...addressOf(new URL(url), process.env["SOCKET"]),
    maxConnections: 5,
    prepare: process.env["PREPARE"] !== "no",
    ...process.env["TLS"] === "yes" ? { ssl: { rejectUnauthorized: false } } : {}
  })
const Keys = PgKeyStore.layerWith({ schema: "keys", maxAge: 0 })
const Stores = PgStores.layer.pipe(Layer.provideMerge(Keys), Layer.provide(Client))

const running = program.pipe(Effect.scoped, Effect.provide(Program), Effect.provide(Stores))
await Effect.runPromise(Effect.timeout(running, "60 seconds"))
console.log(`${checks} checks`)
