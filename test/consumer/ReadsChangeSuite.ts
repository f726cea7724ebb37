/**
 * Code that reads other events than the code that brought a consumer to its checkpoint: it continues only if no event is lost, on every back
 * end.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import type { Consumer } from "../../src/consumer/Consumer.ts"
import * as ConsumerReads from "../../src/consumer/ConsumerReads.ts"
import { digestOf } from "../../src/consumer/DeliveryLog.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import { Version } from "../../src/core/Version.ts"
import * as Event from "../../src/event/Event.ts"
import type { EventFilter } from "../../src/event/EventFilter.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Checkpoints from "../../src/operations/Checkpoints.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"

const Stock = Schema.TaggedUnion({
  StockAdded: { shop: Schema.String, by: Schema.Int },
  StockTaken: { shop: Schema.String, by: Schema.Int }
}).pipe(Event.tags({ shop: "shop" }))

const added = (by: number, shop = "north") => ({ _tag: "StockAdded" as const, by, shop })
const taken = (by: number, shop = "north") => ({ _tag: "StockTaken" as const, by, shop })
const append = (stream: string, ...events: ReadonlyArray<typeof Stock.Type>) =>
  Effect.map(EventStore.append(Stock, stream, events), ({ position }) => position)

interface Options {
  readonly where?: EventFilter<`shop:${string}`>
  readonly takes?: boolean
  readonly partitions?: number
  readonly partitionBy?: "stream"
  readonly onFailure?: "stop"
}

/** The sum of each stream, without what was taken unless `takes`. */
const stock = (name: string, { takes = true, where = {}, ...options }: Options = {}) =>
  Projection.make(name, {
    events: Stock,
    where: { streamPrefix: `${name}-`, ...where },
    document: Schema.Int,
    key: (_, { stream }) => stream,
    evolve: {
      StockAdded: (sum = 0, { by }) => sum + by,
      StockTaken: takes ? (sum = 0, { by }) => sum - by : Projection.ignore
    },
    ...options
  })

/** A consumer of one partition, and its claim by an owner whose code reads what the owner is named after. */
const claimed = Effect.gen(function*() {
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  const id = `${uniqueName()}@1`
  const claim = (reads: string) =>
    driver.claim({
      consumer: id,
      owner: reads,
      partitions: 1,
      partitionedBy: "stream",
      reads,
      lease: Duration.seconds(20)
    })
  return { claim, driver, id }
})

const handlers = (name: string) =>
  Projection.handler(name, {
    events: Stock,
    partitionBy: { tag: "shop" },
    where: { streamPrefix: `${name}-` },
    handle: { StockAdded: () => Effect.void, StockTaken: () => Effect.void }
  })

const mails = (
  name: string,
  sent: Ref.Ref<ReadonlyArray<number>>,
  { takes = true, ...options }: {
    readonly takes?: boolean
    readonly earlierEvents?: "pass"
    readonly from?: "now"
    readonly partitions?: number
    readonly version?: number
  } = {}
) => {
  const send = (event: { readonly by: number }) => Ref.update(sent, (all) => [...all, event.by])
  return Subscription.make(name, {
    events: Stock,
    where: { streamPrefix: `${name}-` },
    handle: {
      StockAdded: send,
      StockTaken: takes ? ({ by }) => send({ by: -by }) : Subscription.ignore
    },
    ...options
  })
}

/** A category of streams that no other case uses, and the name of its projection. */
const uniqueName = () => unique("stock").replaceAll("-", "")

const retryDelay = { first: "20 millis", max: "50 millis" } as const
const timing = { lease: "300 millis", retryDelay } as const

const start = <P extends Projection.Any<"async">>(projection: P) =>
  Effect.map(
    Layer.build(Layer.fresh(Projector.layer([projection], timing))),
    (context) => Context.get(context, Projector.Projector)
  )
const startHandlers = (projection: Projection.Handler<string, typeof Stock, "async", never>) =>
  Effect.map(
    Layer.build(Layer.fresh(Projector.layer([projection], timing))),
    (context) => Context.get(context, Projector.Projector)
  )
const startMails = (subscription: Subscription.Subscription<string, typeof Stock, never>) =>
  Effect.map(
    Layer.build(Layer.fresh(attentive(Subscription.layer([subscription], { retryDelay }), subscription))),
    (context) => Context.get(context, Subscription.Subscriptions)
  )

type Status = Effect.Effect<ReadonlyArray<Projector.ConsumerStatus>>

