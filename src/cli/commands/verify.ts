/**
 * `evsrc verify`: verifies the hash chains of the log and the index of tags.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { fromJsonText } from "../../core/json/parseJson.ts"
import { Position } from "../../core/Position.ts"
import * as HashChain from "../../history/HashChain.ts"
import { BadVerdict, WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import * as Progress from "../output/Progress.ts"
import { counted, printable, type Style } from "../output/Style.ts"
import * as Stores from "../session/Stores.ts"

const place = { stream: Schema.String, version: Schema.Int, position: Position }

const Fault = Schema.Union([
  Schema.Struct({ kind: Schema.Literals(["changed", "hash", "unchained", "doubled"]), ...place }),
  Schema.Struct({ kind: Schema.Literal("missing"), ...place, last: Schema.Int }),
  Schema.Struct({ kind: Schema.Literal("tagMissing"), ...place, tag: Schema.String }),
  Schema.Struct({ kind: Schema.Literal("tagExtra"), position: Position }),
  Schema.Struct({
    kind: Schema.Literal("anchor"),
    position: Position,
    expected: HashChain.Anchor,
    found: HashChain.Anchor
  })
])

/**
 * The report of `verify`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Verification = Schema.toCodecJson(Schema.Struct({
  isIntact: Schema.Boolean,
  /** The number of events that match their hash. */
  verified: Schema.Int,
  /** The number of events without a hash. */
  unchained: Schema.Int,
  faults: Schema.Array(Fault),
  faultCount: Schema.Int,
  anchor: HashChain.Anchor
}))

const AnchorText = fromJsonText(Schema.toCodecJson(HashChain.Anchor))

const readAnchor = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* fs.readFileString(file).pipe(
    Effect.mapError(({ message }) => new WrongUse({ detail: `The anchor ${file} cannot be read: ${message}` }))
  )
  return yield* Schema.decodeEffect(AnchorText)(text).pipe(
    Effect.mapError(({ message }) =>
      new WrongUse({ detail: `${file} is not an anchor that --save has written: ${message}` })
    )
  )
})

const faultLine = (fault: HashChain.Fault): string =>
  `${fault.kind} at position ${fault.position}${
    "stream" in fault ? `: stream ${printable(fault.stream)}, version ${fault.version}` : ""
  }${"tag" in fault ? `, tag ${printable(fault.tag)}` : ""}`

const linesOf = (style: Style, { anchor, faultCount, faults, isIntact, unchained, verified }: HashChain.Report) => [
  `${isIntact ? style.as("green", "intact") : style.as("red", "faulty")}: ${
    counted(verified, "event")
  } with the right hash, ${unchained} without a hash`,
  ...faults.map((fault) => style.as("red", faultLine(fault))),
  ...faultCount > faults.length ? [`and ${counted(faultCount - faults.length, "more fault")}`] : [],
  `anchor: ${counted(anchor.events, "event")} up to position ${anchor.position}, ${anchor.digest}`
]

/**
 * The command `verify`.
 *
 * @since 0.1.0
 * @category commands
 */
export const verify = Command.make(
  "verify",
  {
    against: Flag.String("against").pipe(
      Flag.withMetavar("file"),
      Flag.withDescription("Compare with the anchor in this file, of an earlier run with --save"),
      Flag.optional
    ),
    save: Flag.String("save").pipe(
      Flag.withMetavar("file"),
      Flag.withDescription(
        "Write the anchor of the log to this file, if the log is intact; keep it where the database's administrator cannot change it"
      ),
      Flag.optional
    )
  },
  Effect.fnUntraced(function*({ against, save }) {
    const anchor = Option.isSome(against) ? yield* readAnchor(against.value) : undefined
    const report = yield* Progress.withBar(
      ({ head, position }: HashChain.Progress) => Progress.ofPosition(position, head),
      (onProgress) => Effect.provide(HashChain.verify({ against: anchor, onProgress }), Stores.layerWithheld),
      (progress) =>
        progress === undefined
          ? "The verification stopped before the first event"
          : `The verification stopped at position ${progress.position} of ${progress.head}; the events after it are not verified`
    )
    yield* Output.document(Verification, report, (style) => linesOf(style, report))
    if (!report.isIntact) return yield* new BadVerdict()
    if (Option.isSome(save)) {
      const fs = yield* FileSystem.FileSystem
      yield* fs.writeFileString(save.value, `${yield* Schema.encodeEffect(AnchorText)(report.anchor)}\n`)
    }
  })
).pipe(
  Command.withDescription(
    "Verify the hash chains of the log and the index of tags; the exit code is 1 if there is a fault"
  ),
  Command.withExamples([
    { command: "evsrc verify --save anchor.json", description: "Verify, and keep the anchor for a later run" },
    {
      command: "evsrc verify --against anchor.json",
      description: "Prove that nothing up to the anchor was changed or removed"
    }
  ])
)
