/**
 * Programs with other definitions of an inline projection under one version: no read answers wrongly, on every back end.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, test, unique } from "../../../src/conformance/Suite.ts"
import type { EventStoreError } from "../../../src/core/errors.ts"
import * as Position from "../../../src/core/Position.ts"
import * as Event from "../../../src/event/Event.ts"
import type { EventFilter } from "../../../src/event/EventFilter.ts"
import * as EventStore from "../../../src/eventStore/EventStore.ts"
import * as Health from "../../../src/operations/Health.ts"
import * as Projection from "../../../src/projection/Projection.ts"
import * as ProjectionStore from "../../../src/projection/ProjectionStore.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import type { Stores } from "../../support/AccountFixtures.ts"

const Tank = Schema.TaggedUnion({
  TankFilled: { by: Schema.Int },
  TankDrained: { by: Schema.Int },
  TankNamed: { name: Schema.String }
}).pipe(Event.tags({ name: "name" }))

const filled = (by: number) => ({ _tag: "TankFilled" as const, by })
const drained = (by: number) => ({ _tag: "TankDrained" as const, by })
const named = (name: string) => ({ _tag: "TankNamed" as const, name })
const append = (stream: string, ...events: ReadonlyArray<typeof Tank.Type>) => EventStore.append(Tank, stream, events)

interface Options {
  readonly drains?: boolean
  readonly names?: boolean
  readonly where?: EventFilter<`name:${string}`>
}

/** The level of all tanks whose streams have a prefix; each name counts 100. */
const level = (name: string, { drains = false, names = false, where }: Options = {}) =>
  Projection.make(name, {
    events: Tank,
    lifecycle: "inline",
    where: { streamPrefix: `${name}-`, ...where },
    document: Schema.Int,
    key: () => "all",
    evolve: {
      TankFilled: (sum = 0, { by }) => sum + by,
      TankDrained: drains ? (sum = 0, { by }) => sum - by : Projection.ignore,
      TankNamed: names ? (sum = 0) => sum + 100 : Projection.ignore
    }
  })

const handlers = (
  name: string,
  handled: Array<number>,
  { drains = false, earlierEvents, where }: Options & { readonly earlierEvents?: "pass" } = {}
) =>
  Projection.handler(name, {
    events: Tank,
    lifecycle: "inline",
    where: { streamPrefix: `${name}-`, ...where },
    handle: {
      TankFilled: ({ by }) => Effect.sync(() => void handled.push(by)),
      TankDrained: drains ? ({ by }) => Effect.sync(() => void handled.push(-by)) : Projection.ignore,
      TankNamed: Projection.ignore
    },
    ...earlierEvents === undefined ? {} : { earlierEvents }
  })

type Any = ReturnType<typeof level> | ReturnType<typeof handlers>

const start = (projection: Any, options?: Projector.InlineOptions) =>
  Layer.build(Layer.fresh(Projector.layerInline([projection], options)))
/** Runs a release for one append. */
const release = (projection: Any, ...events: ReadonlyArray<typeof Tank.Type>) =>
  Effect.scoped(
    Effect.flatMap(start(projection), (running) => Effect.provide(append(`${projection.name}-1`, ...events), running))
  )
const levelOf = (projection: ReturnType<typeof level>) =>
  Effect.map(ProjectionStore.get(projection, "all"), Option.getOrUndefined)
const reasonOf = (error: { readonly _tag: string } | EventStoreError) =>
  "reason" in error ? error.reason._tag : error._tag
