/**
 * Builds of a follower's target beside the active one, in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Position from "../domain/Position.ts"
import type { Build, BuildsDriver, Switched } from "./ProjectionStoreDriver.ts"

/**
 * What a switch has to know of a target, and what it changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly partitions: Array<{
    readonly partitions: number
    readonly position: Position.Position
    epoch: bigint
    owner: string | undefined
    leasedUntil: DateTime.Utc | undefined
  }>
  readonly workers: { readonly clear: () => void }
  readonly documents: { readonly clear: () => void }
  readonly parked: { readonly clear: () => void }
}

/**
 * - `active`: which target of a follower is
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryBuilds extends Omit<BuildsDriver, "targetPage" | "views"> {
  readonly active: (follower: string) => string
  readonly isDiscarded: (target: string) => boolean
}

interface Entry {
  readonly target: string
  readonly number: number
  readonly startedAt: DateTime.Utc | undefined
  readonly goal: Position.Position
  switchedAt: DateTime.Utc | undefined
  isDiscarded: boolean
}

interface Follower {
  readonly entries: Array<Entry>
  active: string
  previous: string | undefined
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (targetOf: (target: string) => Target): MemoryBuilds => {
  const followers = new Map<string, Follower>()
  const discarded = new Set<string>()

  const followerOf = (id: string): Follower => {
    let follower = followers.get(id)
    if (follower === undefined) {
      follower = { entries: [], active: id, previous: undefined }
      followers.set(id, follower)
    }
    if (follower.entries.length === 0 && targetOf(id).partitions.length > 0) {
      follower.entries.push(entryOf(id, 0, undefined, Position.start))
    }
    return follower
  }

  const statusOf = (follower: Follower, entry: Entry): Build["status"] =>
    entry.isDiscarded
      ? "discarded"
      : entry.target === follower.active
      ? positionOf(targetOf(entry.target)) < entry.goal ? "building" : "active"
      : entry.target === follower.previous
      ? "previous"
      : entry.number > 0 && entry.switchedAt === undefined
      ? "building"
      : "retired"

  const known = (follower: Follower, target: string): Entry | undefined =>
    follower.entries.find((entry) => entry.target === target)

  const switchNow = (
    id: string,
    to: string,
    evenIfBehind: boolean,
    holdUntil: DateTime.Utc | undefined,
    now: DateTime.Utc
  ): Switched => {
    const follower = followerOf(id)
    const entry = known(follower, to)
    const [was, next] = [targetOf(follower.active), targetOf(to)]
    if (entry === undefined || entry.isDiscarded || next.partitions.length === 0) return { _tag: "Unknown" }
    if (follower.active === to) return { _tag: "Switched" }
    const missing = evenIfBehind ? 0n : missingOf(was, next)
    if (missing > 0n) {
      if (holdUntil !== undefined) {
        for (const partition of was.partitions) {
          partition.epoch++
          partition.owner = ""
          partition.leasedUntil = holdUntil
        }
      }
      return { _tag: "Behind", missing }
    }
    follower.previous = follower.active
    follower.active = to
    entry.switchedAt = now
    for (const target of [was, next]) {
      for (const partition of target.partitions) {
        partition.epoch++
        partition.owner = undefined
        partition.leasedUntil = undefined
      }
      target.workers.clear()
    }
    return { _tag: "Switched" }
  }

  return {
    active: (follower) => followers.get(follower)?.active ?? follower,
    isDiscarded: (target) => discarded.has(target),
    beginBuild: (id, head) =>
      Effect.map(DateTime.now, (now) => {
        const follower = followerOf(id)
        const unfinished = follower.entries.find((entry) => statusOf(follower, entry) === "building")
        if (unfinished !== undefined) return unfinished.target
        const number = (follower.entries.at(-1)?.number ?? -1) + 1
        const entry = number === 0 ? entryOf(id, 0, now, head) : entryOf(`${id}~${number}`, number, now, Position.start)
        follower.entries.push(entry)
        return entry.target
      }),
    builds: (id) =>
      Effect.sync(() => {
        const follower = followerOf(id)
        return follower.entries.map((entry) => ({
          target: entry.target,
          status: statusOf(follower, entry),
          startedAt: entry.startedAt,
          switchedAt: entry.switchedAt,
          partitions: targetOf(entry.target).partitions.length,
          position: positionOf(targetOf(entry.target))
        }))
      }),
    switchTarget: ({ follower, to, whenBehind }) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        switchNow(
          follower,
          to,
          whenBehind === "switch",
          typeof whenBehind === "string" ? undefined : DateTime.makeUnsafe(now + Duration.toMillis(whenBehind.hold)),
          DateTime.makeUnsafe(now)
        )),
    discard: (id, target) =>
      Effect.sync(() => {
        const follower = followerOf(id)
        const entry = known(follower, target)
        if (follower.active === target) return "active"
        if (entry === undefined) return "unknown"
        entry.isDiscarded = true
        discarded.add(target)
        if (follower.previous === target) follower.previous = undefined
        const { documents, parked, partitions, workers } = targetOf(target)
        // Whoever holds one has lost it.
        for (const partition of partitions) partition.epoch++
        partitions.length = 0
        for (const kept of [documents, parked, workers]) kept.clear()
        return "discarded"
      })
  }
}

const entryOf = (
  target: string,
  number: number,
  startedAt: DateTime.Utc | undefined,
  goal: Position.Position
): Entry => ({ target, number, startedAt, goal, switchedAt: undefined, isDiscarded: false })

const positionOf = ({ partitions: [first, ...others] }: Target): Position.Position =>
  others.reduce(
    (least, { position }) => position < least ? position : least,
    first?.position ?? Position.start
  )

/** How many positions the second target lacks for its readers to see nothing older than those of the first. */
const missingOf = (was: Target, next: Target): bigint => {
  const furthest = was.partitions.reduce((most, { position }) => Position.max(most, position), Position.start)
  return next.partitions.reduce((most, { partitions, position }, index) => {
    const wanted = partitions === was.partitions.length ? was.partitions[index]!.position : furthest
    return wanted - position > most ? wanted - position : most
  }, 0n)
}
