/**
 * The suite of decisions whose models split events in flight by their tags, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { upTo } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"

const [text, texts, ints] = [Schema.String, Schema.Array(Schema.String), Schema.Array(Schema.Int)]

/** The first release: money is paid to several accounts at once. `seen` are the balances on which that was decided. */
const paid = { accounts: texts, amounts: ints, seen: ints }
const FirstEvent = Schema.TaggedUnion({ SplitPaid: paid }).pipe(Event.tags({ splitAccount: "accounts" }))

/** The second release, which splits that event into one for each account. */
const SecondEvent = Schema.TaggedUnion({ SplitCredited: { account: text, amount: Schema.Int } }).pipe(
  Event.tags({ splitAccount: "account" }),
  Event.legacy({
    SplitPaid: Event.from(paid).splitInto(
      ["SplitCredited"],
      ({ accounts, amounts }) =>
        accounts.map((account, index) => ({ _tag: "SplitCredited" as const, account, amount: amounts[index]! }))
    )
  })
)
const NoteEvent = Schema.TaggedUnion({ SplitNoted: { accounts: texts, seen: ints } })

const evolve = { SplitCredited: (balance: number, { amount }: { readonly amount: number }) => balance + amount }
const balanceOf = (account: string) =>
  Decision.model({ events: SecondEvent, tags: { splitAccount: account }, initial: 0, evolve })
const balancesOf = (accounts: ReadonlyArray<string>) =>
  Object.fromEntries(accounts.map((account) => [account, balanceOf(account)]))

/** Pays, and takes the balances of `read` into account. */
const Pay = Command.make("SplitPay", { payload: { accounts: texts, amounts: ints, read: texts } })
const pay = Decision.make(Pay, {
  events: FirstEvent,
  models: ({ read }) => balancesOf(read),
  decide: (balances, { accounts, amounts, read }) => [
    { _tag: "SplitPaid", accounts, amounts, seen: read.map((account) => balances[account]!) }
  ]
})

/** Notes balances. */
const Note = Command.make("SplitNote", { payload: { accounts: texts } })
const note = Decision.make(Note, {
  events: NoteEvent,
  models: ({ accounts }) => balancesOf(accounts),
  decide: (balances, { accounts }) => [
    { _tag: "SplitNoted", accounts, seen: accounts.map((account) => balances[account]!) }
  ]
})

const handlers = Layer.merge(Decision.layer(pay), Decision.layer(note))

const seenBy = Effect.fnUntraced(function*(accounts: ReadonlyArray<string>) {
  const store = yield* EventStore.EventStore
  const { stream } = yield* CommandBus.dispatch(Note, { accounts })
  const [event] = yield* Stream.runCollect(store.readStreamEncoded(stream))
  return (event!.data as { readonly seen: ReadonlyArray<number> }).seen
})

/**
 * Decisions of a program that still writes a type that other models of it split.
 *
 * @since 0.1.0
 * @category suites
 */
export const splitDecisions: ReadonlyArray<Case<EventStore.EventStore>> = [
  test("each model takes its own part of a split event in flight", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const [a, b, c] = [unique("a"), unique("b"), unique("c")]
    const [paySent, noteSent, payEnded] = [
      yield* Deferred.make<void>(),
      yield* Deferred.make<void>(),
      yield* Deferred.make<void>()
    ]
    /** The payment stays in flight until the note was decided. */
    const store = yield* EventStore.make({
      ...driver,
      append: (request) =>
        request.events[0]!.type === "SplitPaid"
          ? Deferred.succeed(paySent, undefined).pipe(
            Effect.andThen(Deferred.await(noteSent)),
            Effect.andThen(driver.append(request)),
            Effect.ensuring(Deferred.succeed(payEnded, undefined))
          )
          : Deferred.succeed(noteSent, undefined).pipe(
            Effect.andThen(Deferred.await(payEnded)),
            Effect.andThen(driver.append(request))
          )
    })
    yield* Effect.gen(function*() {
      const payment = yield* Effect.forkChild(
        CommandBus.dispatch(Pay, { accounts: [b, c], amounts: [1, 20], read: [a] })
      )
      yield* Effect.timeout(Deferred.await(paySent), "1 minute")
      equal(yield* Effect.timeout(seenBy([b, c]), "1 minute"), [1, 20], "in flight")
      yield* Fiber.join(payment)
      equal(yield* seenBy([c, b]), [20, 1], "cached afterwards")
    }).pipe(Effect.provide(handlers), Effect.provideService(EventStore.EventStore, store))
  }),

  test("decisions that write a type that their models split have every balance right", function*() {
    const accounts = [unique("a"), unique("b")]
    const store = yield* EventStore.EventStore
    yield* Effect.gen(function*() {
      const receipts = yield* Effect.forEach(
        upTo(20),
        () => CommandBus.dispatch(Pay, { accounts, amounts: [1, 20], read: accounts }),
        { concurrency: 10 }
      )
      const events = yield* Effect.forEach(receipts, ({ stream }) => Stream.runCollect(store.readStreamEncoded(stream)))
      const seen = events.flat().toSorted((one, other) => Number(one.position - other.position))
        .map(({ data }) => (data as { readonly seen: ReadonlyArray<number> }).seen)
      equal(seen, upTo(20).map((n) => [n - 1, 20 * (n - 1)]), "the balances on which each was decided")
      equal(yield* seenBy(accounts), [20, 400], "afterwards")
    }).pipe(Effect.provide(handlers))
  })
]
