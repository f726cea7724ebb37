/**
 * `evsrc tail`: prints events as they are committed.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import * as LogPosition from "../../core/LogPosition.ts"
import { EventStore } from "../../eventStore/EventStore.ts"
import * as Arguments from "../Arguments.ts"
import * as Output from "../output/Output.ts"
import * as EventReport from "../reports/EventReport.ts"
import * as Stores from "../session/Stores.ts"

const flags = {
  after: Arguments.after.pipe(
    Flag.withDescription(
      "Begin with the events after this position; 0 is the beginning of the log. By default its end, or with --no-follow its beginning"
    ),
    Flag.optional
  ),
  stream: Flag.String("stream").pipe(
    Flag.withDescription(
      "Only events of this stream; with a * at the end, of all streams with this prefix, such as 'Order-*'"
    ),
    Flag.optional
  ),
  types: Flag.String("type").pipe(
    Flag.withAlias("t"),
    Flag.withDescription("Only events of this stored type; may be repeated"),
    Flag.atLeast(0)
  ),
  tags: Flag.String("tag").pipe(
    Flag.withDescription(
      "Only events that have this tag, such as customer:7; if repeated, only events that have all of them"
    ),
    Flag.atLeast(0)
  ),
  limit: Arguments.limit.pipe(Flag.withDescription("End after this number of events"), Flag.optional),
  follow: Flag.Boolean("follow").pipe(
    Flag.withDescription("Wait for further events at the end of the log; --no-follow ends there"),
    Flag.withDefault(true)
  )
}

/**
 * The command `tail`.
 *
 * @since 0.1.0
 * @category commands
 */
export const tail = Command.make(
  "tail",
  flags,
  Effect.fnUntraced(function*({ after, follow, limit, stream, tags, types }) {
    const store = yield* EventStore
    const from = Option.isSome(after) ? after.value : follow ? yield* store.headPosition : LogPosition.start
    const name = Option.getOrUndefined(stream)
    const isPrefix = name?.endsWith("*") === true
    const streamPrefix = isPrefix ? name.slice(0, -1) : name
    const options = {
      after: from,
      ...types.length === 0 ? {} : { types },
      where: { ...tags.length === 0 ? {} : { tags }, ...streamPrefix === undefined ? {} : { streamPrefix } }
    }
    const events = (follow ? store.subscribeEncoded(options) : store.readAllEncoded(options)).pipe(
      Stream.filter((event) => name === undefined || isPrefix || event.stream === name),
      (found) => Option.isNone(limit) ? found : Stream.take(found, limit.value)
    )
    const last = yield* Ref.make(from.position)
    yield* Output.items(
      EventReport.Tail,
      Stream.tap(events, ({ position }) => Ref.set(last, position)),
      (style, event) => [EventReport.line(style, event)]
    ).pipe(
      Effect.tapError((error) =>
        error.isRetryable
          ? Effect.flatMap(Ref.get(last), (position) => Output.note(`Stopped; to continue, give --after ${position}`))
          : Effect.void
      )
    )
  }, Effect.provide(Stores.layerWithheld))
).pipe(
  Command.withDescription("Print events as they are committed"),
  Command.withExamples([
    { command: "evsrc tail", description: "Follow the log from its end" },
    {
      command: "evsrc tail --after 0 --no-follow --json",
      description: "Print the whole log, as one line of JSON for each event"
    },
    {
      command: "evsrc tail --stream 'Order-*' --type OrderPlaced",
      description: "Follow one type of events of all orders"
    }
  ])
)
