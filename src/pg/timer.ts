/**
 * Timers of the machine: a deadline of the network holds whatever clock the program has. Internal: the package does not export it.
 *
 * @since 0.1.0
 */

/**
 * A timer that was started.
 *
 * @since 0.1.0
 * @category models
 */
export type Timer = ReturnType<typeof setTimeout> | undefined

/**
 * Starts a timer. `Infinity` starts none. Node shares one timer of the system among all with the same duration, so one for each
 * statement costs less than a microsecond.
 *
 * @since 0.1.0
 * @category constructors
 */
export const start = (millis: number, onEnd: () => void): Timer =>
  // @effect-diagnostics-next-line globalTimers:off
  millis === Infinity ? undefined : setTimeout(onEnd, millis)

/**
 * Stops a timer.
 *
 * @since 0.1.0
 * @category combinators
 */
export const stop = (timer: Timer): void => clearTimeout(timer)
