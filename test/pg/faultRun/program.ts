/** What the processes of the fault run share: events, consumers that reveal an event which is missing, repeated or out of order, and the stores. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Random, Redacted, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, EventStoreError, type Health, Projection, ProjectionStore, Projector, Subscription } from "evsrc"
import { type PgOptions, PgStores } from "evsrc/pg"
import { commands, CourseEvent, courseNames, Courses, emptyRoom, maxCapacity, studentNames } from "../courses.ts"

/** An event with a negative number fails until the code is repaired: -1 in the projection with documents, -2 in the subscription. */
export const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
export const tick = (n: number) => Tick.cases.Ticked.make({ n })

/** What is wrong in a process. */
export interface Switches {
  /** Events with a negative number fail. */
  readonly isBroken: boolean
  /** The handler of the subscription does not return. */
  readonly isSlow: boolean
  /** The handler of the subscription fails, and its `retry` goes on. */
  readonly isFlaky: boolean
}

/** What is wrong in this process at the moment. */
export const switches: { -readonly [Name in keyof Switches]: boolean } = {
  isBroken: true,
  isSlow: false,
  isFlaky: false
}

/** What differs between the releases of the program. */
export const Release = Schema.Struct({
  /** The number of partitions of the consumers. */
  partitions: Schema.Int,
  /** The version of the subscription. It continues from the version before. */
  effects: Schema.Int,
  /** The version of the inline projection `places`, which is a new projection each time. 0 for none. */
  places: Schema.Int
})
export type Release = typeof Release.Type
export const firstRelease: Release = { partitions: 3, effects: 1, places: 0 }

const Sum = Schema.Struct({ events: Schema.Int, sum: Schema.Int, version: Schema.Int })

/** A document for each stream. */
const sums = ({ partitions }: Release) =>
  Projection.make("sums", {
    events: Tick,
    document: Sum,
    partitions,
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

/** A row for each event but those of the streams that the projection with documents parks, in the transaction that moves the checkpoint. */
const handled = ({ partitions }: Release) =>
  Projection.handler("handled", {
    events: Tick,
    where: { streamPrefix: "Tick-" },
    partitions,
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

class Flaky extends Schema.TaggedError<Flaky>()("Flaky", {}) {}

/** Waits until the handlers are quick again, and fails while they are flaky. */
const suffer = Effect.gen(function*() {
  while (switches.isSlow) yield* Effect.sleep("50 millis")
  if (switches.isFlaky) return yield* new Flaky()
})

/** An effect for each event, but those of the streams that the projection with documents parks. */
const effects = ({ effects: version, partitions }: Release) =>
  Subscription.make("effects", {
    events: Tick,
    where: { streamPrefix: "Tick-" },
    version,
    from: version === 1 ? "start" : { version: version - 1 },
    partitions,
    parks: ["Flaky"],
    retry: Schedule.while(Schedule.spaced("300 millis"), () => switches.isFlaky),
    handle: {
      Ticked: ({ n }, { position, stream, version }) =>
        n === -2 && switches.isBroken
          ? Effect.die(new Error("broken"))
          : Effect.andThen(suffer, Effect.flatMap(World, ({ happened }) => happened(stream, version, position)))
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

const Attendance = Schema.Struct({ courses: Schema.Array(Schema.String) })

/** A document for each student, in the transaction of the append. */
export const places = (version: number) =>
  Projection.make("places", {
    lifecycle: "inline",
    version,
    events: CourseEvent,
    document: Attendance,
    key: (event) => "student" in event ? event.student : [],
    evolve: {
      CapacityChanged: Projection.ignore,
      Enrolled: ({ courses } = { courses: [] }, { course }) => ({ courses: [...courses, course] }),
      Left: ({ courses } = { courses: [] }, { course }) => ({ courses: courses.filter((other) => other !== course) })
    }
  })

const inlineOf = ({ places: version }: Release) => version === 0 ? [Rooms] : [Rooms, places(version)]

/** The consumers of a release. */
export const consumersOf = (release: Release) => ({
  sums: sums(release),
  handled: handled(release),
  effects: effects(release),
  inline: inlineOf(release)
})
export type Consumers = ReturnType<typeof consumersOf>

export const allOf = ({ effects, handled, inline, sums }: Consumers) => [sums, handled, effects, ...inline]

/** The options of the program, of its workers and of the health check. */
export interface Profile {
  readonly stores: PgOptions
  readonly worker: Projector.WorkerOptions
  readonly health: Health.HealthOptions
  /** The time between two checks of the health. */
  readonly interval: number
  /** The minimum duration of a stall, in milliseconds. */
  readonly stall: number
}

export const profiles = {
  /** Short times, so that many faults fit into a run. */
  quick: {
    stores: {
      statementTimeout: "3 seconds",
      connectionTimeout: "3 seconds",
      lockTimeout: "1 second",
      idleInTransactionTimeout: "2 seconds",
      transactionTimeout: "5 seconds"
    },
    worker: { lease: "2 seconds" },
    health: { maxWait: "1 second", heartbeatTimeout: "3 seconds", stallTimeout: "4 seconds" },
    interval: 400,
    stall: 0
  },
  /** A worker whose attempts have failed for so long makes the longest pauses between two attempts. */
  defaults: { stores: {}, worker: {}, health: {}, interval: 1_000, stall: 28_000 }
} as const satisfies Readonly<Record<string, Profile>>
export type ProfileName = keyof typeof profiles

/** The client and the stores of a process of a release, and the handlers of its commands. */
export const layerStores = (
  url: string,
  applicationName: string,
  { options = {}, profile, release }: {
    readonly release: Release
    readonly profile: ProfileName
    readonly options?: PgOptions
  }
) =>
  Layer.fresh(Courses).pipe(
    Layer.provideMerge(Projector.layerInline(inlineOf(release), { repairInterval: "500 millis" })),
    Layer.provideMerge(PgStores.layerWithoutMigrations({ ...profiles[profile].stores, hashChain: true, ...options })),
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
export const randomRead = Effect.fnUntraced(function*(
  { inline, sums }: Consumers
): Effect.fn.Return<unknown, { readonly _tag: string }, EventStore.EventStore | ProjectionStore.ProjectionStore> {
  const stream = yield* one(streams)
  const course = yield* one(courseNames)
  const projections = yield* ProjectionStore.ProjectionStore
  const store = yield* EventStore.EventStore
  return yield* yield* one([
    projections.get(sums, stream),
    projections.get(Rooms, course),
    ...inline.slice(1).map((one) => projections.list(one, { limit: 20 })),
    projections.list(sums, { limit: 20 }),
    store.head
  ])
})
