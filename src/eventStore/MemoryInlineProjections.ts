/**
 * The inline projections that a log in memory knows.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import { GenerationDiscarded, storeError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import * as EventFilter from "../event/EventFilter.ts"
import type { InlineProjectionsDriver, RegisteredInlineProjection } from "./InlineProjectionsDriver.ts"

/**
 * An event that is about to be written.
 *
 * @since 0.1.0
 * @category models
 */
export interface WrittenEvent extends EventFilter.Matchable {
  readonly position: Position
}

/**
 * A projection that reads an event of an append, and is not run by it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Gap {
  readonly projection: RegisteredInlineProjection
  readonly event: WrittenEvent
}

/**
 * @since 0.1.0
 * @category models
 */
export interface MemoryInlineProjections extends InlineProjectionsDriver {
  /** Returns the first event that each projection would miss. `covered` names for each event the projections that run on it. */
  readonly gapsOf: (
    events: ReadonlyArray<WrittenEvent>,
    covered?: ReadonlyArray<ReadonlyArray<string>>
  ) => ReadonlyArray<Gap>
  /** Returns a projection among those that run on an append's events that was discarded. */
  readonly discardedOf: (covered: ReadonlyArray<ReadonlyArray<string>>) => string | undefined
  /** Records gaps. */
  readonly record: (gaps: ReadonlyArray<Gap>) => void
}

/**
 * Returns an empty registry.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): MemoryInlineProjections => {
  const registered = new Map<string, RegisteredInlineProjection>()
  const discarded = new Set<string>()
  const turn = Semaphore.makeUnsafe(1)
  let editions = 0n
  const change = (projection: string, changes: Partial<RegisteredInlineProjection>): void => {
    const found = registered.get(projection)
    if (found !== undefined) registered.set(projection, { ...found, ...changes })
  }
  return {
    registered: Effect.sync(() =>
      Array.from(registered.values()).toSorted((a, b) => a.projection < b.projection ? -1 : 1)
    ),
    find: (projection) => Effect.sync(() => registered.get(projection)),
    register: (projection) =>
      Effect.suspend(() => {
        if (discarded.has(projection.projection)) {
          return Effect.fail(storeError(new GenerationDiscarded({ generation: projection.projection })))
        }
        const { edition = ++editions, missedFrom } = registered.get(projection.projection) ?? {}
        registered.set(projection.projection, { ...projection, missedFrom, edition })
        return Effect.void
      }),
    closeGaps: (projection) => Effect.sync(() => change(projection, { missedFrom: undefined, edition: ++editions })),
    unregister: (projection) => Effect.sync(() => registered.delete(projection)),
    discard: (projection) =>
      Effect.sync(() => {
        discarded.add(projection)
        return registered.delete(projection)
      }),
    discardedOf: (covered) => covered.flat().find((projection) => discarded.has(projection)),
    exclusively: (_projection, waits, effect) =>
      waits ? Effect.map(turn.withPermit(effect), Option.some) : turn.withPermitsIfAvailable(1)(effect),
    gapsOf: (events, covered = []) =>
      Array.from(registered.values()).flatMap((projection) => {
        const isRead = EventFilter.matcher(projection.reads)
        const event = events.find((event, index) =>
          isRead(event) && covered[index]?.includes(projection.projection) !== true
        )
        return event === undefined ? [] : [{ projection, event }]
      }),
    record: (gaps) => {
      for (const { event, projection: { missedFrom, projection } } of gaps) {
        if (missedFrom === undefined) change(projection, { missedFrom: event.position })
      }
    }
  }
}
