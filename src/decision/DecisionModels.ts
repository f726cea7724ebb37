/**
 * Reads and folds decision models.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { deepFreeze } from "../core/deepFreeze.ts"
import { type EventStoreError, storeError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { EncodedEvent, RecordedEvent } from "../event/RecordedEvent.ts"
import type { AppendCondition, EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type { AppendError } from "../eventStore/EventAppender.ts"
import type * as EventStore from "../eventStore/EventStore.ts"
import * as UntaggedEvents from "../eventStore/UntaggedEvents.ts"
import * as KeyStoreLookup from "../personalData/KeyStoreLookup.ts"
import type * as DecisionDefinition from "./DecisionDefinition.ts"

/**
 * The states of models by their names, without their types.
 *
 * @since 0.1.0
 * @category models
 */
export type AnyStates = Readonly<Record<string, unknown>>

/**
 * The states of models, and the condition that no other event has matched them since.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadModels {
  readonly states: AnyStates
  /** Undefined if there are no models: then every append meets it. */
  readonly condition: AppendCondition | undefined
  /** The last event in the states. */
  readonly last: LogPosition.LogPosition
}

/**
 * Returns the state of every model before the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const initialStates = (models: DecisionDefinition.Models): AnyStates =>
  Object.fromEntries(Object.entries(models).map(([name, { initial }]) => [name, initial]))

/**
 * Returns the state of every model after the events that match its query. Calls `onEvent` for each event of a model.
 *
 * @since 0.1.0
 * @category combinators
 */
export const fold = (
  models: DecisionDefinition.Models,
  events: ReadonlyArray<EncodedEvent>,
  {
    from = initialStates(models),
    onEvent
  }: { readonly from?: AnyStates; readonly onEvent?: (model: string, recorded: RecordedEvent<Event.Tagged>) => void } =
    {}
): Effect.Effect<AnyStates, EventStoreError> =>
  Effect.suspend(() => {
    const states: Record<string, unknown> = {}
    for (const [name, model] of Object.entries(models)) {
      const codec = EventCodec.make(model.events)
      let state = from[name]
      for (const event of events) {
        if (!EventFilter.matchesItem(model.query, event)) continue
        const decoded = codec.decode(event, model.query.tags)
        if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
        for (const recorded of decoded.success) {
          state = model.evolve(state, recorded.event)
          onEvent?.(name, recorded)
        }
      }
      states[name] = state
    }
    return Effect.succeed(states)
  })

/**
 * Fails with `EventsUntagged` if the log has events that a model does not find, because they were stored without one of its tags.
 *
 * @since 0.1.0
 * @category combinators
 */
export const rejectUntagged = (
  driver: EventStoreDriver,
  models: DecisionDefinition.Models
): Effect.Effect<void, EventStoreError> =>
  UntaggedEvents.reject(
    driver,
    Object.values(models).map(({ events, handles, query, requiredTags }) => ({
      events,
      handles,
      types: query.types ?? [],
      tagNames: requiredTags
    }))
  )

/**
 * Reads models.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reader {
  /** Returns the models. It reads only what is missing: it keeps the states up to the high-water mark of the last read. */
  readonly read: Effect.Effect<ReadModels, EventStoreError>
  /** Returns whether the models that were read last have nothing of a subject that was erased since. */
  readonly isUpToDate: Effect.Effect<boolean, EventStoreError>
  /** Forgets what was read when an append that rests on it has found that the log was set back. Takes the error of the append. */
  readonly appendFailed: (error: AppendError) => void
}

/**
 * Makes the reader of models.
 *
 * @since 0.1.0
 * @category constructors
 */
export const reader = (store: EventStore.EventStore["Service"], models: DecisionDefinition.Models): Reader => {
  const query = EventQuery.ofStoredTypes(Object.values(models).map((model) => model.query))
  const nothing = { states: initialStates(models), after: Position.start, last: LogPosition.start }
  let final = nothing
  // What the earlier reads rest on. A read begins with its high-water mark, and the log up to a mark cannot change unless the log is set back.
  let marks: ReadonlyArray<LogPosition.LogPosition> = []
  const read = Effect.gen(function*() {
    if (query.length === 0) return { states: nothing.states, condition: undefined, last: nothing.last }
    yield* rejectUntagged(store[internals].driver, models)
    const { condition, events } = yield* store[internals].readByQueryAfter(query, final.after, marks)
    const { after } = condition
    // Another event may still appear between those above the mark, so they are folded again at the next read.
    const settled = events.filter(({ position }) => position <= after)
    final = {
      // The next read begins with them, so no `evolve` may change them, in production too.
      states: deepFreeze(yield* fold(models, settled, { from: final.states })),
      after,
      last: lastOf(settled, final.last)
    }
    const states = yield* fold(models, events.slice(settled.length), { from: final.states })
    const basis = [...marks, ...condition.basis ?? []]
    marks = [...marks, ...(condition.basis ?? []).slice(0, 1)]
    return { states, condition: { ...condition, basis }, last: lastOf(events, final.last) }
  })
  const forget = () => {
    final = nothing
    marks = []
  }
  const readOfOneLog = Effect.catchReason(read, "EventStoreError", "LogDiverged", () =>
    Effect.suspend(() => {
      forget()
      return read
    }))
  const { keys } = store[internals]
  const isPersonal = EventPersonalData.modelsHavePersonalData(models)
  let readUnder: string | undefined
  // A subject may be erased between two reads, and while one waits for the server.
  const readUpToDate = KeyStoreLookup.readUpToDate(keys, (lastErasure) => {
    if (lastErasure !== readUnder) forget()
    readUnder = lastErasure
    return readOfOneLog
  })
  return {
    read: isPersonal ? readUpToDate : readOfOneLog,
    isUpToDate: isPersonal ? Effect.map(keys.lastErasure, (now) => now === readUnder) : Effect.succeed(true),
    appendFailed: (error) => {
      if (error._tag === "EventStoreError" && error.reason._tag === "LogDiverged") forget()
    }
  }
}

const lastOf = (events: ReadonlyArray<EncodedEvent>, before: LogPosition.LogPosition): LogPosition.LogPosition => {
  const last = events.at(-1)
  return last === undefined ? before : LogPosition.ofEvent(last)
}
