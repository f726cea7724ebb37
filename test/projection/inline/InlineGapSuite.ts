/**
 * What happens when a program appends without an inline projection that others run: no read answers wrongly, on every back end.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, test, unique } from "../../../src/conformance/Suite.ts"
import type { EventStoreError } from "../../../src/core/errors.ts"
import { internals } from "../../../src/core/internals.ts"
import * as Position from "../../../src/core/Position.ts"
import * as StreamId from "../../../src/core/StreamId.ts"
import * as Version from "../../../src/core/Version.ts"
import * as Event from "../../../src/event/Event.ts"
import * as EventQuery from "../../../src/event/EventQuery.ts"
import * as EventStore from "../../../src/eventStore/EventStore.ts"
import { Limits } from "../../../src/eventStore/Limits.ts"
import * as Health from "../../../src/operations/Health.ts"
import * as Projection from "../../../src/projection/Projection.ts"
import * as ProjectionStore from "../../../src/projection/ProjectionStore.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import * as Rebuild from "../../../src/projection/rebuild/Rebuild.ts"
import type { Stores } from "../../support/AccountFixtures.ts"
import { upTo } from "../../support/AccountFixtures.ts"

const Gauge = Schema.TaggedUnion({
  GaugeRaised: { by: Schema.Int },
  GaugeLowered: { by: Schema.Int },
  GaugeMarked: { label: Schema.String }
}).pipe(Event.tags({ label: "label" }))

type Change = typeof Gauge.Type
const raised = (by: number): Change => ({ _tag: "GaugeRaised", by })
const lowered = (by: number): Change => ({ _tag: "GaugeLowered", by })
const marked = (label: string): Change => ({ _tag: "GaugeMarked", label })

/** The sum of all gauges whose streams have a prefix, so that cases do not see each other's events. */
const gauge = (prefix: string, options: { readonly name?: string; readonly lowers?: boolean } = {}) =>
  Projection.make(options.name ?? unique("gauge"), {
    events: Gauge,
    lifecycle: "inline",
    where: { streamPrefix: prefix },
    document: Schema.Int,
    key: () => "all",
    evolve: {
      GaugeRaised: (sum, { by }) => (sum ?? 0) + by,
      GaugeLowered: options.lowers === false ? Projection.ignore : (sum, { by }) => (sum ?? 0) - by,
      GaugeMarked: (sum) => (sum ?? 0) + 100
    }
  })

const append = (stream: string, ...changes: ReadonlyArray<Change>) => EventStore.append(Gauge, stream, changes)
const sumOf = (projection: ReturnType<typeof gauge>) =>
  Effect.map(ProjectionStore.get(projection, "all"), Option.getOrUndefined)
const reasonOf = (error: { readonly _tag: string } | EventStoreError) =>
  "reason" in error ? error.reason._tag : error._tag
const requireIncomplete = Effect.fnUntraced(function*(
  projection: ReturnType<typeof gauge>,
  position: Position.Position,
  what: string
) {
  const reads = [Effect.asVoid(ProjectionStore.get(projection, "all")), Effect.asVoid(ProjectionStore.list(projection))]
  for (const read of reads) {
    const error = yield* Effect.flip(read)
    equal(reasonOf(error), "ProjectionIncomplete", what)
    includes(error.message, `position ${position}`, what)
  }
})
const start = (projection: ReturnType<typeof gauge>, options?: Projector.InlineOptions) =>
  Layer.build(Layer.fresh(Projector.layerInline([projection], options)))

/** The same projection with another lifecycle. */
const inBackground = (name: string, prefix: string) =>
  Projection.make(name, {
    events: Gauge,
    where: { streamPrefix: prefix },
    document: Schema.Int,
    key: () => "all",
    evolve: {
      GaugeRaised: (sum, { by }) => (sum ?? 0) + by,
      GaugeLowered: (sum, { by }) => (sum ?? 0) - by,
      GaugeMarked: (sum) => (sum ?? 0) + 100
    }
  })

const handlersOf = <const L extends "inline" | "async">(name: string, prefix: string, lifecycle: L) =>
  Projection.handler(name, {
    events: Gauge,
    lifecycle,
    where: { streamPrefix: prefix },
    handle: { GaugeRaised: () => Effect.void, GaugeLowered: Projection.ignore, GaugeMarked: Projection.ignore }
  })

