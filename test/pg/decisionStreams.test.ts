/** Decisions that write to the stream of an aggregate, and aggregates whose models are a consistency boundary, in several processes. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Queue, Redacted, Schema, Stream } from "effect"
import { Aggregate, CommandBus, EventStore, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import { scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { ChangeCapacity, CourseDecider, CourseEvent, courseNames, Courses, emptyRoom, judge } from "./courses.ts"
import { Outcome } from "./enrolling.ts"

const processes = 4
/** The number of accepted commands between two deaths of a process. */
const progress = scale(30, 500)
const deaths = scale(1, 4)

const storesAt = (url: string) =>
  PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 })))

const decodeOutcome = Schema.decodeUnknownSync(Outcome)

/** Reads the outcomes of a process. The last line of one that was killed may be incomplete. */
const outcomesOf = (lines: ReadonlyArray<string>) =>
  lines.filter((line) => line.startsWith("{") && line.endsWith("}")).map((line) => decodeOutcome(line))

it.live("commands and decisions of several processes keep every rule, through kill -9", () =>
  Effect.gen(function*() {
    const { url } = yield* freshDatabase
    yield* Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const store = yield* EventStore.EventStore
      const start = Effect.gen(function*() {
        const script = yield* Script.start(import.meta.resolve("./enrolling.ts"), { env: { DATABASE_URL: url } })
        yield* script.waitFor(/^ready$/)
        return { script, lines: new Array<string>() }
      })
      const running = yield* Effect.all(Array.from({ length: processes }, () => start), { concurrency: "unbounded" })
      const all = [...running]
      const accepted = Effect.gen(function*() {
        for (const { lines, script } of all) lines.push(...(yield* Queue.clear(script.lines)))
        return all.flatMap(({ lines }) => lines).filter((line) => line.includes(`"position"`)).length
      }).pipe(Effect.orElseSucceed(() => 0))
      const more = Effect.flatMap(accepted, (before) =>
        accepted.pipe(
          Effect.delay("100 millis"),
          Effect.repeat({ until: (count) => count >= before + progress }),
          Effect.timeout("1 minute")
        ))
      for (let death = 0; death < deaths; death++) {
        yield* more
        const victim = running.shift()!
        yield* victim.script.signal("SIGKILL")
        const replacement = yield* start
        running.push(replacement)
        all.push(replacement)
      }
      yield* more
      for (const { script } of running) yield* script.write("stop")
      for (const { lines, script } of all) {
        yield* Effect.timeout(script.exited, "1 minute")
        lines.push(...(yield* Queue.collect(script.lines)))
      }

      const outcomes = all.flatMap(({ lines }) => outcomesOf(lines))
      const unexpected = outcomes.filter(({ error = "Rejected" }) =>
        !["Rejected", "ConcurrencyConflict", "AppendConditionFailed"].includes(error)
      )
      assert.deepStrictEqual(unexpected, [], "errors other than rejections and lost races")
      const log = Array.from(yield* Stream.runCollect(store.readAll(CourseEvent)))
      const positions = new Map(log.map(({ metadata, position }) => [metadata.commandId, String(position)]))
      assert.strictEqual(positions.size, log.length, "a command id occurs once")
      const acknowledged = outcomes.filter(({ position }) => position !== undefined)
      assert.isAtLeast(acknowledged.length, deaths * progress)
      for (const { commandId, position } of acknowledged) {
        assert.strictEqual(positions.get(commandId), position, `command ${commandId}`)
      }
      for (const { commandId, error } of outcomes) {
        if (error !== undefined) assert.isUndefined(positions.get(commandId), `command ${commandId}, after ${error}`)
      }
      const { broken, rooms } = judge(log)
      assert.deepStrictEqual(broken, [], "broken rules")
      for (const course of courseNames) {
        const { state, version } = yield* Aggregate.load(CourseDecider, course)
        assert.deepStrictEqual(state, rooms.get(course) ?? emptyRoom, course)
        assert.strictEqual(Number(version), log.filter(({ event }) => event.course === course).length, course)
      }
      const [statistics] = yield* sql<{ readonly deadlocks: bigint }>`
        select deadlocks from pg_stat_database where datname = current_database()`
      assert.strictEqual(Number(statistics!.deadlocks), 0, "deadlocks")
    }).pipe(Effect.provide(storesAt(url)))
  }), 600_000)

/** The capacity of every course, and the capacities that its document has had. */
const capacitiesBy = (name: string, partitionBy: "document" | "stream" | { readonly tag: "course" }) =>
  Projection.make(name, {
    events: CourseEvent,
    document: Schema.Struct({ capacity: Schema.Int, sequence: Schema.Array(Schema.Int) }),
    key: ({ course }) => course,
    partitions: 4,
    partitionBy,
    evolve: {
      CapacityChanged: (document, { capacity }) => ({
        capacity,
        sequence: [...document?.sequence ?? [], capacity]
      }),
      Enrolled: Projection.ignore,
      Left: Projection.ignore
    }
  })
const projections = [
  capacitiesBy("capacities-by-document", "document"),
  capacitiesBy("capacities-by-stream", "stream"),
  capacitiesBy("capacities-by-tag", { tag: "course" })
]

it.live(
  "a hundred changes of four courses by decisions are folded in order by four partitions",
  () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const four = courseNames.slice(0, 4)
      const upTo100 = Array.from({ length: 100 }, (_, index) => index + 1)
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const documents = yield* ProjectionStore.ProjectionStore
        // Two workers, as in two processes, work while the decisions write.
        const worker = Projector.layer(projections, { batchSize: 7 })
        yield* Layer.build(Layer.fresh(worker))
        yield* Layer.build(Layer.fresh(worker))
        yield* Effect.forEach(
          four,
          (course) => Effect.forEach(upTo100, (capacity) => CommandBus.dispatch(ChangeCapacity, { course, capacity })),
          { concurrency: "unbounded" }
        ).pipe(Effect.provide(Courses))
        const head = yield* store.head
        for (const projection of projections) {
          yield* documents.awaitPosition(projection, head, "60 seconds")
          for (const course of four) {
            const document = Option.getOrThrow(yield* documents.get(projection, course))
            assert.deepStrictEqual(document, { capacity: 100, sequence: upTo100 }, `${projection.name}, ${course}`)
          }
        }
        for (const course of four) {
          const { state, version } = yield* Aggregate.load(CourseDecider, course)
          assert.deepStrictEqual([state.capacity, Number(version)], [100, 100], course)
        }
      }).pipe(Effect.provide(storesAt(url)), Effect.scoped)
    })
)
