/** Executes the code of docs/aggregates.md. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Result, Schema } from "effect"
import { Aggregate, Command, CommandBus, CommandContext, EventStore, Query, QueryBus } from "evsrc"

const ticketId = Schema.NonEmptyString

const TicketEvent = Schema.TaggedUnion({
  TicketOpened: { ticketId, title: Schema.NonEmptyString },
  TicketAssigned: { ticketId, agent: Schema.NonEmptyString },
  TicketResolved: { ticketId }
})
const { TicketAssigned, TicketOpened, TicketResolved } = TicketEvent.cases

class TicketUnknown extends Schema.TaggedError<TicketUnknown>()("TicketUnknown", { ticketId }) {}
class TicketIsResolved extends Schema.TaggedError<TicketIsResolved>()("TicketIsResolved", { ticketId }) {}

const OpenTicket = Command.make("OpenTicket", { payload: TicketOpened.fields })
const AssignTicket = Command.make("AssignTicket", {
  payload: TicketAssigned.fields,
  error: Schema.Union([TicketUnknown, TicketIsResolved])
})
const ResolveTicket = Command.make("ResolveTicket", { payload: { ticketId }, error: TicketUnknown })

const TicketState = Schema.TaggedUnion({
  Absent: {},
  Open: { agent: Schema.optionalKey(Schema.String) },
  Resolved: {}
})

const Ticket = Aggregate.make("Ticket", {
  id: "ticketId",
  state: TicketState,
  events: TicketEvent,
  commands: [OpenTicket, AssignTicket, ResolveTicket]
})

const TicketDecider = Ticket.decider({
  initial: { _tag: "Absent" },
  evolve: {
    TicketOpened: () => ({ _tag: "Open" }),
    TicketAssigned: (_, { agent }) => ({ _tag: "Open", agent }),
    TicketResolved: () => ({ _tag: "Resolved" })
  },
  decide: {
    OpenTicket: (ticket, command) => ticket._tag === "Absent" ? [TicketOpened.make(command)] : [],
    AssignTicket: (ticket, command) => {
      if (ticket._tag === "Absent") return Result.fail(new TicketUnknown({ ticketId: command.ticketId }))
      if (ticket._tag === "Resolved") return Result.fail(new TicketIsResolved({ ticketId: command.ticketId }))
      return ticket.agent === command.agent ? [] : [TicketAssigned.make(command)]
    },
    ResolveTicket: (ticket, command) =>
      ticket._tag === "Absent"
        ? Result.fail(new TicketUnknown(command))
        : ticket._tag === "Resolved"
        ? []
        : [TicketResolved.make(command)]
  }
})

const GetTicket = Query.make("GetTicket", { payload: { ticketId }, success: TicketState })

const Tickets = Layer.merge(
  Aggregate.layer(TicketDecider),
  QueryBus.handler(
    GetTicket,
    ({ ticketId }) => Effect.map(Aggregate.load(TicketDecider, ticketId), ({ state }) => state)
  )
)

layer(Tickets.pipe(Layer.provideMerge(EventStore.layerMemory)))("a ticket", (it) => {
  it.effect("is opened, assigned and resolved", () =>
    Effect.gen(function*() {
      const opened = yield* CommandBus.dispatch(OpenTicket, { ticketId: "1", title: "Printer is on fire" })
      assert.strictEqual(opened.version, 1)
      yield* CommandBus.dispatch(AssignTicket, { ticketId: "1", agent: "ann" })
      const receipt = yield* CommandBus.dispatch(ResolveTicket, { ticketId: "1" })
      assert.deepStrictEqual(yield* QueryBus.ask(GetTicket, { ticketId: "1" }, { after: receipt }), {
        _tag: "Resolved"
      })

      const error = yield* Effect.flip(CommandBus.dispatch(AssignTicket, { ticketId: "1", agent: "bob" }))
      assert.strictEqual(error._tag, "TicketIsResolved")
    }))

  it.effect("ignores a repeated command id", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatch(OpenTicket, { ticketId: "2", title: "No coffee" })
      const assign = CommandBus.dispatch(AssignTicket, { ticketId: "2", agent: "ann" }, { commandId: "request-7" })
      const first = yield* assign
      const second = yield* assign
      assert.deepStrictEqual(second, first)
      const body: unknown = JSON.parse(`{ "ticketId": "2", "agent": "ben" }`)
      yield* CommandBus.dispatchUnknown(AssignTicket, body)
      yield* CommandBus.dispatchByName(Ticket.group, "AssignTicket", body)
      assert.strictEqual((yield* Aggregate.load(TicketDecider, "2")).version, 3)
    }))

  it.effect("rejects an unexpected version, and an invalid payload", () =>
    Effect.gen(function*() {
      const { version } = yield* CommandBus.dispatch(OpenTicket, { ticketId: "3", title: "Cold" })
      yield* CommandBus.dispatch(AssignTicket, { ticketId: "3", agent: "ann" })
      const conflict = yield* Effect.flip(
        CommandBus.dispatch(ResolveTicket, { ticketId: "3" }, { expected: version })
      )
      assert.strictEqual(conflict._tag, "ConcurrencyConflict")
      const invalid = yield* Effect.flip(CommandBus.dispatch(OpenTicket, { ticketId: "4", title: "" }))
      assert.strictEqual(invalid._tag, "InvalidCommand")
    }))

  it.effect("stores the actor of a request", () =>
    Effect.gen(function*() {
      const handleRequest = CommandBus.dispatch(OpenTicket, { ticketId: "5", title: "Dark" }).pipe(
        CommandContext.provide({ actor: "ann", correlationId: "request-8" })
      )
      yield* handleRequest
      const { state, version } = yield* Aggregate.load(TicketDecider, "5")
      assert.deepStrictEqual([state, version], [{ _tag: "Open" }, 1])
    }))
})
