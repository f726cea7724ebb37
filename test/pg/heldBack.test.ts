/** Readers that a lock holds back: they skip nothing, and wait if an event is missing; health names the holder, and the guide's statements prevent it. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  Duration,
  Effect,
  Fiber,
  Layer,
  Logger,
  Option,
  Predicate,
  Redacted,
  Schedule,
  Schema,
  Stream
} from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import { EventStore, Health, Parking, Projection, ProjectionStore, Projector, Subscription } from "evsrc"
import { PgMigrations, PgStores } from "evsrc/pg"
import { readFileSync } from "node:fs"
import { freshDatabase } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import { Tick, Ticks } from "./healthTicks.ts"

const tick = (stream: string, n: number) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, stream, [{ _tag: "Ticked", n }]))

const loginAs = Effect.fnUntraced(function*(sql: PgClient.PgClient, role: string, url: string, application: string) {
  yield* sql.unsafe(`create role ${role} login password 'secret'`)
  yield* Effect.addFinalizer(() =>
    Effect.orDie(Effect.andThen(sql.unsafe(`drop owned by ${role} cascade`), sql.unsafe(`drop role ${role}`)))
  )
  const asRole = Object.assign(new URL(url), { username: role, password: "secret" })
  return yield* PgClient.makeClient({ url: Redacted.make(asRole.href), applicationName: application })
})

/** Runs a test in a fresh database, with the URL and the name of it, and with the stores as its owner. */
const inDatabase = <A, E>(
  body: (
    sql: PgClient.PgClient,
    url: string,
    name: string
  ) => Effect.Effect<A, E, EventStore.EventStore | ProjectionStore.ProjectionStore | Reactivity.Reactivity | Scope>
) =>
  Effect.gen(function*() {
    const { name, url } = yield* freshDatabase
    const owner = PgClient.layer({ url: Redacted.make(url) })
    yield* Effect.flatMap(PgClient.PgClient, (sql) => Effect.scoped(body(sql, url, name))).pipe(
      Effect.provide(PgStores.layer.pipe(Layer.provideMerge(owner)))
    )
  }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))

type Scope = Effect.Services<ReturnType<typeof loginAs>>

const session = (client: PgClient.PgClient) =>
  Effect.map(client<{ readonly pid: number }>`select pg_backend_pid() as pid`, ([row]) => row!.pid)

/** Limits at which a test sees yellow and red soon. */
const limits: Health.HealthOptions = { maxWait: "300 millis", stallTimeout: "4 seconds" }

const until = <A, E, R>(check: Effect.Effect<A, E, R>, condition: (a: A) => boolean) =>
  check.pipe(Effect.repeat({ until: condition, schedule: Schedule.spaced("20 millis") }), Effect.timeout("1 minute"))

const ofConsumer = (health: Health.Health) => health.consumers[0]!

/** A role that may only connect finds the lock's keys in the catalog. */
const oid =
  "(select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = 'evsrc' and relname = 'positions')"

/** Each with the number of events above the high-water mark, of five. */
const locks: Readonly<Record<string, { readonly lock: string; readonly unlock: string; readonly held: number }>> = {
  "shared, for its session": {
    held: 4,
    lock: `select pg_advisory_lock_shared(${oid}::integer, 1)`,
    unlock: `select pg_advisory_unlock_shared(${oid}::integer, 1)`
  },
  "exclusive, for its session": {
    held: 4,
    lock: `select pg_advisory_lock(${oid}::integer, 1)`,
    unlock: `select pg_advisory_unlock(${oid}::integer, 1)`
  },
  "shared, for its transaction": {
    held: 4,
    lock: `begin; select pg_advisory_xact_lock_shared(${oid}::integer, 1)`,
    unlock: "commit"
  },
  "at position 0, with one key": {
    held: 5,
    lock: `select pg_try_advisory_lock_shared((${oid}::bigint & 1048575) << 44)`,
    unlock: `select pg_advisory_unlock_shared((${oid}::bigint & 1048575) << 44)`
  }
}

const run = (client: PgClient.PgClient, statements: string) =>
  Effect.forEach(statements.split("; "), (statement) => client.unsafe(statement), { discard: true })

/** Returns the stores of another process, whose appends are not handed on to the consumers of this one. */
const otherProcess = (url: string) =>
  Layer.build(
    Layer.fresh(PgStores.layer).pipe(Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(url) }))))
  )

