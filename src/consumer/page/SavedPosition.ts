/**
 * How far a partition has read beyond its checkpoint. Every append wakes all partitions, and most of them have nothing to handle, so pages without an event for
 * a partition do not move its checkpoint at once. Another worker may read these pages again, and finds no event either.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { LogPosition } from "../../core/LogPosition.ts"
import { elapsed } from "../worker/EventInHand.ts"

/** How long a checkpoint may be behind what was read, by the clock of the computer. */
const maxAge = Duration.millis(100)

/**
 * The positions of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface SavedPosition {
  /** The checkpoint. */
  readonly saved: LogPosition
  /** The last position that was read. Between both there is no event for the partition. */
  readonly read: LogPosition
  /** Whether the checkpoint is to be saved. */
  readonly isDue: () => boolean
  /** Ends when the checkpoint is to be saved; never if all that was read is saved. */
  readonly due: Effect.Effect<void>
  /** Takes a position that was saved. */
  readonly hasSaved: (position: LogPosition) => Effect.Effect<void>
  /** Takes a position up to which a page without an event was read. The caller's fiber waits for `due`. */
  readonly hasRead: (position: LogPosition) => Effect.Effect<void>
}

/**
 * Returns the positions of a partition that begins at its checkpoint.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (start: LogPosition): SavedPosition => {
  const due = Latch.makeUnsafe(false)
  let [saved, read] = [start, start]
  let isCounting = false
  return {
    get saved() {
      return saved
    },
    get read() {
      return read
    },
    isDue: () => due.isOpen() && saved !== read,
    due: due.await,
    hasSaved: (position) => {
      saved = read = position
      return due.close
    },
    hasRead: (position) =>
      Effect.suspend(() => {
        read = position
        if (isCounting) return Effect.void
        isCounting = true
        const end = Effect.sync(() => {
          isCounting = false
          if (saved !== read) due.openUnsafe()
        })
        return Effect.asVoid(Effect.forkChild(Effect.andThen(elapsed(maxAge), end)))
      })
  }
}
