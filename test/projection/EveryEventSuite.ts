/**
 * Documents satisfy their Schema after every event, and pass through it: the same in every lifecycle, and whichever events are in one batch.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import * as AsOf from "../../src/core/AsOf.ts"
import { internals } from "../../src/core/internals.ts"
import type { Position } from "../../src/core/Position.ts"
import * as Event from "../../src/event/Event.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import { Limits } from "../../src/eventStore/Limits.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as LiveProjection from "../../src/projection/LiveProjection.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"

type PartitionBy = "document" | "stream" | { readonly tag: "sku" }

/** The stock of an article, which is not negative, and notes that count against the limit of a document. */
const Stock = Schema.Struct({ stock: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)), note: Schema.String })

const fixture = () => {
  const run = unique("moved")
  const Moved = Schema.TaggedUnion({ [run]: { sku: Schema.String, by: Schema.Int, note: Schema.String } })
    .pipe(Event.tags({ sku: "sku" }))
  const define = <const L extends Projection.Lifecycle>(
    lifecycle: L,
    name: string = lifecycle,
    partitionBy: PartitionBy = "document",
    onFailure: "park" | "stop" = "park"
  ) =>
    Projection.make(`${run}-${name}`, {
      events: Moved,
      lifecycle,
      partitionBy,
      onFailure,
      document: Stock,
      key: ({ sku }) => sku,
      evolve: { [run]: (found, { by, note }) => ({ stock: (found?.stock ?? 0) + by, note }) }
    })
  /** Appends one event to the stream of the article. Returns its position. */
  const append = (by: number, note = "", sku = "a") =>
    Effect.map(
      EventStore.use((store) => store.append(Moved, `${run}-${sku}`, [{ _tag: run, sku, by, note }])),
      ({ position }) => position
    )
  return { run, Moved, define, append }
}

/** Appends in one, in which the second event breaks a document and the third makes it valid again. */
const scenarios: Record<string, {
  readonly moves: ReadonlyArray<readonly [by: number, note?: string]>
  readonly words: string
}> = {
  "breaks its Schema": { moves: [[5], [-7], [4]], words: "does not satisfy its Schema" },
  "is too large": { moves: [[5], [3, "x".repeat(200)], [1]], words: "the limit documentBytes is 100" }
}

const withLimit = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Limits, (limits) => Effect.provideService(effect, Limits, { ...limits, documentBytes: 100 }))

const stockOf = (projection: Projection.Any, sku = "a") =>
  Effect.map(
    ProjectionStore.get(projection as Projection.Any<"async">, sku),
    (found) => Reflect.get(Object(Option.getOrUndefined(found)), "stock") as unknown
  )

/** Returns the message of the error. */
const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it succeeded")

const namesEvent = (message: string, position: Position, words: string, what: string): void => {
  includes(message, `at position ${position}:`, `${what}: the event`)
  includes(message, words, `${what}: the reason`)
}

/** Appends the moves of an article, each in an append of its own, and one of another article. */
const appendMoves = Effect.fnUntraced(function*(
  append: ReturnType<typeof fixture>["append"],
  moves: ReadonlyArray<readonly [by: number, note?: string]>
) {
  const positions: Array<Position> = []
  for (const [by, note] of moves) positions.push(yield* append(by, note))
  return { positions, last: yield* append(1, "", "b") }
})

const parking: ReadonlyArray<Case<Stores>> = Object.entries(scenarios).flatMap(([what, { moves, words }]) =>
  (["document", "stream", { tag: "sku" }] as const).flatMap((partitionBy) => {
    const by = typeof partitionBy === "string" ? partitionBy : "tag"
    return test(`an event after which a document ${what} is parked by ${by}, in batches of any size`, function*() {
      const { append, define } = fixture()
      const { last, positions } = yield* appendMoves(append, moves)
      for (const batchSize of [1, 2, 10]) {
        const projection = define("async", `${by}${batchSize}`, partitionBy)
        yield* Effect.gen(function*() {
          const store = yield* ProjectionStore.ProjectionStore
          yield* store.awaitPosition(projection, last, "1 minute")
          equal(yield* stockOf(projection), 5, `the document before the event, by ${batchSize}`)
          equal(yield* stockOf(projection, "b"), 1, "another document")
          const [parked, ...others] = yield* parkedKeys(projection)
          equal([parked?.position, others.length], [positions[1], 0], `the parked event, by ${batchSize}`)
          namesEvent(parked?.error ?? "", positions[1]!, words, "the error")
          const { outcome } = yield* Parking.skip(projection, parked!.key, { reason: "a test" })
          equal(outcome, "skipped", "the outcome")
          equal(yield* stockOf(projection), 5 + moves[2]![0], `the document without the event, by ${batchSize}`)
        }).pipe(Effect.provide(Projector.layer([projection], { batchSize })), withLimit)
      }
    })
  })
)

