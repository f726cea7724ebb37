/**
 * The conformance suite of a whole back end under the runtime: commands, projections inline and asynchronous, the event bus, on one
 * event store and one projection store.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Command from "../domain/Command.ts"
import * as Position from "../domain/Position.ts"
import * as Projection from "../domain/Projection.ts"
import * as Query from "../domain/Query.ts"
import { StreamId } from "../domain/StreamId.ts"
import * as Version from "../domain/Version.ts"
import * as Aggregate from "../runtime/Aggregate.ts"
import * as CommandBus from "../runtime/CommandBus.ts"
import * as CommandContext from "../runtime/CommandContext.ts"
import * as EventBus from "../runtime/EventBus.ts"
import * as Projector from "../runtime/Projector.ts"
import * as QueryBus from "../runtime/QueryBus.ts"
import { EventStore } from "../store/EventStore.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import { type Case, equal, ok, test, unique } from "./Suite.ts"

type Stores = EventStore | ProjectionStore.ProjectionStore

const AccountEvent = Schema.TaggedUnion({
  Opened: { id: Schema.String, owner: Schema.String },
  Deposited: { id: Schema.String, owner: Schema.String, amount: Schema.Int },
  Withdrawn: { id: Schema.String, owner: Schema.String, amount: Schema.Int }
})
class Closed extends Schema.TaggedError<Closed>()("Closed", { id: Schema.String }) {}
class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}

const Open = Command.make("Open", { payload: { id: Schema.String, owner: Schema.NonEmptyString } })
const Deposit = Command.make("Deposit", {
  payload: { id: Schema.String, amount: Schema.Int.check(Schema.isGreaterThan(0)) },
  error: Closed
})
const Withdraw = Command.make("Withdraw", {
  payload: { id: Schema.String, amount: Schema.Int },
  error: Schema.Union([Closed, Overdrawn])
})

const Account = Aggregate.make("Account", {
  id: "id",
  state: Schema.Struct({ owner: Schema.optionalKey(Schema.String), balance: Schema.Int }),
  events: AccountEvent,
  commands: [Open, Deposit, Withdraw]
})

const AccountDecider = Account.decider({
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

const Wealth = Schema.Struct({ owner: Schema.String, total: Schema.Int, events: Schema.Int })

/** What an owner has on all accounts together; it doubles visibly when an event is applied twice. */
const wealth = <L extends Projection.Lifecycle>(lifecycle: L) =>
  Projection.make(unique("wealth"), {
    events: AccountEvent,
    document: Wealth,
    lifecycle,
    key: (event) => event.owner,
    evolve: {
      Opened: (w, e) => ({ owner: e.owner, total: w?.total ?? 0, events: (w?.events ?? 0) + 1 }),
      Deposited: (w, e) => ({ owner: e.owner, total: (w?.total ?? 0) + e.amount, events: (w?.events ?? 0) + 1 }),
      Withdrawn: (w, e) => ({ owner: e.owner, total: (w?.total ?? 0) - e.amount, events: (w?.events ?? 0) + 1 })
    }
  })

const accounts = Aggregate.layer(AccountDecider)

const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

