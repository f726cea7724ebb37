/** Writing processes on one database, and subscribers to their events. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Queue, Schedule, Schema } from "effect"
import { EventStore, Position } from "evsrc"
import * as Script from "../support/Script.ts"
import * as Consumer from "./consumer.ts"

const Last = Schema.TaggedUnion({ Written: {} })

export interface Options {
  /** Whether the writers prepare statements by name; true by default. */
  readonly prepare?: boolean
}

/** Delays a tenth of the commits after their positions are assigned. On an idle server commits hardly ever overtake each other. */
const slowCommits = [
  `create or replace function slow_commit() returns trigger language plpgsql as $$
  begin
    if random() < 0.1 then perform pg_sleep(random() * 0.01); end if;
    return null;
  end $$`,
  `create constraint trigger slow_commit after insert on evsrc.events deferrable initially deferred
    for each row execute function slow_commit()`
]

const startWriter = Effect.fnUntraced(function*(url: string, { prepare = true }: Options) {
  const script = yield* Script.start(import.meta.resolve("./writer.ts"), {
    env: { DATABASE_URL: url, DATABASE_PREPARE: String(prepare) }
  })
  yield* script.waitFor(/^ready$/)
  return script
})

const positionsOf = (line: string): ReadonlyArray<bigint> =>
  /^[\d ]+ \.$/.test(line) ? line.slice(0, -2).split(" ").map(BigInt) : []

/** Starts four processes with 16 writers each. */
export const start = Effect.fnUntraced(function*(url: string, options: Options = {}) {
  const writer = startWriter(url, options)
  const sql = yield* PgClient.PgClient
  const store = yield* EventStore.EventStore
  for (const statement of slowCommits) yield* sql.unsafe(statement)
  const running = yield* Effect.all(Array.from({ length: 4 }, () => writer), { concurrency: "unbounded" })
  const killed: Array<Script.Script> = []
  // With pages of one event and pages of all new events, so that either may be at the head, where a subscriber would lose events.
  const consumers = [yield* Consumer.follow(1), yield* Consumer.follow(500)]

  const log = Effect.map(
    sql<{ readonly position: bigint }>`select position from evsrc.events order by position`,
    (rows) => rows.map((row) => Position.make(row.position))
  )

  return {
    consumers,
    /** Waits until every subscriber has seen `count` more events. */
    progress: (count: number) =>
      Effect.forEach(consumers, ({ seen, until }) => {
        const enough = seen.length + count
        return until((seen) => seen.length >= enough)
      }, { concurrency: "unbounded", discard: true }),
    /** Waits until a subscriber has skipped an event. */
    untilLost: log.pipe(
      Effect.repeat({
        until: (positions) =>
          consumers.some(({ seen }) => {
            const received = new Set(seen)
            const last = seen.at(-1) ?? Position.start
            return positions.some((position) => position <= last && !received.has(position))
          }),
        schedule: Schedule.spaced("100 millis")
      }),
      Effect.timeout("1 minute")
    ),
    /** Kills a process with SIGKILL and starts another in its place. */
    replaceOne: Effect.gen(function*() {
      const victim = running.shift()!
      yield* victim.signal("SIGKILL")
      killed.push(victim)
      running.push(yield* writer)
    }),
    /** Stops the writers, and waits until the subscribers reach the end of the log. */
    finish: Effect.gen(function*() {
      for (const { write } of running) yield* write("stop")
      const all = [...killed, ...running]
      for (const { exited } of all) yield* exited
      const lines = yield* Effect.forEach(all, ({ lines }) => Queue.collect(lines))
      // A subscriber that receives this event has received every earlier one.
      yield* store.append(Last, "last", [Last.cases.Written.make({})])
      const committed = yield* log
      for (const { until } of consumers) yield* until((seen) => seen.at(-1) === committed.at(-1))
      return { committed, acknowledged: lines.flat().flatMap(positionsOf) }
    })
  }
})
