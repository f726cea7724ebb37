/**
 * The conformance suite of the runtime, the part on rebuilds.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { EncodedDocument } from "../domain/DocumentCodec.ts"
import * as Position from "../domain/Position.ts"
import * as Projection from "../domain/Projection.ts"
import * as Projector from "../runtime/Projector.ts"
import * as Rebuild from "../runtime/Rebuild.ts"
import * as RebuildCompare from "../runtime/RebuildCompare.ts"
import { EventStore } from "../store/EventStore.ts"
import * as ProjectionStore from "../store/ProjectionStore.ts"
import type { ProjectionStoreDriver } from "../store/ProjectionStoreDriver.ts"
import type { Stores } from "./RuntimeFixtures.ts"
import { type Case, equal, ok, test, unique } from "./Suite.ts"

const Count = Schema.Struct({ n: Schema.Int })

interface Options {
  readonly partitions?: number
  readonly version?: number
  readonly onFailure?: "park" | "stop"
  readonly fails?: (n: number) => boolean
}

/** Counts events of a type of its own, by id, so that nobody else's events are among those applied. */
const counters = () => {
  const name = unique("counters")
  const type = unique("Counted")
  const Counted = Schema.TaggedUnion({ [type]: { id: Schema.String } })
  const projection = ({ fails, ...options }: Options = {}) =>
    Projection.make(name, {
      events: Counted,
      document: Count,
      key: (event) => event.id,
      evolve: {
        [type]: (count) => {
          const n = (count?.n ?? 0) + 1
          if (fails?.(n) === true) throw new Error("poison")
          return { n }
        }
      },
      ...options
    })
  const append = (id: string, times = 1) =>
    Effect.flatMap(
      EventStore,
      (store) => store.append(Counted, `${type}-${id}`, Array.from({ length: times }, () => ({ _tag: type, id })))
    )
  return { projection, append }
}

type Counters = ReturnType<ReturnType<typeof counters>["projection"]>

const driver = Effect.map(ProjectionStore.ProjectionStore, (store) => store.driver)

const countOf = (projection: Counters, id: string) =>
  Effect.map(ProjectionStore.get(projection, id), (found) => Option.getOrUndefined(Option.map(found, ({ n }) => n)))

const until = (projection: Counters, { position }: { readonly position: Position.Position }) =>
  Effect.flatMap(
    ProjectionStore.ProjectionStore,
    (store) => store.awaitPosition(projection, position, "30 seconds")
  )

const statuses = (projection: Counters) =>
  Effect.map(Rebuild.list(projection), (builds) => builds.map(({ status, target }) => `${target} ${status}`))

/** Writes documents past the projector, as a mistake would. */
const plant = (target: string, changes: Readonly<Record<string, number | undefined>>) =>
  Effect.flatMap(driver, (driver) =>
    driver.write([{
      projection: target,
      changes: Object.entries(changes).map(([key, n]): EncodedDocument => ({
        key,
        document: n === undefined ? undefined : JSON.stringify({ n }),
        indexed: []
      }))
    }]))

const quick = { interval: "20 millis" } as const

const swapped = (projection: Counters, options: Rebuild.RebuildOptions = {}) =>
  Stream.runCollect(Rebuild.rebuild(projection, { ...quick, ...options })).pipe(Effect.timeout("50 seconds"))

