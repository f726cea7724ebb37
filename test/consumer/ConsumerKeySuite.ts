/**
 * The runtime suite of keys: order within a key holds through partitions, parking and retries.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import * as Position from "../../src/core/Position.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"
import { bys, fixture, until } from "./ConsumerKeyFixtures.ts"

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
          equal((yield* parkedKeys(projection)).map(({ key }) => key), [keyOf("a")], "the parked keys")
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
        const parked = parkedKeys(projection)
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
          }).pipe(Effect.timeout("1 minute"))
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

  ...[1, 3].map((partitions) =>
    test(`an event whose key throws stops ${partitions} partitions until a deployment and a retry`, function*() {
      const { Events, append, type } = fixture({ partitions })
      let isDeployed = false
      const projection = Projection.make(unique("keyless"), {
        events: Events,
        document: Schema.Array(Schema.Int),
        partitions,
        key: ({ courses, n }) => {
          if (n === 2 && !isDeployed) throw new Error("no key")
          return courses
        },
        evolve: { [type]: (seen, { n }) => [...seen ?? [], n] }
      })
      const seen = Effect.forEach(
        ["a", "b", "c"],
        (course) => Effect.map(ProjectionStore.get(projection, course), Option.getOrUndefined)
      )
      yield* Effect.gen(function*() {
        for (const n of upTo(3)) yield* append(n, ["a", "b", "c"])
        const last = yield* append(4, ["b"])
        yield* until(Effect.map(parkedKeys(projection), (all) => all.length === partitions))
        equal(yield* seen, [[1], [1], [1]], "the documents")
        includes((yield* parkedKeys(projection))[0]?.error ?? "", "no key", "the error")
        isDeployed = true
        equal((yield* Parking.retry(projection, "")).outcome, "retried", "the retry")
        const store = yield* ProjectionStore.ProjectionStore
        yield* store.awaitPosition(projection, last, "50 seconds")
        equal(yield* seen, [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3]], "the documents after the retry")
        equal(yield* parkedKeys(projection), [], "the parked keys after the retry")
        const { first, status } = yield* DeliveryAudit.run(projection)
        equal([status, first], ["complete", undefined], "the audit")
      }).pipe(Effect.provide(Projector.layer([projection], { batchSize: 2 })))
    })
  ),

  test("a skip of an event of unknown keys holds when these are known and one is parked", function*() {
    const { Events, append, type } = fixture({ partitions: 1 })
    let isDeployed = false
    const projection = Projection.make(unique("keyless"), {
      events: Events,
      document: Schema.Array(Schema.Int),
      key: ({ courses, n }) => {
        if (n === 2 && !isDeployed) throw new Error("no key")
        return courses
      },
      evolve: {
        [type]: (seen, { n }) => {
          if (n === 1 && !isDeployed) throw new Error("poison")
          return [...seen ?? [], n]
        }
      }
    })
    const seen = (course: string) => Effect.map(ProjectionStore.get(projection, course), Option.getOrUndefined)
    yield* Effect.gen(function*() {
      const store = yield* ProjectionStore.ProjectionStore
      yield* append(1, ["a"])
      yield* append(2, ["a", "b"])
      yield* until(Effect.map(parkedKeys(projection), (all) => all.length === 2))
      yield* Parking.skip(projection, "", { reason: "a test" })
      yield* store.awaitPosition(projection, yield* append(3, ["a", "b"]), "50 seconds")
      equal([yield* seen("a"), yield* seen("b")], [undefined, [3]], "the documents after the skip")
      isDeployed = true
      equal((yield* Parking.inspect(projection, "a")).waiting.length, 2, "the waiting events")
      equal((yield* Parking.retry(projection, "a")).outcome, "retried", "the retry")
      equal([yield* seen("a"), yield* seen("b")], [[1, 3], [3]], "the documents after the retry")
      const { first, status } = yield* DeliveryAudit.run(projection)
      equal([status, first], ["complete", undefined], "the audit")
    }).pipe(Effect.provide(Projector.layer([projection])))
  }),

  test("an undecodable event parks its tag only", function*() {
    const { append, appendOdd, audited, awaitPosition, projection, seen, withProjector } = fixture({
      partitions: 3,
      partitionBy: { tag: "course" }
    })
    yield* Effect.gen(function*() {
      yield* append(1, ["a", "b"])
      yield* appendOdd()
      yield* awaitPosition(yield* append(2, ["a", "b"]))
      equal((yield* parkedKeys(projection)).map(({ key }) => key), ["course:a"], "the parked keys")
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
      yield* until(Effect.map(parkedKeys(subscription), (all) => handled.length === 9 && all.length === 1))
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
      yield* until(Effect.map(parkedKeys(subscription), (all) => all.length === 2))
      includes((yield* parkedKeys(subscription))[0]?.error ?? "", "several values of the tag", "the error")
    }).pipe(Effect.provide(Subscription.layer([subscription])))
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
      equal(yield* parkedKeys(projection), [], "the parked keys")
      yield* audited
    }).pipe(withProjector)
  })
)

/**
 * All cases of keys.
 *
 * @since 0.1.0
 * @category suites
/**
 * All cases of keys.
 *
 * @since 0.1.0
 * @category suites
 */
export const consumerKeys: ReadonlyArray<Case<Stores>> = [...order, ...parking, ...random]
