/**
 * Executes commands: adds metadata, retries after conflicts, and makes a repeated command id return its first receipt.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Tracer from "effect/Tracer"
import { deepFreeze } from "../core/deepFreeze.ts"
import { ConcurrencyConflict, EventStoreError, InvalidCommand, invalidRequest } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Position from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { StreamId } from "../core/StreamId.ts"
import type * as Version from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type { EventStoreInternals } from "../eventStore/EventStoreInternals.ts"
import * as PayloadHash from "../eventStore/payload/PayloadHash.ts"
import * as ErasedFields from "../personalData/ErasedFields.ts"
import type * as Command from "./Command.ts"
import { CommandContext, DefaultActor } from "./CommandContext.ts"
import { payloadSchema } from "./InProcessRpc.ts"
import { givenFields } from "./RpcPayload.ts"
import { traceparentOf } from "./TraceContext.ts"

/**
 * How a layer executes its commands.
 *
 * @since 0.1.0
 * @category options
 */
export interface RunOptions {
  /** When and how often to decide again after a conflict. By default 16 times, after a random delay of up to 2, 4, 8 … 50 ms. */
  readonly conflictRetry?: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * One execution of a command, as its handler sees it. After a conflict the handler runs again with the same attempt.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  /** The stream that the events go to. */
  readonly stream: string
  /** The context of the caller. */
  readonly caller: Context.Context<never>
  /** The version that the caller expects the stream to have. */
  readonly expected: Version.Expected | undefined
  /** The id that the stream's last event must have. */
  readonly lastEventId: string | undefined
  /** Whether the command id cannot have been appended before: the caller gave none, and the outcome of no attempt is unknown. */
  readonly isNewId: () => boolean
  /** The metadata of the events. */
  readonly metadata: Metadata
  /** Returns what the command id stands for. */
  readonly content: () => Result.Result<PayloadHash.Content, EventStoreError>
  /** Fails with an error that is not retried, even if it is a conflict. */
  readonly failWithoutRetry: <E>(error: E) => Effect.Effect<never, E>
  /**
   * Returns the first receipt when the command id was appended before, and otherwise runs the effect. A handler that appends nothing has to
   * call it; an append checks the command id itself.
   */
  readonly firstReceiptOr: <A, E>(otherwise: Effect.Effect<A, E>) => Effect.Effect<A | Receipt, E | EventStoreError>
}

/**
 * A command to execute.
 *
 * @since 0.1.0
 * @category models
 */
export interface Execution {
  readonly rpc: Command.Any
  readonly payload: unknown
  /** The events that it may lead to, which say what in the payload is personal data. */
  readonly events: Event.Any
  /** Returns the stream that the events go to. */
  readonly streamOf: (commandId: string) => string
}

// Full jitter ("Exponential Backoff And Jitter", AWS, 2015), so that two commands do not conflict again and again.
const defaultConflictRetry = Schedule.exponential("2 millis").pipe(
  Schedule.modifyDelay(({ duration }) =>
    Effect.map(Random.next, (part) => Duration.millis(part * Math.min(Duration.toMillis(duration), 50)))
  ),
  Schedule.upTo({ times: 16 })
)

/**
 * Makes the function that executes commands. It calls `handle` once for each command, and runs the effect again after a conflict. When an
 * append ends without a known outcome, the same attempt under the same command id finds it out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  store: Pick<EventStoreInternals, "firstReceipt"> & { readonly keys: Pick<EventStoreInternals["keys"], "erased"> },
  options: RunOptions
) {
  const newId = yield* IdGenerator
  const conflictRetry = options.conflictRetry ?? defaultConflictRetry
  return <E>(
    execution: Execution,
    handle: (attempt: Attempt) => Effect.Effect<Receipt, E>
  ): Effect.Effect<Receipt, E | InvalidCommand | EventStoreError> =>
    Effect.contextWith((caller: Context.Context<never>) => {
      const { payload, rpc } = execution
      // It is decided again after a conflict, and its hash is taken after `decide`.
      deepFreeze(payload)
      const run = attempted(attemptOf(store, execution, newId, caller), handle, conflictRetry)
      const erased = ErasedFields.erasedIn(payloadSchema(rpc), payload)
      return erased.length === 0 ? run : Effect.andThen(requireErased(store.keys, rpc, erased), run)
    })
})

/** An attempt, and what its failures have shown so far. */
interface Progress {
  readonly attempt: Attempt
  readonly mayRetry: () => boolean
  readonly outcomeIsUnknown: () => void
}

const attemptOf = (
  store: Pick<EventStoreInternals, "firstReceipt">,
  { events, payload, rpc, streamOf }: Execution,
  newId: () => string,
  caller: Context.Context<never>
): Progress => {
  const command = rpc._tag
  const context = Context.get(caller, CommandContext)
  const commandId = context.commandId ?? newId()
  const stream = streamOf(commandId)
  // A new id cannot be in the log, unless an attempt ended without a known outcome.
  let isNewId = context.commandId === undefined
  let mayRetry = true
  const content = contentOf(rpc, payload, events)
  const attempt: Attempt = {
    stream,
    caller,
    content,
    expected: context.expected,
    lastEventId: context.lastEventId,
    isNewId: () => isNewId,
    metadata: metadataOf(context, command, commandId, caller),
    failWithoutRetry: (error) => {
      mayRetry = false
      return Effect.fail(error)
    },
    firstReceiptOr: <A, E>(otherwise: Effect.Effect<A, E>) =>
      Effect.suspend((): Effect.Effect<A | Receipt, E | EventStoreError> => {
        if (isNewId) return otherwise
        const earlier = Effect.flatMap(
          Effect.fromResult(content()),
          (content) => store.firstReceipt({ command, commandId, content, stream })
        )
        return Effect.flatMap(
          earlier,
          Option.match({ onNone: (): Effect.Effect<A | Receipt, E> => otherwise, onSome: Effect.succeed })
        )
      })
  }
  return {
    attempt,
    mayRetry: () => mayRetry,
    outcomeIsUnknown: () => {
      isNewId = false
    }
  }
}

