/**
 * A command id belongs to one append, also when its events move to the archive meanwhile.
 *
 * Models `append_one` and `append`, steps 2, 3 and 8 of their list, and `archive` of migrations/0001_event_store.sql. Each append has the same
 * command id; it locks its stream, then the id, looks the id up in both tables, and inserts. Each statement is a step with a snapshot of its own. The
 * unique index of `events` covers that table only: an insert waits until another transaction with the id ends, and fails if that has committed.
 */
import type { Can, Model, Protocols } from "./Explorer.ts"

export interface Configuration {
  /** The stream of each append. */
  readonly appends: ReadonlyArray<number>
  /** How many transactions are rolled back by a failure, and then sent again. */
  readonly failures: number
}

export interface Protocol {
  readonly id: "is locked, then looked up" | "is looked up, then locked" | "is not locked"
  readonly lookup: "both tables in one statement" | "archive, then events"
}

const protocol: Protocol = { id: "is locked, then looked up", lookup: "both tables in one statement" }

interface Append {
  at: "idle" | "has stream" | "has id" | "has archive" | "looked up" | "ready" | "inserted" | "ended"
  isDuplicate: boolean
  answer: "none" | "appended" | "duplicate" | "failed"
}

export interface State {
  /** The streams whose events with the id are in the two tables. */
  events: Array<number>
  archived: Array<number>
  appends: Array<Append>
  /** The stream whose events are being archived. */
  archiving: number | null
  failures: number
}

const idle: Append = { at: "idle", isDuplicate: false, answer: "none" }

const make = ({ appends, failures }: Configuration, rules: Protocol): Model<State> => ({
  initial: { events: [], archived: [], appends: appends.map(() => idle), archiving: null, failures },
  steps: (state, can) => {
    for (const index of state.appends.keys()) appendSteps(appends, rules, state, index, can)
    archiveSteps(appends, state, can)
  },
  violation: ({ appends, archived, events }) => {
    const stored = events.length + archived.length
    if (stored > 1) return "two appends have one command id"
    return stored === 0 && appends.some(({ answer }) => answer === "appended" || answer === "duplicate")
      ? "a command is answered that has no events"
      : undefined
  },
  goal: ({ appends }) => appends.every(({ at }) => at === "ended"),
  goalName: "an append is never answered"
})

const holdsStream = ({ at }: Append): boolean => at !== "idle" && at !== "ended"

/** Whether an append has locked the id; a mutant does it late, or not at all. */
const holdsId = ({ at }: Append, { id }: Protocol): boolean =>
  id === "is locked, then looked up"
    ? !["idle", "has stream", "ended"].includes(at)
    : id === "is looked up, then locked" && (at === "ready" || at === "inserted")

const appendSteps = (
  streams: ReadonlyArray<number>,
  rules: Protocol,
  { appends, archived, archiving, events, failures }: State,
  index: number,
  can: Can<State>
): void => {
  const { at, isDuplicate } = appends[index]!
  const stream = streams[index]!
  const to = (does: string, change: (append: Append, state: State) => void, mayHappen = false) =>
    can(`append ${index + 1} to stream ${stream}`, does, (state) => change(state.appends[index]!, state), { mayHappen })
  const others = appends.filter((_, other) => other !== index)
  const answer = (append: Append, answer: Append["answer"]) => Object.assign(append, { ...idle, at: "ended", answer })
  const isIdFree = !others.some((other) => holdsId(other, rules))
  if (at === "idle") {
    const isFree = archiving !== stream &&
      !appends.some((other, number) => streams[number] === stream && holdsStream(other))
    if (isFree) to("locks its stream", (append) => void (append.at = "has stream"))
  } else if (at === "has stream" && rules.id === "is locked, then looked up") {
    if (isIdFree) to("locks the command id", (append) => void (append.at = "has id"))
  } else if ((at === "has stream" || at === "has id") && rules.lookup === "archive, then events") {
    to(
      "looks into the archive",
      (append) => void Object.assign(append, { at: "has archive", isDuplicate: archived.length > 0 })
    )
  } else if (at === "has stream" || at === "has id" || at === "has archive") {
    const isFound = events.length > 0 || (at === "has archive" ? isDuplicate : archived.length > 0)
    to(
      isFound ? "finds the command id" : "does not find the command id",
      (append) => void Object.assign(append, { at: "looked up", isDuplicate: isFound })
    )
  } else if (at === "looked up" && isDuplicate) to("answers duplicate", (append) => void answer(append, "duplicate"))
  else if (at === "looked up" && rules.id === "is looked up, then locked") {
    if (isIdFree) to("locks the command id", (append) => void (append.at = "ready"))
  } else if (at === "looked up" || at === "ready") {
    if (others.some((other) => other.at === "inserted")) return
    if (events.length > 0) to("fails on the unique index", (append) => void answer(append, "failed"))
    else to("inserts its event", (append) => void (append.at = "inserted"))
  } else if (at === "inserted") {
    to("commits", (append, state) => {
      state.events.push(stream)
      answer(append, "appended")
    })
  }
  if (failures > 0 && at !== "idle" && at !== "ended") {
    to("is rolled back and sent again", (append, state) => {
      state.failures--
      Object.assign(append, idle)
    }, true)
  }
}

const archiveSteps = (streams: ReadonlyArray<number>, { appends, archiving, events }: State, can: Can<State>): void => {
  for (const stream of new Set(streams)) {
    const isFree = !appends.some((append, number) => streams[number] === stream && holdsStream(append))
    if (archiving === null && events.includes(stream) && isFree) {
      can("the operator", `archives stream ${stream}, which locks it`, (state) => void (state.archiving = stream), {
        mayHappen: true
      })
    }
  }
  if (archiving !== null) {
    can("the archiving", `moves the event of stream ${archiving} and commits`, (state) => {
      state.events = state.events.filter((stream) => stream !== archiving)
      state.archived.push(archiving)
      state.archiving = null
    })
  }
}

const two: Configuration = { appends: [1, 2], failures: 0 }

export const commandIds: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [{ appends: [1, 2], failures: 1 }, { appends: [1, 1, 2], failures: 0 }],
  large: [{ appends: [1, 2, 3], failures: 1 }, { appends: [1, 1, 2, 2], failures: 2 }],
  mutants: {
    "an append does not lock the command id": { change: { id: "is not locked" }, configuration: two },
    "an append looks up the command id before it locks it": {
      change: { id: "is looked up, then locked" },
      configuration: two
    },
    "an append looks into the archive and then into the log": {
      change: { lookup: "archive, then events" },
      configuration: two
    }
  }
}
