/**
 * The suite of decisions and aggregates on one stream: decisions that write to an aggregate's stream, and aggregates whose commands rest on decision
 * models too. Every back end passes it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as StreamLifecycle from "../../src/archive/StreamLifecycle.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { race } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import * as AsOf from "../../src/core/AsOf.ts"
import { ConcurrencyConflict, EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Version from "../../src/core/Version.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"

const text = Schema.String

/** Courses have a capacity; a student attends at most two. */
const CourseEvent = Schema.TaggedUnion({
  Planned: { course: text, capacity: Schema.Int },
  CapacityChanged: { course: text, capacity: Schema.Int },
  Enrolled: { course: text, student: text }
}).pipe(Event.tags({ course: "course", student: "student" }))
const { CapacityChanged, Enrolled, Planned } = CourseEvent.cases

class Full extends Schema.TaggedError<Full>()("Full", {}) {}
class TooMany extends Schema.TaggedError<TooMany>()("TooMany", {}) {}
class TooSmall extends Schema.TaggedError<TooSmall>()("TooSmall", {}) {}

const Plan = Command.make("PlanCourse", { payload: { course: text, capacity: Schema.Int } })
const ChangeCapacity = Command.make("ChangeCapacity", {
  payload: { course: text, capacity: Schema.Int },
  error: TooSmall
})
/** Enrols by a command of the aggregate that takes a model of the student. */
const Enrol = Command.make("Enrol", {
  payload: { course: text, student: text },
  error: Schema.Union([Full, TooMany])
})
/** Enrols by a decision that writes to the stream of the course. */
const EnrolByDecision = Command.make("EnrolByDecision", {
  payload: { course: text, student: text },
  error: Schema.Union([Full, TooMany])
})

const coursesOf = (student: string) =>
  Decision.model({ events: CourseEvent, tags: { student }, initial: 0, evolve: { Enrolled: (count) => count + 1 } })
const roomIn = (course: string) =>
  Decision.model({
    events: CourseEvent,
    tags: { course },
    initial: { capacity: 0, enrolled: 0 },
    evolve: {
      Planned: (state, { capacity }) => ({ ...state, capacity }),
      CapacityChanged: (state, { capacity }) => ({ ...state, capacity }),
      Enrolled: (state) => ({ ...state, enrolled: state.enrolled + 1 })
    }
  })

const Course = Aggregate.make("Course", {
  id: "course",
  state: Schema.Struct({ capacity: Schema.Int, enrolled: Schema.Int }),
  events: CourseEvent,
  commands: [Plan, ChangeCapacity, Enrol]
})

const CourseDecider = Course.withModels({ Enrol: ({ student }) => ({ courses: coursesOf(student) }) }).decider({
  initial: { capacity: 0, enrolled: 0 },
  snapshots: SnapshotPolicy.every(5),
  evolve: {
    Planned: (state, { capacity }) => ({ ...state, capacity }),
    CapacityChanged: (state, { capacity }) => ({ ...state, capacity }),
    Enrolled: (state) => ({ ...state, enrolled: state.enrolled + 1 })
  },
  decide: {
    PlanCourse: (_, command) => [Planned.make(command)],
    ChangeCapacity: (state, command) =>
      command.capacity < state.enrolled ? Result.fail(new TooSmall()) : [CapacityChanged.make(command)],
    Enrol: (state, command, { courses }) =>
      state.enrolled >= state.capacity
        ? Result.fail(new Full())
        : courses >= 2
        ? Result.fail(new TooMany())
        : [Enrolled.make(command)]
  }
})

const enrolByDecision = Decision.make(EnrolByDecision, {
  events: CourseEvent,
  stream: ({ course }) => Course.streamOf(course),
  models: ({ course, student }) => ({ room: roomIn(course), courses: coursesOf(student) }),
  decide: ({ courses, room }, command) =>
    room.enrolled >= room.capacity
      ? Result.fail(new Full())
      : courses >= 2
      ? Result.fail(new TooMany())
      : [Enrolled.make(command)]
})

const conflictRetry = Schedule.recurs(200)
const courses = Layer.merge(
  Aggregate.layer(CourseDecider, { conflictRetry }),
  Decision.layer(enrolByDecision, { conflictRetry })
)