/** Runs the attempt, again after a conflict, and again when its outcome is unknown. Nothing is prepared for that before it has failed. */
const attempted = <E>(
  { attempt, mayRetry, outcomeIsUnknown }: Progress,
  handle: (attempt: Attempt) => Effect.Effect<Receipt, E>,
  conflictRetry: Schedule.Schedule<unknown, unknown>
): Effect.Effect<Receipt, E> => {
  const handled = handle(attempt)
  const resolve = (error: E): Effect.Effect<Receipt, E> => {
    if (!isOutcomeUnknown(error)) return Effect.fail(error)
    outcomeIsUnknown()
    return resolveOutcome(handled, error)
  }
  const mayDecideAgain = (error: E) => mayRetry() && isConflict(error)
  return Effect.catch(handled, (first) => {
    if (!isOutcomeUnknown(first) && !mayDecideAgain(first)) return Effect.fail(first)
    let decisions = 0
    return Effect.retry(
      Effect.suspend(() => decisions++ === 0 ? resolve(first) : Effect.catch(handled, resolve)),
      { schedule: conflictRetry, while: mayDecideAgain }
    )
  })
}

/** Returns what a command id stands for. It is computed when it is first used, and once for all attempts. */
const contentOf = (
  rpc: Command.Any,
  payload: unknown,
  events: Event.Any
): () => Result.Result<PayloadHash.Content, EventStoreError> => {
  let computed: Result.Result<PayloadHash.Content, EventStoreError> | undefined
  return () =>
    computed ??= Result.mapError(
      PayloadHash.ofPayload(payloadSchema(rpc), payload, events, givenFields(payload)),
      (problem) => invalidRequest(`the payload of command "${rpc._tag}": ${problem}`)
    )
}

/** A client may send `Erased`, which the type of a personal field allows. It is true only of a subject that was erased. */
const requireErased = (
  keys: Pick<EventStoreInternals["keys"], "erased">,
  rpc: Command.Any,
  given: ReadonlyArray<ErasedFields.ErasedField>
): Effect.Effect<void, InvalidCommand | EventStoreError> =>
  Effect.flatMap(keys.erased(given.map(({ subject }) => subject)), (erased) => {
    const wrong = given.find(({ isOwn, subject }) => !isOwn || !erased.has(subject))
    return wrong === undefined ? Effect.void : Effect.fail(
      new InvalidCommand({
        command: rpc._tag,
        message: `The payload of command "${rpc._tag}" is invalid: ${ErasedFields.notErased(wrong.field)}`
      })
    )
  })

/** Returns the metadata of a command's events. */
const metadataOf = (
  context: CommandContext,
  command: string,
  commandId: string,
  caller: Context.Context<never>
): Metadata => {
  const span = Context.getOrUndefined(caller, Tracer.ParentSpan)
  const traceparent = span === undefined ? undefined : traceparentOf(span)
  return {
    command,
    commandId,
    correlationId: context.correlationId ?? commandId,
    causationId: context.causationId ?? commandId,
    actor: context.actor ?? Context.get(caller, DefaultActor),
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(context.attributes === undefined ? {} : { attributes: context.attributes })
  }
}

/**
 * Returns the receipt of a command that appended no events; `eventId` is the id of the event at `position`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const emptyReceipt = (
  command: string,
  stream: string,
  version: Version.Version,
  position: Position.Position,
  eventId: string | undefined
): Effect.Effect<Receipt> =>
  // The read of the stream has validated its name.
  Effect.succeed({
    command,
    stream: stream as StreamId,
    version,
    position,
    ...(eventId === undefined || eventId === "" ? {} : { eventId }),
    events: []
  })

const outcomeRetry = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("1 second")]).pipe(
  Schedule.upTo({ duration: "10 seconds" })
)

const isConflict = (error: unknown): boolean =>
  error instanceof ConcurrencyConflict ||
  error instanceof EventStoreError &&
    (error.reason._tag === "AppendConditionFailed" || error.reason._tag === "LogDiverged")

const isOutcomeUnknown = (error: unknown): boolean =>
  error instanceof EventStoreError && error.reason._tag === "OutcomeUnknown"

/**
 * Repeats an attempt whose outcome is unknown; its command id makes that safe. While the store cannot be reached, the outcome stays unknown.
 */
const resolveOutcome = <A, E>(attempt: Effect.Effect<A, E>, unknown: E): Effect.Effect<A, E> => {
  const isUnresolved = (error: E) => isOutcomeUnknown(error) || (error instanceof EventStoreError && error.isRetryable)
  return attempt.pipe(
    Effect.retry({ schedule: outcomeRetry, while: isUnresolved }),
    Effect.mapError((error) => isUnresolved(error) ? unknown : error)
  )
}
