/**
 * Snapshots as the runtime sees them: reading one never fails, and writing one never waits. Whatever goes wrong is logged and counted, and the
 * state is folded from its events as if there were no snapshots.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError } from "../core/errors.ts"
import { countSnapshotRead, countSnapshotWrite } from "../core/metricUpdates.ts"
import type { Snapshot, SnapshotDriver, SnapshotKey } from "./SnapshotDriver.ts"

/**
 * - `read`: none when it cannot be read
 * - `write`: in the background, one after the other; `snapshot` is run there, and writes none when it answers none. A snapshot that comes while
 *   one of the same stream waits, or too many of all, is left out: the next will do. With `instead` of one that is wrong, which is removed
 *   first
 * - `settled`: ends when no snapshot waits to be written
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotStore {
  readonly read: (key: SnapshotKey) => Effect.Effect<Option.Option<Snapshot>>
  readonly write: (
    stream: string,
    snapshot: Effect.Effect<Option.Option<Snapshot>, EventStoreError>,
    instead?: Snapshot
  ) => Effect.Effect<void>
  readonly settled: Effect.Effect<void>
}

/** How many streams' snapshots may wait to be written. */
const maxWaiting = 100

/**
 * Snapshots over a driver. What still waits when the scope closes is not written.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  driver: SnapshotDriver
): Effect.fn.Return<SnapshotStore, never, Scope.Scope> {
  const waiting = new Set<string>()
  const writers = yield* FiberSet.make<void>()
  // Snapshots are not urgent: they take one connection, and leave the others to the commands.
  const turn = yield* Semaphore.make(1)

  return {
    read: (key) =>
      driver.read(key).pipe(
        Effect.tap((found) => Option.isNone(found) ? countSnapshotRead("none") : Effect.void),
        orElse("A snapshot cannot be read", key.stream, countSnapshotRead("failed"), Option.none())
      ),
    write: (stream, snapshot, instead) =>
      Effect.suspend(() => {
        if (waiting.has(stream) || waiting.size >= maxWaiting) return countSnapshotWrite("dropped")
        waiting.add(stream)
        const write = Effect.gen(function*() {
          if (instead !== undefined) yield* driver.discard(instead)
          const taken = yield* snapshot
          if (Option.isNone(taken)) return
          yield* driver.write(taken.value)
          yield* countSnapshotWrite("written")
        })
        return turn.withPermit(write).pipe(
          orElse("A snapshot cannot be written", stream, countSnapshotWrite("failed"), undefined),
          Effect.ensuring(Effect.sync(() => waiting.delete(stream))),
          // What a fiber does at once, it would do before the append has answered.
          FiberSet.run(writers, { startImmediately: false }),
          Effect.asVoid
        )
      }),
    settled: FiberSet.awaitEmpty(writers)
  }
})

/** Answers something else in place of a failure, and tells of it; not of an interruption. */
const orElse =
  <B>(message: string, stream: string, count: Effect.Effect<void>, other: B) =>
  <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A | B> =>
    Effect.catchCause(
      self,
      (cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.interrupt : Effect.logWarning(message, cause).pipe(
          Effect.annotateLogs({ stream }),
          Effect.andThen(count),
          Effect.as(other)
        )
    )
