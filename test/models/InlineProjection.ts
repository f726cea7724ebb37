/**
 * An inline projection: its documents are made from the log while others append, with the projection or without it, and readers find gaps.
 *
 * Models `append_one`, `lock_types`, `record_inline_gaps` and `lock_documents` of the migrations, src/projection/inline/InlineProjector.ts, and the reader
 * of src/projection/inline/InlineCompleteness.ts. There is one document, which must have every event, in the order of the log. Each statement is a
 * step with a snapshot of its own; the end of a transaction makes its writes visible and releases its locks. HighWaterMark.ts shows that these
 * two may be one step. A program that makes the document again does so in one transaction, which stands for the last step of an exchange: with one
 * document there are no others, as each step holds the same locks.
 *
 * Some appends compute the document before they begin (`appendAhead` of src/pg/append/PgTransactionalAppend.ts, `lock_unchanged_documents`). They
 * wait for no lock of it, and begin again like the others if it is locked or has changed.
 */
import type { Can, Model, Protocols } from "./Explorer.ts"

export interface Configuration {
  /** How many programs append one event with the projection, and without it. */
  readonly covered: number
  readonly uncovered: number
  /** How many programs append one event with the projection, and compute the document before. */
  readonly ahead?: number
  /** How often a program makes the documents from the log. */
  readonly makings: number
  /** How many readers read once, and whether an append of another type may be in flight. */
  readonly readers: number
  readonly others: number
  /** Whether the fold gives the same document in every order. */
  readonly commutes: boolean
}

export interface Protocol {
  readonly making: "holds the types exclusively" | "holds no lock"
  readonly reads: "all visible events" | "up to the high-water mark"
  /** When an append without the projection looks whether it is registered. */
  readonly looks: "after it has locked the type" | "before it locks the type"
  readonly documents: "are locked before the position is drawn" | "are locked before they are read" | "are not locked"
  /** When a document that was computed before is compared with that from which it was computed. */
  readonly ahead: "is compared under its lock" | "is compared before it is locked" | "is not compared"
  readonly reader: "documents, then gaps" | "gaps, then documents"
  readonly editions: "are compared" | "are ignored"
}

const protocol: Protocol = {
  making: "holds the types exclusively",
  reads: "all visible events",
  looks: "after it has locked the type",
  documents: "are locked before the position is drawn",
  ahead: "is compared under its lock",
  reader: "documents, then gaps",
  editions: "are compared"
}

interface Append {
  at:
    | "idle"
    | "looked"
    | "computed"
    | "locked"
    | "unchanged"
    | "has document"
    | "ready"
    | "inserted"
    | "has read"
    | "ended"
  /** Whether it computes the document before it begins. */
  isAhead: boolean
  revision: number
  position: number
  isRegistered: boolean
  read: Array<number>
}

interface Reader {
  at: "idle" | "has read" | "has looked" | "ended"
  result: Array<number>
  /** The events that were committed when it read. */
  committed: Array<number>
  edition: number
}

export interface State {
  position: number
  log: Array<number>
  document: Array<number>
  /** Changes with every write of the document. */
  revision: number
  isRegistered: boolean
  edition: number
  hasGap: boolean
  covered: Array<Append>
  uncovered: Array<Append>
  documentLock: number | null
  maker: { at: "idle" | "locked" | "has read"; left: number; events: Array<number> }
  /** The position above which an append of another type holds readers back. */
  others: { left: number; mark: number | null }
  readers: Array<Reader>
  mistake: string | null
}

const idle: Append = { at: "idle", position: 0, isRegistered: false, read: [], isAhead: false, revision: 0 }

