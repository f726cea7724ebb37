/** The process manager of the benchmark: each signal is a reaction that sends one command, and each instance may have a deadline that ends it. */
import { PgClient } from "@effect/sql-pg"
import { type DateTime, Effect, Layer, Redacted, Schema } from "effect"
import { Aggregate, Command, EventStore, Position, ProcessManager } from "../../src/index.ts"
import { PgStores } from "../../src/pg/index.ts"

const id = { id: Schema.String }

export const Signal = Schema.TaggedUnion({ Signalled: id })
const TargetEvent = Schema.TaggedUnion({ Done: id })
const Do = Command.make("Do", { payload: id })

export const signal = (id: string) => EventStore.append(Signal, `Signal-${id}`, [Signal.cases.Signalled.make({ id })])

/** Returns the handler of the command. It calls back when the command is decided. */
export const targets = (decided: (id: string) => void = () => {}) =>
  Aggregate.layer(
    Aggregate.make("Target", { id: "id", state: Schema.Null, events: TargetEvent, commands: [Do] }).decider({
      initial: null,
      evolve: { Done: () => null },
      decide: {
        Do: (_, command) => {
          decided(command.id)
          return [TargetEvent.cases.Done.make(command)]
        }
      }
    })
  )

export const Bench = ProcessManager.make("bench", {
  inputs: Signal,
  correlate: { Signalled: ({ id }) => ProcessManager.start(id) },
  partitions: 2,
  state: Schema.Null,
  events: Schema.TaggedUnion({}),
  commands: [Do],
  deadlines: { Due: id }
}).behaviour({
  initial: null,
  evolve: {},
  react: {
    Signalled: (_, { id }) => [ProcessManager.send(Do, { id })],
    Due: () => [ProcessManager.complete]
  }
})

const { all, toEvent } = Bench.processEvents

/** Appends what an instance with a pending deadline has, without the process manager. */
export const waiting = (id: string, dueAt: DateTime.Utc) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    // The compiler does not know the types of the runtime's events.
    store.append(all, `bench-${id}`, [
      toEvent({
        kind: "received",
        input: "Signalled",
        eventId: id,
        position: Position.make(1n),
        recordedAt: dueAt,
        starts: true
      }),
      toEvent({ kind: "deadline", name: "Due", id: "0", dueAt, payload: { id } })
    ] as never))

export const stores = (url: string, maxConnections = 10) =>
  PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections })))

/** The process manager with default options, on the stores of its program. */
export const running = (decided?: (id: string) => void) =>
  ProcessManager.layer([Bench]).pipe(Layer.fresh, Layer.provide(Layer.fresh(targets(decided))))

/** The same as a program of its own, with its own connections. */
export const program = (url: string, decided?: (id: string) => void) =>
  running(decided).pipe(Layer.provide(Layer.fresh(stores(url))))
