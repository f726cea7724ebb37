/**
 * `evsrc archive`: moves the events of closed streams to where appends do not touch them.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as StreamLifecycle from "../../archive/StreamLifecycle.ts"
import * as Arguments from "../Arguments.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { counted, printable } from "../output/Style.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `archive`, one line for each stream.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Archived = Schema.toCodecJson(Schema.Struct({
  stream: Schema.String,
  /** How many events were moved; 0 if the stream was archived before. */
  events: Schema.Int
}))

/**
 * The command `archive`.
 *
 * @since 0.1.0
 * @category commands
 */
export const archive = Command.make(
  "archive",
  {
    stream: Arguments.stream.pipe(Argument.optional),
    closed: Flag.Boolean("closed").pipe(
      Flag.withDescription("Archive all closed streams"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function*({ closed, stream }) {
    if (Option.isSome(stream) === closed) {
      return yield* new WrongUse({ detail: "Give either the name of a closed stream, or --closed" })
    }
    const names = Option.isSome(stream)
      ? Stream.succeed(stream.value)
      : StreamLifecycle.closed.pipe(
        Stream.filter(({ archivedAt }) => archivedAt === undefined),
        Stream.map(({ stream }): string => stream)
      )
    const archived = Stream.mapEffect(
      names,
      (stream) => Effect.map(StreamLifecycle.archive(stream), (events) => ({ stream, events }))
    )
    yield* Output.items(Archived, archived, (style, { events, stream }) => [
      events === 0
        ? `${printable(stream)} was archived before`
        : `${style.as("green", "archived")} ${printable(stream)}, ${counted(events, "event")}`
    ])
  }, Effect.provide(Stores.layerWithheld))
).pipe(
  Command.withDescription("Move the events of closed streams out of the tables of appends; reads return them as before")
)
