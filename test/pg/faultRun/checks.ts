/** What must hold after the faults: nothing is lost, repeated or out of order. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Schema, Stream } from "effect"
import { DeliveryAudit, type EncodedEvent, EventStore, HashChain } from "evsrc"
import { CourseEvent, judge } from "../courses.ts"
import { consumersOf, places, type Release, Rooms } from "./program.ts"

/** What came of an append or a command. */
export interface Outcome {
  readonly id: string
  /** The number of its events. */
  readonly size: number
  /** The position of its last event, if it was answered so. */
  readonly position?: bigint
  /** Whether its answers leave open whether anything was written. */
  readonly isUnknown: boolean
}

const decodeLine = Schema.decodeUnknownSync(
  Schema.fromJsonString(Schema.Tuple([Schema.String, Schema.Int, Schema.String, Schema.Finite]))
)

/** Reads what the workers have printed. The last line of one that was killed may be incomplete. */
export const ofWorkers = (lines: ReadonlyArray<string>, bound: number) => {
  const outcomes: Array<Outcome> = []
  const problems: Array<string> = []
  for (const line of lines.filter((line) => line.startsWith("[") && line.endsWith("]"))) {
    const [id, size, result, took] = decodeLine(line)
    if (took > bound) problems.push(`append ${id}: answered after ${took} ms`)
    if (/^\d+$/.test(result)) outcomes.push({ id, size, position: BigInt(result), isUnknown: false })
    else if (result.startsWith("not typed")) problems.push(`append ${id}: ${result}`)
    else outcomes.push({ id, size, isUnknown: result === "OutcomeUnknown" })
  }
  return { outcomes, problems }
}

/** Returns the lines about the health of the log and of consumers that say that it is not green, and are the last about it. */
export const unfinished = (lines: ReadonlyArray<string>, consumers: ReadonlyArray<string>): ReadonlyArray<string> => {
  const last = new Map<string, string>()
  for (const line of lines) {
    const [, name] = /: Health: (.+?) is (?:yellow|red|green)/.exec(line) ?? []
    if (name === "the log" || (name !== undefined && consumers.includes(name))) last.set(name, line)
  }
  return Array.from(last.values()).filter((line) => !/is green again after/.test(line))
}

/** Returns the invariants that do not hold, of the program in its last release. */
export const invariants = Effect.fnUntraced(function*(outcomes: ReadonlyArray<Outcome>, release: Release) {
  const log = Array.from(yield* Stream.runCollect((yield* EventStore.EventStore).readAllEncoded()))
  return [
    ...versions(log),
    ...receipts(log, outcomes),
    ...yield* documents(log, release),
    ...yield* rows(log),
    ...yield* audits(release)
  ]
})

const versions = (log: ReadonlyArray<EncodedEvent>): ReadonlyArray<string> => {
  const last = new Map<string, number>()
  return log.flatMap(({ stream, version }) => {
    const expected = (last.get(stream) ?? 0) + 1
    last.set(stream, version)
    return version === expected ? [] : [`the log has ${stream} ${version} in place of ${expected}`]
  })
}

/** Each answer is true, and each command id has the events of one append. */
const receipts = (log: ReadonlyArray<EncodedEvent>, outcomes: ReadonlyArray<Outcome>): ReadonlyArray<string> => {
  const written = new Map<string, Array<EncodedEvent>>()
  for (const event of log) {
    const { commandId } = event.metadata
    if (commandId !== undefined) written.set(commandId, [...written.get(commandId) ?? [], event])
  }
  return outcomes.flatMap(({ id, isUnknown, position, size }) => {
    const events = written.get(id) ?? []
    const [first] = events
    const isWhole = first === undefined ||
      (events.length === size &&
        events.every(({ stream, version }, index) => stream === first.stream && version === first.version + index))
    const found = events.at(-1)?.position
    return [
      ...isWhole ? [] : [`${id} has ${events.length} events, and not ${size} in a row`],
      ...isUnknown || found === position
        ? []
        : [`${id} was answered with ${position ?? "an error"}, and is at ${found ?? "no position"}`]
    ]
  })
}

const decodeTick = Schema.decodeUnknownSync(Schema.Struct({ n: Schema.Int }))

