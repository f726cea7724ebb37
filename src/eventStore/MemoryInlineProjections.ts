/**
 * The inline projections that a log in memory knows.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import { type EventStoreError, GenerationDiscarded, storeError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import * as EventFilter from "../event/EventFilter.ts"
import {
  claimOf,
  type InlineProjectionsDriver,
  parseClaim,
  type RegisteredInlineProjection,
  unregistered
} from "./InlineProjectionsDriver.ts"

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
 * A projection that reads an event of an append and is not run by it, or that is run on an event which it does not read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Gap {
  readonly projection: RegisteredInlineProjection
  readonly event: WrittenEvent
  readonly isRead: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface MemoryInlineProjections extends InlineProjectionsDriver {
  /** Returns the first gap that each projection would have. `covered` has for each event the claims of the projections that run on it. */
  readonly gapsOf: (
    events: ReadonlyArray<WrittenEvent>,
    covered?: ReadonlyArray<ReadonlyArray<string>>
  ) => ReadonlyArray<Gap>
  /** Returns why an append must not run one of these projections: it was retired or discarded. */
  readonly rejectionOf: (covered: ReadonlyArray<ReadonlyArray<string>>) => EventStoreError | undefined
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
        const { edition = ++editions, isRequired = projection.isRequired, missedFrom } =
          registered.get(projection.projection) ?? {}
        registered.set(projection.projection, { ...projection, isRequired, missedFrom, edition })
        return Effect.void
      }),
    setRequired: (projection, isRequired) => Effect.sync(() => change(projection, { isRequired })),
    closeGaps: (projection) => Effect.sync(() => change(projection, { missedFrom: undefined, edition: ++editions })),
    unregister: (projection) => Effect.sync(() => registered.delete(projection)),
    discard: (projection) =>
      Effect.sync(() => {
        discarded.add(projection)
        return registered.delete(projection)
      }),
    rejectionOf: (covered) => {
      const missing = covered.flat().map(parseClaim).find(({ keeps, projection }) =>
        registered.get(projection)?.keeps !== keeps
      )
      if (missing === undefined) return undefined
      const { projection } = missing
      return discarded.has(projection)
        ? storeError(new GenerationDiscarded({ generation: projection }))
        : unregistered(projection)
    },
    exclusively: (_projection, waits, effect) =>
      waits ? Effect.map(turn.withPermit(effect), Option.some) : turn.withPermitsIfAvailable(1)(effect),
    gapsOf: (events, covered = []) =>
      Array.from(registered.values()).flatMap((projection) => {
        const matches = EventFilter.matcher(projection.reads)
        const gaps = events.flatMap((event, index): ReadonlyArray<Gap> => {
          const isRead = matches(event)
          const isRun = covered[index]?.includes(claimOf(projection, event.type)) === true
          // Handlers of an older program may run on an event that the registered definition ignores: nothing is lost.
          const isWrong = isRead ? !isRun : isRun && projection.keeps === "documents"
          return isWrong ? [{ projection, event, isRead }] : []
        })
        const gap = gaps.find(({ isRead }) => projection.isRequired && isRead) ?? gaps[0]
        return gap === undefined ? [] : [gap]
      }),
    record: (gaps) => {
      for (const { event, projection: { missedFrom, projection } } of gaps) {
        if (missedFrom === undefined) change(projection, { missedFrom: event.position })
      }
    }
  }
}
