/**
 * Defects as errors.
 *
 * @since 0.1.0
 */

/**
 * Returns a defect as an `Error`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const errorOf = (defect: unknown): Error =>
  defect instanceof Error
    ? defect
    : new Error(
      "evsrc: the code of a handler, a layer or an effect threw a value that is not an Error; see `cause`",
      {
        cause: defect
      }
    )

/**
 * Returns the error of an effect that was interrupted neither by its caller nor by `close`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const interruptedItself = (): Error =>
  new Error("evsrc: the code of a handler, a layer or an effect interrupted itself")
