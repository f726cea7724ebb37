/**
 * A log that behaves like the worst case of the one on PostgreSQL: an append draws its positions when it begins, and appends commit in any order,
 * after any time, or never.
 */
import { DateTime, Effect, Option, Semaphore } from "effect"
import { type EncodedEvent, type EventStoreDriver, LogPosition, Position, Version } from "evsrc"
import * as MemoryInlineProjections from "../../src/eventStore/memory/MemoryInlineProjections.ts"
import * as ReaderWakeups from "../../src/eventStore/ReaderWakeups.ts"
import * as MemorySnapshotDriver from "../../src/snapshot/MemorySnapshotDriver.ts"
import type { Dice } from "./Dice.ts"

type Driver = EventStoreDriver.EventStoreDriver

export interface SimulatedLog {
  readonly driver: Driver
  /** Returns the committed events, by position. */
  readonly committed: () => ReadonlyArray<EncodedEvent>
}

interface Options {
  /** Whether readers wait for appends in flight. Without it they lose events, which shows that the simulation finds lost events. */
  readonly watermark: boolean
}

interface State {
  readonly dice: Dice
  /** The committed events, by position. */
  readonly log: Array<EncodedEvent>
  readonly versions: Map<string, number>
  /** One append at a time in each stream. */
  readonly turns: Map<string, Semaphore.Semaphore>
  /** A lower bound of the positions that each append in flight draws. */
  readonly inFlight: Set<bigint>
  /** The last position that an append drew. */
  drawn: bigint
}

export const make = Effect.fnUntraced(function*(dice: Dice, options: Options) {
  const state: State = { dice, log: [], versions: new Map(), turns: new Map(), inFlight: new Set(), drawn: 0n }
  const { log } = state
  const readableTo = () => highWaterMark(state, options)
  const head = Effect.sync(readableTo)
  const watcher = yield* ReaderWakeups.make({ head, interval: "20 millis" })
  const driver: Driver = {
    ...notSimulated,
    transactions: "simulation",
    withoutAppends: (_keptOut, effect) => effect,
    inTransaction: () => false,
    outsideTransaction: undefined,
    append: (request) => append(state, request, watcher.wake),
    readStream: ({ from, limit, stream }) =>
      Effect.sync(() => log.filter((event) => event.stream === stream && event.version >= from).slice(0, limit)),
    readAll: ({ after, afterEventId, limit, ...filter }) =>
      Effect.sync(() => {
        const head = readableTo()
        const headEventId = log.find(({ position }) => position === head)?.id
        const events = between(log, after, head, filter).slice(0, limit)
        const reached = events.length >= limit
          ? LogPosition.ofEvent(events.at(-1)!)
          : LogPosition.make(Position.max(head, after), head > after ? headEventId : afterEventId)
        return { events, reached, head, headEventId }
      }),
    eventIds: (positions) => Effect.sync(() => positions.map((at) => log.find(({ position }) => position === at)?.id)),
    lag: ({ after, limit, to, ...filter }) =>
      Effect.sync(() => {
        const behind = between(log, after, to, filter)
        return {
          events: Math.min(limit, behind.length),
          since: Option.fromUndefinedOr(behind[0]?.recordedAt),
          reached: behind[limit - 1]?.position ?? to
        }
      }),
    head,
    last: Effect.sync(() => log.at(-1)?.position ?? Position.start),
    receipt: () => Effect.succeedNone,
    changed: watcher.changed,
    snapshots: MemorySnapshotDriver.make(),
    inlineProjections: MemoryInlineProjections.make()
  }
  return { driver, committed: () => log } satisfies SimulatedLog
})

