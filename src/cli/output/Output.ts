/**
 * The standard output of a command: text for people, or with `--json` a document or lines for programs.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import type * as Terminal from "effect/Terminal"
import * as Root from "../Root.ts"
import * as Style from "./Style.ts"

/**
 * The Schema of an output: what it encodes to is JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report<T> extends Schema.Codec<T, Schema.Json> {}

/** Writes texts to the standard output. When its reader closes the pipe, the effect does not end: `main` then ends the command. */
const write = <E, R>(texts: Stream.Stream<string, E, R>): Effect.Effect<void, E, R | Stdio.Stdio> =>
  Effect.flatMap(Stdio.Stdio, (stdio) =>
    Stream.run(
      texts,
      // The reason of a failed write is known to the listener of `main` only.
      stdio.stdout()
    ).pipe(Effect.catchTag("PlatformError", () => Effect.never))) as Effect.Effect<void, E, R | Stdio.Stdio>

/**
 * Writes lines.
 *
 * @since 0.1.0
 * @category combinators
 */
export const lines = (all: ReadonlyArray<string>): Effect.Effect<void, never, Stdio.Stdio> =>
  all.length === 0 ? Effect.void : write(Stream.succeed(`${all.join("\n")}\n`))

/**
 * Writes one document: as JSON, or as the lines that `text` returns.
 *
 * @since 0.1.0
 * @category combinators
 */
export const document = <T>(
  report: Report<T>,
  value: NoInfer<T>,
  text: (style: Style.Style) => ReadonlyArray<string>
): Effect.Effect<void, never, Root.Root | Stdio.Stdio | Terminal.Terminal> =>
  Effect.gen(function*() {
    const { json } = yield* Root.root
    if (!json) return yield* lines(text(yield* Style.current))
    yield* lines([JSON.stringify(yield* encoded(report, value), undefined, 2)])
  })

/** A value that the Schema does not encode is a mistake of a command. */
const encoded = <T>(report: Report<T>, value: T): Effect.Effect<Schema.Json> =>
  Effect.orDie(Schema.encodeEffect(report)(value))

/**
 * Writes the items of a Stream as they come: each as a line of JSON, or as the lines that `text` returns.
 *
 * @since 0.1.0
 * @category combinators
 */
export const items = <T, V extends T, E, R>(
  report: Report<T>,
  values: Stream.Stream<V, E, R>,
  text: (style: Style.Style, value: V) => ReadonlyArray<string>
): Effect.Effect<void, E, R | Root.Root | Stdio.Stdio | Terminal.Terminal> =>
  Effect.gen(function*() {
    const { json } = yield* Root.root
    const style = yield* Style.current
    yield* write(Stream.mapEffect(values, (value) =>
      json
        ? Effect.map(encoded(report, value), (line) => `${JSON.stringify(line)}\n`)
        : Effect.succeed(text(style, value).map((line) => `${line}\n`).join(""))))
  })

const toStderr = (text: string): Effect.Effect<void, never, Stdio.Stdio> =>
  Effect.flatMap(Stdio.Stdio, (stdio) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr())))

/**
 * Writes a line to the standard error, which a program that reads the output does not see.
 *
 * @since 0.1.0
 * @category combinators
 */
export const note = (line: string): Effect.Effect<void, never, Stdio.Stdio> => toStderr(`${line}\n`)

/**
 * Writes a text to the standard error without a new line.
 *
 * @since 0.1.0
 * @category combinators
 */
export const draw = toStderr
