/**
 * Properties of every event that the Schemas of a set can generate, as tests for any runner.
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
 * Returns the properties of an event set:
 *
 * - An event equals itself after encoding and decoding.
 * - Every payload of a past version is upcast to valid current events.
 *
 * **Example** (with vitest)
 *
 * ```ts
 * for (const { name, test } of EventProperties.all(UserEvent)) it.effect(name, () => test)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const all = (events: Event.Any, options: properties.Options = {}): ReadonlyArray<Case<never>> => {
  const codec = EventCodec.make(events)
  const cases = storedVersions.all(events).map(
    ({ encode, isCurrent, schema, schemaVersion, type }): Case<never> => {
      const name = isCurrent
        ? `${type}: equals itself after encoding and decoding`
        : `${type}: every payload of version ${schemaVersion} is upcast to valid events`
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
              : `${JSON.stringify(data.success)} decoded to ${properties.show(decoded.success)}`
          }, options)
        )
      }
    }
  )
  return properties.of(cases, options)
}
