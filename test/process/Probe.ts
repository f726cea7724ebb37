/** A process manager whose reactions a test chooses, and the aggregate that its commands go to. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import { unique } from "../../src/conformance/Suite.ts"
import type { EventStoreError } from "../../src/core/errors.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import type { ProjectionStore } from "../../src/projection/ProjectionStore.ts"
import { parkedKeys } from "../support/parked.ts"

export const Signal = Schema.TaggedUnion({
  Begun: { id: Schema.String, n: Schema.Int },
  Went: { id: Schema.String, n: Schema.Int },
  Ended: { id: Schema.String }
})

export class NotDone extends Schema.TaggedError<NotDone>()("NotDone", { what: Schema.String }) {}

const Id = Schema.String
const What = Schema.String.check(Schema.isMaxLength(30))

export const Do = Command.make("Do", { payload: { id: Id, what: What }, error: NotDone })
export const Undo = Command.make("Undo", { payload: { id: Id, what: What } })

export const TargetEvent = Schema.TaggedUnion({ Done: { id: Id, what: What }, Undone: { id: Id, what: What } })
const { Done, Undone } = TargetEvent.cases

const Target = Aggregate.make("Target", {
  id: "id",
  state: Schema.Struct({ events: Schema.Int }),
  events: TargetEvent,
  commands: [Do, Undo]
})

/** What the handlers of the commands do; they are right by default. */
export interface Handling {
  readonly onDo?: (payload: { readonly id: string; readonly what: string }) => "done" | "nothing" | "rejected"
}

/** Returns the handlers of the commands, of its own in each test. */
export const targets = ({ onDo = () => "done" }: Handling = {}): Layer.Layer<
  Command.HandlerOf<typeof Do | typeof Undo>,
  never,
  EventStore.EventStore
> =>
  Layer.fresh(Aggregate.layer(Target.decider({
    initial: { events: 0 },
    evolve: { Done: ({ events }) => ({ events: events + 1 }), Undone: ({ events }) => ({ events: events + 1 }) },
    decide: {
      Do: (_, command) => {
        const result = onDo(command)
        if (result === "rejected") return Result.fail(new NotDone({ what: command.what }))
        return result === "done" ? [Done.make(command)] : []
      },
      Undo: (_, command) => [Undone.make(command)]
    }
  })))

export const ProbeEvent = Schema.TaggedUnion({ Took: { what: What } })
export const took = (what: string) => ({ _tag: "Took" as const, what })

export interface Options {
  readonly partitions?: number
  readonly partitionBy?: "stream"
  /** Returns the id of the instance; that of the signal by default. */
  readonly idOf?: (id: string) => string
}

/** Returns the contract under a name, which takes only the signals that {@link signal} sends it. */
export const contract = (name: string, { idOf = (id) => id, partitionBy, partitions = 1 }: Options = {}) =>
  ProcessManager.make(name, {
    inputs: Signal,
    where: { streamPrefix: `${name}.in-` },
    partitions,
    ...partitionBy === undefined ? {} : { partitionBy },
    correlate: {
      Begun: ({ id }) => ProcessManager.start(idOf(id)),
      Went: ({ id }) => ProcessManager.continue(idOf(id)),
      Ended: ({ id }) => ProcessManager.continue(idOf(id))
    },
    state: Schema.Array(Schema.String),
    events: ProbeEvent,
    commands: [Do, Undo],
    deadlines: { Due: { what: What }, Late: { what: What } }
  })

type Behaviour = Parameters<ReturnType<typeof contract>["behaviour"]>[0]
export type Reactions = Behaviour["react"]

export const due = (after: "0 millis" | "50 millis" | "1 minute" | "1 hour" | "7 days" | "365 days", what = "due") =>
  ProcessManager.deadline("Due", { what }, { after })

/** Returns the process manager. By default each input is one own event, and all but the first and the last are a command too. */
export const probe = (
  name: string,
  { evolve = (state, { what }) => [...state, what], options, refused = () => [took("refused")], ...react }:
    & Partial<Reactions>
    & {
      readonly evolve?: Behaviour["evolve"]["Took"]
      readonly options?: Options
      readonly refused?: Behaviour["refused"]["Do"]
    } = {}
) =>
  contract(name, options).behaviour({
    initial: [],
    evolve: { Took: evolve },
    react: {
      Begun: (_, { n }) => [took(`begun ${n}`)],
      Went: (_, { id, n }) => [took(`went ${n}`), ProcessManager.send(Do, { id, what: `went ${n}` })],
      Ended: () => [ProcessManager.complete],
      Due: (_, { what }, { dueAt: _due }) => [took(what)],
      Late: (_, { what }) => [took(what)],
      ...react
    },
    refused: { Do: refused }
  })

