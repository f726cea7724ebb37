/**
 * What a command would do, or would have done at a moment of the past. Nothing is written.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import type { Loaded } from "../aggregate/AggregateStateCache.ts"
import * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import * as InProcessRpc from "../command/InProcessRpc.ts"
import type * as AsOf from "../core/AsOf.ts"
import {
  type AsOfNotReached,
  EventStoreError,
  type InvalidCommand,
  invalidRequest,
  storeError,
  StreamClosed
} from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type * as Decision from "../decision/DecisionDefinition.ts"
import type * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventQuery from "../event/EventQuery.ts"
import { encodeEvents } from "../eventStore/AppendCodec.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import { stateAt } from "./AggregateAsOf.ts"
import { type DecisionAsOf, modelsAt } from "./DecisionAsOf.ts"

/**
 * What a command would do to an instance.
 *
 * - `start`: the past that it was imagined on
 * - `before`: the state that it was decided on: that of `start`, or the one after the commands before
 * - `events`: what it would write; none when nothing would happen
 * - `state`: the state after these
 *
 * @since 0.1.0
 * @category models
 */
export interface WhatIfResult<State, out E> {
  readonly _tag: "Imagined"
  readonly stream: string
  readonly start: Loaded<State>
  readonly before: State
  readonly events: ReadonlyArray<E>
  readonly state: State
}

/**
 * What a decision would be.
 *
 * - `before`: what it would rest on
 * - `events`: what it would write; none when nothing would happen
 * - `states`: those of the models after these
 *
 * @since 0.1.0
 * @category models
 */
export interface WhatIfDecisionResult<M extends Decision.Models, out E> {
  readonly before: DecisionAsOf<M>
  readonly events: ReadonlyArray<E>
  readonly states: Decision.States<M>
}

/** No event gets this id, since none is written. */
const noId = () => "00000000-0000-0000-0000-000000000000"

/** What an append of these events would encode them to; refuses what it would refuse. */
const encoded = <Events extends Event.Any>(events: Events, batch: ReadonlyArray<Event.Of<Events>>) =>
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
      // The text was made by JSON.stringify.
      data: JSON.parse(data) as Schema.Json
    }))
  })

/** What encoded events are when they are read again: encoding may change one, as a date loses its microseconds. */
const reread = <E extends Event.Tagged>(
  codec: EventCodec.EventCodec<E>,
  events: ReadonlyArray<EventCodec.EncodedPayload>
) =>
  Effect.forEach(
    events,
    (event) =>
      Effect.fromResult(Result.mapError(codec.decodeData(event), ({ detail }) =>
        invalidRequest(`the event "${event.type}" could not be read again: ${detail}`)))
  ).pipe(
    Effect.map((read) =>
      read.flat()
    )
  )

/**
 * What a command of an aggregate would do at a moment, or after another one that was imagined. It is decided by the decider that is given,
 * which need not be the one that is in use, and fails with what dispatching the command would fail with; but for an erased subject, for which
 * no key store is asked. Nothing is written, and no handler is needed.
 *
 * **Example** (what would have become of the order, had it been cancelled before it was shipped)
 *
 * ```ts
 * const cancelled = yield* TimeTravel.whatIf(OrderDecider, CancelOrder, { orderId }, AsOf.version(2))
 * const decryptedAgain = yield* TimeTravel.whatIf(OrderDecider, ReopenOrder, { orderId }, cancelled)
 * ```
 *
 * @since 0.1.0
 * @category what-if
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
  Effect.gen(function*() {
    const { aggregate: contract } = decider
    const valid = yield* InProcessRpc.commandPayload(command, payload)
    // `HasId` of Aggregate.make has seen to it that every command carries the id, as a string.
    const id = Reflect.get(valid as object, contract.id) as string
    const stream = contract.streamOf(id)
    const name = Limits.checkStream(stream)
    if (name instanceof EventStoreError) return yield* name
    if (Predicate.isTagged(at, "Imagined") && at.stream !== stream) {
      return yield* invalidRequest(
        `"${command._tag}" is for "${stream}", but what came before it was imagined on "${at.stream}"`
      )
    }
    // The decider that is imagined may fold otherwise than the one whose snapshots there are, under the same evolve version.
    const start = at._tag === "Imagined" ? at.start : yield* stateAt(decider, id, at, { snapshots: false })
    const before = at._tag === "Imagined" ? at.state : start.state
    const events = yield* Effect.fromResult(Decider.decide(decider, before, command._tag, valid))
    const read = yield* reread(EventCodec.make(contract.events), yield* encoded(contract.events, events))
    if (events.length > 0) {
      const { closed } = yield* (yield* EventStore)[internals].driver.streamStatus(name)
      // Before it was closed it was open.
      if (Option.isSome(closed) && closed.value.version <= start.version) {
        return yield* storeError(new StreamClosed({ stream, version: closed.value.version }))
      }
    }
    return {
      _tag: "Imagined",
      stream,
      start,
      before,
      events,
      state: Decider.fold(decider, read, before)
    }
  })

/**
 * What a decision over several entities would be at a moment of the log. It is made as it is given, which need not be as it is in use, and
 * fails with what dispatching its command would fail with. Nothing is written, and no handler is needed.
 *
 * @since 0.1.0
 * @category what-if
 */
export const whatIfDecided = <C extends Command.Any, Events extends Event.Any, M extends Decision.Models>(
  decision: Decision.Decision<C, Events, M>,
  payload: Command.PayloadInput<C>,
  at: AsOf.OfLog
): Effect.Effect<
  WhatIfDecisionResult<M, Event.Of<Events>>,
  Command.DeclaredError<C> | InvalidCommand | AsOfNotReached | EventStoreError,
  EventStore
> =>
  Effect.gen(function*() {
    const valid = yield* InProcessRpc.commandPayload(decision.command, payload)
    const models = decision.models(valid)
    const before = yield* modelsAt(models, at)
    const decided = decision.decide(before.states, valid)
    const events = Result.isResult(decided) ? yield* Effect.fromResult(decided) : decided
    const written = yield* encoded(decision.events, events)
    const states: Record<string, unknown> = {}
    for (const [name, model] of Object.entries<Decision.Model<unknown>>(models)) {
      const asked = written.filter((event) => EventQuery.matchesItem(model.query, event))
      const read = yield* reread(EventCodec.make(model.events), asked)
      states[name] = read.reduce<unknown>(
        (state, event) => model.evolve(state, event),
        Reflect.get(before.states, name)
      )
    }
    // Made from these very models, under their names.
    return { before, events, states: states as Decision.States<M> }
  })