const commands: ReadonlyArray<Case<Stores>> = [
  test("a command loads, decides, appends and answers its receipt; its errors are its own", function*() {
    const id = unique("a")
    const owner = unique("ann")
    yield* Effect.gen(function*() {
      equal(yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 1 })), new Closed({ id }), "refused")
      const opened = yield* CommandBus.dispatch(Open, { id, owner })
      equal([opened.version, opened.events.map((e) => e.type)], [Version.make(1), ["Opened"]], "the first receipt")
      const nothing = yield* CommandBus.dispatch(Open, { id, owner })
      equal(nothing, { ...opened, events: [] }, "a decision that nothing happens writes nothing")
      equal((yield* CommandBus.dispatch(Deposit, { id, amount: 7 })).version, Version.make(2), "the next version")
      equal(
        yield* Effect.flip(CommandBus.dispatch(Withdraw, { id, amount: 8 })),
        new Overdrawn({ balance: 7 }),
        "refused on the state"
      )
      const invalid = yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: -1 }))
      ok(
        invalid._tag === "InvalidCommand" && invalid.message.includes("amount"),
        "a bad payload is refused, by its field"
      )
    }).pipe(Effect.provide(accounts))
    equal((yield* Aggregate.load(AccountDecider, id)).state, { owner, balance: 7 }, "the state")
  }),

  test("metadata is complete by default and carries what it is given", function*() {
    const id = unique("a")
    const commandId = unique("command")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 }, {
        commandId,
        actor: "ann",
        correlationId: "conversation",
        causationId: "cause",
        attributes: { ip: "::1" }
      })
    }).pipe(Effect.provide(accounts))
    const store = yield* EventStore
    const [first, second] = (yield* Stream.runCollect(store.readStream(AccountEvent, `Account-${id}`))).map((e) =>
      e.metadata
    )
    ok(first?.commandId !== undefined, "a command id is drawn")
    equal([first?.correlationId, first?.causationId], [first?.commandId, first?.commandId], "and begins a conversation")
    equal(
      { ...second, traceparent: undefined },
      {
        command: "Deposit",
        commandId,
        actor: "ann",
        correlationId: "conversation",
        causationId: "cause",
        attributes: { ip: "::1" },
        traceparent: undefined
      },
      "what was given"
    )
    ok(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/.test(second?.traceparent ?? ""), "the trace context")
  }),

  test("20 concurrent commands on one instance all take effect, each once", function*() {
    const id = unique("a")
    const receipts = yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      return yield* Effect.forEach(upTo(20), (n) => CommandBus.dispatch(Deposit, { id, amount: n }), {
        concurrency: "unbounded"
      })
    }).pipe(Effect.provide(Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) })))
    equal(
      receipts.map((r) => r.version).toSorted((a, b) => a - b),
      upTo(20).map((n) => Version.make(n + 1)),
      "the versions"
    )
    equal((yield* Aggregate.load(AccountDecider, id)).state.balance, 210, "the balance")
  }),

  test("20 concurrent withdrawals never overdraw", function*() {
    const id = unique("a")
    const exits = yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* CommandBus.dispatch(Deposit, { id, amount: 5 })
      return yield* Effect.forEach(upTo(20), () => Effect.exit(CommandBus.dispatch(Withdraw, { id, amount: 1 })), {
        concurrency: "unbounded"
      })
    }).pipe(Effect.provide(Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) })))
    equal(exits.filter(Exit.isSuccess).length, 5, "withdrawals")
    const errors = exits.flatMap((exit) => Option.toArray(Exit.findErrorOption(exit)))
    equal(errors, Array.from({ length: 15 }, () => new Overdrawn({ balance: 0 })), "the others")
    equal((yield* Aggregate.load(AccountDecider, id)).state.balance, 0, "the balance")
  }),

  test("the same command id again answers the first receipt, whatever the state has become", function*() {
    const id = unique("a")
    const [open, withdraw] = [unique("command"), unique("command")]
    yield* Effect.gen(function*() {
      const first = yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { commandId: open })
      yield* CommandBus.dispatch(Deposit, { id, amount: 5 })
      const taken = yield* CommandBus.dispatch(Withdraw, { id, amount: 5 }, { commandId: withdraw })
      equal(
        yield* CommandBus.dispatch(Withdraw, { id, amount: 5 }, { commandId: withdraw }),
        taken,
        "where it would be refused now"
      )
      equal(
        yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { commandId: open }),
        first,
        "where nothing would happen now"
      )
      const expecting = { commandId: withdraw, expected: Version.make(2) }
      equal(yield* CommandBus.dispatch(Withdraw, { id, amount: 5 }, expecting), taken, "where the version has moved on")
      const all = yield* Effect.forEach(
        upTo(20),
        () => CommandBus.dispatch(Deposit, { id, amount: 3 }, { commandId: `${open}-deposit` }),
        { concurrency: "unbounded" }
      )
      for (const receipt of all) equal(receipt, all[0]!, "20 at once")
    }).pipe(Effect.provide(Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) })))
    equal((yield* Aggregate.load(AccountDecider, id)).version, Version.make(4), "the version")
  }),

  test("a command id that was another command's, or another instance's, is refused, and nothing is written", function*() {
    const [id, other] = [unique("a"), unique("a")]
    const commandId = unique("command")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { commandId })
      const reused = [
        Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 1 }, { commandId })),
        Effect.flip(CommandBus.dispatch(Withdraw, { id, amount: 1 }, { commandId })),
        Effect.flip(CommandBus.dispatch(Open, { id: other, owner: "bob" }, { commandId })),
        Effect.flip(CommandBus.dispatch(Deposit, { id: other, amount: 1 }, { commandId }))
      ]
      for (const attempt of reused) {
        const error = yield* attempt
        ok(
          error._tag === "EventStoreError" && error.reason._tag === "CommandIdReused" &&
            error.reason.firstCommand === "Open"
            && error.reason.firstStream === `Account-${id}`,
          "the refusal names what it was used for"
        )
      }
    }).pipe(Effect.provide(accounts))
    equal((yield* Aggregate.load(AccountDecider, id)).version, Version.make(1), "the version")
    equal((yield* Aggregate.load(AccountDecider, other)).version, Version.zero, "the other's version")
  }),

  test("an expected version holds, and its conflict is not retried away", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { expected: "noStream" })
      const stale = yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected: Version.make(0) }))
      ok(
        stale._tag === "ConcurrencyConflict" && stale.expected === 0 && stale.actual === 1
          && stale.stream === `Account-${id}`,
        "the conflict"
      )
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected: Version.make(1) })
      const race = yield* Effect.forEach(
        upTo(20),
        () => Effect.exit(CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected: Version.make(2) })),
        { concurrency: "unbounded" }
      )
      equal(race.filter(Exit.isSuccess).length, 1, "20 at once: one")
    }).pipe(Effect.provide(accounts))
  }),

  test("a looser expectation holds under races, and its conflicts are retried", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      const missing = yield* Effect.flip(CommandBus.dispatch(Open, { id, owner: "ann" }, { expected: "streamExists" }))
      ok(missing._tag === "ConcurrencyConflict" && missing.actual === 0, "nothing is there yet")
      yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { expected: "noStream" })
      for (const expected of ["any", "streamExists"] as const) {
        yield* Effect.forEach(upTo(20), () => CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected }), {
          concurrency: "unbounded"
        })
      }
    }).pipe(Effect.provide(Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) })))
    equal((yield* Aggregate.load(AccountDecider, id)).state.balance, 40, "every deposit counts")
  }),

  test("what is said of one command holds for that command, whatever is said around it or its handlers", function*() {
    const id = unique("a")
    const around = CommandContext.provide({ actor: "outer", correlationId: "conversation" })
    const commandId = unique("command")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 }, { actor: "inner", commandId })
    }).pipe(around, Effect.provide(accounts), CommandContext.provide({ actor: "builder", causationId: "builder" }))
    const store = yield* EventStore
    const [first, second] = (yield* Stream.runCollect(store.readStream(AccountEvent, `Account-${id}`))).map((e) =>
      e.metadata
    )
    equal([first?.actor, first?.correlationId], ["outer", "conversation"], "what is said around it")
    equal(
      [second?.actor, second?.correlationId, second?.commandId],
      ["inner", "conversation", commandId],
      "what is said of it"
    )
  }),

  test("a command never reaches the handler of another of the same name", function*() {
    const Foreign = Command.make("Deposit", { payload: { id: Schema.String, amount: Schema.Int }, error: Closed })
    const id = unique("a")
    const exit = yield* Effect.exit(Effect.provide(CommandBus.dispatch(Foreign, { id, amount: 1 }), accounts))
    ok(Exit.hasDies(exit), "it is a mistake in the program")
    equal((yield* Aggregate.load(AccountDecider, id)).version, Version.zero, "nothing is written")
  }),

  test("when the retries are used up, the conflict tells stream, expected and actual version", function*() {
    const id = unique("a")
    const store = yield* EventStore
    const opened = AccountEvent.cases.Opened.make({ id, owner: "ann" })
    // A store in which somebody always comes first.
    const contested = Layer.succeed(
      EventStore,
      EventStore.of({
        ...store,
        append: (events, stream, batch, options) =>
          Effect.andThen(
            store.append(AccountEvent, `Account-${id}`, [opened]),
            store.append(events, stream, batch, options)
          )
      })
    )
    const error = yield* CommandBus.dispatch(Open, { id, owner: "ann" }).pipe(
      Effect.provide(
        Layer.provide(
          Aggregate.layer(
            Account.decider({
              ...AccountDecider,
              evolve: keepAll,
              decide: { ...AccountDecider.decide, Open: () => [opened] }
            }),
            { conflictRetry: Schedule.recurs(2) }
          ),
          contested
        )
      ),
      Effect.flip
    )
    ok(error._tag === "ConcurrencyConflict" && error.expected === 2 && error.actual === 3, "after two retries")
  }),

  test("the state of an instance as it was, at a version and at an instant", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      for (const n of upTo(5)) yield* CommandBus.dispatch(Deposit, { id, amount: n })
    }).pipe(Effect.provide(accounts))
    const store = yield* EventStore
    const events = yield* Stream.runCollect(store.readStream(AccountEvent, `Account-${id}`))
    const third = yield* Aggregate.load(AccountDecider, id, { atVersion: Version.make(3) })
    equal(
      [third.version, third.position, third.state.balance],
      [Version.make(3), events[2]!.position, 3],
      "at version 3"
    )
    for (const event of events) {
      const then = yield* Aggregate.load(AccountDecider, id, { atTime: event.recordedAt })
      // Events may share a millisecond.
      ok(then.version >= event.version && events[then.version]?.recordedAt !== event.recordedAt, "at an event's time")
    }
    equal((yield* Aggregate.load(AccountDecider, unique("nobody"))).version, Version.zero, "an instance without events")
  })
]

