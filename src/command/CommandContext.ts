/**
 * What accompanies a command: who sends it, in which conversation, under which id.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Tracer from "effect/Tracer"
import type { Metadata } from "../core/Metadata.ts"
import type { Expected } from "../core/Version.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { traceparentOf } from "./TraceContext.ts"

/**
 * - `commandId`: names the command; dispatched again under the same id it answers its first receipt. Drawn when none is given
 * - `correlationId`: the conversation; the command's id when none is given
 * - `causationId`: the message that caused the command; the command's id when none is given
 * - `actor`: who acts; `DefaultActor` when nobody says
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
export const CommandContext = Context.Reference<CommandContext>("evsrc/command/CommandContext", {
  defaultValue: () => ({})
})

/**
 * Who acts when nobody says: `"anonymous"`. A program that acts by itself, as a job does, provides its own name.
 *
 * @since 0.1.0
 * @category references
 */
export const DefaultActor = Context.Reference<string>("evsrc/command/CommandContext/DefaultActor", {
  defaultValue: () => "anonymous"
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
 * The context of the commands by which somebody reacts to an event: they belong to the event's conversation, and the event is their cause.
 * The handlers of subscriptions and projections have it already, with the consumer as the actor, such as `subscription:welcome-mail@1`.
 *
 * **Details**
 *
 * The actor is whoever reacts, and not that of the event: the decision to send the command is the reacting program's. Who was at the beginning
 * is found by the causes, as `Causation.of` lists them. An event that belongs to no conversation begins one, of its own id.
 *
 * **Example** (a command for an event that was heard)
 *
 * ```ts
 * Stream.runForEach(events, (record) =>
 *   CommandBus.dispatch(Remind, { userId }).pipe(CommandContext.provide(CommandContext.causedBy(record, "reminders"))))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const causedBy = ({ id, metadata }: Pick<EncodedEvent, "id" | "metadata">, actor?: string): SharedContext => ({
  correlationId: metadata.correlationId ?? id,
  causationId: id,
  ...(actor === undefined ? {} : { actor })
})

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
  defaultActor: string,
  span: Tracer.AnySpan | undefined
): Metadata => ({
  command,
  commandId,
  correlationId: context.correlationId ?? commandId,
  causationId: context.causationId ?? commandId,
  actor: context.actor ?? defaultActor,
  ...(span === undefined ? {} : { traceparent: traceparentOf(span) }),
  ...(context.attributes === undefined ? {} : { attributes: context.attributes })
})

/**
 * The metadata of events that are appended without a command: who acts, the conversation and its cause as they are around, and over these
 * what is given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const metadataAround = (given: Metadata = {}): Effect.Effect<Metadata> =>
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
