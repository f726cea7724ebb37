/**
 * The parameters of the append functions in `migrations/0001_event_store.sql`.
 *
 * @since 0.1.0
 */
import type * as Version from "../../core/Version.ts"
import type { EventQuery } from "../../event/EventQuery.ts"
import type {
  AppendCondition,
  AppendRequest,
  DocumentAhead,
  KnownMatches
} from "../../eventStore/driver/EventStoreDriver.ts"
import { indexedText } from "../PgText.ts"

/**
 * An append as a statement writes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface PreparedAppend extends AppendRequest {
  /** The documents of inline projections that were computed before, and that the statement writes with the events. */
  readonly documents?: ReadonlyArray<DocumentAhead> | undefined
}

/**
 * Returns an expected version as the parameter of the append functions.
 *
 * @since 0.1.0
 * @category accessors
 */
export const expectedParameter = (expected: Version.Expected): bigint | null => {
  switch (expected) {
    case "any":
      return null
    case "streamExists":
      return -1n
    case "noStream":
      return 0n
    default:
      return BigInt(expected)
  }
}

/** Returns lists as two arrays of pairs: the number of a list, from 1, and one of its elements. */
const pairs = (
  lists: ReadonlyArray<ReadonlyArray<string>>
): readonly [ReadonlyArray<number>, ReadonlyArray<string>] => {
  const numbers: Array<number> = []
  const elements: Array<string> = []
  for (const [index, list] of lists.entries()) {
    for (const element of list) {
      numbers.push(index + 1)
      elements.push(element)
    }
  }
  return [numbers, elements]
}

/**
 * Returns a query as the parameters of `query_items`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const queryParameters = (
  query: EventQuery
): readonly [
  items: number,
  typeItems: ReadonlyArray<number>,
  types: ReadonlyArray<string>,
  tagItems: ReadonlyArray<number>,
  tags: ReadonlyArray<string>
] => [
  query.length,
  ...pairs(query.map((item) => item.types ?? [])),
  ...pairs(query.map((item) => item.tags ?? []))
]

/**
 * Returns the conditions of appends as the parameters of `append`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const conditionParameters = (requests: ReadonlyArray<AppendRequest>): {
  readonly items: ReadonlyArray<unknown>
  readonly basis: {
    readonly appends: ReadonlyArray<number> | null
    readonly positions: ReadonlyArray<bigint> | null
    readonly ids: ReadonlyArray<string> | null
  }
} => {
  if (requests.every(({ condition }) => condition === undefined)) return noConditions
  const items = requests.flatMap(({ condition }, index) =>
    (condition?.query ?? []).map(({ tags = [], types = [] }, item) => ({
      append: index + 1,
      types: arrayText(types),
      tags: arrayText(tags),
      ...knownOf(condition!, item)
    }))
  )
  // An event whose id is unknown cannot be checked.
  const basis = requests.flatMap(({ condition }, index) =>
    (condition?.basis ?? []).flatMap(({ eventId, position }) =>
      eventId === undefined ? [] : [{ append: index + 1, position, eventId }]
    )
  )
  return {
    items: [
      items.map(({ append }) => append),
      items.map(({ types }) => types),
      items.map(({ tags }) => tags),
      items.map(({ after }) => after),
      nullable(items.map(({ seen }) => seen.length === 0 ? null : `{${seen.join(",")}}`)),
      nullable(items.map(({ sent }) => sent.length === 0 ? null : `{${sent.join(",")}}`))
    ],
    basis: {
      appends: basis.map(({ append }) => append),
      positions: basis.map(({ position }) => position),
      ids: basis.map(({ eventId }) => eventId)
    }
  }
}

const knownOf = ({ after, known, seen }: AppendCondition, item: number): KnownMatches =>
  known?.[item] ?? { after, seen, sent: [] }

/**
 * Returns for each event of an append the inline projections that run on it, as the text of an array.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inlineParameters = ({ events, inlineProjections = [] }: AppendRequest): ReadonlyArray<string | null> =>
  events.map((_, index) => {
    const projections = inlineProjections[index] ?? []
    return projections.length === 0 ? null : arrayText(projections)
  })

/**
 * Returns the names by which an append locks documents. Every append locks the projection itself: exclusively if it may change any document,
 * otherwise shared.
 *
 * @since 0.1.0
 * @category accessors
 */
export const documentsParameter = (
  touched: AppendRequest["touchedDocuments"] = []
): ReadonlyArray<string> | null =>
  touched.length === 0 ? null : touched.flatMap(({ keys, projection }) =>
    keys === undefined
      ? [`x${projection}`]
      : [`s${projection}`, ...keys.map((key) => `x${projection}\u001f${key}`)]
  )

/**
 * Returns the documents that appends change as the parameter `p_documents`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const documentsParameters = (requests: ReadonlyArray<AppendRequest>): ReadonlyArray<string | null> | null =>
  nullable(requests.map(({ touchedDocuments }) => {
    const names = documentsParameter(touchedDocuments)
    return names === null ? null : arrayText(names)
  }))

/**
 * Returns the documents that were computed before appends: which of them must be unchanged, as the parameters `p_ahead_appends` to `p_ahead_revisions`
 * of `append`, and what to write, as the last ones of `write_documents_ahead`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const aheadParameters = (requests: ReadonlyArray<PreparedAppend>): {
  readonly count: number
  readonly unchanged: ReadonlyArray<unknown>
  readonly written: ReadonlyArray<unknown>
} | undefined => {
  const all = requests.flatMap(({ documents = [] }, index) =>
    documents.map((document) => ({ ...document, append: index + 1 }))
  )
  return all.length === 0 ? undefined : {
    count: all.length,
    unchanged: [
      all.map(({ append }) => append),
      all.map(({ generation }) => generation),
      all.map(({ key }) => key),
      all.map(({ from }) => from)
    ],
    written: [
      nullable(all.map(({ document }) => document ?? null)),
      all.map(({ indexed }) => indexedText(indexed))
    ]
  }
}

const noConditions = {
  items: [null, null, null, null, null, null],
  basis: { appends: null, positions: null, ids: null }
}

/**
 * Returns null for an array of nulls, because the client cannot infer its type.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nullable = <A>(values: ReadonlyArray<A | null>): ReadonlyArray<A | null> | null =>
  values.some((value) => value !== null) ? values : null

/**
 * Returns an array as text, for an array of arrays: all elements of a PostgreSQL array have the same length.
 *
 * @since 0.1.0
 * @category accessors
 */
export const arrayText = (elements: ReadonlyArray<string>): string =>
  `{${elements.map((element) => `"${element.replaceAll(/["\\]/g, "\\$&")}"`).join(",")}}`
