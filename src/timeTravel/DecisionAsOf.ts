/**
 * Decision models as of a position or instant.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Command from "../command/Command.ts"
import * as RpcPayload from "../command/RpcPayload.ts"
import type * as AsOf from "../core/AsOf.ts"
import { type AsOfNotReached, type EventStoreError, type InvalidCommand, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type * as Position from "../core/Position.ts"
import type * as Decision from "../decision/DecisionDefinition.ts"
import { fold, rejectUntagged } from "../decision/DecisionModels.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import * as asOfReads from "./asOfReads.ts"
import * as upToDate from "./upToDate.ts"

/**
 * The models of a decision as of a point in time.
 *
 * @since 0.1.0
 * @category models
 */
export interface DecisionAsOf<M extends Decision.Models> extends asOfReads.AsOfPoint {
  /** The state of each model, by its name. */
  readonly states: Decision.States<M>
  /** The events from which each model was folded, oldest first. */
  readonly events: { readonly [K in keyof M]: ReadonlyArray<RecordedEvent<Decision.EventsOf<M>[K]>> }
}

/**
 * Returns the models of a decision as of a position or instant, for a payload of its command. As in the decision itself, all events that the
 * models query are in memory.
 *
 * **Example** (the models behind an enrolment)
 *
 * ```ts
 * const { states } = yield* TimeTravel.decision(Enrol, { courseId, studentId }, AsOf.instant(then))
 * console.log(states.course.enrolled)
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const decision = <C extends Command.Any, Events extends Event.Any, M extends Decision.Models>(
  decision: Decision.Decision<C, Events, M>,
  payload: Command.PayloadInput<C>,
  asOf: AsOf.OfLog
): Effect.Effect<DecisionAsOf<M>, InvalidCommand | AsOfNotReached | EventStoreError, EventStore.EventStore> =>
  Effect.flatMap(
    RpcPayload.commandPayload(decision.command, payload, [decision.events]),
    (valid) => modelsAt(decision.models(valid), asOf)
  )

/**
 * Returns the states of models as of a point in time, with the events of each.
 *
 * @since 0.1.0
 * @category accessors
 */
export const modelsAt = <M extends Decision.Models>(
  models: M,
  asOf: AsOf.OfLog
): Effect.Effect<DecisionAsOf<M>, AsOfNotReached | EventStoreError, EventStore.EventStore> =>
  upToDate.read(
    EventPersonalData.modelsHavePersonalData(models),
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { driver } = store[internals]
      const query = EventQuery.ofStoredTypes(Object.values(models).map((model) => model.query))
      const encodedEvents = query.length === 0
        ? yield* Effect.as(asOfReads.awaitReached(driver, asOf), [])
        : yield* Stream.runCollect(asOfReads.matchesAsOf(store, query, asOf))
      yield* rejectUntagged(driver, models)
      const eventsByModel: Record<string, Array<RecordedEvent<unknown>>> = {}
      for (const name of Object.keys(models)) eventsByModel[name] = []
      const states = yield* fold(models, encodedEvents, {
        onEvent: (model, event) => {
          eventsByModel[model]!.push(event)
        }
      })
      return {
        ...asOfReads.pointOf(encodedEvents[encodedEvents.length - 1]),
        // Both records have one entry for each model, of that model's types.
        states: states as Decision.States<M>,
        events: eventsByModel as DecisionAsOf<M>["events"]
      }
    })
  )

/** Encodes the state of a model with the model's Schema; without one the state must be JSON already. */
const encodeState = (name: string, model: Decision.Model<unknown>, state: unknown) =>
  Result.mapError(
    SchemaFailure.parser(
      model.state ?? Schema.Json,
      Schema.encodeUnknownResult(Schema.toCodecJson(model.state ?? Schema.Json))
    )(state),
    (failure) =>
      invalidRequest(
        model.state === undefined
          ? `the state of the model "${name}" is not JSON, so it cannot be compared: give the model a Schema with the option \`state\``
          : `the state of the model "${name}" does not satisfy its Schema, so it cannot be compared: ${
            SchemaFailure.messageOf(failure, EventPersonalData.hasPersonalData(model.events))
          }`
      )
  )

/**
 * Returns the difference between a decision's models as of two points in time. The paths of the changes begin with a model's name. A model
 * whose state is not plain JSON needs the option `state`.
 *
 * @since 0.1.0
 * @category accessors
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
    const valid = yield* RpcPayload.commandPayload(decision.command, payload, [decision.events])
    const models = decision.models(valid)
    const encoded = Effect.fnUntraced(function*(at: DecisionAsOf<M>) {
      const json: Record<string, Schema.Json> = {}
      for (const [name, model] of Object.entries(models)) {
        json[name] = yield* Effect.fromResult(encodeState(name, model, Reflect.get(at.states, name)))
      }
      return Option.some(json)
    })
    const [before, after] = yield* upToDate.read(
      EventPersonalData.modelsHavePersonalData(models),
      Effect.all([modelsAt(models, from), modelsAt(models, to)])
    )
    return {
      from: before,
      to: after,
      changes: asOfReads.changes(yield* encoded(before), yield* encoded(after)),
      events: Stream.fromIterable(differingEvents(before, after))
    }
  })

/** Returns the events that only one of the two contains, each once, in the order of the log. */
const differingEvents = <M extends Decision.Models>(
  before: DecisionAsOf<M>,
  after: DecisionAsOf<M>
): ReadonlyArray<RecordedEvent<Decision.EventsOf<M>[keyof M]>> => {
  type AnyEvent = RecordedEvent<Decision.EventsOf<M>[keyof M]>
  const positionOf = ({ position }: EncodedEvent) => position
  const positionsIn = ({ events }: DecisionAsOf<M>) =>
    new Set(Object.values<ReadonlyArray<AnyEvent>>(events).flat().map(positionOf))
  const [inBefore, inAfter] = [positionsIn(before), positionsIn(after)]
  const found = new Map<Position.Position, ReadonlyArray<AnyEvent>>()
  for (const { events } of [before, after]) {
    for (const ofModel of Object.values<ReadonlyArray<AnyEvent>>(events)) {
      for (const [position, group] of Map.groupBy(ofModel, positionOf)) {
        if (inBefore.has(position) !== inAfter.has(position) && !found.has(position)) found.set(position, group)
      }
    }
  }
  return Array.from(found.keys()).toSorted((a, b) => a < b ? -1 : 1).flatMap((position) => found.get(position)!)
}
