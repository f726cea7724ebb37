/**
 * The statements that read pages of documents on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as DocumentPages from "../../projection/DocumentPages.ts"
import * as IndexEntry from "../../projection/IndexEntry.ts"
import type { DocumentPage, EntryCondition } from "../../projection/ProjectionStoreDriver.ts"

/**
 * A statement with its parameters.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  readonly text: string
  readonly params: ReadonlyArray<unknown>
}

/**
 * How a page is read.
 *
 * - `Keys`: in the order of keys, and skips what does not satisfy the conditions
 * - `Entries`: in the order of the entries of a field, or of the keys that have one entry, and skips what does not satisfy the other conditions
 * - `Collect`: finds all documents that satisfy one condition, and sorts those that satisfy the others
 *
 * @since 0.1.0
 * @category models
 */
export type Plan =
  | { readonly _tag: "Keys" }
  | { readonly _tag: "Entries"; readonly by: EntryCondition | undefined }
  | { readonly _tag: "Collect"; readonly by: EntryCondition }

/**
 * How many documents `Collect` reads at most.
 *
 * @since 0.1.0
 * @category limits
 */
export const maxCollected = 1000

const isOne = (condition: EntryCondition): boolean => condition._tag === "OneOf" && condition.entries.length === 1

/**
 * Returns the conditions of a page whose numbers of documents decide on its plan; none when there is only one plan.
 *
 * @since 0.1.0
 * @category accessors
 */
export const candidates = ({ order, where }: Pick<DocumentPage, "order" | "where">): ReadonlyArray<EntryCondition> => {
  const others = where.filter(({ _tag, field }) => _tag !== "Range" || field !== order.field)
  return order.field === undefined && others.length === 1 && isOne(others[0]!) ? [] : others
}

/**
 * Returns the plan of a page. `counts` are the numbers of documents that satisfy the candidates, up to `maxCollected` and one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const planOf = (
  page: Pick<DocumentPage, "order" | "where">,
  counts: ReadonlyArray<number> = []
): Plan => {
  const counted = candidates(page)
    .map((condition, index) => ({ condition, count: counts[index] ?? Number.POSITIVE_INFINITY }))
    .toSorted((a, b) => a.count - b.count)
  const [rarest] = counted
  if (rarest !== undefined && rarest.count <= maxCollected) return { _tag: "Collect", by: rarest.condition }
  if (page.order.field !== undefined) {
    return { _tag: "Entries", by: page.where.find(({ _tag, field }) => _tag === "Range" && field === page.order.field) }
  }
  const one = counted.find(({ condition }) => isOne(condition))?.condition ?? page.where.find(isOne)
  return one === undefined ? { _tag: "Keys" } : { _tag: "Entries", by: one }
}

/** Collects the parameters of a statement. */
const parameters = () => {
  const params: Array<unknown> = []
  return { params, add: (value: unknown, type = "text") => `$${params.push(value)}::${type}` }
}

type Add = ReturnType<typeof parameters>["add"]

const conditionOn = (add: Add, column: string, condition: EntryCondition): string =>
  condition._tag === "Range"
    ? `${column} >= ${add(condition.from)} and ${column} < ${add(condition.to)}`
    : condition.entries.length === 1
    ? `${column} = ${add(condition.entries[0])}`
    : `${column} = any (${add(condition.entries, "text[]")})`

/** The condition on the entries of the row of a document. */
const conditionOnRow = (add: Add, condition: EntryCondition): string =>
  condition._tag === "OneOf"
    ? `document.indexed && ${add(condition.entries, "text[]")}`
    : `exists (select from unnest(document.indexed) as own(entry) where ${conditionOn(add, "own.entry", condition)})`

const all = (conditions: ReadonlyArray<string>): string => conditions.map((condition) => ` and ${condition}`).join("")

/** One row, also for an empty page. Not inlined, because the generation would then be looked up again for each use. */
const target = (schema: string, consumer: string) =>
  `(select ${schema}.active_generation(${consumer}) as generation offset 0) as target`

/**
 * Returns the statement that counts the documents that satisfy each of some conditions, up to `maxCollected` and one, as `counts`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const count = (schema: string, consumer: string, conditions: ReadonlyArray<EntryCondition>): Statement => {
  const { add, params } = parameters()
  const from = target(schema, add(consumer))
  const counts = conditions.map((condition) =>
    `(select count(*)::integer from (select from ${schema}.document_entries stored where stored.generation = target.generation`
    + ` and ${conditionOn(add, "stored.entry", condition)} limit ${maxCollected + 1}) as found)`
  )
  return { text: `select array[${counts.join(", ")}] as counts from ${from}`, params }
}

/**
 * Returns the statement that reads a page. It reads one row without a document when the page is empty.
 *
 * @since 0.1.0
 * @category constructors
 */
