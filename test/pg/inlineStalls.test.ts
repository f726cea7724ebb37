/** Programs that start, repair and retire inline projections while others stand still, and with many documents, on a PostgreSQL server. */
import { assert, describe, it } from "@effect/vitest"
import { Context, type Duration, Effect, Fiber, Layer, Option, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { EventStore, Health, Limits, Projection, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const Counted = Schema.TaggedUnion({ Counted: { n: Schema.Int } })

const counts = Projection.make("counts", {
  events: Counted,
  lifecycle: "inline",
  document: Schema.Struct({ n: Schema.Int, count: Schema.Int }),
  key: ({ n }) => `k${n}`,
  index: ["n"],
  evolve: {
    Counted: (document, { n }) => {
      evolved++
      return { n, count: (document?.count ?? 0) + 1 }
    }
  }
})
let evolved = 0

const start = Layer.build(Projector.layerInline([counts], { repairInterval: "1 hour" }))

const stores = (options: Parameters<typeof PgStores.layerWith>[0] = {}) =>
  PgStores.layerWith(options).pipe(Layer.provideMerge(layerPostgres({ poolSize: 6 })))

/** Appends one event for each of the documents. */
const append = (documents: number) =>
  EventStore.append(Counted, "C-1", Array.from({ length: documents }, (_, n) => ({ _tag: "Counted" as const, n })))

/** Appends without the projection, which makes a gap. */
const appendWithoutIt = (n: number) =>
  Effect.flatMap(
    SqlClient,
    (sql) =>
      sql`select outcome from evsrc.append_one(true, 'C-2', null, null, gen_random_uuid(), 'Counted', 1, ${
        JSON.stringify({ n })
      }, '{}')`
  )

const stored = Effect.flatMap(
  SqlClient,
  (sql) =>
    sql<{ generation: string; key: string; count: number; entry: string }>`
    select generation, document.key, (document->>'count')::integer as count, entries.entry
      from evsrc.documents document left join evsrc.document_entries entries using (generation, key)
      order by 1, 2, 4`
)

/** Rejects a statement that writes more documents than a page has. */
const boundedWrites = (page: number) =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.andThen(
      sql.unsafe(`create function bounded() returns trigger language plpgsql as $$
        begin
          if (select count(*) from written) > ${page} then raise exception 'a statement writes more than a page'; end if;
          return null;
        end $$`),
      Effect.forEach(
        [["insert", "new"], ["update", "new"], ["delete", "old"]] as const,
        ([operation, rows]) =>
          sql.unsafe(`create trigger bounded_${operation} after ${operation} on evsrc.documents
            referencing ${rows} table as written for each statement execute function bounded()`)
      )
    ))

/** Runs an effect outside the caller's transaction. */
const outside = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    SqlClient,
    (sql) =>
      Effect.updateContext(effect, (context: Context.Context<R>) =>
        Context.omit(sql.transactionService)(context) as Context.Context<R>)
  )

/** Makes writes of documents wait while {@link whileClosed} runs, and records their transactions. */
const gate = Effect.flatMap(SqlClient, (sql) =>
  Effect.all([
    sql`create table public.writes (transaction xid8)`,
    sql`create function gate() returns trigger language plpgsql as '
      begin
        insert into public.writes values (pg_current_xact_id());
        perform pg_advisory_xact_lock_shared(4242);
        return coalesce(new, old);
      end'`,
    sql`create trigger gate before insert or update or delete on evsrc.documents for each row execute function gate()`
  ]))

const whileClosed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    SqlClient,
    (sql) => sql.withTransaction(Effect.andThen(sql`select pg_advisory_xact_lock(4242)`, outside(effect)))
  )

/** Waits until a write of a document waits, or what makes it has failed. */
const atGate = <A, E>(writer: Fiber.Fiber<A, E>) =>
  Effect.flatMap(
    SqlClient,
    (sql) =>
      Effect.raceFirst(
        Effect.repeat(
          sql`select from pg_locks where locktype = 'advisory' and objid = 4242 and not granted
            and database = (select oid from pg_database where datname = current_database())`,
          { until: (waiting) => waiting.length > 0, schedule: Schedule.spaced("10 millis") }
        ),
        Fiber.join(writer)
      ).pipe(Effect.timeout("1 minute"))
  )

/** Provides stores whose migrations have more time than the stores. */
const withMaintenanceTimeout = (maintenanceTimeout: Duration.Input) =>
  Layer.fresh(PgStores.layerWithoutMigrations({ maintenanceTimeout })).pipe(
    Layer.provideMerge(Layer.fresh(stores()))
  )

