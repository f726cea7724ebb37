/**
 * The runtime suite of keys: order within a key holds through partitions, parking and retries.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import { partitionKeys, partitionOf } from "../../src/core/partitionHash.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projections from "../../src/projection/Projection.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"

type By = "document" | { readonly tag: "course" }

const bys: ReadonlyArray<readonly [string, By]> = [["document", "document"], ["tag", { tag: "course" }]]

/** A projection of the events of each course, and events of courses in streams of their own. It fails on poison: `<course><n>`. */
const fixture = (options: { readonly partitions: number; readonly partitionBy?: By | "stream" }) => {
  const type = unique("CapacityChanged")
  const Events = Schema.TaggedUnion({
    [type]: { courses: Schema.Array(Schema.String), n: Schema.Int }
  }).pipe(Event.tags({ course: "courses" }))
  const poison = new Set<string>()
  const projection = Projection.make(unique("courses"), {
    events: Events,
    document: Schema.Struct({ seen: Schema.Array(Schema.Int) }),
    partitions: options.partitions,
    partitionBy: options.partitionBy ?? "document",
    key: (event) => event.courses,
    evolve: {
      [type]: (document, { n }, _, course) => {
        if (poison.has(`${course}${n}`)) throw new Error(`poison ${course}${n}`)
        return { seen: [...document?.seen ?? [], n] }
      }
    }
  })
  /** Appends an event to a stream of its own, unless one is given. */
  const append = (n: number, courses: ReadonlyArray<string>, stream = `${type}-${globalThis.crypto.randomUUID()}`) =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      return (yield* store.append(Events, StreamId.make(stream), [{ _tag: type, courses, n }])).position
    })
  const appendOdd = (stream = `${type}-odd`) =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const appended = yield* driver.append({
        stream: StreamId.make(stream),
        expected: "any",
        events: [{
          id: globalThis.crypto.randomUUID(),
          type,
          schemaVersion: 1,
          data: `{"odd":1}`,
          metadata: "{}",
          tags: ["course:a"]
        }]
      })
      return appended._tag === "Appended" ? appended.positions.at(-1)! : Position.start
    })
  const seen = (course: string) =>
    Effect.map(
      ProjectionStore.get(projection, course),
      Option.match({ onNone: () => [], onSome: ({ seen }) => seen })
    )
  const awaitPosition = (position: Position.Position) =>
    Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "50 seconds"))
  const audited = Effect.map(
    DeliveryAudit.run(projection),
    ({ first, status }) => equal([status, first], ["complete", undefined], "the audit")
  )
  const withProjector = Effect.provide(Projector.layer([projection], { batchSize: 3 }))
  return { Events, append, appendOdd, audited, awaitPosition, poison, projection, seen, type, withProjector }
}

/** Waits until an effect answers true. */
const until = <E, R>(effect: Effect.Effect<boolean, E, R>) =>
  Effect.timeout(Effect.repeat(effect, { until: (is) => is, schedule: Schedule.spaced("10 millis") }), "30 seconds")

const order: ReadonlyArray<Case<Stores>> = bys.map(([name, partitionBy]) =>
  test(`changes of 4 courses in streams of their own apply in order in 4 partitions by ${name}`, function*() {
    const courses = ["a", "b", "c", "d"]
    const { append, audited, awaitPosition, seen, withProjector } = fixture({ partitions: 4, partitionBy })
    let last = Position.start
    for (const n of upTo(100)) for (const course of courses) last = yield* append(n, [course])
    yield* Effect.gen(function*() {
      yield* awaitPosition(last)
      for (const course of courses) equal(yield* seen(course), upTo(100), `course ${course}`)
      yield* audited
    }).pipe(withProjector)
  })
)

