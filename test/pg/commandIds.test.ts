/** Commands and decisions inside a transaction of the caller. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Result, Schema } from "effect"
import { EventStoreError } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"
import { commands, Courses } from "./courses.ts"

class RolledBack extends Schema.TaggedError<RolledBack>()("RolledBack", {}) {}

/** Returns what a command has become: its version, what differs from the first use of its id, or why it was rejected. */
const outcomeOf = <R>(effect: Effect.Effect<{ readonly version: number }, unknown, R>) =>
  Effect.map(Effect.result(effect), (result) => {
    if (Result.isSuccess(result)) return Number(result.success.version)
    const error = result.failure
    if (error instanceof EventStoreError) {
      return error.reason._tag === "CommandIdReused" ? error.reason.differs : error.reason._tag
    }
    return typeof error === "object" && error !== null
      ? Reflect.get(error, "because") ?? Reflect.get(error, "_tag")
      : error
  })

const withCourses = Effect.provide(Courses)

const onServer = PgEventStore.layer.pipe(Layer.provideMerge(layerPostgres()))

layer(onServer, { excludeTestServices: true })("inside a transaction of the caller", (it) => {
  it.effect("a command id belongs to one payload, and is free again after a rollback", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const run = Effect.fnUntraced(function*(rollsBack: boolean, course: string) {
        const change = (capacity: number) =>
          outcomeOf(withCourses(commands.ChangeCapacity(course, capacity, `change ${course}`)))
        const enrol = (student: string) =>
          outcomeOf(withCourses(commands.Enrol({ course, student }, `enrol ${course}`)))
        return yield* sql.withTransaction(Effect.gen(function*() {
          assert.strictEqual(yield* change(1), 1)
          assert.strictEqual(yield* change(1), 1, "the same decision")
          assert.strictEqual(yield* change(2), "payload", "another payload")
          assert.strictEqual(yield* enrol("ann"), 2, "a command sees what the decision wrote in the transaction")
          assert.strictEqual(yield* enrol("ann"), 2, "the same command")
          assert.strictEqual(yield* enrol("bob"), "payload", "another payload, although the course is full")
          if (rollsBack) return yield* new RolledBack()
        })).pipe(Effect.catchTag("RolledBack", () => Effect.void))
      })
      yield* run(true, "one")
      yield* run(false, "one")
      assert.strictEqual(yield* outcomeOf(withCourses(commands.ChangeCapacity("one", 3, "change one"))), "payload")
      assert.strictEqual(yield* outcomeOf(withCourses(commands.ChangeCapacity("one", 1, "change one"))), 1)
    }))

  it.effect("decisions and commands with models see the events of the transaction, and reject on them", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      let n = 0
      const id = () => `rule ${++n}`
      yield* sql.withTransaction(Effect.gen(function*() {
        for (const course of ["a", "b", "c"]) yield* withCourses(commands.ChangeCapacity(course, 1, id()))
        const enrol = (command: "Enrol" | "EnrolByDecision", course: string, student: string) =>
          command === "Enrol"
            ? outcomeOf(withCourses(commands.Enrol({ course, student }, id())))
            : outcomeOf(withCourses(commands.EnrolByDecision({ course, student }, id())))
        assert.strictEqual(yield* enrol("EnrolByDecision", "a", "cem"), 2)
        assert.strictEqual(yield* enrol("Enrol", "a", "bob"), "the course is full")
        assert.strictEqual(yield* enrol("EnrolByDecision", "a", "bob"), "the course is full")
        assert.strictEqual(yield* enrol("Enrol", "b", "cem"), 2)
        assert.strictEqual(yield* enrol("Enrol", "c", "cem"), "the student attends two courses")
        assert.strictEqual(yield* enrol("EnrolByDecision", "c", "cem"), "the student attends two courses")
        assert.strictEqual(
          yield* outcomeOf(withCourses(commands.ChangeCapacity("a", 0, id()))),
          "more students attend the course"
        )
        assert.strictEqual(yield* outcomeOf(withCourses(commands.Leave({ course: "b", student: "cem" }, id()))), 3)
        assert.strictEqual(yield* enrol("Enrol", "c", "cem"), 2)
      }))
    }))
})
