/**
 * `evsrc generations`: lists the generations of all consumers, and removes those that are retired.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Generations from "../../operations/Generations.ts"
import * as Confirmation from "../Confirmation.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { counted } from "../output/Style.ts"
import * as Table from "../output/Table.ts"
import * as GenerationReport from "../reports/GenerationReport.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `generations list`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const GenerationList = Schema.toCodecJson(Schema.Array(GenerationReport.Generation))

/**
 * The report of `generations remove`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const GenerationRemoved = Schema.toCodecJson(Schema.Struct({ generation: Schema.String, documents: Schema.Int }))

const list = Command.make(
  "list",
  {},
  Effect.fnUntraced(function*() {
    const all = yield* Generations.list()
    yield* Output.document(GenerationList, all, (style) =>
      all.length === 0
        ? ["No consumer has run yet"]
        : Table.lines(style, GenerationReport.columns, all.map(GenerationReport.row)))
  }, Effect.provide(Stores.layerWithheld))
).pipe(Command.withDescription("List the generations of all consumers"))

const isSet = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

const remove = Command.make(
  "remove",
  {
    generation: Argument.String("generation").pipe(
      Argument.withDescription("The name of the generation, as the list shows it, such as orders@1~2")
    ),
    evenIfActive: isSet("even-if-active", "Remove it even if its consumer then cannot run and readers cannot read it"),
    evenIfRollbackTarget: isSet("even-if-rollback-target", "Remove it even if a rollback would make it active"),
    removeParkingLog: isSet(
      "remove-parking-log",
      "Remove its parking log too: the time, actor and reason of each retry and skip"
    ),
    yes: Confirmation.yes
  },
  Effect.fnUntraced(function*({ generation, yes, ...options }) {
    const found = (yield* Generations.list()).find((one) => one.generation === generation)
    if (found === undefined) {
      return yield* new WrongUse({
        detail: `There is no generation "${generation}"; evsrc generations list prints all generations`
      })
    }
    const { count, isMore } = found.documents
    yield* Confirmation.confirm(
      `Remove generation "${generation}" with ${counted(count, "document", isMore)} and its checkpoints for good?`,
      yes
    )
    yield* Generations.discard(generation, options).pipe(
      Effect.onInterrupt(() =>
        Output.note(
          `Generation "${generation}" is marked as discarded, and some of its rows may remain; run the command again`
        )
      )
    )
    yield* Output.document(GenerationRemoved, { generation, documents: count }, () => [
      `Removed generation "${generation}" with ${counted(count, "document", isMore)}`
    ])
  }, Effect.provide(Stores.layerWithheld))
).pipe(Command.withDescription("Remove a generation with its documents"))

/**
 * The command `generations`.
 *
 * @since 0.1.0
 * @category commands
 */
export const generations = Command.make("generations").pipe(
  Command.withDescription("List and remove the generations of consumers"),
  Command.withSubcommands([list, remove])
)
