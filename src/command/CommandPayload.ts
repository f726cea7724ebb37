/**
 * The payload of a command, checked as the command's Schema says.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Rpc from "effect/rpc/Rpc"
import * as SchemaIssue from "effect/SchemaIssue"
import { InvalidCommand } from "../core/errors.ts"
import type * as Command from "./Command.ts"

/** A field that the command does not have is most likely one that it has, misspelt. */
const strict = { parseOptions: { onExcessProperty: "error" } } as const

const format = SchemaIssue.makeFormatterDefault()

/**
 * Fails with `InvalidCommand` when the payload does not satisfy its Schema or has a field that the Schema does not know.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <C extends Command.Any>(
  command: C,
  payload: Rpc.PayloadConstructor<C>
): Effect.Effect<Rpc.Payload<C>, InvalidCommand> =>
  command.payloadSchema.makeEffect(payload, strict).pipe(
    Effect.mapBoth({
      onFailure: (issue) => new InvalidCommand({ command: command._tag, message: format(issue) }),
      // `makeEffect` of the command's own payload Schema makes its payload; the erased Schema of `Command.Any` says unknown.
      onSuccess: (valid) => valid as Rpc.Payload<C>
    })
  )