const whole: ReadonlyArray<Case<Stores>> = [
  test("a rebuild finds what is wrong, mends it by a swap, and is rolled back, while events come", function*() {
    const { append, projection } = counters()
    const counts = projection()
    const beside = `${counts.id}~1`
    yield* Effect.gen(function*() {
      yield* append("right", 3)
      yield* append("gone", 2)
      yield* until(counts, yield* append("wrong", 4))
      yield* plant(counts.id, { wrong: 40, gone: undefined, ghost: 1 })

      const writer = yield* Effect.forkChild(Effect.forever(append("busy")))
      const progress = yield* swapped(counts, { compare: true })
      yield* Fiber.interrupt(writer)
      equal(progress.at(-1)?.phase, "swapped", "the last phase")
      ok(progress.every(({ target }) => target === beside), "it is made beside")
      const differences = progress.flatMap(({ compared }) => compared?.differences ?? [])
      equal(
        differences.filter(({ _tag }) => _tag === "Different").toSorted((a, b) => a.key < b.key ? -1 : 1),
        [
          { _tag: "Different", key: "ghost", active: { n: 1 }, rebuilt: undefined },
          { _tag: "Different", key: "gone", active: undefined, rebuilt: { n: 2 } },
          { _tag: "Different", key: "wrong", active: { n: 40 }, rebuilt: { n: 4 } }
        ],
        "the differences, and none that is not there"
      )

      equal(yield* statuses(counts), [`${counts.id} previous`, `${beside} active`], "the targets")
      const counted = Effect.forEach(["right", "wrong", "gone", "ghost"], (id) => countOf(counts, id))
      equal(yield* counted, [3, 4, 2, undefined], "the new documents")
      yield* until(counts, yield* append("wrong"))
      equal(yield* counted, [3, 5, 2, undefined], "the projector goes on with them")
      const busy = yield* countOf(counts, "busy")

      equal(yield* Rebuild.rollback(counts), { active: counts.id, previous: beside }, "rolled back")
      yield* until(counts, yield* append("right"))
      equal(yield* counted, [4, 41, undefined, 1], "the old ones, from where they were")
      equal(yield* countOf(counts, "busy"), busy, "and no event is missing")
      equal(yield* statuses(counts), [`${counts.id} active`, `${beside} previous`], "the targets")

      yield* Rebuild.rollback(counts)
      yield* until(counts, yield* append("right"))
      equal(yield* counted, [5, 5, 2, undefined], "and back again")
    }).pipe(Effect.provide(Projector.layer([counts], { lease: "1 second" })))
  }),

  test("a build that was interrupted goes on where it stopped", function*() {
    const { append, projection } = counters()
    let healed = false
    const counts = projection({ onFailure: "stop", fails: (n) => !healed && n === 6 })
    yield* append("a", 5)
    yield* Effect.gen(function*() {
      yield* until(counts, yield* append("b"))
    }).pipe(Effect.provide(Projector.layer([counts])))
    yield* append("a", 4)
    const stuck = yield* Rebuild.run(counts, { ...quick, batchSize: 2 }).pipe(
      Stream.takeUntil(({ detail }) => detail?.includes("poison") === true),
      Stream.runCollect,
      Effect.timeout("30 seconds")
    )
    equal(stuck.at(-1)?.applied, 6, "applied before it was interrupted")
    healed = true
    const rest = yield* Stream.runCollect(Rebuild.run(counts, quick)).pipe(Effect.timeout("30 seconds"))
    equal(rest[0]?.target, stuck[0]?.target, "it is the same build")
    ok(rest[0]!.applied >= 6, "what was applied is not applied again")
    equal(rest.at(-1)?.phase, "caught-up", "the last phase")
    const [found] = yield* (yield* driver).load(`${counts.id}~1`, ["a"])
    equal([rest.at(-1)?.applied, found?.document], [10, { n: 9 }], "every event once")
    equal(yield* statuses(counts), [`${counts.id} active`, `${counts.id}~1 building`], "the targets")
    equal(yield* countOf(counts, "a"), 5, "the active documents are as they were")
  }),

  test("several processes make one build", function*() {
    const { append, projection } = counters()
    const counts = projection({ partitions: 4 })
    const receipts = yield* Effect.forEach(["a", "b", "c", "d", "e", "f"], (id) => append(id, 3))
    yield* until(counts, receipts.at(-1)!).pipe(Effect.provide(Projector.layer([counts])))
    const builds = yield* Effect.all([1, 2, 3].map(() => Stream.runCollect(Rebuild.run(counts, quick))), {
      concurrency: "unbounded"
    }).pipe(Effect.timeout("50 seconds"))
    equal(builds.map((progress) => progress.at(-1)?.target), [1, 2, 3].map(() => `${counts.id}~1`), "the target")
    equal(builds.map((progress) => progress.at(-1)?.applied), [18, 18, 18], "every event once")
  }),

  test("the first build of a new version is what its readers find; the old version's documents stay", function*() {
    const { append, projection } = counters()
    const [old, raised] = [projection(), projection({ version: 2 })]
    yield* until(old, yield* append("a", 3)).pipe(Effect.provide(Projector.layer([old])))
    const progress = yield* swapped(raised)
    equal(progress.map(({ target }) => target).every((target) => target === raised.id), true, "its own name")
    equal(progress.at(-1)?.phase, "caught-up", "there is nothing to swap")
    yield* append("a")
    yield* swapped(old)
    equal([yield* countOf(raised, "a"), yield* countOf(old, "a")], [3, 4], "both are read")
    equal(yield* statuses(raised), [`${raised.id} active`], "the targets")
    equal((yield* swapped(raised)).at(-1)?.target, `${raised.id}~1`, "later builds are made beside")
    equal(yield* countOf(raised, "a"), 4, "and swapped in")
  }),

  test("a build with another number of partitions takes over; who has the old number is told", function*() {
    const { append, projection } = counters()
    const [one, four] = [projection(), projection({ partitions: 4 })]
    yield* append("a", 2)
    yield* until(one, yield* append("b", 2)).pipe(Effect.provide(Projector.layer([one])))
    const progress = yield* swapped(four)
    equal(progress.at(-1)?.phase, "swapped", "the last phase")
    yield* Effect.gen(function*() {
      yield* until(four, yield* append("a"))
    }).pipe(Effect.provide(Projector.layer([four])))
    equal(yield* countOf(one, "a"), 3, "read by either")
    const refused = yield* Effect.flip((yield* driver).claim({
      follower: one.id,
      owner: "old",
      partitions: 1,
      lease: Duration.seconds(1)
    }))
    equal(refused.reason._tag, "StoreMisconfigured", "a projector with the old number")
    equal(reasonOf(yield* Effect.flip(Rebuild.rollback(four))), "OtherPartitions", "to roll back with the new number")
    yield* (yield* driver).beginBuild(four.id, Position.start)
    yield* (yield* driver).claim({
      follower: four.id,
      target: `${four.id}~2`,
      owner: "builder",
      partitions: 4,
      lease: Duration.seconds(1)
    })
    const run = yield* Effect.flip(Stream.runDrain(Rebuild.run(one, quick)))
    equal(reasonOf(run), "OtherPartitions", "to go on with a build of another number")
    equal(reasonOf(yield* Effect.flip(Rebuild.swap(one))), "OtherPartitions", "to swap it in")
  })
]

