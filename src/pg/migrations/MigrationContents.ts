/**
 * What a set of migrations contains, and whether the migrations of a database contain the same.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { createHash } from "node:crypto"
import { type EventStoreError, storeError, StoreMisconfigured } from "../../core/errors.ts"
import { mapSqlError } from "../PgErrors.ts"
import * as MigrationTexts from "./MigrationTexts.ts"

/**
 * The migrations of a folder.
 *
 * @since 0.1.0
 * @category models
 */
export interface MigrationSet {
  readonly folder: string
  /** What runs them, for an error that says what to do. */
  readonly run: string
  /** The schema name in the text, which the schema of the options replaces. */
  readonly written: string
  readonly names: ReadonlyArray<string>
  /** Whether the schema stores hashes of text, which depend on the encoding of the database. */
  readonly needsUtf8: boolean
}

/**
 * Returns the text of a migration as it is in its file.
 *
 * @since 0.1.0
 * @category accessors
 */
export const textOf = ({ folder }: MigrationSet, name: string): Effect.Effect<string, EventStoreError> =>
  Effect.tryPromise({
    try: () => MigrationTexts.read(`${folder}${name}.sql`),
    catch: (cause) =>
      storeError(
        new StoreMisconfigured({
          message: `Cannot read the migration ${folder}${name}.sql of evsrc: ${String(cause)}; install evsrc again`,
          cause
        })
      )
  })

/**
 * Replaces the schema name in the text of a migration.
 *
 * @since 0.1.0
 * @category combinators
 */
export const inSchema = (text: string, { written }: MigrationSet, schema: string): string =>
  text.replace(new RegExp(`\\b${written}\\b(?=\\s*[.;])`, "g"), schema)

/** Comments and white space do not change what a migration does. */
const meaning = (text: string): string => text.replaceAll(/^\s*--.*$/gm, "").replaceAll(/\s+/g, " ").trim()

/**
 * Returns the checksum of a migration's text, without its comments and white space.
 *
 * @since 0.1.0
 * @category accessors
 */
export const checksumOf = (text: string): string => createHash("sha256").update(meaning(text)).digest("hex")

/** Returns the bodies, in `$$`, of the functions that the text creates, by name. No function has two signatures. */
const functionsOf = (text: string): ReadonlyMap<string, string> =>
  new Map(
    Array.from(
      text.matchAll(/^create (?:or replace )?function \w+\.(\w+)\((?:(?!^create )[^$])*?\bas \$\$([^]*?)\$\$/gm),
      ([, name, body]) => [name!, meaning(body!)] as const
    )
  )

/**
 * A row of the table `migrations`.
 *
 * @since 0.1.0
 * @category models
 */
export interface MigrationRow {
  readonly id: number
  readonly name: string
  /** Null if the file was run by hand. */
  readonly checksum: string | null
}

/**
 * Returns the rows of the table `migrations`, or none if there is no such table.
 *
 * @since 0.1.0
 * @category accessors
 */
export const rowsOf = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  quoted: string
): Effect.fn.Return<ReadonlyArray<MigrationRow>, EventStoreError> {
  const [found] = yield* mapSqlError(
    sql.unsafe<{ readonly present: boolean }>("select to_regclass($1) is not null as present", [`${quoted}.migrations`])
      .withoutTransform
  )
  if (found?.present !== true) return []
  // The column is missing in a schema that was created before it existed.
  return yield* mapSqlError(
    sql.unsafe<MigrationRow>(
      `select migration_id as id, name, to_jsonb(row) ->> 'checksum' as checksum from ${quoted}.migrations row order by migration_id`
    ).withoutTransform
  )
})

/** Returns the name of a function of the schema whose body is not that of the migrations. */
const changedFunction = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  set: MigrationSet,
  schema: string,
  texts: ReadonlyArray<string>
): Effect.fn.Return<string | undefined, EventStoreError> {
  const rows = yield* mapSqlError(
    sql.unsafe<{ readonly name: string; readonly body: string }>(
      "select proname as name, prosrc as body from pg_proc where pronamespace = to_regnamespace($1)",
      [`"${schema}"`]
    ).withoutTransform
  )
  const asWritten = new RegExp(`"?\\b${schema}\\b"?(?=\\s*[.;])`, "g")
  const actual = new Map(rows.map(({ body, name }) => [name, meaning(body.replaceAll(asWritten, set.written))]))
  return Array.from(functionsOf(texts.join("\n"))).find(([name, body]) => actual.get(name) !== body)?.[0]
})

/**
 * Fails with `StoreMisconfigured` if the migrations that have run contain something else than those of this version of evsrc. A
 * migration that was run by hand has no checksum; the bodies of its functions are compared instead.
 *
 * @since 0.1.0
 * @category constructors
 */
export const checkContents = Effect.fnUntraced(function*(
  sql: SqlClient.SqlClient,
  set: MigrationSet,
  schema: string,
  rows: ReadonlyArray<MigrationRow>
): Effect.fn.Return<void, EventStoreError> {
  const reject = (found: string) =>
    storeError(
      new StoreMisconfigured({
        message: `Schema "${schema}" was not created by the migrations of this version of evsrc: ${found}; `
          + "run the version of evsrc that created the schema, or use another schema",
        cause: undefined
      })
    )
  const run = rows.filter(({ id }) => id <= set.names.length)
  const texts = yield* Effect.forEach(run, ({ id }) => textOf(set, set.names[id - 1]!))
  for (const [index, { checksum, id, name }] of run.entries()) {
    const expected = set.names[id - 1]!
    if (id !== index + 1) return yield* reject(`it has no migration ${index + 1}`)
    if (name !== expected) return yield* reject(`its migration ${id} is ${name}, and not ${expected}`)
    if (checksum !== null && checksum !== checksumOf(texts[index]!)) {
      return yield* reject(`its migration ${name} has other contents`)
    }
  }
  if (run.every(({ checksum }) => checksum !== null)) return
  const changed = yield* changedFunction(sql, set, schema, texts)
  if (changed !== undefined) return yield* reject(`its function ${changed} is missing or has another body`)
})
