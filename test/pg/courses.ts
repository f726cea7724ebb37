/** Courses that are changed by commands of an aggregate with decision models, and by decisions that write to the aggregate's stream. */
import { Layer, Result, Schema } from "effect"
import { Aggregate, Command, CommandBus, Decision, Event } from "evsrc"

const text = Schema.String
const place = Schema.Struct({ course: text, student: text })
const capacity = { course: text, capacity: Schema.Int }

/** Courses have a capacity; a student attends at most two. */
export const CourseEvent = Schema.TaggedUnion({
  CapacityChanged: capacity,
  Enrolled: place.fields,
  Left: place.fields
}).pipe(Event.tags({ course: "course", student: "student" }))
const { CapacityChanged, Enrolled, Left } = CourseEvent.cases

class Rejected extends Schema.TaggedError<Rejected>()("Rejected", { because: text }) {}
const rejected = (because: string) => Result.fail(new Rejected({ because }))

const Enrol = Command.make("Enrol", { payload: place.fields, error: Rejected })
const EnrolByDecision = Command.make("EnrolByDecision", { payload: place.fields, error: Rejected })
const Leave = Command.make("Leave", { payload: place.fields, error: Rejected })
export const ChangeCapacity = Command.make("ChangeCapacity", { payload: capacity, error: Rejected })

/** A course as of an event. */
export interface Room {
  readonly capacity: number
  readonly students: ReadonlyArray<string>
}
export const emptyRoom: Room = { capacity: 0, students: [] }
const evolve = {
  CapacityChanged: (room: Room, { capacity }: typeof CapacityChanged.Type): Room => ({ ...room, capacity }),
  Enrolled: ({ capacity, students }: Room, { student }: typeof Enrolled.Type): Room => ({
    capacity,
    students: [...students, student]
  }),
  Left: ({ capacity, students }: Room, { student }: typeof Left.Type): Room => ({
    capacity,
    students: students.filter((other) => other !== student)
  })
}

const roomIn = (course: string) => Decision.model({ events: CourseEvent, tags: { course }, initial: emptyRoom, evolve })
const coursesOf = (student: string) =>
  Decision.model({
    events: CourseEvent,
    tags: { student },
    initial: 0,
    evolve: { Enrolled: (count) => count + 1, Left: (count) => count - 1 }
  })

const enrol = ({ capacity, students }: Room, courses: number, command: typeof place.Type) =>
  students.includes(command.student)
    ? rejected("the student attends the course")
    : students.length >= capacity
    ? rejected("the course is full")
    : courses >= 2
    ? rejected("the student attends two courses")
    : [Enrolled.make(command)]

const Course = Aggregate.make("Course", {
  id: "course",
  state: Schema.Struct({ capacity: Schema.Int, students: Schema.Array(text) }),
  events: CourseEvent,
  commands: [Enrol, Leave]
})

/** Its boundary is the course's own stream, and for `Enrol` the other courses of the student. */
export const CourseDecider = Course.withModels({ Enrol: ({ student }) => ({ courses: coursesOf(student) }) }).decider({
  initial: emptyRoom,
  evolve,
  decide: {
    Enrol: (room, command, { courses }) => enrol(room, courses, command),
    Leave: ({ students }, command) =>
      students.includes(command.student) ? [Left.make(command)] : rejected("the student does not attend the course")
  }
})

const enrolByDecision = Decision.make(EnrolByDecision, {
  events: CourseEvent,
  stream: ({ course }) => Course.streamOf(course),
  models: ({ course, student }) => ({ room: roomIn(course), courses: coursesOf(student) }),
  decide: ({ courses, room }, command) => enrol(room, courses, command)
})

const changeCapacity = Decision.make(ChangeCapacity, {
  events: CourseEvent,
  stream: ({ course }) => Course.streamOf(course),
  models: ({ course }) => ({ room: roomIn(course) }),
  decide: ({ room }, command) =>
    command.capacity < room.students.length
      ? rejected("more students attend the course")
      : [CapacityChanged.make(command)]
})

export const Courses = Layer.mergeAll(
  Aggregate.layer(CourseDecider),
  Decision.layer(enrolByDecision),
  Decision.layer(changeCapacity)
)

/** The commands by their names. */
export const commands = {
  Enrol: (payload: typeof place.Type, commandId: string) => CommandBus.dispatch(Enrol, payload, { commandId }),
  EnrolByDecision: (payload: typeof place.Type, commandId: string) =>
    CommandBus.dispatch(EnrolByDecision, payload, { commandId }),
  Leave: (payload: typeof place.Type, commandId: string) => CommandBus.dispatch(Leave, payload, { commandId }),
  ChangeCapacity: (course: string, capacity: number, commandId: string) =>
    CommandBus.dispatch(ChangeCapacity, { course, capacity }, { commandId })
}

export const courseNames = Array.from({ length: 6 }, (_, n) => `course ${n}`)
export const studentNames = Array.from({ length: 16 }, (_, n) => `student ${n}`)
/** No command gives a course more places. */
export const maxCapacity = 4

/**
 * Replays events in the order of their positions. Returns the rules that one of them has broken, and what became of the courses.
 */
export const judge = (events: Iterable<{ readonly event: typeof CourseEvent.Type; readonly position: bigint }>) => {
  const broken: Array<string> = []
  const rooms = new Map<string, Room>()
  const attended = new Map<string, number>()
  for (const { event, position } of events) {
    const before = rooms.get(event.course) ?? emptyRoom
    const fail = (rule: string) => broken.push(`${position}: ${rule}: ${JSON.stringify([event, before])}`)
    if (event._tag === "CapacityChanged") {
      if (event.capacity < before.students.length) fail("the capacity is below the number of students")
      rooms.set(event.course, evolve.CapacityChanged(before, event))
      continue
    }
    const courses = attended.get(event.student) ?? 0
    const attends = before.students.includes(event.student)
    if (event._tag === "Enrolled") {
      if (before.students.length >= before.capacity) fail("more students than places")
      if (courses >= 2) fail("a third course of a student")
      if (attends) fail("enrolled twice")
    } else if (!attends) fail("left twice")
    attended.set(event.student, courses + (event._tag === "Enrolled" ? 1 : -1))
    rooms.set(event.course, event._tag === "Enrolled" ? evolve.Enrolled(before, event) : evolve.Left(before, event))
  }
  return { broken, rooms }
}
