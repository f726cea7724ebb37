/**
 * The projection store driver in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import * as Position from "../domain/Position.ts"
import type { ProjectionStoreDriver, StoredDocument } from "./ProjectionStoreDriver.ts"

interface Checkpoint {
  position: Position.Position
  epoch: bigint
  owner: string | undefined
  leasedUntil: number
}

type Documents = Map<string, EncodedDocument>

/**
 * A new, empty store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<ProjectionStoreDriver> = Effect.sync(() => {
  const checkpoints = new Map<string, Checkpoint>()
  const projections = new Map<string, Documents>()

  const documentsOf = (projection: string): Documents => {
    let documents = projections.get(projection)
    if (documents === undefined) {
      documents = new Map()
      projections.set(projection, documents)
    }
    return documents
  }

  const put = (projection: string, changes: ReadonlyArray<EncodedDocument>): void => {
    const documents = documentsOf(projection)
    for (const change of changes) {
      if (change.document === undefined) documents.delete(change.key)
      else documents.set(change.key, change)
    }
  }

  const load: ProjectionStoreDriver["load"] = (projection, keys) =>
    Effect.sync(() => keys.flatMap((key) => storedOf(documentsOf(projection).get(key))))

  return {
    transactions: "memory",
    acquire: (projection, owner, lease) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const held = checkpoints.get(projection)
        if (held?.owner !== undefined && held.owner !== owner && held.leasedUntil >= now) return Option.none()
        const position = held?.position ?? Position.start
        const epoch = (held?.epoch ?? 0n) + 1n
        checkpoints.set(projection, { position, epoch, owner, leasedUntil: now + Duration.toMillis(lease) })
        return Option.some({ epoch, position })
      }),
    release: (projection, epoch) =>
      Effect.sync(() => {
        const held = checkpoints.get(projection)
        if (held?.epoch !== epoch) return
        held.owner = undefined
        held.epoch++
      }),
    advance: ({ changes, epoch, from, lease, projection, to }) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const held = checkpoints.get(projection)
        if (held === undefined || held.epoch !== epoch || held.position !== from) return false
        put(projection, changes)
        held.position = to
        held.leasedUntil = now + Duration.toMillis(lease)
        return true
      }),
    checkpoint: (projection) => Effect.sync(() => checkpoints.get(projection)?.position ?? Position.start),
    load,
    // The memory event store runs one append at a time, transaction included.
    lock: load,
    write: (writes) =>
      Effect.sync(() => {
        for (const { changes, projection } of writes) put(projection, changes)
      }),
    list: ({ after, limit, projection, where }) =>
      Effect.sync(() =>
        Array.from(documentsOf(projection).values())
          .filter((d) =>
            (after === undefined || comparePoints(d.key, after) > 0) && where.every((w) => d.indexed.includes(w))
          )
          .toSorted((a, b) => comparePoints(a.key, b.key))
          .slice(0, limit)
          .flatMap(storedOf)
      )
  }
})

const storedOf = (found: EncodedDocument | undefined): ReadonlyArray<StoredDocument> =>
  found?.document === undefined
    ? []
    // The text was made by JSON.stringify.
    : [{ key: found.key, document: JSON.parse(found.document) as Schema.Json }]

/** By code point, as the collation "C" of Postgres; JavaScript's own order is by UTF-16 code unit. */
const comparePoints = (a: string, b: string): number => {
  const as = Array.from(a)
  const bs = Array.from(b)
  for (let i = 0; i < as.length && i < bs.length; i++) {
    const difference = as[i]!.codePointAt(0)! - bs[i]!.codePointAt(0)!
    if (difference !== 0) return difference
  }
  return as.length - bs.length
}
