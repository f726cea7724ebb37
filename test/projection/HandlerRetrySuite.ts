/**
 * The conformance suite of parked keys of handlers that write in the transaction of the checkpoint: one that fails again rolls back the others.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import * as Event from "../../src/event/Event.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as Projector from "../../src/projection/Projector.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"

const NoteEvent = Schema.TaggedUnion({
  Noted: { run: Schema.String, key: Schema.String, n: Schema.Int }
}).pipe(Event.tags({ run: "run", key: "key" }))

const keys = ["a", "b", "c", "d", "e"]

/** A handler of events by tag, which fails on those in `poison`, and writes the others to a table. All first events are parked. */
const parkedKeys = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const { append } = yield* EventStore
  const [table, run] = [unique("notes"), unique("run")]
  yield* sql`create table ${sql(table)} (id bigserial primary key, note text not null)`
  const poison = new Set(keys.map((key) => `${key}1`))
  const projection = Projection.handler(unique("notes"), {
    events: NoteEvent,
    where: { tags: [Event.tag("run", run)] },
    partitionBy: { tag: "key" },
    retry: Schedule.recurs(1),
    handle: {
      Noted: ({ key, n }) =>
        poison.has(`${key}${n}`)
          ? Effect.die("poison")
          : sql`insert into ${sql(table)} ${sql.insert({ note: `${key}${n}` })}`
    }
  })
  const note = (key: string, n: number) => append(NoteEvent, `${run}-${key}`, [{ _tag: "Noted", run, key, n }])
  const until = (isReached: (count: Parking.Count) => boolean) =>
    Effect.repeat(Parking.count(projection), { until: isReached, schedule: Schedule.spaced("10 millis") })
      .pipe(Effect.timeout("1 minute"))
  return {
    poison,
    projection,
    until,
    begin: Effect.gen(function*() {
      for (const n of upTo(3)) for (const key of keys) yield* note(key, n)
      yield* until(({ parked }) => parked === keys.length)
    }),
    notesOf: (key: string) =>
      Effect.map(
        sql<{ readonly note: string }>`select note from ${sql(table)} where note like ${`${key}%`} order by id`,
        (rows) => rows.map(({ note }) => note)
      )
  }
})

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const handlerRetries: ReadonlyArray<Case<Stores | SqlClient.SqlClient>> = [3, 5, 100].flatMap((batchSize) => [
  test(`a retry of many keys loses no event beside one that fails again, by ${batchSize} events`, function*() {
    const { begin, notesOf, poison, projection, until } = yield* parkedKeys
    yield* Effect.gen(function*() {
      yield* begin
      for (const key of keys) if (key !== "b") poison.delete(`${key}1`)
      const outcome = yield* Parking.retryAll(projection)
      equal(outcome, { requested: 5, retried: 4, failed: 1, skipped: 0, parkedLater: 0 }, "the outcome")
      yield* until(({ parked, requested }) => parked === 1 && requested === 0)
      for (const key of keys) {
        equal(yield* notesOf(key), key === "b" ? [] : upTo(3).map((n) => `${key}${n}`), `the events of ${key}`)
      }
      poison.clear()
      yield* Parking.retryAll(projection)
      equal(yield* notesOf("b"), ["b1", "b2", "b3"], "the events of the key that failed again")
      equal((yield* DeliveryAudit.run(projection)).status, "complete", "the audit")
    }).pipe(Effect.provide(Projector.layer([projection], { batchSize })))
  }),

  test(`a skip of many keys loses no later event beside one that fails, by ${batchSize} events`, function*() {
    const { begin, notesOf, poison, projection, until } = yield* parkedKeys
    yield* Effect.gen(function*() {
      yield* begin
      poison.add("b2")
      const outcome = yield* Parking.skipAll(projection, { reason: "a test" })
      equal(outcome, { requested: 5, retried: 0, failed: 0, skipped: 5, parkedLater: 1 }, "the outcome")
      yield* until(({ parked, requested }) => parked === 1 && requested === 0)
      for (const key of keys) {
        equal(yield* notesOf(key), key === "b" ? [] : [`${key}2`, `${key}3`], `the events of ${key}`)
      }
      const skipped = (yield* Parking.history(projection)).items.filter(({ action }) => action === "skipped")
      equal(skipped.length, keys.length, "the entries of skipped events")
      equal((yield* DeliveryAudit.run(projection)).status, "complete", "the audit")
    }).pipe(Effect.provide(Projector.layer([projection], { batchSize })))
  })
])