const becomes = (status: Status, state: Projector.ConsumerState) =>
  status.pipe(
    Effect.repeat({ until: ([one]) => one?.state === state, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("1 minute"),
    Effect.map(([one]) => one?.detail ?? "")
  )

const reach = (consumer: { readonly id: string }, position: Position.Position) =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* driver.checkpoint(consumer.id).pipe(
      Effect.repeat({ until: (reached) => reached.position >= position, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("1 minute")
    )
  })

const sumOf = (projection: Projection.Any, stream: string) =>
  Effect.map(ProjectionStore.get(projection, stream), Option.getOrUndefined)

/** Runs a release until it has reached a position, and ends it. */
const runTo = (projection: Projection.Any<"async">, position: Position.Position) =>
  Effect.scoped(Effect.andThen(start(projection), reach(projection, position)))

const requireStuck = (status: Status, ...words: ReadonlyArray<string>) =>
  Effect.map(becomes(status, "stuck"), (detail) => {
    for (const word of words) includes(detail, word, "why it is stuck")
  })

const documents: ReadonlyArray<Case<Stores>> = [
  test("documents do not continue with a type that was ignored before", function*() {
    const name = uniqueName()
    const [before, after] = [stock(name, { takes: false }), stock(name)]
    const position = yield* append(`${name}-1`, added(5), taken(2))
    yield* runTo(before, position)
    yield* Effect.scoped(Effect.gen(function*() {
      const { status } = yield* start(after)
      yield* requireStuck(status, "StockTaken", `position ${position}`, "Rebuild.rebuild", "raise its version")
      const health = yield* Health.of([after])
      equal(health.status, "yellow", "the health, as an owner was there before")
      includes(health.reasons.join("\n"), "reads other events than this definition", "the reason")
      yield* Stream.runDrain(Rebuild.rebuild(after))
      yield* becomes(status, "live")
      equal(yield* sumOf(after, `${name}-1`), 3, "the document after the rebuild")
    }))
  }),

  test("documents do not continue with a wider prefix of streams, or with fewer tags", function*() {
    const name = uniqueName()
    yield* append(`${name}-a`, added(1, "south"))
    const position = yield* append(`${name}-b`, added(2), taken(1))
    for (const where of [{ streamPrefix: `${name}-a` }, { tags: [Event.tag("shop", "south")] }]) {
      const version = { version: where.tags === undefined ? 1 : 2 }
      yield* runTo({ ...stock(name, { where }), ...version, id: `${name}@${version.version}` }, position)
      const after = { ...stock(name), ...version, id: `${name}@${version.version}` }
      yield* Effect.scoped(
        Effect.flatMap(start(after), ({ status }) => requireStuck(status, `${name}-b`, "reads events that the program"))
      )
    }
  }),

  test("documents do not continue where they contain a type that is ignored now", function*() {
    const name = uniqueName()
    const position = yield* append(`${name}-1`, added(5), taken(2))
    yield* runTo(stock(name), position)
    yield* Effect.scoped(
      Effect.flatMap(
        start(stock(name, { takes: false })),
        ({ status }) => requireStuck(status, "its documents contain events", "StockTaken")
      )
    )
  }),

  test("documents continue with a type that has no event at or below the checkpoint", function*() {
    const name = uniqueName()
    const after = stock(name)
    yield* runTo(stock(name, { takes: false }), yield* append(`${name}-1`, added(5)))
    yield* start(after)
    yield* reach(after, yield* append(`${name}-1`, taken(2)))
    equal(yield* sumOf(after, `${name}-1`), 3, "the document")
    equal((yield* DeliveryAudit.run(after)).status, "complete", "the audit")
  }),

  test("documents continue with a filter that selects the same events", function*() {
    const name = uniqueName()
    const after = stock(name, { where: { streamPrefix: `${name}` } })
    yield* runTo(stock(name), yield* append(`${name}-1`, added(5)))
    yield* start(after)
    yield* reach(after, yield* append(`${name}-1`, taken(2)))
    equal(yield* sumOf(after, `${name}-1`), 3, "the document")
  }),

  test("a partition continues if the events of a new type are in other partitions", function*() {
    const name = uniqueName()
    const options = { partitions: 2, partitionBy: "stream" } as const
    const [before, after] = [stock(name, { takes: false, ...options }), stock(name, options)]
    yield* append(`${name}-1`, added(1))
    const position = yield* append(`${name}-1`, taken(1))
    yield* runTo(before, position)
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* Effect.scoped(Effect.flatMap(start(after), ({ status }) => requireStuck(status, "StockTaken")))
    const reads = new Set((yield* driver.progress(after.id)).map((one) => one.reads))
    equal(reads, new Set([ConsumerReads.format(ConsumerReads.of(before))]), "what the checkpoints were reached with")
  }),

  test("a projection with handlers does not become one with documents, nor the reverse", function*() {
    const name = uniqueName()
    const [withHandlers, withDocuments] = [handlers(name), {
      ...stock(name),
      partitionBy: { tag: "shop" }
    }]
    const position = yield* append(`${name}-1`, added(5))
    yield* Effect.scoped(Effect.andThen(startHandlers(withHandlers), reach(withHandlers, position)))
    yield* Effect.scoped(
      Effect.flatMap(
        start(withDocuments),
        ({ status }) =>
          requireStuck(status, "has handlers up to position", "keeps documents in this program", "raise its version")
      )
    )
    const other = uniqueName()
    const [documents, handling] = [{ ...stock(other), partitionBy: { tag: "shop" } }, handlers(other)]
    yield* runTo(documents, yield* append(`${other}-1`, added(5)))
    yield* Effect.scoped(
      Effect.flatMap(startHandlers(handling), ({ status }) => requireStuck(status, "has handlers in this program"))
    )
  })
]

const versions: ReadonlyArray<Case<Stores>> = [
  test("a type that is renamed counts under its stored name", function*() {
    const name = uniqueName()
    const before = Schema.TaggedUnion({ ShelfFilled: { by: Schema.Int } })
    const after = Schema.TaggedUnion({ ShelfStocked: { by: Schema.Int } }).pipe(
      Event.legacy({ ShelfFilled: Event.from({ by: Schema.Int }).renamedTo("ShelfStocked", (e) => e) })
    )
    const options = {
      where: { streamPrefix: `${name}-` },
      document: Schema.Int,
      key: () => "all"
    }
    const old = Projection.make(name, {
      ...options,
      events: before,
      evolve: { ShelfFilled: (sum = 0, { by }) => sum + by }
    })
    const renamed = Projection.make(name, {
      ...options,
      events: after,
      evolve: { ShelfStocked: (sum = 0, { by }) => sum + by }
    })
    yield* runTo(old, (yield* EventStore.append(before, `${name}-1`, [{ _tag: "ShelfFilled", by: 5 }])).position)
    yield* start(renamed)
    yield* reach(renamed, (yield* EventStore.append(after, `${name}-1`, [{ _tag: "ShelfStocked", by: 2 }])).position)
    equal(yield* sumOf(renamed, "all"), 7, "the document")
  }),

  test("documents do not continue with the ignored part of a type that is split", function*() {
    const name = uniqueName()
    const stored = Schema.TaggedUnion({ BoxMoved: { by: Schema.Int } })
    const Box = Schema.TaggedUnion({ BoxIn: { by: Schema.Int }, BoxOut: { by: Schema.Int } }).pipe(Event.legacy({
      BoxMoved: Event.from({ by: Schema.Int }).splitInto(["BoxIn", "BoxOut"], ({ by }) => [
        { _tag: "BoxIn", by },
        { _tag: "BoxOut", by }
      ])
    }))
    const boxes = (takes: boolean) =>
      Projection.make(name, {
        events: Box,
        where: { streamPrefix: `${name}-` },
        document: Schema.Int,
        key: () => "all",
        evolve: {
          BoxIn: (sum = 0, { by }) => sum + by,
          BoxOut: takes ? (sum = 0, { by }) => sum - by : Projection.ignore
        }
      })
    yield* runTo(
      boxes(false),
      (yield* EventStore.append(stored, `${name}-1`, [{ _tag: "BoxMoved", by: 5 }])).position
    )
    yield* Effect.scoped(Effect.flatMap(start(boxes(true)), ({ status }) => requireStuck(status, "BoxMoved")))
  })
]

const effects: ReadonlyArray<Case<Stores>> = [
  test("a subscription continues without earlier events of a new type only if told to", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const position = yield* append(`${name}-1`, added(1), taken(2))
    const before = mails(name, sent, { takes: false })
    yield* Effect.scoped(Effect.andThen(startMails(before), reach(before, position)))
    yield* Effect.scoped(
      Effect.flatMap(
        startMails(mails(name, sent)),
        ({ status }) => requireStuck(status, "StockTaken", "Checkpoints.reset", "earlierEvents: \"pass\"")
      )
    )
    const passing = mails(name, sent, { earlierEvents: "pass" })
    yield* Effect.scoped(Effect.gen(function*() {
      yield* startMails(passing)
      yield* reach(passing, yield* append(`${name}-1`, taken(3)))
    }))
    equal(yield* Ref.get(sent), [1, -3], "the events that were handled")
    const after = mails(name, sent)
    yield* Effect.scoped(Effect.gen(function*() {
      yield* startMails(after)
      yield* reach(after, yield* append(`${name}-1`, taken(4)))
    }))
    equal(yield* Ref.get(sent), [1, -3, -4], "the option is needed once")
  }),

  test("a subscription whose checkpoint is reset handles events of a new type", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const [before, after] = [mails(name, sent, { takes: false }), mails(name, sent)]
    yield* append(`${name}-1`, taken(9))
    const from = yield* append(`${name}-1`, added(1))
    const to = yield* append(`${name}-1`, taken(2))
    yield* Effect.scoped(Effect.andThen(startMails(before), reach(before, to)))
    yield* Checkpoints.reset(after, from)
    yield* Effect.scoped(Effect.andThen(startMails(after), reach(after, to)))
    equal(yield* Ref.get(sent), [1, -2], "the events that were handled")
  }),

  test("a reset does not let later code continue past events that it reads", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const [before, after] = [mails(name, sent, { takes: false }), mails(name, sent)]
    const position = yield* append(`${name}-1`, added(1), taken(2))
    yield* Effect.scoped(Effect.andThen(startMails(before), reach(before, position)))
    yield* Checkpoints.reset(before, "end")
    yield* Effect.scoped(Effect.andThen(startMails(before), reach(before, yield* append(`${name}-1`, added(3)))))
    yield* Effect.scoped(Effect.flatMap(startMails(after), ({ status }) => requireStuck(status, "StockTaken")))
    equal(yield* Ref.get(sent), [1, 3], "the events that were handled")
    yield* Checkpoints.reset(after, position)
    yield* Effect.scoped(Effect.andThen(startMails(after), reach(after, yield* append(`${name}-1`, taken(4)))))
    equal(yield* Ref.get(sent), [1, 3, 3, -4], "the events that were handled after a reset by the later code")
  }),

  test("a subscription continues without a type that it does not handle any more", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const [before, after] = [mails(name, sent), mails(name, sent, { takes: false })]
    const position = yield* append(`${name}-1`, added(1), taken(2))
    yield* Effect.scoped(Effect.andThen(startMails(before), reach(before, position)))
    yield* Effect.scoped(Effect.gen(function*() {
      yield* startMails(after)
      yield* reach(after, yield* append(`${name}-1`, taken(3), added(4)))
    }))
    equal(yield* Ref.get(sent), [1, -2, 4], "the events that were handled")
    yield* Effect.scoped(Effect.flatMap(startMails(before), ({ status }) => requireStuck(status, "StockTaken")))
  })
]

