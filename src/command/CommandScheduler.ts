/**
 * The service that dispatches commands later. `Schedules.layer` provides it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { EventStoreError, InvalidCommand } from "../core/errors.ts"
import type * as Command from "./Command.ts"
import type { SharedContext } from "./CommandContext.ts"

/**
 * When a command is dispatched: at an instant, after a time, or again and again by a cron expression (`"0 8 * * MON-FRI"`), in a time zone, UTC by default. The
 * clock of the store decides. An instant in the past is due at once.
 *
 * @since 0.1.0
 * @category options
 */
export type When =
  | { readonly at: DateTime.DateTime | Date }
  | { readonly after: Duration.Input }
  | {
    readonly cron: string
    readonly timeZone?: string | undefined
    /**
     * Which missed occurrences are dispatched late. An occurrence is missed if no program runs at its time, or if the command fails.
     *
     * - `"latest"`, the default: the last one. The stream of the schedule, and `skipped` in `Schedules.list`, have the number of the others.
     * - `"all"`: each, one after the other
     */
    readonly missed?: "latest" | "all" | undefined
  }

/**
 * Options of a scheduled command.
 *
 * @since 0.1.0
 * @category options
 */
export type ScheduleOptions = When & SharedContext & {
  /** The id of the schedule, a new one by default. A second call with the same id changes nothing. */
  readonly id?: string | undefined
}

/**
 * The service that marks that a command with this name can be scheduled.
 *
 * @since 0.1.0
 * @category models
 */
export interface Scheduled<in out Tag extends string> {
  readonly "~evsrc/command/CommandScheduler/Scheduled": Tag
}

/**
 * The services that mark that these commands can be scheduled.
 *
 * @since 0.1.0
 * @category models
 */
export type ScheduledOf<C extends Command.Any> = C extends Command.Any ? Scheduled<C["_tag"]> : never

/**
 * Schedules one command.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommandScheduler {
  readonly schedule: (
    payload: unknown,
    options: ScheduleOptions
  ) => Effect.Effect<string, InvalidCommand | EventStoreError>
}

/**
 * Returns the key of the scheduler of a command.
 *
 * @since 0.1.0
 * @category accessors
 */
export const keyOf = <C extends Command.Any>(command: C): Context.Key<ScheduledOf<C>, CommandScheduler> =>
  Context.Service<ScheduledOf<C>, CommandScheduler>(`evsrc/command/CommandScheduler/${command._tag}`)
