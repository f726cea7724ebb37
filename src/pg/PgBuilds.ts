/**
 * Builds of a follower's target beside the active one, on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Position from "../domain/Position.ts"
import type { Build, BuildsDriver, TargetView } from "../store/ProjectionStoreDriver.ts"
import type { PgQuery } from "./PgQuery.ts"

interface TargetRow {
  readonly target: string
  readonly status: Build["status"]
  readonly started_at: Date | null
  readonly switched_at: Date | null
  readonly partitions: number
  readonly position: bigint
}

/** Of a document, or of a partition. */
type ViewRow =
  | { readonly target: string; readonly key: null; readonly position: bigint }
  | { readonly target: string; readonly key: string; readonly document: unknown; readonly revision: bigint }

/** Rows that one transaction removes, of each kind. */
const removedAtOnce = 5000

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (query: PgQuery, schema: string): BuildsDriver => {
  const one = <A>(expression: string, params: ReadonlyArray<unknown>) =>
    // Such a statement answers one row.
    Effect.map(query<{ readonly value: A }>(`select ${schema}.${expression} as value`, params), ([row]) => row!.value)

  // One statement, so that documents and positions are of one moment.
  const views =
    `select target, null as key, partition, position, null::json as document, null::bigint as revision from ${schema}.checkpoints `
    + `where target = any ($1::text[]) union all `
    + `select projection, key, null, null, document, revision from ${schema}.documents `
    + `where projection = any ($1::text[]) and key = any ($2::text[]) order by partition`

  return {
    beginBuild: (follower, head) => one<string>("begin_build($1, $2)", [follower, head]),
    builds: (follower) =>
      Effect.map(
        query<TargetRow>(`select * from ${schema}.targets_of($1)`, [follower]),
        (rows) =>
          rows.map(({ partitions, position, started_at, status, switched_at, target }) => ({
            target,
            status,
            startedAt: started_at === null ? undefined : DateTime.makeUnsafe(started_at),
            switchedAt: switched_at === null ? undefined : DateTime.makeUnsafe(switched_at),
            partitions,
            position: Position.make(position)
          }))
      ),
    switchTarget: ({ follower, to, whenBehind }) =>
      Effect.map(
        query<{ readonly outcome: "switched" | "behind" | "unknown"; readonly missing: bigint }>(
          `select * from ${schema}.switch_target($1, $2, $3, $4::text::interval)`,
          [
            follower,
            to,
            whenBehind === "switch",
            typeof whenBehind === "string" ? null : `${Duration.toMillis(whenBehind.hold)} milliseconds`
          ]
        ),
        ([row]) => {
          const { missing, outcome } = row!
          return outcome === "switched"
            ? { _tag: "Switched" }
            : outcome === "behind"
            ? { _tag: "Behind", missing }
            : { _tag: "Unknown" }
        }
      ),
    discard: Effect.fnUntraced(function*(follower, target) {
      const outcome = yield* one<"discarded" | "active" | "unknown">("discard_target($1, $2)", [follower, target])
      let more = outcome === "discarded"
      while (more) more = yield* one<boolean>("remove_discarded($1, $2)", [target, removedAtOnce])
      return outcome
    }),
    targetPage: ({ after, limit, target }) =>
      Effect.map(
        query<{ readonly key: string; readonly document: unknown; readonly revision: bigint }>(
          `select key, document, revision from ${schema}.documents where projection = $1 and key > $2 order by key limit $3`,
          [target, after ?? "", limit]
        ),
        // The column was written from text that JSON.stringify made.
        (rows) => rows.map((row) => ({ ...row, document: row.document as Schema.Json }))
      ),
    views: (targets, keys) =>
      Effect.map(query<ViewRow>(views, [targets, keys]), (rows) => {
        const of = (target: string): TargetView => {
          const mine = rows.filter((row) => row.target === target)
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
        return [of(targets[0]), of(targets[1])]
      })
  }
}