const deployments: ReadonlyArray<Case<Stores>> = [
  test("code that handles a new type takes over from code that ignores it", function*() {
    const name = uniqueName()
    const [before, after] = [stock(name, { takes: false, partitions: 2 }), stock(name, { partitions: 2 })]
    const { status: old } = yield* start(before)
    yield* reach(before, yield* append(`${name}-1`, added(5)))
    const scope = yield* Scope.fork(yield* Effect.scope)
    const { status } = yield* Effect.provideService(start(after), Scope.Scope, scope)
    yield* becomes(status, "live")
    const position = yield* append(`${name}-1`, taken(2))
    yield* reach(after, position)
    equal(yield* sumOf(after, `${name}-1`), 3, "the document")
    yield* becomes(old, "standby")
    equal((yield* Health.of([after])).status, "green", "the health")
    // The release is rolled back, although the documents have events that it alone reads.
    yield* Scope.close(scope, Exit.void)
    yield* requireStuck(old, "its documents contain events", "StockTaken")
  }),

  test("code that ignores a new type continues when the release is rolled back before its first event", function*() {
    const name = uniqueName()
    const [before, after] = [stock(name, { takes: false }), stock(name)]
    const { status: old } = yield* start(before)
    yield* reach(before, yield* append(`${name}-1`, added(5)))
    yield* Effect.scoped(Effect.gen(function*() {
      const { status } = yield* start(after)
      yield* becomes(status, "live")
      yield* becomes(old, "standby")
    }))
    yield* becomes(old, "live")
    yield* reach(before, yield* append(`${name}-1`, added(1)))
    equal(yield* sumOf(before, `${name}-1`), 6, "the document")
  }),

  test("a subscription does not continue past an event that earlier code passed while it freed a key", function*() {
    const name = uniqueName()
    const begun = Latch.makeUnsafe(false)
    let isDown = true
    const old = Subscription.make(name, {
      events: Stock,
      where: { streamPrefix: `${name}-` },
      retry: Schedule.recurs(0),
      handle: {
        StockAdded: ({ by }) =>
          Effect.suspend(() =>
            isDown ? Effect.die("down") : by === 3 ? Effect.andThen(begun.open, Effect.never) : Effect.void
          ),
        StockTaken: Subscription.ignore
      }
    })
    const position = yield* append(`${name}-1`, added(1), taken(2), added(3))
    const options = { ...timing, batchSize: 2, stopTimeout: "10 millis" } as const
    yield* Effect.scoped(Effect.gen(function*() {
      yield* Layer.build(Layer.fresh(Subscription.layer([old], options)))
      yield* reach(old, position)
      isDown = false
      yield* Effect.flip(Parking.retryAll(old, { timeout: "10 millis" }))
      yield* Effect.timeout(begun.await, "1 minute")
    }))
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const { status } = yield* startMails(mails(name, sent))
    yield* requireStuck(status, "StockTaken")
    equal(yield* Ref.get(sent), [], "what was sent")
  }),

  test("code that is rejected does not keep other code from its partitions", function*() {
    const name = uniqueName()
    const [before, after] = [
      stock(name, { takes: false, partitions: 4, partitionBy: "stream" }),
      stock(name, { partitions: 4, partitionBy: "stream" })
    ]
    const { status: old } = yield* start(before)
    yield* reach(before, yield* append(`${name}-1`, added(5), taken(1)))
    const { status } = yield* start(after)
    for (let n = 0; n < 5; n++) {
      yield* requireStuck(status, "StockTaken")
      yield* reach(before, yield* append(`${name}-${n}`, added(1)))
    }
    equal(yield* sumOf(before, `${name}-1`), 6, "the document")
    equal((yield* old)[0]?.partitions, 4, "the partitions that the old code has")
  }),

  test("an event of a new type is applied or rejected while both releases run", function*() {
    for (let round = 0; round < 5; round++) {
      const name = uniqueName()
      const [before, after] = [stock(name, { takes: false }), stock(name)]
      yield* Effect.scoped(Effect.gen(function*() {
        yield* start(before)
        yield* reach(before, yield* append(`${name}-1`, added(1)))
        const appending = yield* Effect.forkChild(Effect.forEach(
          Array.from({ length: 40 }, (_, n) => n),
          (n) => Effect.tap(append(`${name}-1`, n < 5 * round ? added(1) : taken(1)), () => Effect.sleep("2 millis"))
        ))
        const { status } = yield* start(after)
        const last = (yield* Fiber.join(appending)).at(-1)!
        const [{ state } = { state: undefined }] = yield* status.pipe(
          Effect.repeat({
            until: ([one]) => one?.state === "stuck" || (one?.state === "live" && one.position >= last),
            schedule: Schedule.spaced("10 millis")
          }),
          Effect.timeout("1 minute")
        )
        if (state === "live") equal(yield* sumOf(after, `${name}-1`), 1 + 5 * round - (40 - 5 * round), "the document")
      }))
    }
  }),

  test("what is read for a partition changes only at the checkpoint that was compared", function*() {
    const { claim, driver, id } = yield* claimed
    const { assigned: [old] } = yield* claim("less")
    equal(old?.epoch, 1n, "the epoch of the first owner")
    const other = yield* claim("more")
    equal([other.assigned, other.otherReadsAlive], [[], true], "what the second one gets")
    const change = {
      generation: id,
      partition: 0,
      epoch: 1n,
      position: Position.start,
      from: "less",
      to: "more",
      takesOver: true,
      waiting: []
    }
    const changes = [
      { ...change, takesOver: false },
      { ...change, epoch: 2n },
      { ...change, position: Position.make(1n) },
      { ...change, from: "other" },
      { ...change, partition: 1 },
      change,
      change
    ]
    equal(
      yield* Effect.forEach(changes, driver.changeReads),
      ["unchanged", "unchanged", "unchanged", "unchanged", "unchanged", "changed", "unchanged"],
      "the results"
    )
    const held = yield* claim("more")
    equal([held.assigned, held.otherReadsAlive], [[], undefined], "before the lease of the first owner ends")
    isAbove(held.nextLeaseEndsIn ?? 0, 0, "when it ends")
    const advance = { generation: id, partition: 0, epoch: 1n, from: Position.start, to: Position.make(1n) }
    equal(yield* driver.advance({ ...advance, changes: [], applied: [] }), "lost", "a write of the first owner")
    equal((yield* claim("less")).assigned, [], "what the first owner gets")
  })
]