export const read = (schema: string, page: DocumentPage, plan: Plan): Statement => {
  const { add, params } = parameters()
  const from = target(schema, add(page.consumer))
  const fields = DocumentPages.fieldsOf(page)
  const isIndexed = fields.length === 0
    ? "true"
    : `${schema}.is_indexed(target.generation, ${
      add(fields.map((field) => `,${IndexEntry.nameOf(field)},`), "text[]")
    })`
  const direction = page.order.isDescending ? " desc" : ""
  return {
    text:
      `select target.generation, ${isIndexed} as is_indexed, checkpoint.position, checkpoint.event_id, page.key, page.document,`
      + ` page.revision, page.entry from ${from} left join lateral (select position, event_id from ${schema}.checkpoints`
      + ` where generation = target.generation order by position limit 1) as checkpoint on true left join lateral (`
      + documentsOf(add, schema, page, plan)
      + `) as page on true order by page.entry${direction}, page.key${direction}`,
    params
  }
}

const documentsOf = (add: Add, schema: string, page: DocumentPage, plan: Plan): string => {
  const { after, limit, order: { field, isDescending }, where } = page
  const [comparison, direction] = isDescending ? ["<", " desc"] : [">", ""]
  const others = where.filter((condition) => plan._tag === "Keys" || condition !== plan.by)
  const isAfter = (entry: string | undefined, key: string): ReadonlyArray<string> =>
    after === undefined
      ? []
      : entry === undefined
      ? [`${key} ${comparison} ${add(after.key)}`]
      : [`(${entry}, ${key}) ${comparison} (${add(after.entry)}, ${add(after.key)})`]
  const orderBy = (entry: string | undefined, key: string): string =>
    `order by ${entry === undefined ? "" : `${entry}${direction}, `}${key}${direction} limit ${add(limit, "integer")}`
  const columns = (entry: string) => `select document.key, document.document, document.revision, ${entry} as entry`

  switch (plan._tag) {
    case "Keys":
      return `${columns("null::text")} from ${schema}.documents document where document.generation = target.generation`
        + all([...isAfter(undefined, "document.key"), ...others.map((condition) => conditionOnRow(add, condition))])
        + ` ${orderBy(undefined, "document.key")}`
    case "Entries": {
      const entry = field === undefined ? undefined : "stored.entry"
      const conditions = `where stored.generation = target.generation`
        + all([conditionOn(add, "stored.entry", plan.by ?? rangeOf(field!)), ...isAfter(entry, "stored.key")])
      if (others.length > 0) {
        return `${columns(entry ?? "null::text")} from ${schema}.document_entries ${join(schema)} ${conditions}`
          + all(others.map((condition) => conditionOnRow(add, condition))) + ` ${orderBy(entry, "stored.key")}`
      }
      // Only the documents of the page are read.
      return `${columns(entry === undefined ? "null::text" : "found.entry")} from (select stored.entry, stored.key`
        + ` from ${schema}.document_entries stored ${conditions} ${orderBy(entry, "stored.key")}) as found`
        + ` join ${schema}.documents document on document.generation = target.generation and document.key = found.key`
    }
    case "Collect": {
      const entry = field === undefined ? undefined : "own.entry"
      const own = field === undefined ?
        "" :
        ` cross join lateral (select own.entry from unnest(document.indexed) as own(entry) where ${
          conditionOn(
            add,
            "own.entry",
            others.find(({ _tag, field: of }) => _tag === "Range" && of === field) ?? rangeOf(field)
          )
        }) as own`
      const rest = others.filter(({ _tag, field: of }) => field === undefined || _tag !== "Range" || of !== field)
      return `${columns(entry ?? "null::text")} from ${schema}.document_entries ${join(schema)}${own}`
        + ` where stored.generation = target.generation`
        + all([
          conditionOn(add, "stored.entry", plan.by),
          ...rest.map((condition) => conditionOnRow(add, condition)),
          ...isAfter(entry, "document.key")
        ])
        + ` ${orderBy(entry, "document.key")}`
    }
  }
}

const rangeOf = (field: string): EntryCondition => ({ _tag: "Range", field, ...IndexEntry.allOf(field) })

const join = (schema: string): string =>
  `stored join ${schema}.documents document on document.generation = stored.generation and document.key = stored.key`