describe.concurrent("a role that may only connect", () => {
  it.live(
    "is named by health while a consumer takes what its own process appends; other readers skip nothing",
    () =>
      inDatabase((sql, url, name) =>
        Effect.gen(function*() {
          const foreign = yield* loginAs(sql, `${name}_foreign`, url, "curious")
          yield* Effect.gen(function*() {
            const first = yield* tick("a", 1)
            yield* ProjectionStore.awaitPosition(Ticks, first.position, "1 minute")
            yield* run(foreign, `select pg_advisory_lock_shared(${oid}::integer, 1)`)
            const last = yield* tick("a", 2)
            const seen: Array<number> = []
            const other = Context.get(yield* otherProcess(url), EventStore.EventStore)
            yield* other.subscribe(Tick, { after: first.position }).pipe(
              Stream.runForEach(({ event }) => Effect.sync(() => void seen.push(event.n))),
              Effect.forkScoped
            )
            yield* ProjectionStore.awaitPosition(Ticks, last.position, "1 minute")
            const health = yield* until(Health.of([Ticks], limits), ({ log }) => log.status !== "green")
            assert.strictEqual(health.log.lag.events, 1)
            assert.include(health.reasons.join("; "), `role "${name}_foreign", application "curious"`)
            yield* run(foreign, `select pg_advisory_unlock_shared(${oid}::integer, 1)`)
            yield* until(Effect.sync(() => seen), ([n]) => n === 2)
          }).pipe(Effect.provide(Projector.layer([Ticks])))
        })
      )
  )

  for (const [what, { held, lock, unlock }] of Object.entries(locks)) {
    it.live(
      `is named by health when it holds a lock that is ${what}; readers skip nothing`,
      () =>
        inDatabase((sql, url, name) =>
          Effect.gen(function*() {
            const store = yield* EventStore.EventStore
            const documents = yield* ProjectionStore.ProjectionStore
            const foreign = yield* loginAs(sql, `${name}_foreign`, url, "curious")
            yield* Effect.gen(function*() {
              const first = yield* tick("a", 1)
              const { position } = yield* tick("a", 2)
              yield* documents.awaitPosition(Ticks, position, "1 minute")
              const seen: Array<number> = []
              const subscription = yield* store.subscribe(Tick, { after: first.position }).pipe(
                Stream.runForEach(({ event }) => Effect.sync(() => void seen.push(event.n))),
                Effect.forkChild
              )
              yield* until(Effect.sync(() => seen.length), (length) => length === 1)
              assert.deepStrictEqual((yield* Health.of([Ticks])).status, "green")

              yield* run(foreign, lock)
              const pid = yield* session(foreign)
              const others = yield* otherProcess(url)
              for (const n of [3, 4, 5]) yield* Effect.provideContext(tick(`b-${n}`, n), others)
              const begun: Array<number> = []
              const beginning = yield* Context.get(others, EventStore.EventStore).subscribe(Tick).pipe(
                Stream.runForEach(({ event }) => Effect.sync(() => void begun.push(event.n))),
                Effect.forkChild
              )
              yield* until(Health.of([Ticks], limits), ({ log }) => log.status !== "green")
              const red = yield* until(Health.of([Ticks], limits), ({ status }) => status === "red")
              assert.strictEqual(red.log.lag.events, held)
              const holder = `the session ${pid} (role "${name}_foreign", application "curious"`
              assert.include(red.reasons.join("; "), holder)
              assert.match(
                red.reasons[0]!,
                /^log: no reader gets past position \d, while \d events wait, the oldest for \d+ s: the session /
              )
              assert.include(red.reasons[0]!, `end it with SELECT pg_terminate_backend(${pid})`)
              // A reader that knows a mark, and misses no event after it, does not look at the locks.
              assert.deepStrictEqual(seen, [2, 3, 4, 5].slice(0, seen.length))
              assert.deepStrictEqual(begun, [1, 2, 3, 4, 5].slice(0, begun.length))

              yield* run(foreign, unlock)
              const last = yield* tick("a", 6)
              yield* documents.awaitPosition(Ticks, last.position, "1 minute")
              yield* until(Effect.sync(() => Math.min(seen.length, begun.length - 1)), (length) => length >= 5)
              assert.deepStrictEqual(begun, [1, 2, 3, 4, 5, 6])
              assert.deepStrictEqual(seen, [2, 3, 4, 5, 6])
              const green = yield* until(Health.of([Ticks], limits), ({ status }) => status === "green")
              assert.deepStrictEqual([green.log.lag.events, green.log.inFlight], [0, []])
              yield* Fiber.interruptAll([subscription, beginning])
            }).pipe(Effect.provide(Projector.layer([Ticks])))
          })
        )
    )
  }
})

