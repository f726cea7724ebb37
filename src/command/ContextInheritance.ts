/**
 * What commands and appends inherit from the command context around them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Metadata } from "../core/Metadata.ts"
import { CommandContext, DefaultActor } from "./CommandContext.ts"

/**
 * Returns the context of a command inside another one. It inherits everything but the id and the expected version.
 *
 * @since 0.1.0
 * @category combinators
 */
export const inherit = (
  { commandId: _id, expected: _expected, ...outer }: CommandContext,
  context: CommandContext
): CommandContext => ({ ...withoutUndefined(outer), ...withoutUndefined(context) })

/**
 * Returns the metadata of events that are appended without a command: actor, correlation, causation and attributes of the context, and
 * over these the metadata given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const appendMetadata = (given: Metadata = {}): Effect.Effect<Metadata> =>
  Effect.gen(function*() {
    const { actor = yield* DefaultActor, attributes, causationId, correlationId } = withoutUndefined(
      yield* CommandContext
    )
    return {
      ...(correlationId === undefined ? {} : { correlationId }),
      ...(causationId === undefined ? {} : { causationId }),
      ...(attributes === undefined ? {} : { attributes }),
      actor,
      ...given
    }
  })

const withoutUndefined = (context: CommandContext): CommandContext =>
  Object.fromEntries(Object.entries(context).filter(([, value]) => value !== undefined))
