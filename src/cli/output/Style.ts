/**
 * How the output looks: its width, and its colours.
 *
 * @since 0.1.0
 */
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Terminal from "effect/Terminal"

/**
 * Returns a number with its noun, such as `1 event` or `2 events`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const counted = (count: number, noun: string, isMore = false): string =>
  `${count}${isMore ? "+" : ""} ${noun}${count === 1 && !isMore ? "" : "s"}`

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const

/**
 * The colours and weights of texts.
 *
 * @since 0.1.0
 * @category models
 */
export type Look = keyof typeof codes

/**
 * How the output looks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Style {
  /** The number of columns; undefined if the output is not a terminal. */
  readonly columns: number | undefined
  /** Returns the text with a look, on a terminal that shows colours. */
  readonly as: (look: Look, text: string) => string
}

/**
 * A style without colours and without a width.
 *
 * @since 0.1.0
 * @category constructors
 */
export const plain: Style = { columns: undefined, as: (_, text) => text }

/**
 * Returns the style of the standard output. `COLUMNS` sets its width, and `NO_COLOR` turns its colours off.
 *
 * @since 0.1.0
 * @category accessors
 */
export const current: Effect.Effect<Style, never, Terminal.Terminal> = Effect.gen(function*() {
  const { canColor } = yield* TerminalCapabilities.TerminalCapabilities
  const terminal = yield* Terminal.Terminal
  const given = yield* Effect.orElseSucceed(Config.option(Config.Int("COLUMNS")), () => Option.none<number>())
  const columns = Option.isSome(given) ? given.value : yield* terminal.columns
  return {
    columns: columns > 0 ? columns : undefined,
    as: (look, text) => canColor && text !== "" ? `\u001b[${codes[look]}m${text}\u001b[0m` : text
  }
})

/**
 * Returns an argument as a shell takes it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const shellWord = (text: string): string =>
  /^[\w./:@%+=^-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`

// oxlint-disable-next-line no-control-regex -- these characters move the cursor, or change what a terminal shows
const control = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/**
 * Returns a text from the database as a terminal may show it, on one line: without characters that control the terminal.
 *
 * @since 0.1.0
 * @category combinators
 */
export const printable = (text: string): string =>
  text.replaceAll(control, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)
