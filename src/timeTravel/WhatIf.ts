/**
 * What-if commands: decided as of a point in time, without writing anything.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import type { Loaded } from "../aggregate/AggregateState.ts"
import * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import * as RpcPayload from "../command/RpcPayload.ts"
import * as AsOf from "../core/AsOf.ts"
import {
  type AsOfNotReached,
  ConcurrencyConflict,
  EventStoreError,
  type InvalidCommand,
  invalidRequest,
  storeError,
  StreamClosed
} from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { parseJson } from "../core/json/parseJson.ts"
import type { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import type * as Decision from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventFilter from "../event/EventFilter.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import { encodeEvents } from "../eventStore/AppendCodec.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import { stateAt } from "./AggregateAsOf.ts"
import { pinned, versionAsOf } from "./asOfReads.ts"
import { type DecisionAsOf, modelsAt } from "./DecisionAsOf.ts"
import * as upToDate from "./upToDate.ts"

/**
 * The result of a what-if command on an aggregate instance. Pass it to `whatIf` to try another command on its state.
 *
 * @since 0.1.0
 * @category models
 */
export interface WhatIfResult<State, out E> {
  readonly _tag: "WhatIf"
  readonly stream: string
  /** The stored state on which the first command of the sequence was tried. */
  readonly start: Loaded<State>
  /** The state on which this command was decided. */
  readonly before: State
  /** The events that the command would write; empty if it would write nothing. */
  readonly events: ReadonlyArray<E>
  /** The state after these events. */
  readonly state: State
  /** The log on which decision models are folded: what is stored as of a point in time, and then the events of the sequence. */
  readonly log: { readonly asOf: AsOf.OfLog; readonly events: ReadonlyArray<EventCodec.EncodedPayload> }
}

/**
 * The result of a what-if command of a decision.
 *
 * @since 0.1.0
 * @category models
 */
export interface WhatIfDecisionResult<M extends Decision.Models, out E> {
  /** The models on which the command was decided. */
  readonly before: DecisionAsOf<M>
  /** The events that the command would write; empty if it would write nothing. */
  readonly events: ReadonlyArray<E>
  /** The states of the models after these events. */
  readonly states: Decision.States<M>
}

/** A placeholder: no event is written, so none needs an id. */
const noId = () => "00000000-0000-0000-0000-000000000000"

/** Encodes events and checks them against the limits, as an append does. */
const encodeAsAppend = <Events extends Event.Any>(events: Events, batch: ReadonlyArray<Event.Of<Events>>) =>
  Effect.gen(function*() {
    if (batch.length === 0) return []
    const all = yield* Effect.fromResult(
      Result.mapError(encodeEvents(EventCodec.make(events), batch, "{}", noId), invalidRequest)
    )
    const rejection = Limits.checkAppend(yield* Limits.Limits, all, undefined)
    if (rejection !== undefined) return yield* rejection
    return all.map(({ data, schemaVersion, tags = [], type }): EventCodec.EncodedPayload => ({
      type,
      schemaVersion,
      tags,
      // `encodeAll` wrote the text with JSON.stringify.
      data: parseJson(data)
    }))
  })

/** Decodes encoded events again, because encoding may change a value: a date loses its microseconds. */
const decodeAgain = <E extends Event.Tagged>(
  codec: EventCodec.EventCodec<E>,
  events: ReadonlyArray<EventCodec.EncodedPayload>
) =>
  Effect.forEach(
    events,
    (event) =>
      Effect.fromResult(Result.mapError(codec.decodeData(event), ({ detail }) =>
        invalidRequest(`the event "${event.type}" does not decode after encoding: ${detail}`)))
  ).pipe(
    Effect.map((read) =>
      read.flat()
    )
  )

/** Returns the states of models after further events, which are not stored. */
const foldFurther = Effect.fnUntraced(function*(
  models: Decision.Models,
  from: Readonly<Record<string, unknown>>,
  further: ReadonlyArray<EventCodec.EncodedPayload>
) {
  const states: Record<string, unknown> = {}
  for (const [name, model] of Object.entries(models)) {
    const matching = further.filter((event) => EventFilter.matchesItem(model.query, event))
    const decoded = yield* decodeAgain(EventCodec.make(model.events), matching)
    states[name] = decoded.reduce<unknown>((state, event) => model.evolve(state, event), from[name])
  }
  return states
})

