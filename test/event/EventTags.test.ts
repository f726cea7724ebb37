import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { AsOf, Decision, Event, EventQuery, EventStore, Projection, ProjectionStore, TimeTravel } from "evsrc"

const CourseEvent = Schema.TaggedUnion({
  CourseDefined: { course: Schema.String, capacity: Schema.Int },
  StudentEnrolled: { course: Schema.String, student: Schema.String }
}).pipe(
  Event.tags({ course: "course", student: "student" }),
  Event.legacy({
    CourseOpened: Event.from({ course: Schema.String }).renamedTo("CourseDefined", (e) => ({ ...e, capacity: 1 }))
  })
)
const Untagged = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

/** What a caller without types can write. */
const untyped = <A>(value: unknown) => value as A

describe("a decision model", () => {
  const model = (tags: unknown, ...types: ReadonlyArray<"CourseDefined" | "StudentEnrolled">) =>
    Decision.model({
      events: CourseEvent,
      tags: untyped(tags),
      initial: 0,
      evolve: Object.fromEntries(types.map((type) => [type, (count: number) => count + 1]))
    })

  it("rejects a tag that its events do not declare", () => {
    assert.throws(
      () => model({ costumer: "ann" }, "StudentEnrolled"),
      /Decision\.model: no event of the set has the tag "costumer"; the set declares the tags: course, student/
    )
    assert.throws(
      () =>
        Decision.model({
          events: Untagged,
          tags: untyped<{}>({ n: "1" }),
          initial: 0,
          evolve: { Ticked: (n) => n + 1 }
        }),
      /declares the tags: none/
    )
  })

  it("rejects a tag that an event it handles cannot have", () => {
    assert.throws(
      () => model({ student: "ann" }, "CourseDefined", "StudentEnrolled"),
      /events "CourseDefined" cannot have the tag "student", so they never match; their tags: course/
    )
    assert.deepStrictEqual(model({ student: "ann", course: "art" }, "StudentEnrolled").query.tags, [
      "student:ann",
      "course:art"
    ])
  })

  it("rejects a tag without a value", () => {
    for (const value of [undefined, null, 7]) {
      assert.throws(() => model({ student: value }, "StudentEnrolled"), /the value of the tag "student"/)
    }
  })
})

describe("a query", () => {
  const make = (item: unknown) => () => EventQuery.make(CourseEvent, untyped([item]))

  it("selects the stored types of the events that it names", () => {
    assert.deepStrictEqual(
      EventQuery.make(CourseEvent, [{ types: ["CourseDefined"], tags: [Event.tag("course", "art")] }]),
      EventQuery.ofStoredTypes([{ types: ["CourseDefined", "CourseOpened"], tags: ["course:art"] }])
    )
    assert.deepStrictEqual(EventQuery.make(CourseEvent, [{ tags: ["course:art"] }])[0]?.types, [
      "CourseDefined",
      "StudentEnrolled",
      "CourseOpened"
    ])
  })

  it("rejects types and tags that its events do not have", () => {
    assert.throws(make({ tags: ["costumer:ann"] }), /no event of the set has the tag "costumer"/)
    assert.throws(make({ tags: ["ann"] }), /"ann" is not a tag; make one by Event\.tag/)
    assert.throws(make({ tags: ["student:"] }), /"student:" is not a tag/)
    assert.throws(make({ types: ["CourseDefind"] }), /no event "CourseDefind"; it has CourseDefined, StudentEnrolled/)
    assert.throws(
      make({ types: ["CourseDefined"], tags: ["student:ann"] }),
      /"CourseDefined" cannot have the tag "student"/
    )
    assert.throws(make({}), /at least one type or tag/)
  })
})

describe("a read by query", () => {
  it.effect("returns the events of past types, and rejects items that are not a query", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const Opened = Schema.TaggedUnion({ CourseOpened: { course: Schema.String } }).pipe(
        Event.tags({ course: "course" })
      )
      yield* store.append(Opened, "art", [{ _tag: "CourseOpened", course: "art" }])
      const items: EventQuery.QueryOf<typeof CourseEvent> = [{ types: ["CourseDefined"], tags: ["course:art"] }]
      const { events } = yield* store.readByQuery(EventQuery.make(CourseEvent, items))
      assert.deepStrictEqual(events.map(({ type }) => type), ["CourseOpened"])
      const error = yield* Effect.flip(store.readByQuery(untyped(items)))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.match(error.message, /a query must be made by EventQuery\.make/)
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("tags", () => {
  it("reject a field that no event has", () => {
    assert.throws(
      () => Untagged.pipe(Event.tags({ course: untyped<never>("corse") })),
      /no event of the set has the field "corse"/
    )
  })
})

describe("the query of a live projection", () => {
  const Courses = Projection.make("courses", {
    events: CourseEvent,
    lifecycle: "live",
    document: Schema.Int,
    key: ({ course }) => course,
    find: (course) => untyped([{ tags: [`corse:${course}`] }]),
    evolve: { CourseDefined: () => 0, StudentEnrolled: (count = 0) => count + 1 }
  })

  it.effect("fails with InvalidRequest when its events cannot have the tag", () =>
    Effect.gen(function*() {
      const says = "the query `find` of projection \"courses\" is invalid: no event of the set has the tag \"corse\""
      assert.include((yield* Effect.flip(ProjectionStore.get(Courses, "art"))).message, says)
      assert.include((yield* Effect.flip(TimeTravel.document(Courses, "art", AsOf.now))).message, says)
      const find = untyped<EventQuery.QueryOf<typeof CourseEvent>>([{ types: ["CourseDefind"] }])
      const failed = yield* Effect.flip(TimeTravel.document(Courses, "art", AsOf.now, { find }))
      assert.include(failed.message, "has no event \"CourseDefind\"")
    }).pipe(Effect.provide([EventStore.layerMemory, ProjectionStore.layerMemory])))
})
