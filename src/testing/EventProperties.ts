/**
 * What must hold of every event that a set's Schemas can generate, as tests for any runner.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Result from "effect/Result"
import type { Case } from "../conformance/Suite.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as properties from "./properties.ts"
import * as storedVersions from "./storedVersions.ts"

/**
 * The properties of a set of events.
 *
 * - what is written is read again as the same event
 * - what any past version's Schema allows is upcast to valid current events
 *
 * **Example** (with vitest)
 *
 * ```ts
 * for (const { name, test } of EventProperties.all(UserEvent)) it.effect(name, () => test)
 * ```
 *
 * @since 0.1.0
 * @category properties
 */
export const all = (events: Event.Any, options: properties.Options = {}): ReadonlyArray<Case<never>> => {
  const codec = EventCodec.make(events)
  const cases = storedVersions.all(events).map(
    ({ encode, isCurrent, schema, schemaVersion, type }): Case<never> => {
      const name = isCurrent
        ? `${type}: what is written is read again as the same`
        : `${type}: what version ${schemaVersion} allows is upcast to valid events`
      return {
        name,
        test: Effect.suspend(() =>
          properties.check(name, Arbitrary.schema(schema), (value) => {
            const data = encode(value)
            if (Result.isFailure(data)) return data.failure
            const decoded = codec.decodeData({ type, schemaVersion, data: data.success })
            if (Result.isFailure(decoded)) return `${JSON.stringify(data.success)}: ${decoded.failure.detail}`
            return !isCurrent || Equal.equals(decoded.success, [value])
              ? undefined
              : `${JSON.stringify(data.success)} was read as ${properties.show(decoded.success)}`
          }, options)
        )
      }
    }
  )
  return properties.of(cases, options)
}
