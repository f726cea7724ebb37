/**
 * The pure heart of an aggregate: an initial state, how an event changes it, and what a command decides on it.
 *
 * The shape is Jérémie Chassaing's decider ("Functional Event Sourcing Decider", 2021).
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import type * as Event from "../event/Event.ts"

/**
 * One function for every event: the state after it.
 *
 * @since 0.1.0
 * @category models
 */
export type Evolve<State, E extends Event.Tagged> = {
  readonly [K in E["_tag"]]: (state: State, event: Extract<E, { readonly _tag: K }>) => State
}

/**
 * What a command decides: events, or the command's own error. No events means that nothing happens.
 *
 * @since 0.1.0
 * @category models
 */
export type Decision<E, Error> = ReadonlyArray<E> | Result.Result<ReadonlyArray<E>, Error>

/**
 * One pure function for every command.
 *
 * @since 0.1.0
 * @category models
 */
export type Decide<State, E, C extends Command.Any> = {
  readonly [R in C as R["_tag"]]: (
    state: State,
    command: Command.Payload<R>
  ) => Decision<E, Command.DeclaredError<R>>
}

/**
 * - `initial`: the state before the first event
 * - `evolve`: the state after an event
 * - `decide`: by command name, what happens; it reads no clock and draws no ids, these come in with the command
 *
 * @since 0.1.0
 * @category models
 */
export interface Decider<State, E extends Event.Tagged, C extends Command.Any> {
  readonly initial: State
  readonly evolve: (state: State, event: E) => State
  readonly decide: Decide<State, E, C>
}

/**
 * The state after events, starting from `initial` or from a state given.
 *
 * @since 0.1.0
 * @category folding
 */
export const fold = <State, E extends Event.Tagged>(
  decider: Pick<Decider<State, E, Command.Any>, "initial" | "evolve">,
  events: Iterable<E>,
  from: State = decider.initial
): State => {
  let state = from
  for (const event of events) state = decider.evolve(state, event)
  return state
}

/**
 * What a command decides on a state, always as a `Result`.
 *
 * @since 0.1.0
 * @category deciding
 */
export const decide = <State, E extends Event.Tagged, C extends Command.Any, Tag extends C["_tag"]>(
  decider: Decider<State, E, C>,
  state: State,
  command: Tag,
  payload: Command.Payload<Extract<C, { readonly _tag: Tag }>>
): Result.Result<ReadonlyArray<E>, Command.DeclaredError<Extract<C, { readonly _tag: Tag }>>> => {
  type Error = Command.DeclaredError<Extract<C, { readonly _tag: Tag }>>
  // `Decide` has a function for this tag with this payload and error; a lookup by a generic tag loses the correlation.
  const decideOne = (decider.decide as Record<string, (state: State, command: unknown) => Decision<E, Error>>)[command]!
  const decision = decideOne(state, payload)
  return Result.isResult(decision) ? decision : Result.succeed(decision)
}

/**
 * An `evolve` function from one function an event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const evolveWith = <State, E extends Event.Tagged>(
  evolve: Evolve<State, E>
): (state: State, event: E) => State => {
  // `Evolve` has a function for every `_tag` that takes the event of that tag; indexing by the union loses the correlation.
  const byTag = evolve as Record<string, (state: State, event: never) => State>
  return (state, event) => byTag[event._tag]!(state, event as never)
}
