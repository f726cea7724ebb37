/**
 * The state of an aggregate's instance after some event of its stream.
 *
 * @since 0.1.0
 */
import * as Position from "../core/Position.ts"
import * as Version from "../core/Version.ts"

/**
 * The state of an instance, and the version and position of the last event in it (0 when there is none).
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded<out State> {
  readonly state: State
  readonly version: Version.Version
  readonly position: Position.Position
}

/**
 * With the id of that event, which tells whether it is still in its place. Empty when there is none.
 *
 * @since 0.1.0
 * @category models
 */
export interface CachedState<out State> extends Loaded<State> {
  readonly eventId: string
}

/**
 * The state before the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty = <State>(decider: { readonly initial: State }): CachedState<State> => ({
  state: decider.initial,
  version: Version.zero,
  position: Position.start,
  eventId: ""
})
