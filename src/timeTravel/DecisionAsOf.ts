/**
 * What decisions rest on, as it was.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type * as AsOf from "../core/AsOf.ts"
import { type AsOfNotReached, type EventStoreError, type InvalidCommand, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type * as Position from "../core/Position.ts"
import type * as Decision from "../decision/DecisionDefinition.ts"
import { fold } from "../decision/DecisionHandler.ts"
import type * as Event from "../event/Event.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as asOfReads from "./asOfReads.ts"

/**
 * What a decision would have rested on at a moment.
 *
 * - `states`: of its models, by their names
 * - `events`: those that each model was folded from, oldest first
 *
 * @since 0.1.0
 * @category models
 */
export interface DecisionAsOf<M extends Decision.Models> extends asOfReads.AsOfPoint {
  readonly states: Decision.States<M>
  readonly events: { readonly [K in keyof M]: ReadonlyArray<RecordedEvent<Decision.EventsOf<M>[K]>> }
}

/**
 * The states of a decision's models at a moment of the log, for a payload of its command. Like the decision itself it holds all events that
 * the models ask for.
 *
 * **Example** (what an enrolment rested on)
 *
 * ```ts
 * const { states } = yield* TimeTravel.decision(Enrol, { courseId, studentId }, AsOf.instant(then))
 * console.log(states.course.enrolled)
 * ```
 *
 * @since 0.1.0
 * @category decisions
 */
export const decision = <C extends Command.Any, Events extends Event.Any, M extends Decision.Models>(
  decision: Decision.Decision<C, Events, M>,
  payload: Command.PayloadInput<C>,
  asOf: AsOf.OfLog
): Effect.Effect<DecisionAsOf<M>, InvalidCommand | AsOfNotReached | EventStoreError, EventStore.EventStore> =>
  Effect.flatMap(
    InProcessRpc.commandPayload(decision.command, payload),
    (valid) => modelsAt(decision.models(valid), asOf)
  )

/**
 * Models at a moment.
 *
 * @since 0.1.0
 * @category decisions
 */
export const modelsAt = <M extends Decision.Models>(
  models: M,
  asOf: AsOf.OfLog
): Effect.Effect<DecisionAsOf<M>, AsOfNotReached | EventStoreError, EventStore.EventStore> =>
  Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const query = Object.values(models).map((model) => model.query)
    const recorded = yield* Stream.runCollect(asOfReads.matches(driver, query, asOf))
    const taken: Record<string, Array<RecordedEvent<unknown>>> = {}
    for (const name of Object.keys(models)) taken[name] = []
    const states = yield* fold(models, recorded, (model, record) => taken[model]!.push(record))
    return {
      ...asOfReads.pointOf(recorded[recorded.length - 1]),
      // Both were made from these very models, under their names, by their own events.
      states: states as Decision.States<M>,
      events: taken as DecisionAsOf<M>["events"]
    }
  })

/**
 * The state of a model as JSON: by the model's Schema, or as it is where it is JSON.
 */
const encodeState = (name: string, model: Decision.Model<unknown>, state: unknown) =>
  Result.mapError(
    Schema.encodeUnknownResult(Schema.toCodecJson(model.state ?? Schema.Json))(state),
    ({ message }) =>
      invalidRequest(
        model.state === undefined
          ? `the state of the model "${name}" is no JSON and cannot be compared: give the model its Schema, as \`state\``
          : `the state of the model "${name}" does not satisfy its Schema and cannot be compared: ${message}`
      )
  )

/**
 * What differs between two moments of a decision's models: the paths of the changes begin with a model's name. A model whose state is no plain
 * JSON needs its Schema, `state`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const decisionDiff = <C extends Command.Any, Events extends Event.Any, M extends Decision.Models>(
  decision: Decision.Decision<C, Events, M>,
  payload: Command.PayloadInput<C>,
  { from, to }: asOfReads.Between<AsOf.OfLog>
): Effect.Effect<
  asOfReads.Difference<DecisionAsOf<M>, Decision.EventsOf<M>[keyof M]>,
  InvalidCommand | AsOfNotReached | EventStoreError,
  EventStore.EventStore
> =>
  Effect.gen(function*() {
    const valid = yield* InProcessRpc.commandPayload(decision.command, payload)
    const models = decision.models(valid)
    const encoded = Effect.fnUntraced(function*(at: DecisionAsOf<M>) {
      const json: Record<string, Schema.Json> = {}
      for (const [name, model] of Object.entries(models)) {
        json[name] = yield* Effect.fromResult(encodeState(name, model, Reflect.get(at.states, name)))
      }
      return Option.some(json)
    })
    const [before, after] = [yield* modelsAt(models, from), yield* modelsAt(models, to)]
    return {
      from: before,
      to: after,
      changes: asOfReads.changes(yield* encoded(before), yield* encoded(after)),
      events: Stream.fromIterable(differing(before, after))
    }
  })

/** The events of the one and not of the other, once each, in the order of the log. */
const differing = <M extends Decision.Models>(
  a: DecisionAsOf<M>,
  b: DecisionAsOf<M>
): ReadonlyArray<RecordedEvent<Decision.EventsOf<M>[keyof M]>> => {
  type Record = RecordedEvent<Decision.EventsOf<M>[keyof M]>
  const all = (at: DecisionAsOf<M>) => Object.values<ReadonlyArray<Record>>(at.events).flat()
  const keyOf = ({ position }: EncodedEvent) => position
  const [inA, inB] = [new Set(all(a).map(keyOf)), new Set(all(b).map(keyOf))]
  const found = new Map<Position.Position, ReadonlyArray<Record>>()
  for (const at of [a, b]) {
    for (const records of Object.values<ReadonlyArray<Record>>(at.events)) {
      for (const [position, group] of Map.groupBy(records, keyOf)) {
        if (inA.has(position) !== inB.has(position) && !found.has(position)) found.set(position, group)
      }
    }
  }
  return Array.from(found.keys()).toSorted((x, y) => x < y ? -1 : 1).flatMap((position) => found.get(position)!)
}