const requireOther = Effect.fnUntraced(
  function*(projection: ReturnType<typeof level>, ...words: ReadonlyArray<string>) {
    for (
      const read of [
        Effect.asVoid(ProjectionStore.get(projection, "all")),
        Effect.asVoid(ProjectionStore.list(projection))
      ]
    ) {
      const error = yield* Effect.flip(read)
      equal(reasonOf(error), "ProjectionIncomplete", "the error of a read")
      for (const word of [...words, "Raise the version", "Projector.repairInline"]) {
        includes(error.message, word, "a read")
      }
    }
    const { reasons, status } = yield* Health.of([projection])
    equal(status, "red", "the health")
    for (const word of words) includes(reasons.join("\n"), word, "the health")
  }
)
const requireRefused = Effect.fnUntraced(function*(projection: Any, ...words: ReadonlyArray<string>) {
  const error = yield* Effect.flip(Effect.scoped(start(projection)))
  equal(reasonOf(error), "StoreMisconfigured", "the error of the start")
  for (const word of [`"${projection.id}"`, "raise its version", ...words]) includes(error.message, word, "the start")
})
const missedFrom = (projection: Any) =>
  Effect.map(
    Projector.inlineProjections,
    (all) => all.find((one) => one.projection === projection.id)?.missedFrom
  )
const uniqueName = () => unique("tank").replaceAll("-", "")

