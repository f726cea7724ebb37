/**
 * The driver of snapshots in memory.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { retention, type Snapshot, type SnapshotDriver, type SnapshotKey } from "./SnapshotDriver.ts"

/**
 * Makes a driver without snapshots.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): SnapshotDriver => {
  const snapshots = new Map<string, Map<string, Snapshot>>()
  let drops = 0n
  const ofStream = (stream: string) => snapshots.get(stream) ?? new Map<string, Snapshot>()
  return {
    read: ({ fingerprint, stream }) => Effect.sync(() => Option.fromUndefinedOr(ofStream(stream).get(fingerprint))),
    drops: Effect.sync(() => drops),
    write: (snapshot, expectedDrops) =>
      Effect.sync(() => {
        if (expectedDrops !== undefined && expectedDrops !== drops) return
        const { fingerprint, stream, takenAt, version } = snapshot
        const all = ofStream(stream)
        const old = DateTime.subtractDuration(takenAt, retention)
        for (const other of all.values()) {
          if (other.fingerprint !== fingerprint && DateTime.isLessThan(other.takenAt, old)) {
            all.delete(other.fingerprint)
          }
        }
        const before = all.get(fingerprint)
        if (before === undefined || before.version < version) all.set(fingerprint, snapshot)
        snapshots.set(stream, all)
      }),
    discard: ({ eventId, fingerprint, stream, takenAt, version }) =>
      Effect.sync(() => {
        const found = ofStream(stream).get(fingerprint)
        if (
          found?.version === version && found.eventId === eventId && DateTime.Equivalence(found.takenAt, takenAt)
        ) ofStream(stream).delete(fingerprint)
      }),
    drop: (streams) =>
      Effect.sync(() => {
        drops++
        return streams.reduce((dropped, stream) => {
          const { size } = ofStream(stream)
          snapshots.delete(stream)
          return dropped + size
        }, 0)
      }),
    page: (after, limit) =>
      Effect.sync(() =>
        Array.from(snapshots.values(), (all) => Array.from(all.values())).flat()
          .filter((snapshot) => after === undefined || compare(snapshot, after) > 0)
          .toSorted(compare)
          .slice(0, limit)
      )
  }
}

const compare = (a: SnapshotKey, b: SnapshotKey): number =>
  compareText(a.stream, b.stream) || compareText(a.fingerprint, b.fingerprint)

const compareText = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0