describe("Inline projections on PostgreSQL", () => {
  it.live(
    "one whose repair waits for a client does not keep another from being repaired",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const Other = Schema.TaggedUnion({ Noted: {} })
        const notes = Projection.make("notes", {
          events: Other,
          lifecycle: "inline",
          document: Schema.Int,
          key: () => "all",
          evolve: { Noted: (n) => (n ?? 0) + 1 }
        })
        yield* Layer.build(Projector.layerInline([counts, notes], { repairInterval: "20 millis" }))
        const client = yield* Effect.forkScoped(sql.withTransaction(Effect.andThen(
          sql`select outcome from evsrc.append_one(true, 'C-3', null, null, gen_random_uuid(), 'Counted', 1, '{"n":5}', '{}')`,
          Effect.never
        )))
        yield* Effect.repeat(
          sql`select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'`,
          { until: (rows) => rows.length > 0 }
        )
        yield* appendWithoutIt(1)
        yield* sql`select outcome from evsrc.append_one(true, 'N-1', null, null, gen_random_uuid(), 'Noted', 1, '{}', '{}')`
        const read = ProjectionStore.get(notes, "all").pipe(
          Effect.retry({ while: (error) => "reason" in error && error.reason._tag === "ProjectionIncomplete" }),
          Effect.timeout("1 minute")
        )
        assert.deepStrictEqual(yield* read, Option.some(1))
        const { message } = yield* Effect.flip(ProjectionStore.get(counts, "k1"))
        assert.include(message, "counts", "the first one still has a gap")
        yield* Fiber.interrupt(client)
      }).pipe(Effect.scoped, Effect.provide(Layer.fresh(stores())))
  )

  it.live(
    "are made and repaired by statements of a page each",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* append(150)
        yield* boundedWrites(20)
        yield* start
        yield* appendWithoutIt(1)
        yield* sql`alter table evsrc.documents disable trigger user`
        yield* sql`update evsrc.documents set document = '{"n":0,"count":7}'`
        yield* sql`alter table evsrc.documents enable trigger user`
        assert.isTrue(yield* Projector.repairInline(counts))
        const documents = yield* stored
        assert.strictEqual(documents.length, 150)
        for (const { count, generation, key } of documents) {
          assert.strictEqual(generation, "counts@1")
          assert.strictEqual(count, key === "k1" ? 2 : 1)
        }
      }).pipe(
        Effect.provide(Layer.fresh(stores())),
        Effect.provideService(Limits, { ...Limits.defaultValue(), pageSize: 20 })
      )
  )

  it.live("leave the documents that a repair does not change, page by page", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* append(25)
      yield* start
      const revisions = sql<{ key: string; revision: bigint }>`select key, revision from evsrc.documents order by key`
      const before = new Map((yield* revisions).map(({ key, revision }) => [key, revision]))
      yield* sql`delete from evsrc.documents where key in ('k0', 'k24')`
      yield* sql`insert into evsrc.documents (generation, key, document, indexed, revision)
        select 'counts@1', added.key, document, indexed, 1
          from evsrc.documents made cross join unnest(array['a', 'b', 'c', 'k10x', 'z']) as added(key) where made.key = 'k1'`
      yield* appendWithoutIt(3)
      yield* appendWithoutIt(30)
      assert.isTrue(yield* Projector.repairInline(counts))
      const documents = yield* stored
      assert.deepStrictEqual(
        documents.map(({ count, key }) => `${key} ${count}`),
        Array.from({ length: 25 }, (_, n) => n).concat(30).map((n) => `k${n} ${n === 3 ? 2 : 1}`).toSorted()
      )
      assert.strictEqual((yield* sql`select from evsrc.document_entries`).length, 26)
      const changed = (yield* revisions).flatMap(({ key, revision }) => before.get(key) === revision ? [] : [key])
      assert.deepStrictEqual(changed, ["k0", "k24", "k3", "k30"])
    }).pipe(
      Effect.provide(Layer.fresh(stores())),
      Effect.provideService(Limits, { ...Limits.defaultValue(), pageSize: 3 })
    ))

  /** Holds the lock of a program that makes the documents, while an effect runs. */
  const whileMade = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(SqlClient, (sql) =>
      sql.withTransaction(
        sql`select pg_advisory_xact_lock('evsrc.inline_projections'::regclass::oid::integer, hashtext('counts@1'))`
          .pipe(
            Effect.andThen(
              Effect.updateContext(
                effect,
                (context: Context.Context<R>) => Context.omit(sql.transactionService)(context) as Context.Context<R>
              )
            )
          )
      ))

  it.live(
    "wait without a connection while another program makes them, and health says which",
    () =>
      Effect.gen(function*() {
        yield* append(3)
        const starting = yield* whileMade(Effect.gen(function*() {
          const starting = yield* Effect.forkDetach(Effect.scoped(start))
          yield* Effect.sleep("1 second")
          assert.isUndefined(starting.pollUnsafe())
          const { reasons } = yield* Health.of([counts])
          assert.match(
            reasons.join(),
            /"counts@1" are being made from the log by the session \d+ \(application ".*", since 2/
          )
          return starting
        }))
        yield* Fiber.join(starting)
        assert.strictEqual((yield* Health.of([counts])).status, "green")
      }).pipe(Effect.provide(Layer.fresh(stores({ lockTimeout: "300 millis" }))))
  )

  it.live(
    "fail to start when another program makes them for longer than maintenanceTimeout",
    () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(whileMade(Effect.scoped(start)))
        assert.strictEqual(error._tag === "EventStoreError" && error.reason._tag, "StoreUnavailable")
        assert.match(error.message, /being made by the session \d+ .* has waited 2s \(maintenanceTimeout\)/)
      }).pipe(Effect.provide(withMaintenanceTimeout("2 seconds")))
  )

  it.live("are removed page by page when retired, while appends go on", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* append(150)
      yield* Effect.scoped(start)
      yield* gate
      const retiring = yield* whileClosed(Effect.gen(function*() {
        const retiring = yield* Effect.forkDetach(Projector.retireInline("counts@1"))
        yield* atGate(retiring)
        yield* EventStore.append(Counted, "D-1", [{ _tag: "Counted", n: 1 }])
        return retiring
      }))
      assert.isTrue(yield* Fiber.join(retiring))
      assert.deepStrictEqual(yield* stored, [])
      const [pages] = yield* sql<{ count: bigint }>`select count(distinct transaction) from writes`
      assert.strictEqual(pages?.count, 8n)
    }).pipe(
      Effect.provide(Layer.fresh(stores())),
      Effect.provideService(Limits, { ...Limits.defaultValue(), pageSize: 20 })
    ))

  it.live(
    "name the session whose append keeps their types locked for longer than maintenanceTimeout",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const error = yield* Effect.flip(sql.withTransaction(
          Effect.andThen(
            appendWithoutIt(1),
            outside(Effect.scoped(start))
          )
        ))
        assert.match(
          error.message,
          /"counts@1" waited 2s \(maintenanceTimeout\) for a lock on a type .*, held by the session \d+ \(/
        )
      }).pipe(Effect.provide(withMaintenanceTimeout("2 seconds")))
  )

  it.live(
    "fold each event once, and keep no append out, while an append of their type stays open",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* append(30)
        evolved = 0
        const starting = yield* sql.withTransaction(Effect.andThen(
          appendWithoutIt(1),
          outside(Effect.gen(function*() {
            const starting = yield* Effect.forkDetach(Effect.scoped(start))
            for (let stream = 0; stream < 10; stream++) {
              yield* EventStore.append(Counted, `D-${stream}`, [{ _tag: "Counted", n: 1 }])
              yield* Effect.sleep("50 millis")
            }
            assert.isUndefined(starting.pollUnsafe())
            return starting
          }))
        ))
        yield* Fiber.join(starting)
        assert.strictEqual(evolved, 41)
        assert.strictEqual((yield* stored).find(({ key }) => key === "k1")?.count, 12)
      }).pipe(Effect.provide(Layer.fresh(stores())))
  )

  it.live("keep no append out while they fold what is above an append of another type", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* gate
      yield* sql.withTransaction(Effect.andThen(
        sql`select outcome from evsrc.append_one(true, 'O-1', null, null, gen_random_uuid(), 'Other', 1, '{}', '{}')`,
        outside(Effect.gen(function*() {
          yield* append(60)
          const starting = yield* whileClosed(Effect.gen(function*() {
            const starting = yield* Effect.forkDetach(Effect.scoped(start))
            yield* atGate(starting)
            yield* EventStore.append(Counted, "D-1", [{ _tag: "Counted", n: 1 }])
            return starting
          }))
          yield* Fiber.join(starting)
        }))
      ))
      assert.strictEqual((yield* stored).find(({ key }) => key === "k1")?.count, 2)
    }).pipe(
      Effect.provide(Layer.fresh(stores())),
      Effect.provideService(Limits, { ...Limits.defaultValue(), pageSize: 20 })
    ))
})