const reasonOf = (error: { readonly _tag: string }): string =>
  error instanceof Rebuild.RebuildRefused ? error.reason : error._tag

/** A target whose partitions stand at these positions, owned by `owner`; answers the epochs. */
const stand = Effect.fnUntraced(function*(
  follower: string,
  target: string,
  owner: string,
  positions: ReadonlyArray<number>,
  changes: ReadonlyArray<EncodedDocument> = []
) {
  const store = yield* driver
  const partitions = positions.length
  const { held } = yield* store.claim({ follower, target, owner, partitions, lease: Duration.minutes(5) })
  for (const { epoch, partition, position } of held) {
    const to = Position.make(BigInt(positions[partition]!))
    const advance = {
      target,
      partition,
      epoch,
      from: position,
      to,
      changes: partition === 0 ? changes : [],
      applied: []
    }
    equal(yield* store.advance(advance), "advanced", `partition ${partition} of ${target}`)
  }
  return held.map(({ epoch }) => epoch)
})

/** A follower whose active target and one build stand at these positions. */
const two = Effect.fnUntraced(function*(active: ReadonlyArray<number>, build: ReadonlyArray<number>) {
  const follower = unique("two@1")
  yield* stand(follower, follower, "worker", active)
  const target = yield* (yield* driver).beginBuild(follower, Position.make(100n))
  yield* stand(follower, target, "builder", build)
  return { follower, target }
})

