/**
 * The part of the event store suite on what the log knows of its events and their readers: the inline projections that an append must run, and the
 * types of its events.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import * as StreamId from "../core/StreamId.ts"
import type { AppendRequest } from "../eventStore/driver/EventStoreDriver.ts"
import { coverageOf, type InlineProjection } from "../eventStore/driver/InlineProjectionsDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { type Case, equal, includes, isAbove, ok, test, unique } from "./Suite.ts"

const driver = Effect.map(EventStore, (store) => store[internals].driver)

interface Options extends Pick<AppendRequest, "inlineProjections" | "closes"> {
  readonly schemaVersion?: number
  readonly tags?: ReadonlyArray<string>
  readonly types?: ReadonlyArray<string>
}

/** Appends events to a stream, and returns the position of the first; undefined if nothing was appended. */
const append = (
  stream: string,
  { closes, inlineProjections, schemaVersion = 1, tags = [], types = ["Weighed"] }: Options = {}
) =>
  Effect.flatMap(driver, (driver) =>
    Effect.map(
      driver.append({
        stream: StreamId.StreamId.make(stream),
        expected: "any",
        events: types.map((type) => ({
          id: globalThis.crypto.randomUUID(),
          type,
          schemaVersion,
          data: "{}",
          metadata: "{}",
          tags
        })),
        closes,
        inlineProjections
      }),
      (result) => result._tag === "Appended" ? result.positions[0] : undefined
    ))

const missedFrom = Effect.fnUntraced(function*(projection: string) {
  return (yield* (yield* driver).inlineProjections.find(projection))?.missedFrom
})

