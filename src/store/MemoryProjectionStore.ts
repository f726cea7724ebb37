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
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import { storeError, StoreMisconfigured } from "../domain/errors.ts"
import * as Position from "../domain/Position.ts"
import { type Segment, segmentSize } from "./Applied.ts"
import * as MemoryBuilds from "./MemoryBuilds.ts"
import * as MemoryKept from "./MemoryKept.ts"
import * as MemoryTransaction from "./MemoryTransaction.ts"
import type {
  Parked,
  ParkingEntry,
  Progress,
  ProjectionStoreDriver,
  StoredDocument,
  TargetView,
  Unprocessed
} from "./ProjectionStoreDriver.ts"

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

interface Partition extends Mutable<Omit<Progress, "readAt">> {
  readonly segments: Array<Segment>
}

interface Target {
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
  const targets = new Map<string, Target>()
  let revisions = 0n

  const targetOf = (name: string): Target => {
    let target = targets.get(name)
    if (target === undefined) {
      target = { partitions: [], workers: new Map(), documents: new Map(), parked: new Map(), log: [] }
      targets.set(name, target)
    }
    return target
  }

  const { active, isDiscarded, ...builds } = MemoryBuilds.make(targetOf)

  const put = (name: string, changes: ReadonlyArray<EncodedDocument>): void => {
    const { documents } = targetOf(name)
    for (const change of changes) {
      if (change.document === undefined) documents.delete(change.key)
      else documents.set(change.key, { ...change, revision: ++revisions })
    }
  }

  const load: ProjectionStoreDriver["load"] = (target, keys) =>
    Effect.sync(() => keys.flatMap((key) => storedOf(targetOf(target).documents.get(key))))

  const page = (
    target: string,
    where: ReadonlyArray<string>,
    after: string | undefined,
    limit: number
  ): ReadonlyArray<StoredDocument> =>
    Array.from(targetOf(target).documents.values())
      .filter((d) =>
        (after === undefined || comparePoints(d.key, after) > 0) && where.every((w) => d.indexed.includes(w))
      )
      .toSorted((a, b) => comparePoints(a.key, b.key))
      .slice(0, limit)
      .flatMap(storedOf)

  const viewOf = (target: string, keys: ReadonlyArray<string>): TargetView => {
    const { documents, partitions } = targetOf(target)
    return {
      positions: partitions.map(({ position }) => position),
      documents: new Map(keys.flatMap((key) => storedOf(documents.get(key))).map((found) => [found.key, found]))
    }
  }

  const parkedOf = (target: string, partition: number, event: Unprocessed, at: DateTime.Utc): Parked => ({
    ...event,
    target,
    partition,
    attempts: 1,
    parkedAt: at,
    request: undefined
  })

  const entryOf = (
    { eventId, position, stream }: Unprocessed,
    action: ParkingEntry["action"],
    at: DateTime.Utc,
    detail?: string,
    actor?: string
  ): ParkingEntry => ({ stream, position, eventId, action, detail, actor, at })