const [first, broken, corrected] = [5, -7, 4] as const
const three = [[first], [broken], [corrected]] as const
const words = scenarios["breaks its Schema"]!.words

const lifecycles: ReadonlyArray<Case<Stores>> = [
  test("a consumer that stops does so before an event that breaks a document, in batches of any size", function*() {
    const { append, define } = fixture()
    const { positions } = yield* appendMoves(append, three)
    for (const batchSize of [1, 10]) {
      const projection = define("async", `stops${batchSize}`, "document", "stop")
      yield* Effect.gen(function*() {
        const { status } = yield* Projector.Projector
        const [found] = yield* Effect.repeat(status, {
          until: ([one]) => one?.state === "stuck",
          schedule: Schedule.spaced("20 millis")
        }).pipe(Effect.timeout("1 minute"))
        namesEvent(found?.error?.message ?? "", positions[1]!, words, `the error, by ${batchSize}`)
        equal(yield* stockOf(projection), first, `the document, by ${batchSize}`)
      }).pipe(Effect.provide(Projector.layer([projection], { batchSize })))
    }
  }),

  test("an append that breaks a document fails, also when its next event mends the document", function*() {
    const { Moved, append, define, run } = fixture()
    const projection = define("inline")
    yield* Effect.gen(function*() {
      yield* append(first)
      const failed = yield* failureOf(append(broken))
      includes(failed, words, "one event")
      const events = [broken, corrected].map((by) => ({ _tag: run, sku: "a", by, note: "" }))
      const both = yield* failureOf(EventStore.use((store) => store.append(Moved, `${run}-a`, events)))
      includes(both, words, "two events")
      equal(yield* stockOf(projection), first, "the document")
      yield* append(corrected)
      equal(yield* stockOf(projection), first + corrected, "the document after another append")
    }).pipe(Effect.provide(Projector.layerInline([projection])))
  }),

  test("an inline projection is not made from a log with an event that breaks a document", function*() {
    const { append, define } = fixture()
    const { positions } = yield* appendMoves(append, three)
    for (const pageSize of [1, 10]) {
      const limits = yield* Limits
      const started = yield* failureOf(
        Layer.build(Layer.fresh(Projector.layerInline([define("inline", `inline${pageSize}`)]))).pipe(
          Effect.provideService(Limits, { ...limits, pageSize })
        )
      )
      namesEvent(started, positions[1]!, words, `pages of ${pageSize}`)
    }
  }),

  test("a live projection fails at an event that breaks a document, in pages of any size", function*() {
    const { append, define } = fixture()
    const live = define("live")
    const { positions } = yield* appendMoves(append, three)
    namesEvent(yield* failureOf(ProjectionStore.get(live, "a")), positions[1]!, words, "a document")
    namesEvent(yield* failureOf(ProjectionStore.list(live)), positions[1]!, words, "a list")
    equal(yield* stockOf(live, "b"), 1, "another document")
    const { driver } = (yield* EventStore)[internals]
    for (const pageSize of [1, 10]) {
      const documents = LiveProjection.make(driver, live, { pageSize, documentBytes: 100 })
      namesEvent(yield* failureOf(documents.read("final")), positions[1]!, words, `pages of ${pageSize}`)
    }
  }),

  test("the history of a document fails at an event that breaks it", function*() {
    const { append, define } = fixture()
    const { positions } = yield* appendMoves(append, three)
    for (const lifecycle of ["async", "inline", "live"] as const) {
      const projection = define(lifecycle)
      const at = (position: Position) => TimeTravel.document(projection, "a", AsOf.position(position))
      equal(
        Option.map((yield* at(positions[0]!)).document, ({ stock }) => stock),
        Option.some(first),
        `before the event, ${lifecycle}`
      )
      for (const position of positions.slice(1)) {
        namesEvent(yield* failureOf(at(position)), positions[1]!, words, `as of ${position}, ${lifecycle}`)
      }
      const steps: Array<unknown> = []
      const history = Stream.runForEach(
        TimeTravel.documentHistory(projection, "a"),
        ({ document }) => Effect.sync(() => steps.push(Option.map(document, ({ stock }) => stock)))
      )
      namesEvent(yield* failureOf(history), positions[1]!, words, `the history, ${lifecycle}`)
      equal(steps, [Option.some(first)], `the steps, ${lifecycle}`)
    }
    const large = fixture()
    const { positions: [, second] } = yield* appendMoves(large.append, scenarios["is too large"]!.moves)
    const tooLarge = yield* failureOf(withLimit(TimeTravel.document(large.define("async"), "a", AsOf.now)))
    namesEvent(tooLarge, second!, scenarios["is too large"]!.words, "a document that is too large")
  }),

  test("a rebuild parks an event that breaks a document, in batches of any size", function*() {
    const { append, define } = fixture()
    const { last, positions } = yield* appendMoves(append, three)
    for (const batchSize of [1, 10]) {
      const projection = define("async", `rebuilt${batchSize}`)
      yield* Effect.gen(function*() {
        const store = yield* ProjectionStore.ProjectionStore
        yield* store.awaitPosition(projection, last, "1 minute")
        yield* Stream.runDrain(Rebuild.rebuild(projection, { interval: "20 millis" }))
        equal(yield* stockOf(projection), first, `the document, by ${batchSize}`)
        equal((yield* parkedKeys(projection)).map(({ position }) => position), [positions[1]], "the parked event")
      }).pipe(
        Effect.provide(Projector.layer([projection], { batchSize, lease: "1 second" })),
        Effect.timeout("1 minute")
      )
    }
  })
]

