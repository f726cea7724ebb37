/**
 * Erases the personal data of a subject: deletes the key that encrypts it and waits until no process holds the key.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as KeyStore from "../personalData/KeyStore.ts"
import * as SubjectName from "../personalData/SubjectName.ts"
import type { ProjectionStore } from "../projection/ProjectionStore.ts"
import type { ErasureReceipt, ScanReport } from "./ErasureReport.ts"
import * as PersonalDataScan from "./PersonalDataScan.ts"

export { ErasureReceipt, Location, ScanReport } from "./ErasureReport.ts"

const validated = (subject: string): Effect.Effect<string, EventStoreError> => {
  const problem = SubjectName.validate(subject)
  return problem === undefined ? Effect.succeed(subject) : Effect.fail(invalidRequest(problem))
}

/**
 * Returns what the stores hold of a subject, encrypted and in plaintext. Changes nothing. Reads all events, snapshots, documents and parked
 * streams twice, page by page. It finds all that was committed before it began, whatever appends are in flight.
 *
 * **Gotchas**
 *
 * The scan does not read your own tables that handlers write, nor what subscriptions passed on, nor what a transaction in flight has not committed
 * yet. It searches for a value as it is
 * and as JSON escapes it, and only for values of at least 4 characters.
 *
 * @since 0.1.0
 * @category accessors
 */
export const scan = Effect.fn("Erasure.scan")(function*(
  subject: string
): Effect.fn.Return<ScanReport, EventStoreError, EventStore | ProjectionStore | KeyStore.KeyStore> {
  const { report } = yield* PersonalDataScan.run(yield* validated(subject))
  return report
})

/**
 * Deletes the key of a subject. From then on its personal data is unreadable in events, documents, snapshots, caches and every backup of
 * them; decoding yields `Erased` in its place. Nothing else changes, and no other subject is affected.
 *
 * **Details**
 *
 * `erase` scans first, because the data is unreadable afterwards. Then it deletes the key, waits for as long as other processes may cache it
 * (`maxAge` of the key store), and drops the snapshots of the streams that it found. It may be repeated, for example after an
 * interruption: `erasedAt` stays the same, but the receipt then lacks `plaintext`.
 *
 * **Gotchas**
 *
 * Call it outside of a transaction; inside one it fails with `InvalidRequest`. Restoring a backup of the key store restores the key.
 *
 * @since 0.1.0
 * @category constructors
 */
export const erase = Effect.fn("Erasure.erase")(function*(
  subject: string
): Effect.fn.Return<ErasureReceipt, EventStoreError, EventStore | ProjectionStore | KeyStore.KeyStore> {
  const { driver } = (yield* EventStore)[internals]
  const keys = yield* KeyStore.KeyStore
  if (driver.inTransaction(yield* Effect.context<never>())) {
    return yield* invalidRequest(
      "Erasure.erase was called within a transaction, where it would wait for processes that cannot see the erasure yet; call it outside"
    )
  }
  const { plaintext } = yield* scan(subject)
  const erasedAt = yield* keys.erase(subject)
  yield* Effect.sleep(Duration.sum(keys.maxAge, Duration.millis(1)))
  // A drop rejects the snapshots that other processes are about to write. So the scan sees the events of every snapshot from before the erasure.
  yield* driver.snapshots.drop([])
  // Other processes may have written more since the first scan.
  const { report, streams } = yield* PersonalDataScan.run(subject)
  // A state may hold plaintext that was derived from personal data, so the snapshots are folded again.
  for (const some of Arr.chunksOf(streams, PersonalDataScan.maxReported)) yield* driver.snapshots.drop(some)
  const doneAt = yield* DateTime.now
  const found: ScanReport = { ...report, ...(plaintext === undefined ? {} : { plaintext }) }
  return { subject, erasedAt, doneAt, found }
})