const parking: ReadonlyArray<Case<Stores>> = [
  ...bys.flatMap(([name, partitionBy]) =>
    [1, 3].map((partitions) =>
      test(`a failing event parks its ${name} key in ${partitions} partitions, and no event passes it`, function*() {
        const { append, audited, awaitPosition, poison, projection, seen, withProjector } = fixture({
          partitions,
          partitionBy
        })
        const keyOf = (course: string) => name === "tag" ? `course:${course}` : course
        poison.add("a2")
        yield* Effect.gen(function*() {
          for (const n of upTo(3)) yield* append(n, ["a", "b"])
          yield* awaitPosition(yield* append(4, ["a"]))
          equal([yield* seen("a"), yield* seen("b")], [[1], [1, 2, 3]], "the documents")
          equal((yield* Parking.list(projection)).map(({ key }) => key), [keyOf("a")], "the parked keys")
          yield* audited
          const inspected = yield* Parking.inspect(projection, keyOf("a"))
          equal(inspected.waiting.length, 2, "the waiting events")
          const failed = yield* Parking.retry(projection, keyOf("a"))
          equal([failed.outcome, failed.parked?.attempts], ["failed", 2], "the failing retry")
          poison.clear()
          equal((yield* Parking.retry(projection, keyOf("a"))).outcome, "retried", "the retry")
          yield* awaitPosition(yield* append(5, ["b", "a"]))
          equal([yield* seen("a"), yield* seen("b")], [[1, 2, 3, 4, 5], [1, 2, 3, 5]], "the documents at the end")
          yield* audited
        }).pipe(withProjector)
      })
    )
  ),

  test("a skip under one key leaves the event to its other key", function*() {
    const { append, audited, awaitPosition, poison, projection, seen, withProjector } = fixture({ partitions: 2 })
    for (const one of ["a2", "b2"]) poison.add(one)
    yield* Effect.gen(function*() {
      for (const n of upTo(2)) yield* append(n, ["a", "b"])
      yield* awaitPosition(yield* append(3, ["b", "a"]))
      equal((yield* Parking.skip(projection, "a", { reason: "a test" })).outcome, "skipped", "the skip")
      yield* audited
      poison.clear()
      equal((yield* Parking.retry(projection, "b")).outcome, "retried", "the retry")
      equal([yield* seen("a"), yield* seen("b")], [[1, 3], [1, 2, 3]], "the documents")
      yield* audited
    }).pipe(withProjector)
  }),

  ...[1, 3].map((partitions) =>
    test(`an undecodable event stops all of ${partitions} partitions by document until it is skipped`, function*() {
      const { append, appendOdd, audited, awaitPosition, projection, seen, type, withProjector } = fixture({
        partitions
      })
      yield* Effect.gen(function*() {
        yield* append(1, ["a", "b"])
        const odd = yield* appendOdd()
        const last = yield* append(2, ["a", "b"])
        const parked = Parking.list(projection)
        yield* until(Effect.map(parked, (all) => all.length === partitions))
        equal(
          (yield* parked).map(({ key, position }) => [key, position]),
          upTo(partitions).map(() => ["", odd]),
          "parked"
        )
        equal([yield* seen("a"), yield* seen("b")], [[1], [1]], "the documents")
        const { reasons, status } = yield* Health.of([projection])
        equal(status, "red", "the health")
        for (const part of [`position ${odd} (version 1 of stream "${type}-odd")`, "Parking.skip"]) {
          includes(reasons.join(), part, "the reasons")
          const workers = yield* Projector.Projector
          const stuck = yield* Effect.repeat(workers.status, {
            until: ([one]) => one?.state === "stuck" && one.detail !== undefined,
            schedule: Schedule.spaced("10 millis")
          }).pipe(Effect.timeout("30 seconds"))
          includes(stuck[0]?.detail ?? "", part, "the status")
        }
        yield* audited
        equal((yield* Parking.retry(projection, "")).outcome, "failed", "a retry")
        equal((yield* Parking.skip(projection, "", { reason: "a test" })).outcome, "skipped", "the skip")
        yield* awaitPosition(last)
        equal([yield* seen("a"), yield* seen("b")], [[1, 2], [1, 2]], "the documents after the skip")
        equal(yield* parked, [], "the parked keys after the skip")
        yield* audited
      }).pipe(withProjector)
    })
  ),

  test("an undecodable event parks its tag only", function*() {
    const { append, appendOdd, audited, awaitPosition, projection, seen, withProjector } = fixture({
      partitions: 3,
      partitionBy: { tag: "course" }
    })
    yield* Effect.gen(function*() {
      yield* append(1, ["a", "b"])
      yield* appendOdd()
      yield* awaitPosition(yield* append(2, ["a", "b"]))
      equal((yield* Parking.list(projection)).map(({ key }) => key), ["course:a"], "the parked keys")
      equal([yield* seen("a"), yield* seen("b")], [[1], [1, 2]], "the documents")
      yield* Parking.skip(projection, "course:a", { reason: "a test" })
      equal(yield* seen("a"), [1, 2], "the document after the skip")
      yield* audited
    }).pipe(withProjector)
  }),

  test("a subscription by tag handles the events of a tag in order, and parks the tag", function*() {
    const { Events, append } = fixture({ partitions: 1 })
    const handled: Array<string> = []
    let isBroken = true
    const subscription = Subscription.make(unique("mail"), {
      events: Events,
      partitions: 3,
      partitionBy: { tag: "course" },
      retry: Schedule.recurs(0),
      handle: ({ courses, n }) =>
        isBroken && n === 2 && courses[0] === "a"
          ? Effect.die("broken")
          : Effect.sync(() => handled.push(`${courses.join()}${n}`))
    })
    const of = (course: string) => handled.filter((one) => one.startsWith(course))
    yield* Effect.gen(function*() {
      for (const n of upTo(4)) for (const course of ["a", "b", "c"]) yield* append(n, [course])
      yield* until(Effect.sync(() => handled.length === 9))
      equal(
        [of("a"), of("b"), of("c")],
        [["a1"], ["b1", "b2", "b3", "b4"], ["c1", "c2", "c3", "c4"]],
        "the handled events"
      )
      isBroken = false
      equal((yield* Parking.retry(subscription, "course:a")).outcome, "retried", "the retry")
      equal(of("a"), ["a1", "a2", "a3", "a4"], "the events of the parked tag")
      // A handler cannot keep the order of two tags.
      yield* append(5, ["x", "y"])
      yield* until(Effect.map(Parking.list(subscription), (all) => all.length === 2))
      includes((yield* Parking.list(subscription))[0]?.error ?? "", "several values of the tag", "the error")
    }).pipe(Effect.provide(Subscription.layer([subscription])))
  })
]

