/**
 * The high-water mark: how an append draws and commits positions, and how far a reader may read.
 *
 * Models `append_one`, `append`, `high_water_mark`, `high_water_mark_after` and `read_all` of migrations/0001_event_store.sql, and the checkpoint of
 * src/consumer/PartitionProcessor.ts. These are one step each, because PostgreSQL does each of them under one lock of its own:
 *
 * - An append reads the sequence's last value, takes the shared lock on it, and draws each position. Its rows are in nobody's snapshot.
 * - A commit is durable when its WAL record is flushed. Later it leaves the list of running transactions, which makes its events visible, and
 *   later still it releases its locks (`CommitTransaction` in xact.c calls `RecordTransactionCommit`, `ProcArrayEndTransaction` and then
 *   `ResourceOwnerRelease`). A rollback may come before the flush at any time, for any reason.
 * - `high_water_mark` is volatile, so each of its statements has a snapshot of its own: the last value, then `pg_locks`, which reads all
 *   advisory locks at once, then the last event at or below both. `read_all` reads the events in a fourth statement.
 * - `high_water_mark_after` first counts the events from an earlier mark to the last value, and does without the rest if none is missing. The
 *   reader may take either way, although the code looks at the locks only if an event is missing.
 * - A crash ends all sessions. The sequence continues anywhere from what the last flush made durable to the last value drawn.
 */
import type { Can, Model, Protocols } from "./Explorer.ts"

export interface Configuration {
  /** For each writer its transactions: the number of events of each append in them. */
  readonly writers: ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>>
  readonly readers: number
  /** The maximum number of events in a page. */
  readonly limit: number
  readonly crashes: number
}

export interface Protocol {
  /** When an append takes the lock, after it has read the last value. */
  readonly lock: "before the draw" | "after the draw" | "never"
  readonly release: "after the events are visible" | "before the events are visible"
  /** What ends with a rollback: a lock of the transaction, or not one of the session. */
  readonly scope: "transaction" | "session"
  readonly statements: "one each" | "one for all"
  readonly order: "last value, then locks" | "locks, then last value"
  readonly mark: "event" | "bound"
  /** Which events make a reader do without the locks. */
  readonly shortcut: "all after an earlier mark" | "the last"
  /** How many positions a session takes from the sequence at a time. */
  readonly cache: number
  /** Whether the migration has used up the sequence's first value. Without it the last value is null before the first draw. */
  readonly isFirstValueUsed: boolean
}

const protocol: Protocol = {
  lock: "before the draw",
  release: "after the events are visible",
  scope: "transaction",
  statements: "one each",
  order: "last value, then locks",
  mark: "event",
  shortcut: "all after an earlier mark",
  cache: 1,
  isFirstValueUsed: true
}

interface Writer {
  at: "idle" | "marked" | "drawing" | "drawn" | "durable" | "visible"
  transaction: number
  append: number
  mark: number | null
  drawn: Array<number>
  /** How many positions and locks the transaction had before its last append. */
  savepoint: [drawn: number, locks: number]
  locks: Array<number>
  cached: Array<number>
}

interface Reader {
  at: "idle" | "reading" | "has mark"
  snapshot: Array<number> | null
  last: number | null | "unknown"
  lowest: number | null | "unknown"
  mark: number
  /** The last mark, which is final. */
  final: number
  checkpoint: number
  seen: Array<number>
}

export interface State {
  sequence: number | null
  /** The last value that a flush of the WAL has made durable. */
  durable: number | null
  /** The positions of the visible events. */
  log: Array<number>
  writers: Array<Writer>
  readers: Array<Reader>
  crashes: number
}

const make = (configuration: Configuration, rules: Protocol): Model<State> => ({
  initial: initial(configuration, rules),
  steps: (state, can) => {
    for (const index of state.writers.keys()) writerSteps(configuration, rules, state, index, can)
    for (const index of state.readers.keys()) readerSteps(configuration, rules, state, index, can)
    if (state.crashes > 0) crashSteps(state, can)
  },
  violation,
  goal: ({ log, readers, writers }) =>
    writers.every(({ at, transaction }, index) => at === "idle" && transaction === configuration.writers[index]!.length)
    && readers.every(({ seen }) => log.every((position) => seen.includes(position))),
  goalName: "an event is never read"
})

const initial = ({ crashes, readers, writers }: Configuration, { isFirstValueUsed }: Protocol): State => ({
  sequence: isFirstValueUsed ? 0 : null,
  durable: isFirstValueUsed ? 0 : null,
  log: [],
  writers: writers.map(() => ({
    at: "idle",
    transaction: 0,
    append: 0,
    mark: null,
    drawn: [],
    savepoint: [0, 0],
    locks: [],
    cached: []
  })),
  readers: Array.from({ length: readers }, () => idle({ final: 0, checkpoint: 0, seen: [] })),
  crashes
})