/** The log of a worker that is held back. */
const lines: Array<string> = []

const appendOne = (stream: string) =>
  `select 1 from evsrc.append_one(true, '${stream}', null, null, gen_random_uuid(), 'Ticked', 1, '{"n":0}', '{}')`

describe.concurrent("health", () => {
  it.live(
    "names a session that is idle in the transaction of an append, while 168 events wait",
    () =>
      inDatabase((sql, url, name) =>
        Effect.gen(function*() {
          lines.length = 0
          const documents = yield* ProjectionStore.ProjectionStore
          const { position } = yield* tick("a", 1)
          yield* documents.awaitPosition(Ticks, position, "1 minute")
          const writer = yield* loginAs(sql, `${name}_writer`, url, "shop")
          yield* sql.unsafe(`grant usage on schema evsrc to ${name}_writer`)
          yield* sql.unsafe(`grant execute on function evsrc.append_one to ${name}_writer`)
          yield* run(writer, `begin; ${appendOne("idle")}`)
          const pid = yield* session(writer)
          const last = yield* Effect.forEach(Array.from({ length: 168 }, (_, n) => n), (n) => tick(`s-${n}`, n), {
            concurrency: 20
          })
          const red = yield* until(Health.of([Ticks], limits), ({ status }) => status === "red")
          assert.match(
            red.reasons[0]!,
            new RegExp(
              `^log: no reader gets past position 1, while 168 events wait, the oldest for \\d+ s: the session ${pid} `
                + `\\(role "${name}_writer", application "shop", idle in transaction\\) holds the in-flight low-water mark of an `
                + `append, its transaction began \\d+ s ago and its last statement \\d+ s ago; `
                + `end it with SELECT pg_terminate_backend\\(${pid}\\)$`
            )
          )
          assert.deepStrictEqual([red.log.lag.events, ofConsumer(red).lag.events, red.log.head], [168, 168, 1n])
          assert.deepStrictEqual(red.log.inFlight.map((one) => [one.pid, one.waitingSince]), [[pid, undefined]])
          const status = Effect.flatMap(Projector.Projector, ({ status }) => status)
          const [held] = yield* until(status, ([one]) => one?.last === red.log.last)
          assert.deepStrictEqual([held?.position, held?.head, held?.lag], [1n, 1n, red.log.last - 1n])
          const [told] = yield* until(status, ([one]) => one?.detail !== undefined)
          const inWords =
            `a transaction holds back all readers at position 1, while events up to position ${red.log.last} are committed`
          assert.strictEqual(told?.detail, inWords)
          assert.strictEqual(lines.length, 1)
          // It may have been written while the 168 events were appended.
          assert.match(
            lines[0]!,
            new RegExp(
              `^Warn ticks@1 waits: a transaction holds back all readers at position 1, while events up to position \\d+ are committed: `
                // On a busy machine the look for the session may have taken too long.
                + `(the session ${pid} \\(role "${name}_writer", application "shop"|Health names it$)`
            )
          )

          // The operator does as the reason says.
          yield* sql`select pg_terminate_backend(${pid})`
          yield* documents.awaitPosition(
            Ticks,
            last.reduce((max, receipt) => receipt.position > max ? receipt.position : max, position),
            "30 seconds"
          )
          const green = yield* until(Health.of([Ticks], limits), ({ status }) => status === "green")
          assert.deepStrictEqual([green.log.lag.events, ofConsumer(green).lag.events], [0, 0])
          const [green2] = yield* until(status, ([one]) => one?.lag === 0n && one.detail === undefined)
          assert.strictEqual(green2?.state, "live")
          yield* until(Effect.sync(() => lines.at(-1) ?? ""), (line) =>
            line.startsWith("Info ticks@1 has recovered after"))
          assert.strictEqual(lines.length, 2)
          assert.deepStrictEqual(Option.getOrUndefined(yield* ProjectionStore.get(Ticks, "all")), { count: 169 })
        }).pipe(
          Effect.provide(Projector.layer([Ticks], { lease: "1 second" })),
          Effect.provide(Logger.layer([Logger.make(({ logLevel, message }) => {
            if (!String(message).startsWith("Projector.layer runs")) {
              lines.push(`${logLevel} ${String(message)}`)
            }
          })]))
        )
      )
  )

  it.live(
    "names the session for which appends wait, though no event waits",
    () =>
      inDatabase((sql, url, name) =>
        Effect.gen(function*() {
          yield* tick("a", 1)
          const foreign = yield* loginAs(sql, `${name}_foreign`, url, "curious")
          yield* foreign.unsafe(`select pg_advisory_lock(${oid}::integer, 1)`)
          const pid = yield* session(foreign)
          const waiting = yield* Effect.forkChild(Effect.all([tick("b", 2), tick("c", 3)], { concurrency: 2 }))
          const red = yield* until(Health.of([], limits), ({ status }) => status === "red")
          assert.match(
            red.reasons.join("; "),
            new RegExp(
              `^log: \\d appends? waits? for a lock, the longest for \\d+ s: the session ${pid} \\(role "${name}_foreign"`
            )
          )
          assert.strictEqual(red.log.lag.events, 0)
          yield* foreign.unsafe(`select pg_advisory_unlock(${oid}::integer, 1)`)
          yield* Fiber.join(waiting)
          assert.strictEqual((yield* Health.of([], limits)).status, "green")
        })
      )
  )

  it.live(
    "names the session by pid and role where it may not see more",
    () =>
      inDatabase((sql, url, name) =>
        Effect.gen(function*() {
          yield* tick("a", 1)
          const monitor = yield* loginAs(sql, `${name}_monitor`, url, "monitor")
          const monitorRole = `${name}_monitor`
          yield* sql.unsafe(`grant usage on schema evsrc to ${monitorRole}`)
          yield* sql.unsafe(`grant select on all tables in schema evsrc to ${monitorRole}`)
          yield* sql.unsafe(`grant select on sequence evsrc.positions to ${monitorRole}`)
          const holder = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "shop" })
          yield* run(holder, `begin; ${appendOne("idle")}`)
          const pid = yield* session(holder)
          yield* tick("b", 2)
          const asMonitor = PgStores.layerWithoutMigrations().pipe(Layer.provide(PgClient.layer(monitor.config)))
          const check = (options: Health.HealthOptions) => Effect.provide(Health.of([], options), asMonitor)
          const { log } = yield* until(check(limits), ({ status }) => status === "red")
          assert.include(log.reasons[0]!, `: the session ${pid} (role "`)
          assert.include(
            log.reasons[0]!,
            `application "shop") holds the in-flight low-water mark of an append; end it with`
          )
          assert.deepStrictEqual(log.inFlight.map(({ since, state }) => [since, state]), [[undefined, undefined]])
          yield* sql.unsafe(`alter role ${monitorRole} set statement_timeout = '2s'`)
          const started = yield* Layer.build(Layer.fresh(asMonitor))
          yield* holder`rollback`
          yield* run(holder, "begin; lock table evsrc.events in access exclusive mode")
          const late = yield* Effect.flip(Effect.provideContext(Health.of([]), started))
          assert.match(
            late.message,
            new RegExp(`SQLSTATE 57014\\); the session ${pid} \\(.*application "shop"\\) holds the table events`)
          )
          yield* run(holder, `rollback; begin; ${appendOne("idle")}`)
          yield* tick("b", 3)
          yield* sql.unsafe(`grant pg_read_all_stats to ${monitorRole}`)
          yield* until(check(limits), ({ log }) => log.reasons.length > 0)
          assert.include((yield* check(limits)).log.reasons[0]!, "idle in transaction)")
        })
      )
  )

  const otherLocks = {
    "rows of the table checkpoints": "select 1 from evsrc.checkpoints for update",
    "the table documents \\(ShareLock\\)": "lock table evsrc.documents in share mode",
    "the lock of a stream": "select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext('a'))"
  }
  for (const [what, statement] of Object.entries(otherLocks)) {
    it.live(
      `names the session that holds ${what.replaceAll("\\", "")}`,
      () =>
        inDatabase((sql, url, name) =>
          Effect.gen(function*() {
            const documents = yield* ProjectionStore.ProjectionStore
            const { position } = yield* tick("a", 1)
            yield* documents.awaitPosition(Ticks, position, "1 minute")
            const foreign = yield* loginAs(sql, `${name}_foreign`, url, "curious")
            yield* sql.unsafe(`grant all on schema evsrc to ${name}_foreign`)
            yield* sql.unsafe(`grant all on all tables in schema evsrc to ${name}_foreign`)
            yield* run(foreign, `begin; ${statement}`)
            const pid = yield* session(foreign)
            const waiting = yield* Effect.forkChild(Effect.exit(tick("a", 2)))
            const red = yield* until(
              Health.of([Ticks], { maxWait: "300 millis", stallTimeout: "2 seconds" }),
              ({ log }) => log.status === "red"
            )
            assert.match(
              red.reasons.join("; "),
              new RegExp(
                `^log: \\d sessions? waits? for a lock of another transaction: the session ${pid} \\(role "${name}_foreign", application "curious", `
                  + `idle in transaction\\) holds (.* and )?${what}( and .*)?, its transaction began \\d+ s ago and its last statement \\d+ s ago; `
                  + `end it with SELECT pg_terminate_backend\\(${pid}\\)`
              )
            )
            yield* run(foreign, "rollback")
            yield* Fiber.join(waiting)
            yield* until(Health.of([Ticks]), ({ status }) => status === "green")
          }).pipe(Effect.provide(Projector.layer([Ticks], { lease: "1 second" })))
        )
    )
  }

  it.live(
    "that cannot be read because a table is locked fails with the name of the session",
    () =>
      inDatabase((sql, url, name) =>
        Effect.gen(function*() {
          const foreign = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "curious" })
          // A server under load may not even start a store in time.
          const storesWith = (statementTimeout: Duration.Input) =>
            Effect.retry(
              Layer.build(Layer.fresh(
                PgStores.layerWithoutMigrations({ statementTimeout }).pipe(Layer.provide(PgClient.layer(sql.config)))
              )),
              { times: 10 }
            )
          // The deadline of the program, which also looks for the session, and that of the server.
          const impatient = yield* storesWith("500 millis")
          yield* sql.unsafe(`alter database ${name} set statement_timeout = '1500ms'`)
          const patient = yield* storesWith("10 seconds")
          yield* run(foreign, "begin; lock table evsrc.events in access exclusive mode")
          const pid = yield* session(foreign)
          for (
            const [context, words] of [
              [impatient, "within 500ms \\(statementTimeout\\)"],
              [patient, "canceling statement due to statement timeout \\(SQLSTATE 57014\\)"]
            ] as const
          ) {
            const error = yield* Effect.flip(Effect.provideContext(Health.of([]), context))
            assert.strictEqual(error.reason._tag, "StoreUnavailable")
            assert.match(
              error.message,
              new RegExp(
                `${words}; the session ${pid} \\(role ".*", application "curious", idle in transaction\\) holds the table events `
                  + `\\(AccessExclusiveLock\\), its transaction began \\d+ s ago`
              )
            )
          }
          const late = yield* Effect.timed(Effect.flip(Health.of([Ticks], { timeout: "300 millis" })))
          assert.match(
            late[1].message,
            new RegExp(
              `^The health check has not ended within 300ms \\(timeout\\): it could not read the end of the log; the session ${pid} `
            )
          )
          assert.isBelow(Duration.toMillis(late[0]), 10_000)
          yield* run(foreign, "rollback")
        })
      )
  )

  for (const maxConnections of [1, 3, 4]) {
    it.live(`is named while appends of a pool of ${maxConnections} wait for streams`, () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const client = PgClient.layer({ url: Redacted.make(url), maxConnections })
        yield* Effect.gen(function*() {
          yield* tick("a", 1)
          const other = yield* otherProcess(url)
          const foreign = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "curious" })
          const streams = ["a", "b", "c"]
          yield* run(
            foreign,
            [
              "begin",
              ...streams.map((stream) =>
                `select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext('${stream}'))`
              )
            ].join("; ")
          )
          const pid = yield* session(foreign)
          // Each of the streams has an append that asks for its lock; they are more than may wait in the database.
          const waiting = yield* Effect.forEach(streams, (stream) => Effect.forkChild(Effect.exit(tick(stream, 2))))
          const words = `a lock of another transaction: the session ${pid} `
          const inThisProcess = yield* until(
            Health.of([], limits),
            ({ log }) => log.status === "red"
          )
          assert.match(inThisProcess.reasons.join("; "), new RegExp(`waits? for ${words}`))
          // Another process sees that the lock is held, and may not see that appends wait.
          const elsewhere = yield* Health.of([], limits).pipe(Effect.provideContext(other))
          assert.notStrictEqual(elsewhere.log.status, "green")
          assert.include(elsewhere.reasons.join("; "), words)
          yield* run(foreign, "rollback")
          yield* Effect.forEach(waiting, Fiber.join)
          yield* until(Health.of([], limits), ({ status }) => status === "green")
        }).pipe(
          Effect.scoped,
          Effect.provide(
            PgStores.layerWith({ lockTimeout: "1 minute", statementTimeout: "1 minute" }).pipe(
              Layer.provideMerge(client)
            )
          )
        )
      }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))
  }

  it.live(
    "makes the log as old as itself, not as the events above an early position",
    () =>
      inDatabase((_, url) =>
        Effect.gen(function*() {
          yield* tick("a", 1)
          yield* Effect.sleep("3 seconds")
          yield* tick("a", 2)
          const foreign = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "curious" })
          yield* run(foreign, `begin; select pg_advisory_xact_lock_shared(${oid}::integer, 0)`)
          const { log } = yield* Health.of([], { maxWait: "1 hour", stallTimeout: "1 hour" })
          const [at, ...holders] = [log.inFlight[0]!.since!, ...log.inFlight]
          assert.strictEqual(holders.length, 1)
          assert.strictEqual(log.lag.events, 2)
          const { at: readAt } = yield* Health.of([], limits)
          assert.isAtMost(log.lag.seconds, (readAt.epochMilliseconds - at.epochMilliseconds) / 1000)
          const stalled = yield* until(Health.of([], limits), ({ status }) => status !== "green")
          assert.isAbove(stalled.log.lag.seconds, 0.3)
          yield* run(foreign, "rollback")
        })
      )
  )

  it.live("names a prepared transaction, which has no session", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ settings: { max_prepared_transactions: "2" } })
      const client = PgClient.layer({ url: Redacted.make(server.url) })
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* tick("a", 1)
        const holder = yield* PgClient.makeClient({ url: Redacted.make(server.url) })
        yield* run(holder, `begin; ${appendOne("idle")}; prepare transaction 'order 7'`)
        yield* tick("b", 2)
        const red = yield* until(Health.of([], limits), ({ status }) => status === "red")
        assert.match(
          red.reasons[0]!,
          /: the prepared transaction "order 7" holds the in-flight low-water mark of an append, its transaction began \d+ s ago; end it with COMMIT PREPARED or ROLLBACK PREPARED$/
        )
        // After a crash the transaction may be below a position that was final before.
        const marks = sql<
          { readonly known: boolean }
        >`select evsrc.high_water_mark_after(position, id) = position as known
          from evsrc.events order by position desc limit 1`
        assert.deepStrictEqual(yield* marks, [{ known: false }])
        yield* sql`rollback prepared 'order 7'`
        assert.deepStrictEqual(yield* marks, [{ known: true }])
        assert.strictEqual((yield* Health.of([], limits)).status, "green")
      }).pipe(Effect.scoped, Effect.provide(PgStores.layer.pipe(Layer.provideMerge(client))))
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))
})

