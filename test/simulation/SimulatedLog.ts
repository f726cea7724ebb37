/**
 * A log that behaves as the one on PostgreSQL does at its worst: positions are drawn when an append begins, appends commit in any order and
 * after any time, or not at all.
 */
import { DateTime, Effect, Option, Semaphore } from "effect"
import { type EncodedEvent, type EventStoreDriver, Position, Version } from "evsrc"
import * as HighWaterMark from "../../src/eventStore/HighWaterMark.ts"
import * as MemorySnapshotDriver from "../../src/snapshot/MemorySnapshotDriver.ts"
import type { Dice } from "./Dice.ts"

type Driver = EventStoreDriver.EventStoreDriver

export interface SimulatedLog {
  readonly driver: Driver
  /** What was committed, by position. */
  readonly committed: () => ReadonlyArray<EncodedEvent>
}

/**
 * - `watermark`: whether readers wait for appends in flight. Without it they lose events, which shows that the simulation would notice
 */
export const make = Effect.fnUntraced(function*(dice: Dice, options: { readonly watermark: boolean }) {
  const log: Array<EncodedEvent> = []
  const streams = new Map<string, number>()
  const turns = new Map<string, Semaphore.Semaphore>()
  const inFlight = new Set<bigint>()
  let drawn = 0n

  const safe = (): Position.Position => {
    const bound = options.watermark
      ? Array.from(inFlight).reduce((least, one) => one < least ? one : least, drawn + 1n)
      : drawn + 1n
    return log.findLast((event) => event.position < bound)?.position ?? Position.start
  }
  const head = Effect.sync(safe)
  const watch = yield* HighWaterMark.make({ head, interval: "20 millis" })

  const driver: Driver = {
    transactions: "simulation",
    inTransaction: Effect.succeed(false),
    append: ({ events, expected, stream }) => {
      let turn = turns.get(stream)
      if (turn === undefined) turns.set(stream, turn = Semaphore.makeUnsafe(1))
      return turn.withPermit(Effect.gen(function*() {
        const actual = Version.make(streams.get(stream) ?? 0)
        if (!Version.meets(actual, expected)) return { _tag: "Conflict" as const, actual }
        const bound = drawn + 1n
        inFlight.add(bound)
        const added: Array<EncodedEvent> = []
        for (const [index, event] of events.entries()) {
          // Others draw positions in between.
          if (index > 0 && dice.chance(0.3)) yield* Effect.sleep(dice.below(3))
          added.push({
            position: Position.make(++drawn),
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
        yield* Effect.sleep(dice.chance(0.2) ? dice.from(20, 200) : dice.below(5))
        inFlight.delete(bound)
        if (dice.chance(0.1)) return yield* Effect.die("rolled back")
        log.push(...added)
        log.sort((a, b) => a.position < b.position ? -1 : 1)
        streams.set(stream, actual + events.length)
        yield* watch.wake
        return {
          _tag: "Appended" as const,
          version: Version.make(actual + events.length),
          positions: added.map((event) => event.position),
          recordedAt: added[0]!.recordedAt
        }
      }))
    },
    readStream: ({ from, limit, stream }) =>
      Effect.sync(() => log.filter((event) => event.stream === stream && event.version >= from).slice(0, limit)),
    readAll: ({ after, limit, ...filter }) =>
      Effect.sync(() => {
        const head = safe()
        return {
          events: log.filter((event) => event.position > after && event.position <= head && follows(filter, event))
            .slice(0, limit),
          head
        }
      }),
    lag: ({ after, limit, to, ...filter }) =>
      Effect.sync(() => {
        const behind = log.filter((event) => event.position > after && event.position <= to && follows(filter, event))
        return { events: Math.min(limit, behind.length), since: Option.fromUndefinedOr(behind[0]?.recordedAt) }
      }),
    readStored: () => Effect.die("the simulation has no copies"),
    readCorrelation: () => Effect.die("the simulation has no trails"),
    event: () => Effect.die("the simulation has no trails"),
    readByQuery: () => Effect.die("the simulation has no decisions"),
    head,
    last: Effect.sync(() => log.at(-1)?.position ?? Position.start),
    receipt: () => Effect.succeedNone,
    streamStatus: () => Effect.die("the simulation closes no streams"),
    archive: () => Effect.die("the simulation closes no streams"),
    closedStreams: () => Effect.die("the simulation closes no streams"),
    restore: () => Effect.die("the simulation restores nothing"),
    changed: watch.changed,
    snapshots: MemorySnapshotDriver.make()
  }
  return { driver, committed: () => log }
})

const follows = (
  { partition, types }: Pick<Parameters<Driver["readAll"]>[0], "partition" | "types">,
  event: EncodedEvent
): boolean =>
  (types === undefined || types.includes(event.type))
  && (partition === undefined || sumOf(event.stream) % partition.of === partition.index)

const sumOf = (text: string): number => Array.from(text).reduce((sum, c) => sum + c.codePointAt(0)!, 0)
