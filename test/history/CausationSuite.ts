/**
 * Causation trees, on every back end.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import type { Metadata } from "../../src/core/Metadata.ts"
import * as Position from "../../src/core/Position.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Causation from "../../src/history/Causation.ts"
import * as Handled from "../../src/projection/Projection.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { AccountEvent, accounts, Deposit, Open, type Stores, upTo, Withdraw } from "../support/AccountFixtures.ts"

const Noted = Schema.TaggedUnion({ Noted: { n: Schema.Int } })

const note = Effect.fnUntraced(function*(stream: string, metadata: Metadata, ns: ReadonlyArray<number> = [1]) {
  const store = yield* EventStore
  const { events } = yield* store.append(Noted, stream, ns.map((n) => ({ _tag: "Noted", n })), { metadata })
  return events.map(({ id }) => id)
})

/** Formats nodes in brackets: a command by its name, an event by the number in its payload or its type. */
const shape = (nodes: ReadonlyArray<Causation.Node>): string =>
  nodes.map((node) =>
    node._tag === "Command"
      ? `${node.name ?? "?"}(${shape(node.events)})${node.caused.length === 0 ? "" : `{${shape(node.caused)}}`}`
      : `${numberOf(node.event.data) ?? node.event.type}${node.caused.length === 0 ? "" : `[${shape(node.caused)}]`}`
  ).join(" ")

const numberOf = (data: Schema.Json): unknown => Reflect.get(Object(data), "n")

const causationOf = (selector: Causation.Selector, options?: Causation.Options) =>
  Effect.flatMap(Causation.of(selector, options), (tree) => Effect.fromOption(tree))

const eventually = <A, E, R>(effect: Effect.Effect<A, E, R>, isDone: (value: A) => boolean) =>
  Effect.timeout(Effect.repeat(Effect.delay(effect, "20 millis"), { until: isDone }), "30 seconds")

/**
 * The cases of causation trees.
 *
 * @since 0.1.0
 * @category suites
 */
