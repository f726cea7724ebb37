/**
 * Background loops without spans: a span of every poll would bury those of the work.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as References from "effect/References"

/** Whether the tracer was enabled outside the loop. */
const OuterTracerEnabled = Context.Reference<boolean>("evsrc/core/telemetry/background/OuterTracerEnabled", {
  defaultValue: () => true
})

/**
 * Runs a background loop without spans.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withoutSpans = <A, E, R>(loop: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(References.TracerEnabled, (outer) =>
    loop.pipe(
      Effect.withTracerEnabled(false),
      Effect.provideService(OuterTracerEnabled, outer)
    ))

/**
 * Runs work within a background loop with spans, if the program of the loop has them.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withSpans = <A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(OuterTracerEnabled, (outer) => outer ? Effect.withTracerEnabled(work, true) : work)
