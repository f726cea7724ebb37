/**
 * The pure functions of an aggregate: the initial state, the state after an event, and the decision of a command on a state.
 *
 * The shape is Jérémie Chassaing's decider ("Functional Event Sourcing Decider", 2021).
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Command from "../command/Command.ts"
import { deepFreeze, freezeOutsideProduction } from "../core/deepFreeze.ts"
import type * as SchemaIssues from "../core/schemaIssues.ts"
import * as userCode from "../core/userCode.ts"
import type * as DecisionDefinition from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"

/**
 * One function for each event type; it returns the state after the event.
 *
 * @since 0.1.0
 * @category models
 */
export type Evolve<State, E extends Event.Tagged> = {
  readonly [K in E["_tag"]]: (state: State, event: Extract<E, { readonly _tag: K }>) => State
}

/**
 * The outcome of a command: events, or an error that the command declares. Without events nothing is appended.
 *
 * @since 0.1.0
 * @category models
 */
export type Decision<Error, E> = DecisionDefinition.Outcome<Error, E>

/**
 * The functions of `Decide` without the types of their models.
 *
 * @since 0.1.0
 * @category models
 */
export type ErasedDecide<State, E, C extends Command.Any> = {
  readonly [
    // A method is compared bivariantly: the models of a command are those of its decider, which this type does not know.
    R in C as R["_tag"]
  ]: {
    decide(state: State, command: Command.Payload<R>, models?: unknown): Decision<Command.DeclaredError<R>, E>
  }["decide"]
}

/**
 * The decision models of commands, by the names of the commands.
 *
 * @since 0.1.0
 * @category models
 */
export type ModelsByCommand<C extends Command.Any> = {
  readonly [R in C as R["_tag"]]?: (command: Command.Payload<R>) => DecisionDefinition.Models
}

/**
 * One pure function for each command. It reads no clock and draws no ids: these come in with the command. That of a command with models receives
 * their states as its third argument.
 *
 * @since 0.1.0
 * @category models
 */
export type Decide<State, E, C extends Command.Any, M = {}> = {
  readonly [R in C as R["_tag"]]: (
    state: State,
    command: Command.Payload<R>,
    ...models: StatesOf<M, R["_tag"]>
  ) => Decision<Command.DeclaredError<R>, E>
}

type StatesOf<M, Tag extends string> = Tag extends keyof M
  ? M[Tag] extends (command: never) => infer Models ? [models: DecisionDefinition.States<Models>] : []
  : []

/**
 * A decider.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decider<State, E extends Event.Tagged, C extends Command.Any> {
  /** The state before the first event. */
  readonly initial: State
  /** Returns the state after an event. */
  readonly evolve: (state: State, event: E) => State
  /** The decision of each command, by its name. */
  readonly decide: ErasedDecide<State, E, C>
}

/**
 * Returns the state after events, folded from `initial` or from a given state.
 *
 * @since 0.1.0
 * @category combinators
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
 * Returns the decision of a command on a state and on the states of its models, always as a `Result`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const decide = <State, E extends Event.Tagged, C extends Command.Any, Tag extends C["_tag"]>(
  decider: Decider<State, E, C>,
  state: State,
  command: Tag,
  payload: Command.Payload<Extract<C, { readonly _tag: Tag }>>,
  models?: Readonly<Record<string, unknown>>
): Result.Result<ReadonlyArray<E>, Command.DeclaredError<Extract<C, { readonly _tag: Tag }>>> => {
  type Error = Command.DeclaredError<Extract<C, { readonly _tag: Tag }>>
  // `Decide` has a function for this tag with this payload and error; a lookup by a generic tag loses the correlation.
  const byCommand = decider.decide as Record<
    string,
    (state: State, command: unknown, models: unknown) => Decision<Error, E>
  >
  const decision = byCommand[command]!(state, payload, models)
  return Result.isResult(decision) ? decision : Result.succeed(decision)
}

/**
 * Makes one `evolve` function from a function for each event type.
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

/**
 * Returns `evolve` with its states frozen, because commands share them. In production only the loader freezes a state: the last one of a load or
 * an append. An error that `evolve` throws names the aggregate and the event, and quotes no personal data.
 *
 * @since 0.1.0
 * @category combinators
 */
export const guardEvolve = <State, E extends Event.Tagged>(
  aggregate: string,
  hasPersonalData: boolean,
  definitions: SchemaIssues.Definitions,
  evolve: (state: State, event: E) => State
): (state: State, event: E) => State =>
(state, event) =>
  freezeOutsideProduction(
    userCode.run(
      `evolve of "${aggregate}" on "${event._tag}"`,
      hasPersonalData,
      () => evolve(state, event),
      definitions
    )
  )

/**
 * Returns `decide` with errors that name the aggregate and the command, and quote no personal data. It freezes the states before it calls `decide`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const guardDecide = <State, E, C extends Command.Any>(
  aggregate: string,
  hasPersonalData: (command: string) => boolean,
  definitions: SchemaIssues.Definitions,
  decide: ErasedDecide<State, E, C>
): ErasedDecide<State, E, C> => {
  type DecideOne = (state: State, command: never, models: unknown) => unknown
  const guarded: Record<string, DecideOne> = {}
  for (const [name, decideOne] of Object.entries<DecideOne>(decide)) {
    guarded[name] = (state, command, models) =>
      userCode.run(
        `decide of "${aggregate}" on "${name}"`,
        hasPersonalData(name),
        () => decideOne(deepFreeze(state), command, deepFreeze(models)),
        definitions
      )
  }
  // The same functions under the same names.
  return guarded as ErasedDecide<State, E, C>
}
