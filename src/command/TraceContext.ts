/**
 * The W3C trace context (https://www.w3.org/TR/trace-context/), which links the spans of consumers to the spans that appended their events.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/**
 * Returns the `traceparent` of a span.
 *
 * @since 0.1.0
 * @category accessors
 */
export const traceparentOf = (span: Tracer.AnySpan): string =>
  `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`

const pattern = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** A batch of hundreds of events has as many traces, and tools do not show that many links. */
const maxLinks = 32

/**
 * Links the current span to the spans that appended the events, at most 32.
 *
 * @since 0.1.0
 * @category combinators
 */
export const linkEvents = (events: ReadonlyArray<EncodedEvent>): Effect.Effect<void> => {
  const parents = new Set<string>()
  for (const { metadata } of events) {
    if (parents.size < maxLinks && metadata.traceparent !== undefined) parents.add(metadata.traceparent)
  }
  const links = Array.from(parents).flatMap((parent): ReadonlyArray<Tracer.SpanLink> => {
    const [, traceId, spanId, flags] = pattern.exec(parent) ?? []
    return traceId === undefined || spanId === undefined || flags === undefined
      ? []
      : [{
        span: Tracer.externalSpan({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }),
        attributes: {}
      }]
  })
  if (links.length === 0) return Effect.void
  return Effect.ignore(Effect.map(Effect.currentSpan, (span) => span.addLinks(links)))
}
