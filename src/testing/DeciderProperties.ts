/**
 * What must hold of a decider in every state that commands can bring it to, as tests for any runner. The commands are generated from the Schemas
 * of their payloads.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type { Case } from "../conformance/Suite.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as properties from "./properties.ts"
import * as storedVersions from "./storedVersions.ts"

/**
 * - `state`: the Schema of the state, as the aggregate has it
 * - `commands`: how to generate payloads, by the name of the command, where their Schemas are too wide to lead anywhere; the field with the
 *   aggregate's id is replaced, so that all commands are one instance's
 * - `most`: how many commands a history is made by at most; 20 by default
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<State, C extends Command.Any> extends properties.Options {
  readonly state: Schema.Codec<State, unknown>
  readonly commands?: { readonly [R in C as R["_tag"]]?: Arbitrary.Arbitrary<Command.Payload<R>> } | undefined
  readonly most?: number | undefined
}

/**
 * The properties of a decider.
 *
 * - it decides on no event that breaks its own Schema, or on which its own `evolve` throws, or that leads to what is no state
 * - a state that was kept and read again, and then the events after it, lead to the same state as all events
 * - so do the events in batches, wherever they are cut
 *
 * **Example** (with vitest)
 *
 * ```ts
 * for (const { name, test } of DeciderProperties.all(UserDecider, { state: UserState })) it.effect(name, () => test)
 * ```
 *
 * @since 0.1.0
 * @category properties
 */
export const all = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  options: Options<State, C>
): ReadonlyArray<Case<never>> => {
  const { events, name } = decider.aggregate
  const codec = EventCodec.make(events)
  const stateJson = Schema.toCodecJson(options.state)
  const [encodeState, decodeState] = [Schema.encodeResult(stateJson), Schema.decodeUnknownResult(stateJson)]
  const isState = Schema.is(Schema.toType(options.state))

  /** The events that the commands lead to, as they are read again from a log; or what was wrong with one of them. */
  const run = (commands: ReadonlyArray<Sent>): Result.Result<ReadonlyArray<Event.Of<Events>>, string> => {
    const history: Array<Event.Of<Events>> = []
    let state = decider.initial
    for (const { command, payload } of commands) {
      const sent = `${command} ${properties.show(payload)} on ${properties.show(state)}`
      try {
        // The payload was generated for this command.
        const decision = Decider.decide(decider, state, command as C["_tag"], payload as Command.Payload<C>)
        for (const event of Result.getOrElse(decision, () => [])) {
          const wrong = (what: string) => Result.fail(`${sent} decides ${properties.show(event)}, ${what}`)
          const encoded = codec.encode(event)
          if (Result.isFailure(encoded)) return wrong(`which breaks its Schema: ${encoded.failure}`)
          const data = JSON.parse(JSON.stringify(encoded.success.data)) as Schema.Json
          const decoded = codec.decodeData({ ...encoded.success, data })
          if (Result.isFailure(decoded)) return wrong(`which cannot be read again: ${decoded.failure.detail}`)
          history.push(...decoded.success)
          try {
            state = Decider.fold(decider, decoded.success, state)
          } catch (cause) {
            return wrong(`on which evolve throws: ${String(cause)}`)
          }
          if (!isState(state)) return wrong(`which leads to what is no state: ${properties.show(state)}`)
        }
      } catch (cause) {
        return Result.fail(`${sent}: decide throws: ${String(cause)}`)
      }
    }
    return Result.succeed(history)
  }

  /** A property of histories; those that break the first property are that property's. */
  const ofHistories = (
    propertyName: string,
    property: (history: ReadonlyArray<Event.Of<Events>>, cuts: ReadonlyArray<boolean>) => string | undefined
  ): Case<never> => ({
    name: propertyName,
    test: Effect.suspend(() =>
      properties.check(
        propertyName,
        Arbitrary.all({ sent: sendingOf(decider, options), cuts: Arbitrary.array(Arbitrary.schema(Schema.Boolean)) }),
        ({ cuts, sent }) =>
          Result.match(run(sent), { onFailure: () => undefined, onSuccess: (all) => property(all, cuts) }),
        options
      )
    )
  })

  const textOf = (state: State): string | undefined =>
    Result.getOrUndefined(Result.map(encodeState(state), (json) => storedVersions.stable(json)))

  /** A state, and its texts as they were when it was made, which an `evolve` that changes the state that it is given does not change. */
  const folded = (history: ReadonlyArray<Event.Of<Events>>) => {
    const state = Decider.fold(decider, history)
    return { state, text: textOf(state), shown: properties.show(state) }
  }

  const differs = (expected: ReturnType<typeof folded>, actual: State, how: string): string | undefined => {
    const text = textOf(actual)
    if (Equal.equals(expected.state, actual) && expected.text === text) return undefined
    const shown = properties.show(actual)
    if (expected.shown !== shown) {
      const lead = `${how} lead to ${shown}, and not to ${expected.shown}`
      return expected.text === text && text !== undefined
        ? `${lead}. Both are encoded as ${text}: the state has something that its Schema leaves out`
        : lead
    }
    return expected.text === text
      ? `${how} lead to another state, which looks the same: ${shown}. It has something that cannot be compared`
      : `${how} lead to what is encoded as ${text}, and not as ${expected.text}`
  }

  const rejects = `${name}: decides on nothing that its own evolve rejects`
  return properties.of([
    {
      name: rejects,
      test: Effect.suspend(() =>
        properties.check(
          rejects,
          sendingOf(decider, options),
          (sent) => Result.match(run(sent), { onFailure: (wrong) => wrong, onSuccess: () => undefined }),
          options
        )
      )
    },
    ofHistories(`${name}: a kept state and the events after it lead to the same state as all events`, (history) => {
      const expected = folded(history)
      for (let cut = 0; cut <= history.length; cut++) {
        const encoded = encodeState(Decider.fold(decider, history.slice(0, cut)))
        if (Result.isFailure(encoded)) {
          return `the state after ${cut} events cannot be kept: ${encoded.failure.message}`
        }
        const kept = decodeState(JSON.parse(JSON.stringify(encoded.success) ?? "null"))
        if (Result.isFailure(kept)) {
          return `the state after ${cut} events cannot be read again: ${kept.failure.message}`
        }
        const state = Decider.fold(decider, history.slice(cut), kept.success)
        const wrong = differs(expected, state, `the state after ${cut} events, read again, and the events after it`)
        if (wrong !== undefined) return wrong
      }
      return undefined
    }),
    ofHistories(`${name}: events lead to the same state in batches, wherever they are cut`, (history, cuts) => {
      const expected = folded(history)
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
        const wrong = differs(expected, state, `${history.length} events, cut at ${JSON.stringify(way)},`)
        if (wrong !== undefined) return wrong
      }
      return undefined
    })
  ], options)
}

