/**
 * Properties of a decider, checked in the states that generated commands lead to, as tests for any runner.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import type { Case } from "../conformance/Suite.ts"
import { parseJson } from "../core/json/parseJson.ts"
import type * as Event from "../event/Event.ts"
import * as DeciderHistory from "./DeciderHistory.ts"
import * as properties from "./properties.ts"
import { SpecFailed } from "./SpecFailed.ts"
import * as storedVersions from "./storedVersions.ts"

/**
 * Options of the generated commands.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<State, C extends Command.Any> extends properties.Options {
  /** The Schema of the state, as the aggregate has it. */
  readonly state: Schema.Codec<State, unknown>
  /**
   * Generators of payloads, by the name of the command. Give one where a payload's Schema is so wide that most commands are rejected. The
   * field with the aggregate's id is replaced, so that all commands of a history are for one instance.
   */
  readonly commands?: { readonly [R in C as R["_tag"]]?: Arbitrary.Arbitrary<Command.Payload<R>> } | undefined
  /** The highest number of commands in a history; 20 by default. */
  readonly maxCommands?: number | undefined
  /** The lowest number of generated histories with events; a fifth of `runs` by default. With fewer the property fails. */
  readonly minHistoriesWithEvents?: number | undefined
}

/**
 * Returns the properties of a decider:
 *
 * - Every decided event satisfies its Schema, and `evolve` returns a valid state for it.
 * - A stored state and the events after it lead to the same state as all events.
 * - Events lead to the same state in batches of any size.
 *
 * A property fails if too few of the generated histories contain events.
 *
 * **Example** (with vitest)
 *
 * ```ts
 * for (const { name, test } of DeciderProperties.all(UserDecider, { state: UserState })) it.effect(name, () => test)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const all = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  options: Options<State, C>
): ReadonlyArray<Case<never>> => {
  const { name } = decider.aggregate
  const decideAll = DeciderHistory.decideAll(decider, options.state)
  const sent = DeciderHistory.commands(decider, options.commands ?? {}, options.maxCommands ?? 20)
  const cuts = Arbitrary.array(Arbitrary.schema(Schema.Boolean))

  /** Returns a property of histories. A history with a faulty decision fails the first property only. */
  const ofHistories = (propertyName: string, property: Property<Event.Of<Events>>): Case<never> => ({
    name: propertyName,
    test: Effect.suspend(() => {
      let withEvents = 0
      const checked = properties.check(propertyName, Arbitrary.all({ sent, cuts }), ({ cuts, sent }) => {
        const decided = decideAll(sent)
        if (Result.isFailure(decided) || decided.success.length > 0) withEvents++
        return property(decided, cuts)
      }, options)
      return Effect.andThen(checked, Effect.suspend(() => enoughEvents(propertyName, withEvents, options)))
    })
  })

  const ofStates = (
    wrong: (history: ReadonlyArray<Event.Of<Events>>, cuts: ReadonlyArray<boolean>) => string | undefined
  ): Property<Event.Of<Events>> =>
  (decided, cuts) => Result.isFailure(decided) ? undefined : wrong(decided.success, cuts)

  const stateJson = Schema.toCodecJson(options.state)
  const codec = { encode: Schema.encodeResult(stateJson), decode: Schema.decodeUnknownResult(stateJson) }
  return properties.of([
    ofHistories(
      `${name}: decides only events that its evolve accepts`,
      (decided) => Result.isFailure(decided) ? decided.failure : undefined
    ),
    ofHistories(
      `${name}: a stored state and the events after it lead to the same state as all events`,
      ofStates((history) => wrongAfterStoring(decider, codec, history))
    ),
    ofHistories(
      `${name}: events lead to the same state in batches of any size`,
      ofStates((history, cuts) => wrongInBatches(decider, codec, history, cuts))
    )
  ], options)
}

/** Returns the fault of the decisions, or `undefined`. */
type Property<E> = (
  decided: Result.Result<ReadonlyArray<E>, string>,
  cuts: ReadonlyArray<boolean>
) => string | undefined

