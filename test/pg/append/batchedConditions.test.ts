/** Appends on conditions in one statement: each is decided as if it were sent alone, after those before it. */
import { PgClient } from "@effect/sql-pg"
import { assert, it, layer } from "@effect/vitest"
import { Effect, Layer, Option, Random, Schema } from "effect"
import { Event, EventQuery, EventStore, type EventStoreDriver, LogPosition, Position, StreamId, Version } from "evsrc"
import { PgEventStore, PgMigrations } from "evsrc/pg"
import * as MemoryEventStore from "../../../src/eventStore/memory/MemoryEventStore.ts"
import * as PgAppend from "../../../src/pg/append/PgAppend.ts"
import * as PgConnections from "../../../src/pg/connections/PgConnections.ts"
import * as PgDeadlines from "../../../src/pg/PgDeadlines.ts"
import { layerPostgres } from "../../support/Database.ts"
import { scale } from "../../support/scale.ts"

type Request = EventStoreDriver.AppendRequest
type NewEvent = Request["events"][number]

/** An event of both logs, which have it at different positions. */
interface Written {
  readonly event: NewEvent
  readonly positions: readonly [memory: Position.Position, pg: Position.Position]
}

const types = ["A", "B", "C"]
const tags = ["t:1", "t:2", "t:3"]

const some = <A>(values: ReadonlyArray<A>, most: number) =>
  Effect.flatMap(
    Random.nextIntBetween(0, most),
    (count) => Effect.map(Random.shuffle(values), (shuffled) => shuffled.slice(0, count))
  )
const oneOf = <A>(values: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, values.length - 1), (index) => values[index]!)
const chance = (part: number) => Effect.map(Random.next, (random) => random < part)

const randomEvents = Effect.fnUntraced(function*() {
  const count = yield* oneOf([1, 1, 1, 2])
  const events: Array<NewEvent> = []
  for (let i = 0; i < count; i++) {
    events.push({
      id: crypto.randomUUID(),
      type: yield* oneOf(types),
      schemaVersion: 1,
      data: "{}",
      metadata: "{}",
      tags: yield* some(tags, 2)
    })
  }
  return events
})

/** What a condition says of both logs. `base` is the log when the batch begins, `beside` the events of the batch so far. */
const randomCondition = Effect.fnUntraced(
  function*(log: ReadonlyArray<Written>, beside: ReadonlyArray<NewEvent>) {
    const items: Array<{ readonly types: ReadonlyArray<string>; readonly tags: ReadonlyArray<string> }> = []
    const known: Array<readonly [EventStoreDriver.KnownMatches, EventStoreDriver.KnownMatches]> = []
    for (let i = yield* oneOf([1, 1, 2]); i > 0; i--) {
      const itemTags = yield* oneOf([[], ["t:1"], ["t:1"], ["t:2"], ["t:2", "t:3"], ["t:3", "t:1"]])
      const item = { tags: itemTags, types: yield* some(types, itemTags.length === 0 ? 2 : 1) }
      if (item.tags.length === 0 && item.types.length === 0) item.types = ["A"]
      items.push(item)
      const query = EventQuery.ofStoredTypes([item])
      const isMatch = ({ tags = [], type }: NewEvent) => EventQuery.matches(query, { type, tags })
      // A reader knows everything up to a place in the log, some matches above it, and some that are on their way.
      const place = (yield* chance(0.7)) ? log.length : yield* Random.nextIntBetween(0, log.length)
      const above = log.slice(place).filter(({ event }) => isMatch(event))
      const isBlind = yield* chance(0.2)
      const seen = above.slice(0, isBlind ? (yield* Random.nextIntBetween(0, above.length)) : above.length)
      const late = (yield* chance(0.3)) ? seen.length - 1 : seen.length
      const sent = [
        ...seen.slice(Math.max(0, late)).map(({ event }) => event.id),
        ...isBlind ? [] : beside.filter(isMatch).map(({ id }) => id)
      ]
      const wrong = yield* chance(0.1)
      const knownOf = (store: 0 | 1): EventStoreDriver.KnownMatches => ({
        after: place === 0 ? Position.start : log[place - 1]!.positions[store],
        seen: seen.slice(0, Math.max(0, late)).map(({ positions }) => positions[store]),
        sent: wrong ? sent.toReversed().slice(0, 2) : sent
      })
      known.push([knownOf(0), knownOf(1)])
    }
    const last = log.at(-1)
    const hasWrongBasis = yield* chance(0.05)
    return (store: 0 | 1): NonNullable<Request["condition"]> => ({
      query: EventQuery.ofStoredTypes(items),
      after: Position.start,
      seen: [],
      known: known.map((one) => one[store]),
      basis: last === undefined
        ? []
        : [LogPosition.make(last.positions[store], hasWrongBasis ? crypto.randomUUID() : last.event.id)]
    })
  }
)