const hold = Duration.minutes(1)

const contract: ReadonlyArray<Case<Stores>> = [
  test("a build is switched to only where no reader then sees older documents", function*() {
    const store = yield* driver
    const outcome = Effect.fnUntraced(function*(active: ReadonlyArray<number>, build: ReadonlyArray<number>) {
      const { follower, target } = yield* two(active, build)
      const switched = yield* store.switchTarget({ follower, to: target, whenBehind: "refuse" })
      const now = yield* store.activeTarget(follower)
      equal(now, switched._tag === "Switched" ? target : follower, "the active target")
      return switched
    })
    equal(yield* outcome([10], [9]), { _tag: "Behind", missing: 1n }, "one behind")
    equal(yield* outcome([10], [10]), { _tag: "Switched" }, "as far")
    equal(yield* outcome([10], [11]), { _tag: "Switched" }, "further")
    equal(yield* outcome([4, 10], [10, 4]), { _tag: "Behind", missing: 6n }, "one of two partitions behind")
    equal(yield* outcome([4, 10], [5, 10]), { _tag: "Switched" }, "both as far")
    equal(yield* outcome([5, 9], [5]), { _tag: "Behind", missing: 4n }, "one partition for two")
    equal(yield* outcome([5, 9], [9]), { _tag: "Switched" }, "one as far as both")
    equal(yield* outcome([7], [9, 6]), { _tag: "Behind", missing: 1n }, "two partitions for one")
    equal(yield* outcome([7], [9, 7]), { _tag: "Switched" }, "both as far as the one")

    const { follower, target } = yield* two([10], [3])
    equal(yield* store.switchTarget({ follower, to: target, whenBehind: "switch" }), { _tag: "Switched" }, "even so")
    equal(yield* store.switchTarget({ follower, to: target, whenBehind: "refuse" }), { _tag: "Switched" }, "again")
    equal(
      (yield* store.builds(follower)).map(({ status }) => status),
      ["previous", "active"],
      "what was before is not forgotten"
    )
    equal(
      yield* store.switchTarget({ follower, to: `${follower}~7`, whenBehind: "switch" }),
      { _tag: "Unknown" },
      "nobody's"
    )
    const fresh = yield* store.beginBuild(follower, Position.start)
    equal(yield* store.switchTarget({ follower, to: fresh, whenBehind: "switch" }), { _tag: "Unknown" }, "not run")
  }),

  test("who had a lease on either target before the switch cannot write after it", function*() {
    const store = yield* driver
    const follower = unique("leases@1")
    const document = (n: number): EncodedDocument => ({ key: "k", document: JSON.stringify({ n }), indexed: [] })
    const [old] = yield* stand(follower, follower, "worker", [5], [document(1)])
    const target = yield* store.beginBuild(follower, Position.start)
    const [built] = yield* stand(follower, target, "builder", [5], [document(2)])
    const read = Effect.map(
      store.get(follower, "k"),
      (found) => Option.getOrUndefined(Option.map(found, ({ document }) => document))
    )
    const write = (target: string, epoch: bigint) =>
      store.advance({
        target,
        partition: 0,
        epoch,
        from: Position.make(5n),
        to: Position.make(6n),
        changes: [document(99)],
        applied: []
      })
    equal(yield* read, { n: 1 }, "before")
    yield* store.switchTarget({ follower, to: target, whenBehind: "refuse" })
    equal([yield* write(follower, old!), yield* write(target, built!)], ["lost", "lost"], "under the old leases")
    equal(yield* read, { n: 2 }, "after")
    equal((yield* store.load(follower, ["k"]))[0]?.document, { n: 1 }, "the old documents stay")
    const claim = yield* store.claim({ follower, owner: "worker", partitions: 1, lease: Duration.minutes(1) })
    equal([claim.target, claim.held.length], [target, 1], "the next lease is at once on the new target")
    equal(yield* write(target, claim.held[0]!.epoch), "advanced", "and good")
    equal(yield* read, { n: 99 }, "what it writes is read")
  }),

  test("an active target that is held is nobody's until the build has come, or the hold ends", function*() {
    const store = yield* driver
    const follower = unique("hold@1")
    const [epoch] = yield* stand(follower, follower, "worker", [5])
    const target = yield* store.beginBuild(follower, Position.start)
    const [built] = yield* stand(follower, target, "builder", [4])
    const request = { follower, to: target, whenBehind: { hold } }
    equal(yield* store.switchTarget(request), { _tag: "Behind", missing: 1n }, "behind")
    const advance = (target: string, epoch: bigint, from: bigint) =>
      store.advance({
        target,
        partition: 0,
        epoch,
        from: Position.make(from),
        to: Position.make(from + 1n),
        changes: [],
        applied: []
      })
    equal(yield* advance(follower, epoch!, 5n), "lost", "the owner of the active one")
    const claim = (lease: Duration.Duration) => store.claim({ follower, owner: "worker", partitions: 1, lease })
    const { freeIn, held } = yield* claim(Duration.minutes(1))
    ok(held.length === 0 && freeIn !== undefined && freeIn <= 60_000, "nobody gets it meanwhile")
    equal(yield* advance(target, built!, 4n), "advanced", "the build goes on")
    equal(yield* store.switchTarget(request), { _tag: "Switched" }, "when it has come")
    equal((yield* claim(Duration.minutes(1))).target, target, "and is free")
  }),

  test("a build that is always a step behind is swapped in, as the active target is held for it", function*() {
    const service = yield* ProjectionStore.ProjectionStore
    const { driver } = service
    const counts = counters().projection()
    const [active] = yield* stand(counts.id, counts.id, "worker", [2])
    const build = yield* driver.beginBuild(counts.id, Position.start)
    const [building] = yield* stand(counts.id, build, "builder", [1])
    const step = (target: string, epoch: bigint, from: number) => {
      const [at, to] = [Position.make(BigInt(from)), Position.make(BigInt(from + 1))]
      return driver.advance({ target, partition: 0, epoch, from: at, to, changes: [], applied: [] })
    }
    let [here, there] = [2, 1]
    const busy: typeof service = {
      ...service,
      driver: {
        ...driver,
        switchTarget: (request) =>
          Effect.gen(function*() {
            if (there < here && (yield* step(build, building!, there)) === "advanced") there++
            if ((yield* step(counts.id, active!, here)) === "advanced") here++
            return yield* driver.switchTarget(request)
          })
      }
    }
    const swap = (within: Duration.Input) =>
      Effect.provideService(Rebuild.swap(counts, { within }), ProjectionStore.ProjectionStore, busy)
    equal(reasonOf(yield* Effect.flip(swap(0))), "Behind", "without any time for it")
    equal((yield* Effect.timeout(swap("30 seconds"), "50 seconds")).active, build, "in time")
    equal(there, here, "neither is ahead")
  }),

  test("a swap is refused when the build has not come so far in the time, and waits for it otherwise", function*() {
    const { append, projection } = counters()
    const counts = projection()
    yield* append("a", 3)
    equal(reasonOf(yield* Effect.flip(Rebuild.swap(counts))), "NoBuild", "without a build")
    yield* Effect.gen(function*() {
      yield* until(counts, yield* append("a"))
      yield* Stream.runDrain(Rebuild.run(counts, quick))
      yield* until(counts, yield* append("a", 2))
      equal(reasonOf(yield* Effect.flip(Rebuild.swap(counts, { within: 0 }))), "Behind", "at once")
      equal(yield* statuses(counts), [`${counts.id} active`, `${counts.id}~1 building`], "nothing has changed")
      const writer = yield* Effect.forkChild(Effect.forever(append("b")))
      equal(yield* Rebuild.swap(counts), { active: `${counts.id}~1`, previous: counts.id }, "in time")
      yield* Fiber.interrupt(writer)
    }).pipe(Effect.provide(Projector.layer([counts])))
    equal(yield* countOf(counts, "a"), 6, "the new documents")
    equal(reasonOf(yield* Effect.flip(Rebuild.swap(counts))), "NoBuild", "it is no build any more")
  }),

  test("what is discarded is gone, nobody can write to it, and the active one cannot be", function*() {
    const store = yield* driver
    const { append, projection } = counters()
    const counts = projection()
    yield* until(counts, yield* append("a", 2)).pipe(Effect.provide(Projector.layer([counts])))
    equal(reasonOf(yield* Effect.flip(Rebuild.discard(counts, counts.id))), "Active", "the active one")
    equal(reasonOf(yield* Effect.flip(Rebuild.discard(counts, `${counts.id}~1`))), "NoBuild", "one that is not there")
    yield* swapped(counts)
    yield* Rebuild.discard(counts, counts.id)
    yield* Rebuild.discard(counts, counts.id)
    equal(yield* statuses(counts), [`${counts.id} discarded`, `${counts.id}~1 active`], "the targets")
    equal(yield* store.targetPage({ target: counts.id, limit: 10 }), [], "its documents")
    equal([yield* store.progress(counts.id), yield* store.applied(counts.id, 0)], [[], []], "its progress")
    equal(yield* countOf(counts, "a"), 2, "the others stay")
    equal(reasonOf(yield* Effect.flip(Rebuild.rollback(counts))), "NoBuild", "to roll back to it")

    const build = yield* store.beginBuild(counts.id, Position.start)
    const [epoch] = yield* stand(counts.id, build, "builder", [1])
    equal(yield* store.beginBuild(counts.id, Position.start), build, "a build is gone on with")
    yield* Rebuild.discard(counts, build)
    const advance = {
      target: build,
      partition: 0,
      from: Position.make(1n),
      to: Position.make(2n),
      changes: [],
      applied: []
    }
    equal(yield* store.advance({ ...advance, epoch: epoch! }), "lost", "who was building it")
    const claim = { follower: counts.id, target: build, owner: "builder", partitions: 1, lease: hold }
    equal((yield* Effect.flip(store.claim(claim))).reason._tag, "StoreMisconfigured", "who would build it")
    equal(yield* store.beginBuild(counts.id, Position.start), `${counts.id}~3`, "the next has another name")
  }),

  test("whoever begins a build at the same time begins the same", function*() {
    const store = yield* driver
    const { follower } = yield* two([5], [5])
    const begun = yield* Effect.all(Array.from({ length: 8 }, () => store.beginBuild(follower, Position.start)), {
      concurrency: "unbounded"
    })
    equal(Array.from(new Set(begun)), [`${follower}~1`], "one build")
    const first = unique("first@1")
    const begin = store.beginBuild(first, Position.make(10n))
    equal(yield* Effect.all([begin, begin], { concurrency: "unbounded" }), [first, first], "of one that never ran")
    yield* stand(first, first, "worker", [9])
    equal(yield* begin, first, "as long as it has not come as far as the log went")
    yield* stand(first, first, "worker", [10])
    equal(yield* begin, `${first}~1`, "then another")
  })
]

