/**
 * What every run of a command has in common, whatever it decides on: its metadata, its idempotency, its retries.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { ConcurrencyConflict, EventStoreError } from "../core/errors.ts"
import { IdGenerator } from "../core/IdGenerator.ts"
import type { Metadata } from "../core/Metadata.ts"
import type * as Position from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { StreamId } from "../core/StreamId.ts"
import type * as Version from "../core/Version.ts"
import { requireSameCommand } from "../eventStore/AppendCodec.ts"
import { CommandContext, DefaultActor, metadataOf } from "./CommandContext.ts"

/**
 * - `conflictRetry`: when to decide again after a conflict, and how often. By default 16 times, after a random delay of up to 2, 4, 8 …
 *   50 milliseconds
 *
 * @since 0.1.0
 * @category options
 */
export interface RunOptions {
  readonly conflictRetry?: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * What an attempt knows of its command.
 *
 * - `stream`: where its events go
 * - `expected`: the version that its sender expects, if any
 * - `metadata`: of its events
 * - `refuse`: fails for good, also on a conflict
 * - `unlessDone`: answers the first receipt if the command was done before, or else goes on. An attempt that writes nothing has to ask;
 *   an append asks by itself
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  readonly stream: string
  readonly expected: Version.Expected | undefined
  readonly metadata: Metadata
  readonly reject: <E>(error: E) => Effect.Effect<never, E>
  readonly unlessDone: <A, E>(otherwise: Effect.Effect<A, E>) => Effect.Effect<A | Receipt, E | EventStoreError>
}

// Full jitter ("Exponential Backoff And Jitter", AWS, 2015): contenders that met once should not meet again.
const defaultConflictRetry = Schedule.exponential("2 millis").pipe(
  Schedule.modifyDelay(({ duration }) =>
    Effect.map(Random.next, (part) => Duration.millis(part * Math.min(Duration.toMillis(duration), 50)))
  ),
  Schedule.upTo({ times: 16 })
)

/**
 * Runs commands: `begin` makes one command's attempt, which is repeated on a conflict. When the outcome of its append is unknown, it is
 * found out by the command id.
 *
 * @since 0.1.0
 * @category running
 */
export const make = Effect.fnUntraced(function*(
  store: { readonly receipt: (commandId: string) => Effect.Effect<Option.Option<Receipt>, EventStoreError> },
  options: RunOptions
) {
  const newId = yield* IdGenerator
  const conflictRetry = options.conflictRetry ?? defaultConflictRetry
  return Effect.fnUntraced(function*<E>(
    command: string,
    streamOf: (commandId: string) => string,
    begin: (attempt: Attempt) => Effect.Effect<Receipt, E>
  ): Effect.fn.Return<Receipt, E> {
    const context = yield* CommandContext
    const defaultActor = yield* DefaultActor
    const commandId = context.commandId ?? newId()
    const span = Option.getOrUndefined(yield* Effect.option(Effect.currentSpan))
    const stream = streamOf(commandId)
    // An id drawn here can have been used before only when the outcome of an attempt is unknown.
    let fresh = context.commandId === undefined
    const earlier = Effect.suspend(() => fresh ? Effect.succeedNone : store.receipt(commandId))
    let refused = false
    const attempt = begin({
      stream,
      expected: context.expected,
      metadata: metadataOf(context, command, commandId, defaultActor, span),
      reject: (error) => {
        refused = true
        return Effect.fail(error)
      },
      unlessDone: <A, E>(otherwise: Effect.Effect<A, E>) =>
        Effect.flatMap(
          earlier,
          (receipt): Effect.Effect<A | Receipt, E | EventStoreError> =>
            Option.isSome(receipt) ? requireSameCommand(receipt.value, commandId, stream, command) : otherwise
        )
    })
    const resolved = Effect.catchIf(attempt, isUnknown, (unknown) => {
      fresh = false
      return resolve(attempt, unknown)
    })
    return yield* Effect.retry(resolved, {
      schedule: conflictRetry,
      while: (error) => !refused && (isAppendConditionFailed(error) || error instanceof ConcurrencyConflict)
    })
  })
})

/**
 * The receipt of a command that has decided that nothing happens.
 *
 * @since 0.1.0
 * @category constructors
 */
export const nothingHappens = (
  command: string,
  stream: string,
  version: Version.Version,
  position: Position.Position
): Effect.Effect<Receipt> =>
  // The store has checked the name when it was read.
  Effect.succeed({ command, stream: stream as StreamId, version, position, events: [] })

const timeoutDuration = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("1 second")]).pipe(
  Schedule.upTo({ duration: "10 seconds" })
)

const isAppendConditionFailed = (error: unknown): boolean =>
  error instanceof EventStoreError && error.reason._tag === "AppendConditionFailed"

const isUnknown = (error: unknown): boolean =>
  error instanceof EventStoreError && error.reason._tag === "OutcomeUnknown"

/**
 * Tries an attempt again whose outcome is unknown, which its command id makes safe. While the store cannot be reached, the outcome stays
 * unknown.
 */
const resolve = <A, E>(
  attempt: Effect.Effect<A, E>,
  unknown: E
): Effect.Effect<A, E> => {
  const isOut = (error: E) => isUnknown(error) || (error instanceof EventStoreError && error.isRetryable)
  return attempt.pipe(
    Effect.retry({ schedule: timeoutDuration, while: isOut }),
    Effect.mapError((error) => isOut(error) ? unknown : error)
  )
}
