/**
 * Generations of consumers on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as GenerationId from "../../consumer/GenerationId.ts"
import * as Position from "../../core/Position.ts"
import type {
  AgainstDiscard,
  Generation,
  GenerationsDriver,
  GenerationView,
  StoredGeneration
} from "../../projection/ProjectionStoreDriver.ts"
import type { PgStatement } from "../PgStatement.ts"
import { documentOf, type DocumentRow } from "./PgDocuments.ts"

interface GenerationRow {
  readonly generation: string
  readonly status: Generation["status"]
  readonly started_at: Date | null
  readonly activated_at: Date | null
  readonly partitions: number
  readonly partitioned_by: string | null
  readonly position: bigint
  readonly build: string | null
}

interface BegunRow {
  readonly generation: string
  readonly build: string | null
  readonly is_new: boolean
}

/** A row of `list_generations`. */
interface StoredRow {
  readonly generation: string
  readonly consumer: string
  readonly status: Generation["status"]
  readonly is_inline: boolean
  readonly is_active: boolean
  readonly is_previous: boolean
  readonly partitions: number
  readonly position: bigint | null
  readonly documents: number
  readonly parked: number
  readonly parking_log: number
  readonly owners: ReadonlyArray<string>
  readonly last_activity_at: Date | null
}

interface CutOverRow {
  readonly outcome: "cut_over" | "behind" | "parked" | "unknown"
  readonly missing: bigint
  readonly parked_keys: bigint
  readonly first_parked: ReadonlyArray<string>
}

type CutOver = Effect.Success<ReturnType<GenerationsDriver["cutOver"]>>

/** A row with the checkpoint of a partition, or with a document. */
type ViewRow =
  | { readonly generation: string; readonly key: null; readonly position: bigint; readonly reached: bigint }
  | DocumentRow & { readonly generation: string }

/** The maximum number of rows of each kind that one transaction removes. */
const removedPerTransaction = 5000

/**
 * Makes the generations driver of a schema, given by its quoted name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): GenerationsDriver => {
  const valueOf = <A>(expression: string, params: ReadonlyArray<unknown>) =>
    Effect.map(query<{ readonly value: A }>(`select ${schema}.${expression} as value`, params), ([row]) => row!.value)

  // One statement, so that documents and checkpoints are of the same point in time.
  const views =
    `select generation, null as key, partition, position, greatest(position, former_to) as reached, null as document, null::bigint as revision from ${schema}.checkpoints `
    + `where generation = any ($1::text[]) union all `
    + `select generation, key, null, null, null, document::text, revision from ${schema}.documents `
    + `where generation = any ($1::text[]) and key = any ($2::text[]) order by partition`

  return {
    beginGeneration: ({ build, consumer, head, isBeside = false }) =>
      Effect.map(
        query<BegunRow>(`select * from ${schema}.begin_generation($1, $2, $3, $4)`, [
          consumer,
          head,
          build ?? null,
          isBeside
        ]),
        ([row]) => ({ generation: row!.generation, build: row!.build ?? undefined, isNew: row!.is_new })
      ),
    generations: (consumer) =>
      Effect.map(
        query<GenerationRow>(`select * from ${schema}.generations_of($1)`, [consumer]),
        (rows) => rows.map(generationOf)
      ),
    cutOver: ({ consumer, to, evenIfParked = false, ifBehind }) =>
      Effect.map(
        query<CutOverRow>(`select * from ${schema}.cut_over($1, $2, $3, $4::text::interval, $5)`, [
          consumer,
          to,
          ifBehind === "cutOver",
          typeof ifBehind === "string" ? null : `${Duration.toMillis(ifBehind.hold)} milliseconds`,
          evenIfParked
        ]),
        ([row]) => cutOverOf(row!)
      ),
    discard: (consumer, generation, evenIf) =>
      valueOf<"discarded" | "unknown" | AgainstDiscard>("discard_generation($1, $2, $3::text[])", [
        consumer,
        generation,
        evenIf
      ]),
    removeDiscarded: (generation, { parkingLog }) =>
      valueOf<boolean>("remove_discarded($1, $2, $3)", [generation, removedPerTransaction, parkingLog]),
    allGenerations: ({ after = "", limit, maxCount }) =>
      Effect.map(
        query<StoredRow>(`select * from ${schema}.list_generations($1, $2, $3)`, [after, limit, maxCount]),
        (rows) => rows.map((row) => storedOf(row, maxCount))
      ),
    generationPage: ({ after, limit, generation }) =>
      Effect.map(
        query<DocumentRow>(
          `select key, document::text as document, revision from ${schema}.documents where generation = $1 and key > $2 order by key limit $3`,
          [generation, after ?? "", limit]
        ),
        (rows) => rows.map(documentOf)
      ),
    views: ([first, second], keys) =>
      Effect.map(
        query<ViewRow>(views, [[first, second], keys]),
        (rows) => [viewOf(rows, first), viewOf(rows, second)]
      )
  }
}

const generationOf = (
  { activated_at, build, generation, partitioned_by, partitions, position, started_at, status }: GenerationRow
): Generation => ({
  generation,
  status,
  startedAt: started_at === null ? undefined : DateTime.makeUnsafe(started_at),
  activatedAt: activated_at === null ? undefined : DateTime.makeUnsafe(activated_at),
  partitions,
  partitionedBy: partitioned_by ?? undefined,
  position: Position.make(position),
  build: build ?? undefined
})

const storedOf = (row: StoredRow, maxCount: number): StoredGeneration => {
  const { consumer, documents, generation, is_inline, is_previous, last_activity_at, owners, parked, parking_log } = row
  const { partitions, position, status } = row
  const countOf = (count: number) => ({ count: Math.min(count, maxCount), isMore: count > maxCount })
  return {
    generation,
    consumer,
    kind: GenerationId.kindOf(consumer, is_inline),
    status,
    isActive: row.is_active,
    isRollbackTarget: is_previous,
    owners,
    checkpoints: partitions,
    position: position === null ? undefined : Position.make(position),
    documents: countOf(documents),
    parked: countOf(parked),
    parkingLog: countOf(parking_log),
    lastActivity: last_activity_at === null ? undefined : DateTime.makeUnsafe(last_activity_at)
  }
}

const cutOverOf = ({ first_parked, missing, outcome, parked_keys }: CutOverRow): CutOver => {
  switch (outcome) {
    case "cut_over":
      return { _tag: "CutOver" }
    case "behind":
      return { _tag: "Behind", missing }
    case "parked":
      return { _tag: "Parked", count: Number(parked_keys), keys: first_parked }
    case "unknown":
      return { _tag: "Unknown" }
  }
}

const viewOf = (rows: ReadonlyArray<ViewRow>, generation: string): GenerationView => {
  const ofGeneration = rows.filter((row) => row.generation === generation)
  return {
    positions: ofGeneration.flatMap((row) => row.key === null ? [Position.make(row.position)] : []),
    reached: ofGeneration.reduce(
      (max, row) => row.key === null ? Position.max(max, Position.make(row.reached)) : max,
      Position.start
    ),
    documents: new Map(ofGeneration.flatMap((row) => row.key === null ? [] : [[row.key, documentOf(row)]]))
  }
}