const enoughEvents = <State, C extends Command.Any>(
  name: string,
  withEvents: number,
  options: Options<State, C>
): Effect.Effect<void, SpecFailed> => {
  const runs = options.runs ?? properties.defaultRuns
  const min = options.minHistoriesWithEvents ?? Math.ceil(runs / 5)
  if (withEvents >= min || properties.isReplayOf(name, options)) return Effect.void
  const message =
    `Too few of the generated histories contain events. Most commands were rejected or decided nothing: give generators of `
    + `their payloads as \`commands\`, raise \`maxCommands\` or \`runs\`, or lower \`minHistoriesWithEvents\``
  return Effect.fail(new SpecFailed(message, `at least ${min} of ${runs} histories with events`, withEvents))
}

interface StateCodec<State> {
  readonly encode: (state: State) => Result.Result<unknown, Schema.SchemaError>
  readonly decode: (json: unknown) => Result.Result<State, Schema.SchemaError>
}

type AnyDecider<State, E extends Event.Tagged> = Pick<Decider.Decider<State, E, Command.Any>, "initial" | "evolve">

const wrongAfterStoring = <State, E extends Event.Tagged>(
  decider: AnyDecider<State, E>,
  codec: StateCodec<State>,
  history: ReadonlyArray<E>
): string | undefined => {
  const expected = folded(decider, codec, history)
  for (let cut = 0; cut <= history.length; cut++) {
    const encoded = codec.encode(Decider.fold(decider, history.slice(0, cut)))
    if (Result.isFailure(encoded)) {
      return `the state after ${cut} events cannot be encoded: ${encoded.failure.message}`
    }
    const decoded = codec.decode(parseJson(JSON.stringify(encoded.success) ?? "null"))
    if (Result.isFailure(decoded)) {
      return `the state after ${cut} events cannot be decoded: ${decoded.failure.message}`
    }
    const state = Decider.fold(decider, history.slice(cut), decoded.success)
    const how = `the stored state after ${cut} events and the events after it`
    const wrong = difference(codec, expected, state, how)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

const wrongInBatches = <State, E extends Event.Tagged>(
  decider: AnyDecider<State, E>,
  codec: StateCodec<State>,
  history: ReadonlyArray<E>,
  cuts: ReadonlyArray<boolean>
): string | undefined => {
  const expected = folded(decider, codec, history)
  const ways = [
    ...history.map((_, cut) => history.map((_, i) => i === cut)),
    history.map(() => true),
    history.map((_, i) => cuts[i] === true)
  ]
  for (const way of ways) {
    let state = decider.initial
    let from = 0
    for (const to of [...way.flatMap((isCut, i) => isCut ? [i] : []), history.length]) {
      state = Decider.fold(decider, history.slice(from, to), state)
      from = to
    }
    const wrong = difference(codec, expected, state, `${history.length} events, cut at ${JSON.stringify(way)},`)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

interface Folded<State> {
  readonly state: State
  readonly text: string | undefined
  readonly shown: string
}

const textOf = <State>({ encode }: StateCodec<State>, state: State): string | undefined =>
  Result.getOrUndefined(
    // The Schema encodes to JSON.
    Result.map(encode(state), (json) => storedVersions.stable(json as Schema.Json))
  )

/** Computes the texts of a state at once, because a faulty `evolve` may mutate the state later. */
const folded = <State, E extends Event.Tagged>(
  decider: AnyDecider<State, E>,
  codec: StateCodec<State>,
  history: ReadonlyArray<E>
): Folded<State> => {
  const state = Decider.fold(decider, history)
  return { state, text: textOf(codec, state), shown: properties.show(state) }
}

const difference = <State>(
  codec: StateCodec<State>,
  expected: Folded<State>,
  actual: State,
  how: string
): string | undefined => {
  const text = textOf(codec, actual)
  if (Equal.equals(expected.state, actual) && expected.text === text) return undefined
  const shown = properties.show(actual)
  if (expected.shown !== shown) {
    const lead = `${how} lead to ${shown} instead of ${expected.shown}`
    return expected.text === text && text !== undefined
      ? `${lead}. Both are encoded as ${text}: the Schema omits a part of the state`
      : lead
  }
  return expected.text === text
    ? `${how} lead to a different state that prints equally: ${shown}. A part of it cannot be compared`
    : `${how} lead to a state encoded as ${text} instead of ${expected.text}`
}
