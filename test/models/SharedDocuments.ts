/**
 * A document that several partitions write: each write must rest on the document as it is.
 *
 * Models `advance_partition_if_unchanged` of migrations/0002_projections.sql, and its caller, `DocumentProcessor.make` with `processPage` in
 * src/consumer/PartitionProcessor.ts: read the document, fold, write it if it is unchanged, otherwise begin again. Lease.ts models the checkpoint.
 * Each statement of the function is a step, because it has a snapshot of its own:
 *
 * - `for update` waits for the lock of the document's row, and then finds the newest committed row, or none. It does not see a row whose insert
 *   is not committed.
 * - An insert of an existing key waits until the other insert commits or is rolled back. `on conflict do nothing` then inserts nothing.
 */
import type { Can, Model, Protocols } from "./Explorer.ts"

/** An event that makes or extends the document, removes it, or extends it only if it exists. */
type Event = "add" | "remove" | "extend"

export interface Configuration {
  /** The events of each partition, all of the same document. */
  readonly partitions: ReadonlyArray<ReadonlyArray<Event>>
  /** How many transactions are rolled back by a failure. */
  readonly failures: number
}

export interface Protocol {
  readonly compares: "the revision" | "nothing"
  /** Whether the document is locked before it is compared. */
  readonly locks: "before it compares" | "never"
  /** What an insert does with a document that another partition has inserted. */
  readonly conflict: "changes nothing" | "overwrites"
  /** Whether the removal of a document removes one that was not there when it was read. */
  readonly removes: "what was read" | "what is there"
}

const protocol: Protocol = {
  compares: "the revision",
  locks: "before it compares",
  conflict: "changes nothing",
  removes: "what was read"
}

interface Stored {
  readonly revision: number
  /** The events that the document was made of. */
  readonly events: ReadonlyArray<string>
}

interface Processor {
  at: "idle" | "read" | "locked" | "compared" | "inserted" | "written"
  next: number
  /** The document as it was read. */
  read: Stored | null
}

export interface State {
  /** The committed document. */
  document: Stored | null
  /** The partition that has locked it, and the one that has inserted it without a commit yet. */
  lock: number | null
  insert: number | null
  revision: number
  processors: Array<Processor>
  failures: number
}

const make = (configuration: Configuration, rules: Protocol): Model<State> => {
  const results = new Set(orders(configuration.partitions.map(eventsOf)).map(fold))
  const isDone = ({ processors }: State) =>
    processors.every(({ at, next }, index) => at === "idle" && next === configuration.partitions[index]!.length)
  return {
    initial: {
      document: null,
      lock: null,
      insert: null,
      revision: 0,
      processors: configuration.partitions.map(() => ({ at: "idle", next: 0, read: null })),
      failures: configuration.failures
    },
    steps: (state, can) => {
      for (const index of state.processors.keys()) processorSteps(configuration, rules, state, index, can)
    },
    violation: (state) =>
      isDone(state) && !results.has(JSON.stringify(state.document?.events ?? null))
        ? "the document is not the fold of all events in any order"
        : undefined,
    goal: isDone,
    goalName: "an event is never applied"
  }
}

/** The events with their partition and number. */
const eventsOf = (events: ReadonlyArray<Event>, partition: number): ReadonlyArray<string> =>
  events.map((event, number) => `${event} ${partition}.${number + 1}`)

