/**
 * Proves that a consumer applied every event exactly once: compares its delivery log with the event log, while the consumer runs.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ConsumerDriver, DeliveryState, Progress } from "../consumer/CheckpointDriver.ts"
import type { Consumer } from "../consumer/Consumer.ts"
import * as ConsumerKey from "../consumer/ConsumerKey.ts"
import { digestOf } from "../consumer/DeliveryLog.ts"
import * as FormerPartitions from "../consumer/FormerPartitions.ts"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver, LogFilter } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { awaitReached } from "../eventStore/HighWaterMark.ts"
import { Limits } from "../eventStore/Limits.ts"
import * as LogIdentity from "../eventStore/LogIdentity.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { type AuditedDelivery, type AuditedEvent, type Fault, faultsOf } from "./AuditDiagnosis.ts"

export type { AuditedEvent, Fault } from "./AuditDiagnosis.ts"
import * as ReadsInForce from "./ReadsInForce.ts"

/**
 * Options of an audit.
 *
 * @since 0.1.0
 * @category options
 */
export interface AuditOptions {
  /** The generation to audit; the active one by default. */
  readonly generation?: string | undefined
  /** The maximum number of faults that are returned per partition, the first ones; 100 by default. */
  readonly maxFaults?: number | undefined
  /** Runs after each page of the log. */
  readonly onProgress?: ((progress: AuditProgress) => Effect.Effect<void>) | undefined
}

/**
 * The progress of an audit, which reads the log once for each partition, and again for one with a fault.
 *
 * @since 0.1.0
 * @category models
 */
export interface AuditProgress {
  readonly partition: number
  /** The position up to which the partition is compared in this reading. */
  readonly position: Position.Position
  /** The position at which this reading ends. */
  readonly end: Position.Position
}

/**
 * The audit of one partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionAudit {
  readonly partition: number
  /**
   * Events up to this position are not compared: where a subscription `from` `"now"` began, the position to which the checkpoint was reset, or the
   * lowest checkpoint when the number of partitions changed; 0 if none of these. After such a change, earlier events that waited for a parked key are
   * compared too.
   */
  readonly after: Position.Position
  /** The checkpoint. Later events are not compared. */
  readonly position: Position.Position
  /** The number of the partition's deliveries in the log up to the checkpoint: each event counts once for each of its keys there. */
  readonly events: number
  /** The number of deliveries that were applied, according to the checkpoint. */
  readonly applied: number
  /** The number of deliveries that are not to be applied yet, because their key is parked. */
  readonly parked: number
  /** The number of deliveries that are never to be applied. */
  readonly skipped: number
  readonly status: "complete" | "faulty"
  /** The first faults, by position. */
  readonly faults: ReadonlyArray<Fault>
  /** The number of further faults. */
  readonly more: number
}

/**
 * The audit of a consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Audit {
  readonly consumer: string
  readonly generation: string
  /** `"unstarted"` when no worker has ever run the consumer; `"faulty"` when a partition is. */
  readonly status: "complete" | "faulty" | "unstarted"
  /** The fault at the lowest position of all partitions. */
  readonly first: Fault | undefined
  readonly partitions: ReadonlyArray<PartitionAudit>
}

/**
 * Compares what a consumer applied with the log, up to its checkpoints.
 *
 * **Details**
 *
 * Reads the log page by page, once per partition. When the count and the digest of all applied events match, the audit ends there. Otherwise
 * it reads the log again, next to the segments of the delivery log, and names the faults as exactly as the segments allow. It expects an event if the
 * code that processed it reads it: a release may read other events than the release before it.
 *
 * **Gotchas**
 *
 * An `inline` or `live` projection has no delivery log, and is `"unstarted"`. After the number of partitions has changed, or of a version that continues
 * an earlier one, the audit fails with `LogDiverged` if the log lacks an event up to which the former partitions had processed it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = Effect.fn("DeliveryAudit.run")(function*(
  consumer: Consumer,
  options: AuditOptions = {}
): Effect.fn.Return<Audit, EventStoreError, EventStore | ProjectionStore> {
  const { driver: log } = (yield* EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore)[internals]
  const limits = yield* Limits
  const pageSize = Math.min(defaultPageSize, limits.pageSize)
  const generation = options.generation ?? (yield* store.activeGeneration(consumer.id))
  const partitions: Array<PartitionAudit> = []
  for (const progress of yield* store.progress(generation)) {
    const { partition } = progress
    const onPage = (position: Position.Position, end: Position.Position) =>
      options.onProgress?.({ partition, position, end }) ?? Effect.void
    const audited = yield* auditPartition(
      { log, store, pageSize, onPage },
      consumer,
      progress,
      options.maxFaults ?? 100
    )
    partitions.push(...Option.toArray(audited))
  }
  const first = partitions.flatMap(({ faults }) => faults.slice(0, 1)).reduce<Fault | undefined>(
    (first, fault) => first === undefined || fault.position < first.position ? fault : first,
    undefined
  )
  const isFaulty = partitions.some(({ status }) => status === "faulty")
  const status = partitions.length === 0 ? "unstarted" : isFaulty ? "faulty" : "complete"
  return { consumer: consumer.id, generation, status, first, partitions }
})

interface Sources {
  readonly log: EventStoreDriver
  readonly store: ConsumerDriver
  readonly pageSize: number
  /** Runs after each page, with its position and that at which the reading ends. */
  readonly onPage: OnPage
}

