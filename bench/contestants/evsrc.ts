/** evsrc: its event store and command bus on @effect/sql-pg, with the default options. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Fiber, Layer, ManagedRuntime, Redacted, Result, Schema, Stream } from "effect"
// Not by name: bench is a package of its own, in whose scope there is no "evsrc".
import { Aggregate, Command, CommandBus, Decision, Event, EventStore } from "../../src/index.ts"
import { PgEventStore } from "../../src/pg/index.ts"
import { instanceEvents, inTurn } from "../cells.ts"
import { type Actions, check, type Contestant, fresh, type Loop, payload, payloads } from "../contestant.ts"

const order = { orderId: Schema.NonEmptyString, customer: Schema.String, amount: Schema.Int, note: Schema.String }
const OrderEvent = Schema.TaggedUnion({ OrderNoted: order })
const NoteOrder = Command.make("NoteOrder", { payload: order })
const Order = Aggregate.make("Order", {
  id: "orderId",
  state: Schema.Int,
  events: OrderEvent,
  commands: [NoteOrder]
}).decider({
  initial: 0,
  evolve: { OrderNoted: (total) => total + 1 },
  decide: { NoteOrder: (_, command) => [OrderEvent.cases.OrderNoted.make(command)] }
})

const CourseEvent = Schema.TaggedUnion({
  CourseDefined: { courseId: Schema.String, capacity: Schema.Int },
  StudentEnrolled: { courseId: Schema.String, studentId: Schema.String }
}).pipe(Event.tags({ course: "courseId", student: "studentId" }))
class Full extends Schema.TaggedError<Full>()("Full", {}) {}
const enrolment = { payload: { courseId: Schema.String, studentId: Schema.String }, error: Full }
const EnrolStudent = Command.make("EnrolStudent", enrolment)
const EnrolNewcomer = Command.make("EnrolNewcomer", enrolment)
const enrolBy = (command: typeof EnrolStudent | typeof EnrolNewcomer) =>
  Decision.make(command, {
    events: CourseEvent,
    models: ({ courseId, studentId }) => ({
      course: Decision.model({
        events: CourseEvent,
        tags: { course: courseId },
        initial: { capacity: 0, taken: 0 },
        evolve: {
          CourseDefined: (_, { capacity }) => ({ capacity, taken: 0 }),
          StudentEnrolled: (state) => ({ ...state, taken: state.taken + 1 })
        }
      }),
      student: Decision.model({
        events: CourseEvent,
        tags: { student: studentId },
        initial: 0,
        evolve: { StudentEnrolled: (courses) => courses + 1 }
      })
    }),
    decide: ({ course, student }, command) =>
      course.taken >= course.capacity || student >= 3
        ? Result.fail(new Full())
        : [CourseEvent.cases.StudentEnrolled.make(command)]
  })

const layer = (url: string, pool: number) =>
  Layer.mergeAll(
    Aggregate.layer(Order),
    Decision.layer(enrolBy(EnrolStudent)),
    Decision.layer(enrolBy(EnrolNewcomer), { load: "assumeNew" })
  ).pipe(
    Layer.provideMerge(PgEventStore.layer),
    Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: pool }))
  )

const makeRuntime = (url: string, pool: number) => ManagedRuntime.make(layer(url, pool))

type Services = ManagedRuntime.ManagedRuntime.Services<ReturnType<typeof makeRuntime>>
type Run = Effect.Effect<unknown, unknown, Services>

export const make = async (url: string, pool: number): Promise<Contestant<Run>> => {
  const runtime = makeRuntime(url, pool)
  const store = await runtime.runPromise(EventStore.EventStore)
  const append = (stream: string, count: number) =>
    store.append(
      OrderEvent,
      stream,
      payloads(stream, count).map((data) => OrderEvent.cases.OrderNoted.make(data)),
      { expected: "noStream" }
    )
  const createCourse = (courseId: string) => {
    const defined = CourseEvent.cases.CourseDefined.make({ courseId, capacity: inTurn + 1 })
    return runtime.runPromise(store.append(CourseEvent, courseId, [defined]))
  }
  const actions: Actions<Run> = {
    append: (events) => Effect.suspend(() => append(fresh("order"), events)),
    read: (stream) => Effect.map(Stream.runCollect(store.readStream(OrderEvent, stream)), (events) => events.length),
    log: (events) => Stream.runCount(Stream.take(store.readAll(OrderEvent), events)),
    commands: {
      // Not by a command, so that no state is cached.
      create: (id) => runtime.runPromise(append(Order.aggregate.streamOf(id), instanceEvents)),
      run: (id) => CommandBus.dispatch(NoteOrder, payload(id)),
      load: (id) => Aggregate.load(Order, id)
    },
    decisions: {
      create: createCourse,
      run: (courseId) => CommandBus.dispatch(EnrolStudent, { courseId, studentId: fresh("student") })
    },
    newcomers: {
      create: createCourse,
      run: (courseId) => CommandBus.dispatch(EnrolNewcomer, { courseId, studentId: fresh("student") })
    }
  }
  const loop: Loop<Run> = ({ expect, mayFail, next }, turn) =>
    runtime.runPromise(Effect.gen(function*() {
      while (turn.open()) {
        const run = next()
        if (run === undefined) return
        const start = performance.now()
        if (mayFail === true) {
          const exit = yield* Effect.exit(run)
          if (Exit.isSuccess(exit)) turn.took(performance.now() - start)
          else turn.failed()
        } else {
          const answer = yield* run
          turn.took(performance.now() - start)
          check(expect, answer)
        }
      }
    }))
  return {
    loop,
    actions,
    seed: (stream, events) => runtime.runPromise(append(stream, events)),
    appendTo: (stream) => runtime.runPromise(append(stream, 1)),
    // On a store of its own, which hears of the other's appends as another process would.
    listen: async (heard) => {
      const listener = makeRuntime(url, pool)
      const others = await listener.runPromise(EventStore.EventStore)
      const after = await listener.runPromise(others.head)
      const fiber = listener.runFork(
        Stream.runForEach(others.subscribe(OrderEvent, { after }), ({ stream }) => Effect.sync(() => heard(stream)))
      )
      return async () => {
        await listener.runPromise(Fiber.interrupt(fiber))
        await listener.dispose()
      }
    },
    close: () => runtime.dispose()
  }
}
