/**
 * Builds of a consumer's target beside the active one, on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Position from "../core/Position.ts"
import type { Generation, GenerationsDriver, GenerationView } from "../projection/ProjectionStoreDriver.ts"
import type { PgStatement } from "./PgStatement.ts"

interface GenerationRow {
  readonly generation: string
  readonly status: Generation["status"]
  readonly started_at: Date | null
  readonly activated_at: Date | null
  readonly partitions: number
  readonly position: bigint
}

/** Of a document, or of a partition. */
type ViewRow =
  | { readonly generation: string; readonly key: null; readonly position: bigint }
  | { readonly generation: string; readonly key: string; readonly document: unknown; readonly revision: bigint }

/** Rows that one transaction removes, of each kind. */
const removedAtOnce = 5000

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgStatement, schema: string): GenerationsDriver => {
  const one = <A>(expression: string, params: ReadonlyArray<unknown>) =>
    // Such a statement answers one row.
    Effect.map(query<{ readonly value: A }>(`select ${schema}.${expression} as value`, params), ([row]) => row!.value)

  // One statement, so that documents and positions are of one moment.
  const views =
    `select generation, null as key, partition, position, null::json as document, null::bigint as revision from ${schema}.checkpoints `
    + `where generation = any ($1::text[]) union all `
    + `select generation, key, null, null, document, revision from ${schema}.documents `
    + `where generation = any ($1::text[]) and key = any ($2::text[]) order by partition`

  return {
    beginGeneration: (consumer, head) => one<string>("begin_generation($1, $2)", [consumer, head]),
    generations: (consumer) =>
      Effect.map(
        query<GenerationRow>(`select * from ${schema}.generations_of($1)`, [consumer]),
        (rows) =>
          rows.map(({ partitions, position, started_at, status, activated_at, generation }) => ({
            generation,
            status,
            startedAt: started_at === null ? undefined : DateTime.makeUnsafe(started_at),
            activatedAt: activated_at === null ? undefined : DateTime.makeUnsafe(activated_at),
            partitions,
            position: Position.make(position)
          }))
      ),
    cutOver: ({ consumer, to, ifBehind }) =>
      Effect.map(
        query<{ readonly outcome: "cut_over" | "behind" | "unknown"; readonly missing: bigint }>(
          `select * from ${schema}.cut_over($1, $2, $3, $4::text::interval)`,
          [
            consumer,
            to,
            ifBehind === "cutOver",
            typeof ifBehind === "string" ? null : `${Duration.toMillis(ifBehind.hold)} milliseconds`
          ]
        ),
        ([row]) => {
          const { missing, outcome } = row!
          return outcome === "cut_over"
            ? { _tag: "CutOver" }
            : outcome === "behind"
            ? { _tag: "Behind", missing }
            : { _tag: "Unknown" }
        }
      ),
    discard: Effect.fnUntraced(function*(consumer, generation) {
      const outcome = yield* one<"discarded" | "active" | "unknown">("discard_generation($1, $2)", [
        consumer,
        generation
      ])
      let more = outcome === "discarded"
      while (more) more = yield* one<boolean>("remove_discarded($1, $2)", [generation, removedAtOnce])
      return outcome
    }),
    generationPage: ({ after, limit, generation }) =>
      Effect.map(
        query<{ readonly key: string; readonly document: unknown; readonly revision: bigint }>(
          `select key, document, revision from ${schema}.documents where generation = $1 and key > $2 order by key limit $3`,
          [generation, after ?? "", limit]
        ),
        // The column was written from text that JSON.stringify made.
        (rows) => rows.map((row) => ({ ...row, document: row.document as Schema.Json }))
      ),
    views: (generations, keys) =>
      Effect.map(query<ViewRow>(views, [generations, keys]), (rows) => {
        const of = (generation: string): GenerationView => {
          const mine = rows.filter((row) => row.generation === generation)
          return {
            positions: mine.flatMap((row) => row.key === null ? [Position.make(row.position)] : []),
            documents: new Map(mine.flatMap((row) => {
              if (row.key === null) return []
              const { key, revision } = row
              // As in a page.
              return [[key, { key, document: row.document as Schema.Json, revision }]]
            }))
          }
        }
        return [of(generations[0]), of(generations[1])]
      })
  }
}
