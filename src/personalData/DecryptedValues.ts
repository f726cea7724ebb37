/**
 * The personal data that a handler of the user reads while it runs, so that it can be removed from the words with which the handler fails.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as EncryptedValue from "./EncryptedValue.ts"

/**
 * What was read.
 *
 * @since 0.1.0
 * @category models
 */
export interface DecryptedValues {
  readonly values: Set<unknown>
  /** False once something was read whose values are not known. The words of an error are then withheld. */
  isComplete: boolean
}

/** More values than a message could quote; a handler that reads more keeps none of them in memory. */
const maxValues = 10_000

/**
 * The values that the current handler has read; `undefined` outside of a handler.
 *
 * @since 0.1.0
 * @category references
 */
export const Current = Context.Reference<DecryptedValues | undefined>("evsrc/personalData/DecryptedValues", {
  defaultValue: () => undefined
})

/**
 * Returns an empty collection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): DecryptedValues => ({ values: new Set(), isComplete: true })

/**
 * Adds what was decrypted to the values of the current handler, if there is one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const add = (
  encoded: ReadonlyArray<Schema.Json>,
  decrypted: ReadonlyArray<Result.Result<Schema.Json, string>>
): Effect.Effect<void> =>
  Effect.map(Current, (current) => {
    if (current?.isComplete !== true) return
    for (const [index, result] of decrypted.entries()) {
      if (Result.isFailure(result)) continue
      for (const value of EncryptedValue.secretsOf(encoded[index], result.success)) current.values.add(value)
    }
    if (current.values.size > maxValues) setIncomplete(current)
  })

/**
 * Runs an effect for several handlers, or for none: what it decrypts is not added to the values of the current one. Each handler that receives the result
 * calls `addAll`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const outsideHandler = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Current, undefined)

/**
 * Adds what others have decrypted, such as a page of events that several handlers read, to the values of the current handler, if there is one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const addAll = (
  read: ReadonlyArray<{ readonly data: Schema.Json; readonly decrypted?: Result.Result<Schema.Json, string> }>
): Effect.Effect<void> =>
  Effect.flatMap(Current, (current) => {
    if (current?.isComplete !== true) return Effect.void
    const found = read.flatMap(({ data, decrypted }) => decrypted === undefined ? [] : [{ data, decrypted }])
    return add(found.map(({ data }) => data), found.map(({ decrypted }) => decrypted))
  })

/**
 * Notes that the current handler has read personal data whose values are not known, such as a cached state.
 *
 * @since 0.1.0
 * @category combinators
 */
export const addUnknown: Effect.Effect<void> = Effect.map(Current, (current) => {
  if (current !== undefined) setIncomplete(current)
})

const setIncomplete = (current: DecryptedValues): void => {
  current.isComplete = false
  current.values.clear()
}
