/**
 * The process manager that the simulation runs, and what the log must contain at the end.
 */
import { Effect, Result, Schema, Stream } from "effect"
import { Aggregate, Command, type EncodedEvent, EventStore, ProcessManager } from "evsrc"
import { nameOf } from "../process/Probe.ts"

const id = { id: Schema.String }
const step = { ...id, what: Schema.String }

export const Job = Schema.TaggedUnion({ Ordered: { ...id, dueAfter: Schema.Int }, Poked: { ...id, n: Schema.Int } })

const Done = Schema.TaggedUnion({ Done: step })
class NotDone extends Schema.TaggedError<NotDone>()("NotDone", step) {}
const Do = Command.make("Do", { payload: step, error: NotDone })

/** It does not look at what was done before: a dispatch under another id is another event. Every third poke is rejected. */
const Target = Aggregate.make("Target", { id: "id", state: Schema.Null, events: Done, commands: [Do] }).decider({
  initial: null,
  evolve: { Done: () => null },
  decide: {
    Do: (_, command) =>
      /poke \d*[369]$/.test(command.what) ? Result.fail(new NotDone(command)) : [Done.cases.Done.make(command)]
  }
})

export const targets = Aggregate.layer(Target)

/** A poke cancels the first deadline and sets it again, or cancels it for good. The last one ends the job. */
export const Jobs = ProcessManager.make("jobs", {
  inputs: Job,
  correlate: { Ordered: ({ id }) => ProcessManager.start(id), Poked: ({ id }) => ProcessManager.continue(id) },
  partitions: 2,
  state: Schema.Struct({ pokes: Schema.Int, refused: Schema.Int }),
  events: Schema.TaggedUnion({ WasPoked: {}, WasRefused: {} }),
  commands: [Do],
  deadlines: { Due: id, End: id }
}).behaviour({
  initial: { pokes: 0, refused: 0 },
  evolve: {
    WasPoked: (state) => ({ ...state, pokes: state.pokes + 1 }),
    WasRefused: (state) => ({ ...state, refused: state.refused + 1 })
  },
  react: {
    Ordered: (_, { dueAfter, id }) => [
      ProcessManager.send(Do, { id, what: "begin" }),
      ProcessManager.deadline("Due", { id }, { after: `${dueAfter} millis` }),
      ProcessManager.deadline("End", { id }, { after: "2 seconds" })
    ],
    Poked: (_, { id, n }) => [
      { _tag: "WasPoked" },
      ProcessManager.send(Do, { id, what: `poke ${n}` }),
      n % 2 === 0
        ? ProcessManager.cancelDeadline("Due")
        : ProcessManager.deadline("Due", { id }, { after: `${20 * n} millis` })
    ],
    Due: (_, { id }) => [ProcessManager.send(Do, { id, what: "due" })],
    End: (_, { id }) => [ProcessManager.send(Do, { id, what: "end" }), ProcessManager.complete]
  },
  refused: { Do: () => [{ _tag: "WasRefused" }] }
})

/** The same, but a deadline fires without a look at whether it was cancelled or replaced. */
export const uncheckedJobs: typeof Jobs = {
  ...Jobs,
  decider: {
    ...Jobs.decider,
    evolve: (before, event) => {
      const after = Jobs.decider.evolve(before, event)
      const isGone = event._tag === "jobs.cancelled" && Reflect.get(event, "name") === "Due"
      return isGone ? { ...after, deadlines: before.deadlines } : after
    }
  }
}

const read = (stream: string) => Stream.runCollect(EventStore.readStreamEncoded(stream))

const field = ({ data }: EncodedEvent, name: string): unknown => Reflect.get(Object(data), name)

const typeOf = (event: EncodedEvent): string => nameOf(event).replace("jobs.", "")

/** Returns what is wrong with a job at the end. */
export const faultsOf = Effect.fnUntraced(function*(id: string) {
  const [inputs, history, effects] = [yield* read(`Job-${id}`), yield* read(`jobs-${id}`), yield* read(`Target-${id}`)]
  const ofType = (type: string) => history.filter((event) => typeOf(event) === type)
  const faults: Array<string> = []
  const expect = (what: string, actual: unknown, expected: unknown) => {
    const [found, wanted] = [JSON.stringify(actual), JSON.stringify(expected)]
    if (found !== wanted) faults.push(`${id}: ${what}: ${found} instead of ${wanted}`)
  }
  expect("the end", history.map(typeOf).filter((type) => type === "completed"), ["completed"])
  // Inputs that came after the end were ignored.
  const taken = ofType("received").map((event) => field(event, "eventId"))
  expect("the inputs", taken, inputs.slice(0, taken.length).map((event) => event.id))
  const rejected = ofType("rejected.Do").map((event) => field(event, "sent"))
  const accepted = ofType("send.Do").map((event) => event.id).filter((id) => !rejected.includes(id))
  expect(
    "the effects of the commands",
    effects.map(({ metadata }) => metadata.commandId).toSorted(),
    accepted.toSorted()
  )
  expect("rejections", new Set(rejected).size, rejected.length)
  expect("what follows rejections", ofType("WasRefused").length, rejected.length)
  return [...faults, ...faultsOfDeadlines(id, history)]
})

/** A deadline fires at most once, when it is due, and not after it was cancelled, replaced, or dropped by the end. */
const faultsOfDeadlines = (id: string, history: ReadonlyArray<EncodedEvent>): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const pending = new Map<string, { readonly id: unknown; readonly dueAt: number }>()
  for (const event of history) {
    const [kind = "", name = ""] = typeOf(event).split(".")
    const one = pending.get(name)
    if (kind === "deadline") {
      pending.set(name, { id: field(event, "id"), dueAt: Date.parse(String(field(event, "dueAt"))) })
    } else if (kind === "cancelled") pending.delete(name)
    else if (kind === "completed") pending.clear()
    else if (kind === "fired") {
      if (one === undefined || one.id !== field(event, "id")) {
        faults.push(`${id}: ${name} has fired and was not pending`)
      } else if (Date.parse(String(field(event, "firedAt"))) < one.dueAt) faults.push(`${id}: ${name} has fired early`)
      pending.delete(name)
    }
  }
  return faults
}
