/**
 * Processes of several versions of a subscription, and with several numbers of partitions, that are killed, frozen and replaced at random moments. The seed
 * is printed; HAND_OVER_SEED repeats a run.
 */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Logger, Queue, Random, Redacted, Schedule, Scope } from "effect"
import { DeliveryAudit, EventStore, Health } from "evsrc"
import { PgMigrations } from "evsrc/pg"
import { freshDatabase } from "../../support/Database.ts"
import * as Script from "../../support/Script.ts"
import { counts, layerStores, notes, type Release, Tick } from "./program.ts"

const seed = Number(process.env["HAND_OVER_SEED"] ?? Date.now() % 1_000_000)
const lease = 2_000
/** For how long processes come and go, in milliseconds. */
const duration = 25_000

interface Process {
  readonly name: string
  readonly release: Release
  readonly script: Script.Script
  isReady: boolean
}

const one = <A>(values: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(Random.nextIntBetween(0, values.length - 1), (index) => values[index]!)

/** The processes that run, and those that were killed, frozen or slow: only their events may be handled again. */
const makeProcesses = Effect.fnUntraced(function*(url: string) {
  const scope = yield* Effect.scope
  const running = new Set<Process>()
  const disturbed = new Set<string>()
  const story: Array<string> = []
  const begin = yield* Clock.currentTimeMillis
  const tell = ({ name, release: { partitions, version } }: Process, what: string) =>
    Effect.map(Clock.currentTimeMillis, (now) =>
      void story.push(
        `${((now - begin) / 1000).toFixed(1)} s: ${name}, version ${version}, ${partitions} partitions: ${what}`
      ))
  let started = 0
  return {
    running,
    disturbed,
    story,
    start: Effect.fnUntraced(function*(release: Release) {
      const name = `process ${++started}`
      const script = yield* Script.start(import.meta.resolve("./process.ts"), {
        env: { SETTINGS: JSON.stringify({ url, release, name, lease }) }
      })
      const process: Process = { name, release, script, isReady: false }
      running.add(process)
      yield* tell(process, "starts")
      yield* Effect.forkScoped(Effect.ignore(Effect.forever(
        Effect.map(Queue.take(script.lines), (line) => {
          if (line === "ready") process.isReady = true
          else disturbed.add(name)
        })
      )))
    }, Effect.provideService(Scope.Scope, scope)),
    kill: Effect.fnUntraced(function*(process: Process) {
      running.delete(process)
      disturbed.add(process.name)
      yield* tell(process, "is killed")
      yield* process.script.signal("SIGKILL")
    }),
    freeze: Effect.fnUntraced(function*(process: Process) {
      disturbed.add(process.name)
      const millis = yield* Random.nextIntBetween(100, 2 * lease)
      yield* tell(process, `is frozen for ${millis} ms`)
      yield* process.script.signal("SIGSTOP")
      yield* Effect.forkScoped(Effect.andThen(Effect.sleep(millis), process.script.signal("SIGCONT")))
    }, Effect.provideService(Scope.Scope, scope)),
    stop: Effect.fnUntraced(function*(process: Process) {
      running.delete(process)
      yield* tell(process, "gets SIGTERM")
      yield* process.script.signal("SIGTERM")
    })
  }
})
type Processes = Effect.Success<ReturnType<typeof makeProcesses>>

/** Whether a version has taken over, so that the next one can continue from it. */
const hasRun = Effect.fnUntraced(function*(version: number) {
  const sql = yield* PgClient.PgClient
  const rows = yield* sql`select from evsrc.checkpoints where generation = ${notes({ version, partitions: 1 }).id}`
  return rows.length > 0
})

const awaitRun = (version: number) =>
  hasRun(version).pipe(
    Effect.repeat({ until: (is) => is, schedule: Schedule.spaced("100 millis") }),
    Effect.timeout("30 seconds")
  )

const nextOf = Effect.fnUntraced(function*({ partitions, version }: Release) {
  const isOtherVersion = (yield* Random.nextIntBetween(1, 3)) > 1 && (yield* hasRun(version))
  return isOtherVersion
    ? { partitions, version: version + 1 }
    : { version, partitions: yield* one([2, 3, 4, 5].filter((number) => number !== partitions)) }
})

/** Starts, kills, freezes and ends processes at random. Returns the last release. */
const comeAndGo = Effect.fnUntraced(function*(processes: Processes) {
  const { freeze, kill, running, start, stop } = processes
  const releases: Array<Release> = [{ version: 1, partitions: 3 }]
  const last = () => releases.at(-1)!
  const end = (yield* Clock.currentTimeMillis) + duration
  for (const release of [last(), last()]) yield* start(release)
  while ((yield* Clock.currentTimeMillis) < end) {
    yield* Effect.sleep(yield* Random.nextIntBetween(100, 1_000))
    const ready = Array.from(running).filter(({ isReady }) => isReady)
    const process = ready.length === 0 ? undefined : yield* one(ready)
    const action = yield* one(["start", "old", "release", "release", "kill", "kill", "freeze", "stop"] as const)
    if (action === "release" && running.size < 6) {
      releases.push(yield* nextOf(last()))
      yield* start(last())
    } else if (action === "start" && running.size < 5) yield* start(last())
    // It must not begin again what another version has continued.
    else if (action === "old" && running.size < 5) yield* start(yield* one(releases))
    else if (process !== undefined && action === "kill") yield* kill(process)
    else if (process !== undefined && action === "freeze") yield* freeze(process)
    else if (process !== undefined && action === "stop") yield* stop(process)
  }
  // There is another version at least once. The processes of the others are killed or end in the middle of it.
  const { partitions, version } = last()
  if (running.size === 0) yield* start(last())
  yield* awaitRun(version)
  const before = Array.from(running)
  const release = { version: version + 1, partitions: partitions === 2 ? 4 : 2 }
  yield* start(release)
  for (const process of before) {
    yield* Effect.sleep(yield* Random.nextIntBetween(0, 1_000))
    yield* (yield* Random.nextBoolean) ? kill(process) : stop(process)
  }
  yield* start(release)
  yield* awaitRun(release.version)
  yield* Effect.sleep("1 second")
  return release
})

/** Appends to random streams until the state says that it is over. */
const write = Effect.fnUntraced(function*(state: { readonly isOver: boolean }) {
  const store = yield* EventStore.EventStore
  while (!state.isOver) {
    const stream = `Tick-${yield* Random.nextIntBetween(1, 15)}`
    // On a machine with other load, an append may fail by its deadline.
    yield* Effect.exit(store.append(Tick, stream, [Tick.cases.Ticked.make({ n: 1 })]))
    yield* Effect.sleep(yield* Random.nextIntBetween(0, 30))
  }
}, Random.withSeed(`${seed} writer`))

interface Note {
  readonly process: string
  readonly version: number
  readonly stream: string
  readonly position: bigint
}

/** Returns what is wrong with the notes: events that are missing, out of order, or handled twice without a reason. */
const judge = (
  expected: ReadonlyMap<string, ReadonlyArray<bigint>>,
  notes: ReadonlyArray<Note>,
  disturbed: ReadonlySet<string>
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const calm = new Map<bigint, Note>()
  const first = new Map<string, Map<bigint, Note>>()
  for (const note of notes) {
    const ofStream = first.get(note.stream) ?? new Map<bigint, Note>()
    first.set(note.stream, ofStream)
    if (!ofStream.has(note.position)) ofStream.set(note.position, note)
    if (disturbed.has(note.process)) continue
    const other = calm.get(note.position)
    if (other !== undefined) {
      const who = [other, note].map(({ process, version }) => `${process} (version ${version})`).join(" and ")
      problems.push(`event ${note.position} was handled by ${who}, which was neither killed nor frozen`)
    }
    calm.set(note.position, note)
  }
  for (const [stream, positions] of expected) {
    const handled = Array.from(first.get(stream)?.values() ?? [])
    const order = handled.map(({ position }) => position).join(" ")
    if (order !== positions.join(" ")) {
      problems.push(`${stream} was handled as ${order}, and not ${positions.join(" ")}`)
    }
    const versions = handled.map(({ version }) => version)
    if (versions.some((version, index) => version < (versions[index - 1] ?? 0))) {
      problems.push(`${stream} was handled by the versions ${versions.join(" ")}`)
    }
  }
  return problems
}

const readNotes = Effect.flatMap(
  PgClient.PgClient,
  (sql) => sql<Note>`select process, version, stream, position from notes order by id`
)

const readLog = Effect.flatMap(
  PgClient.PgClient,
  (sql) =>
    sql<
      { readonly stream: string; readonly position: bigint }
    >`select stream, position from evsrc.log order by position`
)

describe(`versions and numbers of partitions of several processes, HAND_OVER_SEED=${seed}`, () => {
  it.live("lose nothing, repeat only what was in hand at a kill, and keep the order", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* PgMigrations.run().pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url) })))
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql`create table notes (id bigint generated always as identity, process text, version integer, stream text, position bigint)`
        const processes = yield* makeProcesses(url)
        const state = { isOver: false }
        const writing = yield* Effect.forkScoped(write(state))
        const release = yield* comeAndGo(processes)
        state.isOver = true
        yield* Fiber.join(writing)
        const story = () => processes.story.join("\n")

        const log = yield* readLog
        const count = Effect.map(readNotes, (notes) => new Set(notes.map(({ position }) => position)).size)
        yield* count.pipe(
          Effect.repeat({ until: (count) => count === log.length, schedule: Schedule.spaced("200 millis") }),
          Effect.timeoutOrElse({
            duration: "30 seconds",
            orElse: () =>
              Effect.flatMap(count, (count) =>
                Effect.die(new Error(`${count} of ${log.length} events were handled\n${story()}`)))
          })
        )
        const consumers = [counts(release), notes(release)]
        yield* Health.of(consumers).pipe(
          Effect.repeat({
            until: ({ status }) =>
              status === "green",
            schedule: Schedule.spaced("200 millis")
          }),
          Effect.timeout("30 seconds")
        )

        const expected = new Map<string, Array<bigint>>()
        for (const { position, stream } of log) expected.set(stream, [...expected.get(stream) ?? [], position])
        const all = yield* readNotes
        assert.deepStrictEqual(judge(expected, all, processes.disturbed), [], story())
        const documents = yield* sql<{ readonly key: string; readonly document: unknown }>`
          select key, document from evsrc.documents where generation = ${counts(release).id}`
        assert.deepStrictEqual(
          new Map(documents.map(({ document, key }) => [key, document])),
          new Map(Array.from(expected, ([stream, { length }]) => [stream, { events: length, version: length }]))
        )
        for (const consumer of consumers) {
          assert.strictEqual((yield* DeliveryAudit.run(consumer)).status, "complete", consumer.id)
        }
        assert.isAbove(new Set(all.map(({ version }) => version)).size, 1, story())
        const repeated = all.length - log.length
        console.log(`${story()}\n${log.length} events, ${repeated} repetitions`)
      }).pipe(Effect.scoped, Effect.provide(layerStores(url)))
    }).pipe(Effect.scoped, Random.withSeed(String(seed)), Effect.provide(Logger.layer([]))), 180_000)
})