/** Leaves out what the Schema does not have. */
const lossy: ReadonlyArray<Case<Stores>> = [
  test("what a Schema leaves out of a document is not seen by the next event, in batches of any size", function*() {
    const run = unique("counted")
    const Counted = Schema.TaggedUnion({ [run]: { by: Schema.Int } })
    const define = <const L extends Projection.Lifecycle>(lifecycle: L, name: string = lifecycle) =>
      Projection.make(`${run}-${name}`, {
        events: Counted,
        lifecycle,
        document: Schema.Struct({ total: Schema.Int, seen: Schema.Int }),
        key: () => "all",
        evolve: {
          [run]: (found, { by }) => {
            const next = {
              total: (found?.total ?? 0) + by,
              seen: found !== undefined && "hidden" in found ? 1 : 0,
              hidden: true
            }
            return next
          }
        }
      })
    const expected = Option.some({ total: 3, seen: 0 })
    const inline = define("inline")
    const append = EventStore.use((store) => store.append(Counted, run, [1, 2, 3].map(() => ({ _tag: run, by: 1 }))))
    const { position } = yield* Effect.provide(append, Projector.layerInline([inline]))
    equal(yield* ProjectionStore.get(inline, "all"), expected, "inline")
    for (const batchSize of [1, 2, 10]) {
      const projection = define("async", `by${batchSize}`)
      const store = yield* ProjectionStore.ProjectionStore
      yield* Effect.provide(
        store.awaitPosition(projection, position, "1 minute"),
        Projector.layer([projection], { batchSize })
      )
      equal(yield* ProjectionStore.get(projection, "all"), expected, `batches of ${batchSize}`)
    }
    equal(yield* ProjectionStore.get(define("live"), "all"), expected, "live")
    equal((yield* TimeTravel.document(inline, "all", AsOf.now)).document, expected, "the history")
  })
]

/**
 * All cases.
 *
 * @since 0.1.0
 * @category suites
 */
export const everyEvent: ReadonlyArray<Case<Stores>> = [...parking, ...lifecycles, ...lossy]
