/**
 * The suite of commands that arrive at one instance together, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import type * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import type { Receipt } from "../../src/core/Receipt.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import {
  AccountDecider,
  AccountEvent,
  accounts,
  Deposit,
  Open,
  Overdrawn,
  type Stores,
  upTo,
  Withdraw
} from "../support/AccountFixtures.ts"

/** Handlers that do not decide again after a conflict. */
const withoutRetry = Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(0) })

/** Runs an effect on a store whose appends another function sends. */
const onChanged =
  (append: (send: EventStoreDriver["append"]) => EventStoreDriver["append"]) =>
  <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const store = yield* EventStore.make({ ...driver, append: append(driver.append) })
      return yield* Effect.provideService(self, EventStore.EventStore, store)
    })

const opened = Effect.gen(function*() {
  const id = unique("a")
  yield* CommandBus.dispatch(Open, { id, owner: "ann" })
  return id
})

type Handlers = Command.HandlerOf<typeof Deposit | typeof Withdraw>

const deposited = (id: string, amount: number): Effect.Effect<Exit.Exit<Receipt, unknown>, never, Handlers> =>
  Effect.exit(CommandBus.dispatch(Deposit, { id, amount }))

const withdrawn = (id: string, amount: number): Effect.Effect<Exit.Exit<Receipt, unknown>, never, Handlers> =>
  Effect.exit(CommandBus.dispatch(Withdraw, { id, amount }))

const versionsOf = (id: string) =>
  Effect.map(Aggregate.load(AccountDecider, id), ({ state, version }) => [state.balance, version])

/**
 * Many commands on one instance: their order, and what one of them does to the others.
 *
 * @since 0.1.0
 * @category suites
 */
