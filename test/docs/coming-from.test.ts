/** Executes the evsrc code of docs/coming-from.md. */
import { assert, describe, it, layer } from "@effect/vitest"
import { DateTime, Effect, Layer, Option, Result, Schedule, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  Command,
  CommandBus,
  EventStore,
  LogTransfer,
  ProcessManager,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  Subscription
} from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { DeciderSpec, ProcessSpec } from "evsrc/testing"
import { layerPglite } from "../support/Database.ts"

const cardId = Schema.NonEmptyString
const cents = Schema.Int

const CardEvent = Schema.TaggedUnion({
  CardIssued: { cardId, cents },
  CardRedeemed: { cardId, cents },
  CardExpired: { cardId }
})
const { CardExpired, CardIssued, CardRedeemed } = CardEvent.cases

class InsufficientBalance extends Schema.TaggedError<InsufficientBalance>()("InsufficientBalance", {
  balance: cents
}) {}

const IssueCard = Command.make("IssueCard", { payload: { cardId, cents } })
const RedeemCard = Command.make("RedeemCard", { payload: { cardId, cents }, error: InsufficientBalance })
const ExpireCard = Command.make("ExpireCard", { payload: { cardId } })

const Card = Aggregate.make("Card", {
  id: "cardId",
  state: Schema.Struct({ isIssued: Schema.Boolean, balance: cents }),
  events: CardEvent,
  commands: [IssueCard, RedeemCard, ExpireCard]
}).decider({
  initial: { isIssued: false, balance: 0 },
  evolve: {
    CardIssued: (_, { cents }) => ({ isIssued: true, balance: cents }),
    CardRedeemed: (card, { cents }) => ({ ...card, balance: card.balance - cents }),
    CardExpired: (card) => ({ ...card, balance: 0 })
  },
  decide: {
    IssueCard: ({ isIssued }, command) => isIssued ? [] : [CardIssued.make(command)],
    RedeemCard: ({ balance }, command) =>
      command.cents > balance
        ? Result.fail(new InsufficientBalance({ balance }))
        : [CardRedeemed.make(command)],
    ExpireCard: ({ balance }, command) => balance === 0 ? [] : [CardExpired.make(command)]
  }
})

const Balances = Projection.make("balances", {
  events: CardEvent,
  document: Schema.Struct({ balance: cents, redemptions: Schema.Int }),
  key: ({ cardId }) => cardId,
  evolve: {
    CardIssued: (_, { cents }) => ({ balance: cents, redemptions: 0 }),
    CardRedeemed: (card, { cents }) => card && { balance: card.balance - cents, redemptions: card.redemptions + 1 },
    CardExpired: (card) => card && { ...card, balance: 0 }
  }
})

class CardUnknown extends Schema.TaggedError<CardUnknown>()("CardUnknown", { cardId }) {}
const GetBalance = Query.make("GetBalance", { payload: { cardId }, success: Balances.document, error: CardUnknown })
const getBalance = QueryBus.handler(GetBalance, ({ cardId }) =>
  Effect.flatMap(
    ProjectionStore.get(Balances, cardId),
    Option.match({ onNone: () => Effect.fail(new CardUnknown({ cardId })), onSome: Effect.succeed })
  ))

const sent = new Map<string, string>()
const mail = (key: string, text: string) => Effect.sync(() => void sent.set(key, text))

const Receipts = Subscription.make("receipts", {
  events: CardEvent,
  handle: {
    CardIssued: Subscription.ignore,
    CardRedeemed: ({ cardId, cents }, { id }) => mail(id, `${cents} from ${cardId}`),
    CardExpired: Subscription.ignore
  }
})

const Expiry = ProcessManager.make("expiry", {
  inputs: CardEvent,
  correlate: {
    CardIssued: ({ cardId }) => ProcessManager.start(cardId),
    CardRedeemed: ProcessManager.ignore,
    CardExpired: ProcessManager.ignore
  },
  state: Schema.Null,
  events: Schema.TaggedUnion({ ExpiryNoted: {} }),
  commands: [ExpireCard],
  deadlines: { YearIsOver: { cardId } }
}).behaviour({
  initial: null,
  evolve: { ExpiryNoted: () => null },
  react: {
    CardIssued: (_, { cardId }) => [ProcessManager.deadline("YearIsOver", { cardId }, { after: "365 days" })],
    YearIsOver: (_, { cardId }) => [ProcessManager.send(ExpireCard, { cardId }), ProcessManager.complete]
  }
})

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

