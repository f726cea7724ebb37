/**
 * A line in the terminal that shows how far an operation is.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import * as Stdio from "effect/Stdio"
import type * as Terminal from "effect/Terminal"
import * as Output from "./Output.ts"
import * as Style from "./Style.ts"

/**
 * A line that is drawn again and again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** Draws the line, at most as wide as the terminal. */
  readonly show: (line: string) => Effect.Effect<void>
}

/** Erases the rest of a longer line before. */
const eraseLine = "\u001b[K"

/**
 * Returns a line on the standard error. It shows nothing if the standard error is not a terminal. When the scope ends, the last line stays.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Progress, never, Scope.Scope | Stdio.Stdio | Terminal.Terminal> = Effect.gen(
  function*() {
    const stdio = yield* Stdio.Stdio
    if (!(yield* stdio.stderrIsTerminal)) return { show: () => Effect.void }
    const { columns = 80 } = yield* Style.current
    const isDrawn = yield* Ref.make(false)
    const draw = (text: string) => Effect.provideService(Output.draw(text), Stdio.Stdio, stdio)
    yield* Effect.addFinalizer(() => Effect.flatMap(Ref.get(isDrawn), (drawn) => drawn ? draw("\n") : Effect.void))
    return {
      show: (line: string) =>
        Effect.andThen(
          Ref.set(isDrawn, true),
          // A terminal breaks a line of its whole width, and then the bar would move down.
          draw(`\r${Array.from(line).slice(0, Math.max(1, columns - 1)).join("")}${eraseLine}`)
        )
    }
  }
)

/** The number of characters of a bar. */
const barWidth = 30

/**
 * Returns a bar, the percentage and what is counted, such as `█████░░░░░  50 %  1,000 of 2,000 events`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const bar = (fraction: number, text: string): string => {
  const within = Math.min(1, Math.max(0, fraction))
  const full = Math.floor(within * barWidth)
  const percent = String(Math.floor(within * 100)).padStart(3)
  return `${"█".repeat(full)}${"░".repeat(barWidth - full)} ${percent} %  ${text}`
}

/**
 * Runs an effect with a bar, which it moves. When it is interrupted, `interrupted` returns the message, such as the position reached.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withBar = <P, A, E, R>(
  barOf: (progress: P) => string,
  run: (onProgress: (progress: P) => Effect.Effect<void>) => Effect.Effect<A, E, R>,
  interrupted: (progress: P | undefined) => string
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | Stdio.Stdio | Terminal.Terminal> =>
  Effect.scoped(Effect.gen(function*() {
    const bar = yield* make
    const last = yield* Ref.make<P | undefined>(undefined)
    return yield* run((progress) => Effect.andThen(Ref.set(last, progress), bar.show(barOf(progress)))).pipe(
      Effect.onInterrupt(() => Effect.flatMap(Ref.get(last), (progress) => Output.note(`\n${interrupted(progress)}`)))
    )
  }))

/**
 * Returns a bar for a position within a log that ends at `end`, with what is counted.
 *
 * @since 0.1.0
 * @category combinators
 */
export const ofPosition = (position: bigint, end: bigint, text = ""): string =>
  bar(end === 0n ? 1 : Number(position) / Number(end), `${text}position ${position} of ${end}`)
