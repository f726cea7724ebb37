/**
 * Calls a consumer's handler for one event, with the context that its commands and reads need.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Tracer from "effect/Tracer"
import { causedBy, CommandContext } from "../../command/CommandContext.ts"
import * as TraceContext from "../../command/TraceContext.ts"
import { type EventStoreError, storeError } from "../../core/errors.ts"
import * as HandledEvent from "../../core/HandledEvent.ts"
import { inSpan } from "../../core/telemetry/inSpan.ts"
import type * as Event from "../../event/Event.ts"
import type { EncodedEvent, RecordedEvent } from "../../event/RecordedEvent.ts"
import * as DecryptedValues from "../../personalData/DecryptedValues.ts"
import type * as Consumer from "../Consumer.ts"
import * as ConsumerDefinition from "../ConsumerDefinition.ts"
import type * as ConsumerKey from "../ConsumerKey.ts"
import * as HandlerError from "../HandlerError.ts"
import type { UpToDate } from "./BatchProcessor.ts"

/**
 * A consumer with handlers.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlingConsumer<out Name extends string = string, out Events extends Event.Any = Event.Any>
  extends Consumer.Consumer<Name, Events>
{
  /** The tags of the errors that its handlers fail with on purpose. */
  readonly parks: ReadonlyArray<string>
}

/**
 * The effect of an event.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = (recorded: RecordedEvent<Event.Tagged>) => Effect.Effect<unknown, unknown>

/**
 * Handles one event. Returns a failure of the handler as an `EventStoreError`. Commands that the handler dispatches have the event as their
 * cause. Of an event that has waited in a page or for a retry, the handler receives nothing that was erased meanwhile.
 *
 * @since 0.1.0
 * @category combinators
 */
export const handleOne = (consumer: HandlingConsumer, handle: Handler, upToDate: UpToDate = Effect.succeed) => {
  const actor = `${consumer.kind}:${consumer.name}@${consumer.version}`
  return (read: EncodedEvent): Effect.Effect<void, EventStoreError> =>
    Effect.flatMap(upToDate([read]), ([event = read]) => {
      const decoded = ConsumerDefinition.decode(consumer, event)
      if (Result.isFailure(decoded)) return Effect.fail(storeError(decoded.failure))
      const values = DecryptedValues.make()
      return Effect.forEach(decoded.success, (recorded) => Effect.suspend(() => handle(recorded)), { discard: true })
        .pipe(
          HandledEvent.provide(consumer.id),
          Effect.provideContext(
            Context.make(CommandContext, causedBy(event, actor)).pipe(Context.add(DecryptedValues.Current, values))
          ),
          Effect.catchCause((cause) => Effect.fail(HandlerError.of(consumer, event, cause, values)))
        )
    })
}

/** Runs the handler of an event within the trace of the event, so that a trace goes on over its batch and over programs. */
const inHandlerSpan = (
  { id }: Pick<HandlingConsumer, "id">,
  event: EncodedEvent,
  handled: Effect.Effect<void, EventStoreError>
): Effect.Effect<void, EventStoreError> =>
  Effect.withFiber(({ context }) =>
    inSpan(
      handled,
      "Consumer.handle",
      {
        "evsrc.consumer": id,
        "evsrc.event.type": event.type,
        "evsrc.event.position": event.position,
        "evsrc.stream": event.stream
      },
      { ...TraceContext.ofEvent(event, Context.getOrUndefined(context, Tracer.ParentSpan)), kind: "consumer" }
    )
  )

/**
 * Handles an event that has one key, in a span of its own. With several, its order relative to the events of each cannot be kept.
 *
 * @since 0.1.0
 * @category combinators
 */
export const handleSingle = (
  consumer: HandlingConsumer,
  handle: Handler,
  events: ReadonlyArray<ConsumerKey.KeyedEvent>,
  upToDate?: UpToDate
) => {
  const handleIt = handleOne(consumer, handle, upToDate)
  const several = new Set(events.flatMap(({ event, isSingle }) => isSingle ? [] : [event.position]))
  return (event: EncodedEvent): Effect.Effect<void, EventStoreError> =>
    several.has(event.position)
      ? Effect.fail(HandlerError.failed(
        consumer,
        event,
        new Error(
          `the event has several values of the tag by which "${consumer.id}" is partitioned, but a handler handles it once; partition by another `
            + `tag, or by "stream"`
        )
      ))
      : inHandlerSpan(
        consumer,
        event,
        Effect.mapError(handleIt(event), (error) => HandlerError.ofLock(consumer, event, error))
      )
}
