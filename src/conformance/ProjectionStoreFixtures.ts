/**
 * A projection and helpers of the projection store suite.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import * as IndexedFields from "../projection/list/IndexedFields.ts"
import * as IndexEntry from "../projection/list/IndexEntry.ts"
import * as Projection from "../projection/ProjectionDefinition.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import { unique } from "./Suite.ts"

/**
 * The event of `notes`.
 *
 * @since 0.1.0
 * @category models
 */
export const Noticed = Schema.TaggedUnion({ Noticed: { id: Schema.String } })

/**
 * The document of `notes`.
 *
 * @since 0.1.0
 * @category models
 */
export const Note = Schema.Struct({
  id: Schema.String,
  status: Schema.Literals(["open", "done"]),
  due: Schema.optionalKey(Schema.DateTimeUtc)
})

/**
 * Returns a projection of its own. A projection store does not depend on events, so it only has documents and a checkpoint.
 *
 * @since 0.1.0
 * @category constructors
 */
export const notes = () => Projection.make(unique("notes"), definition)

const definition = {
  events: Noticed,
  document: Note,
  index: ["status"],
  key: (event: typeof Noticed.Type) => event.id,
  evolve: { Noticed: Projection.ignore }
} as const

/** The names of the indexes of `notes`. */
const indexes = IndexedFields.make(Note, definition.index).map(({ index }) => index)

/**
 * Returns a change that writes a document.
 *
 * @since 0.1.0
 * @category constructors
 */
export const put = (key: string, status: "open" | "done"): EncodedDocument => ({
  key,
  document: JSON.stringify({ id: key, status }),
  indexed: [IndexEntry.namesOf(indexes), `status=4${status}`]
})

/**
 * Returns a change that removes a document.
 *
 * @since 0.1.0
 * @category constructors
 */
export const remove = (key: string): EncodedDocument => ({ key, document: undefined, indexed: [] })

/**
 * Returns a position.
 *
 * @since 0.1.0
 * @category constructors
 */
export const at = (position: number) => Position.make(BigInt(position))
/**
 * A lease that no case outlives.
 *
 * @since 0.1.0
 * @category constructors
 */
export const minute = Duration.minutes(1)

/**
 * Returns the driver.
 *
 * @since 0.1.0
 * @category services
 */
export const driver = Effect.map(ProjectionStore, (store) => store[internals].driver)

/**
 * Claims partitions of a projection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const claim = (id: string, owner = "me", lease = minute, partitions = 1) =>
  Effect.flatMap(
    driver,
    (driver) => driver.claim({ consumer: id, owner, partitions, partitionedBy: "document", reads: "", lease })
  )

/**
 * Returns the epoch and the checkpoint of the only partition if the owner holds it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquire = (id: string, owner = "me", lease = minute) =>
  Effect.map(
    claim(id, owner, lease),
    ({ assigned: [assigned] }) =>
      assigned === undefined ? Option.none() : Option.some({ epoch: assigned.epoch, position: assigned.position })
  )

/**
 * Returns the move of a checkpoint of partition 0.
 *
 * @since 0.1.0
 * @category constructors
 */
export const written = (
  id: string,
  epoch: bigint,
  from: number,
  to: number,
  changes: ReadonlyArray<EncodedDocument> = []
) => ({
  generation: id,
  partition: 0,
  epoch,
  from: at(from),
  to: at(to),
  changes,
  applied: []
})

/**
 * Moves the checkpoint of partition 0. Returns whether it was moved.
 *
 * @since 0.1.0
 * @category constructors
 */
export const advance = (
  id: string,
  epoch: bigint,
  from: number,
  to: number,
  changes: ReadonlyArray<EncodedDocument> = []
) =>
  Effect.flatMap(
    driver,
    (driver) => Effect.map(driver.advance(written(id, epoch, from, to, changes)), (outcome) => outcome === "advanced")
  )

/**
 * Returns the keys of the documents with one of the statuses, or of all.
 *
 * @since 0.1.0
 * @category constructors
 */
export const keys = (id: string, where: ReadonlyArray<string> = []) =>
  Effect.flatMap(
    driver,
    (driver) =>
      Effect.map(
        driver.list({
          consumer: id,
          where: where.map((entry) => ({ _tag: "OneOf", field: "status", entries: [entry] })),
          order: { field: undefined, isDescending: false },
          indexes: where.length === 0 ? [] : indexes,
          limit: 1000
        }),
        ({ documents }) => documents.map(({ key }) => key)
      )
  )