const make = (configuration: Configuration, rules: Protocol): Model<State> => ({
  initial: {
    position: 0,
    log: [],
    document: [],
    revision: 0,
    isRegistered: false,
    edition: 0,
    hasGap: false,
    covered: Array.from(
      { length: configuration.covered + (configuration.ahead ?? 0) },
      (_, index) => ({ ...idle, isAhead: index >= configuration.covered })
    ),
    uncovered: Array.from({ length: configuration.uncovered }, () => idle),
    documentLock: null,
    maker: { at: "idle", left: configuration.makings, events: [] },
    others: { left: configuration.others, mark: null },
    readers: Array.from(
      { length: configuration.readers },
      () => ({ at: "idle", result: [], committed: [], edition: 0 })
    ),
    mistake: null
  },
  steps: (state, can) => {
    for (const index of state.covered.keys()) coveredSteps(rules, state, index, can)
    for (const index of state.uncovered.keys()) uncoveredSteps(rules, state, index, can)
    makerSteps(rules, state, can)
    otherSteps(state, can)
    for (const index of state.readers.keys()) readerSteps(rules, state, index, can)
  },
  violation: ({ document, hasGap, isRegistered, log, mistake }) =>
    mistake ??
      (isRegistered && !hasGap && document.length !== log.length
        ? "the document lacks an event, and no gap says so"
        : !configuration.commutes && document.some((event, index) => index > 0 && event < document[index - 1]!)
        ? "the document was not folded in the order of the log"
        : undefined),
  goal: ({ covered, hasGap, isRegistered, maker, uncovered }) =>
    [...covered, ...uncovered].every(({ at }) => at === "ended") && maker.left === 0 &&
    (isRegistered || hasGap || configuration.makings === 0),
  goalName: "an append or a making of the documents never ends"
})

const isInFlight = ({ at }: Append): boolean =>
  ["locked", "unchanged", "has document", "ready", "inserted", "has read"].includes(at)

const hasTypes = ({ at }: State["maker"], { making }: Protocol): boolean =>
  making === "holds the types exclusively" && at !== "idle"

const withEvent = (events: ReadonlyArray<number>, event: number): Array<number> =>
  [...events, event].toSorted((a, b) => a - b)

const coveredSteps = (rules: Protocol, state: State, index: number, can: Can<State>): void => {
  const { at, isAhead, position } = state.covered[index]!
  const to = (does: string, change: (append: Append, state: State) => void) =>
    can(`append ${index + 1} with the projection`, does, (state) => change(state.covered[index]!, state))
  if (isAhead) return aheadSteps(rules, state, index, to)
  if (at === "idle" && !hasTypes(state.maker, rules)) to("locks its type", (append) => void (append.at = "locked"))
  else if (at === "locked" && rules.documents === "are locked before the position is drawn") {
    if (state.documentLock !== null) return
    to("locks the document", (append, state) => {
      append.at = "has document"
      state.documentLock = index
    })
  } else if (at === "locked" || at === "has document") insertStep(state, to)
  else if (at === "inserted") {
    const isLocked = rules.documents === "are locked before they are read"
    if (isLocked && state.documentLock !== null) return
    to("reads the document", (append, state) => {
      append.at = "has read"
      append.read = state.document
      if (isLocked) state.documentLock = index
    })
  } else if (at === "has read") {
    to(`writes event ${position} to the document and commits`, (append, state) => {
      state.document = [...append.read, position]
      state.revision++
      state.log = withEvent(state.log, position)
      if (state.documentLock === index) state.documentLock = null
      Object.assign(append, { ...idle, at: "ended" })
    })
  }
}

