/**
 * `evsrc audit`: compares what consumers applied with the log.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Position } from "../../core/Position.ts"
import * as DeliveryAudit from "../../operations/DeliveryAudit.ts"
import * as ProcessManager from "../../process/ProcessManager.ts"
import * as EvsrcConfig from "../EvsrcConfig.ts"
import { BadVerdict } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import * as Progress from "../output/Progress.ts"
import { counted, printable, type Style } from "../output/Style.ts"
import * as ConfigFile from "../session/ConfigFile.ts"
import * as ConsumerNames from "../session/ConsumerNames.ts"
import * as Stores from "../session/Stores.ts"

const AuditedEvent = Schema.Struct({
  position: Position,
  stream: Schema.String,
  version: Schema.Int,
  id: Schema.String,
  type: Schema.String
})

const Fault = Schema.Union([
  Schema.Struct({
    kind: Schema.Literals(["missing", "doubled", "unexpected"]),
    position: Position,
    event: AuditedEvent
  }),
  Schema.Struct({
    kind: Schema.Literal("exchanged"),
    position: Position,
    upTo: Position,
    events: Schema.Tuple([AuditedEvent, AuditedEvent])
  }),
  Schema.Struct({ kind: Schema.Literal("unknown"), position: Position, upTo: Position, digest: Schema.BigInt }),
  Schema.Struct({
    kind: Schema.Literal("unresolved"),
    position: Position,
    upTo: Position,
    expected: Schema.Int,
    applied: Schema.Int
  })
])

/**
 * The report of `audit`, one line for each consumer.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Audit = Schema.toCodecJson(Schema.Struct({
  consumer: Schema.String,
  generation: Schema.String,
  status: Schema.Literals(["complete", "faulty", "unstarted"]),
  partitions: Schema.Array(Schema.Struct({
    partition: Schema.Int,
    after: Position,
    position: Position,
    events: Schema.Int,
    applied: Schema.Int,
    parked: Schema.Int,
    skipped: Schema.Int,
    status: Schema.Literals(["complete", "faulty"]),
    faults: Schema.Array(Fault),
    /** The number of further faults. */
    more: Schema.Int
  }))
}))

const looks = { complete: "green", faulty: "red", unstarted: "dim" } as const

const faultLine = (fault: DeliveryAudit.Fault): string =>
  `    ${fault.kind} at position ${fault.position}${
    "event" in fault
      ? `: ${printable(fault.event.type)} of ${printable(fault.event.stream)}, version ${fault.event.version}`
      : ""
  }`

const linesOf = (style: Style, { consumer, partitions, status }: DeliveryAudit.Audit): ReadonlyArray<string> => {
  const sum = (of: (one: DeliveryAudit.PartitionAudit) => number) => partitions.reduce((all, one) => all + of(one), 0)
  return [
    `${style.as(looks[status], status.padEnd(9))} ${style.as("bold", consumer)}  ${
      counted(sum(({ events }) => events), "event")
    }, ${sum(({ applied }) => applied)} applied, ${sum(({ parked }) => parked)} parked, ${
      sum(({ skipped }) => skipped)
    } skipped`,
    ...partitions.flatMap(({ faults }) => faults.map(faultLine))
  ]
}

/** Returns the consumers of the configuration that have a delivery log. */
const auditable = (config: EvsrcConfig.EvsrcConfig): ReadonlyArray<EvsrcConfig.AnyConsumer> => [
  ...EvsrcConfig.consumersOf(config).filter(({ lifecycle = "async" }) => lifecycle === "async"),
  ...config.processes.flatMap((process) => {
    const { inputs, outputs } = ProcessManager.consumers(process)
    return process.handles.length === 0 ? [outputs] : [inputs, outputs]
  })
]

const auditWithBar = (consumer: EvsrcConfig.AnyConsumer) =>
  Progress.withBar(
    ({ end, partition, position }: DeliveryAudit.AuditProgress) =>
      Progress.ofPosition(position, end, `${printable(consumer.id)}, partition ${partition}, `),
    (onProgress) => DeliveryAudit.run(consumer, { onProgress }),
    () => `The audit of ${printable(consumer.id)} was interrupted and has no result`
  )

/**
 * The command `audit`.
 *
 * @since 0.1.0
 * @category commands
 */
export const audit = Command.make(
  "audit",
  { consumers: ConsumerNames.argument.pipe(Argument.variadic({ min: 0 })) },
  Effect.fnUntraced(function*({ consumers }) {
    const { config } = yield* ConfigFile.required("the definitions of the consumers")
    const all = auditable(config)
    const ids = yield* Effect.forEach(consumers, (text) => ConsumerNames.choose(all.map(({ id }) => id), text))
    const chosen = ids.length === 0 ? all : all.filter(({ id }) => ids.includes(id))
    const isFaulty = yield* Ref.make(false)
    const audits = Stream.fromIterable(chosen).pipe(
      Stream.mapEffect(auditWithBar),
      Stream.tap(({ status }) => status === "faulty" ? Ref.set(isFaulty, true) : Effect.void)
    )
    yield* Effect.provide(Output.items(Audit, audits, linesOf), Stores.layerWithheld)
    if (yield* Ref.get(isFaulty)) return yield* new BadVerdict()
  })
).pipe(
  Command.withDescription("Prove that consumers applied every event exactly once; the exit code is 1 if one did not"),
  Command.withExamples([{
    command: "evsrc audit orders",
    description: "One consumer; without a name, all of evsrc.config.ts"
  }])
)
