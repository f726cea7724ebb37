/** A log that is set back while programs run: a restored copy of the data directory, a dump, a restart, a crash. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Redacted, Schedule, Schema, Stream } from "effect"
import {
  Aggregate,
  Checkpoints,
  Command,
  CommandBus,
  DeliveryAudit,
  Event,
  EventQuery,
  EventStore,
  EventStoreError,
  Health,
  LogPosition,
  Position,
  Projection,
  ProjectionStore,
  Projector,
  Query,
  QueryBus,
  Rebuild,
  Subscription
} from "evsrc"
import { PgEventStore, PgProjectionStore, PgStores } from "evsrc/pg"
import * as PageReader from "../../src/consumer/page/PageReader.ts"
import { internals } from "../../src/core/internals.ts"
import { freshDatabase } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as PostgresTools from "../support/PostgresTools.ts"

const Counted = Schema.TaggedUnion({ Added: { id: Schema.String, n: Schema.Int } }).pipe(Event.tags({ counter: "id" }))
const Add = Command.make("Add", { payload: { id: Schema.String, n: Schema.Int } })
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Struct({ sum: Schema.Int }),
  events: Counted,
  commands: [Add]
}).decider({
  initial: { sum: 0 },
  evolve: { Added: (s, { n }) => ({ sum: s.sum + n }) },
  // The event carries the state on which it was decided, so that a decision on a lost state shows in the log.
  decide: { Add: (s, { id, n }) => [Counted.cases.Added.make({ id, n: s.sum * 100 + n })] }
})
const Sums = Projection.make("sums", {
  events: Counted,
  document: Schema.Struct({ id: Schema.String, sum: Schema.Int }),
  key: (e) => e.id,
  evolve: { Added: (sums, { id, n }) => ({ id, sum: (sums?.sum ?? 0) + n }) }
})
const GetSum = Query.make("GetSum", { payload: { id: Schema.String }, success: Schema.Int })

/** A subscription and the numbers that it handled. */
const mailOf = () => {
  const sent: Array<number> = []
  const mail = Subscription.make("mail", {
    events: Counted,
    handle: { Added: ({ n }) => Effect.sync(() => sent.push(n)) }
  })
  return { mail, sent }
}

const clientOf = (url: string) => Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 5 }))

/** A program with its log in one database and its read models in another; its consumers retry soon. */
const programOf = (log: string, readModels: string, mail: Subscription.Any) => {
  const stores = Layer.merge(
    PgEventStore.layer.pipe(Layer.provide(clientOf(log))),
    PgProjectionStore.layer.pipe(Layer.provide(clientOf(readModels)))
  )
  const options = { retryDelay: { first: "50 millis", max: "200 millis" }, lease: "5 seconds" } as const
  const sumOf = ({ id }: { readonly id: string }) =>
    Effect.map(ProjectionStore.get(Sums, id), (found) => found._tag === "None" ? 0 : found.value.sum)
  return Layer.mergeAll(
    Projector.layer([Sums], options),
    Subscription.layer([mail as ReturnType<typeof mailOf>["mail"]], options),
    Aggregate.layer(Counter),
    QueryBus.handler(GetSum, sumOf)
  ).pipe(Layer.provideMerge(stores))
}

const reasonOf = (error: unknown): string => error instanceof EventStoreError ? error.reason._tag : String(error)

const add = (id: string, n: number) => CommandBus.dispatch(Add, { id, n })
const raw = (id: string, n: number) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => store.append(Counted, `Counter-${id}`, [Counted.cases.Added.make({ id, n })])
  )
const numbers = (id: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) =>
      Effect.map(Stream.runCollect(store.readStream(Counted, `Counter-${id}`)), (all) => all.map((e) => e.event.n))
  )

/** Repeats an effect, also after failures, until its result is as expected. */
const until = <A, E, R>(what: string, self: Effect.Effect<A, E, R>, isExpected: (a: A) => boolean) =>
  Effect.exit(self).pipe(
    Effect.repeat({
      until: (exit) => exit._tag === "Success" && isExpected(exit.value),
      schedule: Schedule.spaced("50 millis")
    }),
    Effect.timeoutOrElse({ duration: "60 seconds", orElse: () => Effect.die(new Error(`never happened: ${what}`)) })
  )

const statusOf = (mail: Subscription.Any) => Health.of([Sums, mail], { heartbeatTimeout: "10 seconds" })

/** The pool may still have connections that were cut. */
const reachable = (store: EventStore.EventStore["Service"]) => until("a connection", store.head, () => true)

/** Loses an event, as a failover does that lost the last commit. */
const lose = Effect.fnUntraced(function*(position: Position.Position) {
  const sql = yield* PgClient.PgClient
  for (const table of ["events", "event_tags"]) {
    yield* sql`alter table evsrc.${sql.literal(table)} disable trigger user`
    yield* sql`delete from evsrc.${sql.literal(table)} where position = ${position}`
    yield* sql`alter table evsrc.${sql.literal(table)} enable trigger user`
  }
})

