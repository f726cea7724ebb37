/**
 * Checks that the stores of a consumer belong together.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type { ConsumerDriver } from "./CheckpointDriver.ts"

/**
 * Dies when an event store and a projection store use one database client, but different schemas: another log may keep its documents in that
 * schema. `maker` names the layer that the user called.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireSame = (
  maker: string,
  log: Pick<EventStoreDriver, "transactions" | "schema">,
  documents: Pick<ConsumerDriver, "transactions" | "schema">
): Effect.Effect<void> =>
  log.transactions !== documents.transactions || log.schema === documents.schema ? Effect.void : Effect.die(
    new Error(
      `${maker}: the event store uses the schema "${log.schema}" and the projection store the schema "${documents.schema}"; give both the `
        + "same option `schema`, as PgStores.layerWith does"
    )
  )