/** Registers a projection of events of one type, in streams with a prefix of its own. */
const register = Effect.fnUntraced(
  function*(
    options: Partial<Pick<InlineProjection, "isRequired" | "keeps" | "ignores">> & {
      readonly tags?: ReadonlyArray<string>
    } = {}
  ) {
    const { ignores = {}, isRequired = false, keeps = "documents", tags } = options
    const [projection, prefix] = [`${unique("scale")}@1`, unique("Scale")]
    const { inlineProjections } = yield* driver
    yield* inlineProjections.register({
      projection,
      keeps,
      ignores,
      reads: { types: ["Weighed"], streamPrefix: prefix, ...(tags === undefined ? {} : { tags }) },
      isRequired
    })
    return { projection, prefix, coverage: coverageOf({ projection, keeps, ignores }, "Weighed") }
  }
)

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inlineProjections: ReadonlyArray<Case<EventStore>> = [
  test("records the first event of each append that leaves out an inline projection", function*() {
    const { coverage, projection, prefix } = yield* register()
    const other = yield* register()
    yield* append(`${prefix}1`, { inlineProjections: [[coverage]] })
    yield* append(`${prefix}1`, {
      types: ["Weighed", "Weighed"],
      inlineProjections: [[coverage], [other.coverage, coverage]]
    })
    equal(yield* missedFrom(projection), undefined, "appends that run it")
    const first = yield* append(`${prefix}1`, { types: ["Weighed", "Weighed"], inlineProjections: [[coverage], []] })
    equal(yield* missedFrom(projection), Position.make(first! + 1n), "an append that runs it on one of two events")
    yield* append(`${prefix}1`)
    equal(yield* missedFrom(projection), Position.make(first! + 1n), "a later append")
  }),

  test("records no gap for events that an inline projection does not read", function*() {
    const { projection, prefix } = yield* register({ tags: ["scale:a", "unit:kg"] })
    yield* append(unique("other"), { tags: ["scale:a", "unit:kg"] })
    yield* append(`${prefix}1`, { tags: ["scale:a"] })
    yield* append(`${prefix}1`)
    yield* append(`${prefix}1`, { types: ["Calibrated"], tags: ["scale:a", "unit:kg"] })
    equal(yield* missedFrom(projection), undefined, "other events")
    const first = yield* append(`${prefix}1`, { tags: ["x:y", "unit:kg", "scale:a"] })
    equal(yield* missedFrom(projection), first, "an event with its tags")
    const anyTags = yield* register({ tags: [] })
    equal(
      yield* append(`${anyTags.prefix}1`),
      yield* missedFrom(anyTags.projection),
      "an empty list of tags: an event without tags"
    )
  }),

  test("records a gap where an append runs another definition of an inline projection", function*() {
    const ignored = { Weighed: ["Calibrated", "Weighed"] }
    for (const run of [[{}, ignored], [ignored, {}], [{ Weighed: ["Calibrated"] }, ignored]] as const) {
      const [registered, covered] = run
      for (const tags of [[], ["scale:a"]]) {
        const { coverage, projection, prefix } = yield* register({ ignores: registered })
        yield* append(`${prefix}1`, { tags, inlineProjections: [[coverage]] })
        equal(yield* missedFrom(projection), undefined, "the registered one")
        const first = yield* append(`${prefix}1`, {
          tags,
          inlineProjections: [[coverageOf({ projection, keeps: "documents", ignores: covered }, "Weighed")]]
        })
        equal(yield* missedFrom(projection), first, "another one")
      }
    }
  }),

  test("records a gap when an append folds an event that the projection does not read", function*() {
    for (const keeps of ["documents", "handlers"] as const) {
      for (
        const [options, types] of [[{}, ["Calibrated"]], [{}, ["Weighed", "Calibrated"]], [{ tags: ["a:b"] }, [
          "Weighed"
        ]]] as const
      ) {
        const { coverage, projection, prefix } = yield* register({ keeps, ...options })
        const first = yield* append(`${prefix}1`, { types, inlineProjections: types.map(() => [coverage]) })
        const position = Position.make(first! + BigInt(types.length - 1))
        equal(yield* missedFrom(projection), keeps === "documents" ? position : undefined, `${keeps}: ${types}`)
        const elsewhere = yield* register({ keeps })
        const second = yield* append(unique("Other"), { inlineProjections: [[elsewhere.coverage]] })
        equal(yield* missedFrom(elsewhere.projection), keeps === "documents" ? second : undefined, "another stream")
      }
    }
  }),

  test("rejects an append with an unregistered inline projection or one of another kind", function*() {
    const { inlineProjections, streamStatus } = yield* driver
    const [handlers, documents, retired] = [
      yield* register({ keeps: "handlers" }),
      yield* register(),
      yield* register()
    ]
    yield* inlineProjections.unregister(retired.projection)
    const coverages = [
      [retired.coverage],
      [documents.coverage, retired.coverage],
      [coverageOf({ projection: handlers.projection, keeps: "documents", ignores: {} }, "Weighed")]
    ]
    const stream = StreamId.StreamId.make(unique("Scale"))
    for (const coverage of coverages) {
      for (const types of [["Weighed"], ["Weighed", "Weighed"]]) {
        const error = yield* Effect.flip(append(stream, { types, inlineProjections: types.map(() => coverage) }))
        ok(error instanceof EventStoreError && error.reason._tag === "StoreMisconfigured", "the reason")
        includes(error.message, "was retired after the program was started", "the words")
      }
    }
    equal((yield* streamStatus(stream)).version, 0, "the stream")
  }),

  test("closes the gaps of an inline projection, and changes its edition", function*() {
    const { inlineProjections } = yield* driver
    const { projection, prefix } = yield* register()
    const before = (yield* inlineProjections.find(projection))!
    const first = yield* append(`${prefix}1`)
    yield* inlineProjections.register(before)
    equal(yield* missedFrom(projection), first, "registered again")
    yield* inlineProjections.closeGaps(projection, Effect.void)
    const after = (yield* inlineProjections.find(projection))!
    equal(after, { ...before, edition: after.edition }, "the registration")
    isAbove(after.edition, before.edition, "the edition")
    const second = yield* append(`${prefix}1`, { types: ["Weighed", "Weighed"] })
    equal(yield* missedFrom(projection), second, "the next gap")
    equal(yield* inlineProjections.unregister(projection), true, "unregistered")
    equal(yield* inlineProjections.find(projection), undefined, "not known")
    yield* append(`${prefix}1`)
    yield* inlineProjections.register(before)
    equal(yield* missedFrom(projection), undefined, "the first missing position after a second registration")
    ok(
      (yield* inlineProjections.registered).some((one) => one.projection === projection),
      "the list of all projections has it"
    )
  }),

  test("closes no gap that is recorded while others are closed, and none above a position", function*() {
    const { inlineProjections } = yield* driver
    for (const keeps of ["documents", "handlers"] as const) {
      const { projection, prefix } = yield* register({ keeps })
      const events = { types: ["Weighed", "Weighed", "Weighed"] }
      yield* append(`${prefix}1`, events)
      const during = yield* inlineProjections.closeGaps(projection, append(`${prefix}1`, events))
      equal(yield* missedFrom(projection), during, `${keeps}: during`)
      equal(yield* Effect.flip(inlineProjections.closeGaps(projection, Effect.fail("failed"))), "failed", "a failure")
      yield* inlineProjections.closeGaps(projection, Effect.void)
      equal(yield* missedFrom(projection), undefined, `${keeps}: all`)
      const first = Position.make((yield* append(`${prefix}1`, events))!)
      const later = yield* append(`${prefix}1`, events)
      yield* inlineProjections.closeGaps(projection, Effect.void, first)
      const next = keeps === "handlers" ? Position.make(first + 1n) : later
      equal(yield* missedFrom(projection), next, `${keeps}: the next gap`)
      yield* inlineProjections.closeGaps(projection, Effect.void, Position.make(later! - 1n))
      equal(yield* missedFrom(projection), later, `${keeps}: the gap of the later append`)
    }
  }),

  test("rejects appends that leave out a required inline projection, and writes nothing of them", function*() {
    const { inlineProjections, streamStatus } = yield* driver
    const { coverage, projection, prefix } = yield* register({ isRequired: true })
    const stream = StreamId.StreamId.make(`${prefix}1`)
    for (const options of [{}, { types: ["Other", "Weighed"] }, { tags: ["a:b"] }, { closes: true }]) {
      const error = yield* Effect.flip(append(stream, options))
      ok(error instanceof EventStoreError && error.reason._tag === "InlineProjectionMissing", "the reason")
    }
    const { closed, version } = yield* streamStatus(stream)
    equal([version, closed._tag], [0, "None"], "the stream")
    equal(yield* missedFrom(projection), undefined, "the gap")
    ok((yield* append(stream, { inlineProjections: [[coverage]] })) !== undefined, "an append that runs it")
    yield* inlineProjections.unregister(projection)
  }),

  test("a registration leaves open whether appends must run an inline projection", function*() {
    const { inlineProjections } = yield* driver
    const { projection } = yield* register()
    const stored = (yield* inlineProjections.find(projection))!
    for (const isRequired of [true, false]) {
      yield* inlineProjections.setRequired(projection, isRequired)
      equal(yield* inlineProjections.find(projection), { ...stored, isRequired }, "set")
      yield* inlineProjections.register({ ...stored, isRequired: !isRequired })
      equal(yield* inlineProjections.find(projection), { ...stored, isRequired }, "registered again")
    }
    yield* inlineProjections.setRequired(`${projection}0`, true)
    equal(yield* inlineProjections.find(`${projection}0`), undefined, "one that is not registered")
  }),

  test("counts the types of events by the categories of their streams", function*() {
    const { eventTypes, head } = yield* driver
    const category = unique("scale").replaceAll("-", "")
    const first = yield* append(`${category}-1`, { types: ["Weighed", "Calibrated"] })
    yield* append(`${category}-2-b`, { types: ["Weighed"] })
    const whole = yield* append(category, { types: ["Calibrated"] })
    const end = yield* head
    const { types } = yield* Effect.repeat(eventTypes, { until: ({ position }) => position >= end }).pipe(
      Effect.timeout("30 seconds")
    )
    isAbove(whole!, first!, "the last append")
    equal(
      types.filter((one) => one.category === category).toSorted((a, b) => a.type < b.type ? -1 : 1),
      [
        {
          type: "Calibrated",
          category,
          first: Position.make(first! + 1n),
          events: 2,
          versions: [{ schemaVersion: 1, events: 2, tagged: new Map() }]
        },
        {
          type: "Weighed",
          category,
          first: first!,
          events: 2,
          versions: [{ schemaVersion: 1, events: 2, tagged: new Map() }]
        }
      ],
      "the types"
    )
  }),

  test("counts the events of a schema version that have tags of a name", function*() {
    const { eventTypes, head } = yield* driver
    const category = unique("scale").replaceAll("-", "")
    const versions = Effect.gen(function*() {
      const end = yield* head
      const { types } = yield* Effect.repeat(eventTypes, { until: ({ position }) => position >= end }).pipe(
        Effect.timeout("30 seconds")
      )
      const found = types.filter((one) => one.category === category)
      equal(found.map(({ type }) => type), ["Weighed"], "the types")
      return found.flatMap(({ versions }) => versions.toSorted((a, b) => a.schemaVersion - b.schemaVersion))
    })
    yield* append(`${category}-1`, { types: ["Weighed", "Weighed"], tags: ["scale:1", "scale:2", "by:a:b"] })
    yield* append(`${category}-2`, { types: ["Weighed"], tags: [] })
    const atOnce = [{ schemaVersion: 1, events: 3, tagged: new Map([["scale", 2], ["by", 2]]) }]
    equal(yield* versions, atOnce, "counted at once")
    yield* append(`${category}-2`, { types: ["Weighed"], tags: ["scale:1", "__proto__:x", "empty:"] })
    yield* append(`${category}-2`, { types: ["Weighed"], tags: ["scale:1"], schemaVersion: 2 })
    equal(yield* versions, [
      { schemaVersion: 1, events: 4, tagged: new Map([["scale", 3], ["by", 2], ["__proto__", 1], ["empty", 1]]) },
      { schemaVersion: 2, events: 1, tagged: new Map([["scale", 1]]) }
    ], "counted later")
  }),

  test("an exchange of documents has a gap, belongs to one program, and ends with its gaps", function*() {
    const { coverage, projection, prefix } = yield* register()
    const { inlineProjections } = yield* driver
    const { exchanges } = inlineProjections
    const stored = (yield* inlineProjections.find(projection))!
    const gap = Position.make(1n)
    const first = yield* exchanges.begin({ ...stored, isRequired: true }, gap)
    equal(
      yield* inlineProjections.find(projection),
      { ...stored, missedFrom: gap, edition: first },
      "the registration, with a gap"
    )
    const held = Effect.all([exchanges.isHeld(projection), exchanges.isHeld(projection, first)])
    equal(yield* held, [true, false], "held, by another and by its own program")
    equal(
      [yield* exchanges.renew(projection, first), yield* exchanges.renew(projection, first)],
      [true, true],
      "goes on"
    )
    yield* append(`${prefix}1`)
    equal(yield* exchanges.changes(projection), 0, "an event that is read")
    yield* append(`${prefix}1`, { types: ["Weighed", "Calibrated"], inlineProjections: [[], [coverage]] })
    equal(yield* exchanges.changes(projection), 1, "an event that is not read, beside one that is")
    const second = yield* exchanges.begin(stored, Position.make(9n))
    equal([yield* exchanges.renew(projection, first), yield* missedFrom(projection)], [false, gap], "another program")
    yield* exchanges.end(projection, first)
    equal(yield* held, [true, true], "its end does not end that of another program")
    yield* exchanges.end(projection, second)
    equal([...yield* held, yield* exchanges.renew(projection, second)], [false, false, false], "ended")
    const third = yield* exchanges.begin(stored, gap)
    yield* inlineProjections.closeGaps(projection, Effect.void)
    equal([yield* exchanges.isHeld(projection), yield* missedFrom(projection)], [false, undefined], "its gaps closed")
    equal(yield* exchanges.renew(projection, third), false, "after its gaps were closed")
    const fourth = yield* exchanges.begin(stored, gap)
    yield* inlineProjections.unregister(projection)
    equal([yield* exchanges.isHeld(projection), yield* exchanges.renew(projection, fourth)], [false, false], "retired")
  })
]