const races: ReadonlyArray<Case<Stores>> = [
  test("a partition is taken from its owner only after it has saved what it has handled", function*() {
    const { claim, driver, id } = yield* claimed
    const { assigned: [old] } = yield* claim("less")
    yield* claim("more")
    const change = (to: string, position: bigint) =>
      driver.changeReads({
        generation: id,
        partition: 0,
        epoch: old!.epoch,
        position: Position.make(position),
        from: "less",
        to,
        takesOver: true,
        drains: true,
        waiting: []
      })
    equal(yield* change("more", 0n), "draining", "the first request")
    equal((yield* driver.progress(id)).map(({ takenBy }) => takenBy), ["more"], "what waits")
    yield* claim("most")
    equal(yield* change("most", 0n), "unchanged", "a request of a third release")
    equal((yield* claim("more")).isTakingOver, true, "whether the first one waits")
    const draining = yield* claim("less")
    equal(
      [draining.change, draining.assignmentSize, draining.assigned.length],
      ["drain", 0, 1],
      "what the owner learns"
    )
    const advance = {
      generation: id,
      partition: 0,
      epoch: old!.epoch,
      from: Position.start,
      to: Position.make(1n),
      changes: [],
      applied: []
    }
    equal(yield* driver.advance(advance), "lost", "a write without a search of the log")
    equal(yield* driver.advance({ ...advance, takenBy: "most" }), "lost", "a write after another search")
    equal(yield* driver.advance({ ...advance, takenBy: "more" }), "advanced", "a write after the search")
    // Without the one that waits, the owner goes on.
    yield* driver.release(id, "more")
    equal((yield* claim("less")).change, undefined, "what the owner learns then")
    equal(
      yield* driver.advance({ ...advance, from: advance.to, to: Position.make(2n) }),
      "advanced",
      "a write after that"
    )
    yield* claim("more")
    equal(yield* change("more", 2n), "draining", "another request")
    yield* driver.release(id, "less", 0)
    equal((yield* claim("less")).assigned, [], "what the owner gets when it has given it back")
    const [{ epoch } = { epoch: 0n }] = yield* driver.progress(id)
    const taken = { generation: id, partition: 0, epoch, position: Position.make(2n), from: "less", to: "more" }
    equal(
      yield* driver.changeReads({ ...taken, takesOver: true, drains: true, waiting: [] }),
      "changed",
      "the last one"
    )
    equal((yield* claim("more")).assigned.map(({ position }) => position), [Position.make(2n)], "what it gets")
  }),

  test("the reads of a partition change only if the compared keys are still parked", function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const id = `${uniqueName()}@1`
    const owner = { consumer: id, owner: "old", partitions: 1, partitionedBy: "stream", reads: "less" }
    yield* driver.claim({ ...owner, lease: Duration.seconds(20) })
    const event = {
      stream: StreamId.make("Stock-1"),
      version: Version.make(2),
      position: Position.make(7n),
      eventId: crypto.randomUUID(),
      type: "StockAdded"
    }
    yield* driver.park(id, 0, ["a", "b"].map((key) => ({ ...event, key, error: "poison" })))
    yield* driver.request(id, { id: "request", action: "retry" }, [{
      key: "b",
      partition: 0,
      position: event.position
    }])
    const reached = { ...event, position: Position.make(9n) }
    yield* driver.unpark(id, 0, [{
      key: "b",
      position: event.position,
      request: "request",
      action: "retried",
      reached
    }])
    const change = {
      generation: id,
      partition: 0,
      epoch: 1n,
      position: Position.start,
      from: "less",
      to: "more",
      takesOver: true
    }
    const at = (key: string, position: bigint, isFreeing: boolean) => ({
      key,
      position: Position.make(position),
      isFreeing
    })
    const waiting = [
      [at("a", 7n, true)],
      [at("a", 6n, false)],
      [at("c", 7n, false)],
      [at("a", 7n, false), at("b", 7n, false)],
      [at("a", 7n, false), at("b", 9n, true)]
    ]
    equal(
      yield* Effect.forEach(waiting, (waiting) => driver.changeReads({ ...change, waiting })),
      ["freed", "freed", "freed", "freed", "changed"],
      "the results"
    )
    const state = Option.getOrThrow(yield* driver.deliveryState(id, 0, false))
    const parked = [{ key: "a", position: Position.make(7n) }, { key: "b", position: Position.make(10n) }]
    equal(
      [state.reads, state.earlierReads],
      ["more", [{ reads: "less", position: Position.start, parked }]],
      "what was read before"
    )
    yield* driver.resetCheckpoints({
      consumer: id,
      generation: id,
      to: LogPosition.make(Position.make(5n), crypto.randomUUID()),
      lost: [],
      reads: "most",
      evenIfLeased: true
    })
    const reset = Option.getOrThrow(yield* driver.deliveryState(id, 0, false))
    equal([reset.reads, reset.earlierReads], ["most", []], "after a reset")
  }),

  ...[false, true].map((isMoved) =>
    test(`a key that is freed during a take-over loses no event; the checkpoint ${isMoved ? "moves" : "stays"}`, function*() {
      const name = uniqueName()
      const [old, newer] = [yield* failingMails(name, false), yield* failingMails(name, true)]
      const [arrived, opened] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
      const position = yield* append(`${name}-1`, added(1), taken(2))
      const slow = yield* Effect.flatMap(
        ProjectionStore.ProjectionStore,
        ({ [internals]: { driver } }) =>
          ProjectionStore.make({
            ...driver,
            // The statement of the newer process is under way for some time.
            changeReads: (change) =>
              arrived.open.pipe(Effect.andThen(opened.await), Effect.andThen(driver.changeReads(change)))
          })
      )
      yield* startMails(old.subscription)
      yield* reach(old.subscription, position)
      old.repair()
      const { status } = yield* Effect.provideService(
        startMails(newer.subscription),
        ProjectionStore.ProjectionStore,
        slow
      )
      newer.repair()
      yield* Effect.timeout(arrived.await, "1 minute")
      yield* Parking.retryAll(old.subscription)
      if (isMoved) yield* reach(old.subscription, yield* append(`${name}-2`, added(4)))
      yield* opened.open
      yield* requireStuck(status, "StockTaken", "reads events that the program")
      yield* reach(old.subscription, yield* append(`${name}-1`, added(3)))
      equal((yield* DeliveryAudit.run(old.subscription)).status, "complete", "the audit")
    })
  ),

  test("code that reads more takes over while keys are freed, and no event is lost", function*() {
    for (let round = 0; round < 4; round++) {
      const name = uniqueName()
      const [old, newer] = [yield* failingMails(name, false), yield* failingMails(name, true)]
      let position = Position.start
      for (let n = 0; n < 20; n++) position = yield* append(`${name}-${n}`, added(1), taken(2), added(3))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* startMails(old.subscription)
        yield* reach(old.subscription, position)
        old.repair()
        newer.repair()
        const retry = yield* Effect.forkChild(Parking.retryAll(old.subscription))
        yield* Effect.sleep(`${2 * (round % 5)} millis`)
        const { status } = yield* startMails(newer.subscription)
        const until = <A, E, R>(effect: Effect.Effect<A, E, R>, holds: (value: NoInfer<A>) => boolean) =>
          Effect.timeout(Effect.repeat(effect, { until: holds, schedule: Schedule.spaced("10 millis") }), "30 seconds")
        yield* until(status, ([one]) => one?.state === "stuck" || one?.state === "live")
        yield* Fiber.join(retry)
        // The request ends with the parked events. Those behind them may be handled after it.
        yield* until(Parking.count(old.subscription), ({ parked }) => parked === 0)
        const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
        const [progress] = yield* driver.progress(old.subscription.id)
        if (progress?.reads === ConsumerReads.format(ConsumerReads.of(newer.subscription))) {
          equal(newer.streams(2), 20, "the streams of which the events of the new type were handled")
        } else {
          // The old code has freed keys: at first, or after a lease of the newer one that ended on a busy machine.
          yield* until(status, ([one]) => one?.state === "stuck")
        }
      }))
    }
  })
]