const plan = (capacity: number) => {
  const course = unique("course")
  return Effect.as(CommandBus.dispatch(Plan, { course, capacity }), course)
}
const stateOf = (course: string) => Effect.map(Aggregate.load(CourseDecider, course), ({ state }) => state)
const eventsOf = (course: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Stream.runCollect(store.readStream(CourseEvent, Course.streamOf(course)))
  )

/** Returns the tags of what became of a race. */
const tagsOf = (exits: ReadonlyArray<Exit.Exit<unknown, unknown>>) =>
  exits.map((exit) => {
    if (Exit.isSuccess(exit)) return "ok"
    const error = Result.getOrUndefined(Exit.findError(exit))
    return typeof error === "object" && error !== null ? String(Reflect.get(error, "_tag")) : "defect"
  }).toSorted()

const either = (
  index: number,
  payload: { readonly course: string; readonly student: string }
): Effect.Effect<
  unknown,
  Command.Error<typeof Enrol>,
  Command.HandlerOf<typeof Enrol | typeof EnrolByDecision>
> => index % 2 === 0 ? CommandBus.dispatch(Enrol, payload) : CommandBus.dispatch(EnrolByDecision, payload)

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

/**
 * Decisions and aggregates on one stream.
 *
 * @since 0.1.0
 * @category suites
 */