const documents: ReadonlyArray<Case<Stores>> = [
  test("an inline projection that reads more has the earlier events", function*() {
    const name = uniqueName()
    yield* release(level(name, { where: { tags: ["name:a"] }, names: true }), filled(5), drained(2), named("a"))
    equal(yield* levelOf(level(name, { where: { tags: ["name:a"] }, names: true })), 100, "a tag")
    yield* release(level(name, { names: true }), filled(1))
    equal(yield* levelOf(level(name, { names: true })), 106, "a wider `where`")
    yield* requireOther(level(name, { drains: true, names: true }), "also reads \"TankDrained\"")
    yield* release(level(name, { drains: true, names: true }), filled(1))
    equal(yield* levelOf(level(name, { drains: true, names: true })), 105, "another type")
    yield* requireOther(level(name, { names: true }), "does not read \"TankDrained\"")
  }),

  test("reads of an inline projection that now ignores a type fail until it is repaired", function*() {
    const name = uniqueName()
    const [wide, narrow] = [level(name, { drains: true, names: true }), level(name)]
    yield* release(wide, filled(5), drained(2))
    const running = yield* start(narrow, { repairInterval: "10 millis" })
    yield* requireOther(narrow, "does not read \"TankDrained\", \"TankNamed\"")
    yield* Effect.provide(append(`${name}-1`, filled(1)), running)
    yield* requireOther(narrow, "does not read")
    yield* release(narrow, filled(1))
    yield* requireOther(narrow, "does not read")
    equal(yield* levelOf(wide), 5, "a read of the earlier definition")
    equal(yield* Projector.repairInline(narrow), true, "repaired")
    equal(yield* levelOf(narrow), 7, "the document")
    yield* Effect.provide(append(`${name}-1`, drained(1)), running)
    equal(yield* levelOf(narrow), 7, "after an event that it ignores")
    yield* requireOther(wide, "also reads \"TankDrained\"")
  }),

  test("reads of an inline projection with another filter fail until it is repaired", function*() {
    const name = uniqueName()
    const other = level(name, { names: true, where: { tags: ["name:b"] } })
    const narrow = level(name, { names: true, where: { tags: ["name:a"] } })
    yield* release(level(name, { names: true }), filled(5), named("a"), named("b"), named("b"))
    for (const [projection, expected] of [[narrow, 100], [other, 200]] as const) {
      yield* release(projection, filled(1))
      yield* requireOther(projection, "another `where`")
      equal(yield* Projector.repairInline(projection), true, "repaired")
      equal(yield* levelOf(projection), expected, "the document")
    }
  }),

  test("an inline projection reads less at once if the log has no such event", function*() {
    const name = uniqueName()
    const [wide, narrow] = [level(name, { drains: true, where: { streamPrefix: name } }), level(name)]
    yield* release(wide, filled(5), named("a"))
    yield* release(narrow, filled(1))
    equal(yield* levelOf(narrow), 6, "the document")
    yield* release(narrow, drained(1))
    equal([yield* levelOf(narrow), yield* missedFrom(narrow)], [6, undefined], "an event that it ignores")
  }),

  test("a program that reads more makes the documents of one that reads less again", function*() {
    const name = uniqueName()
    const [wide, narrow] = [level(name, { drains: true }), level(name)]
    const running = yield* start(wide, { repairInterval: "10 millis" })
    yield* Effect.provide(append(`${name}-1`, filled(5), drained(2)), running)
    yield* Projector.repairInline(narrow)
    const found = yield* levelOf(wide).pipe(
      Effect.retry({ while: (error) => reasonOf(error) === "ProjectionIncomplete" }),
      Effect.timeout("1 minute")
    )
    equal(found, 3, "the document")
    yield* requireOther(narrow, "does not read")
  }),

  test("an append that folds an event outside the registered definition makes a gap", function*() {
    for (const events of [[drained(3)], [filled(0), drained(3)], [named("a")]]) {
      const name = uniqueName()
      const wide = level(name, { drains: true, names: true })
      const narrow = level(name)
      const running = yield* start(wide)
      yield* Effect.provide(append(`${name}-1`, filled(5)), running)
      yield* Projector.repairInline(narrow)
      equal(yield* levelOf(narrow), 5, "before")
      const { position } = yield* Effect.provide(append(`${name}-1`, ...events), running)
      const error = yield* Effect.flip(levelOf(narrow))
      equal([reasonOf(error), yield* missedFrom(narrow)], ["ProjectionIncomplete", position], "after")
      equal(yield* Projector.repairInline(narrow), true, "repaired")
      equal(yield* levelOf(narrow), 5, "the document")
    }
  }),

  test("handlers and documents of one version are rejected, in either order", function*() {
    const name = uniqueName()
    const handled: Array<number> = []
    const [first, second] = [handlers(name, handled), level(name)]
    yield* release(first, filled(5))
    yield* requireRefused(second, "has handlers in the log, and documents in this program", "Projector.retireInline")
    yield* requireOther(second, "has handlers in the log")
    equal(reasonOf(yield* Effect.flip(Projector.repairInline(second))), "StoreMisconfigured", "a repair")
    yield* release(first, filled(1))
    equal([...handled], [5, 1], "the handlers go on")
    const other = uniqueName()
    yield* release(level(other), filled(5))
    yield* requireRefused(handlers(other, handled), "has documents in the log, and handlers in this program")
    equal(
      reasonOf(
        yield* Effect.flip(Projector.closeInlineGap(handlers(other, handled), { correctedUpTo: Position.start }))
      ),
      "StoreMisconfigured",
      "closed"
    )
    yield* release(level(other), filled(1))
    equal(yield* levelOf(level(other)), 6, "the documents go on")
  }),

  test("a program that fails to start does not change whether a projection is required", function*() {
    const [name, other] = [uniqueName(), uniqueName()]
    const [wide, narrow] = [handlers(other, [], { drains: true }), handlers(other, [])]
    yield* Effect.scoped(start(level(name), { appendsWithout: "reject" }))
    yield* Effect.scoped(start(narrow, { appendsWithout: "reject" }))
    yield* append(`${other}-1`, drained(1))
    for (const projection of [handlers(name, []), wide]) {
      const error = yield* Effect.flip(Effect.scoped(start(projection, { appendsWithout: "gap" })))
      equal(reasonOf(error), "StoreMisconfigured", "the start")
      const registered = (yield* Projector.inlineProjections).find((one) => one.projection === projection.id)
      equal(registered?.isRequired, true, "required")
    }
    yield* Effect.forEach([level(name), narrow], ({ id }) => Projector.retireInline(id))
  }),

  test("retired handlers that still run do not count as documents of the same version", function*() {
    const name = uniqueName()
    const handled: Array<number> = []
    const running = yield* start(handlers(name, handled))
    yield* Effect.provide(append(`${name}-1`, filled(5)), running)
    yield* Projector.retireInline(level(name).id)
    yield* release(level(name), filled(1))
    const error = yield* Effect.flip(Effect.provide(append(`${name}-1`, filled(1)), running))
    equal(reasonOf(error), "StoreMisconfigured", "an append")
    equal([yield* levelOf(level(name)), [...handled]], [6, [5]], "the document, and what was handled")
  })
]

