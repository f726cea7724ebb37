/**
 * Events that have waited in vain for locks while no event of another key could be handled. Until one can, they are not waited for again.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import type { LeasedPartition } from "./BatchProcessor.ts"
import type { Failure } from "./Failure.ts"

/**
 * The events of a partition that have waited in vain.
 *
 * @since 0.1.0
 * @category models
 */
export interface VainWaits {
  /** Returns how an event failed, unless that was long ago. */
  readonly get: (event: EncodedEvent) => Pick<Failure, "error" | "attempts"> | undefined
  /** Replaces the events. The first is tried again in each batch: when it can be handled, the others are tried too. */
  readonly set: (locked: ReadonlyArray<Failure>) => void
}

interface Waited {
  readonly failure: Pick<Failure, "error" | "attempts">
  readonly until: number
}

/**
 * Returns a function that finds the events of a partition for its current epoch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (clock: Clock.Clock): (leased: LeasedPartition) => VainWaits => {
  const waits = new Map<string, { readonly epoch: bigint; readonly events: Map<string, Waited> }>()
  const now = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
  return ({ epoch, generation, partition }) => {
    const owned = `${generation} ${partition}`
    const last = waits.get(owned)
    waits.delete(owned)
    const before = last?.epoch === epoch ? last.events : undefined
    return {
      get: (event) => {
        const found = before?.get(placeOf(event))
        return found !== undefined && now() < found.until ? found.failure : undefined
      },
      set: (locked) => {
        const events = new Map(
          locked.slice(1).map(({ attempts, error, event }) => {
            const known = before?.get(placeOf(event))
            return [
              placeOf(event),
              known?.failure.error === error ? known : { failure: { attempts, error }, until: now() + maxAge }
            ]
          })
        )
        waits.set(owned, { epoch, events })
      }
    }
  }
}

/** For how many milliseconds an event is not tried again. Its lock may become free while that of the first does not. */
const maxAge = 60_000

/**
 * Returns the text that names an event in a log. Ids alone may repeat: the store does not compare them, and a program may provide its own
 * `IdGenerator`. A log that was set back may repeat positions.
 *
 * @since 0.1.0
 * @category accessors
 */
export const placeOf = ({ id, position }: EncodedEvent): string => `${position} ${id}`
