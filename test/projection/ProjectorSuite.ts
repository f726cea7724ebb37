/**
 * Projections, inline and asynchronous, on every store.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import { EventStore, make as makeEventStore } from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Query from "../../src/query/Query.ts"
import * as QueryBus from "../../src/query/QueryBus.ts"
import {
  AccountDecider,
  AccountEvent,
  accounts,
  Deposit,
  Open,
  type Stores,
  upTo,
  Wealth,
  wealth,
  Withdraw
} from "../support/AccountFixtures.ts"
import { includes, reasonOf } from "./assertions.ts"

const totals = <P extends Projection.Any>(projection: P, owner: string) =>
  Effect.map(ProjectionStore.get(projection, owner), Option.getOrUndefined)

/**
 * Projections, inline and asynchronous.
 *
 * @since 0.1.0
 * @category suites
 */
export const projections: ReadonlyArray<Case<Stores>> = [
  test("an inline projection is up to date when the append returns, under concurrency", function*() {
    const projection = wealth("inline")
    const owner = unique("ann")
    const inline = Projector.layerInline([projection])
    yield* Effect.gen(function*() {
      yield* Effect.forEach(upTo(20), (n) => {
        const id = unique("a")
        return Effect.andThen(
          CommandBus.dispatch(Open, { id, owner }),
          CommandBus.dispatch(Deposit, { id, amount: n })
        )
      }, { concurrency: "unbounded" })
      equal(yield* totals(projection, owner), { owner, total: 210, events: 40 }, "of 20 accounts, one document")
    }).pipe(Effect.provide(accounts.pipe(Layer.provide(inline))))
  }),

  test("an inline projection has the events of before its first start", function*() {
    const projection = wealth("inline")
    const owner = unique("ann")
    const id = unique("a")
    yield* Effect.provide(
      Effect.andThen(CommandBus.dispatch(Open, { id, owner }), CommandBus.dispatch(Deposit, { id, amount: 5 })),
      accounts
    )
    const error = yield* Effect.flip(totals(projection, owner))
    equal(reasonOf(error), "ProjectionIncomplete", "a read before any program has started it")
    includes(error.message, projection.id, "the projection in its message")
    equal(
      reasonOf(yield* Effect.flip(ProjectionStore.list(projection))),
      "ProjectionIncomplete",
      "a page before any program has started it"
    )
    yield* CommandBus.dispatch(Deposit, { id, amount: 3 }).pipe(
      Effect.provide(accounts.pipe(Layer.provide(Projector.layerInline([projection]))))
    )
    equal(yield* totals(projection, owner), { owner, total: 8, events: 3 }, "the document")
  }),

  test("an inline projection lacks no event when several programs start it while they append", function*() {
    const projection = wealth("inline")
    const owner = unique("ann")
    const id = unique("a")
    const deposit = CommandBus.dispatch(Deposit, { id, amount: 1 })
    const before = Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) })
    yield* Effect.provide(Effect.andThen(CommandBus.dispatch(Open, { id, owner }), deposit), before)
    const program = Effect.forEach(upTo(4), () => deposit, { concurrency: 2 }).pipe(
      Effect.provide(Layer.fresh(before.pipe(Layer.provide(Projector.layerInline([projection])))))
    )
    yield* Effect.forEach(upTo(5), () => program, { concurrency: "unbounded" })
    equal(yield* totals(projection, owner), { owner, total: 21, events: 22 }, "the document")
  }),

  test("an inline projection that reads another type of event is made again", function*() {
    const name = unique("types")
    const owner = unique("ann")
    const id = unique("a")
    const reading = (withdrawals: boolean) =>
      Projection.make(name, {
        events: AccountEvent,
        document: Schema.Int,
        lifecycle: "inline",
        key: (event) => event.owner,
        evolve: {
          Opened: () => 0,
          Deposited: (n, e) => (n ?? 0) + e.amount,
          Withdrawn: withdrawals ? (n, e) => (n ?? 0) - e.amount : Projection.ignore
        }
      })
    const [old, current] = [reading(false), reading(true)]
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      yield* CommandBus.dispatch(Deposit, { id, amount: 5 })
      yield* CommandBus.dispatch(Withdraw, { id, amount: 2 })
    }).pipe(Effect.provide(accounts.pipe(Layer.provide(Projector.layerInline([old])))))
    equal(yield* ProjectionStore.get(old, owner), Option.some(5), "without withdrawals")
    equal(reasonOf(yield* Effect.flip(ProjectionStore.get(current, owner))), "ProjectionIncomplete", "a read too early")
    yield* Layer.build(Projector.layerInline([current]))
    equal(yield* ProjectionStore.get(current, owner), Option.some(3), "with withdrawals")
  }),

  test("a repeated command is projected once, inline and asynchronously", function*() {
    const [now, later] = [wealth("inline"), wealth("async")]
    const owner = unique("ann")
    const id = unique("a")
    const commandId = unique("command")
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      const receipts = yield* Effect.forEach(
        upTo(8),
        () => CommandBus.dispatch(Deposit, { id, amount: 5 }, { commandId }),
        {
          concurrency: "unbounded"
        }
      )
      yield* CommandBus.dispatch(Deposit, { id, amount: 5 }, { commandId })
      yield* store.awaitPosition(later, receipts[0]!.position, "1 minute")
    }).pipe(
      Effect.provide(
        Layer.merge(
          Aggregate.layer(AccountDecider, { conflictRetry: Schedule.recurs(100) }),
          Projector.layer([later])
        ).pipe(Layer.provide(Projector.layerInline([now])))
      )
    )
    for (const projection of [now, later]) {
      equal(yield* totals(projection, owner), { owner, total: 5, events: 2 }, projection.lifecycle)
    }
  }),

  test("a failing inline projection fails the append, and changes no projection", function*() {
    const good = wealth("inline")
    const owner = unique("ann")
    const id = unique("a")
    const bad = Projection.make(unique("bad"), {
      events: AccountEvent,
      where: { streamPrefix: `Account-${id}` },
      document: Wealth,
      lifecycle: "inline",
      key: (event) => event.owner,
      evolve: {
        Opened: Projection.ignore,
        Deposited: () => {
          throw new Error("no deposits today")
        },
        Withdrawn: () => ({ owner: "x", total: 0.5, events: 0 })
      }
    })
    const stream = `Account-${id}`
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      const error = yield* Effect.flip(CommandBus.dispatch(Deposit, { id, amount: 5 }))
      equal(reasonOf(error), "ConsumerFailed", "the error of evolve")
      includes(error.message, bad.id, "the projection in its message")
      includes(error.message, "no deposits today", "the cause in its message")
      const broken = yield* Effect.flip(CommandBus.dispatch(Withdraw, { id, amount: 0 }))
      equal(reasonOf(broken), "ConsumerFailed", "the error of a document that breaks its Schema")
    }).pipe(Effect.provide(accounts.pipe(Layer.provide(Projector.layerInline([good, bad])))))
    const store = yield* EventStore
    equal((yield* Stream.runCollect(store.readStreamEncoded(stream))).length, 1, "events in the stream")
    equal(yield* totals(good, owner), { owner, total: 0, events: 1 }, "the other projection")
  }),

  test("an asynchronous projection catches up, stays live, and queries wait for it", function*() {
    const projection = wealth("async")
    const owner = unique("ann")
    const GetWealth = Query.make("GetWealth", { payload: { owner: Schema.String }, success: Schema.Option(Wealth) })
    const id = unique("a")
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      yield* Effect.gen(function*() {
        for (const n of upTo(10)) {
          const receipt = yield* CommandBus.dispatch(Deposit, { id, amount: n })
          const answer = yield* QueryBus.ask(GetWealth, { owner }, { after: receipt, timeout: "30 seconds" })
          equal(answer, Option.some({ owner, total: n * (n + 1) / 2, events: n + 1 }), `after deposit ${n}`)
        }
        const [status] = yield* (yield* Projector.Projector).status
        equal([status?.consumer, status?.state, status?.lag], [projection.id, "live", 0n], "the status")
      }).pipe(
        Effect.provide(Layer.mergeAll(
          Projector.layer([projection], { batchSize: 2 }),
          QueryBus.handler(GetWealth, ({ owner }) => ProjectionStore.get(projection, owner))
        ))
      )
    }).pipe(Effect.provide(accounts))
  }),

  test("the lag of a status counts to the last committed event while readers are held back", function*() {
    const projection = wealth("async")
    const store = yield* EventStore
    const { driver } = store[internals]
    const position = yield* driver.head
    // Three events above the high-water mark, which an append in flight keeps below them.
    let isHeld = true
    const last = Effect.map(driver.last, (last) => isHeld ? Position.make(position + 3n) : last)
    const held = yield* makeEventStore({ ...driver, last })
    const running = yield* Layer.build(
      Layer.fresh(Projector.layer([projection], { lease: "300 millis" })).pipe(
        Layer.provide(Layer.succeed(EventStore, held))
      )
    )
    const statusWith = (lag: bigint) =>
      Effect.flatMap(Projector.Projector, (projector) => projector.status).pipe(
        Effect.provide(running),
        Effect.repeat({
          until: ([one]) => one?.state === "live" && one.position >= position && one.lag === lag,
          schedule: Schedule.spaced("10 millis")
        }),
        Effect.timeout("1 minute")
      )
    const [behind] = yield* statusWith(3n)
    equal(behind && [behind.position, behind.head, behind.last], [position, position, position + 3n], "the status")
    isHeld = false
    yield* statusWith(0n)
  }),

  test("a projection applies each event once, through restarts and competing workers", function*() {
    const projection = wealth("async")
    const owner = unique("ann")
    const id = unique("a")
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      for (const round of upTo(6)) {
        const running = Effect.gen(function*() {
          const receipt = yield* CommandBus.dispatch(Deposit, { id, amount: round })
          // Every other round is cut off in the middle of whatever the workers are doing.
          if (round % 2 === 0) yield* store.awaitPosition(projection, receipt.position, "1 minute")
        })
        const rivals = upTo(3).map(() =>
          Layer.fresh(Projector.layer([projection], { batchSize: 1, lease: "300 millis" }))
        )
        yield* Effect.scoped(Effect.gen(function*() {
          for (const rival of rivals) yield* Layer.build(rival)
          yield* running
        }))
      }
    }).pipe(Effect.provide(accounts))
    equal(yield* totals(projection, owner), { owner, total: 21, events: 7 }, "every event once")
  }),

  test("a failing event stops its projection with onFailure stop, and no other", function*() {
    const owner = unique("ann")
    const id = unique("a")
    let healed = false
    const healthy = wealth("async")
    const fragile = Projection.make(unique("fragile"), {
      events: AccountEvent,
      document: Wealth,
      onFailure: "stop",
      key: (event) => event.owner,
      evolve: {
        Opened: (_, e) => ({ owner: e.owner, total: 0, events: 1 }),
        Deposited: (w, e) => {
          if (e.amount === 3 && e.owner === owner && !healed) throw new Error("poison")
          return { owner: e.owner, total: (w?.total ?? 0) + e.amount, events: (w?.events ?? 0) + 1 }
        },
        Withdrawn: Projection.ignore
      }
    })
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      let last = yield* CommandBus.dispatch(Deposit, { id, amount: 1 })
      for (const n of [2, 3, 4]) last = yield* CommandBus.dispatch(Deposit, { id, amount: n })
      const projector = yield* Projector.Projector
      const stuck = yield* projector.status.pipe(
        Effect.map((all) => all.find((s) => s.consumer === fragile.id)),
        Effect.repeat({ until: (s) => s?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("1 minute")
      )
      includes(stuck?.detail, "poison", "why it is stuck")
      isAbove(stuck?.lag ?? 0n, 0n, "the lag of the stuck projection")
      equal(yield* totals(fragile, owner), { owner, total: 3, events: 3 }, "the events before are applied, none after")
      yield* store.awaitPosition(healthy, last.position, "1 minute")
      equal(yield* totals(healthy, owner), { owner, total: 10, events: 5 }, "the other projection goes on")
      healed = true
      yield* store.awaitPosition(fragile, last.position, "1 minute")
      equal(yield* totals(fragile, owner), { owner, total: 10, events: 5 }, "once it can, it goes on, skipping nothing")
    }).pipe(
      Effect.provide(Layer.merge(
        accounts,
        // The pause before it is tried again is longer than the time between two renewals of the lease.
        Projector.layer([fragile, healthy], {
          lease: "150 millis",
          retryDelay: { first: "120 millis", max: "200 millis" }
        })
      ))
    )
  }),

  test("a checkpoint beyond the end of the log stops the projection", function*() {
    const projection = wealth("async")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const beyond = Position.make(2n ** 62n + 10n ** 15n)
    yield* driver.claim({
      consumer: projection.id,
      owner: "before",
      partitions: 1,
      partitionedBy: "stream",
      reads: ConsumerReads.format(ConsumerReads.of(projection)),
      lease: Duration.seconds(1)
    })
    yield* driver.advance({
      generation: projection.id,
      partition: 0,
      epoch: 1n,
      from: Position.start,
      to: beyond,
      changes: [],
      applied: []
    })
    yield* driver.release(projection.id, "before")
    yield* Effect.gen(function*() {
      const [status] = yield* (yield* Projector.Projector).status.pipe(
        Effect.repeat({ until: ([s]) => s?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("1 minute")
      )
      includes(status?.detail, "beyond the end of the log", "why it is stuck")
    }).pipe(Effect.provide(Projector.layer([projection])))
    equal((yield* driver.checkpoint(projection.id)).position, beyond, "the checkpoint is as it was")
  }),

  test("an undecodable event stops the projection that reads its type", function*() {
    // A type of its own, as the event stays in the log for every later run.
    const type = unique("OddHappened")
    const Odd = Schema.TaggedUnion({ [type]: { id: Schema.String, n: Schema.Int } })
    const projection = Projection.make(unique("odd"), {
      events: Odd,
      onFailure: "stop",
      document: Schema.Struct({ n: Schema.Int }),
      key: (event) => event.id,
      evolve: { [type]: (_, e) => ({ n: e.n }) }
    })
    const store = yield* EventStore
    const stream = StreamId.make(unique("Odd"))
    yield* store.append(Odd, stream, [{ _tag: type, id: stream, n: 1 }])
    const result = yield* store[internals].driver.append({
      stream,
      expected: "any",
      events: [{
        id: globalThis.crypto.randomUUID(),
        type,
        schemaVersion: 1,
        data: `{"id":"x","n":"many"}`,
        metadata: "{}"
      }]
    })
    yield* store.append(Odd, stream, [{ _tag: type, id: stream, n: 3 }])
    const position = result._tag === "Appended" ? result.positions[0]! : undefined
    yield* Effect.gen(function*() {
      const stuck = yield* (yield* Projector.Projector).status.pipe(
        Effect.map(([status]) => status!),
        Effect.repeat({ until: (s) => s.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("1 minute")
      )
      includes(stuck.detail, `position ${position}`, "the position")
      includes(stuck.detail, stream, "the stream")
      equal(Option.getOrUndefined(yield* ProjectionStore.get(projection, stream)), { n: 1 }, "the events before it")
    }).pipe(Effect.provide(Projector.layer([projection])))
  })
]