/** The statements of the guide that follow a text, for roles `owner` and `app`. */
const statementsAfter = (text: string) =>
  /```sql\n([^`]*?)```/.exec(
    readFileSync(new URL("../../docs/reference.md", import.meta.url), "utf8").split(text)[1]!
  )![1]!

const codeOf = (sql: PgClient.PgClient, statement: string) =>
  Effect.match(sql.unsafe(statement), {
    onSuccess: () => "allowed",
    onFailure: ({ reason: { cause } }) => Predicate.hasProperty(cause, "code") ? String(cause.code) : String(cause)
  })

describe("advisory locks that were revoked as the guide says", () => {
  it.live(
    "cannot be taken by a role that may connect, and the roles of the guide work as before",
    () =>
      Effect.gen(function*() {
        const { name, url } = yield* freshDatabase
        const admin = yield* Layer.build(PgClient.layer({ url: Redacted.make(url) }))
        yield* Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const [owner, app] = [
            yield* loginAs(sql, `${name}_owner`, url, "migrations"),
            yield* loginAs(sql, `${name}_app`, url, "app")
          ]
          const foreign = yield* loginAs(sql, `${name}_foreign`, url, "curious")
          const forRoles = (statements: string) =>
            statements.replaceAll(/\bapp\b/g, `${name}_app`).replaceAll(/\bowner\b/g, `${name}_owner`)
          yield* sql.unsafe(`grant create on database ${name} to ${name}_owner`)
          yield* sql.unsafe(forRoles(statementsAfter("**Readers wait for locks.**"))).unprepared
          yield* PgMigrations.run({ hashChain: true }).pipe(Effect.provide(PgClient.layer(owner.config)))
          for (const grant of forRoles(statementsAfter("### Rights")).trim().split("\n")) yield* owner.unsafe(grant)

          const functions = yield* sql<{ readonly call: string }>`
          select format('select %s(%s)', proname, case pronargs when 1 then '1::bigint' else '1, 1' end) as call
            from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname like '%advisory%lock%'
              and proname not like '%unlock%'`
          assert.strictEqual(functions.length, 16)
          for (const { call } of functions) assert.strictEqual(yield* codeOf(foreign, call), "42501", call)
          for (const { lock } of Object.values(locks).filter(({ lock }) => !lock.startsWith("begin"))) {
            assert.strictEqual(yield* codeOf(foreign, lock), "42501", lock)
          }
          assert.strictEqual(yield* codeOf(foreign, appendOne("s")), "42501")

          yield* Effect.gen(function*() {
            const store = yield* EventStore.EventStore
            const documents = yield* ProjectionStore.ProjectionStore
            yield* tick("a", 1)
            const { position } = yield* store.append(Tick, "a", [{ _tag: "Ticked", n: 2 }, { _tag: "Ticked", n: 3 }])
            yield* documents.awaitPosition(Ticks, position, "1 minute")
            assert.deepStrictEqual(Option.getOrUndefined(yield* ProjectionStore.get(Ticks, "all")), { count: 3 })
            assert.deepStrictEqual((yield* Health.of([Ticks])).status, "green")
          }).pipe(
            Effect.provide(
              Projector.layer([Ticks]).pipe(
                Layer.provideMerge(PgStores.layerWithoutMigrations()),
                Layer.provide(PgClient.layer(app.config))
              )
            )
          )
        }).pipe(Effect.scoped, Effect.provideContext(admin))
      }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))
  )
})

const locksOfHandlers = {
  "a row": ["update mine set n = n where key = 's'", "rows of the table mine"],
  "the lock": ["lock table mine in share mode", "the table mine"]
} as const

for (const [what, [lock, name]] of Object.entries(locksOfHandlers)) {
  it.live(`health names the session that holds ${what} of a handler's own table`, () =>
    inDatabase((sql, url) =>
      Effect.gen(function*() {
        yield* sql`create table mine (key text primary key, n int)`
        yield* sql`insert into mine values ('s', 0)`
        const rows = Projection.handler("rows", {
          events: Tick,
          handle: {
            Ticked: () => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`update mine set n = n + 1 where key = 's'`)
          }
        })
        const holder = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "culprit" })
        yield* holder`begin`
        yield* holder.unsafe(lock)
        const pid = yield* session(holder)
        yield* tick("s", 1)
        const context = yield* Layer.build(Projector.layer([rows])).pipe(
          Effect.provideService(SqlClient.SqlClient, sql)
        )
        // Another program looks, whose sessions have another name.
        const monitor = PgClient.layer({ url: Redacted.make(url), applicationName: "monitor" })
        const { log } = yield* until(
          Health.of([rows], limits),
          ({ log }) => log.reasons.some((reason) => reason.includes(`session ${pid}`))
        ).pipe(Effect.provide(Layer.fresh(PgStores.layer).pipe(Layer.provide(monitor))))
        assert.include(log.reasons.join(), `application "culprit", idle in transaction) holds ${name}`)
        const [status] = yield* until(
          Context.get(context, Projector.Projector).status,
          ([status]) => status?.detail?.includes("lock timeout") === true
        )
        assert.match(status!.detail!, /lock timeout.*(in relation "mine" )?\(SQLSTATE 55P03\)/)
        yield* holder`rollback`
      })
    ))
}

