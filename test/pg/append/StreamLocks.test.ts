/** Locks of streams: what is written under them, what they keep out, and how they end. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Redacted, Scope } from "effect"
import { EventStore, type StreamId, Version } from "evsrc"
import { PgEventStore, type PgOptions } from "evsrc/pg"
import { storeError, StoreFailure } from "../../../src/core/errors.ts"
import type { AppendRequest, StreamLock } from "../../../src/eventStore/driver/EventStoreDriver.ts"
import { type Database, freshDatabase } from "../../support/Database.ts"
import * as Proxy from "../../support/Proxy.ts"

let count = 0

const streamId = (stream: string) => stream as StreamId.StreamId

const request = (stream: string, options: Partial<AppendRequest> = {}): AppendRequest => ({
  stream: streamId(stream),
  expected: "any",
  events: [{ id: crypto.randomUUID(), type: `Noted${++count % 3}`, schemaVersion: 1, data: "{}", metadata: "{}" }],
  ...options
})

const clientOf = (url: string, maxConnections: number) => PgClient.layer({ url: Redacted.make(url), maxConnections })

const open = Effect.fnUntraced(function*(url: string, options: PgOptions = {}, maxConnections = 6) {
  const context = yield* Layer.build(
    PgEventStore.layerWith(options).pipe(Layer.provideMerge(clientOf(url, maxConnections)))
  )
  const driver = yield* Effect.provideContext(EventStore.driver, context)
  const sql = yield* Effect.provideContext(PgClient.PgClient, context)
  return { driver, sql, lock: (stream: string) => driver.lockStream!(streamId(stream)) }
})

/** Two programs on a database of their own. */
const programs = Effect.gen(function*() {
  const database = yield* freshDatabase
  return [yield* open(database.url), yield* open(database.url), database] as const
})

/** Takes the lock of a stream in a transaction until the scope ends. */
const holdStream = Effect.fnUntraced(function*({ url }: Database, stream: string) {
  const sql = yield* Effect.flatMap(
    Layer.build(clientOf(url, 1)),
    (context) => Effect.provideContext(PgClient.PgClient, context)
  )
  const connection = yield* sql.reserve
  yield* connection.executeUnprepared("begin", [], undefined)
  yield* connection.execute(
    "select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext($1))",
    [stream],
    undefined
  )
  return { end: connection.executeUnprepared("rollback", [], undefined) }
})

const reasonOf = <A>(exit: Exit.Exit<A, { readonly reason: { readonly _tag: string } }>): string | undefined =>
  Option.getOrUndefined(Exit.findErrorOption(exit))?.reason._tag

const forked = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