export type Probe = ReturnType<typeof probe>

/** Returns a name of a process manager that no other test uses. */
export const uniqueName = () => unique("probe").replaceAll("-", "_")

/** Appends signals that a process manager takes; those of one id are in one stream. */
export const signal = (
  { name }: Pick<Probe, "name">,
  signals: ReadonlyArray<typeof Signal.Type>,
  stream = signals[0]!.id
) => EventStore.append(Signal, `${name}.in-${stream}`, signals)

export const begun = (id: string, n = 1) => Signal.cases.Begun.make({ id, n })
export const went = (id: string, n: number) => Signal.cases.Went.make({ id, n })
export const ended = (id: string) => Signal.cases.Ended.make({ id })

export type Services = ProcessManager.ProcessManagers | Command.HandlerOf<typeof Do | typeof Undo>
type Stores = EventStore.EventStore | ProjectionStore

/** Returns the layer that runs process managers, as a program of its own does. */
export const run = (
  processes: ReadonlyArray<Probe>,
  { handling, ...options }: ProcessManager.ProcessOptions & { readonly handling?: Handling } = {}
): Layer.Layer<Services, EventStoreError, Stores> =>
  ProcessManager.layer(processes, {
    lease: "5 seconds",
    deadlineInterval: "200 millis",
    retryDelay: { first: "20 millis", max: "100 millis" },
    ...options
  }).pipe(Layer.fresh, Layer.provideMerge(targets(handling)))

/** Reads until the result is as expected. */
export const until = <A, E, R>(what: string, self: Effect.Effect<A, E, R>, isExpected: (a: A) => boolean) => {
  let last: A | undefined
  return self.pipe(
    Effect.tap((a) =>
      Effect.sync(() => {
        last = a
      })
    ),
    Effect.repeat({ until: isExpected, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOrElse({
      duration: "50 seconds",
      orElse: () =>
        Effect.die(
          new Error(
            `timed out waiting for ${what}: ${
              JSON.stringify(last, (_, v: unknown) => typeof v === "bigint" ? `${v}` : v)
            }`
          )
        )
    })
  )
}

/** Returns the type of an event; that of a command or a deadline with its name, and that of a process manager without the name of that. */
export const nameOf = ({ data, type }: Pick<EncodedEvent, "data" | "type">): string => {
  const { command, deadline, name } = Object(data) as Readonly<Record<string, { readonly name?: string } | undefined>>
  const part = (command ?? deadline)?.name ?? (/\.(cancelled|skipped)$/.test(type) ? String(name) : undefined)
  return `${type.replace(/^probe_[^.]*\./, "")}${part === undefined ? "" : `.${part}`}`
}

/** Returns the names of the events of a stream. */
export const typesOf = (stream: string) =>
  EventStore.readStreamEncoded(stream).pipe(Stream.map(nameOf), Stream.runCollect)

/** Waits until a stream ends with an event of a type, and returns all its types. */
export const untilLast = (stream: string, type: string) =>
  until(`"${type}" in "${stream}"`, typesOf(stream), (types) => types.at(-1) === type)

export const instance = ({ name }: Pick<Probe, "name">, id: string) => `${name}-${id}`

/** Returns what the commands did to a target. */
export const doneTo = (id: string) =>
  EventStore.readStream(TargetEvent, Target.streamOf(id)).pipe(
    Stream.map(({ event }) => event.what),
    Stream.runCollect
  )

export const untilDone = (id: string, count: number) =>
  until(`${count} effects on "${id}"`, doneTo(id), (done) => done.length >= count)

/** Waits until the inputs or the outputs of a process manager have parked a stream, and returns the entry. */
export const untilParked = (process: Probe, which: "inputs" | "outputs") =>
  Effect.map(
    until(`parked ${which}`, parkedKeys(ProcessManager.consumers(process)[which]), (parked) => parked.length > 0),
    ([parked]) => parked!
  )

/** Waits until a process manager has taken all inputs, or has parked them. */
export const untilState = (process: Probe, id: string, isExpected: (state: ReadonlyArray<string>) => boolean) =>
  until(
    `the state of "${id}"`,
    Effect.map(ProcessManager.inspect(process, id), (found) => found._tag === "Some" ? found.value.state.state : []),
    isExpected
  )