const packed = { kg: Schema.Int }
const PackedBox = Schema.TaggedUnion({ BoxPacked: packed })
/** Earlier boxes may have been gifts. */
const Box = Schema.TaggedUnion({ BoxPacked: packed, BoxGiven: packed }).pipe(
  Event.upcasters({
    BoxPacked: Event.from(packed).splitInto(["BoxPacked", "BoxGiven"], ({ kg }) => [
      kg > 100 ? { _tag: "BoxGiven", kg: kg - 100 } : { _tag: "BoxPacked", kg }
    ])
  })
)

const boxes = (name: string, { packs = true, gives = true } = {}) =>
  Projection.make(name, {
    events: Box,
    lifecycle: "inline",
    where: { streamPrefix: `${name}-` },
    document: Schema.Int,
    key: () => "all",
    evolve: {
      BoxPacked: packs ? (sum = 0, { kg }) => sum + kg : Projection.ignore,
      BoxGiven: gives ? (sum = 0, { kg }) => sum + kg * 1000 : Projection.ignore
    }
  })

const splits: ReadonlyArray<Case<Stores>> = [
  test("an inline projection of another part of a stored type has the earlier events", function*() {
    const name = uniqueName()
    const sumOf = (projection: ReturnType<typeof boxes>) =>
      Effect.map(ProjectionStore.get(projection, "all"), Option.getOrUndefined)
    const store = (kg: number) => EventStore.append(PackedBox, `${name}-1`, [{ _tag: "BoxPacked", kg }])
    const pack = (kg: number) => EventStore.append(Box, `${name}-1`, [{ _tag: "BoxPacked", kg }])
    yield* Effect.andThen(store(7), store(103))
    const [packs, gives, both] = [boxes(name, { gives: false }), boxes(name, { packs: false }), boxes(name)]
    const older = yield* Layer.build(Layer.fresh(Projector.layerInline([packs])))
    yield* Effect.provide(pack(1), older)
    equal(yield* sumOf(packs), 8, "packed")
    const other = yield* Layer.build(Layer.fresh(Projector.layerInline([both])))
    equal(yield* sumOf(both), 3008, "packed and given")
    equal(reasonOf(yield* Effect.flip(sumOf(packs))), "ProjectionIncomplete", "a read of the earlier definition")
    yield* Effect.andThen(Effect.provide(pack(1), older), Effect.provide(pack(1), other))
    equal(yield* sumOf(both), 3010, "both handle new events")
    yield* Projector.repairInline(gives)
    const ignoring = yield* Layer.build(Layer.fresh(Projector.layerInline([gives])))
    yield* Effect.provide(pack(1), ignoring)
    equal(yield* sumOf(gives), 3000, "given")
    yield* Projector.repairInline(both)
    yield* Effect.provide(pack(1), ignoring)
    equal(reasonOf(yield* Effect.flip(sumOf(both))), "ProjectionIncomplete", "an event that the program ignores")
    yield* Projector.repairInline(both)
    equal(yield* sumOf(both), 3012, "repaired")
  })
]

