/**
 * A log that was set back: a failover, or a crash with `synchronous_commit = off`, loses the last commits, which readers may have read. Then
 * appends get the same positions again.
 *
 * Models `read_all` of migrations/0001_event_store.sql with its checks of the checkpoint (`p_after_id`, `p_after_events`), and the reader of
 * src/consumer/page/PageReader.ts, of which it calls `countSince` and `marksAfter`. HighWaterMark.ts models the locks in detail; here an append locks
 * and draws in one step. What is lost is the end of the WAL, so it is the last commits, whatever their positions.
 */
import * as PageReader from "../../src/consumer/page/PageReader.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import type { Can, Model, Protocols } from "./Explorer.ts"

export interface Configuration {
  /** How many events each writer appends, one in each transaction. */
  readonly writers: ReadonlyArray<number>
  readonly setBacks: number
  /** How often the reader restarts from its stored checkpoint. */
  readonly restarts: number
}

export interface Protocol {
  /** What a reader compares before it goes on. */
  readonly compares: "id and count" | "id" | "nothing"
  /** From where a reader counts: a mark that an event confirms, or its last mark. */
  readonly counts: "from a confirmed mark" | "from the last mark"
}

const protocol: Protocol = { compares: "id and count", counts: "from a confirmed mark" }

interface Commit {
  readonly position: number
  readonly id: number
  /** The sequence's last value at the commit, which is durable with it. */
  readonly sequence: number
}

interface Writer {
  left: number
  /** The lock, and the drawn position; 0 when no append is in flight. */
  lock: number
  position: number
}

interface Checkpoint {
  position: number
  id: number | null
  count: { since: number; events: number } | null
}

interface Reader {
  at: "idle" | "has last" | "has locks" | "has mark" | "refused"
  last: number
  lowest: number | null
  mark: number
  checkpoint: Checkpoint
  confirmed: number | null
  latest: { position: number; assigned: number } | null
  /** The events that it has read: positions and ids. */
  seen: Array<[position: number, id: number]>
  mistake: string | null
}

export interface State {
  sequence: number
  nextId: number
  /** In the order of the WAL. */
  commits: Array<Commit>
  writers: Array<Writer>
  reader: Reader
  setBacks: number
  restarts: number
}

const make = (configuration: Configuration, rules: Protocol): Model<State> => ({
  initial: {
    sequence: 0,
    nextId: 1,
    commits: [],
    writers: configuration.writers.map((left) => ({ left, lock: 0, position: 0 })),
    reader: {
      ...idle,
      checkpoint: { position: 0, id: null, count: null },
      confirmed: null,
      latest: null,
      seen: [],
      mistake: null
    },
    setBacks: configuration.setBacks,
    restarts: configuration.restarts
  },
  steps: (state, can) => {
    for (const index of state.writers.keys()) writerSteps(state, index, can)
    readerSteps(rules, state, can)
    if (state.setBacks > 0) setBackSteps(state, can)
  },
  violation: ({ reader }) => reader.mistake ?? undefined,
  goal: ({ commits, reader, writers }) =>
    writers.every(({ left, position }) => left === 0 && position === 0)
    && (reader.at === "refused" || commits.every(({ id }) => reader.seen.some(([, seen]) => seen === id))),
  goalName: "an event is never read"
})

const idle = { at: "idle", last: 0, lowest: null, mark: 0 } as const

const writerSteps = ({ nextId, sequence, writers }: State, index: number, can: Can<State>): void => {
  const { left, lock, position } = writers[index]!
  const to = (does: string, change: (writer: Writer, state: State) => void, mayHappen = false) =>
    can(`writer ${index + 1}`, does, (state) => change(state.writers[index]!, state), { mayHappen })
  if (position === 0) {
    if (left === 0) return
    to(`locks ${sequence} and draws ${sequence + 1}`, (writer, state) => {
      writer.left--
      writer.lock = sequence
      writer.position = ++state.sequence
    })
    return
  }
  to(`commits event ${nextId} at ${position}`, (writer, state) => {
    state.commits.push({ position, id: state.nextId++, sequence: state.sequence })
    writer.position = writer.lock = 0
  })
  to(`rolls back ${position}, locked ${lock}`, (writer) => {
    writer.position = writer.lock = 0
  }, true)
}

const readerSteps = (rules: Protocol, state: State, can: Can<State>): void => {
  const { commits, reader, restarts, sequence, writers } = state
  const to = (does: string, change: (reader: Reader, state: State) => void, mayHappen = false) =>
    can("reader", does, (state) => change(state.reader, state), { mayHappen })
  if (restarts > 0 && reader.at !== "refused" && (reader.confirmed !== null || reader.latest !== null)) {
    to("restarts from its checkpoint", (reader, state) => {
      state.restarts--
      Object.assign(reader, { ...idle, confirmed: null, latest: null })
    }, true)
  }
  if (reader.at === "idle") {
    to(`reads the last value ${sequence}`, (reader) => Object.assign(reader, { at: "has last", last: sequence }))
  } else if (reader.at === "has last") {
    const locks = writers.filter(({ position }) => position > 0).map(({ lock }) => lock)
    const lowest = locks.length === 0 ? null : Math.min(...locks)
    to(`reads the lowest lock: ${lowest ?? "none"}`, (reader) => Object.assign(reader, { at: "has locks", lowest }))
  } else if (reader.at === "has locks") {
    const bound = Math.min(reader.last, reader.lowest ?? reader.last)
    const mark = Math.max(0, ...commits.map(({ position }) => position).filter((position) => position <= bound))
    to(`computes the mark ${mark}`, (reader) => Object.assign(reader, { ...idle, at: "has mark", mark }))
  } else if (reader.at === "has mark") {
    const page = read(state, rules)
    if (page === undefined) {
      to("is refused", (reader) => {
        if (isIntact(state)) reader.mistake = "a reader is refused although nothing that it has read is lost"
        Object.assign(reader, { ...idle, at: "refused" })
      })
    } else {to(
        `reads ${page.events.map(({ id }) => `event ${id}`).join(" and ") || "no event"}`,
        (reader) => accept(state, page, reader)
      )}
  }
}

