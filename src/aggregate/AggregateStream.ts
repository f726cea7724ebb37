/**
 * The stream of an instance of an aggregate.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import * as RoundTrip from "../core/json/RoundTrip.ts"
import type * as StreamId from "../core/StreamId.ts"
import type * as Event from "../event/Event.ts"
import * as JsonCodec from "../personalData/JsonCodec.ts"

interface Aggregate<Events extends Event.Any> {
  readonly name: string
  readonly id: string
  readonly group: { readonly requests: ReadonlyMap<string, Command.Any> }
  readonly streamOf: (id: string) => StreamId.Of<Event.Of<Events>>
}

/** The Schemas that the commands of an aggregate have for its id, as far as they may change it. */
const idSchemas = new WeakMap<object, ReadonlyArray<Schema.Constraint>>()

const idSchemasOf = ({ group, id }: Pick<Aggregate<Event.Any>, "group" | "id">): ReadonlyArray<Schema.Constraint> => {
  let found = idSchemas.get(group)
  if (found === undefined) {
    const schemas = Array.from(group.requests.values(), (rpc): unknown => {
      const fields: unknown = Reflect.get(InProcessRpc.payloadSchema(rpc), "fields")
      return Predicate.isObject(fields) ? Reflect.get(fields, id) : undefined
    })
    found = schemas.filter(Schema.isSchema).filter(RoundTrip.mayChange)
    idSchemas.set(group, found)
  }
  return found
}

/**
 * Returns the stream of an instance. Fails with `InvalidRequest` for an id that is not in the form to which the commands decode it, because no
 * command writes to its stream.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = <Events extends Event.Any>(
  aggregate: Aggregate<Events>,
  id: string
): Effect.Effect<StreamId.Of<Event.Of<Events>>, EventStoreError> =>
  Effect.suspend(() =>
    idSchemasOf(aggregate).some((schema) => JsonCodec.findChange(schema)(id) !== undefined)
      ? Effect.fail(invalidRequest(
        `the id "${id}" of "${aggregate.name}" is not in the form to which its commands decode it; pass what the Schema of "${aggregate.id}" `
          + "decodes, as Schema.decodeSync returns it"
      ))
      : Effect.succeed(aggregate.streamOf(id))
  )
