/**
 * The suite of decisions that arrive together, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { upTo } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventQuery from "../../src/event/EventQuery.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"

/** Money moves from the first of two accounts to the second; the account "mint" has as much as it wants. */
const MoneyEvent = Schema.TaggedUnion({
  Moved: { accounts: Schema.Array(Schema.String), amount: Schema.Int }
}).pipe(Event.tags({ account: "accounts" }))
const { Moved } = MoneyEvent.cases

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}

/** A model whose `evolve` closes over its argument. */
const balanceOf = (account: string) =>
  Decision.model({
    events: MoneyEvent,
    tags: { account },
    initial: 0,
    evolve: {
      Moved: (balance, { accounts, amount }) =>
        balance + (accounts[1] === account ? amount : 0) - (accounts[0] === account ? amount : 0)
    }
  })

const payload = { from: Schema.String, to: Schema.String, amount: Schema.Int }
const Move = Command.make("Move", { payload, error: Overdrawn })
const move = Decision.make(Move, {
  events: MoneyEvent,
  models: ({ from, to }) => ({ from: balanceOf(from), to: balanceOf(to) }),
  decide: ({ from }, { amount, from: first, to }) =>
    amount === 0 ? [] : from < amount ?
      Result.fail(new Overdrawn({ balance: from })) :
      [Moved.make({ accounts: [first, to], amount })]
})

/** Pays into an account. It takes the balance of that account only. */
const Pay = Command.make("Pay", { payload: { to: Schema.String, amount: Schema.Int } })
export const pay = Decision.make(Pay, {
  events: MoneyEvent,
  models: ({ to }) => ({ to: balanceOf(to) }),
  decide: (_, { amount, to }) => [Moved.make({ accounts: ["mint", to], amount })]
})

const withoutRetry = { conflictRetry: Schedule.recurs(0) }
const handlers = (options: Decision.DecisionOptions = withoutRetry) =>
  [
    Decision.layer(move, options),
    Decision.layer(pay, options)
  ] as const

/** Runs an effect on a store whose appends another function sends. */
const onChanged =
  (append: (send: EventStoreDriver["append"]) => EventStoreDriver["append"]) =>
  <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const store = yield* EventStore.make({ ...driver, append: append(driver.append) })
      return yield* Effect.provideService(self, EventStore.EventStore, store)
    })

const [moving, paying] = handlers()
const provided = <A, E, R>(self: Effect.Effect<A, E, R>) => self.pipe(Effect.provide(moving), Effect.provide(paying))

/** Returns the balance of an account after each of its events. */
const balances = Effect.fnUntraced(function*(account: string) {
  const store = yield* EventStore.EventStore
  const { events } = yield* store.readByQuery(EventQuery.make(MoneyEvent, [{ tags: [Event.tag("account", account)] }]))
  let balance = 0
  return events.map(({ data }) => {
    const { accounts, amount } = data as typeof Moved.Type
    return balance += (accounts[1] === account ? amount : 0) - (accounts[0] === account ? amount : 0)
  })
})

const errorsOf = (exits: ReadonlyArray<Exit.Exit<unknown, unknown>>) =>
  exits.map((exit) => Option.getOrUndefined(Exit.findErrorOption(exit)))

/**
 * Many decisions at a time.
 *
 * @since 0.1.0
 * @category suites
 */