interface Sent {
  readonly command: string
  readonly payload: unknown
}

/** Commands to one instance. */
const sendingOf = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  options: Options<State, C>
): Arbitrary.Arbitrary<ReadonlyArray<Sent>> => {
  const { group, id } = decider.aggregate
  const given: Readonly<Record<string, Arbitrary.Arbitrary<unknown> | undefined>> = options.commands ?? {}
  const commands = Array.from(group.requests.values(), (command) => ({
    command: command._tag,
    isValid: Schema.is(Schema.toType(InProcessRpc.payloadSchema(command))),
    payloads: given[command._tag] ?? Arbitrary.schema(InProcessRpc.payloadSchema(command))
  }))
  const one = Arbitrary.flatMap(
    Arbitrary.schema(Schema.Literals(commands.map((_, index) => index))),
    (index) => Arbitrary.map(commands[index]!.payloads, (payload) => ({ ...commands[index]!, payload }))
  )
  return Arbitrary.map(Arbitrary.array(one, { maxLength: options.most ?? 20 }), (all) => {
    const instance = all.map(({ payload }) => idOf(payload, id)).find(Predicate.isString)
    return all.map(({ command, isValid, payload }): Sent => {
      const ours = Predicate.isObject(payload) && instance !== undefined ? { ...payload, [id]: instance } : payload
      return { command, payload: isValid(ours) ? ours : payload }
    })
  })
}

const idOf = (payload: unknown, id: string): unknown => Predicate.hasProperty(payload, id) ? payload[id] : undefined