const definitions: ReadonlyArray<Case<Stores>> = [
  test("a consumer with another key than that of its checkpoints is rejected", function*() {
    const { append, awaitPosition, projection, withProjector } = fixture({ partitions: 2 })
    yield* withProjector(Effect.flatMap(append(1, ["a"]), awaitPosition))
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const changed = { ...projection, partitionBy: "stream" } as const
    const error = yield* Effect.flip(driver.claim({
      consumer: projection.id,
      owner: "me",
      partitions: 2,
      partitionedBy: "stream",
      lease: projectionLease
    }))
    equal(error.reason._tag, "StoreMisconfigured", "the reason")
    includes(error.message, "2 partitions by document", "the message")
    const { reasons, status } = yield* Health.of([changed])
    equal(status, "red", "the health")
    includes(reasons.join(), "2 partitions by document, unlike its definition", "the reasons")
  }),

  test("a projector with another key than that of its checkpoints is stuck, and writes nothing", function*() {
    const { append, awaitPosition, projection, seen, withProjector } = fixture({ partitions: 2 })
    yield* withProjector(Effect.flatMap(append(1, ["a"]), awaitPosition))
    yield* append(2, ["a"])
    for (const partitionBy of ["stream", { tag: "course" }] as const) {
      yield* Effect.gen(function*() {
        const { status } = yield* Projector.Projector
        const detail = Effect.map(status, ([one]) => one?.detail ?? "")
        yield* until(
          Effect.map(detail, (text) => text.includes("2 partitions by document") && text.includes("version"))
        )
        equal(yield* seen("a"), [1], "the document")
      }).pipe(Effect.provide(Projector.layer([{ ...projection, partitionBy }])))
    }
  }),

  test("an event without the tag fails in a projection, and has its stream as the key in a subscription", function*() {
    const { Events, append, awaitPosition, projection, seen, type, withProjector } = fixture({
      partitions: 3,
      partitionBy: { tag: "course" }
    })
    const careless = { ...projection, keysOf: () => ["a"] }
    const handled: Array<number> = []
    const subscription = Subscription.make(unique("mail"), {
      events: Events,
      partitions: 3,
      partitionBy: { tag: "course" },
      handle: ({ n }) => Effect.sync(() => handled.push(n))
    })
    for (const n of upTo(9)) yield* append(n, [], `${type}-s`)
    const last = yield* append(10, ["a"])
    yield* Effect.gen(function*() {
      yield* awaitPosition(last)
      const parked = yield* Parking.list(projection)
      equal(parked.map(({ key }) => key), [`${type}-s`], "the parked keys")
      includes(parked[0]?.error ?? "", `the event has no tag "course", but touches the document "a"`, "the error")
      equal(yield* seen("a"), [10], "the document")
      yield* until(Effect.sync(() => handled.length === 10))
      equal(handled.filter((n) => n < 10), upTo(9), "the handled events of the stream")
    }).pipe(
      Effect.provide([Projector.layer([careless]), Subscription.layer([subscription])])
    )
    // The event touches no document.
    const other = fixture({ partitions: 3, partitionBy: { tag: "course" } })
    yield* Effect.flatMap(other.append(1, []), other.awaitPosition).pipe(other.withProjector)
    equal(yield* Parking.list(other.projection), [], "the parked keys of the other")
    yield* withProjector(Effect.void)
  }),

  test("a handler in the store's transaction refuses an event with several values of the tag", function*() {
    const { Events, append, type } = fixture({ partitions: 1 })
    const handled: Array<number> = []
    const projection = Projections.handler(unique("rows"), {
      events: Events,
      partitions: 3,
      partitionBy: { tag: "course" },
      retry: Schedule.recurs(0),
      handle: { [type]: ({ n }: { readonly n: number }) => Effect.sync(() => handled.push(n)) }
    })
    yield* Effect.gen(function*() {
      yield* append(1, ["a", "b"])
      yield* append(2, ["a"])
      yield* append(3, ["c"])
      yield* until(Effect.map(Parking.list(projection), (all) => all.length === 2))
      yield* until(Effect.sync(() => handled.length > 0))
      const parked = yield* Parking.list(projection)
      equal(parked.map(({ key }) => key).toSorted(), ["course:a", "course:b"], "the parked keys")
      includes(parked[0]?.error ?? "", "several values of the tag", "the error")
      for (const key of ["course:a", "course:b"]) yield* Parking.skip(projection, key, { reason: "a test" })
      equal(handled.toSorted(), [2, 3], "the handled events")
    }).pipe(Effect.provide(Projector.layer([projection])))
  }),

  test("a tag that the events do not have is rejected when a consumer is defined", function*() {
    const declared = Schema.TaggedUnion({ Opened: { course: Schema.String }, Closed: { id: Schema.String } })
    // Of a wide type, so that the compiler does not know the tags.
    const Events: Event.Any = declared.pipe(Event.tags({ course: "course" }))
    const thrown = (make: () => unknown): string => {
      const made = Result.try(make)
      return Result.isFailure(made) ? String(made.failure) : "nothing"
    }
    const partitionBy = { tag: "corse" }
    const evolve = { Opened: () => 1, Closed: () => 2 }
    const options = { events: Events, document: Schema.Int, key: () => "a", evolve }
    for (
      const make of [
        () => Projection.make("n", { ...options, partitionBy }),
        () =>
          Projections.handler("n", {
            events: Events,
            partitionBy,
            handle: { Opened: () => Effect.void, Closed: () => Effect.void }
          }),
        () => Subscription.make("n", { events: Events, partitionBy, handle: () => Effect.void })
      ]
    ) {
      includes(thrown(make), `no event of the set has the tag "corse"; the set declares the tags: course`, "the error")
    }
    const by = { tag: "course" } as const
    includes(
      thrown(() => Projection.make("n", { ...options, partitionBy: by })),
      `events "Closed" cannot have the tag "course"`,
      "the error for one type"
    )
    // Handlers of untagged types run in the order of the stream.
    equal(
      thrown(() => Subscription.make("n", { events: Events, partitionBy: by, handle: () => Effect.void })),
      "nothing",
      ""
    )
    yield* Effect.void
  }),

  test("a document that is not a value of the tag fails its event", function*() {
    const { Events, append, type } = fixture({ partitions: 1 })
    const projection = Projection.make(unique("odd"), {
      events: Events,
      document: Schema.Int,
      partitions: 3,
      partitionBy: { tag: "course" },
      key: () => "all",
      evolve: { [type]: (n) => (n ?? 0) + 1 }
    })
    yield* Effect.gen(function*() {
      yield* append(1, ["a"])
      yield* until(Effect.map(Parking.list(projection), (all) => all.some(({ key }) => key === "course:a")))
      const found = (yield* Parking.list(projection)).find(({ key }) => key === "course:a")
      includes(found?.error ?? "", `the document "all", which is not a value of its tag "course"`, "the error")
    }).pipe(Effect.provide(Projector.layer([projection])))
  }),

  test("the partitions of a tag hold the events with their keys, and count them", function*() {
    const { append, type } = fixture({ partitions: 1 })
    const { driver } = (yield* EventStore.EventStore)[internals]
    for (const n of upTo(30)) {
      const courses = n % 5 === 0 ? [] : [`c${n % 7}`, `ä€😀${n}`].slice(0, 1 + n % 2)
      yield* append(n, courses)
    }
    const page = { after: Position.start, limit: 500, types: [type] }
    const all = (yield* driver.readAll(page)).events
    for (const tag of [undefined, "course"]) {
      for (const index of [0, 1, 2]) {
        const partition = { index, of: 3, tag }
        const { events, head } = yield* driver.readAll({ ...page, partition })
        const expected = all.filter((event) => partitionKeys(event, tag).some((key) => partitionOf(key, 3) === index))
        equal(events.map(({ position }) => position), expected.map(({ position }) => position), `partition ${index}`)
        isAbove(events.length, 0, "the events of a partition")
        const lag = yield* driver.lag({ after: Position.start, to: head, limit: 500, types: [type], partition })
        equal(lag.events, expected.length, `the lag of partition ${index}`)
      }
    }
  })
]

