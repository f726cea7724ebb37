/**
 * The documents of inline projections that appends of this process change at the moment. An append whose documents were computed before it would find
 * them changed, so it runs in a transaction, which waits for its turn.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"

/** How long documents that another process has changed count as contended, in milliseconds. */
const contendedFor = 1_000

/** More names than this are not kept. */
const maxContended = 1_000

/**
 * The documents in flight, by the names that an append locks.
 *
 * @since 0.1.0
 * @category models
 */
export interface DocumentsInFlight {
  /** Runs an append. Tells it whether another one changes one of its documents, or a process has changed it a moment ago. */
  readonly whileIn: <A, E>(
    names: ReadonlyArray<string>,
    append: (isContended: boolean) => Effect.Effect<A, E>
  ) => Effect.Effect<A, E>
  /** Notes that documents were changed between their read and the append. */
  readonly contended: (names: ReadonlyArray<string>) => void
}

const isExclusive = (name: string): boolean => name.startsWith("x")

/**
 * Returns a register without documents.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): DocumentsInFlight => {
  const inFlight = new Map<string, number>()
  const contendedUntil = new Map<string, number>()
  const add = (name: string, change: number): void => {
    const count = (inFlight.get(name) ?? 0) + change
    if (count === 0) inFlight.delete(name)
    else inFlight.set(name, count)
  }
  const isContended = (name: string): boolean => {
    if (inFlight.has(name)) return true
    const until = contendedUntil.get(name)
    if (until === undefined) return false
    if (until > performance.now()) return true
    contendedUntil.delete(name)
    return false
  }
  return {
    whileIn: (names, append) => {
      const changed = names.filter(isExclusive)
      return Effect.suspend(() => {
        const contended = changed.some(isContended)
        for (const name of changed) add(name, 1)
        return Effect.ensuring(
          append(contended),
          Effect.sync(() => {
            for (const name of changed) add(name, -1)
          })
        )
      })
    },
    contended: (names) => {
      if (contendedUntil.size > maxContended) contendedUntil.clear()
      for (const name of names.filter(isExclusive)) contendedUntil.set(name, performance.now() + contendedFor)
    }
  }
}
