/**
 * Work at the end of a turn of the event loop, when the fibers of this turn have run, so that one statement can serve all of them. Internal: the package does
 * not export it.
 *
 * @since 0.1.0
 */

/**
 * Returns a function that schedules the work after the fibers that run now. Further calls until then do not schedule it again.
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
