/**
 * Proof that a consumer of the log has applied every event once: what its checkpoints say that it applied, compared with the log, while it
 * goes on.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { DeliveryState } from "../consumer/CheckpointDriver.ts"
import type { Consumer } from "../consumer/Consumer.ts"
import { digestOf } from "../consumer/DeliveryLog.ts"
import { filterOf } from "../consumer/PartitionProcessor.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import type { EventStoreDriver, LogFilter } from "../eventStore/EventStoreDriver.ts"
import { Limits } from "../eventStore/Limits.ts"
import { defaultPageSize, withinLog } from "../eventStore/LogReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { type Audited, type Fault, faultsOf, type Range } from "./AuditDiagnosis.ts"

export type { Audited, Fault } from "./AuditDiagnosis.ts"

/**
 * - `target`: a build; by default the active generation
 * - `faults`: how many of a partition's faults to name; 100 by default, the first ones
 *
 * @since 0.1.0
 * @category options
 */
export interface AuditOptions {
  readonly generation?: string | undefined
  readonly faults?: number | undefined
}

/**
 * What was found of one partition.
 *
 * - `position`: the checkpoint; what lies beyond is not compared
 * - `events`: the partition's events in the log up to it. Of these `parked` are not to be applied yet, and `skipped` never
 * - `applied`: how many were, as the checkpoint has it
 * - `faults`: the first ones, by position; `more`: how many others there are
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionAudit {
  readonly partition: number
  readonly position: Position.Position
  readonly events: number
  readonly applied: number
  readonly parked: number
  readonly skipped: number
  readonly status: "complete" | "faulty"
  readonly faults: ReadonlyArray<Fault>
  readonly more: number
}

/**
 * - `status`: `"unstarted"` when nobody has ever worked on it; `"faulty"` when a partition is
 * - `first`: the fault at the lowest position of all partitions
 *
 * @since 0.1.0
 * @category models
 */
export interface Audit {
  readonly consumer: string
  readonly generation: string
  readonly status: "complete" | "faulty" | "unstarted"
  readonly first: Fault | undefined
  readonly partitions: ReadonlyArray<PartitionAudit>
}

/**
 * Compares what a consumer has applied with the log, up to its checkpoints.
 *
 * **Details**
 *
 * Reads the log page by page, once for each partition. When the count and the digest of all that was applied are what they should be, that is
 * all. Otherwise it reads the log a second time, beside the segments of what was applied, and names the faults as far as these tell them
 * apart.
 *
 * **Gotchas**
 *
 * An `inline` or `live` projection keeps no account, and is `"unstarted"`. Of a subscription that begins `"now"` nobody knows any more when
 * that was: it is audited from the first event that it has handled.
 *
 * @since 0.1.0
 * @category auditing
 */
export const run = Effect.fn("DeliveryAudit.run")(function*(
  consumer: Consumer,
  options: AuditOptions = {}
): Effect.fn.Return<Audit, EventStoreError, EventStore | ProjectionStore> {
  const { driver: events } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const limits = yield* Limits
  const pageSize = Math.min(defaultPageSize, limits.pageSize)
  const generation = options.generation ?? (yield* store.activeGeneration(consumer.id))
  const most = options.faults ?? 100

  const partitions: Array<PartitionAudit> = []
  for (const { partition, partitions: of } of yield* store.progress(generation)) {
    const filter = filterOf({ ...consumer, partitions: of }, partition)
    const totals = yield* store.deliveryState(generation, partition, false)
    if (Option.isNone(totals)) continue
    const [segment] = consumer.from === "now" ? yield* store.applied(generation, partition) : []
    const after = consumer.from === "start"
      ? Position.start
      : segment === undefined
      ? totals.value.position
      : Position.make(segment.first - 1n)
    const compare = (deliveryState: DeliveryState, inDetail: boolean) =>
      compareWith(events, filter, pageSize, after, deliveryState, inDetail)
    let found = yield* compare(totals.value, false)
    if (found.faults.length > 0) {
      const whole = yield* store.deliveryState(generation, partition, true)
      if (Option.isNone(whole)) continue
      found = yield* compare(whole.value, true)
    }
    const { faults, ...counts } = found
    const named = yield* Effect.forEach(faults.slice(0, most), (fault) => known(events, pageSize, fault))
    partitions.push({
      partition,
      ...counts,
      status: faults.length === 0 ? "complete" : "faulty",
      faults: named,
      more: faults.length - named.length
    })
  }
  const first = partitions.flatMap(({ faults }) => faults.slice(0, 1)).reduce<Fault | undefined>(
    (first, fault) => first === undefined || fault.position < first.position ? fault : first,
    undefined
  )
  const isFaulty = partitions.some(({ status }) => status === "faulty")
  const status = partitions.length === 0 ? "unstarted" : isFaulty ? "faulty" : "complete"
  return { consumer: consumer.id, generation, status, first, partitions }
})

