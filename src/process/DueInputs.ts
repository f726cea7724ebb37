/**
 * Lets a deadline fire only after the inputs that were in the log when the timer found it to be due. After an outage, or while a program is behind, these may not
 * be taken yet.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ConsumerDriver } from "../consumer/CheckpointDriver.ts"
import { EventStoreError } from "../core/errors.ts"
import type { Position } from "../core/Position.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type * as ProjectionStore from "../projection/ProjectionStore.ts"
import * as ProcessConsumers from "./ProcessConsumers.ts"
import type * as ProcessContract from "./ProcessContract.ts"

/** What it needs. */
interface Sources {
  readonly definition: ProcessContract.Any
  readonly log: Pick<EventStoreDriver, "last">
  readonly store: ProjectionStore.ProjectionStore["Service"]
  readonly driver: Pick<ConsumerDriver, "activeGeneration" | "parked" | "parkedCounts">
}

/** How long the timer waits for the inputs before it looks at the deadlines again. */
const maxWait = Duration.seconds(1)

/**
 * Returns the position of the last event now. Inputs that are recorded later are above it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lastOf = ({ definition, log }: Sources): Effect.Effect<Position | undefined, EventStoreError> =>
  definition.handles.length === 0 ? Effect.undefined : log.last

/**
 * Waits until the inputs up to a position are taken, ignored or parked. Returns false if they are not after a second.
 *
 * @since 0.1.0
 * @category combinators
 */
export const areTaken = (
  { definition, store }: Sources,
  upTo: Position | undefined
): Effect.Effect<boolean, EventStoreError> =>
  upTo === undefined ? Effect.succeed(true) : Effect.matchEffect(
    store.awaitPosition({ id: ProcessConsumers.of(definition).inputs.id, lifecycle: "async" }, upTo, maxWait),
    {
      onSuccess: () => Effect.succeed(true),
      onFailure: (error) => error instanceof EventStoreError ? Effect.fail(error) : Effect.succeed(false)
    }
  )

/**
 * Returns those of the instances that have no parked input. Deadlines of the others wait, as their later inputs do.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withoutParked = Effect.fnUntraced(function*<A extends { readonly id: string }>(
  { definition, driver }: Sources,
  instances: ReadonlyArray<A>
): Effect.fn.Return<ReadonlyArray<A>, EventStoreError> {
  if (definition.partitionBy !== "instance" || definition.handles.length === 0 || instances.length === 0) {
    return instances
  }
  const generation = yield* driver.activeGeneration(ProcessConsumers.of(definition).inputs.id)
  if ((yield* driver.parkedCounts(generation)).length === 0) return instances
  return yield* Effect.filter(
    instances,
    ({ id }) => Effect.map(driver.parked(generation, { key: id, limit: 1 }), (found) => found.length === 0),
    { concurrency: 4 }
  )
})
