/**
 * Erases the types of a process manager's functions, and makes the decider of its instances, which are those of an aggregate.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as AggregateDefinition from "../aggregate/AggregateDefinition.ts"
import * as Command from "../command/Command.ts"
import { ignore } from "../consumer/ConsumerDefinition.ts"
import { deepFreeze } from "../core/deepFreeze.ts"
import { requireExactly } from "../core/definitionRules.ts"
import * as Position from "../core/Position.ts"
import * as SchemaIssues from "../core/schemaIssues.ts"
import * as userCode from "../core/userCode.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { RecordedEvent } from "../event/RecordedEvent.ts"
import type * as SnapshotPolicy from "../snapshot/SnapshotPolicy.ts"
import type * as ProcessContract from "./ProcessContract.ts"
import * as ProcessEvents from "./ProcessEvents.ts"
import * as ProcessState from "./ProcessState.ts"
import type * as Reaction from "./Reaction.ts"
import * as ReactionResult from "./ReactionResult.ts"

type Reacting = (state: unknown, input: unknown, details: unknown) => unknown

/** The functions of a behaviour, each of which is called with the state and the input that its type names. */
interface Functions {
  readonly initial: unknown
  readonly correlate: Readonly<Record<string, unknown>>
  readonly evolve: Readonly<Record<string, unknown>>
  readonly snapshots?: SnapshotPolicy.Policy | undefined
  readonly evolveVersion?: number | undefined
  readonly react: Readonly<Record<string, unknown>>
  readonly refused: Readonly<Record<string, unknown>>
}

/**
 * Returns the erased functions of a process manager. Throws when one is missing, or when personal data is where it cannot be encrypted.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  contract: ProcessContract.Contract,
  { correlate, evolve, evolveVersion, initial, react, refused, snapshots }: Functions
): Omit<ProcessContract.Any, keyof ProcessContract.Contract> => {
  const { commands, deadlines, handles, inputs, name } = contract
  const events = ProcessEvents.make(contract)
  const refusable = commands.filter((command) => ProcessEvents.declaredErrorSchema(command) !== undefined)
  requireExactly(`evolve of "${name}"`, "event", evolve, Object.keys(contract.events.cases))
  requireExactly(`react of "${name}"`, "event", react, [...handles, ...Object.keys(deadlines)])
  requireExactly(`refused of "${name}"`, "command", refused, refusable.map(({ _tag }) => _tag))
  const isPersonal = EventPersonalData.hasPersonalData(events.all) || EventPersonalData.hasPersonalData(inputs)
  const definitions = definitionsOf(contract)
  const call = (what: string, one: unknown, ...args: readonly [unknown, unknown, unknown]) =>
    ReactionResult.validate<Event.Tagged>(
      `${what} of the process manager "${name}"`,
      contract.events.cases,
      userCode.run(`${what} of "${name}"`, isPersonal, () => (one as Reacting)(...args), definitions)
    )
  return {
    processEvents: events,
    isPersonal,
    correlate: (recorded) => {
      const one = correlate[recorded.event._tag]
      if (one === undefined || one === ignore) return undefined
      return userCode.run(
        `correlate of "${name}" on "${recorded.event._tag}"`,
        isPersonal,
        () =>
          (one as (event: unknown, recorded: RecordedEvent<Event.Tagged>) => Reaction.Correlation)(
            recorded.event,
            recorded
          ),
        definitions
      )
    },
    react: (input, state, event, details) => call(`react to "${input}"`, react[input], state, event, details),
    refused: (command, state, error, payload) =>
      refused[command] === ignore
        ? undefined
        : call(`refused for "${command}"`, refused[command], state, error, payload),
    decider: deciderOf(contract, events, { initial, evolve, evolveVersion, snapshots })
  }
}

/** Returns the Schemas of which reactions make events, commands and states. */
const definitionsOf = ({ commands, events, inputs, state }: ProcessContract.Contract): SchemaIssues.Definitions =>
  SchemaIssues.definitionsOf([
    ...Object.values(events.cases),
    ...Object.values(inputs.cases),
    state,
    ...commands.flatMap(({ errorSchema, payloadSchema }) => [payloadSchema, errorSchema])
  ])

/** Returns the decider of the instances. They have no commands of their own: the runtime decides what they append. */
const deciderOf = (
  { deadlines, events: own, name, state }: ProcessContract.Contract,
  { all, fromEvent, types }: ProcessEvents.ProcessEvents,
  { evolve, evolveVersion, initial, snapshots }: Omit<Functions, "correlate" | "react" | "refused">
): ProcessContract.Any["decider"] => {
  const evolveOwn = (before: ProcessState.ProcessState<unknown>, event: Event.Tagged) => ({
    ...before,
    state: (evolve[event._tag] as (state: unknown, event: Event.Tagged) => unknown)(before.state, event)
  })
  const evolveOther = (before: ProcessState.ProcessState<unknown>, event: Event.Tagged) =>
    ProcessState.evolve(before, fromEvent(event)!)
  return AggregateDefinition.make(name, {
    id: "id",
    state: stateSchema(state, deadlines),
    events: all,
    commands: [commandOf(name)]
  }).decider({
    ...(snapshots === undefined ? {} : { snapshots }),
    ...(evolveVersion === undefined ? {} : { evolveVersion }),
    initial: deepFreeze(ProcessState.initial(initial)),
    evolve: Object.fromEntries([
      ...Object.keys(own.cases).map((type) => [type, evolveOwn] as const),
      ...Array.from(types.keys(), (type) => [type, evolveOther] as const)
    ]),
    decide: { [`${name}.react`]: () => [] }
  })
}

/**
 * Returns the command under which the runtime appends to the instances of a process manager.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commandOf = (process: string): ProcessContract.ReactCommand =>
  Command.make<string, { readonly id: typeof Schema.String; readonly cause: typeof Schema.String }>(
    `${process}.react`,
    { payload: { id: Schema.String, cause: Schema.String } }
  )

/** Encodes and decodes without services, because the state, commands and deadlines do. */
interface StateSchema extends Schema.Top {
  readonly Type: ProcessState.ProcessState<unknown>
  readonly DecodingServices: never
  readonly EncodingServices: never
}

const stateSchema = (state: Schema.Top, deadlines: Reaction.DeadlineFields): StateSchema => {
  const schema: Schema.Top = Schema.Struct({
    status: Schema.Literals(["unstarted", "running", "completed", "abandoned"]),
    state,
    deadlines: Schema.Struct(
      Object.fromEntries(
        Object.entries(deadlines).map(([name, fields]) => [
          name,
          Schema.optionalKey(
            Schema.Struct({ id: Schema.String, dueAt: Schema.DateTimeUtc, payload: Schema.Struct(fields) })
          )
        ])
      )
    ),
    startedBy: Schema.UndefinedOr(Position.Position),
    deadlinesSet: Schema.Int,
    sends: Schema.Int,
    rejections: Schema.Int,
    deferred: Schema.Int,
    // No state of an instance that this release does not understand is stored.
    undeclared: Schema.Null
  })
  // The fields are those of `ProcessState`; the compiler has lost the names of the deadlines.
  return schema as StateSchema
}
