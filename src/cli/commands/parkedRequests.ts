/**
 * `evsrc parked retry` and `evsrc parked skip`. A worker of the consumer carries the request out.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Parking from "../../operations/Parking.ts"
import * as Confirmation from "../Confirmation.ts"
import { BadVerdict, WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { printable, type Style } from "../output/Style.ts"
import * as ParkedReport from "../reports/ParkedReport.ts"
import * as ConsumerNames from "../session/ConsumerNames.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of a request for one key.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Outcome = Schema.toCodecJson(ParkedReport.Outcome)

/**
 * The report of a request for many keys.
 *
 * @since 0.1.0
 * @category schemas
 */
export const BulkOutcome = Schema.toCodecJson(ParkedReport.BulkOutcome)

const shared = {
  consumer: ConsumerNames.argument,
  key: Argument.String("key").pipe(
    Argument.withDescription("The parked key; \"\" if it is unknown. Leave it out with --all"),
    Argument.optional
  ),
  all: Flag.Boolean("all").pipe(
    Flag.withDescription("All keys that are parked now, or those that --type and --error select"),
    Flag.withoutNegation,
    Flag.withDefault(false)
  ),
  type: Flag.String("type").pipe(Flag.withDescription("With --all, only events of this stored type"), Flag.optional),
  error: Flag.String("error").pipe(
    Flag.withDescription("With --all, only events whose error contains this text"),
    Flag.optional
  ),
  actor: Flag.String("actor").pipe(
    Flag.withDescription("The operator of the request; the parking log keeps the name"),
    Flag.optional
  ),
  timeout: Flag.Int("timeout").pipe(
    Flag.withDescription("For how many seconds to wait for a worker of the consumer"),
    Flag.filter((seconds) => seconds >= 0, (seconds) => `the timeout is ${seconds}; it must be 0 or more seconds`),
    Flag.withDefault(30)
  )
}

interface Request {
  readonly key: Option.Option<string>
  readonly all: boolean
  readonly type: Option.Option<string>
  readonly error: Option.Option<string>
  readonly actor: Option.Option<string>
  readonly timeout: number
}

const requireKeyOrAll = ({ all, error, key, type }: Request): Effect.Effect<void, WrongUse> => {
  const detail = Option.isSome(key) === all
    ? "Give either a key, or --all"
    : !all && (Option.isSome(type) || Option.isSome(error))
    ? "--type and --error select keys of --all; leave them out, or give --all instead of a key"
    : undefined
  return detail === undefined ? Effect.void : Effect.fail(new WrongUse({ detail }))
}

const outcomeLines = (style: Style, { entry, key, outcome, parked }: Parking.Outcome): ReadonlyArray<string> => [
  outcome === "failed"
    ? `${style.as("red", "failed again")} ${printable(key)}: ${printable(entry.detail ?? "")}`
    : `${style.as("green", outcome)} ${printable(key)}`,
  ...outcome === "failed" || parked === undefined
    ? []
    : [`    parked now at position ${parked.position}: ${style.as("red", printable(parked.error))}`]
]

/** Prints the outcome of one key. The verdict is bad if the key is still parked. */
const printOne = Effect.fnUntraced(function*(outcome: Parking.Outcome) {
  const { entry, key, parked } = outcome
  const detail = outcome.outcome === "failed" ? entry.detail : undefined
  yield* Output.document(
    Outcome,
    {
      key,
      outcome: outcome.outcome,
      ...detail === undefined ? {} : { detail },
      ...parked === undefined ? {} : { parked }
    },
    (style) => outcomeLines(style, outcome)
  )
  if (parked !== undefined) return yield* new BadVerdict()
})

const printAll = Effect.fnUntraced(function*(outcome: Parking.BulkOutcome) {
  const { failed, parkedLater, requested, retried, skipped } = outcome
  yield* Output.document(BulkOutcome, outcome, (style) => [
    `${requested} requested: ${retried} retried, ${skipped} skipped, ${
      failed === 0 ? "0 failed again" : style.as("red", `${failed} failed again`)
    }, ${parkedLater} parked at a later event`
  ])
  if (failed + parkedLater > 0) return yield* new BadVerdict()
})

const queued = Effect.onInterrupt(() =>
  Output.note("The requests stay queued, and the workers of the consumer carry them out; see: evsrc parked list")
)

const optionsOf = ({ actor, timeout }: Request, reason: string | undefined) => ({
  actor: Option.getOrUndefined(actor),
  timeout: `${timeout} seconds` as const,
  reason
})

const filterOf = ({ error, type }: Request) => ({
  error: Option.getOrUndefined(error),
  type: Option.getOrUndefined(type)
})

/**
 * The command `parked retry`.
 *
 * @since 0.1.0
 * @category commands
 */
export const retry = Command.make(
  "retry",
  {
    ...shared,
    reason: Flag.String("reason").pipe(Flag.withDescription("The reason; the parking log keeps it"), Flag.optional)
  },
  Effect.fnUntraced(function*({ consumer, reason, ...request }) {
    yield* requireKeyOrAll(request)
    const id = yield* ConsumerNames.inStore(consumer)
    const options = optionsOf(request, Option.getOrUndefined(reason))
    if (Option.isSome(request.key)) {
      return yield* printOne(yield* queued(Parking.retry({ id }, request.key.value, options)))
    }
    yield* printAll(yield* queued(Parking.retryAll({ id }, { ...options, ...filterOf(request) })))
  }, Effect.provide(Stores.layerWithheld))
).pipe(Command.withDescription("Retry parked events, and apply the events that wait behind them"))

/**
 * The command `parked skip`.
 *
 * @since 0.1.0
 * @category commands
 */
export const skip = Command.make(
  "skip",
  {
    ...shared,
    reason: Flag.String("reason").pipe(Flag.withDescription("The reason; the parking log keeps it")),
    yes: Confirmation.yes
  },
  Effect.fnUntraced(function*({ consumer, reason, yes, ...request }) {
    yield* requireKeyOrAll(request)
    const id = yield* ConsumerNames.inStore(consumer)
    const options = { ...optionsOf(request, reason), reason }
    if (Option.isSome(request.key)) {
      const { key } = request
      yield* Confirmation.confirm(`Skip the parked event of key "${key.value}" of ${id} for good?`, yes)
      return yield* printOne(yield* queued(Parking.skip({ id }, key.value, options)))
    }
    const { parked } = yield* Parking.count({ id })
    yield* Confirmation.confirm(
      `Skip the parked events of all keys of ${id} that are selected (${parked} are parked) for good?`,
      yes
    )
    yield* printAll(yield* queued(Parking.skipAll({ id }, { ...options, ...filterOf(request) })))
  }, Effect.provide(Stores.layerWithheld))
).pipe(Command.withDescription("Skip parked events for good, and apply the events that wait behind them"))
