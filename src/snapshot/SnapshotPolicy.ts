/**
 * When the state of an aggregate instance is stored as a snapshot beside its stream, so that a load need not fold all of its events.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import { wholeNumber } from "./StateSnapshots.ts"

/**
 * When a snapshot is taken.
 *
 * - `Never`: not at all
 * - `Every`: whenever an append or a load takes a state past a version that is a multiple of `events`
 * - `AfterCost`: after a load in which reading and folding the events since the last snapshot took at least `cost`
 *
 * @since 0.1.0
 * @category models
 */
export type Policy =
  | { readonly _tag: "Never" }
  | { readonly _tag: "Every"; readonly events: number }
  | { readonly _tag: "AfterCost"; readonly cost: Duration.Duration }

/**
 * The policy that takes no snapshots: states are folded from all of their events. It is the default.
 *
 * @since 0.1.0
 * @category constructors
 */
export const never: Policy = { _tag: "Never" }

/**
 * Returns the policy that takes a snapshot every so many events of a stream. Throws unless the number is a whole number from 1.
 *
 * @since 0.1.0
 * @category constructors
 */
export const every = (events: number): Policy => ({
  _tag: "Every",
  events: wholeNumber("SnapshotPolicy.every: the number of events", events)
})

/**
 * Returns the policy that takes a snapshot after a load that took at least this long. An append to an instance whose state is cached needs no load
 * and takes no snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const afterCost = (cost: Duration.Input): Policy => ({
  _tag: "AfterCost",
  cost: Duration.fromInputUnsafe(cost)
})