describe("StreamLocks", () => {
  it.live("what was read under a lock is current until its appends, which are written together", () =>
    Effect.gen(function*() {
      const [mine, other] = yield* programs
      const lock = mine.lock("s")
      yield* lock.held
      const ofOther = yield* forked(other.driver.append(request("s", { expected: Version.zero })))
      const appends = yield* Effect.forEach(
        [0, 1, 2],
        (version) => forked(mine.driver.append(request("s", { expected: Version.make(version), lock })))
      )
      lock.release()
      const results = yield* Effect.forEach(appends, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual(
        results.map((result) => result._tag === "Appended" && result.version),
        [1, 2, 3].map(Version.make)
      )
      assert.deepStrictEqual(yield* Fiber.join(ofOther), { _tag: "Conflict", actual: Version.make(3) })
      const rows = yield* mine.sql<{ readonly transactions: bigint }>`
        select count(distinct xmin::text) as transactions from evsrc.events`
      assert.strictEqual(Number(rows[0]!.transactions), 1)
      yield* lock.released
    }))

  it.live("a repeated command id, a conflict and an interruption concern no other append before them", () =>
    Effect.gen(function*() {
      const [{ driver, lock: lockOf }] = yield* programs
      yield* driver.append(request("s", { commandId: "c" }))
      const lock = lockOf("s")
      const interrupted = yield* forked(driver.append(request("s", { lock })))
      const first = yield* forked(driver.append(request("s", { expected: Version.make(1), lock })))
      const repeated = yield* forked(driver.append(request("s", { commandId: "c", lock })))
      const conflict = yield* forked(driver.append(request("s", { expected: Version.make(1), lock })))
      yield* Fiber.interrupt(interrupted)
      lock.release()
      const results = yield* Effect.forEach([first, repeated, conflict], (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual(results.map(({ _tag }) => _tag), ["Appended", "Duplicate", "Conflict"])
      assert.strictEqual(yield* driver.last, yield* driver.head)
      assert.strictEqual((yield* driver.streamStatus(streamId("s"))).version, 2)
    }))

  it.live("an append whose effect fails under a lock is rolled back alone", () =>
    Effect.gen(function*() {
      const [{ driver, lock: lockOf }] = yield* programs
      const lock = lockOf("s")
      const good = yield* forked(driver.append(request("s", { lock })))
      let runs = 0
      const inTransaction = () =>
        Effect.suspend(() => {
          runs++
          return Effect.fail(storeError(new StoreFailure({ message: "rejected", cause: undefined })))
        })
      // It releases the lock, because the next append has to come after its effect.
      const bad = yield* Effect.exit(driver.append(request("s", { inTransaction, lock })))
      assert.strictEqual(reasonOf(bad), "StoreFailure")
      assert.strictEqual((yield* Fiber.join(good))._tag, "Appended")
      assert.isAtLeast(runs, 1)
      assert.strictEqual((yield* driver.streamStatus(streamId("s"))).version, 1)
    }))

  it.live("an append with an effect is written under a lock together with it", () =>
    Effect.gen(function*() {
      const [{ driver, lock: lockOf, sql }] = yield* programs
      yield* sql`create table noted (id uuid)`
      const lock = lockOf("s")
      const result = yield* driver.append(
        request("s", {
          inTransaction: ([event]) => Effect.orDie(sql`insert into noted values (${event!.id})`),
          lock
        })
      )
      assert.strictEqual(result._tag, "Appended")
      assert.lengthOf(
        yield* sql`select from noted, evsrc.events where noted.id = events.id and noted.xmin = events.xmin`,
        1
      )
    }))

  it.live("a lock that its owner does not release ends soon, and a late append is sent by itself", () =>
    Effect.gen(function*() {
      const [mine, other] = yield* programs
      const lock = mine.lock("s")
      yield* lock.held
      assert.strictEqual((yield* other.driver.append(request("s")))._tag, "Appended")
      assert.isFalse(lock.isOpen())
      yield* lock.released
      assert.strictEqual((yield* mine.driver.append(request("s", { expected: Version.zero, lock })))._tag, "Conflict")
    }))

  it.live("fails when another transaction holds the lock for too long, and names its session", () =>
    Effect.gen(function*() {
      const database = yield* freshDatabase
      const { driver, lock: lockOf } = yield* open(database.url, { lockTimeout: "200 millis" })
      const { end } = yield* holdStream(database, "s")
      const lock = lockOf("s")
      const append = yield* forked(Effect.exit(driver.append(request("s", { lock }))))
      const exit = yield* Effect.exit(lock.held)
      assert.strictEqual(reasonOf(exit), "StoreUnavailable")
      assert.match(String(exit), /waited 200ms \(lockTimeout\) for a lock on its stream, held by/)
      assert.strictEqual(reasonOf(yield* Fiber.join(append)), "StoreUnavailable")
      yield* end
      yield* lock.released
      assert.strictEqual((yield* driver.append(request("s", { expected: Version.zero })))._tag, "Appended")
    }))

  it.live("waiting for the locks of many streams leaves connections, and harms no free stream", () =>
    Effect.gen(function*() {
      const database = yield* freshDatabase
      const scope = yield* Scope.make()
      const { driver, lock: lockOf } = yield* Effect.provideService(
        open(database.url, { lockTimeout: "5 minutes" }, 4),
        Scope.Scope,
        scope
      )
      const names = Array.from({ length: 12 }, (_, i) => `held${i}`)
      for (const name of names) yield* holdStream(database, name)
      const locks = names.map(lockOf)
      const free = lockOf("free")
      yield* Effect.timeout(free.held, "1 minute")
      free.release()
      assert.strictEqual((yield* Effect.timeout(driver.append(request("other")), "1 minute"))._tag, "Appended")
      yield* Effect.timeout(Scope.close(scope, Exit.void), "1 minute")
      const exits = yield* Effect.forEach(locks, ({ held }) => Effect.exit(held), { concurrency: "unbounded" })
      assert.deepStrictEqual(new Set(exits.map(reasonOf)), new Set(["StoreUnavailable"]))
    }))

  it.live("has none for a client of one connection", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const { driver } = yield* open(url, {}, 1)
      assert.isUndefined(driver.lockStream)
    }))

  it.live("closing ends the locks, and fails what was not sent", () =>
    Effect.gen(function*() {
      const database = yield* freshDatabase
      const scope = yield* Scope.make()
      const { driver, lock: lockOf } = yield* Effect.provideService(
        open(database.url, { lockTimeout: "5 minutes" }),
        Scope.Scope,
        scope
      )
      yield* holdStream(database, "held")
      const [held, waiting]: ReadonlyArray<StreamLock> = [lockOf("s"), lockOf("held")]
      yield* held!.held
      const append = yield* forked(Effect.exit(driver.append(request("s", { lock: held }))))
      yield* Effect.timeout(Scope.close(scope, Exit.void), "1 minute")
      assert.strictEqual(reasonOf(yield* Fiber.join(append)), "StoreUnavailable")
      assert.strictEqual(reasonOf(yield* Effect.exit(waiting!.held)), "StoreUnavailable")
      const after = lockOf("s")
      assert.isFalse(after.isOpen())
      const { driver: next } = yield* open(database.url)
      assert.strictEqual((yield* next.append(request("s", { expected: Version.zero })))._tag, "Appended")
    }))

  it.live("a connection that is lost under a lock has written nothing, one lost at its COMMIT all", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const proxy = yield* Proxy.make(url)
      const { driver, lock: lockOf } = yield* open(proxy.url, { notify: false })
      const appendTwice = Effect.fnUntraced(function*(inTransaction: AppendRequest["inTransaction"]) {
        const lock = lockOf("s")
        yield* lock.held
        const first = yield* forked(Effect.exit(driver.append(request("s", { lock }))))
        if (inTransaction === undefined) yield* proxy.loseNextAnswer
        const last = yield* forked(Effect.exit(driver.append(request("s", { inTransaction, lock }))))
        lock.release()
        yield* lock.released
        return [yield* Fiber.join(first), yield* Fiber.join(last)].map(reasonOf)
      })
      assert.deepStrictEqual(yield* appendTwice(undefined), ["StoreUnavailable", "StoreUnavailable"])
      assert.strictEqual((yield* driver.streamStatus(streamId("s"))).version, 0)
      // The effect runs just before the COMMIT.
      assert.deepStrictEqual(yield* appendTwice(() => proxy.loseNextAnswer), ["OutcomeUnknown", "OutcomeUnknown"])
      assert.strictEqual((yield* driver.streamStatus(streamId("s"))).version, 2)
    }))
})