const migrated = Layer.effectDiscard(PgMigrations.run()).pipe(Layer.provideMerge(layerPostgres()))

layer(migrated, { excludeTestServices: true })("conditions in a batch", (it) => {
  it.effect("have the outcome that they have one after the other in memory", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const { batch } = PgAppend.make(
        PgConnections.make(sql, yield* PgDeadlines.make()),
        `"evsrc"`,
        () => Effect.succeed(Option.none())
      )
      const memory = yield* MemoryEventStore.make()
      const log: Array<Written> = []
      const outcomes = new Map<string, number>()
      for (let round = 0; round < scale(150, 1_000); round++) {
        const beside: Array<NewEvent> = []
        const requests: Array<readonly [Request, Request]> = []
        const size = yield* oneOf([1, 2, 4, 8])
        for (let i = 0; i < size; i++) {
          const events = yield* randomEvents()
          const condition = (yield* chance(0.8)) ? yield* randomCondition(log, beside) : undefined
          const stream = StreamId.StreamId.make(`s-${yield* oneOf(["a", "b", crypto.randomUUID()])}`)
          const expected = (yield* chance(0.1)) ? Version.make(1) : "any"
          const commandId = (yield* chance(0.5)) ? `c-${round}-${i}` : undefined
          const requestOf = (store: 0 | 1): Request => ({
            stream,
            expected,
            events,
            commandId,
            condition: condition?.(store)
          })
          requests.push([requestOf(0), requestOf(1)])
          beside.push(...events)
        }
        // Without a condition, those of a stream must stand one after the other.
        if (requests.every(([{ condition }]) => condition === undefined)) requests.splice(1)
        const rows = yield* batch(requests.map(([, request]) => request))
        for (const [index, [request]] of requests.entries()) {
          const result = yield* memory.append(request)
          const row = rows[index]!
          const what = `append ${index} of round ${round}`
          assert.strictEqual(row.outcome, result._tag.toLowerCase(), what)
          outcomes.set(row.outcome, (outcomes.get(row.outcome) ?? 0) + 1)
          if (result._tag !== "Appended") {
            if (result._tag === "Conflict") assert.strictEqual(Number(row.version), Number(result.actual), what)
            continue
          }
          assert.strictEqual(Number(row.version), Number(result.version), what)
          for (const [i, event] of request.events.entries()) {
            log.push({ event, positions: [result.positions[i]!, Position.make(row.positions![i]!)] })
          }
        }
      }
      const written = yield* sql<{ readonly id: string }>`select id from evsrc.events order by position`
      assert.deepStrictEqual(written.map(({ id }) => id), log.map(({ event }) => event.id))
      for (const outcome of ["appended", "changed", "conflict", "diverged"]) {
        assert.isAbove(outcomes.get(outcome) ?? 0, 5)
      }
    }).pipe(Effect.scoped))
})

const Seat = Schema.TaggedUnion({ Taken: { seat: Schema.String } }).pipe(Event.tags({ seat: "seat" }))

it.live("decisions on different tags share a few transactions", () =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const sql = yield* PgClient.PgClient
    const seats = Array.from({ length: 40 }, (_, n) => `${n}`)
    const read = yield* Effect.forEach(
      seats,
      (seat) => store.readByQuery(EventQuery.make(Seat, [{ tags: [Event.tag("seat", seat)] }])),
      { concurrency: 4 }
    )
    yield* Effect.forEach(
      seats,
      (seat, n) => store.appendIf(read[n]!.condition, Seat, `Seat-${seat}`, [{ _tag: "Taken", seat }]),
      { concurrency: "unbounded" }
    )
    const [row] = yield* sql<{ readonly transactions: number }>`
      select count(distinct xmin::text)::integer as transactions from evsrc.events`
    assert.isBelow(row!.transactions, 8)
  }).pipe(Effect.provide(Layer.fresh(PgEventStore.layer).pipe(Layer.provideMerge(layerPostgres())))))