const violation = ({ log, readers }: State): string | undefined => {
  if (new Set(log).size < log.length) return "two events have one position"
  for (const { checkpoint, seen } of readers) {
    const missed = log.find((position) => position <= checkpoint && !seen.includes(position))
    if (missed !== undefined) return `a reader at ${checkpoint} has missed event ${missed}`
  }
  return undefined
}

const writerSteps = (
  { writers }: Configuration,
  rules: Protocol,
  { sequence, writers: all }: State,
  index: number,
  can: Can<State>
): void => {
  const name = `writer ${index + 1}`
  const writer = all[index]!
  const appends = writers[index]![writer.transaction]
  if (appends === undefined) return
  const to = (does: string, change: (writer: Writer, state: State) => void) =>
    can(name, does, (state) => change(state.writers[index]!, state))
  const { append, at, drawn, locks, mark, savepoint: [before] } = writer
  const isComplete = drawn.length - before === appends[append]
  const lock = () =>
    to(`locks ${mark}`, (writer) => {
      // The lock functions are strict: with a null they do nothing.
      if (mark !== null) writer.locks.push(mark)
      writer.at = rules.lock === "before the draw" ? "drawing" : "drawn"
    })

  if (at === "idle" || (at === "drawn" && append + 1 < appends.length)) {
    to(`reads the last value ${sequence}`, (writer) => {
      writer.at = rules.lock === "before the draw" ? "marked" : "drawing"
      writer.mark = sequence
      writer.savepoint = [drawn.length, locks.length]
      if (at === "drawn") writer.append++
    })
  } else if (at === "marked") lock()
  else if (at === "drawing") {
    if (isComplete && rules.lock === "after the draw") lock()
    else {
      to(`draws ${next(writer, sequence)}`, (writer, state) => {
        draw(writer, state, rules.cache)
        if (rules.lock !== "after the draw" && writer.drawn.length - before === appends[append]) writer.at = "drawn"
      })
    }
  } else if (at === "drawn") {
    to("flushes its commit", (writer, state) => {
      writer.at = "durable"
      state.durable = state.sequence
    })
  } else if (at === "durable") {
    if (rules.release === "before the events are visible" && locks.length > 0) {
      to("releases its locks", (writer) => void (writer.locks = []))
    } else {
      to(`makes ${drawn.join(" and ")} visible`, (writer, state) => {
        state.log = [...state.log, ...drawn].toSorted((a, b) => a - b)
        writer.at = "visible"
      })
    }
  } else to("releases its locks", end)
  rollbackSteps(rules, writer, name, index, can)
}

const rollbackSteps = ({ scope }: Protocol, writer: Writer, name: string, index: number, can: Can<State>): void => {
  if (!["marked", "drawing", "drawn"].includes(writer.at)) return
  can(name, "rolls back", ({ writers }) => {
    const writer = writers[index]!
    const kept = scope === "session" ? writer.locks : []
    end(writer)
    writer.locks = kept
  }, { mayHappen: true })
  if (writer.at === "drawn" && writer.append > 0 && writer.drawn.length > writer.savepoint[0]) {
    can(name, "rolls back to the savepoint before its last append", ({ writers }) => {
      const writer = writers[index]!
      const [drawn, locks] = writer.savepoint
      writer.drawn.length = drawn
      if (scope === "transaction") writer.locks.length = locks
    }, { mayHappen: true })
  }
}

const next = ({ cached }: Writer, sequence: number | null): number => cached[0] ?? (sequence ?? 0) + 1

const draw = (writer: Writer, state: State, cache: number): void => {
  if (writer.cached.length === 0) {
    const first = next(writer, state.sequence)
    writer.cached = Array.from({ length: cache }, (_, index) => first + index)
    state.sequence = writer.cached.at(-1)!
  }
  writer.drawn.push(writer.cached.shift()!)
}

const end = (writer: Writer): void => {
  writer.at = "idle"
  writer.transaction++
  writer.append = 0
  writer.mark = null
  writer.drawn = []
  writer.savepoint = [0, 0]
  writer.locks = []
}