export const causationCases: ReadonlyArray<Case<Stores>> = [
  test("links a handler's command to its event, correlation id and actor", function*() {
    const [ann, bob, carol] = [unique("a"), unique("b"), unique("c")]
    const [name, commandId] = [unique("passing-on"), unique("command")]
    const PassOn = Subscription.make(name, {
      events: AccountEvent,
      parks: ["Closed"],
      handle: {
        Opened: Projection.ignore,
        Deposited: Projection.ignore,
        Withdrawn: ({ amount, id }) => id === ann ? CommandBus.dispatch(Deposit, { id: bob, amount }) : Effect.void
      }
    })
    const Further = Handled.handler(`${name}-further`, {
      events: AccountEvent,
      parks: ["Closed"],
      handle: {
        Opened: Projection.ignore,
        Deposited: ({ amount, id }) =>
          id === bob ? CommandBus.dispatch(Deposit, { id: carol, amount }, { actor: "the mirror" }) : Effect.void,
        Withdrawn: Projection.ignore
      }
    })
    yield* Effect.gen(function*() {
      for (const id of [ann, bob, carol]) yield* CommandBus.dispatch(Open, { id, owner: id })
      yield* CommandBus.dispatch(Deposit, { id: ann, amount: 10 })
      const context = { commandId, actor: "ann", attributes: { ip: "::1" } }
      yield* CommandBus.dispatch(Withdraw, { id: ann, amount: 7 }, context)
      const tree = yield* eventually(causationOf({ commandId }), ({ events }) => events === 3)
      equal(shape(tree.roots), "Withdraw(Withdrawn[Deposit(Deposited[Deposit(Deposited)])])", "the chain")
      equal([tree.correlationId, tree.isComplete], [commandId, true], "correlation id, and whether it is complete")
      equal(Option.getOrUndefined(tree.requested), tree.roots[0], "the requested node is the root")
      const commands: Array<Causation.CommandNode> = []
      for (let at = tree.roots; at[0]?._tag === "Command"; at = at[0].events[0]!.caused) commands.push(at[0])
      equal(
        commands.map(({ actor, name, stream }) => [actor, name, stream]),
        [
          ["ann", "Withdraw", `Account-${ann}`],
          [`subscription:${name}@1`, "Deposit", `Account-${bob}`],
          ["the mirror", "Deposit", `Account-${carol}`]
        ],
        "actors, commands and streams"
      )
      const events = commands.map(({ events }) => events[0]!.event)
      equal(
        events.map(({ metadata }) => [metadata.correlationId, metadata.causationId, metadata.attributes !== undefined]),
        [[commandId, commandId, true], [commandId, events[0]!.id, false], [commandId, events[1]!.id, false]],
        "their metadata"
      )
      for (const selector of [{ eventId: events[2]!.id }, { correlationId: commandId }]) {
        const same = yield* causationOf(selector)
        equal(shape(same.roots), shape(tree.roots), "the same tree by any selector")
        const requested = Option.getOrUndefined(same.requested)
        equal(
          requested?._tag === "Event" ? requested.event.id : undefined,
          "eventId" in selector ? selector.eventId : undefined,
          "the requested event"
        )
      }
      equal(
        Causation.format(tree).split("\n").map((line) => line.replace(/ at .*$/, "")),
        [
          "Withdraw by ann",
          `  Withdrawn in Account-${ann}, version 3`,
          `    Deposit by subscription:${name}@1`,
          `      Deposited in Account-${bob}, version 2`,
          "        Deposit by the mirror",
          `          Deposited in Account-${carol}, version 2`
        ],
        "as text"
      )
    }).pipe(
      Effect.provide(
        Layer.mergeAll(Subscription.layer([PassOn]), Projector.layer([Further])).pipe(Layer.provideMerge(accounts))
      )
    )
  }),

  test("names the projection as the default actor of its handler's commands", function*() {
    const [ann, bob, name] = [unique("a"), unique("b"), unique("mirror")]
    const Mirror = Handled.handler(name, {
      events: AccountEvent,
      handle: {
        Opened: ({ id }) => id === ann ? CommandBus.dispatch(Open, { id: bob, owner: "bob" }) : Effect.void,
        Deposited: Projection.ignore,
        Withdrawn: Projection.ignore
      }
    })
    yield* Effect.gen(function*() {
      const { events: [first], position } = yield* CommandBus.dispatch(Open, { id: ann, owner: "ann" })
      yield* (yield* ProjectionStore.ProjectionStore).awaitPosition(Mirror, position, "1 minute")
      const tree = yield* causationOf({ eventId: first!.id })
      equal(shape(tree.roots), "Open(Opened[Open(Opened)])", "the chain")
      const [root] = tree.roots
      const [second] = root?._tag === "Command" ? root.events[0]!.caused : []
      equal(second?._tag === "Command" ? second.actor : undefined, `projection:${name}@1`, "who")
    }).pipe(Effect.provide(Projector.layer([Mirror]).pipe(Layer.provideMerge(accounts))))
  }),

  test("contains every event once, even with cyclic, unknown or shared cause ids", function*() {
    const id = unique("correlation")
    const stream = unique("Note")
    const [other, third] = [unique("Note"), unique("Note")]
    const own = (commandId: string, causationId?: string): Metadata => ({
      command: commandId.split("-")[0]!,
      commandId: `${id}-${commandId}`,
      correlationId: id,
      ...(causationId === undefined ? {} : { causationId })
    })
    const [one, two] = yield* note(stream, own("a", `${id}-a`), [1, 2])
    yield* note(other, own("b", two), [3])
    // Several effects of one cause, an unknown cause, no cause, and a command as the cause.
    yield* note(other, own("c", two), [4])
    yield* note(other, own("d", "nobody"), [5])
    yield* note(other, own("e"), [6])
    yield* note(third, own("f", `${id}-a`), [7])
    // Without a command: below their cause, or a root.
    yield* note(third, { correlationId: id, causationId: one! }, [8])
    yield* note(third, { correlationId: id }, [9])
    // A command with the id of the event that caused it, as idempotent handlers choose it.
    yield* note(third, { ...own("g"), commandId: one!, causationId: one! }, [10])
    // A cycle of causes.
    yield* note(third, own("h", `${id}-i`), [11])
    yield* note(third, own("i", `${id}-h`), [12])
    yield* note(stream, { ...own("k"), correlationId: `${id}-other` }, [13])
    const tree = yield* causationOf({ correlationId: id })
    equal(
      shape(tree.roots),
      "a(1[8 g(10)] 2[b(3) c(4)]){f(7)} d(5) e(6) 9 i(12){h(11)}",
      "the tree"
    )
    equal(
      [tree.events, tree.isComplete, Option.isNone(tree.requested)],
      [12, true, true],
      "size, completeness, and no requested node"
    )
    const command = yield* causationOf({ commandId: one! })
    equal(shape(Option.toArray(command.requested)), "g(10)", "the command with an event's id")
    const event = yield* causationOf({ eventId: one! })
    equal(shape(Option.toArray(event.requested)), "1[8 g(10)]", "the event with that id")
    const few = yield* causationOf({ correlationId: id }, { limit: 4 })
    equal([shape(few.roots), few.events, few.isComplete], ["a(1 2[b(3) c(4)])", 4, false], "the first four events")
    const all = yield* causationOf({ correlationId: id }, { limit: 12 })
    equal([all.events, all.isComplete], [12, true], "a limit of exactly all")
  }),

  test("starts a tree with the id of an event that has no metadata", function*() {
    const stream = unique("Note")
    const [first] = yield* note(stream, {}, [1])
    const alone = yield* causationOf({ eventId: first! })
    equal([shape(alone.roots), alone.correlationId], ["1", first!], "the event alone")
    const commandId = unique("command")
    yield* note(unique("Note"), { command: "react", commandId, correlationId: first!, causationId: first! }, [2])
    for (const selector of [{ eventId: first! }, { correlationId: first! }, { commandId }]) {
      equal(shape((yield* causationOf(selector)).roots), "1[react(2)]", "with its effect")
    }
  }),

  test("returns none for unknown ids and rejects a limit of 0", function*() {
    for (const id of [unique("x"), globalThis.crypto.randomUUID(), ""]) {
      equal(yield* Causation.of({ correlationId: id }), Option.none(), "a correlation id")
      equal(yield* Causation.of({ eventId: id }), Option.none(), "an event")
      if (id !== "") equal(yield* Causation.of({ commandId: id }), Option.none(), "a command")
    }
    const error = yield* Effect.flip(Causation.of({ correlationId: "x" }, { limit: 0 }))
    equal(error.reason._tag, "InvalidRequest", "the reason")
  }),

  test("finds a correlation id byte for byte, page by page", function*() {
    const base = unique("c")
    const ids = [
      `${base}`,
      `${base}\u0000`,
      `${base}/u0000`,
      `${base}\\u0000`,
      `${base}"€💶`,
      `${base}`.repeat(300)
    ]
    for (const [n, correlationId] of ids.entries()) {
      yield* note(unique("Note"), { correlationId, attributes: { "k\u0000": ["\u0000", "\\u0000", "\ud800", base] } }, [
        n
      ])
    }
    // The same text elsewhere in the metadata is not the correlation id.
    yield* note(unique("Note"), { actor: base, attributes: { correlationId: base } }, [99])
    for (const [n, correlationId] of ids.entries()) {
      const tree = yield* causationOf({ correlationId })
      equal([shape(tree.roots), tree.correlationId], [`${n}`, correlationId], "its event")
      const { events } = yield* (yield* EventStore)[internals].driver.readCorrelation({
        correlationId,
        after: Position.start,
        limit: 1
      })
      equal(events.map(({ metadata }) => metadata.correlationId), [correlationId], "as a page of one")
    }
    const long = unique("c")
    yield* note(unique("Note"), { correlationId: long }, upTo(1100))
    const { events, isComplete, roots } = yield* causationOf({ correlationId: long })
    equal([events, roots.length, isComplete], [1100, 1100, true], "over more than two pages")
    const store = yield* EventStore
    const page = (after: Position.Position) =>
      Effect.map(
        store[internals].driver.readCorrelation({ correlationId: long, after, limit: 3 }),
        (found) => found.events
      )
    const [first] = yield* page(Position.start)
    equal((yield* page(first!.position)).map(({ data }) => numberOf(data)), [2, 3, 4], "a page")
  }),

  test("returns a chain of 300 commands as one tree", function*() {
    const [id, stream] = [unique("chain"), unique("Note")]
    const store = yield* EventStore
    let cause = "outside"
    for (const n of upTo(300)) {
      const { events: [event] } = yield* store.append(Noted, stream, [{ _tag: "Noted", n }], {
        metadata: { correlationId: id, commandId: `${id}-${n}`, causationId: cause }
      })
      cause = event!.id
    }
    const tree = yield* causationOf({ correlationId: id })
    equal([tree.roots.length, tree.events], [1, 300], "one root")
    const lines = Causation.format(tree).split("\n")
    equal([lines.length, /^ */.exec(lines[599] ?? "")?.[0].length], [600, 2 * 599], "lines and indentation of the last")
  })
]
