/**
 * Asks before a command makes a change that cannot be undone.
 *
 * @since 0.1.0
 */
import * as Flag from "effect/cli/Flag"
import * as Prompt from "effect/cli/Prompt"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import { WrongUse } from "./ExitCode.ts"

/**
 * The flag `--yes` of commands that ask.
 *
 * @since 0.1.0
 * @category options
 */
export const yes = Flag.Boolean("yes").pipe(
  Flag.withAlias("y"),
  Flag.withDescription("Do not ask, for scripts"),
  Flag.withoutNegation,
  Flag.withDefault(false)
)

/**
 * Asks for a confirmation, unless `--yes` was given. Fails if the answer is no, or if there is no terminal to ask on.
 *
 * @since 0.1.0
 * @category combinators
 */
export const confirm = Effect.fnUntraced(function*(message: string, isConfirmed: boolean) {
  if (isConfirmed) return
  const { canPrompt } = yield* TerminalCapabilities.TerminalCapabilities
  if (!canPrompt) {
    return yield* new WrongUse({ detail: `${message} There is no terminal to ask on; to confirm, add --yes` })
  }
  if (yield* Prompt.run(Prompt.Confirm({ message }))) return
  return yield* new WrongUse({ detail: "It was not confirmed, so nothing was changed" })
})
