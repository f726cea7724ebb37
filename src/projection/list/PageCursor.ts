/**
 * The cursors of pages of documents: where a page ended, and the list that it belongs to.
 *
 * @since 0.1.0
 */
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { CursorExpired, type EventStoreError, invalidRequest, storeError } from "../../core/errors.ts"
import { fromJsonText } from "../../core/json/parseJson.ts"
import * as LogPosition from "../../core/LogPosition.ts"
import * as nameRules from "../../core/nameRules.ts"
import { validateKey } from "../ProjectionDefinition.ts"
import type { DocumentPage, PagePlace } from "../ProjectionStoreDriver.ts"

/**
 * Where a page ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface PageCursor extends PagePlace {
  /** The generation that the page was read from. */
  readonly generation: string
  /** The last event that the page contains for sure, if it is known. */
  readonly position?: LogPosition.LogPosition | undefined
}

/** The list, the generation, the key, the entry, and the event. */
const Encoded = Schema.StringFromBase64Url.pipe(Schema.decodeTo(fromJsonText(Schema.Tuple([
  Schema.String,
  Schema.String,
  Schema.String,
  Schema.NullOr(Schema.String),
  Schema.NullOr(LogPosition.FromString)
]))))

/** Above that of any entry. */
const maxLength = 2000

const encode = Schema.encodeSync(Encoded)
const decodeText = Schema.decodeUnknownOption(Encoded)

type ListPage = Pick<DocumentPage, "consumer" | "indexes" | "order" | "where">

/** Identifies the projection, the filter and the order of a list. */
const listOf = ({ consumer, indexes, order, where }: ListPage): string => {
  const text = JSON.stringify([consumer, order.field ?? null, order.isDescending, where, indexes])
  return `${Hash.string(text)}:${Hash.string(`${text.length}${text}`)}`
}

/**
 * Returns the text of a cursor.
 *
 * @since 0.1.0
 * @category constructors
 */
export const format = (page: DocumentPage, { entry, generation, key, position }: PageCursor): string =>
  encode([listOf(page), generation, key, entry ?? null, position ?? null])

/**
 * Returns the cursor that a text means, unless it belongs to another list.
 *
 * @since 0.1.0
 * @category accessors
 */
export const parse = (
  page: ListPage,
  text: unknown
): Result.Result<PageCursor, EventStoreError> => {
  const decoded = decodeText(text)
  if (Option.isNone(decoded)) {
    return Result.fail(
      invalidRequest("`after` must be the `next` of an earlier page of the same list; this text is not a cursor")
    )
  }
  const [list, generation, key, entry, position] = decoded.value
  const invalid = validateKey(key) ??
    (entry === null ? undefined : nameRules.validateName("an entry", entry, maxLength))
  if (invalid !== undefined) {
    return Result.fail(invalidRequest(`\`after\` is not the \`next\` of an earlier page: ${invalid}`))
  }
  if (list !== listOf(page) || (page.order.field === undefined) !== (entry === null)) {
    return Result.fail(
      invalidRequest(
        `\`after\` is the cursor of another projection, filter or order than this list of "${page.consumer}"; use the same \`where\` and `
          + "`orderBy` as for the page before, or begin with the first page"
      )
    )
  }
  return Result.succeed({ generation, key, entry: entry ?? undefined, position: position ?? undefined })
}

/**
 * Returns the error of a page that was read from another generation than the page before; `undefined` if both are the same.
 *
 * @since 0.1.0
 * @category guards
 */
export const expired = (
  projection: string,
  cursor: PageCursor | undefined,
  generation: string
): EventStoreError | undefined =>
  cursor === undefined || cursor.generation === generation
    ? undefined
    : storeError(new CursorExpired({ projection, generation: cursor.generation, active: generation }))
