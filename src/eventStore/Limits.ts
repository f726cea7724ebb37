/**
 * The limits of a store, checked before a request reaches any back end.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type { EventStoreError } from "../core/errors.ts"
import { invalidRequest } from "../core/errors.ts"
import * as nameRules from "../core/nameRules.ts"
import * as StreamId from "../core/StreamId.ts"
import * as EventQuery from "../event/EventQuery.ts"
import type { NewEvent } from "../event/RecordedEvent.ts"

/**
 * - `eventBytes`: the largest payload plus metadata of one event, in bytes of UTF-8 JSON; 1 MiB by default
 * - `appendBytes`: the same for all events of one append together; 16 MiB by default
 * - `appendEvents`: the most events in one append; 10,000 by default
 * - `pageSize`: the most events read in one page; 10,000 by default
 * - `documentBytes`: the largest document of a projection, in UTF-16 code units of its JSON; 4,194,304 by default
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  readonly eventBytes: number
  readonly appendBytes: number
  readonly appendEvents: number
  readonly pageSize: number
  readonly documentBytes: number
}

/**
 * The limits in force; provide another value to change them.
 *
 * @since 0.1.0
 * @category references
 */
export const Limits = Context.Reference<Limits>("evsrc/eventStore/Limits", {
  defaultValue: () => ({
    eventBytes: 1024 * 1024,
    appendBytes: 16 * 1024 * 1024,
    appendEvents: 10_000,
    pageSize: 10_000,
    documentBytes: 4 * 1024 * 1024
  })
})

const commandIdLength = 256

/** The length of a text in UTF-8, without encoding it. */
const utf8Bytes = (text: string): number => {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // A surrogate pair has two code units and four bytes, so each half adds one.
    if (unit > 0x7f) bytes += unit <= 0x7ff || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2
  }
  return bytes
}

/**
 * The name of a stream, checked.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkStream = (stream: string): StreamId.StreamId | EventStoreError => {
  if (typeof stream !== "string") return invalidRequest("the name of a stream must be a string")
  const problem = StreamId.validate(stream)
  // `problem` is the very check behind the brand.
  return problem === undefined ? stream as StreamId.StreamId : invalidRequest(problem)
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/**
 * Why an append is refused, or `undefined`.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkAppend = (
  limits: Limits,
  events: ReadonlyArray<NewEvent>,
  commandId: string | undefined
): EventStoreError | undefined => {
  if (events.length === 0) return invalidRequest("an append needs at least one event")
  if (events.length > limits.appendEvents) {
    return invalidRequest(
      `an append has at most ${limits.appendEvents} events, this one has ${events.length}; split it, or raise Limits.appendEvents`
    )
  }
  if (commandId !== undefined) {
    const problem = validateCommandId(commandId)
    if (problem !== undefined) return invalidRequest(problem)
  }
  let total = 0
  for (const event of events) {
    if (!uuid.test(event.id)) return invalidRequest(`the id of an event must be a UUID, not "${event.id}"; see NewId`)
    const bytes = utf8Bytes(event.data) + utf8Bytes(event.metadata)
    if (bytes > limits.eventBytes) {
      return invalidRequest(
        `an event has at most ${limits.eventBytes} bytes, this "${event.type}" has ${bytes}; keep large data elsewhere and `
          + `refer to it, or raise Limits.eventBytes`
      )
    }
    total += bytes
    const { tags = [] } = event
    if (tags.length > EventQuery.maxTags) {
      return invalidRequest(`an event has at most ${EventQuery.maxTags} tags, this "${event.type}" has ${tags.length}`)
    }
    const problem = tags.map(EventQuery.validateTag).find((problem) => problem !== undefined)
    if (problem !== undefined) return invalidRequest(`"${event.type}": ${problem}`)
  }
  if (total > limits.appendBytes) {
    return invalidRequest(
      `an append has at most ${limits.appendBytes} bytes, this one has ${total}; split it, or raise Limits.appendBytes`
    )
  }
  return undefined
}

/**
 * What is wrong with a command id, or `undefined`.
 *
 * @since 0.1.0
 * @category checks
 */
export const validateCommandId = (commandId: string): string | undefined =>
  nameRules.validateName("a command id", commandId, commandIdLength)

/**
 * Why a page size is refused, or `undefined`.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkPageSize = (limits: Limits, size: number): EventStoreError | undefined =>
  Number.isInteger(size) && size >= 1 && size <= limits.pageSize
    ? undefined
    : invalidRequest(`a page has 1 to ${limits.pageSize} events, not ${size}; change the page size, or Limits.pageSize`)
