/** Order within a key on a real server: several processes, kill -9, parked keys, and requests to retry them. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Queue, Redacted, Schedule, Stream } from "effect"
import { type Consumer, DeliveryAudit, EventStore, Parking, ProjectionStore } from "evsrc"
import { PgStores } from "evsrc/pg"
import { Dice } from "../simulation/Dice.ts"
import { freshDatabase } from "../support/Database.ts"
import * as parked from "../support/parked.ts"
import { isLong, scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { CourseEvent, documented, tabled } from "./keyed.ts"

/** The number of workers that the test kills. */
const deaths = scale(3, 30)
const partitions = 4
/** The numbers of partitions to which workers change, and when they die. */
const changes = ([["2", "before"], ["7", "during"], ["3", "after"]] as const).slice(scale(-1, -3))
const courses = Array.from({ length: 12 }, (_, n) => `course ${n}`)
/** The courses that have an event which fails. */
const poisoned = courses.slice(0, 3)

const withStores = (url: string) =>
  Effect.provide(
    PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 })))
  )

const { Moved, Shared } = CourseEvent.cases

/** Appends events of random courses to random streams. */
const append = Effect.fnUntraced(function*(dice: Dice, count: number) {
  const store = yield* EventStore.EventStore
  for (let i = 0; i < count; i++) {
    const course = dice.pick(courses)
    const other = dice.pick(courses)
    const event = dice.below(4) === 0 && other !== course
      ? Shared.make({ courses: [course, other] })
      : Moved.make({ courses: [course], isPoison: false })
    yield* store.append(CourseEvent, `Decision-${dice.below(80)}`, [event])
  }
})

const appendPoison = Effect.flatMap(EventStore.EventStore, (store) =>
  Effect.forEach(
    poisoned,
    (course) => store.append(CourseEvent, `Poison-${course}`, [Moved.make({ courses: [course], isPoison: true })])
  ))

const start = (url: string, env: Readonly<Record<string, string>>) =>
  Script.start(import.meta.resolve("./projecting.ts"), {
    env: { DATABASE_URL: url, PARTITIONS: String(partitions), LEASE: "short", KEYED: "poisoned", ...env }
  })

/** Runs one worker after the other. Each dies at its own seeded call. */
const killWorkers = Effect.fnUntraced(function*(url: string, dice: Dice, died: { count: number }) {
  while (died.count < deaths) {
    yield* Effect.scoped(Effect.gen(function*() {
      const worker = yield* start(url, {
        BATCH: String(dice.pick([1, 3, 10])),
        KILL_AT: String(dice.from(2, 60)),
        KILL_WHEN: dice.pick(["before", "during", "after"])
      })
      const output = Effect.orDie(Effect.all([worker.stderr, Queue.clear(worker.lines)]))
      const { signal } = yield* Effect.timeoutOrElse(worker.exited, {
        duration: "2 minutes",
        orElse: () => Effect.flatMap(output, (lines) => Effect.die(new Error(JSON.stringify(lines))))
      })
      if (signal !== "SIGKILL") return yield* Effect.die(new Error(yield* worker.stderr))
      died.count++
    }))
  }
})

/** Runs workers with other numbers of partitions. Each dies when the first of its consumers has given back all partitions. */
const killRepartitioning = Effect.fnUntraced(function*(url: string) {
  for (const [PARTITIONS, KILL_WHEN] of changes) {
    yield* Effect.scoped(Effect.gen(function*() {
      const worker = yield* start(url, { BATCH: "3", PARTITIONS, KILL_AT: "1", KILL_WHEN, KILL_ONLY: "repartition" })
      const { signal } = yield* Effect.timeout(worker.exited, "1 minute")
      assert.strictEqual(signal, "SIGKILL", yield* worker.stderr)
    }))
  }
})

