/**
 * The end of a stream: a last event, its summary, closes it; then it can be archived, so that appends do not touch its events.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as AppendMetadata from "../command/AppendMetadata.ts"
import { type ConcurrencyConflict, EventStoreError, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type { Receipt } from "../core/Receipt.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { Version } from "../core/Version.ts"
import type * as Event from "../event/Event.ts"
import type { ClosedStream, StreamStatus as DriverStatus } from "../eventStore/driver/EventStoreDriver.ts"
import { type AppendOptions, EventStore } from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"

/**
 * The status of a stream.
 *
 * - `open`: accepts events; a stream without events is open, at version 0
 * - `closed`: accepts no more events
 * - `archived`: closed, and its events are where appends do not touch them
 *
 * @since 0.1.0
 * @category models
 */
export type StreamStatus =
  | { readonly _tag: "open"; readonly stream: StreamId; readonly version: Version }
  | { readonly _tag: "closed"; readonly stream: StreamId; readonly version: Version; readonly closedAt: DateTime.Utc }
  | {
    readonly _tag: "archived"
    readonly stream: StreamId
    readonly version: Version
    readonly closedAt: DateTime.Utc
    readonly archivedAt: DateTime.Utc
  }

/**
 * Appends `summary` to a stream and closes it, both or neither. Every later append fails with the reason `StreamClosed` and writes nothing. An append
 * that races with the summary is either before it or fails. A repeated command that was appended before still returns its first receipt.
 *
 * A stream without events cannot be closed. A closed stream cannot be opened again.
 *
 * The summary takes its actor, correlation and cause from the `CommandContext`, unless the metadata of the options has them.
 *
 * **Example** (a cart that is finished)
 *
 * ```ts
 * yield* StreamLifecycle.close(CartEvent, "Cart-7", CartEvent.cases.CartSummed.make({ items: 3, total: 120 }))
 * yield* StreamLifecycle.archive("Cart-7")
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const close = <E extends Event.Any>(
  events: E,
  stream: string,
  summary: Event.Of<E>,
  options?: AppendOptions
): Effect.Effect<Receipt, ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.gen(function*() {
    const store = yield* EventStore
    const metadata = yield* AppendMetadata.make(options?.metadata)
    return yield* store.close(events, stream, summary, { ...options, metadata })
  })

/**
 * Moves the events of a closed stream to where appends do not touch them, so that the tables and indexes of appends stay small. It is one
 * transaction. During and after it, every read returns what it did before: the stream, the log, later projections, append conditions, receipts.
 * Returns how many events were moved; 0 when the stream was archived before.
 *
 * @since 0.1.0
 * @category combinators
 */
export const archive = Effect.fn("StreamLifecycle.archive")(function*(
  stream: string
): Effect.fn.Return<number, EventStoreError, EventStore> {
  const { driver } = (yield* EventStore)[internals]
  const name = yield* validStream(stream)
  const moved = yield* driver.archive(name)
  if (Option.isSome(moved)) return moved.value
  if ((yield* driver.streamStatus(name)).version === 0) {
    return yield* invalidRequest(`stream "${stream}" has no events, so there is nothing to archive`)
  }
  return yield* invalidRequest(
    `stream "${stream}" is open and cannot be archived; close it with StreamLifecycle.close first`
  )
})

/**
 * Returns whether a stream is open, closed or archived, and its version.
 *
 * @since 0.1.0
 * @category accessors
 */
export const status = Effect.fnUntraced(
  function*(stream: string): Effect.fn.Return<StreamStatus, EventStoreError, EventStore> {
    const { driver } = (yield* EventStore)[internals]
    const name = yield* validStream(stream)
    return statusOf(name, yield* driver.streamStatus(name))
  }
)

/**
 * Reads all closed streams, including the archived ones, in the order in which they were closed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const closed: Stream.Stream<ClosedStream, EventStoreError, EventStore> = Stream.unwrap(
  Effect.map(
    Effect.all([EventStore, Limits.Limits]),
    ([{ [internals]: { driver } }, limits]) =>
      Stream.paginate(
        { after: Position.start, limit: Math.min(pageSize, limits.pageSize) },
        Effect.fnUntraced(function*({ after, limit }) {
          const head = yield* driver.head
          const page = yield* driver.closedStreams({ after, limit })
          if (page.length < limit) return [page, Option.none()] as const
          // Above the high-water mark streams may still be closed between those of a page.
          const settled = page.filter(({ position }) => position <= head)
          const last = settled.at(-1)?.position
          return [
            settled,
            Option.some(last === undefined ? { after, limit: limit * 2 } : { after: last, limit })
          ] as const
        })
      )
  )
)

const pageSize = 500

const validStream = (stream: string): Effect.Effect<StreamId, EventStoreError> => {
  const name = Limits.checkStream(stream)
  return name instanceof EventStoreError ? Effect.fail(name) : Effect.succeed(name)
}

const statusOf = (stream: StreamId, { closed, version }: DriverStatus): StreamStatus => {
  if (Option.isNone(closed)) return { _tag: "open", stream, version }
  const { archivedAt, closedAt } = closed.value
  return archivedAt === undefined
    ? { _tag: "closed", stream, version, closedAt }
    : { _tag: "archived", stream, version, closedAt, archivedAt }
}
