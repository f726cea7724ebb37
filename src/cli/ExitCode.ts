/**
 * The exit codes of `evsrc`, and the errors that only its commands fail with.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Config from "effect/Config"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { isSqlError } from "effect/sql/SqlError"
import { EventStoreError } from "../core/errors.ts"
import { fromSqlError } from "../pg/PgErrors.ts"

/**
 * The exit codes.
 *
 * - `fine`: the command succeeded
 * - `badVerdict`: the command ran, and the check failed, such as red health or a broken hash chain
 * - `wrongUse`: an argument, a flag or the configuration is wrong, or the migrations have not run
 * - `failed`: the server cannot be reached, or the operation failed
 * - `interrupted`: a signal ended the command, such as Ctrl-C
 *
 * @since 0.1.0
 * @category constants
 */
export const ExitCode = { fine: 0, badVerdict: 1, wrongUse: 2, failed: 3, interrupted: 130 } as const

/**
 * The command ran, and the check failed. Its output says what; the error prints nothing more.
 *
 * @since 0.1.0
 * @category errors
 */
export class BadVerdict extends Schema.TaggedError<BadVerdict>("evsrc/cli/BadVerdict")("BadVerdict", {}) {
  override get message(): string {
    return "The check failed; the output says what it found"
  }
}

/**
 * An argument, a flag or the configuration is wrong.
 *
 * @since 0.1.0
 * @category errors
 */
export class WrongUse extends Schema.TaggedError<WrongUse>("evsrc/cli/WrongUse")("WrongUse", {
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}

/**
 * How a command ended: its exit code, and what is printed about it; `undefined` if its output says all.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ending {
  readonly code: number
  readonly message: string | undefined
}

const messageOf = (error: unknown): string =>
  Predicate.hasProperty(error, "message") && Predicate.isString(error.message) && error.message !== ""
    ? error.message
    : String(error)

/** The reasons of an `EventStoreError` that a caller corrects. */
const ofCaller: ReadonlyArray<string> = ["InvalidRequest", "StoreMisconfigured"]

const ofError = (error: unknown): Ending => {
  if (error instanceof BadVerdict) return { code: ExitCode.badVerdict, message: undefined }
  if (CliError.isCliError(error)) {
    if (error._tag !== "ShowHelp") return { code: ExitCode.wrongUse, message: messageOf(error) }
    // The parser has printed the help and the errors.
    return { code: error.errors.length === 0 ? ExitCode.fine : ExitCode.wrongUse, message: undefined }
  }
  if (isSqlError(error)) return ofError(fromSqlError(error))
  const isOfCaller = error instanceof WrongUse || error instanceof Config.ConfigError
    || (error instanceof EventStoreError && ofCaller.includes(error.reason._tag))
  return { code: isOfCaller ? ExitCode.wrongUse : ExitCode.failed, message: messageOf(error) }
}

/**
 * Returns how a command ended that did not succeed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ofCause = (cause: Cause.Cause<unknown>): Ending =>
  Cause.hasInterruptsOnly(cause)
    ? { code: ExitCode.interrupted, message: undefined }
    : ofError(Cause.squash(cause))
