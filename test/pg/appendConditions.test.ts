/**
 * Append conditions in races of 16 racers: in memory, on PostgreSQL from several processes, and from several clients of one process,
 * which race more closely. A long run has 1,000 rounds between processes.
 */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Redacted, Schedule, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { Event, EventQuery, EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { judge, raceKinds, races } from "../../src/conformance/AppendConditionRaces.ts"
import { internals } from "../../src/core/internals.ts"
import { patient } from "../conformance/backEnds.ts"
import { conformance } from "../conformance/conformance.ts"
import { freshDatabase } from "../support/Database.ts"
import { scale } from "../support/scale.ts"
import * as Script from "../support/Script.ts"
import { heldUp, Order, Outcomes, shareOf } from "./appendConditionRacer.ts"

const rounds = scale(40, 500)
const roundsInMemory = scale(200, 300)
const roundsThroughClients = scale(40, 300)
const clients = 4
const processes = 4

const storeAt = (url: string, connections: number) =>
  PgEventStore.layerWith(patient).pipe(
    Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: connections }))
  )

/** Returns statements that make the high-water mark pause for `seconds` before and after its computation. */
const slowHead = (seconds: string): ReadonlyArray<string> => [
  "alter function evsrc.high_water_mark() rename to high_water_mark_at_once",
  `create function evsrc.high_water_mark() returns bigint language plpgsql volatile as $$
    declare
      head bigint;
    begin
      perform pg_sleep(${seconds});
      head := evsrc.high_water_mark_at_once();
      perform pg_sleep(${seconds});
      return head;
    end $$`
]

/**
 * Slows a database down where concurrent appends can interleave: after an insert of events, and before and after the high-water mark is
 * computed.
 */
const slowed = Effect.fnUntraced(
  function*(url: string) {
    const sql = yield* PgClient.makeClient({ url: Redacted.make(url) })
    for (
      const statement of [
        "create function evsrc.dawdle() returns trigger language plpgsql as 'begin perform pg_sleep(random() * 0.004); return null; end'",
        "create trigger dawdle after insert on evsrc.events for each statement execute function evsrc.dawdle()",
        ...slowHead("random() * 0.003")
      ]
    ) {
      yield* sql.unsafe(statement)
    }
  },
  Effect.scoped,
  Effect.provide(Reactivity.layer)
)

/** Sends each request through the next client. The clients share nothing but the database, as processes do. */
const throughClients = EventStore.layer(Effect.gen(function*() {
  const { url } = yield* freshDatabase
  const drivers = yield* Effect.forEach(Array.from({ length: clients }), () =>
    Effect.map(
      Layer.build(Layer.fresh(storeAt(url, 8))),
      (built) => heldUp(Context.get(built, EventStore.EventStore)[internals].driver)
    ))
  yield* slowed(url)
  let turn = 0
  const next = () => drivers[turn++ % clients]!
  return {
    ...drivers[0]!,
    append: (request) => next().append(request),
    readByQuery: (page) => next().readByQuery(page)
  }
}))

conformance("races in memory", EventStore.layerMemory, races(roundsInMemory))
conformance(`races through ${clients} clients`, throughClients, races(roundsThroughClients))

const encodeOrder = Schema.encodeEffect(Order)
const decodeOutcomes = Schema.decodeUnknownEffect(Outcomes)

it.live(`races between ${processes} processes`, () =>
  Effect.gen(function*() {
    const { url } = yield* freshDatabase
    yield* Effect.gen(function*() {
      yield* slowed(url)
      const racers = yield* Effect.forEach(Array.from({ length: processes }), (_, share) =>
        Script.start(import.meta.resolve("./appendConditionRacer.ts"), {
          args: [String(share), String(processes)],
          env: { DATABASE_URL: url }
        }))
      yield* Effect.forEach(racers, (racer) =>
        racer.waitFor(/^ready$/))

      const send = Effect.fnUntraced(function*(receivers: ReadonlyArray<Script.Script>, order: typeof Order.Type) {
        const line = yield* encodeOrder(order)
        for (const racer of receivers) {
          yield* racer.write(line)
        }
      })
      const repliesOf = (senders: ReadonlyArray<Script.Script>) =>
        Effect.forEach(senders, (racer) => racer.waitFor(/./))

      for (let n = 0; n < rounds; n++) {
        // Most rounds race for one slot, where a violation is possible.
        const kind = n % 10 === 8 ? "apart" : n % 10 === 9 ? "open" : "one"
        const order = { kind, round: n, show: `show ${n}` } as const
        const race = raceKinds[kind](order.round, order.show)
        const early = race.barrier === "before" ? [] : race.barrier === "during" ? racers.slice(processes / 2) : racers
        yield* send(early, { ...order, step: "look" })
        yield* repliesOf(early)
        yield* send(racers, { ...order, step: "leap" })
        const outcomes = yield* Effect.flatMap(repliesOf(racers), (lines) =>
          Effect.forEach(lines, (line) =>
            decodeOutcomes(line)))
        const shares = racers.map((_, share) =>
          shareOf(race, share, processes)
        )
        yield* judge({ ...race, racers: shares.flat() }, outcomes.flat())
      }
    }).pipe(Effect.provide(storeAt(url, 4)))
  }), 240_000)

