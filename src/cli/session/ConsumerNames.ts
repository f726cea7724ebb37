/**
 * Finds a consumer by the text that an operator types: its id, or its name if only one consumer has it.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Effect from "effect/Effect"
import * as Generations from "../../operations/Generations.ts"
import { WrongUse } from "../ExitCode.ts"

/**
 * The argument of a consumer.
 *
 * @since 0.1.0
 * @category options
 */
export const argument = Argument.String("consumer").pipe(
  Argument.withDescription(
    "The id of a projection or subscription, such as orders@1 or subscription:mail@2, or its name"
  )
)

const prefix = "subscription:"

/** Returns the forms under which an id is found: with and without its prefix, and without its version. */
const formsOf = (id: string): ReadonlyArray<string> => {
  const short = id.startsWith(prefix) ? id.slice(prefix.length) : id
  return [id, short, id.replace(/@\d+$/, ""), short.replace(/@\d+$/, "")]
}

/**
 * Returns the one of these ids that the text names. Fails if there is none, or more than one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const choose = (ids: ReadonlyArray<string>, text: string): Effect.Effect<string, WrongUse> => {
  const exact = ids.find((id) => id === text)
  if (exact !== undefined) return Effect.succeed(exact)
  const found = ids.filter((id) => formsOf(id).includes(text))
  if (found.length === 1) return Effect.succeed(found[0]!)
  const detail = found.length > 1
    ? `"${text}" matches ${found.join(" and ")}; give the id of one of them`
    : ids.length === 0
    ? `There is no consumer "${text}"; the store has none yet`
    : `There is no consumer "${text}"; the consumers are ${ids.join(", ")}`
  return Effect.fail(new WrongUse({ detail }))
}

/**
 * Returns the id of the consumer in the store that the text names, whether or not a program still runs it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inStore = Effect.fnUntraced(function*(text: string) {
  const all = yield* Generations.list({ maxCount: 1 })
  return yield* choose(Array.from(new Set(all.map(({ consumer }) => consumer))), text)
})
