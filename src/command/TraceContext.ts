/**
 * The W3C trace context (https://www.w3.org/TR/trace-context/) in the metadata of events. It connects the spans of consumers to the spans that appended
 * their events.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { SpanPlace } from "../core/telemetry/inSpan.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"

/** The trace id of the spans that Effect makes while tracing is disabled. */
const noop = "noop"

/**
 * Returns the `traceparent` of a span; of a span that is not recorded, that of its parent. Returns undefined if there is none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const traceparentOf = (span: Tracer.AnySpan): string | undefined => {
  if (span.traceId !== noop) {
    return `00-${span.traceId.padStart(32, "0")}-${span.spanId}-${span.sampled ? "01" : "00"}`
  }
  const parent = span._tag === "Span" ? Option.getOrUndefined(span.parent) : undefined
  return parent === undefined ? undefined : traceparentOf(parent)
}

const pattern = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/

/**
 * Returns the span of a `traceparent`; undefined if it is not valid.
 *
 * @since 0.1.0
 * @category accessors
 */
export const spanOf = (traceparent: string): Tracer.ExternalSpan | undefined => {
  const [, traceId, spanId, flags] = pattern.exec(traceparent) ?? []
  return traceId === undefined || spanId === undefined || flags === undefined
    ? undefined
    : Tracer.externalSpan({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 })
}

/** The limit of links that OpenTelemetry recommends. */
const maxLinks = 128

/**
 * Returns the place of a span over a batch of events. If all events belong to one trace, the span belongs to that trace too. Otherwise it begins a trace
 * of its own, which is linked to the spans that appended the events, 128 at most.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofBatch = (events: ReadonlyArray<Pick<EncodedEvent, "metadata">>): SpanPlace => {
  const traceparents = new Set<string>()
  let isOfOneTrace = true
  for (const { metadata: { traceparent } } of events) {
    if (traceparent === undefined) isOfOneTrace = false
    else if (traceparents.size < maxLinks) traceparents.add(traceparent)
  }
  const spans = Array.from(traceparents).flatMap((traceparent) => spanOf(traceparent) ?? [])
  const [first, ...others] = spans
  if (first === undefined) return { root: true }
  isOfOneTrace &&= spans.length === traceparents.size && others.every(({ traceId }) => traceId === first.traceId)
  return isOfOneTrace
    ? { parent: first, links: others.map(linkTo) }
    : { root: true, links: spans.map(linkTo) }
}

/**
 * Returns the place of the span of one event that a handler handles: within the trace of the event, with a link to the span of the batch. An event
 * without a trace stays within the batch.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofEvent = (
  { metadata: { traceparent } }: Pick<EncodedEvent, "metadata">,
  batch: Tracer.AnySpan | undefined
): SpanPlace => {
  const parent = traceparent === undefined ? undefined : spanOf(traceparent)
  if (parent === undefined) return {}
  return batch === undefined || batch.traceId === noop ? { parent } : { parent, links: [linkTo(batch)] }
}

const linkTo = (span: Tracer.AnySpan): Tracer.SpanLink => ({ span, attributes: {} })
