/**
 * Snapshots as the runtime uses them: a read never fails, and a write never waits. Every failure is logged and counted, and the state is folded from
 * its events as if there were no snapshots.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError } from "../core/errors.ts"
import * as LimitedLog from "../core/telemetry/LimitedLog.ts"
import { countSnapshotRead, countSnapshotWrite } from "../core/telemetry/metricUpdates.ts"
import * as OutageLog from "../core/telemetry/OutageLog.ts"
import * as OptionalReads from "./OptionalReads.ts"
import type { Snapshot, SnapshotDriver, SnapshotKey } from "./SnapshotDriver.ts"

/**
 * What a read of a snapshot found.
 *
 * @since 0.1.0
 * @category models
 */
export type ReadSnapshot =
  /** There is none, or the read failed or was left out. */
  | { readonly _tag: "None" }
  | { readonly _tag: "Found"; readonly snapshot: Snapshot }
  /** The program has keys, and none of them has signed this snapshot. */
  | { readonly _tag: "Unsigned"; readonly snapshot: Snapshot }

/**
 * The snapshots of an event store.
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotStore {
  /**
   * Returns a snapshot; none when there is none or the read fails. After a failure by which the store did not answer, one read tries at intervals and
   * the others return none at once.
   */
  readonly read: (key: SnapshotKey) => Effect.Effect<ReadSnapshot>
  /**
   * Writes a snapshot in the background, one after the other. It runs `snapshot` there, and writes nothing when that returns none. It drops a snapshot
   * while one of the same stream waits, or too many of all streams. It removes `instead` first, a snapshot that is not valid. With `isFenced` nothing
   * is written if snapshots are dropped after `snapshot` has begun.
   */
  readonly write: (
    stream: string,
    snapshot: Effect.Effect<Option.Option<Snapshot>, EventStoreError>,
    instead?: Snapshot,
    isFenced?: boolean
  ) => Effect.Effect<void>
  /** Ends when no snapshot waits to be written. */
  readonly settled: Effect.Effect<void>
}

/** The maximum number of streams whose snapshots wait to be written. */
const maxWaiting = 100

/**
 * Makes the snapshots over a driver. A snapshot that still waits when the scope closes is not written.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  driver: SnapshotDriver
): Effect.fn.Return<SnapshotStore, never, Scope.Scope> {
  const waiting = new Set<string>()
  const writers = yield* FiberSet.make<void>()
  // Snapshots use one connection and leave the others to the commands.
  const turn = yield* Semaphore.make(1)
  const unlessLeftOut = OptionalReads.make(yield* Clock.Clock)
  const reads = failureLog("The read of snapshots", "cannot be read; states are folded from their events")
  const writes = failureLog("The write of snapshots", "cannot be written")

  return {
    read: (key) =>
      unlessLeftOut(Effect.suspend(() => reads.watched(driver.read(key)))).pipe(
        Effect.flatMap(Option.match({
          onNone: () => Effect.as(countSnapshotRead("skipped"), none),
          onSome: Option.match({
            onNone: () => Effect.as(countSnapshotRead("none"), none),
            onSome: (snapshot) => authenticated(driver, snapshot)
          })
        })),
        reads.orElse(key.stream, countSnapshotRead("failed"), none)
      ),
    write: (stream, snapshot, instead, isFenced = false) =>
      Effect.suspend(() => {
        if (waiting.has(stream) || waiting.size >= maxWaiting) return countSnapshotWrite("dropped")
        waiting.add(stream)
        const write = Effect.gen(function*() {
          if (instead !== undefined) yield* driver.discard(instead)
          const drops = isFenced ? yield* driver.drops : undefined
          const taken = yield* snapshot
          if (Option.isNone(taken)) return
          yield* writes.watched(driver.write(taken.value, drops))
          yield* countSnapshotWrite("written")
        })
        return turn.withPermit(write).pipe(
          writes.orElse(stream, countSnapshotWrite("failed"), undefined),
          Effect.ensuring(Effect.sync(() => waiting.delete(stream))),
          // Without it the fiber would start before the append returns.
          FiberSet.run(writers, { startImmediately: false }),
          Effect.asVoid
        )
      }),
    settled: FiberSet.awaitEmpty(writers)
  }
})

const none: ReadSnapshot = { _tag: "None" }

const authenticated = (driver: SnapshotDriver, snapshot: Snapshot): Effect.Effect<ReadSnapshot> =>
  Effect.map(driver.isAuthentic?.(snapshot) ?? Effect.succeed(true), (isAuthentic) => ({
    _tag: isAuthentic ? "Found" : "Unsigned",
    snapshot
  }))

/** Logs the failures of reads or writes: an outage once, and of other failures the first ones of each minute. */
const failureLog = (subject: string, failure: string) => {
  const outages = OutageLog.make(subject)
  const others = LimitedLog.make((lines) => `${lines} further snapshots ${failure}`)
  let isOut = false
  const failed = (cause: Cause.Cause<EventStoreError>): Effect.Effect<void> => {
    const [error] = Cause.prettyErrors(cause)
    const reason = error?.message ?? "unknown"
    if (!OptionalReads.isOutage(cause)) {
      return others.log("Warn", `A snapshot ${failure}: ${reason}`, cause)
    }
    isOut = true
    return outages.failed({ source: "store", kind: "failed", message: `Snapshots ${failure}: ${reason}`, cause })
  }
  const succeeded = Effect.suspend(() => {
    if (!isOut) return Effect.void
    isOut = false
    return outages.succeeded("store")
  })
  return {
    /** Logs the end of an outage when the effect succeeds. */
    watched: <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.tap(self, succeeded),
    /** Returns another result in place of a failure, which it logs and counts. An interruption passes through. */
    orElse:
      <B>(stream: string, count: Effect.Effect<void>, other: B) =>
      <A>(self: Effect.Effect<A, EventStoreError>): Effect.Effect<A | B> =>
        Effect.catchCause(
          self,
          (cause) =>
            Cause.hasInterruptsOnly(cause) ? Effect.interrupt : failed(cause).pipe(
              Effect.annotateLogs({ stream }),
              Effect.andThen(count),
              Effect.as(other)
            )
        )
  }
}
