/**
 * Decisions with a dynamic consistency boundary (DCB). A student enrols in a course if the course has a free place and the student takes
 * fewer than three courses (https://dcb.events/examples/course-subscriptions). A name belongs to one student
 * (https://dcb.events/examples/unique-username).
 */
import { Effect, Layer, Result, Schema } from "effect"
import { Command, CommandBus, Decision, Event, EventStore } from "evsrc"

export const CourseEvent = Schema.TaggedUnion({
  CourseDefined: { courseId: Schema.String, capacity: Schema.Int },
  CapacityChanged: { courseId: Schema.String, capacity: Schema.Int },
  StudentEnrolled: { courseId: Schema.String, studentId: Schema.String },
  NameTaken: { studentId: Schema.String, name: Schema.String },
  NameReleased: { studentId: Schema.String, name: Schema.String }
}).pipe(Event.tags({ course: "courseId", student: "studentId", name: "name" }))

export class CourseUnknown extends Schema.TaggedError<CourseUnknown>()("CourseUnknown", { courseId: Schema.String }) {}
export class CourseExists extends Schema.TaggedError<CourseExists>()("CourseExists", { courseId: Schema.String }) {}
export class CourseFull extends Schema.TaggedError<CourseFull>()("CourseFull", { courseId: Schema.String }) {}
export class StudentBusy extends Schema.TaggedError<StudentBusy>()("StudentBusy", { studentId: Schema.String }) {}
export class NameIsTaken extends Schema.TaggedError<NameIsTaken>()("NameIsTaken", { name: Schema.String }) {}

export const DefineCourse = Command.make("DefineCourse", {
  payload: { courseId: Schema.String, capacity: Schema.Int },
  error: CourseExists
})
export const ChangeCapacity = Command.make("ChangeCapacity", {
  payload: { courseId: Schema.String, capacity: Schema.Int },
  error: CourseUnknown
})
export const EnrolStudent = Command.make("EnrolStudent", {
  payload: { courseId: Schema.String, studentId: Schema.String },
  error: Schema.Union([CourseUnknown, CourseFull, StudentBusy])
})
export const TakeName = Command.make("TakeName", {
  payload: { studentId: Schema.String, name: Schema.String },
  error: NameIsTaken
})

// Decision models: each selects the events it needs, and each decision combines some of them.

const Places = (courseId: string) =>
  Decision.model({
    events: CourseEvent,
    tags: { course: courseId },
    initial: { defined: false, capacity: 0, taken: 0 },
    evolve: {
      CourseDefined: (s, e) => ({ ...s, defined: true, capacity: e.capacity }),
      CapacityChanged: (s, e) => ({ ...s, capacity: e.capacity }),
      StudentEnrolled: (s) => ({ ...s, taken: s.taken + 1 })
    }
  })

const Courses = (studentId: string) =>
  Decision.model({
    events: CourseEvent,
    tags: { student: studentId },
    initial: new Set<string>(),
    evolve: { StudentEnrolled: (courses, e) => new Set([...courses, e.courseId]) }
  })

const Defined = (courseId: string) =>
  Decision.model({
    events: CourseEvent,
    tags: { course: courseId },
    initial: false,
    evolve: { CourseDefined: () => true }
  })

const Owner = (name: string) =>
  Decision.model<typeof CourseEvent, string | undefined>({
    events: CourseEvent,
    tags: { name },
    initial: undefined,
    evolve: { NameTaken: (_, e) => e.studentId, NameReleased: () => undefined }
  })

const define = Decision.make(DefineCourse, {
  events: CourseEvent,
  models: (c) => ({ exists: Defined(c.courseId) }),
  decide: ({ exists }, c) =>
    exists ? Result.fail(new CourseExists({ courseId: c.courseId })) : [{ _tag: "CourseDefined", ...c }]
})

const change = Decision.make(ChangeCapacity, {
  events: CourseEvent,
  models: (c) => ({ exists: Defined(c.courseId) }),
  decide: ({ exists }, c) =>
    exists ? [{ _tag: "CapacityChanged", ...c }] : Result.fail(new CourseUnknown({ courseId: c.courseId }))
})

const enrol = Decision.make(EnrolStudent, {
  events: CourseEvent,
  models: (c) => ({ places: Places(c.courseId), courses: Courses(c.studentId) }),
  decide: ({ courses, places }, c) =>
    courses.has(c.courseId)
      ? []
      : !places.defined
      ? Result.fail(new CourseUnknown({ courseId: c.courseId }))
      : places.taken >= places.capacity
      ? Result.fail(new CourseFull({ courseId: c.courseId }))
      : courses.size >= 3
      ? Result.fail(new StudentBusy({ studentId: c.studentId }))
      : [{ _tag: "StudentEnrolled", ...c }]
})

const takeName = Decision.make(TakeName, {
  events: CourseEvent,
  models: (c) => ({ owner: Owner(c.name) }),
  decide: ({ owner }, c) =>
    owner === c.studentId
      ? []
      : owner === undefined
      ? [{ _tag: "NameTaken", ...c }]
      : Result.fail(new NameIsTaken({ name: c.name }))
})

export const School = Layer.mergeAll(
  Decision.layer(define),
  Decision.layer(change),
  Decision.layer(enrol),
  Decision.layer(takeName)
)

export const program = Effect.gen(function*() {
  yield* CommandBus.dispatch(DefineCourse, { courseId: "logic", capacity: 2 })
  const students = ["ann", "bob", "cem", "dea"]
  const results = yield* Effect.forEach(
    students,
    (studentId) => Effect.result(CommandBus.dispatch(EnrolStudent, { courseId: "logic", studentId })),
    { concurrency: "unbounded" }
  )
  yield* Effect.log(`4 students at once for 2 places: ${results.filter(Result.isSuccess).length} enrolled`)
  const names = yield* Effect.forEach(
    students,
    (studentId) => Effect.result(CommandBus.dispatch(TakeName, { studentId, name: "ace" })),
    { concurrency: "unbounded" }
  )
  yield* Effect.log(`4 students at once for 1 name: ${names.filter(Result.isSuccess).length} has it`)
})

if (import.meta.main) {
  await Effect.runPromise(program.pipe(Effect.provide(School.pipe(Layer.provide(EventStore.layerMemory)))))
}