/** The steps of an append that has computed the document before. Each try of a lock is a step. */
const aheadSteps = (
  rules: Protocol,
  state: State,
  index: number,
  to: (does: string, change: (append: Append, state: State) => void) => void
): void => {
  const { at, position, revision } = state.covered[index]!
  const again = (why: string) =>
    to(`${why}, and begins again in a transaction`, (append, state) => {
      if (state.documentLock === index) state.documentLock = null
      Object.assign(append, idle)
    })
  const compare = (next: Append["at"]) =>
    revision === state.revision
      ? to("finds the document unchanged", (append) => void (append.at = next))
      : again("finds that the document has changed")
  const isEarly = rules.ahead === "is compared before it is locked"
  if (at === "idle") {
    to("computes the document", (append, state) => {
      Object.assign(append, { at: "computed", read: state.document, revision: state.revision })
    })
  } else if (at === "computed" && !hasTypes(state.maker, rules)) {
    to("locks its type", (append) => void (append.at = "locked"))
  } else if (at === "locked" && isEarly) compare("unchanged")
  else if (at === "locked" || at === "unchanged") {
    if (state.documentLock !== null) return again("finds the document locked")
    to("locks the document", (append, state) => {
      append.at = rules.ahead === "is compared under its lock" ? "has document" : "ready"
      state.documentLock = index
    })
  } else if (at === "has document") compare("ready")
  else if (at === "ready") insertStep(state, to)
  else if (at === "inserted") {
    to(`writes event ${position} to the document and commits`, (append, state) => {
      state.document = [...append.read, position]
      state.revision++
      state.log = withEvent(state.log, position)
      state.documentLock = null
      Object.assign(append, { ...idle, at: "ended" })
    })
  }
}

const insertStep = (
  { position }: State,
  to: (does: string, change: (append: Append, state: State) => void) => void
): void =>
  to(`inserts event ${position + 1}`, (append, state) => {
    append.at = "inserted"
    append.position = ++state.position
  })

const uncoveredSteps = (rules: Protocol, state: State, index: number, can: Can<State>): void => {
  const { at, isRegistered, position } = state.uncovered[index]!
  const to = (does: string, change: (append: Append, state: State) => void) =>
    can(`append ${index + 1} without the projection`, does, (state) => change(state.uncovered[index]!, state))
  const look = (next: Append["at"]) =>
    to(state.isRegistered ? "finds the projection registered" : "finds no projection", (append, state) => {
      append.at = next
      append.isRegistered = state.isRegistered
    })
  const isEarly = rules.looks === "before it locks the type"
  if (at === "idle" && isEarly) look("looked")
  else if ((at === "idle" || at === "looked") && !hasTypes(state.maker, rules)) {
    to("locks its type", (append) => void (append.at = "locked"))
  } else if (at === "locked") insertStep(state, to)
  else if (at === "inserted" && !isEarly) look("has read")
  else if (at === "has read" || at === "inserted") {
    to(isRegistered ? `commits event ${position} and a gap` : `commits event ${position}`, (append, state) => {
      state.log = withEvent(state.log, position)
      if (isRegistered) state.hasGap = true
      Object.assign(append, { ...idle, at: "ended" })
    })
  }
}

const makerSteps = (rules: Protocol, state: State, can: Can<State>): void => {
  const { covered, log, maker, others, uncovered } = state
  const to = (does: string, change: (maker: State["maker"], state: State) => void) =>
    can("a program", does, (state) => change(state.maker, state))
  if (maker.at === "idle" && maker.left > 0) {
    if (rules.making === "holds the types exclusively" && [...covered, ...uncovered].some(isInFlight)) return
    to("begins to make the document", (maker) => {
      maker.at = "locked"
      maker.left--
    })
  } else if (maker.at === "locked") {
    const events = rules.reads === "all visible events" || others.mark === null
      ? log
      : log.filter((event) => event <= others.mark!)
    to(
      events.length === 0 ? "reads no event" : `reads ${events.map((event) => `event ${event}`).join(" and ")}`,
      (maker) => {
        maker.at = "has read"
        maker.events = events
      }
    )
  } else if (maker.at === "has read") {
    to("writes the document, registers the projection and commits", (maker, state) => {
      state.revision++
      Object.assign(state, { document: maker.events, isRegistered: true, hasGap: false, edition: state.edition + 1 })
      Object.assign(maker, { at: "idle", events: [] })
    })
  }
}

const otherSteps = ({ others, position }: State, can: Can<State>): void => {
  if (others.mark !== null) {
    can("an append of another type", "ends", (state) => void (state.others.mark = null))
  } else if (others.left > 0) {
    can("an append of another type", `locks ${position} and draws ${position + 1}`, (state) => {
      state.others = { left: others.left - 1, mark: position }
      state.position++
    }, { mayHappen: true })
  }
}