const ofHandlers: ReadonlyArray<Case<Stores>> = [
  test("inline handlers that read more are rejected if the log has such events", function*() {
    const handled: Array<number> = []
    for (
      const [before, after, words] of [
        [{}, { drains: true }, "such as \"TankDrained\" at position"],
        [{ where: { streamPrefix: "tank-0" } }, {}, "such as \"TankFilled\" at position"]
      ] as const
    ) {
      const name = uniqueName()
      const [old, current] = [handlers(name, handled, before), handlers(name, handled, after)]
      yield* Effect.scoped(start(old))
      yield* Effect.scoped(start(current))
      yield* Projector.retireInline(old.id)
      yield* release(old, filled(5), drained(2))
      yield* requireRefused(current, "Projector.closeInlineGap", "earlierEvents", words)
      yield* release(old, filled(1))
      handled.length = 0
      const passing = handlers(name, handled, { ...after, earlierEvents: "pass" })
      yield* release(passing, filled(4), drained(3))
      yield* release(current, filled(2))
      equal([...handled], current.reads.includes("TankDrained") ? [4, -3, 2] : [4, 2], "what was handled")
      equal(yield* missedFrom(current), undefined, "the gap")
    }
  }),

  test("inline handlers go on after the user has corrected the tables", function*() {
    const name = uniqueName()
    const handled: Array<number> = []
    const [old, current] = [handlers(name, handled), handlers(name, handled, { drains: true })]
    const { position } = yield* release(old, filled(5), drained(2))
    yield* requireRefused(current)
    const before = Position.make(position - 1n)
    const error = yield* Effect.flip(Projector.closeInlineGap(current, { correctedUpTo: before }))
    equal(reasonOf(error), "StoreMisconfigured", "an event after the position")
    includes(error.message, `after position ${before}`, "the message")
    yield* requireRefused(current)
    equal(yield* Projector.closeInlineGap(current, { correctedUpTo: position }), Option.none(), "no gap")
    yield* release(current, drained(1))
    equal([...handled], [5, -1], "what was handled")
  }),

  test("inline handlers that now ignore a type leave gaps of older programs visible", function*() {
    const name = uniqueName()
    const handled: Array<number> = []
    const [old, current] = [handlers(name, handled), handlers(name, handled, { drains: true })]
    yield* release(current, filled(5))
    yield* release(old, filled(1))
    const { reasons, status } = yield* Health.of([old])
    equal([status, reasons], ["green", []], "the health of what reads less")
    const { position } = yield* release(old, drained(2))
    equal(yield* missedFrom(current), position, "an event that the older program ignores")
    yield* release(current, drained(1))
    equal([...handled], [5, 1, -1], "what was handled")
    equal(
      yield* Projector.closeInlineGap(old, { correctedUpTo: position }),
      Option.some(position),
      "from now on ignored"
    )
    yield* release(old, drained(2))
    equal(yield* missedFrom(old), undefined, "the gap")
    yield* requireRefused(current, "TankDrained")
  })
]

const retired: ReadonlyArray<Case<Stores>> = [
  test("a program with a retired inline projection cannot append, and repeats no event", function*() {
    const name = uniqueName()
    const inline = level(name)
    const background = Projection.make(name, {
      events: Tank,
      where: { streamPrefix: `${name}-` },
      document: Schema.Int,
      key: () => "all",
      evolve: {
        TankFilled: (sum = 0, { by }) => sum + by,
        TankDrained: Projection.ignore,
        TankNamed: Projection.ignore
      }
    })
    const store = yield* ProjectionStore.ProjectionStore
    const running = yield* start(inline)
    yield* Effect.provide(append(`${name}-1`, filled(5)), running)
    yield* Projector.retireInline(inline.id)
    for (const events of [[filled(1)], [named("a"), filled(1)]]) {
      const error = yield* Effect.flip(Effect.provide(append(`${name}-1`, ...events), running))
      equal(reasonOf(error), "StoreMisconfigured", "an append")
      includes(error.message, `"${inline.id}", which was retired after the program was started`, "the message")
    }
    yield* Effect.provide(append(`${name}-1`, drained(1)), running)
    const { position } = yield* append(`${name}-1`, filled(2))
    yield* Layer.build(Layer.fresh(Projector.layer([background])))
    yield* store.awaitPosition(background, position, "1 minute")
    equal(yield* ProjectionStore.get(background, "all"), Option.some(7), "the document")
  })
]

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const inlineReads: ReadonlyArray<Case<Stores>> = [...documents, ...splits, ...ofHandlers, ...retired]