/** Two targets of which a test says what is seen at each look. */
const looks = (seen: ReadonlyArray<readonly [Look, Look]>) =>
  Effect.map(driver, (store): ProjectionStoreDriver => {
    let turn = 0
    const viewOf = ({ at, revision }: Look) => ({
      positions: at.map((position) => Position.make(BigInt(position))),
      documents: new Map(revision === 0 ? [] : [["k", { key: "k", document: revision, revision: BigInt(revision) }]])
    })
    return {
      ...store,
      targetPage: ({ after }) =>
        Effect.succeed(after === undefined ? [{ key: "k", document: null, revision: 1n }] : []),
      load: (_, keys) => Effect.succeed(keys.map((key) => ({ key, document: null, revision: 1n }))),
      views: () =>
        Effect.sync(() => {
          const [a, b] = seen[Math.min(turn++, seen.length - 1)]!
          return [viewOf(a), viewOf(b)]
        })
    }
  })

interface Look {
  readonly at: ReadonlyArray<number>
  readonly revision: number
}

const verdict = (seen: ReadonlyArray<readonly [Look, Look]>, attempts = 3) =>
  Effect.flatMap(
    looks(seen),
    (store) => Stream.runCollect(RebuildCompare.pages("p", store, ["a", "b"], { attempts, within: 0, pageSize: 2 }))
  ).pipe(
    Effect.map((pages) => pages.flatMap(({ differences }) => differences.map(({ _tag }) => _tag)))
  )

