/** What the processes of the fault run share: events, consumers that reveal an event which is missing, repeated or out of order, and the stores. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Random, Redacted, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, EventStoreError, Projection, ProjectionStore, Projector, Subscription } from "evsrc"
import { type PgOptions, PgStores } from "evsrc/pg"
import { commands, CourseEvent, courseNames, Courses, emptyRoom, maxCapacity, studentNames } from "../courses.ts"

/** An event with a negative number fails until the code is repaired: -1 in the projection with documents, -2 in the subscription. */
export const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
export const tick = (n: number) => Tick.cases.Ticked.make({ n })

/** Whether events with a negative number fail in this process. */
export const switches = { isBroken: true }

const Sum = Schema.Struct({ events: Schema.Int, sum: Schema.Int, version: Schema.Int })

/** A document for each stream. */
export const Sums = Projection.make("sums", {
  events: Tick,
  document: Sum,
  partitions: 4,
  partitionBy: "stream",
  key: (_, { stream }) => stream,
  evolve: {
    Ticked: (sum, { n }, { version }) => {
      const before = sum?.version ?? 0
      if (n === -1 && switches.isBroken) throw new Error("broken")
      if (version !== before + 1) throw new Error(`version ${version} comes after ${before}`)
      return { events: (sum?.events ?? 0) + 1, sum: (sum?.sum ?? 0) + n, version }
    }
  }
})

/** A row for each event, in the transaction that moves the checkpoint. */
export const Handled = Projection.handler("handled", {
  events: Tick,
  partitions: 2,
  handle: {
    Ticked: (_, { position, stream, version }) =>
      Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql`insert into handled (stream, version, position) values (${stream}, ${version}, ${position})`
      )
  }
})

/** The world outside, in which effects happen: it does not suffer from the faults. */
export class World extends Context.Service<World, {
  readonly happened: (stream: string, version: number, position: bigint) => Effect.Effect<unknown>
}>()("World") {}

/** An effect for each event. */
export const Effects = Subscription.make("effects", {
  events: Tick,
  partitions: 2,
  retry: Schedule.recurs(0),
  handle: {
    Ticked: ({ n }, { position, stream, version }) =>
      n === -2 && switches.isBroken
        ? Effect.die(new Error("broken"))
        : Effect.flatMap(World, ({ happened }) => happened(stream, version, position))
  }
})

const Room = Schema.Struct({ capacity: Schema.Int, students: Schema.Array(Schema.String) })

/** A document for each course, in the transaction of the append. */
export const Rooms = Projection.make("rooms", {
  lifecycle: "inline",
  events: CourseEvent,
  document: Room,
  key: ({ course }) => course,
  evolve: {
    CapacityChanged: (room = emptyRoom, { capacity }) => ({ ...room, capacity }),
    Enrolled: (room = emptyRoom, { student }) => ({ ...room, students: [...room.students, student] }),
    Left: (room = emptyRoom, { student }) => ({
      ...room,
      students: room.students.filter((other) => other !== student)
    })
  }
})

export const consumers = [Sums, Handled, Effects] as const

export const deadlines = {
  statementTimeout: "3 seconds",
  connectionTimeout: "3 seconds",
  lockTimeout: "1 second",
  idleInTransactionTimeout: "2 seconds",
  transactionTimeout: "5 seconds"
} as const

/** A worker renews its leases three times within so many. */
export const lease = "2 seconds"

/** The client and the stores of a process, and the handlers of its commands. */
export const layerStores = (url: string, applicationName: string, options: PgOptions = {}) =>
  Layer.fresh(Courses).pipe(
    Layer.provideMerge(Projector.layerInline([Rooms])),
    Layer.provideMerge(PgStores.layerWithoutMigrations({ ...deadlines, hashChain: true, ...options })),
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8, applicationName }))
  )

/** Returns the tag of a typed error of the store, or of a command. */
export const tagOf = (error: unknown): string =>
  error instanceof EventStoreError
    ? error.reason._tag
    : typeof error === "object" && error !== null && "_tag" in error
    ? String(error._tag)
    : `not typed: ${String(error)}`

/** What a caller did: an append under a command id. */
export interface Call {
  readonly id: string
  /** The number of its events. */
  readonly size: number
  readonly run: Effect.Effect<
    { readonly position: bigint },
    { readonly _tag: string },
    EventStore.EventStore | Layer.Success<typeof Courses>
  >
}

/** Returns one of the values, by the seed. */
export const one = <A>(values: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(Random.nextIntBetween(0, values.length - 1), (index) => values[index]!)

const streams = Array.from({ length: 12 }, (_, n) => `Tick-${n}`)
export const heldStream = streams[0]!

/** Returns an append of random events to a random stream, or a random command or decision. */
export const randomCall = (id: string): Effect.Effect<Call> =>
  Effect.gen(function*() {
    if (yield* Random.nextBoolean) {
      const stream = yield* one(streams)
      const events = Array.from({ length: yield* Random.nextIntBetween(1, 3) }, (_, n) => tick(n))
      return {
        id,
        size: events.length,
        run: Effect.flatMap(
          EventStore.EventStore,
          (store) => store.append(Tick, stream, events, { metadata: { commandId: id } })
        )
      }
    }
    const payload = { course: yield* one(courseNames), student: yield* one(studentNames) }
    const capacity = yield* Random.nextIntBetween(1, maxCapacity)
    const name = yield* one(["Enrol", "EnrolByDecision", "Leave", "Leave", "ChangeCapacity"] as const)
    return {
      id,
      size: 1,
      run: name === "ChangeCapacity"
        ? commands.ChangeCapacity(payload.course, capacity, id)
        : commands[name](payload, id)
    }
  })

/** Returns a document of each lifecycle that a caller may read. */
export const randomRead: Effect.Effect<
  unknown,
  { readonly _tag: string },
  EventStore.EventStore | ProjectionStore.ProjectionStore
> = Effect.gen(function*() {
  const stream = yield* one(streams)
  const course = yield* one(courseNames)
  const projections = yield* ProjectionStore.ProjectionStore
  const store = yield* EventStore.EventStore
  return yield* yield* one([
    projections.get(Sums, stream),
    projections.get(Rooms, course),
    projections.list(Sums, { limit: 20 }),
    store.head
  ])
})