const notSimulated = {
  // The simulation has no sessions.
  inFlight: Effect.map(DateTime.now, (readAt) => ({ readAt, appends: [] })),
  lockHolders: Effect.succeed([]),
  readStored: () => Effect.die("the simulation has no exports"),
  readCorrelation: () => Effect.die("the simulation has no correlations"),
  partitionLags: () => Effect.die("the simulation has no health"),
  eventsAt: () => Effect.die("the simulation has no health"),
  eventCounts: () => Effect.die("the simulation has no health"),
  event: () => Effect.die("the simulation reads no event by id"),
  readByQuery: () => Effect.die("the simulation has no decisions"),
  streamStatus: () => Effect.die("the simulation closes no streams"),
  archive: () => Effect.die("the simulation closes no streams"),
  eventTypes: Effect.die("the simulation counts no types"),
  visibleEventTypes: () => Effect.die("the simulation counts no types"),
  highWaterMarkOf: () => Effect.die("the simulation has no inline projections"),
  unindexedTags: () => Effect.die("the simulation has no index of tags"),
  tagIndex: () => Effect.die("the simulation has no index of tags"),
  positionSince: () => Effect.die("the simulation starts no subscription at a time"),
  closedStreams: () => Effect.die("the simulation closes no streams"),
  restore: () => Effect.die("the simulation restores nothing")
}

const highWaterMark = ({ drawn, inFlight, log }: State, { watermark }: Options): Position.Position => {
  const bound = watermark
    ? Array.from(inFlight).reduce((least, one) => one < least ? one : least, drawn + 1n)
    : drawn + 1n
  return log.findLast((event) => event.position < bound)?.position ?? Position.start
}

const append = (state: State, request: Parameters<Driver["append"]>[0], wake: Effect.Effect<void>) => {
  const { dice, inFlight, log, turns, versions } = state
  const { events, expected, stream } = request
  const turn = turns.get(stream) ?? Semaphore.makeUnsafe(1)
  turns.set(stream, turn)
  return turn.withPermit(Effect.gen(function*() {
    const actual = Version.make(versions.get(stream) ?? 0)
    if (!Version.meets(actual, expected)) return { _tag: "Conflict" as const, actual }
    const bound = state.drawn + 1n
    inFlight.add(bound)
    const added = yield* draw(state, request, actual)
    yield* Effect.sleep(dice.chance(0.2) ? dice.from(20, 200) : dice.below(5))
    inFlight.delete(bound)
    if (dice.chance(0.1)) return yield* Effect.die("rolled back")
    log.push(...added)
    log.sort((a, b) => a.position < b.position ? -1 : 1)
    versions.set(stream, actual + events.length)
    yield* wake
    return {
      _tag: "Appended" as const,
      version: Version.make(actual + events.length),
      positions: added.map((event) => event.position),
      recordedAt: added[0]!.recordedAt
    }
  }))
}

/** Gives new events their positions; other appends may draw positions in between. */
const draw = Effect.fnUntraced(function*(
  state: State,
  { events, stream }: Parameters<Driver["append"]>[0],
  actual: Version.Version
) {
  const drawn: Array<EncodedEvent> = []
  for (const [index, event] of events.entries()) {
    if (index > 0 && state.dice.chance(0.3)) yield* Effect.sleep(state.dice.below(3))
    drawn.push({
      position: Position.make(++state.drawn),
      stream,
      version: Version.make(actual + index + 1),
      id: event.id,
      type: event.type,
      schemaVersion: event.schemaVersion,
      data: JSON.parse(event.data),
      metadata: JSON.parse(event.metadata),
      tags: event.tags ?? [],
      recordedAt: yield* DateTime.now
    })
  }
  return drawn
})

type Filter = Pick<Parameters<Driver["readAll"]>[0], "partition" | "types">

/** Returns the events after one position and up to another that match a filter. */
const between = (
  log: ReadonlyArray<EncodedEvent>,
  after: Position.Position,
  to: Position.Position,
  filter: Filter
): ReadonlyArray<EncodedEvent> =>
  log.filter((event) => event.position > after && event.position <= to && matches(filter, event))

const matches = ({ partition, types }: Filter, event: EncodedEvent): boolean =>
  (types === undefined || types.includes(event.type))
  && (partition === undefined || hashOf(event.stream) % partition.of === partition.index)

const hashOf = (text: string): number => Array.from(text).reduce((sum, c) => sum + c.codePointAt(0)!, 0)
