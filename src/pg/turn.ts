/**
 * Work at the end of a turn of the event loop, when the fibers that it woke have run: what they ask for can then be done together. Internal: the package does
 * not export it.
 *
 * @since 0.1.0
 */

/**
 * Returns a function that runs the work once, after the fibers that run now, however often it is called until then.
 *
 * @since 0.1.0
 * @category constructors
 */
export const atEnd = (work: () => void): () => void => {
  let isPending = false
  const run = () => {
    isPending = false
    work()
  }
  return () => {
    if (isPending) return
    isPending = true
    queueMicrotask(run)
  }
}