/** Every way to append, from a program without the projection; each returns a receipt. */
const ways: Record<
  string,
  (prefix: string) => Effect.Effect<{ readonly position: Position.Position }, unknown, EventStore.EventStore>
> = {
  "one event": (prefix) => append(`${prefix}1`, raised(1)),
  "several events": (prefix) => append(`${prefix}1`, lowered(3), raised(4)),
  "an event with tags": (prefix) => append(`${prefix}1`, marked("a"), lowered(99)),
  "an event under a command id": (prefix) =>
    EventStore.append(Gauge, `${prefix}1`, [raised(1)], { metadata: { commandId: unique("command") } }),
  "an append condition": (prefix) =>
    Effect.gen(function*() {
      const { condition } = yield* EventStore.readByQuery(EventQuery.ofStoredTypes([{ tags: [`label:${prefix}`] }]))
      return yield* EventStore.appendIf(condition, Gauge, `${prefix}1`, [raised(1)])
    }),
  "the close of a stream": (prefix) =>
    Effect.gen(function*() {
      yield* append(`${prefix}2`, raised(0))
      return yield* EventStore.close(Gauge, `${prefix}2`, raised(1))
    }),
  "a group commit": (prefix) =>
    Effect.map(
      Effect.forEach(upTo(20), (n) => append(`${prefix}${n}`, raised(n === 1 ? 1 : 0)), { concurrency: "unbounded" }),
      (receipts) => receipts.reduce((least, one) => one.position < least.position ? one : least)
    )
}

const everyWay = Object.entries(ways).map(([name, appendWithout]): Case<Stores> =>
  test(`reads fail after ${name} without the inline projection, until repaired`, function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    const log = (yield* EventStore.EventStore)[internals].driver
    yield* Effect.provide(append(`${prefix}1`, raised(5)), Projector.layerInline([projection]))
    equal(yield* sumOf(projection), 5, "the document before")
    const before = yield* log.last
    yield* appendWithout(prefix)
    const error = yield* Effect.flip(sumOf(projection))
    equal(reasonOf(error), "ProjectionIncomplete", name)
    const [registered] = (yield* Projector.inlineProjections).filter((one) => one.projection === projection.id)
    equal((registered?.missedFrom ?? 0n) > before, true, "the position of the gap")
    includes(error.message, `position ${registered?.missedFrom}`, "the message")
    equal(yield* Projector.repairInline(projection), true, "repaired")
    equal(yield* sumOf(projection), 6, "the document after")
    equal(yield* Projector.repairInline(projection), false, "nothing to repair")
  })
)

