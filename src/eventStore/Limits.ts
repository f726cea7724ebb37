/**
 * The limits of a store, and the checks of a request before it reaches a back end.
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
 * The limits of a store. Each field is an upper bound. Elsewhere, an option that is an upper bound begins with `max`, and `limit` is the number of
 * results that a read asks for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** Payload plus metadata of one event, in bytes of UTF-8 JSON; 1 MiB by default. */
  readonly eventBytes: number
  /** Payload plus metadata of all events of one append, in bytes of UTF-8 JSON; 16 MiB by default. */
  readonly appendBytes: number
  /** Events in one append; 10,000 by default. */
  readonly appendEvents: number
  /** Events or documents read in one page; 10,000 by default. */
  readonly pageSize: number
  /**
   * Positions of the log that one page examines, or one count of waiting events, however few events it finds; 20,000 by default. A page that is found by
   * a tag examines a tenth as many events. Lower it where so many cannot be read within a statement's deadline.
   */
  readonly scannedPositions: number
  /** A document of a projection, in UTF-16 code units of its JSON; 4,194,304 by default. */
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
    scannedPositions: 20_000,
    documentBytes: 4 * 1024 * 1024
  })
})

const maxCommandIdLength = 256

/** Returns the length of a text in UTF-8, without encoding it. */
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
 * Returns the name of a stream, or the error when it is not valid.
 *
 * @since 0.1.0
 * @category guards
 */
export const checkStream = (stream: string): StreamId.StreamId | EventStoreError => {
  if (typeof stream !== "string") {
    return invalidRequest(`the name of a stream must be a string, not ${stream === null ? "null" : typeof stream}`)
  }
  const wrong = StreamId.validate(stream)
  // The brand stands for this check.
  return wrong === undefined ? stream as StreamId.StreamId : invalidRequest(wrong)
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/**
 * Returns the error when an id, if it is given, cannot be that of an event, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const checkEventIds = (ids: ReadonlyArray<string | undefined>): EventStoreError | undefined => {
  const wrong = ids.find((id) => id !== undefined && !(typeof id === "string" && uuid.test(id)))
  return wrong === undefined ? undefined : invalidRequest(`the id of an event must be a UUID, not "${String(wrong)}"`)
}

/**
 * Returns the error when an append exceeds a limit, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const checkAppend = (
  limits: Limits,
  events: ReadonlyArray<NewEvent>,
  commandId: string | undefined
): EventStoreError | undefined => {
  if (events.length === 0) return invalidRequest("an append must have at least one event, this one has none")
  if (events.length > limits.appendEvents) {
    return invalidRequest(
      `an append must have at most ${limits.appendEvents} events, this one has ${events.length}; split it, or raise Limits.appendEvents`
    )
  }
  if (commandId !== undefined) {
    const wrong = validateCommandId(commandId)
    if (wrong !== undefined) return invalidRequest(wrong)
  }
  let total = 0
  for (const event of events) {
    if (!uuid.test(event.id)) {
      return invalidRequest(`the id of an event must be a UUID, not "${event.id}"; provide another IdGenerator`)
    }
    const bytes = utf8Bytes(event.data) + utf8Bytes(event.metadata)
    if (bytes > limits.eventBytes) {
      return invalidRequest(
        `an event must have at most ${limits.eventBytes} bytes, this "${event.type}" has ${bytes}; store large data elsewhere and `
          + `refer to it, or raise Limits.eventBytes`
      )
    }
    total += bytes
    const { tags = [] } = event
    if (tags.length > EventQuery.maxTags) {
      return invalidRequest(
        `an event must have at most ${EventQuery.maxTags} tags, this "${event.type}" has ${tags.length}`
      )
    }
    const wrong = tags.map(EventQuery.validateTag).find((message) => message !== undefined)
    if (wrong !== undefined) return invalidRequest(`event "${event.type}": ${wrong}`)
  }
  if (total > limits.appendBytes) {
    return invalidRequest(
      `an append must have at most ${limits.appendBytes} bytes, this one has ${total}; split it, or raise Limits.appendBytes`
    )
  }
  return undefined
}

/**
 * Returns what is wrong with a command id, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateCommandId = (commandId: string): string | undefined =>
  nameRules.validateName("a command id", commandId, maxCommandIdLength)

/**
 * Returns the error when a page size exceeds the limit, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const checkPageSize = (limits: Limits, size: number): EventStoreError | undefined =>
  Number.isInteger(size) && size >= 1 && size <= limits.pageSize
    ? undefined
    : invalidRequest(
      `a page must have 1 to ${limits.pageSize} events, not ${size}; change the page size, or Limits.pageSize`
    )