/** The documents equal a fold of the log, and no decision broke a rule. */
const documents = Effect.fnUntraced(function*(log: ReadonlyArray<EncodedEvent>, release: Release) {
  const sums = new Map<string, { readonly events: number; readonly sum: number; readonly version: number }>()
  for (const { data, stream, type, version } of log) {
    if (type !== "Ticked") continue
    const before = sums.get(stream) ?? { events: 0, sum: 0, version: 0 }
    sums.set(stream, { events: before.events + 1, sum: before.sum + decodeTick(data).n, version })
  }
  const courses = yield* Stream.runCollect((yield* EventStore.EventStore).readAll(CourseEvent))
  const { broken, rooms } = judge(courses)
  const attended = new Map<string, { readonly courses: ReadonlyArray<string> }>()
  for (const { event } of courses) {
    if (event._tag === "CapacityChanged") continue
    const before = attended.get(event.student)?.courses ?? []
    const after = event._tag === "Enrolled" ? [...before, event.course] : before.filter((one) => one !== event.course)
    attended.set(event.student, { courses: after })
  }
  const none = new Map()
  // Those of versions that were retired are removed.
  const ofPlaces = yield* Effect.forEach(
    Array.from({ length: release.places }, (_, index) => index + 1),
    (version) => differences(places(version).id, version === release.places ? attended : none)
  )
  return [
    ...broken,
    ...yield* differences(consumersOf(release).sums.id, sums),
    ...yield* differences(Rooms.id, rooms),
    ...ofPlaces.flat()
  ]
})

/** Compares all documents of a projection with those expected. */
const differences = Effect.fnUntraced(function*(generation: string, expected: ReadonlyMap<string, object>) {
  const sql = yield* PgClient.PgClient
  const rows = yield* sql<{ readonly key: string; readonly document: unknown }>`
    select key, document from evsrc.documents where generation = ${generation}`
  const found = new Map(rows.map(({ document, key }) => [key, JSON.stringify(document)]))
  return Array.from(new Set([...found.keys(), ...expected.keys()])).flatMap((key) => {
    const [is, should] = [found.get(key), JSON.stringify(expected.get(key))]
    return is === should ? [] : [`${generation} has ${is ?? "nothing"} at ${key}, and not ${should ?? "nothing"}`]
  })
})

/** The rows of the handler are the events of the log, and the effects too, but for repetitions; both in the order of each stream. */
const rows = Effect.fnUntraced(function*(log: ReadonlyArray<EncodedEvent>) {
  const sql = yield* PgClient.PgClient
  const expected = new Map<string, Array<string>>()
  for (const { position, stream, type } of log) {
    if (type !== "Ticked" || !stream.startsWith("Tick-")) continue
    expected.set(stream, [...expected.get(stream) ?? [], String(position)])
  }
  const problems: Array<string> = []
  for (const table of ["handled", "effects"]) {
    const found = new Map<string, Array<string>>()
    const all = yield* sql.unsafe<{ readonly stream: string; readonly position: bigint }>(
      `select stream, position from ${table} order by id`
    )
    for (const { position, stream } of all) found.set(stream, [...found.get(stream) ?? [], String(position)])
    for (const stream of new Set([...found.keys(), ...expected.keys()])) {
      const positions = found.get(stream) ?? []
      // An effect is at least once: its first time counts.
      const is = (table === "effects" ? Array.from(new Set(positions)) : positions).join(" ")
      const should = (expected.get(stream) ?? []).join(" ")
      if (is !== should) problems.push(`${table} of ${stream} is ${is}, and not ${should}`)
    }
  }
  return problems
})

const audits = Effect.fnUntraced(function*(release: Release) {
  const problems: Array<string> = []
  const { effects, handled, sums } = consumersOf(release)
  for (const consumer of [sums, handled, effects]) {
    const { first, status } = yield* DeliveryAudit.run(consumer)
    if (status !== "complete") problems.push(`the audit of ${consumer.id} is ${status}: ${JSON.stringify(first)}`)
  }
  const { faults, isIntact } = yield* HashChain.verify()
  if (!isIntact) problems.push(`the hash chain is broken: ${JSON.stringify(faults[0])}`)
  return problems
})
