/**
 * Decision models on events that are not in a store.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as DecisionDefinition from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventFilter from "../event/EventFilter.ts"
import { encode } from "./eventRoundTrip.ts"
import { SpecFailed } from "./SpecFailed.ts"

/**
 * An event as a store would hold it, without its place in the log.
 *
 * @since 0.1.0
 * @category models
 */
export type EncodedModelEvent = EventCodec.EncodedPayload

/**
 * Encodes events as a store does. Throws `SpecFailed` on an event that does not satisfy its Schema.
 *
 * @since 0.1.0
 * @category constructors
 */
export const encodeAll = <Events extends Event.Any>(
  events: Events,
  batch: ReadonlyArray<Event.Of<Events>>
): ReadonlyArray<EncodedModelEvent> => batch.map((event) => encode(events, event))

/**
 * Returns the states of models after events, selected and decoded as in a store.
 *
 * @since 0.1.0
 * @category accessors
 */
export const statesOf = <M extends DecisionDefinition.Models>(
  models: M,
  events: ReadonlyArray<EncodedModelEvent>
): DecisionDefinition.States<M> => {
  const states: Record<string, unknown> = {}
  for (const [name, model] of Object.entries<DecisionDefinition.Model<unknown>>(models)) {
    const codec = EventCodec.make(model.events)
    let state = model.initial
    for (const event of events) {
      if (!EventFilter.matchesItem(model.query, { type: event.type, tags: event.tags ?? [] })) continue
      const decoded = codec.decodeData(event, model.query.tags)
      if (Result.isFailure(decoded)) throw new SpecFailed(decoded.failure.detail, "an event that decodes again", event)
      state = decoded.success.reduce((state, one) => model.evolve(state, one), state)
    }
    states[name] = state
  }
  // One state for each model, under its name.
  return states as DecisionDefinition.States<M>
}
