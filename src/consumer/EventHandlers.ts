/**
 * Handlers of events: a function for each type, or one for all types.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"
import * as Tracer from "effect/Tracer"
import { CommandContext } from "../command/CommandContext.ts"
import { requireExactly } from "../core/definitionRules.ts"
import type {
  ConcurrencyConflict,
  EventStoreError,
  InvalidCommand,
  InvalidQuery,
  ProjectionBehind
} from "../core/errors.ts"
import * as HandledEvent from "../core/HandledEvent.ts"
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
) => Effect.Effect<unknown, AnyError, unknown>

/** An error that `Checked` does not look at. Before the compiler has inferred a handler's type, it checks the constraint `Handle` instead. */
// oxlint-disable-next-line typescript/no-explicit-any -- `unknown` is an error that a handler may declare, and `Checked` rejects.
type AnyError = any

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
 * The errors that every handler may fail with, without naming them in `parks`: those of the stores, of a command or a query that the handler
 * sends, and of the database. When the database or the key store is unavailable, the event is tried again until it succeeds. After any other of
 * them, also a lock timeout on rows or on a stream, it is retried as `retry` says, and then `onFailure` applies.
 *
 * @since 0.1.0
 * @category errors
 */
export type InfrastructureError =
  | EventStoreError
  | ConcurrencyConflict
  | InvalidCommand
  | InvalidQuery
  | ProjectionBehind
  | SqlError

/** The tags of `InfrastructureError`. */
const infrastructureTags: Readonly<Record<InfrastructureError["_tag"], true>> = {
  EventStoreError: true,
  ConcurrencyConflict: true,
  InvalidCommand: true,
  InvalidQuery: true,
  ProjectionBehind: true,
  SqlError: true
}

/**
 * Returns whether handlers may fail with an error: it is an `InfrastructureError`, or `parks` names it. The compiler checks the same; code
 * without types can fail with any.
 *
 * @since 0.1.0
 * @category guards
 */
export const isDeclared = (parks: ReadonlyArray<string>, error: unknown): boolean => {
  const tag = tagOf(error)
  return tag !== undefined && (parks.includes(tag) || Object.hasOwn(infrastructureTags, tag))
}

/**
 * Returns the tag of an error, if it has one.
 *
 * @since 0.1.0
 * @category accessors
 */
export const tagOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "_tag") && typeof error._tag === "string" ? error._tag : undefined

type ErrorsOfOne<F> = F extends (...args: never) => Effect.Effect<unknown, infer E, unknown>
  ? Exclude<E, InfrastructureError>
  : never

type ErrorsOf<H> = H extends (...args: never) => unknown ? ErrorsOfOne<H>
  : { readonly [K in keyof H]: ErrorsOfOne<H[K]> }[keyof H]

type TagOf<E> = E extends { readonly _tag: infer Tag extends string } ? Tag : never

/**
 * The tags of the errors that handlers fail with, except those of `InfrastructureError`: what `parks` may name.
 *
 * @since 0.1.0
 * @category models
 */
export type Parkable<H> = TagOf<ErrorsOf<H>>

/**
 * Rejects, at compile time, a name in `parks` that no handler fails with.
 *
 * @since 0.1.0
 * @category models
 */
export type CheckedParks<H, Parks extends string> = 0 extends 1 & ErrorsOf<H> ? unknown
  : [Parks] extends [Parkable<H>] ? unknown
  : UnusedError<Exclude<Parks, Parkable<H>>>

/**
 * What the compiler reports for a name in `parks` that no handler fails with.
 *
 * @since 0.1.0
 * @category models
 */
export interface UnusedError<out Tag> {
  readonly "no handler fails with this error": Tag
}

/**
 * What the compiler reports for a handler with an error that it neither handles nor names in `parks`.
 *
 * @since 0.1.0
 * @category models
 */
export interface UndeclaredError<out Tag> {
  readonly "handle this error in the handler, or name it in `parks`": Tag
}

/**
 * What the compiler reports for a handler with an error that `parks` cannot name.
 *
 * @since 0.1.0
 * @category models
 */
export interface UntaggedError<out E> {
  readonly "handle this error in the handler, or give it a _tag and name it in `parks`": E
}

/**
 * What the compiler reports for a handler of an event that is not in the set.
 *
 * @since 0.1.0
 * @category models
 */
export interface UnknownEvent<out Name> {
  readonly "the set has no event of this name": Name
}

/** `unknown` when nothing is wrong with the errors `E` of a handler. */
type CheckErrors<E, Parks extends string> = 0 extends 1 & E ? unknown
  : [E] extends [never] ? unknown
  : [Exclude<E, { readonly _tag: string }>] extends [never] ?
    [Exclude<TagOf<E>, Parks>] extends [never] ? unknown : UndeclaredError<Exclude<TagOf<E>, Parks>>
  : UntaggedError<Exclude<E, { readonly _tag: string }>>

/**
 * Rejects, at compile time, a handler of an event that is not in the set, and a handler with an error that it neither handles nor names in
 * `parks`.
 *
 * @since 0.1.0
 * @category models
 */
export type Checked<H, Tag extends string, Parks extends string> = H extends (...args: never) => unknown
  ? CheckErrors<ErrorsOfOne<H>, Parks>
  : {
    readonly [K in keyof H as K extends Tag ? unknown extends CheckErrors<ErrorsOfOne<H[K]>, Parks> ? never : K : K]:
      K extends Tag ? CheckErrors<ErrorsOfOne<H[K]>, Parks> : UnknownEvent<K>
  }

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
  requireExactly("The option `handle`", "event", byType, Object.keys(events.cases))
  return {
    handles: Object.keys(events.cases).filter((type) => byType[type] !== ignore),
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
    (context) =>
      Context.omit(Tracer.ParentSpan, CommandContext, ReadAfter, HandledEvent.Current)(context) as Context.Context<R>
  )