const equalAudit = (consumer: Consumer, after: Position.Position, events: number) =>
  Effect.map(DeliveryAudit.run(consumer), ({ first, partitions: [partition], status }) =>
    equal(
      [status, first, partition?.after, partition?.events],
      ["complete", undefined, after, events],
      "the audit: its status, first fault, begin and number of events"
    ))

const audits: ReadonlyArray<Case<Stores>> = [
  test("an audit is complete after each change of what is read, and still finds faults", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const [both, one] = [mails(name, sent, { earlierEvents: "pass" }), mails(name, sent, { takes: false })]
    const doubled = yield* append(`${name}-1`, taken(1))
    let events = 0
    for (const [release, count] of [[both, 2], [one, 1], [both, 2], [one, 1]] as const) {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* startMails(release)
        if (events === 0) events++
        yield* reach(release, yield* append(`${name}-1`, added(2), taken(3)))
      }))
      events += count
      yield* equalAudit(release, Position.start, events)
    }
    const [event] = yield* Stream.runCollect(
      (yield* EventStore.EventStore).readStreamEncoded(StreamId.make(`${name}-1`))
    )
    equal(event?.position, doubled, "the position of the first event")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* driver.recordLateDelivery(one.id, 0, [{ first: doubled, events: 1, digest: digestOf(event!.id) }])
    const { first, status } = yield* DeliveryAudit.run(one)
    equal([status, first?.kind, first?.position], ["faulty", "doubled", doubled], "the audit of an event applied twice")
  }),

  test("an audit is complete after a release with another `where`", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const all = mails(name, sent, { earlierEvents: "pass" })
    const some = Subscription.make(name, {
      events: Stock,
      where: { streamPrefix: `${name}-1`, tags: [Event.tag("shop", "north")] },
      handle: { StockAdded: () => Effect.void, StockTaken: () => Effect.void }
    })
    let events = 0
    for (const [release, count] of [[some, 1], [all, 3], [some, 1]] as const) {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* append(`${name}-1`, added(1))
        yield* append(`${name}-1`, added(1, "south"))
        const position = yield* append(`${name}-2`, added(1))
        yield* startMails(release)
        // Without an event of its own, the checkpoint of a stopped worker may be below.
        yield* reach(release, position)
      }))
      events += count
      yield* equalAudit(release, Position.start, events)
    }
  }),

  ...[true, false].map((isNewerFirst) =>
    test(`an event that waited counts by the code that freed its key; newer first: ${isNewerFirst}`, function*() {
      const name = uniqueName()
      const [older, newer] = [yield* failingMails(name, false), yield* failingMails(name, true)]
      const [first, then] = isNewerFirst ? [newer, older] : [older, newer]
      let last = yield* append(`${name}-1`, added(1), taken(2), added(3))
      yield* Effect.scoped(Effect.andThen(startMails(first.subscription), reach(first.subscription, last)))
      then.repair()
      yield* Effect.scoped(Effect.gen(function*() {
        yield* startMails(then.subscription)
        equal((yield* Parking.retryAll(then.subscription)).retried, 1, "the retried keys")
        last = yield* append(`${name}-1`, taken(2))
        yield* reach(then.subscription, last)
      }))
      equal(then.count(2), isNewerFirst ? 0 : 2, "the handled events of the type that only one code reads")
      yield* equalAudit(then.subscription, Position.start, isNewerFirst ? 2 : 4)
    })
  ),

  test("an audit is complete after releases with other reads and with other partitions", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const passing = { earlierEvents: "pass" } as const
    const releases = [
      mails(name, sent, passing),
      mails(name, sent, { takes: false }),
      mails(name, sent, { takes: false, partitions: 2 }),
      mails(name, sent, { ...passing, partitions: 2 }),
      mails(name, sent, { takes: false, partitions: 1 })
    ]
    let last = Position.start
    const begins: Array<Position.Position> = []
    for (const release of releases) {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* startMails(release)
        const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
        yield* Effect.repeat(driver.progress(release.id), {
          until: (all) => all.length === release.partitions,
          schedule: Schedule.spaced("10 millis")
        }).pipe(Effect.timeout("1 minute"))
        for (const stream of ["1", "2"]) last = yield* append(`${name}-${stream}`, added(2), taken(3))
        yield* reach(release, last)
      }))
      const audit = yield* DeliveryAudit.run(release)
      equal([audit.status, audit.first], ["complete", undefined], "the audit")
      begins.push(audit.partitions[0]!.after)
    }
    equal(begins.map((one) => one > Position.start), [false, false, true, true, true], "where the audits begin")
    equal((yield* Ref.get(sent)).length, 4 + 2 + 2 + 4 + 2, "the handled events")
  }),

  test("an audit begins where the checkpoint was reset to, also with a parked key", function*() {
    const name = uniqueName()
    const { repair, subscription } = yield* failingMails(name, true)
    yield* append(`${name}-1`, added(1), added(2))
    const to = yield* append(`${name}-2`, added(3))
    const last = yield* append(`${name}-1`, added(4))
    yield* Effect.scoped(Effect.andThen(startMails(subscription), reach(subscription, last)))
    yield* Checkpoints.reset(subscription, to)
    repair()
    yield* Effect.scoped(Effect.gen(function*() {
      yield* startMails(subscription)
      yield* reach(subscription, last)
      equal((yield* Parking.retryAll(subscription)).retried, 1, "the retried keys")
    }))
    yield* equalAudit(subscription, to, 1)
  }),

  test("a subscription from \"now\" continues with a type of which the log had events before it began", function*() {
    const name = uniqueName()
    const sent = yield* Ref.make<ReadonlyArray<number>>([])
    const began = yield* append(`${name}-1`, added(1), taken(2))
    const [before, after] = [
      mails(name, sent, { takes: false, from: "now" }),
      mails(name, sent, { from: "now" })
    ]
    yield* Effect.scoped(Effect.gen(function*() {
      yield* startMails(before)
      yield* equalAudit(before, yield* headOf(before), 0)
      yield* reach(before, yield* append(`${name}-1`, added(3)))
    }))
    const { status } = yield* startMails(after)
    yield* becomes(status, "live")
    yield* reach(after, yield* append(`${name}-1`, taken(4)))
    equal(yield* Ref.get(sent), [3, -4], "what was sent")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const [progress] = yield* driver.progress(after.id)
    equal((progress?.deliveryFrom ?? 0n) >= began, true, "where it began")
    yield* equalAudit(after, progress!.deliveryFrom, 2)
  })
]

