/**
 * The command `evsrc` itself, with the flags that all of its commands share.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"

/**
 * The command `evsrc`. A command gets the shared flags by `yield* Root.root`.
 *
 * @since 0.1.0
 * @category models
 */
export const root = Command.make("evsrc").pipe(
  Command.withDescription("Operates an event store of evsrc"),
  Command.withSharedFlags({
    url: Flag.Redacted("url").pipe(
      Flag.withDescription(
        "The URL of the database; by default the database of the configuration, or DATABASE_URL. Other users of the machine see the arguments "
          + "of a process: prefer DATABASE_URL for a URL with a password"
      ),
      Flag.withMetavar("postgres://…"),
      Flag.optional
    ),
    schema: Flag.String("schema").pipe(
      Flag.withDescription("The schema of the event store; by default that of the configuration, or evsrc"),
      Flag.optional
    ),
    config: Flag.String("config").pipe(
      Flag.withDescription(
        "The configuration; by default evsrc.config.ts of this folder, or of the nearest one above it"
      ),
      Flag.withMetavar("file"),
      Flag.optional
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print JSON for programs: one document, or one line for each item"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    )
  })
)

/**
 * The services of a command: the flags of `evsrc`.
 *
 * @since 0.1.0
 * @category models
 */
export type Root = Command.CommandContext<"evsrc">
