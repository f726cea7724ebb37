/**
 * `evsrc rebuild` and `evsrc rollback`: build the documents of a projection again, and go back to those before.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Position } from "../../core/Position.ts"
import * as Rebuild from "../../projection/rebuild/Rebuild.ts"
import * as Confirmation from "../Confirmation.ts"
import * as Output from "../output/Output.ts"
import * as Progress from "../output/Progress.ts"
import { counted } from "../output/Style.ts"
import * as Projections from "../session/Projections.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `rebuild`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Rebuilt = Schema.toCodecJson(Schema.Struct({
  projection: Schema.String,
  generation: Schema.String,
  /** `cut-over`: the generation is active now; `caught-up`: it was not cut over, or is the first one of its projection. */
  phase: Schema.Literals(["building", "caught-up", "comparing", "cut-over"]),
  position: Position,
  /** The number of events that were applied to it. */
  applied: Schema.Int,
  seconds: Schema.Finite,
  parked: Schema.Int,
  /** The sums of the comparison; `null` without `--compare`. */
  compared: Schema.NullOr(Schema.Struct({ documents: Schema.Int, different: Schema.Int, unsettled: Schema.Int }))
}))

/**
 * The report of `rollback`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RolledBack = Schema.toCodecJson(Schema.Struct({ active: Schema.String, previous: Schema.String }))

const reportOf = (progress: Rebuild.Progress, compared: Rebuild.Compared | undefined): typeof Rebuilt.Type => ({
  projection: progress.projection,
  generation: progress.generation,
  phase: progress.phase,
  position: progress.position,
  applied: progress.applied,
  seconds: Duration.toSeconds(progress.elapsed),
  parked: progress.parked,
  compared: compared === undefined
    ? null
    : { documents: compared.documents, different: compared.different, unsettled: compared.unsettled }
})

const howToContinue = (name: string, build: Option.Option<string>): string =>
  `evsrc rebuild ${name} ${Option.isSome(build) ? `--build ${build.value}` : "--resume"}`

const run = Effect.fnUntraced(function*(
  name: string,
  build: Option.Option<string>,
  stream: ReturnType<typeof Rebuild.rebuild>
) {
  const bar = yield* Progress.make
  const last = yield* Ref.make<Rebuild.Progress | undefined>(undefined)
  const compared = yield* Ref.make<Rebuild.Compared | undefined>(undefined)
  yield* Stream.runForEach(stream, (progress) =>
    Effect.all([
      Ref.set(last, progress),
      progress.compared === undefined ? Effect.void : Ref.set(compared, progress.compared),
      bar.show(Rebuild.formatProgress(progress))
    ], { discard: true })).pipe(
      Effect.onInterrupt(() =>
        Effect.flatMap(Ref.get(last), (progress) =>
          Output.note(
            progress === undefined
              ? "\nThe rebuild was interrupted before it began"
              : `\nThe rebuild of ${progress.projection} stopped at position ${progress.position} of ${progress.head}, after ${progress.applied} `
                + `events; readers see the documents as before. To continue: ${howToContinue(name, build)}`
          ))
      )
    )
  return { progress: yield* Ref.get(last), compared: yield* Ref.get(compared) }
}, Effect.scoped)

/**
 * The command `rebuild`.
 *
 * @since 0.1.0
 * @category commands
 */
export const rebuild = Command.make(
  "rebuild",
  {
    projection: Projections.argument,
    build: Flag.String("build").pipe(
      Flag.withDescription(
        "A name for the code, such as its commit; a run with the same name resumes an interrupted one"
      ),
      Flag.optional
    ),
    resume: Flag.Boolean("resume").pipe(
      Flag.withDescription("Resume an interrupted run of the same code, whatever its --build"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    ),
    compare: Flag.Boolean("compare").pipe(
      Flag.withDescription(
        "Compare the new documents with the active ones before the cut-over; differences do not prevent it"
      ),
      Flag.withoutNegation,
      Flag.withDefault(false)
    ),
    cutOver: Flag.Boolean("cut-over").pipe(
      Flag.withDescription("Make the new documents active at the end; --no-cut-over keeps the old ones active"),
      Flag.withDefault(true)
    )
  },
  Effect.fnUntraced(function*({ build, compare, cutOver, projection, resume }) {
    const definition = yield* Projections.rebuildable(projection)
    const stream = Rebuild.rebuild(definition, { build: Option.getOrUndefined(build), resume, compare, cutOver })
    const { compared, progress } = yield* Effect.provide(run(projection, build, stream), Stores.layer)
    // A rebuild reports at least once before it ends.
    if (progress === undefined) return
    const report = reportOf(progress, compared)
    yield* Output.document(Rebuilt, report, (style) => [
      `${style.as("green", report.phase === "cut-over" ? "rebuilt" : "built")} ${report.generation}: ${
        counted(report.applied, "event")
      } in ${report.seconds.toFixed(1)} s`,
      ...report.compared === null ? [] : [
        `${
          counted(report.compared.documents, "document")
        } compared, ${report.compared.different} different, ${report.compared.unsettled} unsettled`
      ],
      ...report.parked === 0 ? [] : [style.as("red", `${counted(report.parked, "key")} parked in it`)]
    ])
  })
).pipe(
  Command.withDescription("Build the documents of a projection again, while readers see the current ones"),
  Command.withExamples([
    {
      command: "evsrc rebuild orders --build $(git rev-parse HEAD) --compare",
      description: "Rebuild, compare and cut over"
    }
  ])
)

/**
 * The command `rollback`.
 *
 * @since 0.1.0
 * @category commands
 */
export const rollback = Command.make(
  "rollback",
  {
    projection: Projections.argument,
    to: Flag.String("to").pipe(
      Flag.withDescription("A generation that was active before; by default the previous one"),
      Flag.optional
    ),
    evenIfParked: Flag.Boolean("even-if-parked").pipe(
      Flag.withDescription("Roll back even if keys are parked there at events that the active generation has applied"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    ),
    yes: Confirmation.yes
  },
  Effect.fnUntraced(function*({ evenIfParked, projection, to, yes }) {
    const definition = yield* Projections.rebuildable(projection)
    yield* Confirmation.confirm(
      `Make the former documents of ${definition.id} active? Readers see their old state until projectors have caught up.`,
      yes
    )
    const report = yield* Effect.provide(
      Rebuild.rollback(definition, { to: Option.getOrUndefined(to), evenIfParked }),
      Stores.layer
    )
    yield* Output.document(RolledBack, report, () => [
      `${report.active} is active; it was ${report.previous} before. A second rollback undoes this one`
    ])
  })
).pipe(Command.withDescription("Make the documents from before the last rebuild active again"))
