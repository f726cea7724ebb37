/**
 * The JSON of events, as `tail`, `stream` and `parked inspect` print them.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { Metadata } from "../../core/Metadata.ts"
import { Position } from "../../core/Position.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import { printable, type Style } from "../output/Style.ts"

/**
 * An event as it is stored: personal data stays encrypted.
 *
 * @since 0.1.0
 * @category models
 */
export const StoredEvent = Schema.Struct({
  position: Position,
  stream: Schema.String,
  version: Schema.Int,
  id: Schema.String,
  type: Schema.String,
  schemaVersion: Schema.Int,
  data: Schema.Json,
  metadata: Metadata,
  tags: Schema.Array(Schema.String),
  recordedAt: Schema.DateTimeUtc,
  /** What is wrong with the stored row, if anything is. */
  malformed: Schema.optional(Schema.String)
})

/**
 * The report of `tail`, one line for each event.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Tail = Schema.toCodecJson(StoredEvent)

/**
 * Returns the line of an event.
 *
 * @since 0.1.0
 * @category combinators
 */
export const line = (style: Style, event: EncodedEvent): string =>
  [
    style.as("dim", String(event.position)),
    style.as("dim", DateTime.formatIso(event.recordedAt)),
    style.as("green", printable(event.stream)),
    style.as("dim", `v${event.version}`),
    style.as("bold", printable(event.type)),
    printable(JSON.stringify(event.data)),
    ...event.malformed === undefined ? [] : [style.as("red", printable(event.malformed))]
  ].join(" ")
