/**
 * Generates commands to one instance of an aggregate, and the events that a decider decides on them.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import { parseJson } from "../core/json/parseJson.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import { encodeAll, statesOf } from "./modelStates.ts"
import { show } from "./properties.ts"

/**
 * A generated command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sent {
  readonly command: string
  readonly payload: unknown
}

/**
 * Generates sequences of commands to one instance.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commands = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  given: Readonly<Record<string, Arbitrary.Arbitrary<unknown> | undefined>>,
  maxCommands: number
): Arbitrary.Arbitrary<ReadonlyArray<Sent>> => {
  const { group, id } = decider.aggregate
  const all = Array.from(group.requests.values(), (command) => ({
    command: command._tag,
    isValid: Schema.is(Schema.toType(InProcessRpc.payloadSchema(command))),
    payloads: given[command._tag] ?? Arbitrary.schema(InProcessRpc.payloadSchema(command))
  }))
  const one = Arbitrary.flatMap(
    Arbitrary.schema(Schema.Literals(all.map((_, index) => index))),
    (index) => Arbitrary.map(all[index]!.payloads, (payload) => ({ ...all[index]!, payload }))
  )
  return Arbitrary.map(Arbitrary.array(one, { maxLength: maxCommands }), (generated) => {
    const instance = generated.map(({ payload }) => idOf(payload, id)).find(Predicate.isString)
    return generated.map(({ command, isValid, payload }): Sent => {
      const ours = Predicate.isObject(payload) && instance !== undefined ? { ...payload, [id]: instance } : payload
      return { command, payload: isValid(ours) ? ours : payload }
    })
  })
}

const idOf = (payload: unknown, id: string): unknown => Predicate.hasProperty(payload, id) ? payload[id] : undefined

/**
 * Returns a function from commands to the events that the decider decides, after encoding and decoding. It fails with the fault of a decision.
 *
 * @since 0.1.0
 * @category constructors
 */
export const decideAll = <State, Events extends Event.Any, C extends Command.Any>(
  decider: AggregateDecider<State, Events, C>,
  state: Schema.Codec<State, unknown>
): (sent: ReadonlyArray<Sent>) => Result.Result<ReadonlyArray<Event.Of<Events>>, string> => {
  const codec = EventCodec.make(decider.aggregate.events)
  const isState = Schema.is(Schema.toType(state))

  /** Returns the event after encoding and decoding. */
  const stored = (event: Event.Of<Events>): Result.Result<ReadonlyArray<Event.Of<Events>>, string> =>
    codec.encode(event).pipe(
      Result.mapError((failure) => `which does not satisfy its Schema: ${failure}`),
      Result.flatMap((encoded) =>
        codec.decodeData({ ...encoded, data: parseJson(JSON.stringify(encoded.data)) }).pipe(
          Result.mapError(({ detail }) => `which does not decode: ${detail}`)
        )
      )
    )

  const evolved = (before: State, events: ReadonlyArray<Event.Of<Events>>): Result.Result<State, string> => {
    try {
      const after = Decider.fold(decider, events, before)
      return isState(after)
        ? Result.succeed(after)
        : Result.fail(`after which the state does not satisfy its Schema: ${show(after)}`)
    } catch (cause) {
      return Result.fail(`on which evolve throws: ${String(cause)}`)
    }
  }

  const decided = (
    current: State,
    history: ReadonlyArray<Event.Of<Events>>,
    { command, payload }: Sent
  ): Result.Result<ReadonlyArray<Event.Of<Events>>, string> => {
    try {
      // The payload was generated for this command.
      const models = decider.modelsOf(command as C["_tag"], payload)
      const states = models && statesOf(models, encodeAll(decider.aggregate.events, history))
      const decision = Decider.decide(decider, current, command as C["_tag"], payload as Command.Payload<C>, states)
      return Result.succeed(Result.getOrElse(decision, () => []))
    } catch (cause) {
      return Result.fail(`: decide throws: ${String(cause)}`)
    }
  }

  return (sent) =>
    Result.gen(function*() {
      const history: Array<Event.Of<Events>> = []
      let current = decider.initial
      for (const one of sent) {
        const before = `${one.command} ${show(one.payload)} on ${show(current)}`
        for (const event of yield* Result.mapError(decided(current, history, one), (wrong) => `${before}${wrong}`)) {
          const lead = (wrong: string) => `${before} decides ${show(event)}, ${wrong}`
          const events = yield* Result.mapError(stored(event), lead)
          history.push(...events)
          current = yield* Result.mapError(evolved(current, events), lead)
        }
      }
      return history
    })
}