/** A handler that writes the row of its event's stream into a table of the user, in a store whose lock timeout is short. */
const writingRows = <A, E>(
  body: (test: {
    readonly holder: PgClient.PgClient
    readonly rows: Projection.AnyHandler
    readonly status: Effect.Effect<Projector.ConsumerStatus>
    readonly counts: Effect.Effect<ReadonlyArray<unknown>, unknown>
  }) => Effect.Effect<A, E, EventStore.EventStore | ProjectionStore.ProjectionStore | PgClient.PgClient | Scope>,
  lock: string
) =>
  Effect.gen(function*() {
    const { url } = yield* freshDatabase
    const rows = Projection.handler("rows", {
      events: Tick,
      retry: Schedule.recurs(1),
      handle: {
        Ticked: (_, { stream }) =>
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql`update mine set n = n + 1 where key = ${stream}`)
      }
    })
    yield* Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`create table mine (key text primary key, n int)`
      yield* sql`insert into mine values ('a', 0), ('b', 0)`
      const holder = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "culprit" })
      yield* holder`begin`
      yield* holder.unsafe(lock)
      for (const stream of ["a", "b"]) yield* tick(stream, 1)
      const context = yield* Layer.build(
        Projector.layer([rows], { lease: "2 seconds", retryDelay: { first: "100 millis", max: "200 millis" } })
      )
      const status = Effect.map(Context.get(context, Projector.Projector).status, ([one]) => one!)
      yield* body({ holder, rows, status, counts: sql`select n::int from mine order by key` })
    }).pipe(
      Effect.provide(
        PgStores.layerWith({ lockTimeout: "800 millis" }).pipe(
          Layer.provideMerge(PgClient.layer({ url: Redacted.make(url) }))
        )
      )
    )
  }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))