export const decisionStreams: ReadonlyArray<Case<EventStore.EventStore>> = [
  test("a decision writes to the stream that it names, and the aggregate sees its events", function*() {
    yield* Effect.gen(function*() {
      const course = yield* plan(2)
      // The state is cached before the decision writes.
      equal(yield* stateOf(course), { capacity: 2, enrolled: 0 }, "the state before")
      const student = unique("ann")
      const { stream, version } = yield* CommandBus.dispatch(EnrolByDecision, { course, student })
      equal<unknown>([stream, version], [`Course-${course}`, 2], "stream and version")
      equal(yield* stateOf(course), { capacity: 2, enrolled: 1 }, "the state after")
      const tooSmall = yield* Effect.flip(CommandBus.dispatch(ChangeCapacity, { course, capacity: 0 }))
      equal(tooSmall, new TooSmall(), "a command on the state after")
      yield* CommandBus.dispatch(EnrolByDecision, { course, student: unique("bob") })
      equal(yield* Effect.flip(CommandBus.dispatch(Enrol, { course, student: unique("cem") })), new Full(), "full")
    }).pipe(Effect.provide(courses))
  }),

  test("a decision's expected version holds, and a conflict with it is not retried", function*() {
    yield* Effect.gen(function*() {
      const course = yield* plan(5)
      const enrol = (expected: Version.Expected, by: string = unique("ann")) =>
        CommandBus.dispatch(EnrolByDecision, { course, student: by }, { expected })
      const student = unique("ann")
      equal((yield* enrol(Version.make(1), student)).version, Version.make(2), "the expected version")
      const stream = `Course-${course}`
      const conflict = (expected: Version.Expected) =>
        new ConcurrencyConflict({ stream, expected, actual: Version.make(2) })
      equal(yield* Effect.flip(enrol(Version.make(1))), conflict(Version.make(1)), "an older version")
      equal(yield* Effect.flip(enrol("noStream")), conflict("noStream"), "no stream")
      yield* CommandBus.dispatch(EnrolByDecision, { course: yield* plan(1), student })
      equal(yield* Effect.flip(enrol(Version.make(1), student)), conflict(Version.make(1)), "before a rejection")
      equal(yield* Effect.flip(enrol(Version.make(2), student)), new TooMany(), "a rejection at the version")
    }).pipe(Effect.provide(courses))
  }),

  test("declares an expected version for a stream that a decision begins", function*() {
    const Open = Command.make("OpenCourse", { payload: { course: text, capacity: Schema.Int } })
    const open = Decision.make(Open, {
      events: CourseEvent,
      stream: ({ course }) => Course.streamOf(course),
      expected: "noStream",
      models: ({ course }) => ({ room: roomIn(course) }),
      decide: (_, command) => [Planned.make(command)]
    })
    const course = unique("course")
    const exits = yield* race(
      upTo(16).map((capacity) =>
        Effect.provide(CommandBus.dispatch(Open, { course, capacity }), Decision.layer(open, { conflictRetry }))
      )
    )
    equal(tagsOf(exits), [...upTo(15).map(() => "ConcurrencyConflict"), "ok"], "one of 16 begins it")
    equal((yield* eventsOf(course)).length, 1, "events")
  }),

  test("the receipt of a command that writes nothing covers the events of its models", function*() {
    const payload = { course: text, student: text }
    const Once = Command.make("EnrolOnce", { payload })
    const OnceByDecision = Command.make("EnrolOnceByDecision", { payload })
    const enrolOnce = ({ courses }: { readonly courses: number }, command: Command.Payload<typeof Once>) =>
      courses > 0 ? [] : [Enrolled.make(command)]
    const modelsOf = ({ student }: Command.Payload<typeof Once>) => ({ courses: coursesOf(student) })
    const aggregate = Aggregate.make("Course", {
      id: "course",
      state: Course.state,
      events: CourseEvent,
      commands: [Once]
    }).withModels({ EnrolOnce: modelsOf }).decider({
      initial: { capacity: 0, enrolled: 0 },
      ...behaviourOf(),
      decide: { EnrolOnce: (_, command, models) => enrolOnce(models, command) }
    })
    const decision = Decision.make(OnceByDecision, {
      events: CourseEvent,
      stream: ({ course }) => Course.streamOf(course),
      models: modelsOf,
      decide: enrolOnce
    })
    const handlers = Layer.merge(Aggregate.layer(aggregate), Decision.layer(decision))
    const [first, second] = yield* Effect.provide(Effect.all([plan(1), plan(1)]), courses)
    const student = unique("ann")
    const enrolled = yield* Effect.provide(CommandBus.dispatch(Enrol, { course: second, student }), courses)
    for (const command of [Once, OnceByDecision]) {
      const nothing = yield* Effect.provide(CommandBus.dispatch(command, { course: first, student }), handlers)
      equal<unknown>(
        [nothing.stream, nothing.version, nothing.events, nothing.position, nothing.eventId],
        [`Course-${first}`, 1, [], enrolled.position, enrolled.events[0]?.id],
        command._tag
      )
    }
  }),

  test("commands and decisions with an empty record of models decide without models", function*() {
    const payload = { course: text, student: text, limited: Schema.Boolean }
    const Join = Command.make("JoinCourse", { payload, error: TooMany })
    const JoinByDecision = Command.make("JoinByDecision", { payload, error: TooMany })
    type Payload = Command.Payload<typeof Join>
    const modelsOf = ({ limited, student }: Payload): Readonly<Record<string, ReturnType<typeof coursesOf>>> =>
      limited ? { courses: coursesOf(student) } : {}
    const join = ({ courses = 0 }: Readonly<Record<string, number>>, { course, student }: Payload) =>
      courses > 0 ? Result.fail(new TooMany()) : [Enrolled.make({ course, student })]
    const open = Aggregate.make("OpenCourse", {
      id: "course",
      state: Course.state,
      events: CourseEvent,
      commands: [Join]
    })
      .withModels({ JoinCourse: modelsOf })
      .decider({
        initial: { capacity: 0, enrolled: 0 },
        ...behaviourOf(),
        decide: { JoinCourse: (_, command, models) => join(models, command) }
      })
    const decision = Decision.make(JoinByDecision, { events: CourseEvent, models: modelsOf, decide: join })
    yield* Effect.gen(function*() {
      const [course, student, commandId] = [unique("course"), unique("ann"), unique("command")]
      for (const [index, command] of [Join, JoinByDecision].entries()) {
        const dispatch = (limited: boolean, id = unique("command")) =>
          CommandBus.dispatch(command, { course, student, limited }, { commandId: id })
        const first = yield* dispatch(false, `${commandId}-${index}`)
        equal(first.events.length, 1, "without models")
        equal(yield* dispatch(false, `${commandId}-${index}`), first, "the receipt of a command that comes again")
        equal((yield* dispatch(false)).events.length, 1, "without models again")
        equal(yield* Effect.flip(dispatch(true)), new TooMany(), "with a model")
      }
      const asOf = yield* TimeTravel.decision(decision, { course, student, limited: false }, AsOf.now)
      equal<unknown>(asOf.states, {}, "the models as of now")
    }).pipe(Effect.provide(Layer.merge(Aggregate.layer(open), Decision.layer(decision))))
  }),

  test("exactly one of 16 commands and decisions takes the last place", function*() {
    yield* Effect.gen(function*() {
      for (let round = 0; round < 3; round++) {
        const course = yield* plan(1)
        const exits = yield* race(upTo(16).map((index) => either(index, { course, student: unique("s") })))
        equal(tagsOf(exits), [...upTo(15).map(() => "Full"), "ok"], "outcomes")
        equal(yield* stateOf(course), { capacity: 1, enrolled: 1 }, "the state")
      }
    }).pipe(Effect.provide(courses))
  }),

  test("no student attends more than two of many courses, by commands and decisions", function*() {
    yield* Effect.gen(function*() {
      const planned = yield* Effect.forEach(upTo(8), () => plan(100))
      const student = unique("ann")
      const exits = yield* race(planned.flatMap((course, index) => [
        either(index, { course, student }),
        either(index + 1, { course, student })
      ]))
      equal(tagsOf(exits), [...upTo(14).map(() => "TooMany"), "ok", "ok"], "outcomes")
      const states = yield* Effect.forEach(planned, stateOf)
      equal(states.reduce((sum, { enrolled }) => sum + enrolled, 0), 2, "courses of the student")
    }).pipe(Effect.provide(courses))
  }),

  test("mixed commands and decisions keep both rules, and the versions of the stream", function*() {
    yield* Effect.gen(function*() {
      const planned = yield* Effect.forEach(upTo(3), () => plan(4))
      const students = upTo(6).map(() => unique("s"))
      const attempts = planned.flatMap((course) => students.map((student) => ({ course, student })))
      yield* race(attempts.map((attempt, index) => either(index, attempt)))
      yield* race(planned.map((course) => CommandBus.dispatch(ChangeCapacity, { course, capacity: 4 })))
      const attended = new Map<string, number>()
      for (const course of planned) {
        const events = yield* eventsOf(course)
        equal(events.map(({ version }) => Number(version)), upTo(events.length).map((n) => n + 1), "versions")
        const enrolled = events.flatMap(({ event }) => event._tag === "Enrolled" ? [event.student] : [])
        equal(enrolled.length <= 4, true, `${enrolled.length} students of at most 4`)
        equal(yield* stateOf(course), { capacity: 4, enrolled: enrolled.length }, "the state")
        for (const student of enrolled) attended.set(student, (attended.get(student) ?? 0) + 1)
      }
      const most = Math.max(...attended.values())
      equal(most <= 2, true, `${most} courses of at most 2`)
    }).pipe(Effect.provide(courses))
  }),

  test("decides again on what the models have become, and reads only that", function*() {
    const store = yield* EventStore.EventStore
    const student = unique("ann")
    yield* Effect.gen(function*() {
      const [first, second, third] = [yield* plan(9), yield* plan(9), yield* plan(9)]
      yield* CommandBus.dispatch(Enrol, { course: first, student })
      let interferes = true
      // Another process enrols the student between the read and the append.
      const contested = EventStore.layer(Effect.succeed({
        ...store[internals].driver,
        append: (request) => {
          const append = store[internals].driver.append(request)
          if (!interferes) return append
          interferes = false
          return Effect.andThen(Effect.orDie(CommandBus.dispatch(Enrol, { course: second, student })), append).pipe(
            Effect.provide(Layer.provide(courses, Layer.succeed(EventStore.EventStore, store)))
          )
        }
      }))
      const rejected = yield* Effect.flip(
        CommandBus.dispatch(EnrolByDecision, { course: third, student }).pipe(
          Effect.provide(Layer.provide(Decision.layer(enrolByDecision, { conflictRetry }), contested))
        )
      )
      equal(rejected, new TooMany(), "the second decision")
      equal(yield* stateOf(third), { capacity: 9, enrolled: 0 }, "the third course")
    }).pipe(Effect.provide(courses))
  }),

  test("a closed stream takes no events of a decision", function*() {
    yield* Effect.gen(function*() {
      const course = yield* plan(5)
      yield* Aggregate.close(CourseDecider, course, CapacityChanged.make({ course, capacity: 5 }))
      for (const archived of [false, true]) {
        if (archived) yield* StreamLifecycle.archive(Course.streamOf(course))
        for (const index of [0, 1]) {
          const error = yield* Effect.flip(either(index, { course, student: unique("s") }))
          equal(error instanceof EventStoreError ? error.reason._tag : error._tag, "StreamClosed", "the error")
        }
      }
      equal((yield* eventsOf(course)).length, 2, "events")
    }).pipe(Effect.provide(courses))
  }),

  test("a snapshot and a cached state include what decisions wrote", function*() {
    yield* Effect.gen(function*() {
      const course = yield* plan(100)
      for (let n = 0; n < 12; n++) yield* either(n + 1, { course, student: unique("s") })
      equal(yield* stateOf(course), { capacity: 100, enrolled: 12 }, "the state")
      // A layer of its own has an empty cache, as another process has.
      const fresh = Course.decider({ ...CourseDecider, ...behaviourOf(), snapshots: SnapshotPolicy.every(5) })
      equal((yield* Aggregate.load(fresh, course)).state, { capacity: 100, enrolled: 12 }, "from a snapshot")
    }).pipe(Effect.provide(courses))
  }),

  test("what-if commands and past models see what decisions wrote", function*() {
    yield* Effect.gen(function*() {
      const [course, other] = [yield* plan(3), yield* plan(3)]
      const student = unique("ann")
      const first = yield* CommandBus.dispatch(EnrolByDecision, { course, student })
      yield* CommandBus.dispatch(Enrol, { course: other, student })
      const third = yield* plan(3)
      const now = yield* Effect.flip(TimeTravel.whatIf(CourseDecider, Enrol, { course: third, student }, AsOf.now))
      equal(now, new TooMany(), "now")
      const before = yield* TimeTravel.whatIf(CourseDecider, Enrol, { course, student }, AsOf.position(first.position))
      equal(before.state, { capacity: 3, enrolled: 2 }, "as of the first enrolment")
      // The models include the events of the sequence.
      const again = yield* Effect.flip(TimeTravel.whatIf(CourseDecider, Enrol, { course, student }, before))
      equal(again, new TooMany(), "a third enrolment, after the second that was tried")
      const { states } = yield* TimeTravel.decision(enrolByDecision, { course, student }, AsOf.position(first.position))
      equal(states, { room: { capacity: 3, enrolled: 1 }, courses: 1 }, "the models")
      const atVersion = yield* TimeTravel.whatIf(CourseDecider, Enrol, { course, student }, AsOf.version(1))
      equal(atVersion.state, { capacity: 3, enrolled: 1 }, "as of a version")
      yield* Aggregate.close(CourseDecider, third, CapacityChanged.make({ course: third, capacity: 3 }))
      const closed = yield* Effect.flip(
        TimeTravel.whatIfDecided(enrolByDecision, { course: third, student: unique("s") }, AsOf.now)
      )
      equal(closed instanceof EventStoreError ? closed.reason._tag : closed._tag, "StreamClosed", "a closed stream")
    }).pipe(Effect.provide(courses))
  }),

  test("a decision without a stream keeps one of its own, without an expected version", function*() {
    const own = Decision.layer(Decision.make(EnrolByDecision, {
      events: CourseEvent,
      models: ({ student }) => ({ courses: coursesOf(student) }),
      decide: (_, command) => [Enrolled.make(command)]
    }))
    const [commandId, course] = [unique("c"), unique("course")]
    const payload = { course, student: unique("s") }
    const { stream } = yield* Effect.provide(CommandBus.dispatch(EnrolByDecision, payload, { commandId }), own)
    equal<string>(stream, `EnrolByDecision-${commandId}`, "the stream")
    const error = yield* Effect.flip(
      Effect.provide(CommandBus.dispatch(EnrolByDecision, payload, { expected: "noStream" }), own)
    )
    equal(error instanceof EventStoreError ? error.reason._tag : error._tag, "InvalidRequest", "an expected version")
  })
]

const behaviourOf = () => ({
  evolve: {
    Planned: (state: typeof Course.state.Type, { capacity }: typeof Planned.Type) => ({ ...state, capacity }),
    CapacityChanged: (state: typeof Course.state.Type, { capacity }: typeof CapacityChanged.Type) => ({
      ...state,
      capacity
    }),
    Enrolled: (state: typeof Course.state.Type) => ({ ...state, enrolled: state.enrolled + 1 })
  }
})
