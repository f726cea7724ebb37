/** Writing processes over a database, and subscribers to what they write. */
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

/** Now and then a commit takes its time, with its positions drawn; in a server that is idle they hardly ever overtake each other. */
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

/** Four processes of 16 writers each. */
export const start = Effect.fnUntraced(function*(url: string, options: Options = {}) {
  const writer = startWriter(url, options)
  const sql = yield* PgClient.PgClient
  const store = yield* EventStore.EventStore
  for (const statement of slowCommits) yield* sql.unsafe(statement)
  const running = yield* Effect.all(Array.from({ length: 4 }, () => writer), { concurrency: "unbounded" })
  const killed: Array<Script.Script> = []
  // In pages of one, and in pages that hold all there is: at the head, where events would be lost, is now this one and now that.
  const consumers = [yield* Consumer.follow(1), yield* Consumer.follow(500)]

  const log = Effect.map(
    sql<{ readonly position: bigint }>`select position from evsrc.events order by position`,
    (rows) => rows.map((row) => Position.make(row.position))
  )

  return {
    consumers,
    /** Until every subscriber has seen so many events more. */
    progress: (count: number) =>
      Effect.forEach(consumers, ({ seen, until }) => {
        const enough = seen.length + count
        return until((seen) => seen.length >= enough)
      }, { concurrency: "unbounded", discard: true }),
    /** Until a subscriber has passed an event by. */
    untilLost: log.pipe(
      Effect.repeat({
        until: (positions) =>
          consumers.some(({ seen }) => {
            const known = new Set(seen)
            const last = seen.at(-1) ?? Position.start
            return positions.some((position) => position <= last && !known.has(position))
          }),
        schedule: Schedule.spaced("100 millis")
      }),
      Effect.timeout("120 seconds")
    ),
    /** Kills a process by `kill -9`, and starts another in its place. */
    replaceOne: Effect.gen(function*() {
      const victim = running.shift()!
      yield* victim.signal("SIGKILL")
      killed.push(victim)
      running.push(yield* writer)
    }),
    /** Ends the writers, and lets the subscribers reach the end of the log. */
    finish: Effect.gen(function*() {
      for (const { write } of running) yield* write("stop")
      const all = [...killed, ...running]
      for (const { exited } of all) yield* exited
      const lines = yield* Effect.forEach(all, ({ lines }) => Queue.collect(lines))
      // Whoever is given this one has been given everything before.
      yield* store.append(Last, "last", [Last.cases.Written.make({})])
      const committed = yield* log
      for (const { until } of consumers) yield* until((seen) => seen.at(-1) === committed.at(-1))
      return { committed, acknowledged: lines.flat().flatMap(positionsOf) }
    })
  }
})
