/**
 * `evsrc processes` and `evsrc deadlines`: the instances of process managers, and what they wait for.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as ProcessContract from "../../process/ProcessContract.ts"
import type * as ProcessInstances from "../../process/ProcessInstances.ts"
import * as ProcessManager from "../../process/ProcessManager.ts"
import type { ListOptions } from "../../projection/ProjectionReader.ts"
import * as Arguments from "../Arguments.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Output from "../output/Output.ts"
import { printable, type Style } from "../output/Style.ts"
import * as ConfigFile from "../session/ConfigFile.ts"
import * as Stores from "../session/Stores.ts"

const ProcessInstance = Schema.Struct({ process: Schema.String, ...ProcessManager.Instance.fields })

type ProcessInstance = typeof ProcessInstance.Type

/**
 * The report of `processes`, one line for each instance.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Processes = Schema.toCodecJson(ProcessInstance)

const PendingDeadline = Schema.Struct({
  process: Schema.String,
  instance: Schema.String,
  deadline: Schema.String,
  dueAt: Schema.DateTimeUtc
})

type PendingDeadline = typeof PendingDeadline.Type

/**
 * The report of `deadlines`, one line for each deadline.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Deadlines = Schema.toCodecJson(PendingDeadline)

const chosen = Effect.fnUntraced(function*(name: Option.Option<string>) {
  const { config: { processes }, file } = yield* ConfigFile.required("the definitions of the process managers")
  if (processes.length === 0) {
    return yield* new WrongUse({ detail: `${file} has no process managers; give EvsrcConfig.make their \`processes\`` })
  }
  if (Option.isNone(name)) return processes
  const found = processes.filter((process) => process.name === name.value)
  if (found.length > 0) return found
  return yield* new WrongUse({
    detail: `No process manager of ${file} has the name "${name.value}"; it has ${
      processes.map(({ name }) => name).join(", ")
    }`
  })
})

type Options = Pick<ListOptions<ProcessInstances.Instances>, "where" | "orderBy">

/** Returns all instances that the options select, page by page. */
const instancesOf = (process: ProcessContract.Any, options: Options) =>
  Stream.paginate(
    undefined as string | undefined,
    (after) =>
      Effect.map(
        ProcessManager.list(process, { ...options, after }),
        ({ items, next }) => [items, Option.map(next, (cursor): string | undefined => cursor)] as const
      )
  )

const flags = {
  name: Argument.String("process").pipe(
    Argument.withDescription("The name of a process manager; all of evsrc.config.ts by default"),
    Argument.optional
  ),
  limit: Arguments.limit.pipe(
    Flag.withDescription("The largest number of lines for each process manager"),
    Flag.withDefault(100)
  )
}

/** Prints up to `limit` items of each process manager. Says on the standard error if there are more, or none at all. */
const print = <T, E, R>(
  report: Output.Report<T>,
  all: ReadonlyArray<ProcessContract.Any>,
  limit: number,
  what: string,
  itemsOf: (process: ProcessContract.Any) => Stream.Stream<T, E, R>,
  lines: (style: Style, item: T) => ReadonlyArray<string>
) =>
  Effect.gen(function*() {
    let count = 0
    const limited = Stream.flatMap(Stream.fromIterable(all), (process) =>
      itemsOf(process).pipe(
        Stream.take(limit + 1),
        Stream.zipWithIndex,
        Stream.tap(([, index]) =>
          index === limit
            ? Output.note(`${process.name} has more ${what} than these ${limit}; to see them, raise --limit`)
            : Effect.sync(() => count++)
        ),
        Stream.filter(([, index]) => index < limit),
        Stream.map(([item]) => item)
      ))
    yield* Output.items(report, limited, lines)
    if (count === 0) yield* Output.note(`There are no ${what} of ${all.map(({ name }) => name).join(", ")}`)
  })

const looks = { running: "green", completed: "dim", abandoned: "yellow" } as const

const instanceLines = (style: Style, one: ProcessInstance): ReadonlyArray<string> => [
  [
    style.as(looks[one.status], one.status.padEnd(9)),
    style.as("bold", printable(one.process)),
    printable(one.id),
    style.as("dim", `since ${DateTime.formatIso(one.startedAt)}, updated ${DateTime.formatIso(one.updatedAt)}`),
    ...one.nextDueAt === null ? [] : [`next deadline ${DateTime.formatIso(one.nextDueAt)}`]
  ].join("  "),
  ...one.reason === null ? [] : [`    ${printable(one.reason)}`],
  ...one.deferredReason === null
    ? []
    : [`    ${style.as("red", `waits for a newer release: ${printable(one.deferredReason)}`)}`]
]

/**
 * The command `processes`.
 *
 * @since 0.1.0
 * @category commands
 */
export const processes = Command.make(
  "processes",
  {
    ...flags,
    status: Flag.Literals("status", ["running", "completed", "abandoned"]).pipe(
      Flag.withDescription("Only instances with this status"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function*({ limit, name, status }) {
    const all = yield* chosen(name)
    const options: Options = {
      ...Option.isSome(status) ? { where: { status: status.value } } : {},
      orderBy: { field: "updatedAt", direction: "desc" }
    }
    const itemsOf = (process: ProcessContract.Any) =>
      Stream.map(instancesOf(process, options), (instance): ProcessInstance => ({ process: process.name, ...instance }))
    const what = Option.isSome(status) ? `${status.value} instances` : "instances"
    yield* Effect.provide(print(Processes, all, limit, what, itemsOf, instanceLines), Stores.layerWithheld)
  })
).pipe(Command.withDescription("List the instances of process managers, the last updated first"))

const deadlinesOf = (
  process: ProcessContract.Any,
  instance: ProcessInstances.Instance
): ReadonlyArray<PendingDeadline> =>
  Object.entries(instance.deadlines).map(([deadline, { dueAt }]) => ({
    process: process.name,
    instance: instance.id,
    deadline,
    dueAt
  })).toSorted((a, b) => DateTime.toEpochMillis(a.dueAt) - DateTime.toEpochMillis(b.dueAt))

const isPending: Options = {
  where: { nextDueAt: { gte: DateTime.makeUnsafe(0) } },
  orderBy: { field: "nextDueAt" }
}

const deadlineLine = (style: Style, now: DateTime.Utc, one: PendingDeadline): string =>
  [
    style.as(DateTime.isLessThan(one.dueAt, now) ? "red" : "green", DateTime.formatIso(one.dueAt)),
    style.as("bold", printable(one.process)),
    printable(one.instance),
    printable(one.deadline)
  ].join("  ")

/**
 * The command `deadlines`.
 *
 * @since 0.1.0
 * @category commands
 */
export const deadlines = Command.make(
  "deadlines",
  flags,
  Effect.fnUntraced(function*({ limit, name }) {
    const all = yield* chosen(name)
    const now = yield* DateTime.now
    const itemsOf = (process: ProcessContract.Any) =>
      Stream.flatMap(instancesOf(process, isPending), (instance) => Stream.fromIterable(deadlinesOf(process, instance)))
    yield* Effect.provide(
      print(Deadlines, all, limit, "pending deadlines", itemsOf, (style, one) => [deadlineLine(style, now, one)]),
      Stores.layerWithheld
    )
  })
).pipe(Command.withDescription("List the pending deadlines of process managers, by the next deadline of each instance"))