const comparing: ReadonlyArray<Case<Stores>> = [
  test("documents are compared when both sides have applied the same events to them", function*() {
    const look = (at: number, revision: number): Look => ({ at: [at], revision })
    equal(yield* verdict([[look(5, 1), look(5, 1)]]), [], "the same, at the same position")
    equal(yield* verdict([[look(5, 1), look(5, 2)]]), ["Different"], "another, at the same position")
    equal(
      yield* verdict([[look(6, 2), look(5, 1)], [look(6, 2), look(6, 2)]]),
      [],
      "one was ahead, and the other has come"
    )
    equal(
      yield* verdict([[look(6, 1), look(5, 2)], [look(8, 1), look(7, 2)]]),
      ["Different"],
      "another, and neither has changed while both have passed the first look"
    )
    equal(
      yield* verdict([[look(6, 3), look(5, 3)], [look(7, 3), look(6, 4)], [look(7, 3), look(7, 4)]]),
      ["Different"],
      "the same only as one is ahead: an event is missing on one side"
    )
    equal(
      yield* verdict([1, 2, 3, 4, 5].map((n) => [look(2 * n, n), look(2 * n + 1, n + 1)] as const)),
      ["Unsettled"],
      "changed at every look"
    )
    equal(
      yield* verdict([[look(6, 0), look(5, 2)], [look(9, 0), look(7, 2)], [look(9, 0), look(9, 0)]]),
      [],
      "one that was made and removed between two looks, on the side that is ahead"
    )
    equal(
      reasonOf(yield* Effect.flip(verdict([[look(6, 1), look(5, 1)]]))),
      "NotFollowed",
      "one that nobody brings up to date"
    )
    const wide = (a: number, b: number, revision: number): Look => ({ at: [a, b], revision })
    equal(
      yield* verdict([[wide(9, 5, 1), wide(5, 9, 2)], [wide(9, 9, 1), wide(9, 9, 1)]]),
      [],
      "two partitions, each ahead on another side"
    )
  }),

  test("while events come, what is right is not found to be different, with other partitions too", function*() {
    const { append, projection } = counters()
    const counts = projection()
    const ids = Array.from({ length: 12 }, (_, i) => `k${i}`)
    yield* Effect.gen(function*() {
      const receipts = yield* Effect.forEach(ids, (id) => append(id))
      yield* until(counts, receipts.at(-1)!)
      const rebuilt = projection({ partitions: 3 })
      yield* Stream.runDrain(Rebuild.run(rebuilt, quick))
      yield* plant(counts.id, { planted: 7 })
      let n = 0
      const writer = yield* Effect.forkChild(Effect.forever(Effect.suspend(() => append(ids[n++ % 4]!))))
      const differences = yield* Stream.runCollect(Rebuild.compare(rebuilt, { pageSize: 5 }))
      yield* Fiber.interrupt(writer)
      // Or else what is still to be applied would be written over what is planted below.
      yield* until(counts, yield* append(ids.at(-1)!))
      equal(
        differences.filter(({ _tag }) => _tag === "Different").map(({ key }) => key),
        ["planted"],
        "the differences"
      )
      yield* plant(counts.id, { planted: undefined, k0: 1000 })
      const still = yield* Stream.runCollect(Rebuild.compare(rebuilt))
      equal(still.map(({ _tag, key }) => `${_tag} ${key}`), ["Different k0"], "when no events come, all is settled")
    }).pipe(Effect.provide(Layer.mergeAll(Projector.layer([counts]))))
  })
]

/**
 * Rebuilds.
 *
 * @since 0.1.0
 * @category suites
 */
export const rebuilds: ReadonlyArray<Case<Stores>> = [...whole, ...contract, ...comparing]