const projectionLease = Duration.seconds(10)

const byStream: ReadonlyArray<Case<Stores>> = [
  test("several partitions by stream refuse a document that a second stream feeds", function*() {
    const { append, audited, awaitPosition, projection, seen, type, withProjector } = fixture({
      partitions: 4,
      partitionBy: "stream"
    })
    yield* Effect.gen(function*() {
      // Without an order between the streams, the last capacity would be one of either.
      for (const n of upTo(3)) yield* append(n, ["a"], `${type}-one`)
      yield* awaitPosition(yield* append(4, ["a"], `${type}-one`))
      for (const n of upTo(12)) yield* append(n, ["a"], `${type}-other${n}`)
      yield* awaitPosition(yield* append(5, ["a"], `${type}-one`))
      equal(yield* seen("a"), [1, 2, 3, 4, 5], "the document")
      const parked = yield* Parking.list(projection)
      equal(parked.length, 12, "the parked streams")
      for (const part of [`the document "a" is fed by the stream "${type}-one"`, `4 partitions by "stream"`]) {
        includes(parked[0]?.error ?? "", part, "the error")
      }
      equal((yield* Parking.retry(projection, `${type}-other1`)).outcome, "failed", "a retry")
      yield* audited
    }).pipe(withProjector)
  }),

  test("partitions that write a document at the same time leave it to one stream", function*() {
    const { append, awaitPosition, projection, seen, type, withProjector } = fixture({
      partitions: 4,
      partitionBy: "stream"
    })
    const documents = upTo(20).map((n) => `d${n}`)
    let last = Position.start
    for (const n of upTo(6)) {
      for (const one of documents) last = yield* append(n, [one], `${type}-${one}-${n % 3}`)
    }
    yield* Effect.gen(function*() {
      yield* awaitPosition(last)
      for (const one of documents) {
        const [first, second, ...others] = yield* seen(one)
        equal([second, others], [(first ?? 0) + 3, []], `the events in ${one}`)
      }
      equal((yield* Parking.list(projection)).length, 40, "the parked streams")
    }).pipe(withProjector)
  }),

  test("a document of one partition by stream is fed by several streams", function*() {
    const { append, awaitPosition, projection, seen, withProjector } = fixture({ partitions: 1, partitionBy: "stream" })
    yield* Effect.gen(function*() {
      for (const n of upTo(9)) yield* append(n, ["a"])
      yield* awaitPosition(yield* append(10, ["a"]))
      equal([yield* seen("a"), yield* Parking.list(projection)], [upTo(10), []], "the document and the parked streams")
    }).pipe(withProjector)
  })
]