/**
 * Returns what a command would do to an aggregate instance as of a point in time, or after another what-if command. The given decider
 * decides; it need not be the one in production. `whatIf` fails as `CommandBus.dispatch` would, except that it does not ask the key store
 * about erased subjects. It writes nothing and needs no handler. Decision models of the command are as of the same point in time; as of a version,
 * they are as of the position of that version's event.
 *
 * **Example** (cancel an order before it was shipped, then reopen it)
 *
 * ```ts
 * const cancelled = yield* TimeTravel.whatIf(OrderDecider, CancelOrder, { orderId }, AsOf.version(2))
 * const reopened = yield* TimeTravel.whatIf(OrderDecider, ReopenOrder, { orderId }, cancelled)
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const whatIf = <State, Events extends Event.Any, C extends Command.Any, R extends C>(
  decider: AggregateDecider<State, Events, C>,
  command: R,
  payload: Command.PayloadInput<R>,
  at: AsOf.AsOf | WhatIfResult<NoInfer<State>, unknown>
): Effect.Effect<
  WhatIfResult<State, Event.Of<Events>>,
  Command.DeclaredError<R> | InvalidCommand | AsOfNotReached | EventStoreError,
  EventStore
> =>
  upToDate.read(
    EventPersonalData.hasPersonalData(decider.aggregate.events),
    Effect.gen(function*() {
      const { aggregate: contract } = decider
      const valid = yield* RpcPayload.commandPayload(command, payload, [contract.events])
      // `HasId` of Aggregate.make guarantees that every command carries the id, as a string.
      const id = Reflect.get(valid as object, contract.id) as string
      const stream = contract.streamOf(id)
      const name = Limits.checkStream(stream)
      if (name instanceof EventStoreError) return yield* name
      if (Predicate.isTagged(at, "WhatIf") && at.stream !== stream) {
        return yield* invalidRequest(
          `"${command._tag}" addresses "${stream}", but the given what-if result is of "${at.stream}"; pass a result of the same stream`
        )
      }
      // The given decider may fold differently under the same evolve version, so stored snapshots must not be used.
      const { driver } = (yield* EventStore)[internals]
      const first = at._tag === "WhatIf" ? at : yield* pinned(driver, at)
      const start = first._tag === "WhatIf" ? first.start : yield* stateAt(decider, id, first, { snapshots: false })
      const before = first._tag === "WhatIf" ? first.state : start.state
      const log = first._tag === "WhatIf"
        ? first.log
        : { asOf: first._tag === "Version" ? AsOf.position(start.position) : first, events: [] }
      const models = decider.modelsOf(command._tag, valid)
      const states = models === undefined
        ? undefined
        : yield* foldFurther(models, (yield* modelsAt(models, log.asOf)).states, log.events)
      const events = yield* Effect.fromResult(Decider.decide(decider, before, command._tag, valid, states))
      const written = yield* encodeAsAppend(contract.events, events)
      const decoded = yield* decodeAgain(EventCodec.make(contract.events), written)
      if (events.length > 0) {
        const { closed } = yield* driver.streamStatus(name)
        // A stream accepts events up to the version that closed it.
        if (Option.isSome(closed) && closed.value.version <= start.version) {
          return yield* storeError(new StreamClosed({ stream, version: closed.value.version }))
        }
      }
      return {
        _tag: "WhatIf",
        stream,
        start,
        before,
        events,
        state: Decider.fold(decider, decoded, before),
        log: { asOf: log.asOf, events: [...log.events, ...written] }
      }
    })
  )

/** Fails as an append would if the stream did not have the expected version as of a point in time. */
const requireExpected = Effect.fnUntraced(function*(
  store: EventStore["Service"],
  stream: StreamId,
  expected: Version.Expected | undefined,
  asOf: AsOf.OfLog
) {
  if (expected === undefined || expected === "any") return
  const actual = yield* versionAsOf(store, stream, asOf)
  if (!Version.meets(actual, expected)) return yield* new ConcurrencyConflict({ stream, expected, actual })
})

/**
 * Returns what the command of a decision would do as of a point in time. The given decision decides; it need not be the one in production.
 * `whatIfDecided` fails as `CommandBus.dispatch` would, also when the stream has another version than the decision expects. It writes nothing and
 * needs no handler.
 *
 * @since 0.1.0
 * @category accessors
 */
export const whatIfDecided = <C extends Command.Any, Events extends Event.Any, M extends Decision.Models>(
  decision: Decision.Decision<C, Events, M>,
  payload: Command.PayloadInput<C>,
  at: AsOf.OfLog
): Effect.Effect<
  WhatIfDecisionResult<M, Event.Of<Events>>,
  Command.DeclaredError<C> | InvalidCommand | AsOfNotReached | ConcurrencyConflict | EventStoreError,
  EventStore
> =>
  Effect.gen(function*() {
    const valid = yield* RpcPayload.commandPayload(decision.command, payload, [decision.events])
    const models = decision.models(valid)
    const isPersonal = EventPersonalData.hasPersonalData(decision.events) ||
      EventPersonalData.modelsHavePersonalData(models)
    return yield* upToDate.read(
      isPersonal,
      Effect.gen(function*() {
        const store = yield* EventStore
        const { driver } = store[internals]
        const asOf = yield* pinned(driver, at)
        const before = yield* modelsAt(models, asOf)
        const stream = decision.stream === undefined ? undefined : Limits.checkStream(decision.stream(valid))
        if (stream instanceof EventStoreError) return yield* stream
        if (stream !== undefined) yield* requireExpected(store, stream, decision.expected, asOf)
        const decided = decision.decide(before.states, valid)
        const events = Result.isResult(decided) ? yield* Effect.fromResult(decided) : decided
        const written = yield* encodeAsAppend(decision.events, events)
        if (events.length > 0 && stream !== undefined) {
          const { closed } = yield* driver.streamStatus(stream)
          if (Option.isSome(closed) && AsOf.includes(asOf, { ...closed.value, recordedAt: closed.value.closedAt })) {
            return yield* storeError(new StreamClosed({ stream, version: closed.value.version }))
          }
        }
        const states = yield* foldFurther(models, before.states, written)
        // One state for each model, under its name.
        return { before, events, states: states as Decision.States<M> }
      })
    )
  })
