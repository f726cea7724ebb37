/**
 * `evsrc erase`: deletes the key of a subject, so that its personal data is unreadable.
 *
 * @since 0.1.0
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Erasure from "../../erasure/Erasure.ts"
import * as Confirmation from "../Confirmation.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { counted, printable, type Style } from "../output/Style.ts"
import * as ConfigFile from "../session/ConfigFile.ts"
import * as Stores from "../session/Stores.ts"

/**
 * The report of `erase`. It has no personal data, so it can be archived.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Erased = Schema.toCodecJson(Erasure.ErasureReceipt)

/**
 * The report of `erase --scan`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ErasureScan = Schema.toCodecJson(Erasure.ScanReport)

const foundLines = (style: Style, { encrypted, plaintext }: Erasure.ScanReport): ReadonlyArray<string> => [
  `Encrypted data of the subject is in ${counted(encrypted.events, "event")}, ${
    counted(encrypted.snapshots, "snapshot")
  } and ${counted(encrypted.documents, "document")}`,
  ...plaintext === undefined
    ? ["The key was deleted before, so the plaintext to search for is unknown"]
    : plaintext.length === 0
    ? ["No plaintext was found"]
    : [
      style.as(
        "red",
        `Plaintext was found, which an erasure does not reach, in ${counted(plaintext.length, "place")}:`
      ),
      ...plaintext.map(({ key, owner, path, source }) =>
        `    ${source} ${printable(owner)} ${printable(key)}${path === undefined ? "" : ` ${printable(path)}`}`
      )
    ]
]

/** Provides the stores and the key store of the configuration. */
const layer = Layer.unwrap(Effect.gen(function*() {
  const { config, file } = yield* ConfigFile.required("the key store")
  if (config.keys === undefined) {
    return yield* new WrongUse({ detail: `${file} has no key store; give EvsrcConfig.make the option keys` })
  }
  return config.keys.pipe(Layer.provideMerge(Stores.layer))
}))

/**
 * The command `erase`.
 *
 * @since 0.1.0
 * @category commands
 */
export const erase = Command.make(
  "erase",
  {
    subject: Flag.String("subject").pipe(
      Flag.withDescription("The subject whose personal data is erased, as the events name it")
    ),
    scan: Flag.Boolean("scan").pipe(
      Flag.withDescription("Change nothing; print what the stores hold of the subject, encrypted and in plaintext"),
      Flag.withoutNegation,
      Flag.withDefault(false)
    ),
    yes: Confirmation.yes
  },
  Effect.fnUntraced(function*({ scan, subject, yes }) {
    if (scan) {
      const report = yield* Erasure.scan(subject)
      return yield* Output.document(ErasureScan, report, (style) => foundLines(style, report))
    }
    yield* Confirmation.confirm(`Erase the personal data of "${subject}" for good, in every backup too?`, yes)
    const receipt = yield* Erasure.erase(subject).pipe(
      Effect.onInterrupt(() =>
        Output.note(
          "The erasure was interrupted. The key may be deleted already; run the command again to finish it, and to get the receipt"
        )
      )
    )
    yield* Output.document(Erased, receipt, (style) => [
      `${style.as("green", "erased")} ${printable(subject)} at ${
        DateTime.formatIso(receipt.erasedAt)
      }; no process can read the data after ${DateTime.formatIso(receipt.doneAt)}`,
      ...foundLines(style, receipt.found)
    ])
  }, Effect.provide(layer))
).pipe(
  Command.withDescription(
    "Delete the key of a subject, so that its personal data is unreadable, and print the receipt"
  ),
  Command.withExamples([
    { command: "evsrc erase --subject user-7 --scan", description: "Print what the stores hold of a subject" },
    {
      command: "evsrc erase --subject user-7 --yes --json > receipt.json",
      description: "Erase it, and keep the receipt"
    }
  ])
)