export const decisionQueues: ReadonlyArray<Case<EventStore.EventStore>> = [
  test("decisions that arrive together on one tag all succeed without a conflict", function*() {
    const [ann, bob] = [unique("ann"), unique("bob")]
    yield* provided(Effect.gen(function*() {
      yield* CommandBus.dispatch(Pay, { to: ann, amount: 20 })
      const exits = yield* Effect.forEach(
        upTo(32),
        (n) => Effect.exit(CommandBus.dispatch(Move, { from: ann, to: `${bob}-${n}`, amount: 1 })),
        { concurrency: "unbounded" }
      )
      const errors = errorsOf(exits)
      equal(errors.filter((error) => error === undefined).length, 20, "as many as the balance allows")
      equal(errors.filter((error) => error instanceof Overdrawn).length, 12, "all others see that it is used up")
      equal((yield* balances(ann)).at(-1), 0, "the balance")
    }))
  }),

  test("decisions that share tags crosswise end, and keep every balance", function*() {
    const accounts = upTo(4).map((n) => unique(`a${n}`))
    yield* provided(Effect.gen(function*() {
      yield* Effect.forEach(accounts, (to) => CommandBus.dispatch(Pay, { to, amount: 5 }), { concurrency: "unbounded" })
      const exits = yield* Effect.forEach(upTo(48), (n) => {
        const from = accounts[n % 4]!
        const to = accounts[(n + 1 + Math.floor(n / 4) % 3) % 4]!
        return Effect.exit(CommandBus.dispatch(Move, { from, to, amount: 1 + n % 3 }))
      }, { concurrency: "unbounded" })
      for (const error of errorsOf(exits)) ok(error === undefined || error instanceof Overdrawn, `${String(error)}`)
      let total = 0
      for (const account of accounts) {
        const all = yield* balances(account)
        ok(all.every((balance) => balance >= 0), `the balances ${all.join()}`)
        total += all.at(-1)!
      }
      equal(total, 20, "the total")
    }))
  }),

  test("a decision on other tags does not wait for one in flight", function*() {
    const gate = yield* Deferred.make<void>()
    const [held, other] = [unique("held"), unique("other")]
    const holding = onChanged((send) => (request) =>
      request.events.some(({ tags = [] }) => tags.includes(Event.tag("account", held)))
        ? Effect.andThen(Deferred.await(gate), send(request))
        : send(request)
    )
    yield* holding(provided(Effect.gen(function*() {
      const paying = yield* Effect.forkChild(CommandBus.dispatch(Pay, { to: held, amount: 1 }), {
        startImmediately: true
      })
      yield* Effect.timeout(CommandBus.dispatch(Pay, { to: other, amount: 1 }), "1 minute")
      equal(yield* balances(held), [], "the one in flight")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(paying)
      equal(yield* balances(held), [1], "the one in flight, afterwards")
    })))
  }),

  test("a decision that is interrupted, fails or throws lets those behind it go on", function*() {
    const sent = yield* Deferred.make<void>()
    const account = unique("a")
    const holding = onChanged((send) => (request) =>
      request.events[0]!.data.includes(`"amount":1}`)
        ? Effect.andThen(Deferred.succeed(sent, undefined), Effect.never)
        : send(request)
    )
    yield* holding(provided(Effect.gen(function*() {
      const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
      const first = yield* fork(CommandBus.dispatch(Pay, { to: account, amount: 1 }))
      const waiting = yield* fork(CommandBus.dispatch(Pay, { to: account, amount: 2 }))
      const overdrawn = yield* fork(CommandBus.dispatch(Move, { from: account, to: unique("b"), amount: 99 }))
      const last = yield* fork(CommandBus.dispatch(Pay, { to: account, amount: 4 }))
      yield* Deferred.await(sent)
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(first)
      const [rejected] = errorsOf([yield* Fiber.await(overdrawn)])
      // A rejection is verified by a read, which may see the decision behind it.
      ok(rejected instanceof Overdrawn && [0, 4].includes(rejected.balance), "the rejection")
      yield* Fiber.join(last)
      equal(yield* balances(account), [4], "the balance")
    })))
  }),

  test("decisions beyond maxWaiting on a tag fail with an error that can be retried", function*() {
    const gate = yield* Deferred.make<void>()
    const [account, other] = [unique("a"), unique("b")]
    const waiting = onChanged((send) => (request) =>
      request.events.some(({ tags = [] }) => tags.includes(Event.tag("account", account)))
        ? Effect.andThen(Deferred.await(gate), send(request))
        : send(request)
    )
    const [, bounded] = handlers({ ...withoutRetry, maxWaiting: 3 })
    yield* waiting(Effect.provide(
      Effect.gen(function*() {
        const fibers = yield* Effect.forEach(
          upTo(5),
          () => Effect.forkChild(CommandBus.dispatch(Pay, { to: account, amount: 1 }), { startImmediately: true })
        )
        const late = errorsOf(yield* Effect.forEach(fibers.slice(3), (fiber) => Fiber.await(fiber)))
        for (const error of late) ok(error instanceof EventStoreError && error.isRetryable, "those beyond")
        yield* CommandBus.dispatch(Pay, { to: other, amount: 1 })
        yield* Deferred.succeed(gate, undefined)
        for (const fiber of fibers.slice(0, 3)) yield* Fiber.join(fiber)
      }),
      bounded
    ))
    equal(yield* balances(account), [1, 2, 3], "those that may wait")
  })
]
