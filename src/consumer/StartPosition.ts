/**
 * Where a consumer without checkpoints starts: after a position, at a time, or where an earlier version stands.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import type { ConsumerDriver } from "./CheckpointDriver.ts"
import type { Consumer } from "./Consumer.ts"
import * as ConsumerKey from "./ConsumerKey.ts"
import * as GenerationId from "./GenerationId.ts"
import type { Continued } from "./LeaseDriver.ts"

type Log = Pick<EventStoreDriver, "eventIds" | "head" | "positionSince">

/**
 * Returns a position as a checkpoint. Fails with `InvalidRequest` when the log has no event there, or the position is above the high-water mark.
 *
 * @since 0.1.0
 * @category accessors
 */
export const at = Effect.fnUntraced(function*(
  log: Log,
  { id }: Pick<Consumer, "id">,
  after: Position.Position | LogPosition.LogPosition
): Effect.fn.Return<LogPosition.LogPosition, EventStoreError> {
  const { eventId: expectedId, position } = LogPosition.from(after)
  const [eventId] = yield* log.eventIds([position])
  const head = yield* log.head
  if (position > head || (eventId === undefined && position !== Position.start)) {
    return yield* invalidRequest(
      `\`from\` of "${id}" is after position ${position}, but ${
        position > head ? `the high-water mark of the log is ${head}` : "the log has no event there"
      }; give the position of an event up to the high-water mark, or 0, or "now"`
    )
  }
  yield* LogIdentity.requireEvents(log, [LogPosition.make(position, expectedId)])
  return LogPosition.make(position, eventId)
})

/** The number of positions that are looked up to find the event before a position. Without such an event, the checkpoint has no id until it moves. */
const positionsBefore = 100

/**
 * Returns the checkpoint before the first event that was recorded at a time or later, or the high-water mark if there is none. Fails with
 * `InvalidRequest` when the time is in the future: events before it would be handled, too.
 *
 * @since 0.1.0
 * @category accessors
 */
export const since = Effect.fnUntraced(function*(
  log: Log,
  { id }: Pick<Consumer, "id">,
  time: DateTime.Utc
): Effect.fn.Return<LogPosition.LogPosition, EventStoreError> {
  const now = DateTime.makeUnsafe(yield* Clock.currentTimeMillis)
  if (DateTime.isGreaterThan(time, now)) {
    return yield* invalidRequest(
      `\`from\` of "${id}" is since ${DateTime.formatIso(time)}, which is in the future of this process, at ${
        DateTime.formatIso(now)
      }; give a time that has passed, or "now"`
    )
  }
  const end = yield* LogIdentity.headPosition(log)
  let after = Position.start
  while (after < end.position) {
    const { first, reached } = yield* log.positionSince({ after, upTo: end.position, since: time })
    if (first === undefined) {
      after = reached
      continue
    }
    const before = Array.from({ length: positionsBefore }, (_, n) => first - 1n - BigInt(n))
      .filter((position) => position > 0n).map((position) => Position.make(position))
    const ids = yield* log.eventIds(before)
    const index = ids.findIndex((one) => one !== undefined)
    return index < 0
      ? LogPosition.make(Position.make(first - 1n), undefined)
      : LogPosition.make(before[index]!, ids[index])
  }
  return end
})

/**
 * Fails with `InvalidRequest` unless a consumer may start after an attempt to continue from an earlier version.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireContinued = (
  { from, id }: Pick<Consumer, "from" | "id">,
  earlier: string,
  outcome: Exclude<Continued, "draining">
): Effect.Effect<void, EventStoreError> => {
  const otherwise = typeof from === "object" && "version" in from ? from.otherwise : undefined
  if (outcome === "continued" || (outcome === "unstarted" && otherwise !== undefined)) return Effect.void
  return invalidRequest(whyNot(id, earlier, outcome))
}

const whyNot = (id: string, earlier: string, outcome: keyof typeof reasons): string =>
  `"${id}" is to continue from "${earlier}", but ${reasons[outcome]}`

/**
 * Returns why a consumer that has never run cannot continue from an earlier version at the moment; undefined if it can, or if it starts in another way.
 *
 * @since 0.1.0
 * @category accessors
 */
export const obstacleOf = Effect.fnUntraced(function*(
  store: Pick<ConsumerDriver, "activeGeneration" | "parkedCounts" | "progress" | "repartitionObstacle">,
  { from, id, partitionBy }: Pick<Consumer, "from" | "id" | "partitionBy">
): Effect.fn.Return<string | undefined, EventStoreError> {
  if (typeof from === "string" || !("version" in from)) return undefined
  const earlier = GenerationId.otherVersion(id, from.version)
  const active = yield* Effect.result(store.activeGeneration(earlier))
  if (Result.isFailure(active)) {
    return active.failure.reason._tag === "GenerationDiscarded" ? active.failure.message : yield* active.failure
  }
  const [first] = yield* store.progress(active.success)
  if (first === undefined) return from.otherwise === undefined ? whyNot(id, earlier, "unstarted") : undefined
  if (first.continuedBy !== undefined) {
    return first.continuedBy === id ? undefined : whyNot(id, earlier, "elsewhere")
  }
  const obstacle = yield* store.repartitionObstacle(active.success)
  if (first.partitions === 0 || obstacle === "hash") return whyNot(id, earlier, "hash")
  const isParked = first.partitionedBy !== ConsumerKey.format(partitionBy)
    && (yield* store.parkedCounts(active.success)).length > 0
  if (isParked) return whyNot(id, earlier, "parked")
  return obstacle === "former" ? whyNot(id, earlier, "former") : undefined
})

const reasons: Readonly<Record<Exclude<Continued, "continued" | "draining">, string>> = {
  unstarted:
    "that has never run against this store; give `otherwise: \"start\"` or `\"now\"`, for stores in which it never ran",
  elsewhere: "another version has continued from there; continue from that one",
  parked:
    "it has parked keys, which have no meaning under another `partitionBy`; retry or skip them with the earlier version, or keep its "
    + "`partitionBy`",
  hash:
    "this server has another hash function, so it cannot tell to which partition a key belongs; give `{ after }` instead",
  former:
    "its partitions have changed too often while one of them, or a parked key, was behind; wait until they have caught up, and retry or skip its "
    + "parked keys"
}
