/**
 * The instances as the keys of a process manager's inputs: order holds within an instance, and an input that fails parks its instance. Inputs of the same
 * instance from other streams then wait behind it.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Consumer from "../consumer/Consumer.ts"
import * as ConsumerDefinition from "../consumer/ConsumerDefinition.ts"
import * as StreamId from "../core/StreamId.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import { streamPrefix } from "./ProcessInstances.ts"

/** What the keys are computed from. */
type Definition = Pick<ProcessContract.Any, "correlate" | "name" | "partitionBy">

/**
 * Returns the consumer of the inputs with the instances as its keys, unless the process manager is partitioned by something else.
 *
 * @since 0.1.0
 * @category combinators
 */
export const keyed = <C extends Consumer.Consumer>(definition: Definition, consumer: C): C =>
  definition.partitionBy === "instance"
    ? { ...consumer, partitionBy: "instance", instanceKeysOf: instancesOf(definition, consumer) }
    : consumer

/** Returns a function that returns the instances of an event; `undefined` if it cannot be decoded, or `correlate` throws or returns no valid id. */
const instancesOf = ({ correlate, name }: Definition, consumer: Consumer.Consumer) => {
  const prefix = streamPrefix(name)
  // The pages of a parked key are looked through for each of its events.
  const known = new WeakMap<EncodedEvent, ReadonlyArray<string>>()
  return (event: EncodedEvent): ReadonlyArray<string> | undefined => {
    const before = known.get(event)
    if (before !== undefined) return before
    const found = Result.flatMap(
      ConsumerDefinition.decode(consumer, event),
      (parts) =>
        Result.try(() =>
          parts.flatMap((recorded): ReadonlyArray<unknown> => {
            const instance = correlate(recorded)
            return instance === undefined ? [] : [instance.id]
          })
        )
    )
    if (Result.isFailure(found)) return undefined
    const ids = found.success.filter((id) => isInstance(prefix, id))
    if (ids.length < found.success.length) return undefined
    const keys = Array.from(new Set(ids))
    known.set(event, keys)
    return keys
  }
}

/** An id may come from a field that is missing, or was erased since. */
const isInstance = (prefix: string, id: unknown): id is string =>
  typeof id === "string" && id.length > 0 && StreamId.validate(prefix + id) === undefined
