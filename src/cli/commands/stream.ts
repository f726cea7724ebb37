/**
 * `evsrc stream`: prints the events of a stream and, with a configuration, the state after each.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as StreamLifecycle from "../../archive/StreamLifecycle.ts"
import * as AsOf from "../../core/AsOf.ts"
import { invalidRequest } from "../../core/errors.ts"
import type * as DecisionDefinition from "../../decision/DecisionDefinition.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"
import * as EventStore from "../../eventStore/EventStore.ts"
import * as SchemaFailure from "../../personalData/SchemaFailure.ts"
import * as AggregateAsOf from "../../timeTravel/AggregateAsOf.ts"
import * as asOfReads from "../../timeTravel/asOfReads.ts"
import * as Arguments from "../Arguments.ts"
import type { AnyDecider } from "../EvsrcConfig.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { printable } from "../output/Style.ts"
import * as EventReport from "../reports/EventReport.ts"
import * as ConfigFile from "../session/ConfigFile.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `stream`, one line for each event.
 *
 * @since 0.1.0
 * @category schemas
 */
export const StreamEvent = Schema.toCodecJson(Schema.Struct({
  event: EventReport.StoredEvent,
  /** The state after the event; only with `--state`. */
  state: Schema.optionalKey(Schema.Json)
}))

interface Printed {
  readonly event: EncodedEvent
  readonly state?: Schema.Json
}

const encodeState = ({ aggregate: { state: schema } }: AnyDecider) => {
  const encode = SchemaFailure.parser(
    schema,
    // A Schema that needs services fails when it encodes, as a typed error.
    Schema.encodeUnknownResult(Schema.toCodecJson(schema as DecisionDefinition.StateSchema))
  )
  return (state: unknown, { stream, version }: EncodedEvent) =>
    Effect.mapError(Effect.fromResult(encode(state)), (failure) =>
      invalidRequest(
        `The state of "${stream}" at version ${version} does not satisfy its Schema: ${
          SchemaFailure.messageOf(failure, true)
        }`
      ))
}

const withStates = (decider: AnyDecider, stream: string, at: AsOf.AsOf) => {
  const encode = encodeState(decider)
  const id = stream.slice(decider.aggregate.streamOf("").length)
  return Stream.mapEffect(
    AggregateAsOf.history(decider, id, at),
    ({ encoded, state }) => Effect.map(encode(state, encoded), (state) => ({ event: encoded, state }))
  )
}

/** Returns the aggregate to whose instances a stream belongs. */
const deciderOf = Effect.fnUntraced(function*(stream: string) {
  const { config, file } = yield* ConfigFile.required("the aggregate of the stream, for --state")
  const found = config.aggregates.find(({ aggregate }) => stream.startsWith(`${aggregate.name}-`))
  return found ?? (yield* new WrongUse({
    detail: `No aggregate of ${file} has the stream "${stream}"; it has ${
      config.aggregates.map(({ aggregate }) => aggregate.name).join(", ") || "none"
    }. Add the aggregate, or leave out --state`
  }))
})

/**
 * The command `stream`.
 *
 * @since 0.1.0
 * @category commands
 */
export const stream = Command.make(
  "stream",
  {
    name: Arguments.stream,
    at: Arguments.at,
    state: Flag.Boolean("state").pipe(
      Flag.withDescription(
        "Print the state after each event too, personal data as erased. It needs the aggregate in evsrc.config.ts"
      ),
      Flag.withoutNegation,
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function*({ at, name, state }) {
    const asOf = Option.getOrElse(at, (): AsOf.AsOf => AsOf.now)
    const decider = state ? yield* deciderOf(name) : undefined
    yield* Effect.provide(print(name, asOf, decider), Stores.layerWithheld)
  })
).pipe(
  Command.withDescription("Print the events of a stream, by version"),
  Command.withExamples([
    { command: "evsrc stream Order-7", description: "The events of an order" },
    {
      command: "evsrc stream Order-7 --state --at version:3",
      description: "Its first three events, and the states after them"
    }
  ])
)

const print = Effect.fnUntraced(function*(name: string, asOf: AsOf.AsOf, decider: AnyDecider | undefined) {
  const status = yield* StreamLifecycle.status(name)
  if (status.version === 0) {
    return yield* new WrongUse({ detail: `There is no stream "${name}"; names are case-sensitive` })
  }
  if (asOf._tag === "Version" && asOf.version > status.version) {
    return yield* new WrongUse({
      detail: `Stream "${name}" has no version ${asOf.version}; its last version is ${status.version}`
    })
  }
  const store = yield* EventStore.EventStore
  const plain = asOfReads.takeAsOf(asOf)(store.readStreamEncoded(name))
  const all: Stream.Stream<Printed, unknown, EventStore.EventStore> = decider === undefined
    ? Stream.map(plain, (event) => ({ event }))
    : withStates(decider, name, asOf)
  yield* Output.items(StreamEvent, all, (style, { event, state }) => [
    EventReport.line(style, event),
    ...state === undefined ? [] : [`  ${style.as("cyan", "state")} ${printable(JSON.stringify(state))}`]
  ])
  if (status._tag !== "open") yield* Output.note(`Stream "${name}" is ${status._tag}`)
})