type OnPage = (position: Position.Position, end: Position.Position) => Effect.Effect<void>

/** Returns none when the partition was discarded in the meantime. */
const auditPartition = Effect.fnUntraced(function*(
  { log, onPage, pageSize, store }: Sources,
  consumer: Consumer,
  { generation, partition, partitionedBy, partitions }: Progress,
  maxFaults: number
): Effect.fn.Return<Option.Option<PartitionAudit>, EventStoreError> {
  const keyed = { ...consumer, partitions, partitionBy: ConsumerKey.parse(partitionedBy) }
  const totals = yield* store.deliveryState(generation, partition, false)
  if (Option.isNone(totals)) return Option.none()
  const compare = (state: DeliveryState, inDetail: boolean) =>
    compareWithLog({ log, keyed, partition, pageSize, onPage, state, inDetail })
  let comparison = yield* compare(totals.value, false)
  if (comparison.faults.length > 0) {
    const detailed = yield* store.deliveryState(generation, partition, true)
    if (Option.isNone(detailed)) return Option.none()
    comparison = yield* compare(detailed.value, true)
  }
  const { faults, ...counts } = comparison
  const named = yield* Effect.forEach(faults.slice(0, maxFaults), (fault) => lookUp(log, pageSize, fault))
  return Option.some({
    partition,
    ...counts,
    status: faults.length === 0 ? "complete" as const : "faulty" as const,
    faults: named,
    more: faults.length - named.length
  })
})

/** The number of events of a range that are held in memory. A fault among further events is `unresolved`. */
const maxEventsInRange = 4_096

/** Visits the events of the log, in order, up to a position that the high-water mark has reached before. */
const forEachUpTo = Effect.fnUntraced(function*(
  log: EventStoreDriver,
  filter: LogFilter,
  [after, upTo]: readonly [Position.Position, Position.Position],
  limit: number,
  visit: (event: EncodedEvent) => void,
  onPage: OnPage = () => Effect.void
): Effect.fn.Return<void, EventStoreError> {
  let reached = after
  while (reached < upTo) {
    const page = yield* log.readAll({ after: reached, limit, ...filter })
    for (const event of page.events) if (event.position <= upTo) visit(event)
    reached = page.reached.position
    yield* onPage(Position.min(reached, upTo), upTo)
    // An append in flight may move the high-water mark back for a moment.
    if (reached >= page.head && reached < upTo) {
      yield* awaitReached(log, LogPosition.make(upTo, undefined), "A delivery audit")
    }
  }
})

/** The sums over the events that are to be applied. */
class Sums {
  count = 0
  digest = 0n
  add({ digest }: ConsumerKey.Delivery): void {
    this.count++
    this.digest ^= digest
  }
}

/** Builds the ranges between the segments of a delivery log, event by event, and collects their faults. */
class RangeComparison {
  readonly faults: Array<Fault> = []
  private readonly state: DeliveryState
  /** The segment of the current range. Before the first segment nothing was applied. */
  private index = -1
  private sums = new Sums()
  private expected: Array<AuditedDelivery> = []
  private excluded: Array<AuditedDelivery> = []

  constructor(state: DeliveryState) {
    this.state = state
  }

  add(delivery: ConsumerKey.Delivery, isExcluded: boolean): void {
    while (delivery.event.position >= (this.state.segments[this.index + 1]?.first ?? Infinity)) this.closeRange()
    if (!isExcluded) this.sums.add(delivery)
    const events = isExcluded ? this.excluded : this.expected
    if (events.length < maxEventsInRange) events.push({ event: auditedOf(delivery.event), digest: delivery.digest })
  }

  finish(): void {
    while (this.index < this.state.segments.length) this.closeRange()
  }

  private closeRange(): void {
    const { position, segments } = this.state
    const { digest = 0n, events = 0, first = 0n } = segments[this.index] ?? {}
    const next = segments[this.index + 1]
    this.faults.push(...faultsOf({
      from: Position.max(Position.make(first), Position.make(1n)),
      upTo: next === undefined ? position : Position.make(next.first - 1n),
      expected: this.expected,
      excluded: this.excluded,
      expectedCount: this.sums.count,
      expectedDigest: this.sums.digest,
      applied: events,
      digest
    }))
    this.index++
    this.sums = new Sums()
    this.expected = []
    this.excluded = []
  }
}

