/**
 * A rebuild under load: readers and writers continue, and readers see only that wrong documents become right.
 *
 * `REBUILD_EVENTS` sets the number of events before the rebuild, and makes the test print its figures.
 */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Option, Random, Redacted, References, Schema, Stream } from "effect"
import { EventStore, Projection, ProjectionStore, Projector, Rebuild } from "evsrc"
import { PgStores } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"

const requestedSize = process.env["REBUILD_EVENTS"]
const size = Number(requestedSize ?? 20_000)
const accounts = Math.ceil(size / 50)
const readers = 8
const writers = 2

const Tallied = Schema.TaggedUnion({ Tallied: { id: Schema.String, amount: Schema.Int } })

const Tally = Schema.Struct({ id: Schema.String, count: Schema.Int, total: Schema.Int })

const Tallies = Projection.make("tallies", {
  events: Tallied,
  document: Tally,
  key: (event) => event.id,
  evolve: {
    Tallied: (tally, { amount, id }) => ({ id, count: (tally?.count ?? 0) + 1, total: (tally?.total ?? 0) + amount })
  }
})

const fill = (sql: PgClient.PgClient) =>
  Effect.andThen(sql`set local session_replication_role = replica`, insertTallies(sql)).pipe(sql.withTransaction)

const insertTallies = (sql: PgClient.PgClient) =>
  sql`insert into evsrc.events (position, stream, version, type, schema_version, id, data, metadata, recorded_at)
    select nextval('evsrc.positions'), 'Tally-' || n % ${accounts}, 1 + n / ${accounts}, 'Tallied', 1, gen_random_uuid(),
        json_build_object('id', 'a' || n % ${accounts}, 'amount', n % 97), '{}', clock_timestamp()
      from generate_series(0, ${size - 1}) as n`

/** Returns the expected documents, computed without the code under test. */
const expectedDocuments = (sql: PgClient.PgClient) =>
  sql<
    typeof Tally.Type
  >`select data->>'id' as id, count(*)::integer as count, sum((data->>'amount')::integer)::integer as total
    from evsrc.events group by data->>'id' order by (data->>'id') collate "C"`

const documents = Stream.paginate(undefined, (after: string | undefined) =>
  Effect.map(
    ProjectionStore.list(Tallies, { after, limit: 1000 }),
    ({ items, next }) => [items, next] as const
  ))

/** Reads documents and pages until its interruption. Collects the durations, the failures and the documents older than ones already read. */
const read = (durations: Array<number>, reads: { failed: Array<unknown>; older: Array<string> }) =>
  Effect.gen(function*() {
    const seen = new Map<string, number>()
    const compare = (tallies: ReadonlyArray<typeof Tally.Type>) => {
      for (const { count, id } of tallies) {
        const before = seen.get(id) ?? 0
        if (count < before) reads.older.push(`${id}: ${count} after ${before}`)
        seen.set(id, count)
      }
    }
    while (true) {
      const id = `a${yield* Random.nextIntBetween(0, accounts)}`
      const began = performance.now()
      const found = yield* Effect.exit(
        (yield* Random.nextBoolean)
          ? Effect.map(ProjectionStore.get(Tallies, id), Option.toArray)
          : Effect.map(
            ProjectionStore.list(Tallies, { orderBy: { direction: "desc" }, limit: 20 }),
            ({ items }) => items
          )
      )
      durations.push(performance.now() - began)
      if (found._tag === "Success") compare(found.value)
      else reads.failed.push(found.cause)
    }
  })

const write = (n: number) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    while (true) {
      const id = `a${yield* Random.nextIntBetween(0, accounts)}`
      yield* store.append(Tallied, `Late-${n}-${id}`, [{ _tag: "Tallied", id, amount: 1 }])
    }
  })

it.live(
  "a rebuild fails no reader or writer, and shows no older document",
  () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      // Each acts as a process with its own connections.
      const process = Effect.suspend(() =>
        Layer.build(
          Layer.fresh(PgStores.layer).pipe(
            Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })))
          )
        )
      )
      const [live, other] = [yield* process, yield* process]
      const sql = yield* Effect.provideContext(PgClient.PgClient, live)
      yield* fill(sql)
      yield* sql`analyze evsrc.events`
      const { head } = yield* Effect.provideContext(EventStore.EventStore, live)
      const store = yield* Effect.provideContext(ProjectionStore.ProjectionStore, live)
      const figures: Record<string, unknown> = { events: size, documents: accounts }

      yield* Effect.gen(function*() {
        yield* store.awaitPosition(Tallies, yield* head, "30 minutes")
        yield* sql`update evsrc.documents set document = json_build_object('id', key, 'count', (document->>'count')::integer, 'total', -1)
        where generation = ${Tallies.id} and key like '%7'`
        const durations: Array<number> = []
        const reads = { failed: new Array<unknown>(), older: new Array<string>() }
        const reading = yield* Effect.forEach(
          Array.from({ length: readers }),
          () => Effect.forkChild(read(durations, reads))
        )
        const writing = yield* Effect.forEach(
          Array.from({ length: writers }, (_, n) => n),
          (n) => Effect.forkChild(write(n))
        )
        const phases: Record<string, number> = {}
        const progress = yield* Rebuild.rebuild(Tallies, { compare: true }).pipe(
          Stream.tap(({ elapsed, phase }) =>
            Effect.sync(() => {
              phases[phase] = Duration.toSeconds(elapsed)
            })
          ),
          Stream.runCollect,
          Effect.provideContext(other)
        )
        // Readers continue after the cut-over, until they can see events appended after it.
        yield* store.awaitPosition(Tallies, yield* head, "10 minutes")
        yield* Effect.forEach(writing, Fiber.interrupt)
        yield* store.awaitPosition(Tallies, yield* head, "10 minutes")
        yield* Effect.forEach(reading, Fiber.interrupt)

        const last = progress.at(-1)
        assert.strictEqual(last?.phase, "cut-over")
        assert.deepStrictEqual(reads.failed, [])
        assert.deepStrictEqual(reads.older, [])
        assert.isAbove(durations.length, 100)
        const differences = progress.flatMap(({ compared }) => compared?.differences ?? [])
        assert.sameMembers(
          differences.filter(({ _tag }) => _tag === "Different").map(({ key }) => key),
          Array.from({ length: accounts }, (_, n) => `a${n}`).filter((id) => id.endsWith("7"))
        )
        const [right, found] = [yield* expectedDocuments(sql), yield* Stream.runCollect(documents)]
        assert.deepStrictEqual(found, right.map(({ count, id, total }) => ({ id, count, total })))
        const sorted = durations.toSorted((a, b) => a - b)
        Object.assign(figures, {
          eventsAtTheEnd: right.reduce((sum, { count }) => sum + count, 0),
          secondsAtTheEndOf: phases,
          reads: durations.length,
          readMilliseconds: [0.5, 0.99, 0.999, 1].map((q) => sorted[Math.ceil(q * sorted.length) - 1]?.toFixed(1)),
          unsettled: progress.findLast(({ compared }) => compared !== undefined)?.compared?.unsettled
        })
      }).pipe(
        Effect.provide(Projector.layer([Tallies])),
        Effect.provideContext(live),
        Effect.provideService(References.MinimumLogLevel, "None")
      )
      if (requestedSize !== undefined) yield* Effect.sync(() => console.log(figures))
    }),
  requestedSize === undefined ? 120_000 : 3_600_000
)