/** Asserts that every document and every row has the events of its course in order, up to the parked one if there is one. */
const assertOrder = Effect.fnUntraced(function*(isHealed: boolean) {
  const store = yield* EventStore.EventStore
  const documents = yield* ProjectionStore.ProjectionStore
  const sql = yield* PgClient.PgClient
  const head = yield* store.head
  const log = Array.from(yield* Stream.runCollect(store.readAll(CourseEvent)))
  const poisonOf = (course: string) =>
    log.find(({ event }) => event._tag === "Moved" && event.isPoison && event.courses.includes(course))
  const expected = (course: string, tag?: "Moved") =>
    log.filter(({ event, position }) =>
      event.courses.includes(course) && (tag === undefined || event._tag === tag)
      && (isHealed || position < (poisonOf(course)?.position ?? head + 1n))
    ).map(({ position }) => String(position))
  for (const projection of documented(partitions, isHealed)) {
    yield* documents.awaitPosition(projection, head, "120 seconds")
    for (const course of courses) {
      const found = Option.getOrElse(yield* documents.get(projection, course), () => [])
      assert.deepStrictEqual(found, expected(course), `${projection.name}, ${course}`)
    }
  }
  yield* documents.awaitPosition(tabled(partitions, isHealed), head, "120 seconds")
  const rows = yield* sql<{ readonly course: string; readonly position: bigint }>`
    select course, position from moved order by id`
  for (const course of courses) {
    const found = rows.filter((row) => row.course === course).map(({ position }) => String(position))
    assert.deepStrictEqual(found, expected(course, "Moved"), `the rows of ${course}`)
  }
  for (const consumer of consumers(isHealed)) {
    const { first, status } = yield* DeliveryAudit.run(consumer)
    assert.deepStrictEqual([status, first], ["complete", undefined], `the audit of ${consumer.name}`)
  }
})

const consumers = (isHealed: boolean): ReadonlyArray<Consumer.Consumer> => [
  ...documented(partitions, isHealed),
  tabled(partitions, isHealed)
]

const parkedKeys = (consumer: Consumer.Consumer) =>
  Effect.map(parked.parkedKeys(consumer), (all) => all.map(({ key }) => key).toSorted())

it.live(
  "processes keep each key in order through kill -9 and other numbers of partitions",
  () =>
    Effect.gen(function*() {
      const dice = new Dice(11)
      const { url } = yield* freshDatabase
      const died = { count: 0 }
      yield* withStores(url)(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql`create table moved (id bigint generated always as identity, course text, position bigint)`
        yield* append(dice, 100)
        yield* appendPoison
        const writing = Effect.repeat(append(dice, 20).pipe(Effect.andThen(Effect.sleep("50 millis"))), {
          until: () => died.count >= deaths
        })
        // Requests meet workers that die in the middle of them.
        const retrying = Effect.forEach(consumers(false), (consumer) =>
          Effect.exit(Parking.retryAll(consumer, { timeout: "1 second" }))).pipe(
            Effect.andThen(Effect.sleep("100 millis")),
            Effect.repeat({
              until: () =>
                died.count >= deaths
            })
          )
        const line = killWorkers(url, dice, died)
        yield* Effect.all([line, line, line, writing, retrying], { concurrency: "unbounded" })

        yield* append(dice, 30)
        yield* killRepartitioning(url)
        const [changed] = yield* sql<{ readonly former: bigint }>`
          select count(distinct generation) as former from evsrc.checkpoints where former is not null`
        assert.isAbove(Number(changed?.former), 0, "the consumers whose number of partitions changed")

        yield* Effect.scoped(Effect.gen(function*() {
          for (const BATCH of isLong ? ["7", "50"] : ["7"]) yield* start(url, { BATCH })
          yield* assertOrder(false)
          const [byTag, byDocument, table] = consumers(false)
          const tags = poisoned.map((course) => `course:${course}`)
          assert.deepStrictEqual(yield* parkedKeys(byTag!), tags)
          assert.deepStrictEqual(yield* parkedKeys(byDocument!), poisoned)
          assert.deepStrictEqual(yield* parkedKeys(table!), tags)
        }))

        for (const BATCH of ["7", "50"]) yield* start(url, { BATCH, KEYED: "healed" })
        yield* append(dice, 50)
        for (const consumer of consumers(true)) {
          const outcomes = yield* Parking.retryAll(consumer, { timeout: "60 seconds" }).pipe(
            Effect.retry({ schedule: Schedule.recurs(2) })
          )
          assert.deepInclude(outcomes, { retried: poisoned.length, failed: 0 }, consumer.name)
          assert.deepStrictEqual(yield* parkedKeys(consumer), [], consumer.name)
        }
        yield* append(dice, 50)
        yield* assertOrder(true)
      }))
    }),
  600_000
)