export const instanceQueues: ReadonlyArray<Case<Stores>> = [
  test("commands that arrive together are decided in their order, without a conflict", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const receipts = yield* Effect.provide(
      Effect.forEach(upTo(60), (amount) => CommandBus.dispatch(Deposit, { id, amount }), { concurrency: "unbounded" }),
      withoutRetry
    )
    equal(receipts.map(({ version }) => Number(version)), upTo(60).map((n) => n + 1), "the versions")
    equal(yield* versionsOf(id), [1830, 61], "the balance")
  }),

  test("as many commands as may wait can arrive at an instance that is not cached", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const { driver } = (yield* EventStore.EventStore)[internals]
    // Another process, without the state in its cache.
    const store = yield* EventStore.make(driver)
    const receipts = yield* Effect.provideService(
      Effect.provide(
        Effect.forEach(upTo(300), () => CommandBus.dispatch(Deposit, { id, amount: 1 }), { concurrency: "unbounded" }),
        // Fewer than by default, because a command waits no longer than ten seconds for its turn, on a busy machine too.
        Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(0), maxWaiting: 300 })
      ),
      EventStore.EventStore,
      store
    )
    equal(new Set(receipts.map(({ version }) => version)).size, 300, "the versions")
    equal(yield* versionsOf(id), [300, 301], "the balance")
  }),

  test("rejects a command on a state not older than those before it, and rejects no other", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const exits = yield* Effect.provide(
      Effect.forEach(
        upTo(20),
        (n) => n % 4 === 0 ? withdrawn(id, 1_000) : deposited(id, 1),
        { concurrency: "unbounded" }
      ),
      withoutRetry
    )
    const balances = exits.map((exit) => {
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      return error instanceof Overdrawn ? error.balance : Exit.isSuccess(exit) ? "deposited" : "failed"
    })
    // A rejection rests on the stream as it was at some moment since the command arrived; then others behind it may have appended.
    const isRight = (balance: number | string, place: number) =>
      typeof balance === "number" && balance >= place / 4 * 3 && balance <= 15
    equal(
      balances.map((balance, index) => (index + 1) % 4 === 0 ? isRight(balance, index + 1) : balance === "deposited"),
      upTo(20).map(() => true),
      `each rejection has a balance since its place: ${balances.join(", ")}`
    )
    equal(yield* versionsOf(id), [15, 16], "the balance")
  }),

  test("a decide that throws harms no other command of the instance", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const throwing = Aggregate.layer({
      ...AccountDecider,
      decide: {
        ...AccountDecider.decide,
        Withdraw: () => {
          throw new Error("broken")
        }
      }
    }, { conflictRetry: Schedule.recurs(0) })
    const exits = yield* Effect.provide(
      Effect.forEach(
        upTo(9),
        (n) => n % 3 === 0 ? withdrawn(id, 1) : deposited(id, 1),
        { concurrency: "unbounded" }
      ),
      throwing
    )
    equal(exits.map(Exit.hasDies), upTo(9).map((n) => n % 3 === 0), "those that die")
    equal(yield* versionsOf(id), [6, 7], "the balance")
  }),

  test("a decide that reads a clock runs again, and its new events are written", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const inFlight = yield* Deferred.make<void>()
    // The next command is decided beside the append, on every store.
    const beside = onChanged((send) => (request) => {
      request.onQueued?.()
      return Effect.andThen(Deferred.await(inFlight), send(request))
    })
    let decisions = 0
    const changing = Aggregate.layer({
      ...AccountDecider,
      decide: {
        ...AccountDecider.decide,
        Open: (...[state, command]: Parameters<typeof AccountDecider.decide.Open>) => {
          if (++decisions > 1) return AccountDecider.decide.Open({ balance: state.balance }, command)
          Deferred.doneUnsafe(inFlight, Effect.void)
          return []
        }
      }
    })
    const [, receipt] = yield* beside(
      Effect.provide(
        Effect.all([
          CommandBus.dispatch(Deposit, { id, amount: 1 }),
          CommandBus.dispatch(Open, { id, owner: "bob" })
        ], { concurrency: "unbounded" }),
        changing
      )
    )
    equal([receipt.events.length, receipt.version], [1, 3], "the receipt has what is written")
    equal(yield* versionsOf(id), [0, 3], "what was decided second")
  }),

  test("a command id sent twice at once is written once; those behind it are decided", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const commandId = unique("command")
    const receipts = yield* Effect.provide(
      Effect.forEach(
        upTo(8),
        (n) =>
          n % 4 === 0
            ? CommandBus.dispatch(Deposit, { id, amount: 100 }, { commandId })
            : CommandBus.dispatch(Deposit, { id, amount: 1 }),
        { concurrency: "unbounded" }
      ),
      accounts
    )
    equal(receipts[3], receipts[7], "one receipt")
    equal(yield* versionsOf(id), [106, 8], "the balance")
  }),

  test("command ids that are all sent twice at once do not make other commands be decided again", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const commandId = unique("command")
    let decisions = 0
    const counting = Aggregate.layer({
      ...AccountDecider,
      decide: {
        ...AccountDecider.decide,
        Deposit: (...input: Parameters<typeof AccountDecider.decide.Deposit>) => {
          decisions++
          return AccountDecider.decide.Deposit(...input)
        }
      }
    })
    const receipts = yield* Effect.provide(
      Effect.forEach(
        upTo(60),
        (n) => CommandBus.dispatch(Deposit, { id, amount: 1 }, { commandId: `${commandId}-${Math.ceil(n / 2)}` }),
        { concurrency: "unbounded" }
      ),
      counting
    )
    equal(
      receipts.map(({ version }) => Number(version)),
      upTo(60).map((n) => Math.ceil(n / 2) + 1),
      "both have the receipt"
    )
    equal(yield* versionsOf(id), [30, 31], "the balance")
    ok(decisions <= 60, `no command is decided twice: ${decisions} decisions`)
  }),

  test("command ids that are in the log cost those behind them one more decision, and no read", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const commandId = unique("command")
    const repeated = (n: number) => ({ commandId: `${commandId}-${n}` })
    const calls = { decisions: 0, reads: 0 }
    const counting = Aggregate.layer({
      ...AccountDecider,
      decide: {
        ...AccountDecider.decide,
        Deposit: (...input: Parameters<typeof AccountDecider.decide.Deposit>) => {
          calls.decisions++
          return AccountDecider.decide.Deposit(...input)
        }
      }
    }, { conflictRetry: Schedule.recurs(0) })
    const { driver } = (yield* EventStore.EventStore)[internals]
    const store = yield* EventStore.make({
      ...driver,
      readStream: (page) => {
        calls.reads++
        return driver.readStream(page)
      }
    })
    const deposits = (count: number, contextOf: (n: number) => { readonly commandId?: string }) =>
      Effect.forEach(upTo(count), (n) => CommandBus.dispatch(Deposit, { id, amount: 1 }, contextOf(n)), {
        concurrency: "unbounded"
      })
    yield* Effect.gen(function*() {
      const firsts = yield* deposits(10, repeated)
      Object.assign(calls, { decisions: 0, reads: 0 })
      const receipts = yield* deposits(40, (n) => n % 4 === 0 ? repeated(n / 4) : {})
      for (const [index, first] of firsts.entries()) equal(receipts[index * 4 + 3], first, "the first receipt")
      equal(new Set(receipts.map(({ version }) => version)).size, 40, "each has its own version")
    }).pipe(Effect.provide(counting), Effect.provideService(EventStore.EventStore, store))
    equal(yield* versionsOf(id), [40, 41], "the balance")
    ok(calls.decisions <= 10 + 2 * 30, `${calls.decisions} decisions`)
    equal(calls.reads, 0, "reads")
  }),

  test("an interrupted command harms no other of the instance", function*() {
    const id = yield* Effect.provide(opened, accounts)
    yield* Effect.provide(
      Effect.gen(function*() {
        const fibers = yield* Effect.forEach(
          upTo(40),
          (n) => Effect.forkChild(CommandBus.dispatch(Deposit, { id, amount: 1 }), { startImmediately: n % 2 === 0 })
        )
        for (const [index, fiber] of fibers.entries()) {
          if (index % 5 === 0) yield* Effect.forkChild(Fiber.interrupt(fiber))
        }
        const exits = yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
        const receipts = exits.flatMap((exit) => Exit.isSuccess(exit) ? [exit.value] : [])
        ok(exits.every((exit) => Exit.isSuccess(exit) || Exit.hasInterrupts(exit)), "none fails")
        ok(receipts.length >= 32, "those that are not interrupted succeed")
        const [balance, version] = yield* versionsOf(id)
        ok(Number(balance) >= receipts.length && Number(version) === Number(balance) + 1, "the balance")
        equal(new Set(receipts.map((receipt) => receipt.version)).size, receipts.length, "each has its own version")
      }),
      accounts
    )
  }),

  test("commands of an instance are decided again after events of another process", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const other = yield* EventStore.EventStore
    let appends = 0
    const interfering = onChanged((send) => (request) =>
      // Under a lock of the stream no other process can append.
      ++appends % 3 === 0 && appends < 20 && request.lock === undefined
        ? Effect.andThen(
          Effect.orDie(other.append(AccountEvent, `Account-${id}`, [
            AccountEvent.cases.Deposited.make({ id, owner: "ann", amount: 1 })
          ])),
          send(request)
        )
        : send(request)
    )
    const receipts = yield* interfering(
      Effect.provide(
        Effect.forEach(upTo(30), () => CommandBus.dispatch(Deposit, { id, amount: 1 }), { concurrency: "unbounded" }),
        accounts
      )
    )
    equal(new Set(receipts.map(({ version }) => version)).size, 30, "each has its own version")
    const [balance, version] = yield* versionsOf(id)
    equal(Number(version), Number(balance) + 1, "nothing is lost or doubled")
    ok(Number(balance) > 30, "the other process has appended")
  }),

  test("commands beyond maxWaiting of an instance fail with an error that can be retried", function*() {
    const id = yield* Effect.provide(opened, accounts)
    const gate = yield* Deferred.make<void>()
    const waiting = onChanged((send) => (request) => Effect.andThen(Deferred.await(gate), send(request)))
    const bounded = Aggregate.layer(AccountDecider, { maxWaiting: 3 })
    const exits = yield* waiting(
      Effect.provide(
        Effect.gen(function*() {
          const fibers = yield* Effect.forEach(
            upTo(5),
            () => Effect.forkChild(CommandBus.dispatch(Deposit, { id, amount: 1 }), { startImmediately: true })
          )
          const late = yield* Effect.forEach(fibers.slice(3), (fiber) => Fiber.await(fiber))
          yield* Deferred.succeed(gate, undefined)
          return [...yield* Effect.forEach(fibers.slice(0, 3), (fiber) => Fiber.await(fiber)), ...late]
        }),
        bounded
      )
    )
    const errors = exits.map((exit) => Option.getOrUndefined(Exit.findErrorOption(exit)))
    equal(errors.slice(0, 3), [undefined, undefined, undefined], "those that may wait")
    for (const error of errors.slice(3)) ok(error instanceof EventStoreError && error.isRetryable, "those beyond")
    equal(yield* versionsOf(id), [3, 4], "the balance")
  })
]
