/** Appends that need several locks of other sessions: one timeout for all of them, and an error that names the right one. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Redacted, Schedule } from "effect"
import { EventStore, EventStoreError, StreamId } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { internals } from "../../../src/core/internals.ts"
import { freshDatabase } from "../../support/Database.ts"

const locks = {
  stream: (name: string) => `'evsrc.events'::regclass::oid::integer, hashtext('${name}')`,
  command: (id: string) => `'evsrc.events_command'::regclass::oid::integer, hashtext('${id}')`,
  type: (name: string) => `'evsrc.event_tags'::regclass::oid::integer, hashtext('y${name}')`
}

const setup = Effect.fnUntraced(function*(lockTimeout: string & `${number} ${"seconds" | "millis"}`) {
  const { url } = yield* freshDatabase
  const context = yield* Layer.build(
    PgEventStore.layerWith({ notify: false, lockTimeout, statementTimeout: "1 minute", connectionTimeout: "1 minute" })
      .pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })))
  )
  const store = yield* Effect.provide(EventStore.EventStore, context)
  const sql = yield* Effect.provide(PgClient.PgClient, context)
  const other = yield* Effect.flatMap(
    Layer.build(PgClient.layer({ url: Redacted.make(url), maxConnections: 5 })),
    (direct) => Effect.provide(PgClient.PgClient, direct)
  )
  const append = (stream: string, commandId: string) =>
    store[internals].driver.append({
      stream: StreamId.StreamId.make(stream),
      expected: "any",
      commandId,
      events: [{ id: crypto.randomUUID(), type: "Ticked", schemaVersion: 1, data: "{}", metadata: "{}" }]
    })
  /** Takes a lock in another session until the returned effect runs. */
  const hold = Effect.fnUntraced(function*(lock: string) {
    const isHeld = yield* Deferred.make<number>()
    const isFree = yield* Deferred.make<void>()
    const fiber = yield* Effect.forkScoped(
      other.withTransaction(Effect.gen(function*() {
        const [row] = yield* other.unsafe<{ readonly pid: number }>(
          `select pg_backend_pid() as pid, pg_advisory_xact_lock(${lock})`
        )
        yield* Deferred.succeed(isHeld, row!.pid)
        yield* Deferred.await(isFree)
      })),
      { startImmediately: true }
    )
    const pid = yield* Deferred.await(isHeld)
    return { pid, free: Effect.andThen(Deferred.succeed(isFree, undefined), Fiber.join(fiber)) }
  })
  /** Waits until so many sessions wait for a lock. */
  const untilWaiting = (count: number) =>
    other<
      { readonly count: number }
    >`select count(*)::integer as count from pg_locks where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())`.pipe(
      Effect.repeat({ until: ([row]) => row!.count === count, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("1 minute")
    )
  return { append, hold, sql, untilWaiting }
})

const messageOf = (exit: Exit.Exit<unknown, unknown>): string => {
  const error = Option.getOrThrow(Exit.findErrorOption(exit))
  assert.instanceOf(error, EventStoreError)
  assert.strictEqual(error.reason._tag, "StoreUnavailable")
  return error.message
}

it.live(
  "an append in the caller's transaction waits no longer than one lockTimeout for all of its locks",
  () =>
    Effect.gen(function*() {
      const { append, hold, sql, untilWaiting } = yield* setup("3 seconds")
      yield* append("s", "before")
      const stream = yield* hold(locks.stream("s"))
      const command = yield* hold(locks.command("c"))
      const type = yield* hold(locks.type("Ticked"))
      const waiting = yield* Effect.forkChild(Effect.exit(sql.withTransaction(append("s", "c"))), {
        startImmediately: true
      })
      // It waits less than its timeout for each of them, but longer for all.
      for (const { free } of [stream, command]) {
        yield* untilWaiting(1)
        yield* Effect.sleep("1600 millis")
        yield* free
      }
      yield* Effect.sleep("1600 millis")
      yield* type.free
      assert.match(messageOf(yield* Effect.timeout(Fiber.join(waiting), "1 minute")), /waited 3s \(lockTimeout\)/)
    }).pipe(Effect.scoped)
)

it.live(
  "an append that waits behind another names its own lock, or the append before it",
  () =>
    Effect.gen(function*() {
      const { append, hold } = yield* setup("3 seconds")
      yield* append("s", "before")
      const ofFirst = yield* hold(locks.command("first"))
      const ofSecond = yield* hold(locks.command("second"))
      const waiting = yield* Effect.forEach(
        ["first", "second", "third"],
        (id) => Effect.forkChild(Effect.exit(append("s", id)), { startImmediately: true })
      )
      const [first, second, third] = (yield* Effect.forEach(waiting, Fiber.join)).map(messageOf)
      const session = (pid: number) => `a lock on its command id, held by the session ${pid} `
      assert.include(first, `for ${session(ofFirst.pid)}`)
      assert.include(second, `for ${session(ofSecond.pid)}`)
      assert.include(third, `behind the append to stream "s", which waits for ${session(ofFirst.pid)}`)
      yield* ofFirst.free
      yield* ofSecond.free
      yield* append("s", "first")
    }).pipe(Effect.scoped)
)
