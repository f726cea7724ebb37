/**
 * The projection store driver in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../../consumer/CheckpointDriver.ts"
import type { Progress } from "../../consumer/CheckpointDriver.ts"
import { type DeliverySegment, segmentSize } from "../../consumer/DeliveryLog.ts"
import type { FailedEvent, Parked, ParkingEntry } from "../../consumer/ParkingDriver.ts"
import { storeError, StoreMisconfigured } from "../../core/errors.ts"
import * as Position from "../../core/Position.ts"
import * as MemoryTransaction from "../../eventStore/MemoryTransaction.ts"
import * as KeyOrder from "../KeyOrder.ts"
import type { GenerationView, ProjectionStoreDriver, StoredDocument } from "../ProjectionStoreDriver.ts"
import * as MemoryGenerations from "./MemoryGenerations.ts"
import * as MemoryPersonalDataScan from "./MemoryPersonalDataScan.ts"

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

interface Partition extends Mutable<Omit<Progress, "readAt">> {
  readonly segments: Array<DeliverySegment>
}

interface GenerationState {
  readonly partitions: Array<Partition>
  readonly workers: Map<string, number>
  readonly documents: Map<string, EncodedDocument & { readonly revision: bigint }>
  readonly parked: Map<string, Parked>
  readonly log: Array<ParkingEntry>
}

/**
 * A new, empty store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<ProjectionStoreDriver> = Effect.sync(() => {
  const states = new Map<string, GenerationState>()
  let revisions = 0n

  const stateOf = (name: string): GenerationState => {
    let generation = states.get(name)
    if (generation === undefined) {
      generation = { partitions: [], workers: new Map(), documents: new Map(), parked: new Map(), log: [] }
      states.set(name, generation)
    }
    return generation
  }

  const { active, isDiscarded, ...generations } = MemoryGenerations.make(stateOf)

  const put = (name: string, changes: ReadonlyArray<EncodedDocument>): void => {
    const { documents } = stateOf(name)
    for (const change of changes) {
      if (change.document === undefined) documents.delete(change.key)
      else documents.set(change.key, { ...change, revision: ++revisions })
    }
  }

  const load: ProjectionStoreDriver["load"] = (generation, keys) =>
    Effect.sync(() => keys.flatMap((key) => storedOf(stateOf(generation).documents.get(key))))

  const page = (
    generation: string,
    where: ReadonlyArray<string>,
    after: string | undefined,
    limit: number
  ): ReadonlyArray<StoredDocument> =>
    Array.from(stateOf(generation).documents.values())
      .filter((d) =>
        (after === undefined || KeyOrder.compare(d.key, after) > 0) && where.every((w) => d.indexed.includes(w))
      )
      .toSorted((a, b) => KeyOrder.compare(a.key, b.key))
      .slice(0, limit)
      .flatMap(storedOf)

  const viewOf = (generation: string, keys: ReadonlyArray<string>): GenerationView => {
    const { documents, partitions } = stateOf(generation)
    return {
      positions: partitions.map(({ position }) => position),
      documents: new Map(keys.flatMap((key) => storedOf(documents.get(key))).map((found) => [found.key, found]))
    }
  }

  const parkedOf = (generation: string, partition: number, event: FailedEvent, at: DateTime.Utc): Parked => ({
    ...event,
    generation,
    partition,
    attempts: 1,
    parkedAt: at,
    request: undefined
  })

  const entryOf = (
    { eventId, position, stream }: FailedEvent,
    action: ParkingEntry["action"],
    at: DateTime.Utc,
    detail?: string,
    actor?: string
  ): ParkingEntry => ({ stream, position, eventId, action, detail, actor, at })

  return {
    transactions: "memory",
    transaction: MemoryTransaction.transaction,
    ...MemoryPersonalDataScan.make(states),

    claim: ({ consumer, lease, owner, partitions, renewOnly = false, generation }) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const name = generation ?? active(consumer)
        if (isDiscarded(name)) {
          return Effect.fail(storeError(
            new StoreMisconfigured({ message: `${name} was discarded: begin another build`, cause: undefined })
          ))
        }
        const state = stateOf(name)
        const until = now + Duration.toMillis(lease)
        for (const [worker, end] of state.workers) if (end < now) state.workers.delete(worker)
        if (renewOnly) state.workers.delete(owner)
        else state.workers.set(owner, until)
        if (state.partitions.length === 0) {
          for (let partition = 0; partition < partitions; partition++) {
            state.partitions.push(emptyPartition(name, partition, partitions, now))
          }
        } else if (state.partitions.length !== partitions) {
          return Effect.fail(storeError(
            new StoreMisconfigured({
              message:
                `${name} was begun with ${state.partitions.length} partitions, not with ${partitions}: rebuild it, or raise its version`,
              cause: undefined
            })
          ))
        }
        const assignmentSize = Math.ceil(partitions / Math.max(1, state.workers.size))
        let mine = state.partitions.filter((p) => p.owner === owner).length
        for (const partition of state.partitions) {
          if (partition.owner !== owner) {
            const takenUntil = partition.leasedUntil ?? partition.heldUntil
            const isFree = takenUntil === undefined || DateTime.toEpochMillis(takenUntil) < now
            if (!isFree || renewOnly || mine >= assignmentSize) continue
            mine++
            partition.owner = owner
            partition.heldUntil = undefined
            partition.epoch++
          }
          partition.leasedUntil = DateTime.makeUnsafe(until)
          partition.heartbeatAt = DateTime.makeUnsafe(now)
        }
        const requested = (partition: number) =>
          Array.from(state.parked.values()).some((p) => p.partition === partition && p.request !== undefined)
        return Effect.succeed({
          generation: name,
          assignmentSize,
          nextLeaseEndsIn: state.partitions.filter((p) => p.owner !== owner)
            .flatMap((p) => p.leasedUntil ?? p.heldUntil ?? [])
            .map((until) => DateTime.toEpochMillis(until) - now)
            .reduce<number | undefined>((least, time) => Math.min(least ?? time, time), undefined),
          assigned: state.partitions.filter((p) => p.owner === owner).map(({ epoch, partition, position }) => ({
            partition,
            epoch,
            position,
            requested: requested(partition)
          }))
        })
      }),
    release: (name, owner, only) =>
      Effect.sync(() => {
        const generation = stateOf(name)
        for (const partition of generation.partitions) {
          if (partition.owner !== owner || (only !== undefined && partition.partition !== only)) continue
          partition.owner = undefined
          partition.leasedUntil = undefined
          partition.epoch++
        }
        if (only === undefined) generation.workers.delete(owner)
      }),
    advance: ({ applied, changes, epoch, from, partition: index, reads, generation: name, to }) =>
      Effect.suspend(() => {
        const generation = stateOf(name)
        const partition = generation.partitions[index]
        const isChanged = () =>
          reads?.some(({ key, revision }) => (generation.documents.get(key)?.revision ?? 0n) !== revision) === true
        const isOurs = () => partition !== undefined && partition.epoch === epoch && partition.position === from
        if (isChanged()) return Effect.succeed("changed" as const)
        if (partition === undefined || !isOurs()) return Effect.succeed("lost" as const)
        const write = MemoryTransaction.write((now) => {
          partition.position = to
          partition.heartbeatAt = now
          if (applied.length > 0) partition.appliedAt = now
          for (const segment of applied) {
            partition.applied += BigInt(segment.events)
            partition.digest ^= segment.digest
            const last = partition.segments.at(-1)
            if (last !== undefined && last.events + segment.events <= segmentSize) {
              partition.segments[partition.segments.length - 1] = merged(last, segment)
            } else partition.segments.push(segment)
          }
          put(name, changes)
        }, () => isOurs() && !isChanged())
        return Effect.as(write, "advanced" as const)
      }),
    progress: (generation) =>
      Effect.map(
        DateTime.now,
        (readAt) => stateOf(generation).partitions.map(({ segments: _, ...progress }) => ({ ...progress, readAt }))
      ),
    activeGeneration: (consumer) => Effect.sync(() => active(consumer)),
    checkpoint: (consumer) =>
      Effect.sync(() =>
        stateOf(active(consumer)).partitions.map((p) => p.position).reduce<Position.Position | undefined>(
          (least, position) => least === undefined || position < least ? position : least,
          undefined
        ) ?? Position.start
      ),
    applied: (generation, partition) =>
      Effect.sync(() => Array.from(stateOf(generation).partitions[partition]?.segments ?? [])),
    deliveryState: (name, index, segments) =>
      Effect.sync(() => {
        const generation = stateOf(name)
        return Option.map(Option.fromUndefinedOr(generation.partitions[index]), (partition) => ({
          position: partition.position,
          applied: partition.applied,
          digest: partition.digest,
          parked: Array.from(generation.parked.values()).filter((p) => p.partition === index),
          skipped: generation.log.filter((e) => e.action === "skipped").map((e) => e.position),
          segments: segments ? Array.from(partition.segments) : []
        }))
      }),
    recordLateDelivery: (generation, index, events) =>
      MemoryTransaction.write((now) => {
        const partition = stateOf(generation).partitions[index]!
        for (const event of events) {
          partition.applied += BigInt(event.events)
          partition.digest ^= event.digest
          partition.appliedAt = now
          const place = partition.segments.findLastIndex((segment) => segment.first <= event.first)
          if (place < 0) partition.segments.unshift(event)
          else partition.segments[place] = merged(partition.segments[place]!, event)
        }
      }),

    park: (generation, partition, events) =>
      MemoryTransaction.write((now) => {
        const { log, parked } = stateOf(generation)
        for (const event of events) {
          parked.set(event.stream, parkedOf(generation, partition, event, now))
          log.push(entryOf(event, "parked", now, event.error))
        }
      }),
    parked: (generation, partition) =>
      Effect.sync(() =>
        Array.from(stateOf(generation).parked.values())
          .filter((p) => partition === undefined || p.partition === partition)
          .toSorted((a, b) => a.position < b.position ? -1 : 1)
      ),
    request: (generation, stream, request, at) =>
      Effect.sync(() => {
        const { parked } = stateOf(generation)
        const found = parked.get(stream)
        if (found === undefined || (at !== undefined && found.position !== at)) return false
        parked.set(stream, { ...found, request })
        return true
      }),
    unpark: ({ action, next, partition, stream, generation }) =>
      MemoryTransaction.write((now) => {
        const { log, parked } = stateOf(generation)
        const found = parked.get(stream)
        if (found === undefined) return
        parked.delete(stream)
        const detail = action === "failed" ? next?.error : found.request?.reason
        log.push(entryOf(found, action, now, detail, found.request?.actor))
        if (next === undefined) return
        const isSame = next.position === found.position
        const again = parkedOf(generation, partition, next, isSame ? found.parkedAt : now)
        parked.set(stream, isSame ? { ...again, attempts: found.attempts + 1 } : again)
        if (!isSame) log.push(entryOf(next, "parked", now, next.error))
      }),
    parkingLog: (generation) => Effect.sync(() => Array.from(stateOf(generation).log)),

    load,
    // The memory event store runs one append at a time, transaction included.
    lock: load,
    write: (writes) =>
      Effect.sync(() => {
        for (const { changes, generation } of writes) put(generation, changes)
      }),
    get: (consumer, key) =>
      Effect.map(
        Effect.suspend(() => load(active(consumer), [key])),
        ([found]) => Option.fromUndefinedOr(found)
      ),
    list: ({ after, limit, consumer, where }) => Effect.sync(() => page(active(consumer), where, after, limit)),

    ...generations,
    generationPage: ({ after, limit, generation }) => Effect.sync(() => page(generation, [], after, limit)),
    views: ([one, other], keys) => Effect.sync(() => [viewOf(one, keys), viewOf(other, keys)])
  }
})

const emptyPartition = (generation: string, partition: number, partitions: number, now: number): Partition => ({
  generation,
  partition,
  partitions,
  position: Position.start,
  applied: 0n,
  digest: 0n,
  epoch: 0n,
  owner: undefined,
  leasedUntil: undefined,
  heldUntil: undefined,
  heartbeatAt: DateTime.makeUnsafe(now),
  appliedAt: undefined,
  segments: []
})

const merged = (a: DeliverySegment, b: DeliverySegment): DeliverySegment => ({
  first: a.first,
  events: a.events + b.events,
  digest: a.digest ^ b.digest
})

const storedOf = (
  found: (EncodedDocument & { readonly revision: bigint }) | undefined
): ReadonlyArray<StoredDocument> =>
  found?.document === undefined
    ? []
    // The text was made by JSON.stringify.
    : [{ key: found.key, document: JSON.parse(found.document) as Schema.Json, revision: found.revision }]