it.live("a condition waits for the events of single and grouped appends in flight", () =>
  Effect.gen(function*() {
    const { url } = yield* freshDatabase
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.makeClient({ url: Redacted.make(url) })
      for (
        const statement of [
          "create function evsrc.dawdle() returns trigger language plpgsql as 'begin perform pg_sleep(0.2); return null; end'",
          `create trigger dawdle after insert on evsrc.events for each row when (new.data ->> 'by' = 'slow')
            execute function evsrc.dawdle()`
        ]
      ) {
        yield* sql.unsafe(statement)
      }
      const inFlight = sql<{ readonly n: number }>`select count(*)::integer as n from pg_locks
        where locktype = 'advisory' and classid = 'evsrc.positions'::regclass::oid and objsubid = 2`
      for (const tags of [{}, { show: "show" }] as const) {
        for (const appends of [1, 3]) {
          const type = `Noted-${appends}-${Object.keys(tags).length}`
          const Noted = Schema.TaggedUnion({ [type]: { by: Schema.String, show: Schema.String } }).pipe(
            Event.tags(tags)
          )
          const note = (by: string) => [{ _tag: type, by, show: type }]
          const isInFlight = Effect.repeat(inFlight, {
            until: ([row]) => row!.n > 0,
            schedule: Schedule.spaced("5 millis")
          })
          // Group commit sends the first append alone, and then the others together.
          const [first, ...others] = Array.from({ length: appends }, (_, n) =>
            store.append(Noted, `${type}-${n}`, note("slow")))
          const writing = yield* Effect.forkChild(first!)
          yield* isInFlight
          const grouped = yield* Effect.forkChild(Effect.all(others, { concurrency: "unbounded" }))
          const before = appends === 1 ? 0 : 1
          const read = Effect.repeat(store.readByQuery(EventQuery.ofStoredTypes([{ types: [type] }])), {
            until: ({ events }) =>
              events.length >= before,
            schedule: Schedule.spaced("5 millis")
          })
          yield* read
          if (others.length > 0) yield* isInFlight
          const { condition, events } = yield* read
          const late = yield* Effect.exit(store.appendIf(condition, Noted, `${type}-late`, note("late")))
          // On a slow machine every append may be committed before the read.
          assert.strictEqual(Exit.isSuccess(late), events.length === appends, `${type}: ${events.length} seen`)
          yield* Fiber.joinAll([writing, grouped])
        }
      }
    }).pipe(Effect.provide(Layer.merge(storeAt(url, 8), Reactivity.layer)))
  }))

it.live("an append during the read of a decision is seen or breaks the condition", () =>
  Effect.gen(function*() {
    const { url } = yield* freshDatabase
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const sql = yield* PgClient.makeClient({ url: Redacted.make(url) })
      for (const statement of slowHead("0.1")) {
        yield* sql.unsafe(statement)
      }
      for (const pause of [50, 150, 250, 350]) {
        for (const by of ["type", "tag"] as const) {
          const type = `Noted-${pause}-${by}`
          const Noted = Schema.TaggedUnion({ [type]: { show: Schema.String } }).pipe(Event.tags({ show: "show" }))
          const note = [{ _tag: type, show: type }]
          yield* store.append(Noted, `${type}-before`, note)
          const query = EventQuery.ofStoredTypes(
            by === "type" ? [{ types: [type] }] : [{ tags: [Event.tag("show", type)] }]
          )
          const reading = yield* Effect.forkChild(store.readByQuery(query))
          yield* Effect.sleep(pause)
          yield* store.append(Noted, `${type}-meanwhile`, note)
          const { condition, events } = yield* Fiber.join(reading)
          const late = yield* Effect.exit(store.appendIf(condition, Noted, `${type}-late`, note))
          assert.strictEqual(Exit.isSuccess(late), events.length === 2, `${type}: ${events.length} seen`)
        }
      }
    }).pipe(Effect.provide(Layer.merge(storeAt(url, 8), Reactivity.layer)))
  }))