const placeOf = ({ key, position }: DeliveryState["skipped"][number]): string => `${position}:${key}`

/** Compares the totals; in detail, the segments too. When only the totals differ, the one fault is `unresolved`. */
const compareWithLog = Effect.fnUntraced(
  function*({ inDetail, keyed, log, onPage, pageSize, partition, state }: {
    readonly log: EventStoreDriver
    readonly keyed: Consumer
    readonly partition: number
    readonly pageSize: number
    readonly onPage: OnPage
    readonly state: DeliveryState
    readonly inDetail: boolean
  }): Effect.fn.Return<Omit<PartitionAudit, "partition" | "status" | "more">, EventStoreError> {
    const { deliveryFrom, digest, former = [], moved = [], parked, position, skipped } = state
    const by = ConsumerKey.format(keyed.partitionBy)
    const movedFrom = new Map(moved.map((entry) => [entry.key, entry.position]))
    const isOfFormer = (event: EncodedEvent, key: string) =>
      FormerPartitions.isProcessedUnderOtherKeys(former, by, event, key)
      || (FormerPartitions.isProcessed(former, by, event, key) && event.position < (movedFrom.get(key) ?? Infinity))
    const applied = Number(state.applied)
    yield* LogIdentity.withinLog(log, position, [], yield* log.head)
    // What the former partitions have processed is in no delivery log.
    yield* LogIdentity.requireEvents(log, FormerPartitions.allCheckpoints(former))
    const parkedFrom = new Map(parked.map((entry) => [entry.key, entry.position]))
    const skippedDeliveries = new Set(skipped.map(placeOf))
    const total = new Sums()
    const counts = { events: 0, parked: 0, skipped: 0 }
    const ranges = new RangeComparison(state)
    const read = ReadsInForce.of(state)
    const filter = {
      ...read.filter,
      partition: ConsumerKey.partitionFilter(keyed.partitionBy, partition, keyed.partitions)
    }
    const after = Position.max(deliveryFrom, FormerPartitions.passed(former))
    yield* forEachUpTo(log, filter, [moved.length === 0 ? after : deliveryFrom, position], pageSize, (event) => {
      const selected = ConsumerKey.select(event, ConsumerKey.keysOf(keyed, event), {
        index: partition,
        of: keyed.partitions
      })
      for (const delivery of ConsumerKey.deliveriesOf(selected === undefined ? [] : [selected])) {
        if (!read.isRead(delivery)) continue
        const { position } = event
        // The delivery log began again when the number of partitions changed.
        if (isOfFormer(event, delivery.key)) continue
        // An event that was skipped or is parked without a key may have one in this code.
        const parkedAt = parkedFrom.get(delivery.key)
        const isParked = (parkedAt !== undefined && position >= parkedAt)
          || parkedFrom.get(ConsumerKey.unknownKey) === position
        const isExcluded = isParked || skippedDeliveries.has(placeOf({ key: delivery.key, position }))
          || skippedDeliveries.has(placeOf({ key: ConsumerKey.unknownKey, position }))
        counts.events++
        if (isParked) counts.parked++
        else if (isExcluded) counts.skipped++
        else total.add(delivery)
        if (inDetail) ranges.add(delivery, isExcluded)
      }
    }, onPage)
    if (inDetail) ranges.finish()
    const isComplete = applied === total.count && digest === total.digest
    const unresolved: ReadonlyArray<Fault> = isComplete || ranges.faults.length > 0
      ? []
      : [{ kind: "unresolved", position: Position.make(after + 1n), upTo: position, expected: total.count, applied }]
    return { after, position, applied, ...counts, faults: [...ranges.faults, ...unresolved] }
  }
)

/** Looks an `unknown` digest up in the whole log: the event may belong to another partition. */
const lookUp = (log: EventStoreDriver, pageSize: number, fault: Fault): Effect.Effect<Fault, EventStoreError> =>
  Effect.gen(function*() {
    if (fault.kind !== "unknown") return fault
    let found: Fault = fault
    const range = [Position.make(fault.position - 1n), fault.upTo] as const
    yield* forEachUpTo(log, {}, range, pageSize, (event) => {
      if (digestOf(event.id) !== fault.digest) return
      found = { kind: "unexpected", position: event.position, event: auditedOf(event) }
    })
    return found
  })

const auditedOf = ({ id, position, stream, type, version }: EncodedEvent): AuditedEvent => ({
  position,
  stream,
  version,
  id,
  type
})