const upTo = (commits: ReadonlyArray<Commit>, after: number, to: number): ReadonlyArray<Commit> =>
  commits.filter(({ position }) => position > after && position <= to).toSorted((a, b) => a.position - b.position)

/** Whether the log has exactly the events up to the checkpoint that the reader has read. */
const isIntact = ({ commits, reader: { checkpoint, seen } }: State): boolean => {
  const stored = upTo(commits, 0, checkpoint.position)
  return stored.length === seen.length
    && stored.every((event) => seen.some(([position, id]) => position === event.position && id === event.id))
}

interface Page {
  readonly events: ReadonlyArray<Commit>
  readonly head: number
  readonly headId: number | null
  readonly since: number | undefined
  readonly assigned: number
}

/** Returns the page after the checkpoint; undefined if the reader is refused. */
const read = ({ commits, reader, sequence }: State, { compares, counts }: Protocol): Page | undefined => {
  const { checkpoint: { count, id, position }, mark } = reader
  const stored = commits.find((event) => event.position === position)
  if (compares !== "nothing" && id !== null && stored?.id !== id) return undefined
  if (compares === "id and count" && count !== null && upTo(commits, count.since, position).length !== count.events) {
    return undefined
  }
  const events = upTo(commits, position, mark)
  // As in src/eventStore/LogIdentity.ts.
  if (events.length === 0 && mark < position && commits.every((event) => event.position < position)) return undefined
  const since = counts === "from the last mark" ? reader.latest?.position : sinceOf(reader)
  return {
    events,
    head: mark,
    headId: commits.find((event) => event.position === mark)?.id ?? null,
    since,
    assigned: sequence
  }
}

const positionOf = (position: number) => Position.make(BigInt(position))

const marksOf = ({ confirmed, latest }: Reader): PageReader.Marks => ({
  confirmed: confirmed === null ? undefined : positionOf(confirmed),
  latest: latest === null
    ? undefined
    : { position: positionOf(latest.position), assigned: positionOf(latest.assigned) }
})

const sinceOf = (reader: Reader): number => {
  const { count, position } = reader.checkpoint
  return Number(PageReader.countSince(marksOf(reader), {
    position: positionOf(position),
    count: count === null ? undefined : { since: positionOf(count.since), events: count.events }
  }))
}

/** Handles a page, and moves the checkpoint to the high-water mark. */
const accept = (state: State, { assigned, events, head, headId, since }: Page, reader: Reader): void => {
  if (!isIntact(state)) reader.mistake = "a reader goes on although the log has lost what it has read"
  const headCount = since === undefined
    ? undefined
    : { since: positionOf(since), events: upTo(state.commits, since, head).length }
  const { confirmed, latest } = PageReader.marksAfter(marksOf(reader), {
    events: [],
    reached: LogPosition.make(positionOf(head), undefined),
    head: positionOf(head),
    headEventId: undefined,
    assigned: positionOf(assigned),
    ...(headCount === undefined ? {} : { headCount })
  })
  if (head > reader.checkpoint.position) {
    reader.checkpoint = {
      position: head,
      id: headId,
      count: headCount === undefined ? null : { since: since!, events: headCount.events }
    }
  }
  reader.seen = [...reader.seen, ...events.map(({ id, position }): [number, number] => [position, id])]
  reader.confirmed = confirmed === undefined ? null : Number(confirmed)
  reader.latest = latest === undefined
    ? null
    : { position: Number(latest.position), assigned: Number(latest.assigned) }
  Object.assign(reader, idle)
}

const setBackSteps = ({ commits, sequence }: State, can: Can<State>): void => {
  for (let kept = 0; kept <= commits.length; kept++) {
    // Later draws may be durable, too.
    for (let last = commits[kept - 1]?.sequence ?? 0; last <= sequence; last++) {
      can("the log", `is set back to its first ${kept} commits and continues after ${last}`, (state) => {
        state.setBacks--
        state.commits.length = kept
        state.sequence = last
        for (const writer of state.writers) writer.position = writer.lock = 0
        if (state.reader.at !== "refused") Object.assign(state.reader, idle)
      }, { mayHappen: true })
    }
  }
}

const one: Configuration = { writers: [1, 1], setBacks: 1, restarts: 0 }

export const logIdentity: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [one],
  large: [
    { writers: [1, 1, 1], setBacks: 1, restarts: 0 },
    { writers: [1, 1], setBacks: 2, restarts: 1 },
    { writers: [2, 1], setBacks: 1, restarts: 1 }
  ],
  mutants: {
    "a reader compares nothing": { change: { compares: "nothing" }, configuration: one },
    "a reader compares only the id of the event at its checkpoint": { change: { compares: "id" }, configuration: one },
    "a reader counts from its last mark": {
      change: { counts: "from the last mark" },
      configuration: one
    }
  }
}