/** Returns all orders of the events in which those of a partition keep theirs. */
const orders = (partitions: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<ReadonlyArray<string>> =>
  partitions.every((events) => events.length === 0) ?
    [[]] :
    partitions.flatMap(([first, ...rest], index) =>
      first === undefined
        ? []
        : orders(partitions.map((events, other) => other === index ? rest : events)).map((order) => [first, ...order])
    )

const after = (events: ReadonlyArray<string> | null, event: string): ReadonlyArray<string> | null =>
  event.startsWith("remove") || (events === null && event.startsWith("extend")) ? null : [...events ?? [], event]

const fold = (events: ReadonlyArray<string>): string =>
  JSON.stringify(events.reduce<ReadonlyArray<string> | null>(after, null))

const processorSteps = (
  { partitions }: Configuration,
  rules: Protocol,
  { document, failures, insert, lock, processors, revision }: State,
  index: number,
  can: Can<State>
): void => {
  const { at, next, read } = processors[index]!
  const event = eventsOf(partitions[index]!, index)[next]
  const to = (does: string, change: (processor: Processor, state: State) => void) =>
    can(`partition ${index}`, does, (state) => change(state.processors[index]!, state))
  if (event === undefined) return
  const result = after(read?.events ?? null, event)
  const isNew = read === null && result !== null
  const shown = document === null ? "no document" : `revision ${document.revision}`

  if (at === "idle") {
    to(`reads ${shown}`, (processor) => void Object.assign(processor, { at: "read", read: document }))
  } else if (at === "read") {
    // An unlocked document, or none: nothing to wait for.
    if (rules.locks === "never") to("does not lock", (processor) => void (processor.at = "locked"))
    else if (document === null) to("finds no document to lock", (processor) => void (processor.at = "locked"))
    else if (lock === null) {
      to(`locks ${shown}`, (processor, state) => {
        processor.at = "locked"
        state.lock = index
      })
    }
  } else if (at === "locked") {
    const isUnchanged = (document?.revision ?? 0) === (read?.revision ?? 0)
    if (isUnchanged || rules.compares === "nothing") {
      to(`finds ${shown} as it was read`, (processor) => void (processor.at = "compared"))
    } else to(`finds ${shown}, and begins again`, begin(index))
  } else if (at === "compared" && isNew) insertSteps(rules, document, insert, index, to)
  else if (at === "compared") {
    const isFree = lock === null || lock === index
    if (document === null || isFree) {
      to(result === null ? "removes the document" : `writes revision ${revision + 1}`, (processor, state) => {
        processor.at = "written"
        if (document !== null && (read !== null || rules.removes === "what is there")) state.lock = index
      })
    }
  } else if (at === "inserted" || at === "written") {
    to("commits", (processor, state) => {
      state.revision++
      if (result !== null) state.document = { revision: state.revision, events: result }
      else if (state.lock === index) state.document = null
      begin(index)(processor, state)
      processor.next++
    })
  }
  if (failures > 0 && at !== "idle") {
    can(`partition ${index}`, "loses its connection and begins again", (state) => {
      state.failures--
      begin(index)(state.processors[index]!, state)
    }, { mayHappen: true })
  }
}

const insertSteps = (
  { conflict }: Protocol,
  document: Stored | null,
  insert: number | null,
  index: number,
  to: (does: string, change: (processor: Processor, state: State) => void) => void
): void => {
  if (insert !== null) return
  if (document === null || conflict === "overwrites") {
    to("inserts the document", (processor, state) => {
      processor.at = "inserted"
      state.insert = index
    })
  } else to("finds that the document was inserted, and begins again", begin(index))
}

/** Ends the transaction, which releases its locks. */
const begin = (index: number) => (processor: Processor, state: State): void => {
  if (state.lock === index) state.lock = null
  if (state.insert === index) state.insert = null
  Object.assign(processor, { at: "idle", read: null })
}

const two: Configuration = { partitions: [["add"], ["add"]], failures: 0 }

export const sharedDocuments: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [{ ...two, failures: 1 }, { partitions: [["add", "remove"], ["add", "add"]], failures: 0 }],
  large: [
    { partitions: [["add", "add"], ["add", "remove"]], failures: 2 },
    { partitions: [["add", "remove", "add"], ["extend", "remove", "add"]], failures: 1 },
    { partitions: [["add"], ["add", "add"], ["remove"]], failures: 1 }
  ],
  mutants: {
    "a write does not compare the revision": {
      change: { compares: "nothing" },
      configuration: { ...two, partitions: [["add", "add"], ["add"]] }
    },
    "a write compares the revision without a lock": {
      change: { locks: "never" },
      configuration: { ...two, partitions: [["add", "add"], ["add"]] }
    },
    "an insert overwrites the document of another partition": {
      change: { conflict: "overwrites" },
      configuration: two
    },
    "a removal removes a document that was not read": {
      change: { removes: "what is there" },
      configuration: { ...two, partitions: [["extend"], ["add"]] }
    }
  }
}
