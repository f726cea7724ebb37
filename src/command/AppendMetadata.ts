/**
 * The metadata of events that are appended without a command.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Metadata } from "../core/Metadata.ts"
import { CommandContext, DefaultActor } from "./CommandContext.ts"
import { withoutUndefined } from "./ContextInheritance.ts"

/**
 * Returns the metadata of events: actor, correlation, causation and attributes of the context, and
 * over these the metadata given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (given: Metadata = {}): Effect.Effect<Metadata> =>
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
