/**
 * Which events of its set a reader or a consumer takes.
 *
 * @since 0.1.0
 */

/**
 * Which events of its set a consumer takes; all of them where it says nothing.
 *
 * - `tags`: with all of these tags
 * - `streamPrefix`: of streams whose name begins so, as `Order-`
 *
 * @since 0.1.0
 * @category options
 */
export interface EventFilter {
  readonly tags?: ReadonlyArray<string> | undefined
  readonly streamPrefix?: string | undefined
}
