/**
 * Lists the generations of all consumers, whether or not a program still runs them, and discards those that are retired.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as GenerationId from "../consumer/GenerationId.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import type { AgainstDiscard, ProjectionStoreDriver, StoredGeneration } from "../projection/ProjectionStoreDriver.ts"
import * as Discard from "../projection/rebuild/Discard.ts"
import { DiscardRejected } from "./GenerationsError.ts"

export type { RowCount, StoredGeneration } from "../projection/ProjectionStoreDriver.ts"

/**
 * A generation of any consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListedGeneration extends StoredGeneration {
  /** The consumer of the same name and kind with the highest version in the store, if it is higher, such as `orders@3` for `orders@1`. */
  readonly newerVersion: string | undefined
}

/**
 * Options of a list.
 *
 * @since 0.1.0
 * @category options
 */
export interface ListOptions {
  /** Documents, parked keys and entries of the parking log are counted up to this number; 10,000 by default. */
  readonly maxCount?: number | undefined
}

/**
 * Options of a discard.
 *
 * @since 0.1.0
 * @category options
 */
export interface DiscardOptions {
  /** Whether to discard it even if it is the active generation of its consumer, which then can neither run nor be read; false by default. */
  readonly evenIfActive?: boolean | undefined
  /** Whether to discard it even if `Rebuild.rollback` would make it active; false by default. */
  readonly evenIfRollbackTarget?: boolean | undefined
  /** Whether to remove its parking log too: who retried or skipped which event, when and why; false by default. */
  readonly removeParkingLog?: boolean | undefined
}

/** The number of generations that one statement lists, and of which it counts the rows. */
const pageSize = 20

/**
 * Returns all generations of all consumers of the store, by name. One that was discarded is listed too, because its name stays taken.
 *
 * **When to use**
 *
 * To find retired generations: those of a version that no program runs any more (`newerVersion`), those of former rebuilds, and consumers that were
 * removed from all programs (no `owners`, and a `lastActivity` that is long ago).
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = Effect.fn("Generations.list")(function*(
  { maxCount = 10_000 }: ListOptions = {}
): Effect.fn.Return<ReadonlyArray<ListedGeneration>, EventStoreError, ProjectionStore> {
  const { driver } = (yield* ProjectionStore)[internals]
  const all: Array<StoredGeneration> = []
  let after: string | undefined
  do {
    const page = yield* driver.allGenerations({ after, limit: pageSize, maxCount })
    all.push(...page)
    after = page.length < pageSize ? undefined : page.at(-1)!.generation
  } while (after !== undefined)
  const newest = new Map<string, number>()
  for (const { consumer, status } of all) {
    const { name, version } = GenerationId.versionOf(consumer)
    if (status !== "discarded") newest.set(name, Math.max(version, newest.get(name) ?? 0))
  }
  return all.map((one) => {
    const { name, version } = GenerationId.versionOf(one.consumer)
    const highest = newest.get(name) ?? version
    return { ...one, newerVersion: highest > version ? `${name}@${highest}` : undefined }
  })
})

/**
 * Discards a generation for good, by its name, and removes what it has written: documents with their index entries, checkpoints, leases, the delivery
 * log, parked keys with their requests, and the registration and the gaps of an inline projection. Fails with `DiscardRejected` while a worker runs
 * it; and, unless an option says otherwise, if it is the active generation of its consumer or the rollback target.
 *
 * **Details**
 *
 * The first transaction marks it. From then on a worker, a read or an append of a program that still has it fails with `GenerationDiscarded`; it
 * never begins again with the first event. The rows are removed in parts of 5,000, each in a transaction of its own. Repeat the call when it was
 * interrupted. Events, and tables that handlers wrote, stay.
 *
 * **Gotchas**
 *
 * An inline projection has no worker, so the store cannot tell whether a program still runs it. Its appends would fail.
 *
 * @since 0.1.0
 * @category combinators
 */
export const discard = Effect.fn("Generations.discard")(function*(
  generation: string,
  { evenIfActive = false, evenIfRollbackTarget = false, removeParkingLog = false }: DiscardOptions = {}
): Effect.fn.Return<void, DiscardRejected | EventStoreError, EventStore | ProjectionStore> {
  const { driver: log } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const evenIf: ReadonlyArray<AgainstDiscard> = [
    ...evenIfActive ? ["active" as const] : [],
    ...evenIfRollbackTarget ? ["previous" as const] : []
  ]
  const outcome = yield* mark({ log, store }, generation, evenIf)
  if (outcome !== "discarded") return yield* new DiscardRejected({ generation, reason: reasons[outcome] })
  yield* Discard.removeRows(store, generation, removeParkingLog)
})

const reasons = { unknown: "Unknown", active: "Active", previous: "RollbackTarget", leased: "Leased" } as const

/** Marks a generation as discarded; an inline projection while no append runs it. */
const mark = Effect.fnUntraced(function*(
  { log, store }: { readonly log: EventStoreDriver; readonly store: ProjectionStoreDriver },
  generation: string,
  evenIf: ReadonlyArray<AgainstDiscard>
) {
  const { consumer } = GenerationId.parse(generation)
  const discardOne = store.discard(consumer, generation, evenIf)
  const registered = yield* log.inlineProjections.find(generation)
  if (registered === undefined) return yield* discardOne
  return yield* store.transaction(log.withoutAppends(
    { types: registered.reads.types, projection: generation },
    Effect.tap(
      discardOne,
      (outcome) => outcome === "discarded" ? log.inlineProjections.discard(generation) : Effect.void
    )
  ))
})
