/**
 * Answers a command whose id is in flight, or was just written, without another append.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as CommandExecution from "../command/CommandExecution.ts"
import * as CommandLoop from "../command/CommandLoop.ts"
import type { EventStoreError } from "../core/errors.ts"
import type * as InstanceQueue from "./InstanceQueue.ts"

/**
 * Returns the first receipt of a command id that was sent before, and otherwise runs an effect. A second append would be a duplicate, so the commands behind
 * it would have to be decided again.
 *
 * @since 0.1.0
 * @category combinators
 */
export const answered = <State, Reload, E>(
  { firstReceiptOr, metadata: { commandId } }: CommandExecution.Attempt,
  turn: InstanceQueue.Turn<State>,
  otherwise: () => Effect.Effect<CommandLoop.Synced<Reload, E>, E>
): Effect.Effect<CommandLoop.Synced<Reload, E>, E | EventStoreError> => {
  const earlier = commandId === undefined ? undefined : turn.sentUnder(commandId)
  if (commandId === undefined || earlier === undefined) return otherwise()
  turn.pass()
  const again = Effect.sync(() => {
    turn.forget(commandId)
    return CommandLoop.again
  })
  return Effect.andThen(
    earlier,
    Effect.map(firstReceiptOr(again), (found) => "_tag" in found ? found : CommandLoop.written(found))
  )
}