  return {
    transactions: "memory",
    transaction: MemoryTransaction.transaction,
    ...MemoryKept.make(targets),

    claim: ({ follower, lease, owner, partitions, standBack = false, target: build }) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const name = build ?? active(follower)
        if (isDiscarded(name)) {
          return Effect.fail(storeError(
            new StoreMisconfigured({ message: `${name} was discarded: begin another build`, cause: undefined })
          ))
        }
        const target = targetOf(name)
        const until = now + Duration.toMillis(lease)
        for (const [worker, end] of target.workers) if (end < now) target.workers.delete(worker)
        if (standBack) target.workers.delete(owner)
        else target.workers.set(owner, until)
        if (target.partitions.length === 0) {
          for (let partition = 0; partition < partitions; partition++) {
            target.partitions.push(emptyPartition(name, partition, partitions, now))
          }
        } else if (target.partitions.length !== partitions) {
          return Effect.fail(storeError(
            new StoreMisconfigured({
              message:
                `${name} was begun with ${target.partitions.length} partitions, not with ${partitions}: rebuild it, or raise its version`,
              cause: undefined
            })
          ))
        }
        const share = Math.ceil(partitions / Math.max(1, target.workers.size))
        let mine = target.partitions.filter((p) => p.owner === owner).length
        for (const partition of target.partitions) {
          if (partition.owner !== owner) {
            const isFree = partition.owner === undefined || DateTime.toEpochMillis(partition.leasedUntil!) < now
            if (!isFree || standBack || mine >= share) continue
            mine++
            partition.owner = owner
            partition.epoch++
          }
          partition.leasedUntil = DateTime.makeUnsafe(until)
          partition.seenAt = DateTime.makeUnsafe(now)
        }
        const requested = (partition: number) =>
          Array.from(target.parked.values()).some((p) => p.partition === partition && p.request !== undefined)
        return Effect.succeed({
          target: name,
          share,
          freeIn: target.partitions.filter((p) => p.owner !== undefined && p.owner !== owner)
            .map((p) => DateTime.toEpochMillis(p.leasedUntil!) - now)
            .reduce<number | undefined>((least, time) => Math.min(least ?? time, time), undefined),
          held: target.partitions.filter((p) => p.owner === owner).map(({ epoch, partition, position }) => ({
            partition,
            epoch,
            position,
            requested: requested(partition)
          }))
        })
      }),
    release: (name, owner, only) =>
      Effect.sync(() => {
        const target = targetOf(name)
        for (const partition of target.partitions) {
          if (partition.owner !== owner || (only !== undefined && partition.partition !== only)) continue
          partition.owner = undefined
          partition.leasedUntil = undefined
          partition.epoch++
        }
        if (only === undefined) target.workers.delete(owner)
      }),
    advance: ({ applied, changes, epoch, from, partition: index, reads, target: name, to }) =>
      Effect.suspend(() => {
        const target = targetOf(name)
        const partition = target.partitions[index]
        const isChanged = () =>
          reads?.some(({ key, revision }) => (target.documents.get(key)?.revision ?? 0n) !== revision) === true
        const isOurs = () => partition !== undefined && partition.epoch === epoch && partition.position === from
        if (isChanged()) return Effect.succeed("changed" as const)
        if (partition === undefined || !isOurs()) return Effect.succeed("lost" as const)
        const write = MemoryTransaction.write((now) => {
          partition.position = to
          partition.seenAt = now
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
    progress: (target) =>
      Effect.map(
        DateTime.now,
        (readAt) => targetOf(target).partitions.map(({ segments: _, ...progress }) => ({ ...progress, readAt }))
      ),
    activeTarget: (follower) => Effect.sync(() => active(follower)),
    checkpoint: (follower) =>
      Effect.sync(() =>
        targetOf(active(follower)).partitions.map((p) => p.position).reduce<Position.Position | undefined>(
          (least, position) => least === undefined || position < least ? position : least,
          undefined
        ) ?? Position.start
      ),
    applied: (target, partition) =>
      Effect.sync(() => Array.from(targetOf(target).partitions[partition]?.segments ?? [])),
    ledger: (name, index, segments) =>
      Effect.sync(() => {
        const target = targetOf(name)
        return Option.map(Option.fromUndefinedOr(target.partitions[index]), (partition) => ({
          position: partition.position,
          applied: partition.applied,
          digest: partition.digest,
          parked: Array.from(target.parked.values()).filter((p) => p.partition === index),
          skipped: target.log.filter((e) => e.action === "skipped").map((e) => e.position),
          segments: segments ? Array.from(partition.segments) : []
        }))
      }),
    applyLate: (target, index, events) =>
      MemoryTransaction.write((now) => {
        const partition = targetOf(target).partitions[index]!
        for (const event of events) {
          partition.applied += BigInt(event.events)
          partition.digest ^= event.digest
          partition.appliedAt = now
          const place = partition.segments.findLastIndex((segment) => segment.first <= event.first)
          if (place < 0) partition.segments.unshift(event)
          else partition.segments[place] = merged(partition.segments[place]!, event)
        }
      }),

    park: (target, partition, events) =>
      MemoryTransaction.write((now) => {
        const { log, parked } = targetOf(target)
        for (const event of events) {
          parked.set(event.stream, parkedOf(target, partition, event, now))
          log.push(entryOf(event, "parked", now, event.error))
        }
      }),
    parked: (target, partition) =>
      Effect.sync(() =>
        Array.from(targetOf(target).parked.values())
          .filter((p) => partition === undefined || p.partition === partition)
          .toSorted((a, b) => a.position < b.position ? -1 : 1)
      ),
    request: (target, stream, request, at) =>
      Effect.sync(() => {
        const { parked } = targetOf(target)
        const found = parked.get(stream)
        if (found === undefined || (at !== undefined && found.position !== at)) return false
        parked.set(stream, { ...found, request })
        return true
      }),
    unpark: ({ action, next, partition, stream, target }) =>
      MemoryTransaction.write((now) => {
        const { log, parked } = targetOf(target)
        const found = parked.get(stream)
        if (found === undefined) return
        parked.delete(stream)
        const detail = action === "failed" ? next?.error : found.request?.reason
        log.push(entryOf(found, action, now, detail, found.request?.actor))
        if (next === undefined) return
        const isSame = next.position === found.position
        const again = parkedOf(target, partition, next, isSame ? found.parkedAt : now)
        parked.set(stream, isSame ? { ...again, attempts: found.attempts + 1 } : again)
        if (!isSame) log.push(entryOf(next, "parked", now, next.error))
      }),
    parkingLog: (target) => Effect.sync(() => Array.from(targetOf(target).log)),

    load,
    // The memory event store runs one append at a time, transaction included.
    lock: load,
    write: (writes) =>
      Effect.sync(() => {
        for (const { changes, projection } of writes) put(projection, changes)
      }),
    get: (projection, key) =>
      Effect.map(
        Effect.suspend(() => load(active(projection), [key])),
        ([found]) => Option.fromUndefinedOr(found)
      ),
    list: ({ after, limit, projection, where }) => Effect.sync(() => page(active(projection), where, after, limit)),

    ...builds,
    targetPage: ({ after, limit, target }) => Effect.sync(() => page(target, [], after, limit)),
    views: ([one, other], keys) => Effect.sync(() => [viewOf(one, keys), viewOf(other, keys)])
  }
})

const emptyPartition = (target: string, partition: number, partitions: number, now: number): Partition => ({
  target,
  partition,
  partitions,
  position: Position.start,
  applied: 0n,
  digest: 0n,
  epoch: 0n,
  owner: undefined,
  leasedUntil: undefined,
  seenAt: DateTime.makeUnsafe(now),
  appliedAt: undefined,
  segments: []
})

const merged = (a: Segment, b: Segment): Segment => ({
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

/**
 * By code point, as the collation "C" of Postgres; JavaScript's own order is by UTF-16 code unit.
 *
 * @since 0.1.0
 * @category ordering
 */
export const comparePoints = (a: string, b: string): number => {
  const as = Array.from(a)
  const bs = Array.from(b)
  for (let i = 0; i < as.length && i < bs.length; i++) {
    const difference = as[i]!.codePointAt(0)! - bs[i]!.codePointAt(0)!
    if (difference !== 0) return difference
  }
  return as.length - bs.length
}
