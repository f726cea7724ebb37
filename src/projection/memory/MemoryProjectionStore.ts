/**
 * The projection store driver in memory.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as MemoryTransaction from "../../eventStore/memory/MemoryTransaction.ts"
import type { ProjectionStoreDriver } from "../ProjectionStoreDriver.ts"
import * as MemoryCheckpoints from "./MemoryCheckpoints.ts"
import * as MemoryDocuments from "./MemoryDocuments.ts"
import * as MemoryGenerations from "./MemoryGenerations.ts"
import * as MemoryInlineDocuments from "./MemoryInlineDocuments.ts"
import * as MemoryLeases from "./MemoryLeases.ts"
import * as MemoryParking from "./MemoryParking.ts"
import * as MemoryPersonalDataScan from "./MemoryPersonalDataScan.ts"
import * as MemoryState from "./MemoryState.ts"
import * as MemoryTimers from "./MemoryTimers.ts"

/**
 * Returns a new, empty store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<ProjectionStoreDriver> = Effect.sync(() => {
  const state = MemoryState.make()
  return {
    transactions: "memory",
    transaction: MemoryTransaction.transaction,
    uncommittedAbove: Effect.succeedNone,
    isInTransaction: MemoryTransaction.isActive,
    ...MemoryLeases.make(state),
    ...MemoryCheckpoints.make(state),
    ...MemoryParking.make(state),
    ...MemoryDocuments.make(state),
    ...MemoryGenerations.make(state),
    ...MemoryInlineDocuments.make(state),
    ...MemoryPersonalDataScan.make(state),
    ...MemoryTimers.make()
  }
})