const lockOfRow = "update mine set n = n where key = 'a'"

describe.concurrent("a session that holds a lock of a handler's own table", () => {
  it.live(
    "parks the key of its row only, and is named by the status and the parked error",
    () =>
      writingRows(({ counts, holder, rows, status }) =>
        Effect.gen(function*() {
          const pid = yield* session(holder)
          const words = new RegExp(
            `waited too long for a lock: .*lock timeout.* in relation "mine" \\(SQLSTATE 55P03\\), held by the session ${pid} \\(application "culprit", in`
          )
          const { detail } = yield* until(status, ({ state }) => state === "retrying")
          assert.match(detail!, words)
          const { items } = yield* until(Parking.list(rows), ({ items }) => items.length > 0)
          assert.deepStrictEqual(items.map(({ attempts, stream }) => [stream as string, attempts]), [["a", 3]])
          assert.match(items[0]!.error, words)
          yield* until(counts, ([, b]) => Predicate.hasProperty(b, "n") && b.n === 1)
          yield* holder`rollback`
          yield* Parking.retry(rows, "a")
          assert.deepStrictEqual(yield* counts, [{ n: 1 }, { n: 1 }])
        }), lockOfRow)
  )

  it.live(
    "parks the key of its row although another session waits for the row before",
    () =>
      writingRows(({ holder, rows }) =>
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          yield* Effect.forkScoped(Effect.exit(sql.unsafe(lockOfRow)))
          const { items } = yield* until(Parking.list(rows), ({ items }) => items.length > 0)
          assert.match(items[0]!.error, /held by the session \d+ \(application "culprit"/)
          yield* holder`rollback`
        }), lockOfRow)
  )

  it.live(
    "parks nothing if the lock is that of the table, and is named by the status",
    () =>
      writingRows(({ counts, holder, rows, status }) =>
        Effect.gen(function*() {
          yield* until(
            status,
            ({ detail = "" }) => /is unavailable: .*lock timeout.*, held by the session .*"culprit"/.test(detail)
          )
          yield* holder`rollback`
          yield* until(counts, (all) => all.every((row) => Predicate.hasProperty(row, "n") && row.n === 1))
          assert.deepStrictEqual((yield* Parking.list(rows)).items, [])
        }), "lock table mine in share mode")
  )
})