/** Numbers from a seed, so that a failure can be repeated. */
const randomFrom = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return (state >>> 8) % below
  }
}

const random: ReadonlyArray<Case<Stores>> = upTo(3).map((seed) =>
  test(`random events, keys, parking and retries leave each document in the order of the log (seed ${seed})`, function*() {
    const next = randomFrom(seed)
    const courses = ["a", "b", "c", "d", "e"]
    const partitionBy = seed % 2 === 0 ? "document" as const : { tag: "course" } as const
    const { append, audited, awaitPosition, poison, projection, seen, type, withProjector } = fixture({
      partitions: 1 + next(8),
      partitionBy
    })
    const expected = new Map<string, Array<number>>(courses.map((course) => [course, []]))
    let last = Position.start
    const appendSome = Effect.fnUntraced(function*(from: number, count: number) {
      for (let n = from; n < from + count; n++) {
        const touched = courses.filter(() => next(3) === 0)
        for (const course of touched) {
          expected.get(course)!.push(n)
          if (next(10) === 0) poison.add(`${course}${n}`)
        }
        last = yield* append(n, touched, `${type}-${next(2) === 0 ? n : n % 3}`)
      }
    })
    for (let round = 0; round < 3; round++) {
      yield* appendSome(round * 40, 20)
      yield* Effect.gen(function*() {
        yield* appendSome(round * 40 + 20, 20)
        for (let i = 0; i < 4; i++) {
          for (const one of Array.from(poison)) if (next(4) === 0) poison.delete(one)
          yield* Parking.retryAll(projection)
        }
        yield* awaitPosition(last)
        for (const course of courses) {
          const found = yield* seen(course)
          equal(found, expected.get(course)!.slice(0, found.length), `the beginning of ${course}`)
        }
        yield* audited
      }).pipe(withProjector)
    }
    poison.clear()
    yield* Effect.gen(function*() {
      yield* Parking.retryAll(projection)
      for (const course of courses) equal(yield* seen(course), expected.get(course), `course ${course}`)
      equal(yield* Parking.list(projection), [], "the parked keys")
      yield* audited
    }).pipe(withProjector)
  })
)

/**
 * All cases of keys.
 *
 * @since 0.1.0
 * @category suites
 */
export const consumerKeys: ReadonlyArray<Case<Stores>> = [
  ...order,
  ...parking,
  ...definitions,
  ...byStream,
  ...random
]