const gaps: ReadonlyArray<Case<Stores>> = [
  test("a program with the inline projection closes a gap when it starts", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    const withLayer = Projector.layerInline([projection])
    yield* Effect.provide(append(`${prefix}1`, raised(5)), withLayer)
    const { position } = yield* append(`${prefix}2`, lowered(2))
    // The projection runs on later events, but reads must not return their result.
    yield* requireIncomplete(projection, position, "a gap")
    yield* Effect.provide(append(`${prefix}1`, raised(1)), Layer.fresh(withLayer))
    equal(yield* sumOf(projection), 4, "the document")
  }),

  test("a running program closes a gap within its repair interval", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    yield* start(projection, { repairInterval: "20 millis" })
    for (const n of upTo(3)) {
      yield* append(`${prefix}${n}`, raised(1))
      const sum = yield* sumOf(projection).pipe(
        Effect.retry({ while: (error) => reasonOf(error) === "ProjectionIncomplete" }),
        Effect.timeout("1 minute")
      )
      equal(sum, n, "the document")
    }
  }),

  test("events that an inline projection does not read make no gap", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix, { lowers: false })
    const tagged = Projection.make(unique("tagged"), {
      events: Gauge,
      lifecycle: "inline",
      where: { streamPrefix: prefix, tags: ["label:b"] },
      document: Schema.Int,
      key: () => "all",
      evolve: { GaugeRaised: (n) => (n ?? 0) + 1, GaugeLowered: Projection.ignore, GaugeMarked: (n) => (n ?? 0) + 1 }
    })
    yield* Layer.build(Projector.layerInline([projection]))
    yield* Layer.build(Projector.layerInline([tagged]))
    yield* append(unique("other"), raised(1), marked("b"))
    yield* append(`${prefix}1`, lowered(1))
    yield* append(`${prefix}1`, lowered(1), lowered(1))
    equal(yield* sumOf(projection), undefined, "the type that it does not read")
    yield* append(`${prefix}1`, marked("a"))
    equal(yield* ProjectionStore.get(tagged, "all"), Option.none(), "the tag that it does not read")
    const { position } = yield* append(`${prefix}1`, marked("b"))
    includes((yield* Effect.flip(ProjectionStore.get(tagged, "all"))).message, `position ${position}`, "a gap")
  }),

  test("an older definition that ignores an event makes a gap only with that event", function*() {
    const prefix = unique("g")
    const name = unique("gauge")
    const [old, current] = [gauge(prefix, { name, lowers: false }), gauge(prefix, { name })]
    const older = yield* start(old)
    yield* start(current)
    yield* Effect.provide(append(`${prefix}1`, raised(5), marked("a")), older)
    equal(yield* sumOf(current), 105, "events that both read")
    const { position } = yield* Effect.provide(append(`${prefix}1`, raised(5), lowered(1)), older)
    yield* requireIncomplete(current, position, "an event that the older one ignores")
    yield* start(current)
    equal(yield* sumOf(current), 109, "the document")
  }),

  test("a running program makes the documents again after one with an older definition has", function*() {
    const prefix = unique("g")
    const name = unique("gauge")
    const [old, current] = [gauge(prefix, { name, lowers: false }), gauge(prefix, { name })]
    yield* Effect.provide(append(`${prefix}1`, raised(5), lowered(1)), Layer.fresh(Projector.layerInline([current])))
    yield* append(`${prefix}1`, raised(1))
    yield* start(old)
    equal(reasonOf(yield* Effect.flip(sumOf(old))), "ProjectionIncomplete", "a read of the older one, which reads less")
    equal(yield* Projector.repairInline(old), true, "repaired by the older one")
    equal(yield* sumOf(old), 6, "the document of the older definition")
    equal(reasonOf(yield* Effect.flip(sumOf(current))), "ProjectionIncomplete", "a read of the current one")
    const older = yield* start(old, { repairInterval: "10 millis" })
    yield* start(current, { repairInterval: "10 millis" })
    equal(yield* sumOf(current), 5, "started again")
    // Whichever of the programs closes this gap, the current definition wins.
    yield* append(`${prefix}1`, raised(1))
    yield* Projector.repairInline(old)
    const sum = yield* sumOf(current).pipe(
      Effect.retry({ while: (error) => reasonOf(error) === "ProjectionIncomplete" }),
      Effect.timeout("1 minute")
    )
    equal(sum, 6, "repaired")
    yield* Effect.provide(append(`${prefix}1`, raised(1)), older)
    equal(yield* sumOf(current), 7, "an append of the older program")
  }),

  test("an append without a required inline projection is rejected, and no other append", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    const required = yield* start(projection, { appendsWithout: "reject" })
    yield* Effect.provide(append(`${prefix}1`, raised(5)), required)
    for (const changes of [[raised(1)], [marked("a"), raised(1)]]) {
      const error = yield* Effect.flip(append(`${prefix}1`, ...changes))
      equal(reasonOf(error), "InlineProjectionMissing", "the reason")
      includes(error.message, projection.id, "the projection")
      includes(error.message, changes[0]!._tag, "the type")
      equal("isRetryable" in error && error.isRetryable, false, "whether to retry")
    }
    const results = yield* Effect.forEach(
      upTo(20),
      (n) => Effect.result(append(n % 5 === 0 ? `${prefix}${n}` : unique("other"), raised(1))),
      { concurrency: "unbounded" }
    )
    equal(results.map(({ _tag }) => _tag), upTo(20).map((n) => n % 5 === 0 ? "Failure" : "Success"), "the results")
    equal(yield* sumOf(projection), 5, "the document")
    yield* start(projection)
    equal(
      reasonOf(yield* Effect.flip(append(`${prefix}1`, raised(1)))),
      "InlineProjectionMissing",
      "a program without the option"
    )
    yield* start(projection, { appendsWithout: "gap" })
    yield* append(`${prefix}1`, raised(1))
    equal(reasonOf(yield* Effect.flip(sumOf(projection))), "ProjectionIncomplete", "the last choice decides")
    equal(yield* Projector.retireInline(projection.id), true, "retired")
  }),

  test("a program requires a projection also when it leaves the documents as they are", function*() {
    const prefix = unique("g")
    const name = unique("gauge")
    const [all, fewer] = [gauge(prefix, { name }), gauge(prefix, { name, lowers: false })]
    const running = yield* start(all)
    yield* Effect.provide(append(`${prefix}1`, raised(5), lowered(1)), running)
    yield* start(fewer, { appendsWithout: "reject" })
    equal(yield* sumOf(all), 4, "the documents of the other definition")
    equal(reasonOf(yield* Effect.flip(append(`${prefix}1`, raised(1)))), "InlineProjectionMissing", "before the repair")
    yield* Projector.repairInline(fewer)
    equal(reasonOf(yield* Effect.flip(append(`${prefix}1`, raised(1)))), "InlineProjectionMissing", "after the repair")
    equal(yield* Projector.retireInline(all.id), true, "retired")
  }),

  test("the health of an inline projection is red while its documents may lack events", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    const assess = Effect.map(Health.of([projection]), ({ reasons, status }) => [status, ...reasons].join(": "))
    includes(yield* assess, "red: ", "before it is started")
    yield* start(projection)
    equal(yield* assess, "green", "complete")
    const { position } = yield* append(`${prefix}1`, raised(1))
    includes(yield* assess, `lack the event at position ${position}`, "a gap")
    yield* Projector.repairInline(projection)
    equal(yield* assess, "green", "repaired")
  }),

  test("a retired inline projection is not looked for, read or repaired", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    const running = yield* start(projection, { appendsWithout: "reject", repairInterval: "10 millis" })
    yield* Effect.provide(append(`${prefix}1`, raised(5)), running)
    equal(yield* Projector.retireInline(projection.id), true, "retired")
    equal(yield* Projector.retireInline(projection.id), false, "retired again")
    yield* append(`${prefix}1`, raised(1))
    const error = yield* Effect.flip(sumOf(projection))
    equal(reasonOf(error), "ProjectionIncomplete", "a read")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    equal((yield* driver.generationPage({ generation: projection.id, limit: 1 })).length, 0, "the documents")
    yield* start(projection)
    equal(yield* sumOf(projection), 6, "started again")
  }),

  test("an import makes a gap in inline projections of its events", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    const { driver } = (yield* EventStore.EventStore)[internals]
    yield* start(projection)
    const last = yield* driver.last
    const { position: after } = yield* append(unique("other"), raised(1))
    const [stored] = (yield* driver.readStored({ after: Position.make(after - 1n), limit: 1 })).events
    const imported = {
      ...stored!,
      id: crypto.randomUUID(),
      stream: StreamId.StreamId.make(`${prefix}1`),
      version: Version.make(1),
      position: Position.make(after + 1n)
    }
    equal(last < after, true, "the log grows")
    equal((yield* driver.restore({ after, events: [imported] }))._tag, "Restored", "the import")
    yield* requireIncomplete(projection, Position.make(after + 1n), "imported")
    yield* start(projection)
    equal(yield* sumOf(projection), 1, "the document")
  }),

  test("a gap in the tables of inline handlers remains until it is closed", function*() {
    const prefix = unique("g")
    let handled = 0
    const handler = Projection.handler(unique("handler"), {
      events: Gauge,
      lifecycle: "inline",
      where: { streamPrefix: prefix },
      handle: {
        GaugeRaised: () => Effect.sync(() => handled++),
        GaugeLowered: Projection.ignore,
        GaugeMarked: Projection.ignore
      }
    })
    const missedFrom = Effect.map(
      Projector.inlineProjections,
      (all) => all.find(({ projection }) => projection === handler.id)?.missedFrom
    )
    const layer = Layer.fresh(Projector.layerInline([handler]))
    yield* Effect.provide(append(`${prefix}1`, raised(1)), layer)
    equal([handled, yield* missedFrom], [1, undefined], "without a gap")
    yield* append(`${prefix}1`, lowered(1))
    equal(yield* missedFrom, undefined, "an event that it ignores")
    const { position } = yield* append(`${prefix}1`, raised(1))
    yield* Effect.provide(append(`${prefix}1`, raised(1)), layer)
    equal([handled, yield* missedFrom], [2, position], "with a gap")
    const [before, later] = [Position.make(position - 1n), yield* append(`${prefix}1`, raised(1))]
    equal(yield* Projector.closeInlineGap(handler, { correctedUpTo: before }), Option.none(), "before the gap")
    equal(yield* missedFrom, position, "still with a gap")
    const correctedUpTo = Position.make(later.position - 1n)
    equal(yield* Projector.closeInlineGap(handler, { correctedUpTo }), Option.some(position), "closed")
    equal(yield* missedFrom, later.position, "the later gap")
    yield* Projector.closeInlineGap(handler, { correctedUpTo: later.position })
    equal(yield* missedFrom, undefined, "after closing")
  }),

  test("a projection that has run in the background cannot become inline", function*() {
    const prefix = unique("g")
    const inline = gauge(prefix)
    const background = inBackground(inline.name, prefix)
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.scoped(Effect.gen(function*() {
      yield* Layer.build(Layer.fresh(Projector.layer([background])))
      yield* store.awaitPosition(background, (yield* append(`${prefix}1`, raised(5))).position, "1 minute")
    }))
    const becomesInline = Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(start(inline)))
      equal(reasonOf(error), "StoreMisconfigured", "the error")
      for (const words of [`"${inline.id}"`, "has run in the background", "raise its version"]) {
        includes(error.message, words, "the message")
      }
      equal(reasonOf(yield* Effect.flip(sumOf(inline))), "ProjectionIncomplete", "a read of it")
    })
    yield* becomesInline
    yield* Effect.scoped(Effect.gen(function*() {
      yield* Layer.build(Layer.fresh(Projector.layer([background])))
      yield* store.awaitPosition(background, (yield* append(`${prefix}1`, raised(1))).position, "1 minute")
      equal(yield* ProjectionStore.get(background, "all"), Option.some(6), "the document goes on in the background")
    }))
    yield* Stream.runDrain(Rebuild.rebuild(background))
    yield* becomesInline
    const handlers = handlersOf(inline.name, prefix, "inline")
    const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(Projector.layerInline([handlers])))))
    equal(reasonOf(error), "StoreMisconfigured", "the error of handlers")
  }),

  test("an inline projection runs in the background only after it was retired", function*() {
    const prefix = unique("g")
    const inline = gauge(prefix)
    const background = inBackground(inline.name, prefix)
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.provide(append(`${prefix}1`, raised(5)), Layer.fresh(Projector.layerInline([inline])))
    yield* Effect.scoped(Effect.gen(function*() {
      const running = yield* Layer.build(Layer.fresh(Projector.layer([background], { lease: "300 millis" })))
      const [status] = yield* Effect.flatMap(Projector.Projector, (projector) => projector.status).pipe(
        Effect.provide(running),
        Effect.repeat({ until: ([one]) => one?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("1 minute")
      )
      includes(status?.detail ?? "", "is an inline projection in this log", "why it is stuck")
      includes(status?.detail ?? "", "Projector.retireInline", "what to do")
      const { reasons, status: health } = yield* Health.of([background])
      equal(health, "red", "the health")
      includes(reasons.join("\n"), "is an inline projection in this log", "the reason")
      equal(yield* sumOf(inline), 5, "the document, which has each event once")
      const building = yield* Effect.flip(Stream.runDrain(Rebuild.run(background)))
      includes(building.message, "is an inline projection in this log", "a rebuild")
    }))
    const handlers = handlersOf(inline.name, prefix, "async")
    yield* Effect.scoped(Effect.gen(function*() {
      const running = yield* Layer.build(Layer.fresh(Projector.layer([handlers], { lease: "300 millis" })))
      yield* Effect.flatMap(Projector.Projector, (projector) => projector.status).pipe(
        Effect.provide(running),
        Effect.repeat({ until: ([one]) => one?.state === "stuck", schedule: Schedule.spaced("10 millis") }),
        Effect.timeout("1 minute")
      )
    }))
    equal(yield* Projector.retireInline(inline.id), true, "retired")
    const { position } = yield* append(`${prefix}1`, raised(1))
    yield* Layer.build(Layer.fresh(Projector.layer([background])))
    yield* store.awaitPosition(background, position, "1 minute")
    equal(yield* ProjectionStore.get(background, "all"), Option.some(6), "the document")
  }),

  test("no worker runs a projection before all documents of the inline one are removed", function*() {
    const prefix = unique("g")
    const inline = Projection.make(unique("gauge"), {
      events: Gauge,
      lifecycle: "inline",
      where: { streamPrefix: prefix },
      document: Schema.Int,
      key: (_, { stream }) => stream,
      evolve: {
        GaugeRaised: (sum = 0, { by }) => sum + by,
        GaugeLowered: Projection.ignore,
        GaugeMarked: Projection.ignore
      }
    })
    const { driver: log } = (yield* EventStore.EventStore)[internals]
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const running = yield* Layer.build(Layer.fresh(Projector.layerInline([inline])))
    yield* Effect.forEach(upTo(7), (n) => Effect.provide(append(`${prefix}${n}`, raised(1)), running))
    // What an interrupted retirement leaves after its first step, and an interrupted repair before its last one.
    yield* log.inlineProjections.unregister(inline.id)
    const aside = `${inline.id}~inline`
    const changes = [{ key: "a", document: "1", indexed: [] }]
    yield* driver.write([{ generation: aside, changes }])
    const claim = driver.claim({
      consumer: inline.id,
      owner: "me",
      partitions: 1,
      partitionedBy: "document",
      reads: "",
      lease: Duration.seconds(10)
    })
    const begin = driver.beginGeneration({ consumer: inline.id, head: Position.start })
    for (const refused of [Effect.asVoid(claim), Effect.asVoid(begin)]) {
      const error = yield* Effect.flip(refused)
      equal(reasonOf(error), "StoreMisconfigured", "the reason")
      includes(error.message, "has documents but no checkpoints", "the message")
      includes(error.message, "Projector.retireInline", "what to do")
    }
    const background = inBackground(inline.name, prefix)
    const { reasons, status } = yield* Health.of([background])
    equal(status, "red", "the health")
    includes(reasons.join("\n"), "documents of an inline projection that was retired", "the reason")
    const leftOf = (generation: string) =>
      Effect.map(driver.generationPage({ generation, limit: 9 }), (all) => all.length)
    const claiming = yield* Effect.forkChild(
      claim.pipe(
        Effect.retry({
          while: (error) => reasonOf(error) === "StoreMisconfigured",
          schedule: Schedule.spaced("1 millis")
        }),
        Effect.andThen(leftOf(inline.id)),
        Effect.timeout("1 minute")
      )
    )
    const limits = yield* Limits
    const retire = Effect.provideService(Projector.retireInline(inline.id), Limits, { ...limits, pageSize: 1 })
    equal(yield* retire, true, "retired again")
    equal(yield* Fiber.join(claiming), 0, "the documents when a worker claims")
    equal(yield* leftOf(aside), 0, "the copies")
    equal(yield* retire, false, "and again")
  }),

  test("of an inline and a background start of one projection at once, one fails", function*() {
    const prefix = unique("g")
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    yield* Effect.forEach(upTo(20), (n) => append(`${prefix}${n}`, raised(1)), { discard: true })
    for (const round of upTo(10)) {
      const inline = gauge(prefix)
      const claim = driver.claim({
        consumer: inline.id,
        owner: "me",
        partitions: 1,
        partitionedBy: "document",
        reads: "",
        lease: Duration.seconds(10)
      })
      const results = yield* Effect.all([
        Effect.exit(Effect.asVoid(Effect.scoped(start(inline)))),
        Effect.exit(Effect.asVoid(Effect.delay(claim, Duration.millis(round % 5))))
      ], { concurrency: 2 })
      const [started, claimed] = results.map(Exit.isSuccess)
      equal(claimed, !started!, "whether the worker owns the partition")
      equal((yield* driver.progress(inline.id)).length, started ? 0 : 1, "the checkpoints")
      if (started) equal(yield* sumOf(inline), 20, "the document")
    }
  }),

  test("a read that overlaps a gap and its repair returns no document of the gap", function*() {
    const prefix = unique("g")
    const projection = gauge(prefix)
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const [begun, repaired] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    let isFirst = true
    const slow = yield* ProjectionStore.make({
      ...driver,
      get: (consumer, key) =>
        Effect.tap(driver.get(consumer, key), () => {
          if (!isFirst) return Effect.void
          isFirst = false
          return Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(repaired))
        })
    })
    yield* Effect.provide(append(`${prefix}1`, raised(5)), Projector.layerInline([projection]))
    isFirst = false
    equal(yield* slow.get(projection, "all"), Option.some(5), "before")
    isFirst = true
    yield* append(`${prefix}1`, raised(1))
    const reading = yield* Effect.forkChild(slow.get(projection, "all"))
    yield* Deferred.await(begun)
    yield* Projector.repairInline(projection)
    yield* Deferred.succeed(repaired, undefined)
    equal(yield* Effect.timeout(Fiber.join(reading), "1 minute"), Option.some(6), "the read")
  })
]

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const inlineGaps: ReadonlyArray<Case<Stores>> = [...everyWay, ...gaps]
