import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Schedule, Stream } from "effect"
import { CommandBus, EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import * as Courses from "../../examples/courses.ts"
import { layerPostgres } from "../support/Database.ts"
import * as Script from "../support/Script.ts"

const backEnds = {
  memory: EventStore.layerMemory,
  PostgreSQL: PgEventStore.layer.pipe(Layer.provide(layerPostgres()))
}

const errors = (exits: ReadonlyArray<Exit.Exit<unknown, { readonly _tag: string }>>) =>
  exits.flatMap((exit) => Option.toArray(Exit.findErrorOption(exit))).map((error) => error._tag)

for (const [name, store] of Object.entries(backEnds)) {
  describe(`courses on ${name}`, () => {
    const school = Courses.School.pipe(Layer.provideMerge(store))

    it.live("never enrols more students than a course has places", () =>
      Effect.gen(function*() {
        for (let round = 0; round < 20; round++) {
          const courseId = `course ${round}`
          yield* CommandBus.dispatch(Courses.DefineCourse, { courseId, capacity: 3 })
          const exits = yield* Effect.forEach(
            Array.from({ length: 16 }, (_, i) => `${round}/${i}`),
            (studentId) =>
              Effect.exit(Effect.retry(CommandBus.dispatch(Courses.EnrolStudent, { courseId, studentId }), {
                while: (error) => error._tag === "EventStoreError" && error.reason._tag === "AppendConditionFailed",
                schedule: Schedule.spaced("5 millis")
              })),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(exits.filter(Exit.isSuccess).length, 3)
          assert.deepStrictEqual(errors(exits), Array.from({ length: 13 }, () => "CourseFull"))
        }
      }).pipe(Effect.provide(school)))

    it.live("never enrols a student in more than three courses", () =>
      Effect.gen(function*() {
        const courses = Array.from({ length: 8 }, (_, i) => `course ${i}`)
        for (const courseId of courses) yield* CommandBus.dispatch(Courses.DefineCourse, { courseId, capacity: 10 })
        const exits = yield* Effect.forEach(
          courses,
          (courseId) => Effect.exit(CommandBus.dispatch(Courses.EnrolStudent, { courseId, studentId: "ann" })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 3)
        assert.deepStrictEqual(errors(exits), Array.from({ length: 5 }, () => "StudentBusy"))
      }).pipe(Effect.provide(school)))

    it.live("decides on every event of its models, and repeats no command", () =>
      Effect.gen(function*() {
        const enrol = (studentId: string, commandId?: string) =>
          CommandBus.dispatch(Courses.EnrolStudent, { courseId: "c", studentId }, { commandId })
        assert.strictEqual((yield* Effect.flip(enrol("ann")))._tag, "CourseUnknown")
        yield* CommandBus.dispatch(Courses.DefineCourse, { courseId: "c", capacity: 1 })
        const again = yield* Effect.flip(CommandBus.dispatch(Courses.DefineCourse, { courseId: "c", capacity: 9 }))
        assert.strictEqual(again._tag, "CourseExists")
        const receipt = yield* enrol("ann", "key")
        assert.strictEqual(receipt.events.length, 1)
        assert.strictEqual((yield* Effect.flip(enrol("bob")))._tag, "CourseFull")
        assert.deepStrictEqual(yield* enrol("ann", "key"), receipt)
        assert.deepStrictEqual((yield* enrol("ann")).events, [])
        yield* CommandBus.dispatch(Courses.ChangeCapacity, { courseId: "c", capacity: 2 })
        yield* enrol("bob")
        const expecting = yield* Effect.flip(
          CommandBus.dispatch(Courses.EnrolStudent, { courseId: "c", studentId: "cem" }, { expected: "noStream" })
        )
        assert.strictEqual(
          expecting._tag === "EventStoreError" ? expecting.reason._tag : expecting._tag,
          "InvalidRequest"
        )
        const events = yield* Stream.runCollect((yield* EventStore.EventStore).readAll(Courses.CourseEvent))
        assert.deepStrictEqual(
          events.map((e) => [e.type, e.tags]),
          [
            ["CourseDefined", ["course:c"]],
            ["StudentEnrolled", ["course:c", "student:ann"]],
            ["CapacityChanged", ["course:c"]],
            ["StudentEnrolled", ["course:c", "student:bob"]]
          ]
        )
      }).pipe(Effect.provide(Layer.fresh(school))))

    it.live("gives a name to one student", () =>
      Effect.gen(function*() {
        const exits = yield* Effect.forEach(
          Array.from({ length: 16 }, (_, i) => `student ${i}`),
          (studentId) => Effect.exit(CommandBus.dispatch(Courses.TakeName, { studentId, name: "ace" })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        assert.deepStrictEqual(errors(exits), Array.from({ length: 15 }, () => "NameIsTaken"))
      }).pipe(Effect.provide(school)))
  })
}

describe("courses as a program", () => {
  it.live("prints how many students got a place", () =>
    Effect.gen(function*() {
      const script = yield* Script.start(import.meta.resolve("../../examples/courses.ts"))
      yield* script.waitFor(/4 students at once for 2 places: 2 enrolled/)
      yield* script.waitFor(/4 students at once for 1 name: 1 has it/)
      assert.strictEqual((yield* script.exited).code, 0)
    }))
})
