/**
 * Handlers of events: a function for each type, or one for all types.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import { CommandContext } from "../command/CommandContext.ts"
import { ReadAfter } from "../core/ReadAfter.ts"
import type * as Event from "../event/Event.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import { ignore } from "./ConsumerDefinition.ts"

/**
 * The handler of an event. The result of its effect is ignored.
 *
 * @since 0.1.0
 * @category models
 */
export type Handle<E extends Event.Tagged> = (
  event: E,
  recorded: RecordedEvent<E>
) => Effect.Effect<unknown, unknown, unknown>

/**
 * A handler, or `ignore`, for every event of the set.
 *
 * @since 0.1.0
 * @category models
 */
export type Handlers<E extends Event.Tagged> = {
  readonly [K in E["_tag"]]: Handle<Extract<E, { readonly _tag: K }>> | typeof ignore
}

/**
 * Rejects a handler of an event that is not in the set, at compile time.
 *
 * @since 0.1.0
 * @category models
 */
export type Known<H, Tag extends string> = { readonly [K in Exclude<keyof H, Tag>]: never }

type ServicesOfOne<F> = F extends (...args: never) => Effect.Effect<unknown, unknown, infer R> ? R : never

/**
 * The services that all handlers require.
 *
 * @since 0.1.0
 * @category models
 */
export type ServicesOf<H> = H extends (...args: never) => unknown ? ServicesOfOne<H>
  : { readonly [K in keyof H]: ServicesOfOne<H[K]> }[keyof H]

/**
 * Handlers without the types of their events.
 *
 * @since 0.1.0
 * @category models
 */
export interface Erased<out R> {
  /** The types that are not ignored. */
  readonly handles: ReadonlyArray<string>
  readonly handle: (recorded: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown, R>
}

/**
 * Returns handlers without the types of their events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const erase = <H>(events: Event.Any, handle: H): Erased<ServicesOf<H>> => {
  // Callers of `handle` decode with these very events, and `Handlers` typed each function by its event.
  type Erasable = (
    event: Event.Tagged,
    recorded: RecordedEvent<Event.Tagged>
  ) => Effect.Effect<unknown, unknown, ServicesOf<H>>
  if (typeof handle === "function") {
    const all = handle as Erasable
    return { handles: Object.keys(events.cases), handle: (recorded) => all(recorded.event, recorded) }
  }
  const byType = handle as Readonly<Record<string, Erasable | typeof ignore>>
  return {
    handles: Object.keys(events.cases).filter((type) => Object.hasOwn(byType, type) && byType[type] !== ignore),
    handle: (recorded) => {
      const one = byType[recorded.event._tag]
      return one === undefined || one === ignore ? Effect.void : one(recorded.event, recorded)
    }
  }
}

/**
 * Returns the services for handlers: those of the layer's build, without what belongs to a single run, such as the parent span.
 *
 * @since 0.1.0
 * @category accessors
 */
export const services = <R>(): Effect.Effect<Context.Context<R>, never, R> =>
  Effect.map(
    Effect.context<R>(),
    // The omitted services are provided when the handlers run, or are references with a default value.
    (context) => Context.omit(Tracer.ParentSpan, CommandContext, ReadAfter)(context) as Context.Context<R>
  )
