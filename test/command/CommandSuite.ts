/**
 * The suite of commands, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import * as CommandContext from "../../src/command/CommandContext.ts"
import { type Case, equal, includes, ok, test, unique } from "../../src/conformance/Suite.ts"
import { CommandIdReused, ConcurrencyConflict, storeError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Version from "../../src/core/Version.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import {
  Account,
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

/**
 * Commands: decisions, retries, repeated command ids, rejections; and past states.
 *
 * @since 0.1.0
 * @category suites
 */
export const commands: ReadonlyArray<Case<Stores>> = [
  test("a command loads, decides, appends and returns its receipt or its own error", function*() {
    const id = unique("a")
    const owner = unique("ann")
    yield* Effect.gen(function*() {
      equal(yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 1 })), new Closed({ id }), "rejected")
      const opened = yield* CommandBus.dispatch(Open, { id, owner })
      equal([opened.version, opened.events.map((e) => e.type)], [Version.make(1), ["Opened"]], "the first receipt")
      const nothing = yield* CommandBus.dispatch(Open, { id, owner })
      equal(
        nothing,
        { ...opened, eventId: opened.events[0]!.id, events: [] },
        "a decision that nothing happens writes nothing"
      )
      equal((yield* CommandBus.dispatch(Deposit, { id, amount: 7 })).version, Version.make(2), "the next version")
      equal(
        yield* Effect.flip(CommandBus.dispatch(Withdraw, { id, amount: 8 })),
        new Overdrawn({ balance: 7 }),
        "rejected on the state"
      )
      const invalid = yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: -1 }))
      equal(invalid._tag, "InvalidCommand", "an invalid payload")
      includes(invalid.message, "amount", "the message")
    }).pipe(Effect.provide(accounts))
    equal((yield* Aggregate.load(AccountDecider, id)).state, { owner, balance: 7 }, "the state")
  }),

  test("metadata is complete by default and contains what the caller gives", function*() {
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
    equal(typeof first?.commandId, "string", "a new command id")
    equal(
      [first?.correlationId, first?.causationId],
      [first?.commandId, first?.commandId],
      "and correlation and causation ids"
    )
    equal(first?.actor, "anonymous", "the default actor")
    equal(
      { ...second, traceparent: undefined, payloadHash: undefined },
      {
        command: "Deposit",
        commandId,
        actor: "ann",
        correlationId: "conversation",
        causationId: "cause",
        attributes: { ip: "::1" },
        traceparent: undefined,
        payloadHash: undefined
      },
      "the given metadata"
    )
    ok(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/.test(second?.traceparent ?? ""), `the traceparent ${second?.traceparent}`)
  }),

  test("a program provides the default actor once", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 }, { actor: "ann" })
    }).pipe(Effect.provide(accounts), Effect.provideService(CommandContext.DefaultActor, "nightly-job"))
    const events = yield* Stream.runCollect((yield* EventStore).readStreamEncoded(`Account-${id}`))
    equal(events.map(({ metadata }) => metadata.actor), ["nightly-job", "ann"], "the actors")
  }),

  test("the default actor of a caller takes precedence over the one of the program", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" })
      yield* CommandBus.dispatch(Deposit, { id, amount: 1 }).pipe(
        Effect.provideService(CommandContext.DefaultActor, "an administrator")
      )
    }).pipe(Effect.provide(accounts.pipe(
      Layer.provide(Layer.succeed(CommandContext.DefaultActor, "nightly-job"))
    )))
    const events = yield* Stream.runCollect((yield* EventStore).readStreamEncoded(`Account-${id}`))
    equal(events.map(({ metadata }) => metadata.actor), ["nightly-job", "an administrator"], "the actors")
  }),

  test("20 concurrent commands on one instance take effect, each once", function*() {
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

  test("a repeated command id returns the first receipt, whatever the state is now", function*() {
    const id = unique("a")
    const [open, withdraw] = [unique("command"), unique("command")]
    yield* Effect.gen(function*() {
      const first = yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { commandId: open })
      yield* CommandBus.dispatch(Deposit, { id, amount: 5 })
      const taken = yield* CommandBus.dispatch(Withdraw, { id, amount: 5 }, { commandId: withdraw })
      equal(
        yield* CommandBus.dispatch(Withdraw, { id, amount: 5 }, { commandId: withdraw }),
        taken,
        "of a command that would be rejected now"
      )
      equal(
        yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { commandId: open }),
        first,
        "of a command that would append nothing now"
      )
      const expecting = { commandId: withdraw, expected: Version.make(2) }
      equal(
        yield* CommandBus.dispatch(Withdraw, { id, amount: 5 }, expecting),
        taken,
        "of a command that expects an earlier version"
      )
      const all = yield* Effect.forEach(
        upTo(20),
        () => CommandBus.dispatch(Deposit, { id, amount: 3 }, { commandId: `${open}-deposit` }),
        { concurrency: "unbounded" }
      )
      equal(all, upTo(20).map(() => all[0]!), "20 at once")
    }).pipe(Effect.provide(Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) })))
    equal((yield* Aggregate.load(AccountDecider, id)).version, Version.make(4), "the version")
  }),

  test("rejects a command id that another command or instance has used", function*() {
    const [id, other] = [unique("a"), unique("a")]
    const commandId = unique("command")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { commandId })
      const reused = [
        [id, "Deposit", Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 1 }, { commandId }))],
        [id, "Withdraw", Effect.flip(CommandBus.dispatch(Withdraw, { id, amount: 1 }, { commandId }))],
        [other, "Open", Effect.flip(CommandBus.dispatch(Open, { id: other, owner: "bob" }, { commandId }))],
        [other, "Deposit", Effect.flip(CommandBus.dispatch(Deposit, { id: other, amount: 1 }, { commandId }))]
      ] as const
      for (const [instance, command, rejected] of reused) {
        const first = {
          firstCommand: "Open",
          firstStream: `Account-${id}`,
          differs: command === "Open" ? "stream" : "command"
        } as const
        equal(
          yield* rejected,
          storeError(new CommandIdReused({ commandId, command, stream: `Account-${instance}`, ...first })),
          `${command} of ${instance} names the first use`
        )
      }
    }).pipe(Effect.provide(accounts))
    equal((yield* Aggregate.load(AccountDecider, id)).version, Version.make(1), "the version")
    equal((yield* Aggregate.load(AccountDecider, other)).version, Version.zero, "the other's version")
  }),

  test("a conflict with an expected version is not retried", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { expected: "noStream" })
      const stale = yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected: Version.make(0) }))
      equal(
        stale,
        new ConcurrencyConflict({ stream: `Account-${id}`, expected: Version.zero, actual: Version.make(1) }),
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

  test("streamExists and any hold under races, and their conflicts are retried", function*() {
    const id = unique("a")
    yield* Effect.gen(function*() {
      const missing = yield* Effect.flip(CommandBus.dispatch(Open, { id, owner: "ann" }, { expected: "streamExists" }))
      equal(
        missing,
        new ConcurrencyConflict({ stream: `Account-${id}`, expected: "streamExists", actual: Version.zero }),
        "an empty stream"
      )
      yield* CommandBus.dispatch(Open, { id, owner: "ann" }, { expected: "noStream" })
      for (const expected of ["any", "streamExists"] as const) {
        yield* Effect.forEach(upTo(20), () => CommandBus.dispatch(Deposit, { id, amount: 1 }, { expected }), {
          concurrency: "unbounded"
        })
      }
    }).pipe(Effect.provide(Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) })))
    equal((yield* Aggregate.load(AccountDecider, id)).state.balance, 40, "every deposit counts")
  }),

  test("the context of a command wins over the context around it and its layer", function*() {
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
    equal([first?.actor, first?.correlationId], ["outer", "conversation"], "the context around it")
    equal(
      [second?.actor, second?.correlationId, second?.commandId],
      ["inner", "conversation", commandId],
      "its own context"
    )
  }),

  test("a command never reaches the handler of another command with its name", function*() {
    const Foreign = Command.make("Deposit", { payload: { id: Schema.String, amount: Schema.Int }, error: Closed })
    const id = unique("a")
    const exit = yield* Effect.exit(Effect.provide(CommandBus.dispatch(Foreign, { id, amount: 1 }), accounts))
    ok(Exit.hasDies(exit), "a defect, since the program is wrong")
    equal((yield* Aggregate.load(AccountDecider, id)).version, Version.zero, "nothing is written")
  }),

  test("after the last retry the conflict has stream, expected and actual version", function*() {
    const id = unique("a")
    const store = yield* EventStore
    const opened = AccountEvent.cases.Opened.make({ id, owner: "ann" })
    // A store in which another append always comes first.
    const contested = Layer.succeed(
      EventStore,
      EventStore.of({
        ...store,
        [internals]: {
          ...store[internals],
          appending: {
            ...store[internals].appending,
            send: (request) =>
              Effect.andThen(
                Effect.orDie(store.append(AccountEvent, `Account-${id}`, [opened])),
                store[internals].appending.send(request)
              )
          }
        }
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
    equal(
      error,
      new ConcurrencyConflict({ stream: `Account-${id}`, expected: Version.make(2), actual: Version.make(3) }),
      "after two retries"
    )
  }),

  test("loads the state of an instance at a version and at an instant", function*() {
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