describe("a log that was set back", () => {
  it.live(
    "is detected by a running program, also when positions and versions coincide",
    () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.make({ settings: { fsync: "off" } })
        const { url: readModels } = yield* freshDatabase
        const { mail, sent } = mailOf()
        yield* Effect.gen(function*() {
          const store = yield* EventStore.EventStore
          yield* add("a", 1)
          yield* add("b", 1)
          const kept = yield* store.head
          yield* server.stop
          yield* server.saveData
          yield* server.start
          yield* reachable(store)

          // These three are lost. The program has the states, and has read, projected and mailed the events.
          const lost = yield* add("a", 2)
          yield* add("b", 2)
          yield* add("c", 2)
          const lostCondition =
            (yield* store.readByQuery(EventQuery.ofStoredTypes([{ tags: ["counter:a"] }]))).condition
          assert.strictEqual(yield* QueryBus.ask(GetSum, { id: "a" }, { after: lost }), 103)
          yield* until("the mail", Effect.sync(() => sent.length), (n) => n === 5)
          yield* until("health", statusOf(mail), ({ status }) => status === "green")
          const listener = yield* Effect.forkChild(
            Effect.exit(Stream.runDrain(store.subscribe(Counted, { after: kept })))
          )

          yield* server.stop
          yield* server.restoreData
          yield* server.start
          yield* reachable(store)
          // Another process appends: the same streams, versions and positions, and other events.
          yield* Effect.forEach(["a", "b", "c"], (id) => raw(id, 7)).pipe(
            Effect.provide(PgEventStore.layer.pipe(Layer.provide(clientOf(server.url))))
          )
          assert.strictEqual(yield* store.head, Position.make(kept + 3n), "the positions come again")

          const decided = yield* add("a", 3)
          assert.strictEqual(decided.version, 3)
          assert.deepStrictEqual(yield* numbers("a"), [1, 7, 803], "decided on the state of this log")
          const condition = yield* Effect.flip(
            store.appendIf(lostCondition, Counted, "Counter-d", [Counted.cases.Added.make({ id: "a", n: 1 })])
          )
          assert.strictEqual(reasonOf(condition), "LogDiverged")
          for (const after of [lost, LogPosition.ofReceipt(lost), decided]) {
            const error = yield* Effect.flip(QueryBus.ask(GetSum, { id: "a" }, { after, timeout: "1 second" }))
            assert.strictEqual(reasonOf(error), "LogDiverged", "the receipt, or what the projection applied, is lost")
          }
          const cursor = LogPosition.ofReceipt(lost)
          const resumed = yield* Effect.flip(Stream.runDrain(store.subscribe(Counted, { after: cursor })))
          assert.strictEqual(reasonOf(resumed), "LogDiverged")
          assert.strictEqual(
            (yield* Fiber.join(listener))._tag,
            "Failure",
            "a subscriber does not wait for lost positions"
          )

          const red = yield* until(
            "both consumers stop",
            statusOf(mail),
            ({ consumers }) => consumers.every(({ status }) => status === "red")
          )
          assert.strictEqual(red._tag, "Success")
          const { reasons } = yield* statusOf(mail)
          for (const consumer of ["sums@1", "subscription:mail@1"]) {
            assert.isTrue(
              reasons.some((reason) => reason.startsWith(consumer) && reason.includes("does not have event"))
            )
          }
          const status = yield* Effect.flatMap(Projector.Projector, (projector) => projector.status)
          assert.deepStrictEqual(status.map(({ state }) => state), ["stuck"])
          assert.strictEqual(sent.length, 5, "nothing is handled after lost events")

          // What an operator does.
          yield* Stream.runDrain(Rebuild.rebuild(Sums))
          assert.strictEqual(yield* QueryBus.ask(GetSum, { id: "a" }, { after: decided }), 811)
          const reset = yield* Checkpoints.reset(mail, kept)
          assert.deepStrictEqual(reset.from.map(({ position }) => position), [Position.make(kept + 3n)])
          yield* until("the mail of this log", Effect.sync(() => sent.slice(5)), (later) => later.length === 4)
          assert.deepStrictEqual(sent.slice(5), [7, 7, 7, 803])
          yield* until("health", statusOf(mail), ({ status }) => status === "green")
          assert.strictEqual((yield* DeliveryAudit.run(mail)).status, "complete")
        }).pipe(Effect.provide(programOf(server.url, readModels, mail)))
      }),
    180_000
  )

  it.live(
    "is detected when it lost an event but not later ones",
    () =>
      Effect.gen(function*() {
        const { mail, sent } = mailOf()
        const { url } = yield* freshDatabase
        const options = { retryDelay: { first: "50 millis", max: "200 millis" }, lease: "5 seconds" } as const
        yield* Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const both = yield* Effect.gen(function*() {
            for (const n of [1, 2, 3]) {
              yield* raw("a", n)
              yield* until("the mail", Effect.sync(() => sent.length), (length) => length === n)
            }
            // The event at the lower position is committed last.
            const lower = yield* sql.withTransaction(Effect.gen(function*() {
              const lower = yield* raw("slow", 4)
              yield* Effect.forkChild(raw("quick", 5)).pipe(
                Effect.flatMap(Fiber.join),
                Effect.updateContext((context: Context.Context<EventStore.EventStore>) =>
                  Context.omit(sql.transactionService)(context) as Context.Context<EventStore.EventStore>
                )
              )
              return lower
            }))
            yield* until("the mail", Effect.sync(() => sent.length), (length) => length === 5)
            return { lower }
          }).pipe(Effect.provide(Subscription.layer([mail], options)))
          assert.deepStrictEqual(sent, [1, 2, 3, 4, 5])

          yield* lose(both.lower.position)
          yield* Effect.gen(function*() {
            const { status } = yield* Subscription.Subscriptions
            yield* until(
              "it stops",
              status,
              ([one]) => one?.state === "stuck" && one.detail?.includes("1 of the events") === true
            )
            const { reasons } = yield* Health.of([mail])
            assert.include(reasons.join(), "1 of the events")
            yield* raw("a", 6)
            assert.strictEqual(sent.length, 5)
          }).pipe(Effect.provide(Subscription.layer([mail], options)))
        }).pipe(Effect.provide(PgStores.layer.pipe(Layer.provideMerge(clientOf(url)))))
      })
  )

  it.live("is detected when it lost an event of the first page that a reader has read", () =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const [first] = [yield* raw("a", 1), yield* raw("b", 2)]
      const reader = PageReader.make({ driver, filter: {}, batchSize: 10, maxBatchSize: 10 })
      const { events, head, headCount, headEventId } = yield* reader.read(LogPosition.make(Position.start, undefined))
      assert.strictEqual(events.length, 2)
      const checkpoint = LogPosition.make(head, headEventId, headCount)
      assert.strictEqual((yield* reader.read(checkpoint)).events.length, 0, "a log that was not set back")
      yield* lose(first!.position)
      assert.strictEqual(reasonOf(yield* Effect.flip(reader.read(checkpoint))), "LogDiverged")
    }).pipe(
      Effect.provide(
        PgEventStore.layer.pipe(Layer.provideMerge(Layer.unwrap(Effect.map(freshDatabase, ({ url }) => clientOf(url)))))
      )
    ))

  it.live("is not a log whose server was restarted or killed", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      const { url: readModels } = yield* freshDatabase
      const { mail, sent } = mailOf()
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const first = yield* add("a", 1)
        for (const end of [server.stop, server.kill]) {
          const writers = yield* Effect.forEach(["x", "y", "z"], (id) =>
            Effect.forkChild(Effect.forever(Effect.exit(add(id, 0)))))
          yield* until("appends", store.head, (head) =>
            head > first.position + 50n)
          yield* end
          yield* server.start
          yield* reachable(store)
          yield* until("appends again", numbers("x"), ({ length }) => length > 0)
          yield* Effect.forEach(writers, Fiber.interrupt)
          const last = yield* add("a", 1)
          assert.isAbove(yield* QueryBus.ask(GetSum, { id: "a" }, { after: last, timeout: "30 seconds" }), 0)
          yield* QueryBus.ask(GetSum, { id: "a" }, { after: first })
          yield* until("health", statusOf(mail), ({ status }) => status === "green")
        }
        assert.isAbove(sent.length, 0)
        assert.strictEqual((yield* DeliveryAudit.run(Sums)).status, "complete")
        assert.deepStrictEqual(yield* numbers("a"), [1, 101, 10_201])
      }).pipe(Effect.provide(programOf(server.url, readModels, mail)))
    }), 180_000)

  it.live("is not a log that was dumped and restored, except after the end of the dump", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ binaries: PostgresTools.folder ?? "" })
      const url = (name: string) => server.url.replace(/postgres$/, name)
      const sql = PgClient.layer({ url: Redacted.make(server.url) })
      yield* Effect.provide(
        Effect.gen(function*() {
          const client = yield* PgClient.PgClient
          yield* client`create database one`
          yield* client`create database two`
        }),
        sql
      )
      const storesOf = (name: string) => PgStores.layer.pipe(Layer.provide(clientOf(url(name))))
      const { kept, lost } = yield* Effect.gen(function*() {
        const kept = yield* raw("a", 1)
        yield* PostgresTools.dumpAndRestore(url("one"), url("two"))
        return { kept, lost: yield* raw("a", 2) }
      }).pipe(Effect.provide(storesOf("one")))
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        yield* raw("a", 3)
        const after = (receipt: typeof kept) =>
          Stream.runCollect(store.readAll(Counted, { after: LogPosition.ofReceipt(receipt) }))
        assert.deepStrictEqual((yield* after(kept)).map((e) => e.event.n), [3])
        assert.strictEqual(reasonOf(yield* Effect.flip(after(lost))), "LogDiverged")
      }).pipe(Effect.provide(storesOf("two")))
    }), { ...PostgresTools.needed, timeout: 180_000 })
})
