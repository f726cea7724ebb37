/**
 * The log lines at the end of a rebuild.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { logEvent } from "../../core/telemetry/logEvent.ts"
import type * as Projection from "../ProjectionDefinition.ts"

type Named = Pick<Projection.Any, "id">

/**
 * Returns the effect that logs that a generation has caught up, with the time since now.
 *
 * @since 0.1.0
 * @category constructors
 */
export const caughtUp = ({ id }: Named, generation: string): Effect.Effect<Effect.Effect<void>> =>
  Effect.map(Clock.currentTimeMillis, (began) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const duration = Duration.millis(now - began)
      return logEvent("rebuild.caughtUp", `${generation} has caught up after ${Duration.format(duration)}`, {
        consumer: id,
        generation,
        seconds: Duration.toSeconds(duration)
      })
    }))

/**
 * Logs that readers read another generation from now on.
 *
 * @since 0.1.0
 * @category combinators
 */
export const cutOver = ({ id }: Named, generation: string, previous: string): Effect.Effect<void> =>
  logEvent("rebuild.cutOver", `${id} is read from ${generation} from now on, instead of ${previous}`, {
    consumer: id,
    generation,
    previous
  })

/**
 * Logs that readers read an earlier generation again.
 *
 * @since 0.1.0
 * @category combinators
 */
export const rolledBack = ({ id }: Named, generation: string, previous: string): Effect.Effect<void> =>
  logEvent("rebuild.rolledBack", `${id} is read from ${generation} again, instead of ${previous}`, {
    consumer: id,
    generation,
    previous
  })