it.live(
  "a handler that appends to a stream which a session locks parks its key only",
  () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const Copied = Schema.TaggedUnion({ Copied: { of: Schema.String } })
      yield* Effect.gen(function*() {
        const copies = Subscription.make("copies", {
          events: Tick,
          retry: Schedule.recurs(1),
          handle: {
            Ticked: (_, { id, stream }) => EventStore.append(Copied, `copy-${stream}`, [{ _tag: "Copied", of: id }])
          }
        })
        const holder = yield* PgClient.makeClient({ url: Redacted.make(url), applicationName: "culprit" })
        yield* holder`begin`
        yield* holder`select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext('copy-a'))`
        for (const stream of ["a", "b"]) yield* tick(stream, 1)
        yield* Layer.build(Subscription.layer([copies]))
        const { items } = yield* until(Parking.list(copies), ({ items }) => items.length > 0)
        assert.deepStrictEqual(items.map(({ attempts, stream }) => [stream as string, attempts]), [["a", 3]])
        assert.match(
          items[0]!.error,
          /"copy-a" waited 500ms \(lockTimeout\) for a lock on its stream, held by .*"culprit"/
        )
        const events = yield* EventStore.EventStore
        yield* until(Stream.runCollect(events.readStream(Copied, "copy-b")), (all) => all.length === 1)
        yield* holder`rollback`
        yield* Parking.retry(copies, "a")
        assert.lengthOf(yield* Stream.runCollect(events.readStream(Copied, "copy-a")), 1)
      }).pipe(
        Effect.provide(
          PgStores.layerWith({ lockTimeout: "500 millis" }).pipe(
            Layer.provideMerge(PgClient.layer({ url: Redacted.make(url) }))
          )
        )
      )
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))
)