/** Where a subscription that has handled nothing began. */
const headOf = (subscription: Consumer) =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    return (yield* driver.progress(subscription.id))[0]!.deliveryFrom
  })

/** A subscription that fails on the first event of each stream until it is repaired. */
const failingMails = (name: string, takes: boolean) =>
  Effect.sync(() => {
    let isDown = true
    const handled: Array<{ readonly by: number; readonly stream: string }> = []
    const send = ({ by }: { readonly by: number }, { stream }: { readonly stream: string }) =>
      Effect.suspend(() => {
        if (isDown && by === 1) return Effect.die("down")
        handled.push({ by, stream })
        return Effect.void
      })
    return {
      count: (by: number) => handled.filter((one) => one.by === by).length,
      /** The number of streams of which it has handled an event. */
      streams: (by: number) => new Set(handled.flatMap((one) => one.by === by ? [one.stream] : [])).size,
      repair: () => {
        isDown = false
      },
      subscription: Subscription.make(name, {
        events: Stock,
        where: { streamPrefix: `${name}-` },
        retry: Schedule.recurs(0),
        handle: { StockAdded: send, StockTaken: takes ? send : Subscription.ignore }
      })
    }
  })

/**
 * Changes of what a consumer reads.
 *
 * @since 0.1.0
 * @category suites
 */
export const readsChanges: ReadonlyArray<Case<Stores>> = [
  ...documents,
  ...versions,
  ...effects,
  ...deployments,
  ...races,
  ...audits
]
