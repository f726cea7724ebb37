/**
 * Effects for events: a function for each type, or one for all.
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
 * What to do with an event. What the effect answers is not looked at.
 *
 * @since 0.1.0
 * @category models
 */
export type Handle<E extends Event.Tagged> = (
  event: E,
  record: RecordedEvent<E>
) => Effect.Effect<unknown, unknown, unknown>

/**
 * Every event of the set, handled or explicitly ignored.
 *
 * @since 0.1.0
 * @category models
 */
export type Handlers<E extends Event.Tagged> = {
  readonly [K in E["_tag"]]: Handle<Extract<E, { readonly _tag: K }>> | typeof ignore
}

/**
 * Refuses a handler of an event that is not in the set.
 *
 * @since 0.1.0
 * @category models
 */
export type Known<H, Tag extends string> = { readonly [K in Exclude<keyof H, Tag>]: never }

type ServicesOfOne<F> = F extends (...args: never) => Effect.Effect<unknown, unknown, infer R> ? R : never

/**
 * The services that handlers need, all together.
 *
 * @since 0.1.0
 * @category models
 */
export type ServicesOf<H> = H extends (...args: never) => unknown ? ServicesOfOne<H>
  : { readonly [K in keyof H]: ServicesOfOne<H[K]> }[keyof H]

/**
 * Handlers whose events are not known any more.
 *
 * - `handles`: the types that are not ignored
 *
 * @since 0.1.0
 * @category models
 */
export interface Erased<out R> {
  readonly handles: ReadonlyArray<string>
  readonly handle: (record: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown, R>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const erase = <H>(events: Event.Any, handle: H): Erased<ServicesOf<H>> => {
  // Whoever calls `handle` decodes records with these very events, and `Handlers` has typed each function by its event; their services are
  // those of `ServicesOf`.
  type Erasable = (
    event: Event.Tagged,
    record: RecordedEvent<Event.Tagged>
  ) => Effect.Effect<unknown, unknown, ServicesOf<H>>
  if (typeof handle === "function") {
    const all = handle as Erasable
    return { handles: Object.keys(events.cases), handle: (record) => all(record.event, record) }
  }
  const byType = handle as Readonly<Record<string, Erasable | typeof ignore>>
  return {
    handles: Object.keys(events.cases).filter((type) => Object.hasOwn(byType, type) && byType[type] !== ignore),
    handle: (record) => {
      const one = byType[record.event._tag]
      return one === undefined || one === ignore ? Effect.void : one(record.event, record)
    }
  }
}

/**
 * The services that handlers run with: those of when their layer was built, but for what belongs to whoever causes them to run.
 *
 * @since 0.1.0
 * @category services
 */
export const services = <R>(): Effect.Effect<Context.Context<R>, never, R> =>
  Effect.map(
    Effect.context<R>(),
    // What is left out is either there when the handlers run, or a reference with a default value.
    (context) => Context.omit(Tracer.ParentSpan, CommandContext, ReadAfter)(context) as Context.Context<R>
  )
