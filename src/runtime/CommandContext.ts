/**
 * What accompanies a command: who sends it, in which conversation, under which id.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Tracer from "effect/Tracer"
import type { Metadata } from "../domain/Metadata.ts"
import type { Expected } from "../domain/Version.ts"
import { traceparentOf } from "./TraceContext.ts"

/**
 * - `commandId`: names the command; dispatched again under the same id it answers its first receipt. Drawn when none is given
 * - `correlationId`: the conversation; the command's id when none is given
 * - `causationId`: the message that caused the command; the command's id when none is given
 * - `actor`: who acts
 * - `attributes`: anything else to be kept with the events, as JSON
 * - `expected`: what the stream's version must be; then a conflict is not retried
 *
 * @since 0.1.0
 * @category models
 */
export interface CommandContext {
  readonly commandId?: string | undefined
  readonly correlationId?: string | undefined
  readonly causationId?: string | undefined
  readonly actor?: string | undefined
  readonly attributes?: { readonly [key: string]: Schema.Json } | undefined
  readonly expected?: Expected | undefined
}

/**
 * The context of the command that is being handled.
 *
 * @since 0.1.0
 * @category references
 */
export const CommandContext = Context.Reference<CommandContext>("evsrc/runtime/CommandContext", {
  defaultValue: () => ({})
})

/**
 * What several commands may have in common; an id and an expected version are one command's own.
 *
 * @since 0.1.0
 * @category models
 */
export type SharedContext = Omit<CommandContext, "commandId" | "expected">

/**
 * Adds to the context of the commands that an effect dispatches.
 *
 * **Example** (the same actor for a whole request)
 *
 * ```ts
 * handleRequest.pipe(CommandContext.provide({ actor: user.id, correlationId: requestId }))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const provide = (context: SharedContext) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.updateService(self, CommandContext, (outer) => within(outer, shared(context)))

/**
 * A command's context within the one around it, of which it takes over neither id nor expected version.
 *
 * @since 0.1.0
 * @category combinators
 */
export const within = (outer: CommandContext, context: CommandContext): CommandContext => ({
  ...shared(outer),
  ...withoutUndefined(context)
})

const shared = ({ commandId: _id, expected: _expected, ...context }: CommandContext): SharedContext =>
  withoutUndefined(context)

/**
 * The metadata of a command's events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const metadataOf = (
  context: CommandContext,
  command: string,
  commandId: string,
  span: Tracer.AnySpan | undefined
): Metadata => ({
  command,
  commandId,
  correlationId: context.correlationId ?? commandId,
  causationId: context.causationId ?? commandId,
  ...(context.actor === undefined ? {} : { actor: context.actor }),
  ...(span === undefined ? {} : { traceparent: traceparentOf(span) }),
  ...(context.attributes === undefined ? {} : { attributes: context.attributes })
})

const withoutUndefined = (context: CommandContext): CommandContext =>
  Object.fromEntries(Object.entries(context).filter(([, value]) => value !== undefined))
