/**
 * The suite of cached states, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { ConcurrencyConflict } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Version from "../../src/core/Version.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import {
  AccountDecider,
  AccountEvent,
  accounts,
  Closed,
  Deposit,
  Open,
  Overdrawn,
  type Stores,
  upTo,
  Withdraw
} from "../support/AccountFixtures.ts"

/** Another process on the same log, with an empty cache, which counts its round trips. */
const process = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const trips = yield* Ref.make<ReadonlyArray<"append" | "read">>([])
  const counted = <A, E>(trip: "append" | "read", self: Effect.Effect<A, E>) =>
    Effect.andThen(Ref.update(trips, (all) => [...all, trip]), self)
  const store = yield* EventStore.make({
    ...driver,
    append: (request) => counted("append", driver.append(request)),
    readStream: (page) => counted("read", driver.readStream(page)),
    receipt: (commandId) => counted("read", driver.receipt(commandId))
  })
  return {
    trips: Ref.getAndSet(trips, []),
    run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, EventStore.EventStore, store)
  }
})

const fresh = Aggregate.layer(AccountDecider, { load: "fresh" })

/** Appends as another process. */
const deposited = Effect.fnUntraced(function*(id: string, amount: number) {
  const store = yield* EventStore.EventStore
  return yield* store.append(AccountEvent, `Account-${id}`, [
    AccountEvent.cases.Deposited.make({ id, owner: "ann", amount })
  ])
})

/**
 * States: cached, verified by the append, caught up, and read stale.
 *
 * @since 0.1.0
 * @category suites
 */