const keepAll = {
  Opened: (s: { readonly balance: number }) => s,
  Deposited: (s: { readonly balance: number }) => s,
  Withdrawn: (s: { readonly balance: number }) => s
}

const totals = <P extends Projection.Any>(projection: P, owner: string) =>
  Effect.map(ProjectionStore.get(projection, owner), Option.getOrUndefined)

const projections: ReadonlyArray<Case<Stores>> = [
  test("an inline projection is up to date when the append returns, also under 20 concurrent appends", function*() {
    const projection = wealth("inline")
    const owner = unique("ann")
    const inline = Projector.layerInline([projection])
    yield* Effect.gen(function*() {
      yield* Effect.forEach(upTo(20), (n) => {
        const id = unique("a")
        return Effect.andThen(
          CommandBus.dispatch(Open, { id, owner }),
          CommandBus.dispatch(Deposit, { id, amount: n })
        )
      }, { concurrency: "unbounded" })
      equal(yield* totals(projection, owner), { owner, total: 210, events: 40 }, "of 20 accounts, one document")
    }).pipe(Effect.provide(accounts.pipe(Layer.provide(inline))))
  }),

  test("a repeated command is not projected again, inline or later", function*() {
    const [now, later] = [wealth("inline"), wealth("async")]
    const owner = unique("ann")
    const id = unique("a")
    const commandId = unique("command")
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      const receipts = yield* Effect.forEach(
        upTo(8),
        () => CommandBus.dispatch(Deposit, { id, amount: 5 }, { commandId }),
        {
          concurrency: "unbounded"
        }
      )
      yield* CommandBus.dispatch(Deposit, { id, amount: 5 }, { commandId })
      yield* store.awaitPosition(later, receipts[0]!.position, "30 seconds")
    }).pipe(
      Effect.provide(
        Layer.merge(
          Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) }),
          Projector.layer([later])
        ).pipe(Layer.provide(Projector.layerInline([now])))
      )
    )
    for (const projection of [now, later]) {
      equal(yield* totals(projection, owner), { owner, total: 5, events: 2 }, projection.lifecycle)
    }
  }),

  test("when an inline projection fails, nothing is appended and no projection changes", function*() {
    const good = wealth("inline")
    const owner = unique("ann")
    const bad = Projection.make(unique("bad"), {
      events: AccountEvent,
      document: Wealth,
      lifecycle: "inline",
      key: (event) => event.owner,
      evolve: {
        Opened: Projection.ignore,
        Deposited: () => {
          throw new Error("no deposits today")
        },
        Withdrawn: () => ({ owner: "x", total: 0.5, events: 0 })
      }
    })
    const id = unique("a")
    const stream = `Account-${id}`
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      const error = yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 5 }))
      ok(
        error._tag === "EventStoreError" && error.reason._tag === "ProjectionFailed"
          && error.reason.projection === bad.id && error.message.includes("no deposits today"),
        "the error names the projection and why"
      )
      const broken = yield* Effect.flip(CommandBus.dispatch(Withdraw, { id, amount: 0 }))
      ok(
        broken._tag === "EventStoreError" && broken.reason._tag === "ProjectionFailed",
        "a document that breaks its Schema"
      )
    }).pipe(Effect.provide(accounts.pipe(Layer.provide(Projector.layerInline([good, bad])))))
    const store = yield* EventStore
    equal((yield* Stream.runCollect(store.readStreamRecorded(stream))).length, 1, "events in the stream")
    equal(yield* totals(good, owner), { owner, total: 0, events: 1 }, "the other projection")
  }),

  test("an asynchronous projection catches up, follows, and is waited for", function*() {
    const projection = wealth("async")
    const owner = unique("ann")
    const GetWealth = Query.make("GetWealth", { payload: { owner: Schema.String }, success: Schema.Option(Wealth) })
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      yield* Effect.gen(function*() {
        for (const n of upTo(10)) {
          const receipt = yield* CommandBus.dispatch(Deposit, { id, amount: n })
          const answer = yield* QueryBus.ask(GetWealth, { owner }, { after: receipt, timeout: "30 seconds" })
          equal(answer, Option.some({ owner, total: n * (n + 1) / 2, events: n + 1 }), `after deposit ${n}`)
        }
        const [status] = yield* (yield* Projector.Projector).status
        ok(status?.projection === projection.id && status.state === "live" && status.lag === 0n, "the worker is live")
      }).pipe(
        Effect.provide(Layer.mergeAll(
          Projector.layer([projection], { batchSize: 2 }),
          QueryBus.handler(GetWealth, ({ owner }) => ProjectionStore.get(projection, owner))
        ))
      )
    }).pipe(Effect.provide(accounts))
  }),

  test("a projection goes on where it stopped, and counts no event twice, through restarts and rivals", function*() {
    const projection = wealth("async")
    const owner = unique("ann")
    const id = unique("a")
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      for (const round of upTo(6)) {
        const running = Effect.gen(function*() {
          const receipt = yield* CommandBus.dispatch(Deposit, { id, amount: round })
          // Every other round is cut off in the middle of whatever the workers are doing.
          if (round % 2 === 0) yield* store.awaitPosition(projection, receipt.position, "30 seconds")
        })
        const rivals = upTo(3).map(() =>
          Layer.fresh(Projector.layer([projection], { batchSize: 1, lease: "300 millis" }))
        )
        yield* Effect.scoped(Effect.gen(function*() {
          for (const rival of rivals) yield* Layer.build(rival)
          yield* running
        }))
      }
    }).pipe(Effect.provide(accounts))
    equal(yield* totals(projection, owner), { owner, total: 21, events: 7 }, "every event once")
  }),

  test("an event a projection cannot process stops that projection there, in order, and no other", function*() {
    const owner = unique("ann")
    const id = unique("a")
    let healed = false
    const healthy = wealth("async")
    const fragile = Projection.make(unique("fragile"), {
      events: AccountEvent,
      document: Wealth,
      key: (event) => event.owner,
      evolve: {
        Opened: (_, e) => ({ owner: e.owner, total: 0, events: 1 }),
        Deposited: (w, e) => {
          if (e.amount === 3 && e.owner === owner && !healed) throw new Error("poison")
          return { owner: e.owner, total: (w?.total ?? 0) + e.amount, events: (w?.events ?? 0) + 1 }
        },
        Withdrawn: Projection.ignore
      }
    })
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      let last = yield* CommandBus.dispatch(Deposit, { id, amount: 1 })
      for (const n of [2, 3, 4]) last = yield* CommandBus.dispatch(Deposit, { id, amount: n })
      const projector = yield* Projector.Projector
      const stuck = yield* projector.status.pipe(
        Effect.map((all) => all.find((s) => s.projection === fragile.id)),
        Effect.repeat({ until: (s) => s?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("30 seconds")
      )
      ok(stuck?.detail?.includes("poison") === true && stuck.lag > 0n, "it is stuck and says why")
      equal(yield* totals(fragile, owner), { owner, total: 3, events: 3 }, "the events before are applied, none after")
      yield* store.awaitPosition(healthy, last.position, "30 seconds")
      equal(yield* totals(healthy, owner), { owner, total: 10, events: 5 }, "the other projection goes on")
      healed = true
      yield* store.awaitPosition(fragile, last.position, "30 seconds")
      equal(yield* totals(fragile, owner), { owner, total: 10, events: 5 }, "once it can, it goes on, skipping nothing")
    }).pipe(
      Effect.provide(Layer.merge(
        accounts,
        // The pause before it is tried again is longer than the time between two renewals of the lease.
        Projector.layer([fragile, healthy], {
          lease: "150 millis",
          retryDelay: { first: "120 millis", most: "200 millis" }
        })
      ))
    )
  }),

  test("a checkpoint beyond the end of the log stops the projection, and nothing is skipped", function*() {
    const projection = wealth("async")
    const { driver } = yield* ProjectionStore.ProjectionStore
    const beyond = Position.make(2n ** 62n + 10n ** 15n)
    yield* driver.acquire(projection.id, "before", Duration.seconds(1))
    yield* driver.advance({
      projection: projection.id,
      epoch: 1n,
      from: Position.start,
      to: beyond,
      lease: Duration.zero,
      changes: []
    })
    yield* driver.release(projection.id, 1n)
    yield* Effect.gen(function*() {
      const [status] = yield* (yield* Projector.Projector).status.pipe(
        Effect.repeat({ until: ([s]) => s?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("30 seconds")
      )
      ok(status?.detail?.includes("beyond the end of the log") === true, "it says why")
    }).pipe(Effect.provide(Projector.layer([projection])))
    equal(yield* driver.checkpoint(projection.id), beyond, "the checkpoint is as it was")
  }),

  test("an event that cannot be decoded stops the projection that needs it", function*() {
    // A type of its own, as the event stays in the log for every later run.
    const type = unique("OddHappened")
    const Odd = Schema.TaggedUnion({ [type]: { id: Schema.String, n: Schema.Int } })
    const projection = Projection.make(unique("odd"), {
      events: Odd,
      document: Schema.Struct({ n: Schema.Int }),
      key: (event) => event.id,
      evolve: { [type]: (_, e) => ({ n: e.n }) }
    })
    const store = yield* EventStore
    const stream = StreamId.make(unique("Odd"))
    yield* store.append(Odd, stream, [{ _tag: type, id: stream, n: 1 }])
    const result = yield* store.driver.append({
      stream,
      expected: "any",
      events: [{
        id: globalThis.crypto.randomUUID(),
        type,
        schemaVersion: 1,
        data: `{"id":"x","n":"many"}`,
        metadata: "{}"
      }]
    })
    yield* store.append(Odd, stream, [{ _tag: type, id: stream, n: 3 }])
    const position = result._tag === "Appended" ? result.positions[0]! : undefined
    yield* Effect.gen(function*() {
      const stuck = yield* (yield* Projector.Projector).status.pipe(
        Effect.map(([status]) => status!),
        Effect.repeat({ until: (s) => s.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("30 seconds")
      )
      ok(stuck.detail?.includes(`position ${position}`) === true && stuck.detail.includes(stream), "where it is")
      equal(Option.getOrUndefined(yield* ProjectionStore.get(projection, stream)), { n: 1 }, "the events before it")
    }).pipe(Effect.provide(Projector.layer([projection])))
  })
]

const bus: ReadonlyArray<Case<Stores>> = [
  test("the event bus tells every listener every event that is committed while it listens, in order", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "before" })
      const listeners = yield* Effect.forEach(
        upTo(3),
        () =>
          Effect.map(EventBus.listen(AccountEvent), (events) =>
            events.pipe(
              Stream.filter((e) => e.stream === `Account-${id}`),
              Stream.take(5),
              Stream.runCollect
            ))
      )
      const heard = yield* Effect.forEach(listeners, (listener) => Effect.forkChild(listener))
      for (const n of upTo(5)) yield* CommandBus.dispatch(Deposit, { id, amount: n })
      for (const fiber of heard) {
        const events = yield* Effect.timeout(Fiber.join(fiber), "30 seconds")
        equal(events.map((e) => e.event._tag === "Deposited" ? e.event.amount : 0), upTo(5), "the events")
      }
    }).pipe(Effect.provide(Layer.merge(accounts, EventBus.layer())))
  }),

  test("a listener that is too slow is told so, and keeps nobody up", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      const slow = yield* EventBus.listen(AccountEvent)
      const quick = yield* EventBus.listen(AccountEvent)
      const heard = yield* Effect.forkChild(
        quick.pipe(Stream.filter((e) => e.stream === `Account-${id}`), Stream.take(20), Stream.runCollect)
      )
      for (const n of upTo(20)) {
        yield* CommandBus.dispatch(Deposit, { id, amount: n })
        // The quick listener keeps up: each event is heard before the next is sent.
        yield* Effect.repeat(Effect.yieldNow, { times: 10 })
      }
      equal((yield* Effect.timeout(Fiber.join(heard), "30 seconds")).length, 20, "the quick one")
      const error = yield* Effect.flip(Stream.runDrain(slow))
      equal(error._tag, "ListenerTooSlow", "the slow one")
    }).pipe(Effect.provide(Layer.merge(accounts, EventBus.layer({ capacity: 16 }))))
  })
]

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [...commands, ...projections, ...bus]
