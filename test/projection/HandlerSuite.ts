/**
 * The conformance suite of projections that write tables of the user's own: for back ends with an `SqlClient`, which the stores share.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { storeError, StoreUnavailable } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import type { Receipt } from "../../src/core/Receipt.ts"
import * as Event from "../../src/event/Event.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"
import { includes, reasonOf } from "./assertions.ts"
import { handlerRetries } from "./HandlerRetrySuite.ts"
import { inlineHandlerOrder } from "./inline/InlineOrderSuite.ts"

const SaleEvent = Schema.TaggedUnion({
  Sold: { run: Schema.String, n: Schema.Int },
  Returned: { run: Schema.String, n: Schema.Int },
  Counted: { run: Schema.String }
}).pipe(Event.tags({ run: "run" }))

const quick = { retryDelay: { first: "10 millis", max: "20 millis" } } as const
const none = Schedule.recurs(0)

/** A table with a row for every time that an event was handled. */
const makeTable = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const name = unique("sales")
  yield* sql`create table ${sql(name)} (position bigint not null, n integer not null)`
  return name
})

const insert = (table: string, { position }: { readonly position: bigint }, n: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into ${sql(table)} ${sql.insert({ position, n })}`)

/** What was handled, in the order of the log. */
const rowsOf = (table: string) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) =>
      Effect.map(
        sql<{ readonly n: number }>`select n from ${sql(table)} order by position, n`,
        (rows) => rows.map(({ n }) => n)
      )
  )

const raise = (code: string) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql.unsafe(`do $$ begin raise exception 'raised' using errcode = '${code}'; end $$`)
  )

interface Options<E, R> {
  /** Before the row is written. */
  readonly first?: (n: number) => Effect.Effect<unknown, E, R>
  readonly onFailure?: "park" | "stop"
  readonly partitions?: number
  readonly retry?: Schedule.Schedule<unknown, unknown>
  readonly retryTimeout?: Duration.Input
  readonly handlerTimeout?: Duration.Input
}

const sales = <E = never, R = never>(table: string, run: string, options: Options<E, R> = {}) => {
  const { first = () => Effect.void, ...rest } = options
  return Projection.handler(unique("sales"), {
    ...rest,
    events: SaleEvent,
    where: { tags: [Event.tag("run", run)] },
    handle: {
      Sold: ({ n }, record) => Effect.andThen(Effect.orDie(first(n)), insert(table, record, n)),
      Returned: ({ n }, record) => Effect.andThen(Effect.orDie(first(n)), insert(table, record, -n)),
      Counted: Projection.ignore
    }
  })
}

const sell = Effect.fnUntraced(function*(run: string, stream: string, ns: ReadonlyArray<number>) {
  const store = yield* EventStore
  return yield* store.append(
    SaleEvent,
    `${run}${stream}`,
    ns.map((n) =>
      n < 0 ? { _tag: "Returned", run, n: -n } : n === 0 ? { _tag: "Counted", run } : { _tag: "Sold", run, n }
    )
  )
})

const reached = (projection: Projection.AnyHandler, { position }: Receipt) =>
  Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "60 seconds"))

const parked = (projection: Projection.AnyHandler) =>
  Effect.flatMap(
    ProjectionStore.ProjectionStore,
    ({ [internals]: { driver } }) => driver.parked(projection.id, { limit: 100 })
  )

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores | SqlClient.SqlClient>> = [
  inlineHandlerOrder,
  ...handlerRetries,

  test("applies each event once, through restarts and competing workers", function*() {
    const table = yield* makeTable
    const run = unique("run")
    const projection = sales(table, run, { partitions: 2 })
    for (const round of upTo(4)) {
      yield* Effect.scoped(Effect.gen(function*() {
        const rival = Layer.fresh(Projector.layer([projection], { batchSize: 2, lease: "300 millis" }))
        yield* Effect.forEach(upTo(3), () => Layer.build(rival), { discard: true })
        yield* sell(run, "a", [round, 0, -round])
        const receipt = yield* sell(run, "b", [10 * round, 20 * round])
        // Every other round is cut off in the middle of whatever the workers are doing.
        if (round % 2 === 0) yield* reached(projection, receipt)
      }))
    }
    equal(yield* rowsOf(table), upTo(4).flatMap((n) => [n, -n, 10 * n, 20 * n]), "each once")
  }),

  test("rolls a batch back when the worker lost its partition or its checkpoint fails", function*() {
    const table = yield* makeTable
    const run = unique("run")
    const projection = sales(table, run)
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    let advances = 0
    const failing = Layer.effect(
      ProjectionStore.ProjectionStore,
      ProjectionStore.make({
        ...driver,
        advance: (request) =>
          Effect.suspend(() => {
            advances++
            return advances === 1
              ? Effect.succeed("lost" as const)
              : advances === 2
              ? Effect.fail(storeError(new StoreUnavailable({ message: "not now", cause: undefined })))
              : driver.advance(request)
          })
      }, { pollInterval: "20 millis" })
    )
    const receipt = yield* sell(run, "a", [1, 2, 3])
    yield* reached(projection, receipt).pipe(
      Effect.provide(Projector.layer([projection], quick).pipe(Layer.provide(failing)))
    )
    equal(Math.min(advances, 3), 3, "attempts to move the checkpoint, at least")
    equal(yield* rowsOf(table), [1, 2, 3], "each once")
  }),

  test("rolls a batch back when the worker is interrupted", function*() {
    const table = yield* makeTable
    const run = unique("run")
    const entered = yield* Deferred.make<void>()
    let hangs = true
    const projection = sales(table, run, {
      first: (n) => n === 2 && hangs ? Effect.andThen(Deferred.succeed(entered, undefined), Effect.never) : Effect.void
    })
    const receipt = yield* sell(run, "a", [1, 2, 3])
    yield* Effect.timeout(Deferred.await(entered), "1 minute").pipe(Effect.provide(Projector.layer([projection])))
    equal(yield* rowsOf(table), [], "after it was interrupted")
    hangs = false
    yield* reached(projection, receipt).pipe(Effect.provide(Projector.layer([projection])))
    equal(yield* rowsOf(table), [1, 2, 3], "each once")
  }),

  test("bounds a retry schedule without end, and then parks the key", function*() {
    const table = yield* makeTable
    const run = unique("run")
    let tries = 0
    const projection = sales(table, run, {
      retry: Schedule.spaced("100 millis"),
      retryTimeout: "2 seconds",
      first: (n) => n === 2 ? Effect.suspend(() => Effect.fail(`attempt ${++tries}`)) : Effect.void
    })
    yield* sell(run, "a", [1, 2, 3])
    const receipt = yield* sell(run, "b", [4, 5])
    yield* Effect.gen(function*() {
      yield* reached(projection, receipt)
      equal(yield* rowsOf(table), [1, 4, 5], "all but the stream from the event on")
      const [stream] = yield* parked(projection)
      equal([stream?.version, stream?.attempts, tries > 1], [2, tries, true], "the parked event and its attempts")
      // A retry that fails again adds its own attempts.
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      yield* driver.request(
        projection.id,
        { id: "test", action: "retry" },
        yield* driver.parkedPlaces(projection.id, { key: `${run}a` })
      )
      const [again] = yield* parked(projection).pipe(
        Effect.repeat({ until: ([one]) => one?.request === undefined, schedule: Schedule.spaced("20 millis") }),
        Effect.timeout("1 minute")
      )
      equal([again?.version, again?.attempts], [2, tries], "the attempts of both")
    }).pipe(Effect.provide(attentive(Projector.layer([projection]), projection)))
  }),

  ...(["interruptible", "uninterruptible"] as const).map((kind) =>
    test(`an ${kind} handler that never ends fails after its timeout, and parks its key only`, function*() {
      const table = yield* makeTable
      const run = unique("run")
      const end = yield* Deferred.make<void>()
      let [hangs, tries] = [true, 0]
      const waiting = Effect.suspend(() => {
        tries++
        return kind === "interruptible" ? Deferred.await(end) : Effect.uninterruptible(Deferred.await(end))
      })
      const projection = sales(table, run, {
        handlerTimeout: "200 millis",
        retry: Schedule.recurs(1),
        first: (n) => n === 2 && hangs ? waiting : Effect.void
      })
      yield* sell(run, "a", [1, 2, 3])
      const receipt = yield* sell(run, "b", [4, 5])
      yield* Effect.gen(function*() {
        yield* reached(projection, receipt)
        equal(yield* rowsOf(table), [1, 4, 5], "all but the stream from the event on")
        const [stream] = yield* parked(projection)
        equal([stream?.version, stream?.attempts, tries], [2, 2, 2], "the parked event and its attempts")
        includes(stream?.error ?? "", "its handler has not ended within 200ms (handlerTimeout)", "its error")
        // What the abandoned handlers write is not in a transaction of another event.
        yield* Deferred.succeed(end, undefined)
        hangs = false
        equal((yield* Parking.retryAll(projection)).retried, 1, "the number of retried keys")
        equal(yield* rowsOf(table), [1, 2, 3, 4, 5], "each once")
      }).pipe(
        Effect.ensuring(Deferred.succeed(end, undefined)),
        Effect.provide(attentive(Projector.layer([projection]), projection))
      )
    })
  ),

  test("an inline handler that never ends fails its append after its timeout", function*() {
    const run = unique("run")
    const projection = Projection.handler(unique("sales"), {
      events: SaleEvent,
      where: { tags: [Event.tag("run", run)] },
      lifecycle: "inline",
      handlerTimeout: "100 millis",
      handle: { Sold: () => Effect.never, Returned: () => Effect.void, Counted: Projection.ignore }
    })
    yield* Effect.gen(function*() {
      const error = yield* Effect.flip(sell(run, "a", [1]))
      includes(error.message, "its handler has not ended within 100ms (handlerTimeout)", "the error")
      equal((yield* sell(run, "a", [-1])).version, 1, "the version of the next append")
    }).pipe(Effect.provide(Projector.layerInline([projection])))
  }),

  ...[0, 2].map((retries) =>
    test(`handles an event at most twice, however many others fail after ${retries} retries`, function*() {
      const table = yield* makeTable
      const run = unique("run")
      const calls = new Map<number, number>()
      const isBroken = (n: number) => n % 3 === 0
      const projection = sales(table, run, {
        retry: Schedule.recurs(retries),
        first: (n) =>
          Effect.suspend(() => {
            calls.set(n, (calls.get(n) ?? 0) + 1)
            return isBroken(n) ? Effect.fail("broken") : Effect.void
          })
      })
      const ns = upTo(30)
      const receipts = yield* Effect.forEach(ns, (n) => sell(run, `s${n}`, [n]))
      yield* reached(projection, receipts.at(-1)!).pipe(
        Effect.provide(Projector.layer([projection], { ...quick, lease: "5 seconds" }))
      )
      equal(yield* rowsOf(table), ns.filter((n) => !isBroken(n)), "each of the others once")
      equal(ns.filter((n) => calls.get(n)! > 2 && !isBroken(n)), [], "handled more than twice")
      const failed = ns.filter(isBroken)
      equal(failed.map((n) => calls.get(n)), failed.map(() => retries + 1), "attempts at those that fail")
      const streams = yield* parked(projection)
      equal(streams.map(({ attempts }) => attempts), failed.map(() => retries + 1), "the attempts of the parked events")
    })
  ),

  test("a transaction that awaits a projection for its own append fails at once", function*() {
    const run = unique("run")
    const sql = yield* SqlClient.SqlClient
    const other = sales(yield* makeTable, run)
    const awaitIn = Effect.fnUntraced(function*(stream: string) {
      const { position } = yield* sell(run, stream, [1])
      const store = yield* ProjectionStore.ProjectionStore
      return yield* Effect.exit(store.awaitPosition(other, position, "60 seconds"))
    })
    const failures: Array<unknown> = []
    const projection = Projection.handler(unique("chain"), {
      events: SaleEvent,
      where: { tags: [Event.tag("run", run)], streamPrefix: `${run}a` },
      // An append within the handler joins the transaction that moves the checkpoint.
      handle: {
        Sold: () => Effect.map(awaitIn("b"), (exit) => failures.push(exit)),
        Returned: Projection.ignore,
        Counted: Projection.ignore
      }
    })
    yield* Effect.gen(function*() {
      failures.push(yield* sql.withTransaction(awaitIn("c")))
      yield* reached(projection, yield* sell(run, "a", [1]))
      const reasons = failures.map((exit) =>
        Exit.isExit(exit) && Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "no failure"
      )
      equal(reasons.map((one) => one.includes("has not committed yet")), [true, true], reasons.join())
      // After the commit the same wait ends.
      yield* reached(other, yield* sell(run, "d", [1]))
    }).pipe(
      Effect.provide(Projector.layer([projection, other])),
      Effect.timeout("1 minute")
    )
  }),

  test("retries a failing event by its policy, rolls it back, and parks its stream", function*() {
    const table = yield* makeTable
    const run = unique("run")
    const tries = { 2: 0, 5: 0 }
    let healed = false
    const projection = sales(table, run, {
      retry: Schedule.recurs(2),
      first: (n) =>
        Effect.suspend((): Effect.Effect<unknown, unknown, SqlClient.SqlClient> => {
          if (healed || (n !== 2 && n !== 5)) return Effect.void
          tries[n]++
          // One fails within the database, which then takes no statement more; the other one passes in the end.
          return n === 2 ? raise("P0001") : tries[5] <= 2 ? Effect.fail("not yet") : Effect.void
        })
    })
    yield* sell(run, "a", [1, 2, 3])
    const receipt = yield* sell(run, "b", [4, 5])
    yield* Effect.gen(function*() {
      yield* reached(projection, receipt)
      equal(yield* rowsOf(table), [1, 4, 5], "all but the stream from the event on")
      equal(tries, { 2: 3, 5: 3 }, "how often")
      const [stream, ...others] = yield* parked(projection)
      equal([stream?.stream, stream?.version, others.length], [`${run}a`, 2, 0], "what is parked")
      healed = true
      const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
      yield* driver.request(
        projection.id,
        { id: "test", action: "retry" },
        yield* driver.parkedPlaces(projection.id, { key: `${run}a` })
      )
      yield* parked(projection).pipe(
        Effect.repeat({ until: (left) => left.length === 0, schedule: Schedule.spaced("20 millis") }),
        Effect.timeout("1 minute")
      )
      equal(yield* rowsOf(table), [1, 2, 3, 4, 5], "once it can be handled, all of it, once")
    }).pipe(Effect.provide(attentive(Projector.layer([projection]), projection)))
  }),

  test("parks a stream at its first failing event, although a later one failed before", function*() {
    const table = yield* makeTable
    const run = unique("run")
    let seen = 0
    const projection = sales(table, run, {
      retry: none,
      // The first fails once, after the second has.
      first: (n) => Effect.suspend(() => n === 2 || (n === 1 && ++seen === 2) ? Effect.fail("no luck") : Effect.void)
    })
    yield* sell(run, "a", [1, 2, 3])
    const receipt = yield* sell(run, "b", [4])
    yield* reached(projection, receipt).pipe(Effect.provide(Projector.layer([projection], quick)))
    equal(yield* rowsOf(table), [4], "the other stream")
    equal((yield* parked(projection)).map(({ version }) => Number(version)), [1], "where the stream is parked")
  }),

  test("retries two events that fail in turn a limited number of times", function*() {
    const table = yield* makeTable
    const run = unique("run")
    let turn = 0
    const projection = sales(table, run, {
      retry: Schedule.recurs(3),
      first: (n) => Effect.suspend(() => n < 3 && turn % 2 === n - 1 ? Effect.fail(`turn ${++turn}`) : Effect.void)
    })
    yield* sell(run, "a", [1])
    yield* sell(run, "b", [2])
    const receipt = yield* sell(run, "c", [3])
    yield* reached(projection, receipt).pipe(Effect.provide(Projector.layer([projection], quick)))
    equal(Math.max(turn, 8), 8, "attempts, four at most for each")
  }),

  test("stops at a failing event after the events before it, with onFailure stop", function*() {
    const table = yield* makeTable
    const run = unique("run")
    let healed = false
    const projection = sales(table, run, {
      retry: none,
      onFailure: "stop",
      first: (n) => n === 2 && !healed ? Effect.die(new Error("no luck")) : Effect.void
    })
    yield* sell(run, "a", [1, 2])
    const receipt = yield* sell(run, "b", [3])
    yield* Effect.gen(function*() {
      const [stuck] = yield* (yield* Projector.Projector).status.pipe(
        Effect.repeat({ until: ([s]) => s?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("1 minute")
      )
      includes(stuck?.detail, "no luck", "why it is stuck")
      equal(yield* rowsOf(table), [1], "what comes before")
      healed = true
      yield* reached(projection, receipt)
      equal(yield* rowsOf(table), [1, 2, 3], "once it can, it goes on, skipping nothing")
    }).pipe(Effect.provide(Projector.layer([projection], quick)))
  }),

  test("parks nothing when the database fails", function*() {
    const table = yield* makeTable
    const run = unique("run")
    // A serialization failure, a deadlock, a full disk, a shutdown.
    const codes = ["40001", "40P01", "53100", "57P01"]
    const projection = sales(table, run, {
      retry: none,
      first: (n) => {
        const code = n === 2 ? codes.shift() : undefined
        return code === undefined ? Effect.void : Effect.mapError(raise(code), (cause) => ({ _tag: "Mine", cause }))
      }
    })
    const receipt = yield* sell(run, "a", [1, 2, 3])
    yield* reached(projection, receipt).pipe(Effect.provide(Projector.layer([projection], quick)))
    equal(yield* rowsOf(table), [1, 2, 3], "each once")
    equal(codes, [], "all of them have come to pass")
    equal(yield* parked(projection), [], "what is parked")
  }),

  test("rejects an SqlClient that is not the projection store's", function*() {
    const run = unique("run")
    const table = yield* makeTable
    const sql = yield* SqlClient.SqlClient
    const other = Layer.succeed(
      SqlClient.SqlClient,
      Object.assign(() => undefined, {
        ...sql,
        transactionService: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>(
          unique("another client")
        )
      }) as never
    )
    const inline = Projection.handler(unique("inline"), {
      events: SaleEvent,
      lifecycle: "inline",
      handle: { Sold: Projection.ignore, Returned: Projection.ignore, Counted: Projection.ignore }
    })
    const rejects = <A, E, R>(layer: Layer.Layer<A, E, R>) =>
      Effect.map(
        Effect.exit(Effect.scoped(Layer.build(Layer.fresh(layer).pipe(Layer.provide(other))))),
        (exit) =>
          includes(
            Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "built",
            "the SqlClient of the projection store",
            "why the layer dies"
          )
      )
    yield* rejects(Projector.layer([sales(table, run)]))
    yield* rejects(Projector.layerInline([inline]))
  }),

  test("commits the writes of an inline handler with the append, or neither", function*() {
    const table = yield* makeTable
    const run = unique("run")
    const inline = (name: string, where: { readonly streamPrefix: string }) =>
      Projection.handler(unique(name), {
        events: SaleEvent,
        lifecycle: "inline",
        where,
        handle: {
          Sold: ({ n }, record) =>
            Effect.andThen(insert(table, record, n), n === 13 ? Effect.die("no luck") : Effect.void),
          Returned: Projection.ignore,
          Counted: ({ run }) => Effect.andThen(insert(table, { position: 0n }, 0), Effect.die(new Error(run)))
        }
      })
    yield* Effect.gen(function*() {
      yield* sell(run, "a", [1, -2, 3])
      equal(yield* rowsOf(table), [1, 3], "when the append has returned")
      yield* sell(run, "b", [4, 13])
      equal(yield* rowsOf(table), [1, 3], "nothing of other streams")
      for (const n of [13, 0]) {
        const error = yield* Effect.flip(sell(run, "a", [5, n]))
        equal(reasonOf(error), "ConsumerFailed", "the error of the append")
      }
      const { readStreamEncoded } = yield* EventStore
      equal((yield* Stream.runCollect(readStreamEncoded(`${run}a`))).length, 3, "the events")
      equal(yield* rowsOf(table), [1, 3], "what is written")
    }).pipe(Effect.provide(Projector.layerInline([inline("inline", { streamPrefix: `${run}a` })])))
  })
]
