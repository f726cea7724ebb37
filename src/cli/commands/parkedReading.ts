/**
 * `evsrc parked list` and `evsrc parked inspect`.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as EventStore from "../../eventStore/EventStore.ts"
import * as Generations from "../../operations/Generations.ts"
import * as ParkedKeys from "../../operations/ParkedKeys.ts"
import * as Parking from "../../operations/Parking.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { printable, type Style } from "../output/Style.ts"
import * as EventReport from "../reports/EventReport.ts"
import * as ParkedReport from "../reports/ParkedReport.ts"
import * as ConsumerNames from "../session/ConsumerNames.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `parked inspect`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Inspection = Schema.toCodecJson(ParkedReport.Inspection)

const ListItem = Schema.toCodecJson(ParkedReport.ParkedKey)

/** Returns a key as a shell takes it. */
const keyOf = (key: string): string => key === "" ? "\"\"" : printable(key)

const lines = (style: Style, one: ParkedReport.ParkedKey): ReadonlyArray<string> => [
  [
    style.as("bold", one.generation),
    style.as("green", keyOf(one.key)),
    `${printable(one.type)} at position ${one.position}, tried ${
      one.attempts === 1 ? "once" : `${one.attempts} times`
    }`,
    style.as("dim", `since ${DateTime.formatIso(one.parkedAt)}`),
    ...one.request === undefined ? [] : [style.as("yellow", `${one.request.action} requested`)]
  ].join("  "),
  `    ${style.as("red", printable(one.error))}`
]

const consumersWithParked = Effect.map(
  Generations.list({ maxCount: 1 }),
  (all) => all.filter(({ isActive, parked }) => isActive && parked.count > 0).map(({ consumer }) => consumer)
)

/**
 * The command `parked list`.
 *
 * @since 0.1.0
 * @category commands
 */
export const list = Command.make(
  "list",
  {
    consumer: ConsumerNames.argument.pipe(Argument.optional),
    type: Flag.String("type").pipe(Flag.withDescription("Only events of this stored type"), Flag.optional),
    error: Flag.String("error").pipe(Flag.withDescription("Only events whose error contains this text"), Flag.optional)
  },
  Effect.fnUntraced(function*({ consumer, error, type }) {
    const ids = Option.isSome(consumer)
      ? [yield* ConsumerNames.inStore(consumer.value)]
      : yield* consumersWithParked
    const filter = { error: Option.getOrUndefined(error), type: Option.getOrUndefined(type) }
    const all = Stream.flatMap(Stream.fromIterable(ids), (id) => Parking.stream({ id }, filter))
    let count = 0
    yield* Output.items(ListItem, Stream.tap(all, () => Effect.sync(() => count++)), lines)
    if (count === 0) yield* Output.note("No key is parked")
  }, Effect.provide(Stores.layerWithheld))
).pipe(Command.withDescription("List the parked keys of a consumer, or of all of them"))

/**
 * The command `parked inspect`.
 *
 * @since 0.1.0
 * @category commands
 */
export const inspect = Command.make(
  "inspect",
  {
    consumer: ConsumerNames.argument,
    key: Argument.String("key").pipe(Argument.withDescription("The parked key; \"\" if it is unknown"))
  },
  Effect.fnUntraced(function*({ consumer, key }) {
    const id = yield* ConsumerNames.inStore(consumer)
    const found = yield* ParkedKeys.find({ id }, key, {})
    const event = yield* Stream.runHead(EventStore.readStreamEncoded(found.stream, { from: found.version, limit: 1 }))
    if (Option.isNone(event)) {
      return yield* new WrongUse({
        detail:
          `Version ${found.version} of stream "${found.stream}" is parked, but not in the log; check which log this is`
      })
    }
    const history = (yield* Parking.history({ id }, { key })).items
    const report = { parked: found, event: event.value, history }
    yield* Output.document(Inspection, report, (style) => [
      ...lines(style, found),
      "",
      EventReport.line(style, event.value),
      "",
      ...history.map(({ action, actor, at, detail }) =>
        [style.as("dim", DateTime.formatIso(at)), action, ...actor === undefined ? [] : [`by ${printable(actor)}`]]
          .join(" ")
        + (detail === undefined ? "" : `: ${printable(detail)}`)
      )
    ])
  }, Effect.provide(Stores.layerWithheld))
).pipe(Command.withDescription("Print a parked key with its event, as it is stored, and its history"))
