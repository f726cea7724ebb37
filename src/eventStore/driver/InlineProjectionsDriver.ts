/**
 * The inline projections that a log knows. An append that leaves one of them out is recorded as a gap in its documents, or rejected.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { type EventStoreError, storeError, StoreMisconfigured } from "../../core/errors.ts"
import type { Position } from "../../core/Position.ts"
import type { TypeFilter } from "../../event/EventFilter.ts"

/**
 * An inline projection as its program registers it.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineProjection {
  /** The id of the projection, `<name>@<version>`. */
  readonly projection: string
  /** Whether it keeps documents, or has handlers. */
  readonly keeps: "documents" | "handlers"
  /** The events that it reads. */
  readonly reads: TypeFilter & { readonly types: ReadonlyArray<string> }
  /** The current events that a stored type decodes to and that it ignores, by stored type; only types that have some. */
  readonly ignores: Readonly<Record<string, ReadonlyArray<string>>>
  /** Whether an append of such an event without the projection is rejected; otherwise it is recorded as a gap. */
  readonly isRequired: boolean
}

/**
 * An inline projection as the log knows it.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegisteredInlineProjection extends InlineProjection {
  /** The position of the first event that an append without the projection has written; undefined if no event is missing. */
  readonly missedFrom: Position | undefined
  /** Changes with every `closeGaps` and every new registration, and never returns to an earlier value. */
  readonly edition: bigint
}

/**
 * Returns the coverage of an append: the text by which it names an inline projection that it runs on a new event of a type. A definition that does
 * something else with such an event has another coverage, so an append of an older program does not count as one with the registered definition. A new
 * event has the current version, so what earlier versions decode to does not matter.
 *
 * @since 0.1.0
 * @category accessors
 */
export const coverageOf = (
  { ignores, keeps, projection }: Pick<InlineProjection, "ignores" | "keeps" | "projection">,
  type: string
): string => {
  const isIgnored = Object.hasOwn(ignores, type) && ignores[type]!.includes(type)
  return `${keeps}:${projection}${isIgnored ? " ignored" : ""}`
}

/**
 * Returns the kind and the projection that an append has named.
 *
 * @since 0.1.0
 * @category accessors
 */
export const parseCoverage = (coverage: string): { readonly keeps: string; readonly projection: string } => {
  const [named = ""] = coverage.split(" ", 1)
  const end = named.indexOf(":")
  return { keeps: named.slice(0, end), projection: named.slice(end + 1) }
}

/**
 * Returns the error of an append that runs an inline projection which the log does not know.
 *
 * @since 0.1.0
 * @category errors
 */
export const unregistered = (projection: string): EventStoreError =>
  storeError(
    new StoreMisconfigured({
      message:
        `This program runs the inline projection "${projection}", which was retired after the program was started. `
        + "Start the program again: with the projection, to make its documents again, or without it",
      cause: undefined
    })
  )

/**
 * The inline projections of a log.
 *
 * @since 0.1.0
 * @category services
 */
export interface InlineProjectionsDriver {
  /** Returns all registered inline projections, by their ids. */
  readonly registered: Effect.Effect<ReadonlyArray<RegisteredInlineProjection>, EventStoreError>

  /** Returns a registered inline projection. */
  readonly find: (projection: string) => Effect.Effect<RegisteredInlineProjection | undefined, EventStoreError>

  /** Registers an inline projection, or changes its registration, except `isRequired`. Its gaps remain. */
  readonly register: (projection: InlineProjection) => Effect.Effect<void, EventStoreError>

  /** Changes `isRequired` of a registered projection, and nothing else: programs of two releases may register at once. */
  readonly setRequired: (projection: string, isRequired: boolean) => Effect.Effect<void, EventStoreError>

  /**
   * Closes the gaps of a projection that were recorded before an effect, in the caller's transaction with the effect, which corrects the documents.
   * With `upTo`, gaps at later positions stay. Changes the edition.
   */
  readonly closeGaps: <A, E, R>(
    projection: string,
    effect: Effect.Effect<A, E, R>,
    upTo?: Position
  ) => Effect.Effect<A, E | EventStoreError, R>

  /** Removes a registration and its gaps. Returns whether there was one. A later append that runs the projection fails. */
  readonly unregister: (projection: string) => Effect.Effect<boolean, EventStoreError>

  /** Does the same for good: a later registration, and an append that runs the projection, fails with `GenerationDiscarded`. */
  readonly discard: (projection: string) => Effect.Effect<boolean, EventStoreError>

  /**
   * Runs an effect in the caller's transaction, while no other transaction does so for the same projection. If one does, returns none. In memory, it waits
   * with `waits`.
   */
  readonly exclusively: <A, E, R>(
    projection: string,
    waits: boolean,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | EventStoreError, R>

  /** Exchanges of documents. */
  readonly exchanges: InlineExchangesDriver

  /** Returns the transaction that makes the documents of a projection, registers it, or has done the last step of an exchange of them, at the moment. */
  readonly maker: (projection: string) => Effect.Effect<InlineMaker | undefined, EventStoreError>

  /** For how many milliseconds a program waits until another one has made documents (`maintenanceTimeout`). */
  readonly maxWait: number

  /**
   * Calls a function after each change of a registration or of gaps. Returns a function that stops it. Undefined if other processes may change them; then
   * programs poll.
   */
  readonly listen?: ((changed: () => void) => () => void) | undefined
}

/**
 * Exchanges of the documents of inline projections, in several transactions. From the first to the last the projection has a gap, and no other program
 * begins an exchange. A program that has done no step for a minute may be replaced by another one.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineExchangesDriver {
  /** Registers a projection as `register` does, with a gap at a position if it has none, and begins an exchange. Returns its edition. */
  readonly begin: (projection: InlineProjection, gap: Position) => Effect.Effect<bigint, EventStoreError>

  /**
   * Continues an exchange for the rest of the caller's transaction. Returns false if another program has begun one, or the projection was retired. The
   * caller is within `exclusively`.
   */
  readonly renew: (projection: string, edition: bigint) => Effect.Effect<boolean, EventStoreError>

  /** Lets other programs begin an exchange. `closeGaps` does so, too. */
  readonly end: (projection: string, edition: bigint) => Effect.Effect<void, EventStoreError>

  /** Returns whether a program exchanges the documents, other than by the exchange of an edition. */
  readonly isHeld: (projection: string, edition?: bigint) => Effect.Effect<boolean, EventStoreError>

  /** Returns the number of gaps by which appends have changed documents, since their events are not read. */
  readonly changes: (projection: string) => Effect.Effect<number, EventStoreError>
}

/**
 * The transaction that makes the documents of an inline projection.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineMaker {
  readonly pid: number
  /** The application name of its session. */
  readonly application: string
  /** When it began. Undefined if this role may not see it. */
  readonly since: DateTime.Utc | undefined
}

/**
 * Returns the text that names a transaction which makes documents.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describeMaker = ({ application, pid, since }: InlineMaker): string =>
  `the session ${pid} (application "${application}"${
    since === undefined ? "" : `, since ${DateTime.formatIso(since)}`
  })`
