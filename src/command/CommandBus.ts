/**
 * Dispatches commands to their handlers.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { EventStoreError, InvalidCommand } from "../core/errors.ts"
import type { Receipt } from "../core/Receipt.ts"
import { countCommand } from "../core/telemetry/metricUpdates.ts"
import * as safeSpan from "../core/telemetry/safeSpan.ts"
import type * as Command from "./Command.ts"
import * as CommandContext from "./CommandContext.ts"
import * as CommandScheduler from "./CommandScheduler.ts"
import { inherit } from "./ContextInheritance.ts"
import * as InProcessRpc from "./InProcessRpc.ts"
import * as RpcPayload from "./RpcPayload.ts"

/**
 * Dispatches a command in process and returns the receipt of what it wrote.
 *
 * **Details**
 *
 * It requires the handler of the command, which `Aggregate.layer` or `Decision.layer` provides. It fails with an error that the
 * command declares, or with an error of `Command.BusError`: `InvalidCommand` when the payload does not satisfy its Schema or has
 * a field that the Schema does not have, `ConcurrencyConflict` or `EventStoreError`.
 *
 * **Example** (a command with its id and actor)
 *
 * ```ts
 * CommandBus.dispatch(RenameUser, { userId, name }, { commandId: key, actor: "ann" })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const dispatch = <C extends Command.Any>(
  command: C,
  payload: Command.PayloadInput<C>,
  context: CommandContext.CommandContext = {}
): Effect.Effect<Receipt, Command.Error<C> | InvalidCommand, Command.HandlerOf<C>> =>
  run(command, () => RpcPayload.commandPayload(command, payload), context)

/**
 * Dispatches a command whose payload is JSON of unknown form, such as the body of a request or a message, and returns the receipt of what it wrote. The
 * payload is decoded by the JSON codec of its Schema; `InvalidCommand` lists all its problems.
 *
 * **Example** (the body of a request)
 *
 * ```ts
 * CommandBus.dispatchUnknown(RenameUser, await request.json(), { commandId: key, actor: "ann" })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const dispatchUnknown = <C extends Command.Any>(
  command: C,
  json: unknown,
  context: CommandContext.CommandContext = {}
): Effect.Effect<Receipt, Command.Error<C> | InvalidCommand, Command.HandlerOf<C>> =>
  run(command, () => RpcPayload.commandPayloadOfJson(command, json), context)

/**
 * Dispatches the command of a name in an `RpcGroup` of commands, such as that of an aggregate, with a payload that is JSON of unknown form, and returns the
 * receipt of what it wrote. If the group has no command of the name, it fails with `InvalidCommand`, which lists the names.
 *
 * **Example** (the commands of an aggregate)
 *
 * ```ts
 * CommandBus.dispatchByName(User.group, message.type, message.body, { commandId: message.id })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const dispatchByName = <C extends Command.Any>(
  group: RpcPayload.Group<C>,
  name: string,
  json: unknown,
  context: CommandContext.CommandContext = {}
): Effect.Effect<Receipt, Command.Error<C> | InvalidCommand, Command.HandlerOf<C>> =>
  Effect.flatMap(RpcPayload.commandOfName(group, name), (command) => dispatchUnknown(command, json, context))

const run = <C extends Command.Any>(
  command: C,
  payload: () => Effect.Effect<Command.Payload<C>, InvalidCommand>,
  context: CommandContext.CommandContext
): Effect.Effect<Receipt, Command.Error<C> | InvalidCommand, Command.HandlerOf<C>> =>
  Effect.contextWith((caller: Context.Context<Command.HandlerOf<C>>) => {
    const handler = InProcessRpc.handlerOf(caller, command)
    const dispatched = safeSpan.withSpan(
      Effect.suspend(() =>
        Effect.flatMapEager(
          payload(),
          (valid) => handler.call(valid, inherit(Context.get(caller, CommandContext.CommandContext), context))
        )
      ),
      `CommandBus.dispatch ${command._tag}`,
      { "evsrc.command": command._tag },
      handler.isPersonal
    )
    return countCommand(dispatched, command._tag, caller)
  })

/**
 * Dispatches a command later, and returns the id of the schedule, by which `Schedules.cancel` cancels it. The schedule is in the log; `Schedules.layer` of any
 * program dispatches the command when it is due, with effect once. If the command is rejected then, the stream of the schedule has an event `rejected`.
 *
 * **Example** (a reminder)
 *
 * ```ts
 * CommandBus.schedule(SendReminder, { orderId }, { after: "3 days" })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const schedule = <C extends Command.Any>(
  command: C,
  payload: Command.PayloadInput<C>,
  options: CommandScheduler.ScheduleOptions
): Effect.Effect<string, InvalidCommand | EventStoreError, CommandScheduler.ScheduledOf<C>> =>
  Effect.flatMap(CommandScheduler.keyOf(command), (scheduler) => scheduler.schedule(payload, options))