const Cards = Layer.mergeAll(
  Aggregate.layer(Card),
  Projector.layer([Balances]),
  getBalance,
  Subscription.layer([Receipts]),
  ProcessManager.layer([Expiry]).pipe(Layer.provide(Aggregate.layer(Card)))
).pipe(Layer.provideMerge(stores))

const issued = CardIssued.make({ cardId: "c1", cents: 100 })

describe("cards", () => {
  it("pays from the balance, and not more", () => {
    DeciderSpec.given(Card, [issued])
      .when(RedeemCard, { cardId: "c1", cents: 70 })
      .thenEvents([CardRedeemed.make({ cardId: "c1", cents: 70 })])
    DeciderSpec.given(Card, [issued])
      .when(RedeemCard, { cardId: "c1", cents: 101 })
      .thenFails(new InsufficientBalance({ balance: 100 }))
  })

  it("expires after a year", () => {
    ProcessSpec.given(Expiry, [issued])
      .thenDeadlines({ YearIsOver: "365 days" })
      .after("365 days")
      .thenSends([ProcessManager.send(ExpireCard, { cardId: "c1" })])
      .thenStatus("completed")
  })
})

layer(Cards, { excludeTestServices: true })("a program of cards", (it) => {
  it.effect("redeems, projects and mails", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatch(IssueCard, { cardId: "c1", cents: 100 })
      const receipt = yield* CommandBus.dispatch(RedeemCard, { cardId: "c1", cents: 70 })
      const card = yield* QueryBus.ask(GetBalance, { cardId: "c1" }, { after: receipt })
      assert.deepStrictEqual(card, { balance: 30, redemptions: 1 })
      const rejected = yield* Effect.flip(CommandBus.dispatch(RedeemCard, { cardId: "c1", cents: 31 }))
      assert.deepStrictEqual(rejected, new InsufficientBalance({ balance: 30 }))
      yield* Effect.sync(() => Array.from(sent.values())).pipe(
        Effect.repeat({ until: (mails) => mails.includes("70 from c1"), schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("30 seconds")
      )
    }))
})

interface Old {
  readonly id: string
  readonly stream: string
  readonly at: string
  readonly event: typeof CardEvent.Type
}

const history: ReadonlyArray<Old> = [
  { id: "e-1", stream: "c1", at: "2019-03-01T10:00:00.000Z", event: issued },
  { id: "e-2", stream: "c2", at: "2019-03-02T10:00:00.000Z", event: CardIssued.make({ cardId: "c2", cents: 50 }) },
  { id: "e-3", stream: "c1", at: "2019-04-01T10:00:00.000Z", event: CardRedeemed.make({ cardId: "c1", cents: 70 }) }
]

const exported = Effect.gen(function*() {
  for (const { at, event, id, stream } of history) {
    yield* TestClock.setTime(Date.parse(at))
    yield* EventStore.append(CardEvent, `Card-${stream}`, [event], { metadata: { commandId: id } })
  }
  return yield* Stream.runCollect(LogTransfer.export())
}).pipe(Effect.provide([EventStore.layerMemory, TestClock.layer()]))

const imported = Effect.flatMap(exported, (lines) => LogTransfer.import(Stream.fromIterable(lines)))

const targets = { "memory": EventStore.layerMemory, "PGlite": PgEventStore.layer.pipe(Layer.provide(layerPglite())) }

describe.each(Object.entries(targets))("a log brought over to %s", (_, target) => {
  it.effect("has its times, its order and the ids of its events", () =>
    Effect.gen(function*() {
      yield* imported
      const events = yield* Stream.runCollect(EventStore.readAll(CardEvent))
      assert.deepStrictEqual(
        events.map(({ metadata, recordedAt, stream, version }) => [
          String(stream),
          Number(version),
          DateTime.formatIso(recordedAt),
          metadata.commandId
        ]),
        [
          ["Card-c1", 1, "2019-03-01T10:00:00.000Z", "e-1"],
          ["Card-c2", 1, "2019-03-02T10:00:00.000Z", "e-2"],
          ["Card-c1", 2, "2019-04-01T10:00:00.000Z", "e-3"]
        ]
      )
      const rejected = yield* Effect.flip(CommandBus.dispatch(RedeemCard, { cardId: "c1", cents: 31 }))
      assert.deepStrictEqual(rejected, new InsufficientBalance({ balance: 30 }))
    }).pipe(Effect.provide(Aggregate.layer(Card).pipe(Layer.provideMerge(target)))))
})
