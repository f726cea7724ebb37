/**
 * What accompanies a command: its id, its actor, its correlation and its cause.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { Expected } from "../core/Version.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { inherit, shared } from "./ContextInheritance.ts"

/**
 * The context of a command.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommandContext {
  /** Identifies the command. A second dispatch under the same id returns the first receipt. A new id by default. */
  readonly commandId?: string | undefined
  /** Groups all messages that follow from one request; the command's id by default. */
  readonly correlationId?: string | undefined
  /** The id of the message that caused the command; the command's id by default. */
  readonly causationId?: string | undefined
  /** The user or program that sends the command; `DefaultActor` by default. */
  readonly actor?: string | undefined
  /** Further JSON to store in the metadata of the events. */
  readonly attributes?: { readonly [key: string]: Schema.Json } | undefined
  /** The version that the stream must have. A conflict with it is not retried. */
  readonly expected?: Expected | undefined
  /**
   * The id of the last event that the caller has seen in the stream; it needs an exact `expected`. When the log was set back and has another
   * event at that version, the command fails with `LogDiverged`.
   */
  readonly lastEventId?: string | undefined
}

/**
 * The context that the commands of an effect inherit.
 *
 * @since 0.1.0
 * @category references
 */
export const CommandContext = Context.Reference<CommandContext>("evsrc/command/CommandContext", {
  defaultValue: () => ({})
})

/**
 * The actor of commands that name none: `"anonymous"`. A program that acts by itself, such as a job, provides its own name.
 *
 * @since 0.1.0
 * @category references
 */
export const DefaultActor = Context.Reference<string>("evsrc/command/CommandContext/DefaultActor", {
  defaultValue: () => "anonymous"
})

/**
 * The part of a context that several commands can share. An id and an expected version belong to one command.
 *
 * @since 0.1.0
 * @category models
 */
export type SharedContext = Omit<CommandContext, "commandId" | "expected" | "lastEventId">

/**
 * Adds to the context of all commands that an effect dispatches.
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
  // The type accepts a variable of the type `CommandContext`, which may have an id and an expected version.
  Effect.updateService(self, CommandContext, (outer) => inherit(outer, shared(context)))

/**
 * Returns the context of commands that react to an event: they get the event's correlation id, and the event as their cause. Handlers of
 * subscriptions and projections have this context already, with the consumer as the actor, such as `subscription:welcome-mail@1`.
 *
 * **Details**
 *
 * The actor is the program that reacts, and not the actor of the event. `Causation.of` finds the first actor by following the causes. For an
 * event without a correlation id, the event's own id becomes the correlation id.
 *
 * **Example** (a command that reacts to an event)
 *
 * ```ts
 * Stream.runForEach(events, (recorded) =>
 *   CommandBus.dispatch(Remind, { userId }).pipe(CommandContext.provide(CommandContext.causedBy(recorded, "reminders"))))
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