/** So many events of a range are kept in mind; where one has more, and a fault is not among them, it is not resolved. */
const remembered = 4_096

/** The events of a log, in order, up to a position that the high-water mark has reached before. */
const forEachUpTo = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  filter: LogFilter,
  [after, upTo]: readonly [Position.Position, Position.Position],
  limit: number,
  visit: (event: EncodedEvent) => void
): Effect.fn.Return<void, EventStoreError> {
  let reached = after
  while (reached < upTo) {
    const { events, head } = yield* driver.readAll({ after: reached, limit, ...filter })
    for (const event of events) if (event.position <= upTo) visit(event)
    const last = events.at(-1)
    if (events.length >= limit && last !== undefined) {
      reached = last.position
      continue
    }
    reached = Position.max(reached, head)
    // The head may step back for a moment, to before an append in flight.
    if (reached < upTo) yield* driver.changed(reached)
  }
})

/** Where the events of a range are counted. */
class Tally {
  count = 0
  xor = 0n
  readonly expected: Array<Audited> = []
  readonly left: Array<Audited> = []
}

/** In detail the faults that the segments tell; otherwise, and when they tell none, one that says whether the totals are right. */
const compareWith = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  filter: LogFilter,
  pageSize: number,
  after: Position.Position,
  { applied, digest, parked, position, segments, skipped }: DeliveryState,
  inDetail: boolean
): Effect.fn.Return<
  Omit<PartitionAudit, "partition" | "status" | "more">,
  EventStoreError
> {
  yield* withinLog(driver, position, [], yield* driver.head)
  const parkedFrom = new Map(parked.map((entry) => [entry.stream, entry.position]))
  const isSkipped = new Set<bigint>(skipped)
  const total = new Tally()
  const counts = { events: 0, parked: 0, skipped: 0 }
  const faults: Array<Fault> = []

  // Before the first segment nothing was applied.
  let index = -1
  let tally = new Tally()
  const close = () => {
    const { digest = 0n, events = 0, first = 0n } = segments[index] ?? {}
    const next = segments[index + 1]
    const range: Range = {
      ...tally,
      from: Position.max(Position.make(first), Position.make(1n)),
      upTo: next === undefined ? position : Position.make(next.first - 1n),
      applied: events,
      digest
    }
    faults.push(...faultsOf(range))
    index++
    tally = new Tally()
  }

  yield* forEachUpTo(driver, filter, [after, position], pageSize, (event) => {
    if (inDetail) {
      while (event.position >= (segments[index + 1]?.first ?? Infinity)) close()
    }
    const parkedAt = parkedFrom.get(event.stream)
    const isParked = parkedAt !== undefined && event.position >= parkedAt
    const isLeft = isParked || isSkipped.has(event.position)
    counts.events++
    if (isParked) counts.parked++
    else if (isLeft) counts.skipped++
    else {
      for (const sum of [tally, total]) {
        sum.count++
        sum.xor ^= digestOf(event.id)
      }
    }
    const kept = isLeft ? tally.left : tally.expected
    if (inDetail && kept.length < remembered) {
      const { id, stream, type, version } = event
      kept.push({ position: event.position, stream, version, id, type })
    }
  })
  if (inDetail) {
    while (index < segments.length) close()
  }
  const isRight = Number(applied) === total.count && digest === total.xor
  if (!isRight && faults.length === 0) {
    faults.push({
      kind: "unresolved",
      position: Position.make(1n),
      upTo: position,
      expected: total.count,
      applied: Number(applied)
    })
  }
  return { position, applied: Number(applied), ...counts, faults }
})

/** An event that is not the partition's may be in the log all the same. */
const known = (driver: EventStoreDriver, pageSize: number, fault: Fault): Effect.Effect<Fault, EventStoreError> =>
  Effect.gen(function*() {
    if (fault.kind !== "unknown") return fault
    let found: Fault = fault
    const range = [Position.make(fault.position - 1n), fault.upTo] as const
    yield* forEachUpTo(driver, {}, range, pageSize, ({ id, position, stream, type, version }) => {
      if (digestOf(id) !== fault.digest) return
      found = { kind: "unexpected", position, event: { position, stream, version, id, type } }
    })
    return found
  })