const readerSteps = (
  { limit }: Configuration,
  rules: Protocol,
  { log, sequence, writers, readers }: State,
  index: number,
  can: Can<State>
): void => {
  const reader = readers[index]!
  const { at, last, lowest } = reader
  const to = (does: string, change: (reader: Reader, state: State) => void) =>
    can(`reader ${index + 1}`, does, (state) => change(state.readers[index]!, state))
  const locks = writers.flatMap((writer) => writer.locks)
  const least = locks.length === 0 ? null : Math.min(...locks)
  const readLast = () =>
    to(`reads the last value ${sequence}`, (reader, state) => {
      if (at === "idle" && rules.statements === "one for all") reader.snapshot = state.log
      reader.at = "reading"
      reader.last = sequence
    })
  const readLocks = () =>
    to(`reads the lowest lock: ${least ?? "none"}`, (reader, state) => {
      if (at === "idle" && rules.statements === "one for all") reader.snapshot = state.log
      reader.at = "reading"
      reader.lowest = least
    })

  const visible = reader.snapshot ?? log
  if (typeof last === "number" && last >= reader.final && reader.final > 0) {
    const needed = rules.shortcut === "the last"
      ? [last]
      : Array.from({ length: last - reader.final }, (_, index) => reader.final + 1 + index)
    if (needed.every((position) => visible.includes(position))) {
      to(
        `finds all events up to ${last}`,
        (reader) => void Object.assign(reader, { at: "has mark", mark: last, last: "unknown", lowest: "unknown" })
      )
    }
  }
  if (at === "has mark") {
    const events = visible.filter((position) => position > reader.checkpoint && position <= reader.mark)
      .slice(0, limit)
    to(events.length === 0 ? "reads no event" : `reads ${events.join(" and ")}`, (reader) => {
      const checkpoint = events.length === limit ? events.at(-1)! : Math.max(reader.checkpoint, reader.mark)
      Object.assign(reader, idle({ final: reader.mark, checkpoint, seen: [...reader.seen, ...events] }))
    })
  } else if (last === "unknown" && (rules.order === "last value, then locks" || lowest !== "unknown")) readLast()
  else if (lowest === "unknown") readLocks()
  else if (last !== "unknown") {
    const bounds = [last, lowest].filter((bound) => bound !== null)
    const bound = bounds.length === 0 ? 0 : Math.min(...bounds)
    const mark = rules.mark === "bound"
      ? bound
      : visible.findLast((position) => position <= bound) ?? 0
    to(
      `computes the mark ${mark}`,
      (reader) => void Object.assign(reader, { at: "has mark", mark, last: "unknown", lowest: "unknown" })
    )
  }
}

const idle = ({ checkpoint, final, seen }: Pick<Reader, "checkpoint" | "final" | "seen">): Reader => ({
  at: "idle",
  snapshot: null,
  last: "unknown",
  lowest: "unknown",
  mark: 0,
  final,
  checkpoint,
  seen
})

const crashSteps = ({ durable, sequence }: State, can: Can<State>): void => {
  for (let last = durable ?? 0; last <= (sequence ?? 0); last++) {
    can("the server", `crashes and continues after ${last}`, (state) => {
      state.crashes--
      state.sequence = last === 0 && durable === null ? null : last
      for (const writer of state.writers) {
        if (writer.at === "durable") state.log.push(...writer.drawn)
        if (writer.at !== "idle") end(writer)
        writer.locks = []
        writer.cached = []
      }
      state.log.sort((a, b) => a - b)
      for (const reader of state.readers) Object.assign(reader, idle(reader))
    }, { mayHappen: true })
  }
}

const two: Configuration = { writers: [[[1]], [[1]]], readers: 1, limit: 10, crashes: 0 }

export const highWaterMark: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [{ ...two, crashes: 1 }, { ...two, writers: [[[2]], [[1]]], limit: 1 }],
  large: [
    { writers: [[[1], [1]], [[1]]], readers: 1, limit: 2, crashes: 1 },
    { writers: [[[1]], [[1]], [[1]]], readers: 1, limit: 10, crashes: 1 },
    { writers: [[[1, 1]], [[2]]], readers: 1, limit: 2, crashes: 1 },
    { writers: [[[1]], [[1]]], readers: 2, limit: 1, crashes: 1 }
  ],
  mutants: {
    "an append takes no lock": { change: { lock: "never" }, configuration: two },
    "an append takes the lock after it has drawn its position": {
      change: { lock: "after the draw" },
      configuration: two
    },
    "an append releases its lock before its events are visible": {
      change: { release: "before the events are visible" },
      configuration: two
    },
    "the lock belongs to the session and outlives a rollback": { change: { scope: "session" }, configuration: two },
    "a reader reads the mark and the events in one statement": {
      change: { statements: "one for all" },
      configuration: two
    },
    "a reader looks for locks before it reads the last value": {
      change: { order: "locks, then last value" },
      configuration: two
    },
    "the mark is a bound and not an event": { change: { mark: "bound" }, configuration: { ...two, crashes: 1 } },
    "a reader takes the last value for the mark if its event is visible": {
      change: { shortcut: "the last" },
      configuration: { ...two, writers: [[[1], [1]], [[1]]] }
    },
    "a session takes two positions at a time from the sequence": {
      change: { cache: 2 },
      configuration: { ...two, writers: [[[1], [1]], [[1]]] }
    },
    "the sequence was never used": { change: { isFirstValueUsed: false }, configuration: two }
  }
}