export const loading: ReadonlyArray<Case<Stores>> = [
  test("a command on a cached instance takes one round trip", function*() {
    const { run, trips } = yield* process
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      equal(yield* trips, ["read", "append"], "not cached")
      for (const n of upTo(3)) {
        yield* CommandBus.dispatch(Deposit, { id, amount: n })
        equal(yield* trips, ["append"], "cached")
      }
      const other = unique("a")
      equal(yield* Effect.flip(CommandBus.dispatch(Deposit, { id: other, amount: 1 })), new Closed({ id: other }), "no")
      equal(yield* trips, ["read"], "an instance without events")
      yield* CommandBus.dispatch(Open, { id: other, owner: "bob" })
      equal(yield* trips, ["append"], "an instance cached as empty")
    }).pipe(Effect.provide(accounts), run)
    equal((yield* Aggregate.load(AccountDecider, id)).state, { owner: "ann", balance: 6 }, "the state")
  }),

  test("with \"assumeNew\" a new instance takes one round trip, and an old one is read", function*() {
    const { run, trips } = yield* process
    const id = unique("a")
    const old = unique("a")
    yield* Effect.provide(CommandBus.dispatch(Open, { id: old, owner: "ann" }), accounts)
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      equal(yield* trips, ["append"], "a new instance")
      equal((yield* CommandBus.dispatch(Open, { id: old, owner: "bob" })).events, [], "it exists")
      equal(yield* trips, ["append", "read"], "an old instance")
      const other = unique("a")
      equal(yield* Effect.flip(CommandBus.dispatch(Deposit, { id: other, amount: 1 })), new Closed({ id: other }), "no")
      equal(yield* trips, ["read"], "a rejection rests on a read")
    }).pipe(Effect.provide(Aggregate.layer(AccountDecider, { load: "assumeNew" })), run)
    equal((yield* Aggregate.load(AccountDecider, old)).state.owner, "ann", "the owner")
  }),

  test("after events of another process a command reads only these and decides again", function*() {
    const { run, trips } = yield* process
    const id = unique("a")
    const receipt = yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* deposited(id, 5)
      yield* trips
      return yield* CommandBus.dispatch(Deposit, { id, amount: 1 })
    }).pipe(Effect.provide(accounts), run)
    equal(receipt.version, Version.make(3), "the version")
    equal(yield* trips, ["append", "read", "append"], "the round trips")
  }),

  test("rejects a command only on the current state", function*() {
    const { run, trips } = yield* process
    const id = unique("a")
    const before = unique("command")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* deposited(id, 5)
      equal(
        (yield* CommandBus.dispatch(Withdraw, { id, amount: 5 })).version,
        Version.make(3),
        "there is enough by now"
      )
      yield* deposited(id, 2)
      equal(
        yield* Effect.flip(CommandBus.dispatch(Withdraw, { id, amount: 3 })),
        new Overdrawn({ balance: 2 }),
        "rejected on the current balance"
      )
      const { position } = yield* deposited(id, 1)
      const nothing = yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      equal([nothing.version, nothing.position], [Version.make(5), position], "so is a receipt without events")
      yield* deposited(id, 1)
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected: Version.make(6), commandId: before })
      yield* deposited(id, 1)
      const conflict = yield* Effect.flip(
        CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected: Version.make(7) })
      )
      equal(
        conflict,
        new ConcurrencyConflict({ stream: `Account-${id}`, expected: Version.make(7), actual: Version.make(8) }),
        "the conflict has the actual version"
      )
      yield* trips
      const again = yield* CommandBus.dispatch(Deposit, { id, amount: 1 }, { commandId: before })
      equal(
        [again.version, yield* trips],
        [Version.make(7), ["append"]],
        "a repeated command id"
      )
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 })
    }).pipe(Effect.provide(accounts), run)
    equal((yield* Aggregate.load(AccountDecider, id)).state.balance, 7, "the balance")
  }),

  test("the policy \"fresh\" reads the new events before every decision", function*() {
    const { run, trips } = yield* process
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* trips
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 })
      equal(yield* trips, ["read", "append"], "its round trips")
    }).pipe(Effect.provide(fresh), run)
  }),

  test("loads fresh states, stale states without a round trip, and past states", function*() {
    const { run, trips } = yield* process
    const id = unique("a")
    const load = (options?: Aggregate.LoadOptions) => run(Aggregate.load(AccountDecider, id, options))
    yield* CommandBus.dispatch(Open, { id, owner: "ann" }).pipe(Effect.provide(accounts))
    equal((yield* load({ policy: "stale" })).version, Version.make(1), "not cached, so it is read")
    equal(yield* trips, ["read"], "once")
    yield* deposited(id, 5)
    equal((yield* load({ policy: "stale" })).state.balance, 0, "the cached state")
    equal(yield* trips, [], "without a round trip")
    equal((yield* load()).state.balance, 5, "fresh")
    equal((yield* load({ policy: "stale" })).state.balance, 5, "cached by now")
    equal((yield* load({ atVersion: Version.make(1) })).state.balance, 0, "at a version before the cached one")
    yield* deposited(id, 5)
    yield* deposited(id, 5)
    equal((yield* load({ atVersion: Version.make(3) })).state.balance, 10, "at a version after the cached one")
    equal((yield* load({ policy: "stale" })).state.balance, 5, "which is not cached")
  }),

  test("commands of many fibers on a few instances take effect once each", function*() {
    const { run } = yield* process
    const ids = upTo(3).map(() => unique("a"))
    const taken = yield* Effect.gen(function*() {
      for (const id of ids) {
        yield* CommandBus.dispatch(Open, { id, owner: "ann" })
        yield* CommandBus.dispatch(Deposit, { id, amount: 10 })
      }
      return yield* Effect.forEach(
        upTo(60),
        (n) => Effect.exit(CommandBus.dispatch(Withdraw, { id: ids[n % 3]!, amount: 1 })),
        { concurrency: 12 }
      )
    }).pipe(Effect.provide(accounts), run)
    for (const [index, id] of ids.entries()) {
      const { state } = yield* Aggregate.load(AccountDecider, id)
      const succeeded = taken.filter((exit, n) => (n + 1) % 3 === index && exit._tag === "Success").length
      equal([state.balance, succeeded], [0, 10], "every withdrawal that could be, no more")
      equal(
        yield* run(Aggregate.load(AccountDecider, id, { policy: "stale" })),
        yield* Aggregate.load(AccountDecider, id),
        "the cached state"
      )
    }
  })
]