const readerSteps = (rules: Protocol, state: State, index: number, can: Can<State>): void => {
  const reader = state.readers[index]!
  const { at } = reader
  const to = (does: string, change: (reader: Reader, state: State) => void) =>
    can(`reader ${index + 1}`, does, (state) => change(state.readers[index]!, state))
  const isLast = rules.reader === "documents, then gaps" ? at === "has read" : at === "has looked"
  /** Accepts the result, or reads again. */
  const end = (reader: Reader, isAccepted: boolean, edition: number): void => {
    Object.assign(reader, { at: isAccepted ? "ended" : "idle", result: [], committed: [], edition })
  }
  const read = (reader: Reader) => {
    reader.result = state.document
    reader.committed = state.log
  }
  const hasAll = ({ committed, result }: Reader) => committed.every((event) => result.includes(event))
  const finish = (reader: Reader, target: State) => {
    const isComplete = state.isRegistered && !state.hasGap
    const isSame = rules.editions === "are ignored" || reader.edition === state.edition
    if (isComplete && isSame && !hasAll(reader)) {
      target.mistake = "a reader returns a document that lacks a committed event"
    }
    end(reader, isComplete && isSame, isComplete ? state.edition : reader.edition)
  }
  const shown = state.isRegistered ? `edition ${state.edition}${state.hasGap ? " with a gap" : ""}` : "no projection"
  if (at === "ended") return
  if (isLast && rules.reader === "documents, then gaps") to(`finds ${shown}`, finish)
  else if (isLast) {
    to("reads the document", (reader, target) => {
      read(reader)
      if (!hasAll(reader)) target.mistake = "a reader returns a document that lacks a committed event"
      end(reader, true, reader.edition)
    })
  } else if (rules.reader === "documents, then gaps") {
    to("reads the document", (reader) => {
      reader.at = "has read"
      read(reader)
    })
  } else if (state.isRegistered && !state.hasGap) to(`finds ${shown}`, (reader) => void (reader.at = "has looked"))
}

const one: Configuration = { covered: 1, uncovered: 1, makings: 1, readers: 0, others: 0, commutes: false }
const reading: Configuration = { ...one, covered: 0, makings: 2, readers: 1 }

export const inlineProjection: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [{ ...one, covered: 2, others: 1 }, reading, { ...one, uncovered: 0, ahead: 2 }],
  large: [{ ...one, ahead: 2 }, { covered: 2, uncovered: 1, makings: 2, readers: 1, others: 1, commutes: false }, {
    covered: 1,
    uncovered: 2,
    makings: 2,
    readers: 1,
    others: 0,
    commutes: false
  }],
  mutants: {
    "the documents are made without a lock of the types": { change: { making: "holds no lock" }, configuration: one },
    "the documents are made up to the high-water mark": {
      change: { reads: "up to the high-water mark" },
      configuration: { ...one, others: 1 }
    },
    "an append looks for projections before it locks its type": {
      change: { looks: "before it locks the type" },
      configuration: one
    },
    "documents are locked after the position is drawn": {
      change: { documents: "are locked before they are read" },
      configuration: { ...one, covered: 2 }
    },
    "documents are read without a lock": {
      change: { documents: "are not locked" },
      configuration: { ...one, covered: 2, commutes: true }
    },
    "a document that was computed before is not compared": {
      change: { ahead: "is not compared" },
      configuration: { ...one, uncovered: 0, ahead: 1 }
    },
    "a document that was computed before is compared before it is locked": {
      change: { ahead: "is compared before it is locked" },
      configuration: { ...one, uncovered: 0, ahead: 1 }
    },
    "a reader looks for gaps before it reads": { change: { reader: "gaps, then documents" }, configuration: reading },
    "a reader does not compare editions": { change: { editions: "are ignored" }, configuration: reading }
  }
}
