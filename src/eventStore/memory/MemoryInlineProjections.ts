/**
 * The inline projections that a log in memory knows.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import { type EventStoreError, GenerationDiscarded, storeError } from "../../core/errors.ts"
import type { Position } from "../../core/Position.ts"
import * as EventFilter from "../../event/EventFilter.ts"
import {
  coverageOf,
  type InlineExchangesDriver,
  type InlineProjectionsDriver,
  parseCoverage,
  type RegisteredInlineProjection,
  unregistered
} from "../driver/InlineProjectionsDriver.ts"

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
  /** Returns the gaps that an append would make. `covered` has for each event the coverages of the projections that run on it. */
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
  const turn = Semaphore.makeUnsafe(1)
  const { addGaps, change, discarded, exchanges, listen, missed, nextEdition, register, registered, remove } =
    makeRegistry()
  return {
    registered: Effect.sync(() =>
      Array.from(registered.values()).toSorted((a, b) => a.projection < b.projection ? -1 : 1)
    ),
    find: (projection) => Effect.sync(() => registered.get(projection)),
    register,
    exchanges: {
      ...exchanges.driver,
      begin: (projection, gap) =>
        Effect.map(register(projection), () => {
          const id = projection.projection
          const edition = nextEdition()
          change(id, { edition })
          if (!missed.get(id)?.length) addGaps(id, [gap])
          exchanges.begin(id, edition)
          return edition
        })
    },
    setRequired: (projection, isRequired) => Effect.sync(() => change(projection, { isRequired })),
    closeGaps: (projection, effect, upTo) =>
      Effect.suspend(() => {
        const { length } = missed.get(projection) ?? []
        return Effect.tap(effect, () =>
          Effect.sync(() => {
            const rest = (missed.get(projection) ?? []).filter((position, index) =>
              index >= length || (upTo !== undefined && position > upTo)
            )
            missed.set(projection, rest)
            exchanges.end(projection)
            change(projection, { missedFrom: rest[0], edition: nextEdition() })
          }))
      }),
    unregister: (projection) => Effect.sync(() => remove(projection)),
    discard: (projection) =>
      Effect.sync(() => {
        discarded.add(projection)
        return remove(projection)
      }),
    rejectionOf: (covered) => {
      const missing = covered.flat().map(parseCoverage).find(({ keeps, projection }) =>
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
    maker: () => Effect.undefined,
    maxWait: Infinity,
    listen,
    gapsOf: (events, covered = []) =>
      Array.from(registered.values()).flatMap((projection) => gapsIn(projection, events, covered)),
    record: (gaps) => {
      for (const [projection, some] of Map.groupBy(gaps, ({ projection: { projection } }) => projection)) {
        // Documents are made again from the whole log, so the first event of an append stands for it.
        const kept = some[0]!.projection.keeps === "handlers" ? some : some.slice(0, 1)
        addGaps(projection, kept.map(({ event }) => event.position))
        if (!some.every(({ isRead }) => isRead)) exchanges.addChange(projection)
      }
    }
  }
}

const makeRegistry = () => {
  const registered = new Map<string, RegisteredInlineProjection>()
  const discarded = new Set<string>()
  /** By projection, the positions of its gaps. */
  const missed = new Map<string, ReadonlyArray<Position>>()
  const exchanges = makeExchanges()
  const listeners = new Set<() => void>()
  const listen = (changed: () => void) => {
    listeners.add(changed)
    return () => void listeners.delete(changed)
  }
  const notify = (): void => {
    for (const changed of listeners) changed()
  }
  const set = (projection: string, to: RegisteredInlineProjection): void => {
    registered.set(projection, to)
    notify()
  }
  let editions = 0n
  const nextEdition = () => ++editions
  const change = (projection: string, changes: Partial<RegisteredInlineProjection>): void => {
    const found = registered.get(projection)
    if (found !== undefined) set(projection, { ...found, ...changes })
  }
  const remove = (projection: string): boolean => {
    missed.delete(projection)
    exchanges.end(projection)
    notify()
    return registered.delete(projection)
  }
  const register: MemoryInlineProjections["register"] = (projection) =>
    Effect.suspend(() => {
      if (discarded.has(projection.projection)) {
        return Effect.fail(storeError(new GenerationDiscarded({ generation: projection.projection })))
      }
      const { edition = nextEdition(), isRequired = projection.isRequired, missedFrom } =
        registered.get(projection.projection) ?? {}
      set(projection.projection, { ...projection, isRequired, missedFrom, edition })
      return Effect.void
    })
  const addGaps = (projection: string, positions: ReadonlyArray<Position>): void => {
    const all = [...missed.get(projection) ?? [], ...positions]
    missed.set(projection, all)
    change(projection, { missedFrom: all[0] })
  }
  return { addGaps, change, discarded, exchanges, listen, missed, nextEdition, register, registered, remove }
}

const makeExchanges = () => {
  /** By projection, the edition of the exchange that goes on. */
  const editions = new Map<string, bigint>()
  /** By projection, how many appends have changed its documents by an event that it does not read. */
  const changes = new Map<string, number>()
  const isOf = (projection: string, edition: bigint | undefined) => editions.get(projection) === edition
  const end = (projection: string): void => {
    editions.delete(projection)
  }
  const driver: Omit<InlineExchangesDriver, "begin"> = {
    renew: (projection, edition) => Effect.sync(() => isOf(projection, edition)),
    end: (projection, edition) =>
      Effect.sync(() => {
        if (isOf(projection, edition)) end(projection)
      }),
    isHeld: (projection, edition) => Effect.sync(() => editions.has(projection) && !isOf(projection, edition)),
    changes: (projection) => Effect.sync(() => changes.get(projection) ?? 0)
  }
  return {
    driver,
    end,
    begin: (projection: string, edition: bigint): void => {
      editions.set(projection, edition)
    },
    addChange: (projection: string): void => {
      changes.set(projection, (changes.get(projection) ?? 0) + 1)
    }
  }
}

const gapsIn = (
  projection: RegisteredInlineProjection,
  events: ReadonlyArray<WrittenEvent>,
  covered: ReadonlyArray<ReadonlyArray<string>>
): ReadonlyArray<Gap> => {
  const matches = EventFilter.matcher(projection.reads)
  return events.flatMap((event, index): ReadonlyArray<Gap> => {
    const isRead = matches(event)
    const isRun = covered[index]?.includes(coverageOf(projection, event.type)) === true
    // Handlers of an older program may run on an event that the registered definition ignores: nothing is lost.
    const isWrong = isRead ? !isRun : isRun && projection.keeps === "documents"
    return isWrong ? [{ projection, event, isRead }] : []
  })
}
