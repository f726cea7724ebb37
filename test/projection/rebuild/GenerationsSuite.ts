/**
 * Generations of a projection store, and the cut-over between them.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { type Case, equal, test, unique } from "../../../src/conformance/Suite.ts"
import type { EncodedDocument } from "../../../src/consumer/CheckpointDriver.ts"
import { internals } from "../../../src/core/internals.ts"
import * as Position from "../../../src/core/Position.ts"
import * as StreamId from "../../../src/core/StreamId.ts"
import * as Version from "../../../src/core/Version.ts"
import * as ProjectionStore from "../../../src/projection/ProjectionStore.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import * as Rebuild from "../../../src/projection/rebuild/Rebuild.ts"
import type { Stores } from "../../support/AccountFixtures.ts"
import { counters, countOf, cutOver, driver, quick, reasonOf, statuses, until } from "./RebuildFixtures.ts"

/** Moves the partitions of a generation to these positions, under leases of `owner`. Returns the epochs. */
const moveTo = Effect.fnUntraced(function*(
  consumer: string,
  generation: string,
  owner: string,
  positions: ReadonlyArray<number>,
  changes: ReadonlyArray<EncodedDocument> = []
) {
  const store = yield* driver
  const partitions = positions.length
  const { assigned } = yield* store.claim({
    consumer,
    generation,
    owner,
    partitions,
    partitionedBy: "document",
    reads: "",
    lease: Duration.minutes(5)
  })
  for (const { epoch, partition, position } of assigned) {
    const to = Position.make(BigInt(positions[partition]!))
    const advance = {
      generation,
      partition,
      epoch,
      from: position,
      to,
      changes: partition === 0 ? changes : [],
      applied: []
    }
    equal(yield* store.advance(advance), "advanced", `partition ${partition} of ${generation}`)
  }
  return assigned.map(({ epoch }) => epoch)
})

/** A consumer whose active generation and another one are at these positions. */
const two = Effect.fnUntraced(function*(active: ReadonlyArray<number>, building: ReadonlyArray<number>) {
  const consumer = unique("two@1")
  yield* moveTo(consumer, consumer, "worker", active)
  const { generation } = yield* (yield* driver).beginGeneration({ consumer, head: Position.make(100n) })
  yield* moveTo(consumer, generation, "builder", building)
  return { consumer, generation }
})

const hold = Duration.minutes(1)

/**
 * How a store begins, cuts over, holds and discards generations.
 *
 * @since 0.1.0
 * @category suites
 */
export const generations: ReadonlyArray<Case<Stores>> = [
  test("cuts over only when no reader then sees older documents", function*() {
    const store = yield* driver
    const outcome = Effect.fnUntraced(function*(active: ReadonlyArray<number>, building: ReadonlyArray<number>) {
      const { consumer, generation } = yield* two(active, building)
      const switched = yield* store.cutOver({ consumer, to: generation, ifBehind: "reject" })
      const now = yield* store.activeGeneration(consumer)
      equal(now, switched._tag === "CutOver" ? generation : consumer, "the active generation")
      return switched
    })
    equal(yield* outcome([10], [9]), { _tag: "Behind", missing: 1n }, "one behind")
    equal(yield* outcome([10], [10]), { _tag: "CutOver" }, "as far")
    equal(yield* outcome([10], [11]), { _tag: "CutOver" }, "further")
    equal(yield* outcome([4, 10], [10, 4]), { _tag: "Behind", missing: 6n }, "one of two partitions behind")
    equal(yield* outcome([4, 10], [5, 10]), { _tag: "CutOver" }, "both as far")
    equal(yield* outcome([5, 9], [5]), { _tag: "Behind", missing: 4n }, "one partition for two")
    equal(yield* outcome([5, 9], [9]), { _tag: "CutOver" }, "one as far as both")
    equal(yield* outcome([7], [9, 6]), { _tag: "Behind", missing: 1n }, "two partitions for one")
    equal(yield* outcome([7], [9, 7]), { _tag: "CutOver" }, "both as far as the one")

    const { consumer, generation } = yield* two([10], [3])
    equal(yield* store.cutOver({ consumer, to: generation, ifBehind: "cutOver" }), { _tag: "CutOver" }, "even so")
    equal(yield* store.cutOver({ consumer, to: generation, ifBehind: "reject" }), { _tag: "CutOver" }, "again")
    equal(
      (yield* store.generations(consumer)).map(({ status }) => status),
      ["previous", "active"],
      "what was before is not forgotten"
    )
    equal(
      yield* store.cutOver({ consumer, to: `${consumer}~7`, ifBehind: "cutOver" }),
      { _tag: "Unknown" },
      "of a generation that does not exist"
    )
    const { generation: fresh } = yield* store.beginGeneration({ consumer, head: Position.start })
    equal(yield* store.cutOver({ consumer, to: fresh, ifBehind: "cutOver" }), { _tag: "Unknown" }, "not run")
  }),

  test("cuts over only if no key is parked at an event that readers have seen", function*() {
    const store = yield* driver
    type Keys = Readonly<Record<string, number>>
    const park = (generation: string, partition: number, keys: Keys) =>
      store.park(
        generation,
        partition,
        Object.entries(keys).map(([key, position]) => ({
          key,
          stream: StreamId.StreamId.make("s"),
          version: Version.make(position),
          position: Position.make(BigInt(position)),
          eventId: "019ac4a3-0000-7000-8000-000000000001",
          type: "T",
          error: "poison"
        }))
      )
    const outcome = Effect.fnUntraced(function*(
      parked: { readonly active?: Keys; readonly building: Keys; readonly partition?: number },
      positions: readonly [active: ReadonlyArray<number>, building: ReadonlyArray<number>] = [[5], [9]],
      evenIfParked = false
    ) {
      const { consumer, generation } = yield* two(...positions)
      if (parked.active !== undefined) yield* park(consumer, 0, parked.active)
      yield* park(generation, parked.partition ?? 0, parked.building)
      return yield* store.cutOver({ consumer, to: generation, ifBehind: "reject", evenIfParked })
    })
    const cutOver = { _tag: "CutOver" }
    equal(yield* outcome({ building: { k: 3 } }), { _tag: "Parked", count: 1, keys: ["k"] }, "a key")
    equal(
      yield* outcome({ building: { d: 4, c: 3, b: 5, a: 3 } }),
      { _tag: "Parked", count: 4, keys: ["a", "c", "d"] },
      "the first ones by position"
    )
    equal(yield* outcome({ active: { k: 3 }, building: { k: 3 } }), cutOver, "a key that is parked in both")
    equal(yield* outcome({ active: { k: 2 }, building: { k: 3 } }), cutOver, "earlier in the active one")
    equal((yield* outcome({ active: { k: 4 }, building: { k: 3 } }))._tag, "Parked", "later in the active one")
    equal((yield* outcome({ active: { j: 2 }, building: { k: 3 } }))._tag, "Parked", "another key")
    equal(yield* outcome({ building: { k: 6 } }), cutOver, "an event that the active one has not reached")
    equal((yield* outcome({ building: { k: 3 } }, [[5], [4]]))._tag, "Parked", "of a generation that is behind too")
    equal(yield* outcome({ building: { k: 3 } }, [[5], [9]], true), cutOver, "even so")
    const sides = [[4, 10], [11, 11]] as const
    equal(yield* outcome({ building: { k: 6 }, partition: 0 }, sides), cutOver, "one partition has not reached it")
    equal((yield* outcome({ building: { k: 6 }, partition: 1 }, sides))._tag, "Parked", "the other one has")
    equal((yield* outcome({ building: { k: 6 } }, [[4, 10], [11]]))._tag, "Parked", "with other partitions")
  }),

  test("a lease from before the cut-over cannot write after it", function*() {
    const store = yield* driver
    const consumer = unique("leases@1")
    const document = (n: number): EncodedDocument => ({ key: "k", document: JSON.stringify({ n }), indexed: [] })
    const [old] = yield* moveTo(consumer, consumer, "worker", [5], [document(1)])
    const { generation } = yield* store.beginGeneration({ consumer, head: Position.start })
    const [built] = yield* moveTo(consumer, generation, "builder", [5], [document(2)])
    const read = Effect.map(
      store.get(consumer, "k"),
      (found) => Option.getOrUndefined(Option.map(found.document, ({ document }) => document))
    )
    const write = (generation: string, epoch: bigint) =>
      store.advance({
        generation,
        partition: 0,
        epoch,
        from: Position.make(5n),
        to: Position.make(6n),
        changes: [document(99)],
        applied: []
      })
    equal(yield* read, { n: 1 }, "before")
    yield* store.cutOver({ consumer, to: generation, ifBehind: "reject" })
    equal([yield* write(consumer, old!), yield* write(generation, built!)], ["lost", "lost"], "under the old leases")
    equal(yield* read, { n: 2 }, "after")
    equal((yield* store.load(consumer, ["k"]))[0]?.document, { n: 1 }, "the old documents stay")
    const claim = yield* store.claim({
      consumer,
      owner: "worker",
      partitions: 1,
      partitionedBy: "document",
      reads: "",
      lease: Duration.minutes(1)
    })
    equal([claim.generation, claim.assigned.length], [generation, 1], "the next lease is at once on the new generation")
    equal(yield* write(generation, claim.assigned[0]!.epoch), "advanced", "and good")
    equal(yield* read, { n: 99 }, "what it writes is read")
  }),

  test("a read after a position returns no document of a generation behind it", function*() {
    const { [internals]: { driver } } = yield* ProjectionStore.ProjectionStore
    const counts = counters().projection()
    const consumer = counts.id
    const document = (n: number): EncodedDocument => ({ key: "k", document: JSON.stringify({ n }), indexed: [] })
    yield* moveTo(consumer, consumer, "worker", [3], [document(3)])
    const { generation } = yield* driver.beginGeneration({ consumer, head: Position.start })
    yield* moveTo(consumer, generation, "builder", [6], [document(6)])
    const activate = (to: string) => driver.cutOver({ consumer, to, ifBehind: "cutOver" })
    let next: "stays" | "returns" | undefined
    /** While it reads, an operator rolls back, and perhaps cuts over again. */
    const interrupted = <A, E>(read: Effect.Effect<A, E>) =>
      Effect.gen(function*() {
        const [rollback] = [next, next = undefined]
        if (rollback !== undefined) yield* activate(consumer)
        const found = yield* read
        if (rollback === "returns") yield* activate(generation)
        return found
      })
    const store = yield* ProjectionStore.make({
      ...driver,
      get: (consumer, key) => interrupted(driver.get(consumer, key)),
      list: (page) => interrupted(driver.list(page))
    }, { pollInterval: "10 millis" })
    const first = <A, E>(stream: Stream.Stream<A, E, never>) => Effect.map(Stream.runHead(stream), Option.getOrThrow)
    const reads = [
      Effect.map(store.get(counts, "k"), Option.toArray),
      Effect.map(store.list(counts), ({ items }) => items),
      Effect.map(first(store.watch(counts, "k")), Option.toArray),
      Effect.map(first(store.watchList(counts)), ({ items }) => items)
    ]
    for (const read of reads) {
      const after = (timeout: Duration.Duration) =>
        Effect.provideService(read, ProjectionStore.ReadAfter, { position: Position.make(6n), timeout })
      yield* activate(generation)
      next = "returns"
      equal(yield* after(Duration.seconds(30)), [{ n: 6 }], "rolled back for a moment")
      next = "stays"
      equal(reasonOf(yield* Effect.flip(after(Duration.millis(30)))), "ProjectionBehind", "rolled back")
      equal(yield* read, [{ n: 3 }], "without a position")
    }
  }),

  test("a held active generation has no owner until the cut-over or the end of the hold", function*() {
    const store = yield* driver
    const consumer = unique("hold@1")
    const [epoch] = yield* moveTo(consumer, consumer, "worker", [5])
    const { generation } = yield* store.beginGeneration({ consumer, head: Position.start })
    const [built] = yield* moveTo(consumer, generation, "builder", [4])
    const request = { consumer, to: generation, ifBehind: { hold } }
    equal(yield* store.cutOver(request), { _tag: "Behind", missing: 1n }, "behind")
    const advance = (generation: string, epoch: bigint, from: bigint) =>
      store.advance({
        generation,
        partition: 0,
        epoch,
        from: Position.make(from),
        to: Position.make(from + 1n),
        changes: [],
        applied: []
      })
    equal(yield* advance(consumer, epoch!, 5n), "lost", "the owner of the active one")
    const claim = (lease: Duration.Duration) =>
      store.claim({ consumer, owner: "worker", partitions: 1, partitionedBy: "document", reads: "", lease })
    const { nextLeaseEndsIn, assigned } = yield* claim(Duration.minutes(1))
    equal(assigned, [], "what a worker gets during the hold")
    equal(Math.max(nextLeaseEndsIn ?? Infinity, 60_000), 60_000, "when the hold ends, at most")
    equal(yield* advance(generation, built!, 4n), "advanced", "the other generation advances")
    equal(yield* store.cutOver(request), { _tag: "CutOver" }, "when it has come")
    equal((yield* claim(Duration.minutes(1))).generation, generation, "and is free")
  }),

  test("a generation that is always one event behind is cut over during a hold", function*() {
    const service = yield* ProjectionStore.ProjectionStore
    const { driver } = service[internals]
    const counts = counters().projection()
    const [active] = yield* moveTo(counts.id, counts.id, "worker", [2])
    const { generation } = yield* driver.beginGeneration({ consumer: counts.id, head: Position.start })
    const [building] = yield* moveTo(counts.id, generation, "builder", [1])
    const step = (generation: string, epoch: bigint, from: number) => {
      const [at, to] = [Position.make(BigInt(from)), Position.make(BigInt(from + 1))]
      return driver.advance({ generation, partition: 0, epoch, from: at, to, changes: [], applied: [] })
    }
    let [here, there] = [2, 1]
    const busy: typeof service = {
      ...service,
      [internals]: {
        driver: {
          ...driver,
          cutOver: (request) =>
            Effect.gen(function*() {
              if (there < here && (yield* step(generation, building!, there)) === "advanced") there++
              if ((yield* step(counts.id, active!, here)) === "advanced") here++
              return yield* driver.cutOver(request)
            })
        }
      }
    }
    const cutOver = (timeout: Duration.Input) =>
      Effect.provideService(Rebuild.cutOver(counts, { timeout }), ProjectionStore.ProjectionStore, busy)
    equal(reasonOf(yield* Effect.flip(cutOver(0))), "Behind", "without any time for it")
    equal((yield* Effect.timeout(cutOver("30 seconds"), "50 seconds")).active, generation, "in time")
    equal(there, here, "neither is ahead")
  }),

  test("a cut-over waits for a generation that is behind, up to its timeout", function*() {
    const { append, projection } = counters()
    const counts = projection()
    yield* append("a", 3)
    equal(reasonOf(yield* Effect.flip(Rebuild.cutOver(counts))), "NoGeneration", "without a rebuild")
    yield* Effect.gen(function*() {
      yield* until(counts, yield* append("a"))
      yield* Stream.runDrain(Rebuild.run(counts, quick))
      yield* until(counts, yield* append("a", 2))
      equal(reasonOf(yield* Effect.flip(Rebuild.cutOver(counts, { timeout: 0 }))), "Behind", "at once")
      equal(yield* statuses(counts), [`${counts.id} active`, `${counts.id}~1 building`], "nothing has changed")
      const writer = yield* Effect.forkChild(Effect.forever(append("b")))
      equal(yield* Rebuild.cutOver(counts), { active: `${counts.id}~1`, previous: counts.id }, "in time")
      yield* Fiber.interrupt(writer)
    }).pipe(Effect.provide(Projector.layer([counts])))
    equal(yield* countOf(counts, "a"), 6, "the new documents")
    equal(reasonOf(yield* Effect.flip(Rebuild.cutOver(counts))), "NoGeneration", "after the cut-over")
  }),

  test("discards a generation with all it has written, but not the active one", function*() {
    const store = yield* driver
    const { append, projection } = counters()
    const counts = projection()
    yield* until(counts, yield* append("a", 2)).pipe(Effect.provide(Projector.layer([counts])))
    equal(reasonOf(yield* Effect.flip(Rebuild.discard(counts, counts.id))), "Active", "the active one")
    equal(
      reasonOf(yield* Effect.flip(Rebuild.discard(counts, `${counts.id}~1`))),
      "NoGeneration",
      "one that is not there"
    )
    yield* cutOver(counts)
    yield* Rebuild.discard(counts, counts.id)
    yield* Rebuild.discard(counts, counts.id)
    equal(yield* statuses(counts), [`${counts.id} discarded`, `${counts.id}~1 active`], "the generations")
    equal(yield* store.generationPage({ generation: counts.id, limit: 10 }), [], "its documents")
    equal([yield* store.progress(counts.id), yield* store.applied(counts.id, 0)], [[], []], "its progress")
    equal(yield* countOf(counts, "a"), 2, "the others stay")
    equal(reasonOf(yield* Effect.flip(Rebuild.rollback(counts))), "NoGeneration", "to roll back to it")

    const begin = store.beginGeneration({ consumer: counts.id, head: Position.start })
    const { generation } = yield* begin
    const [epoch] = yield* moveTo(counts.id, generation, "builder", [1])
    equal(yield* begin, { generation, build: undefined, isNew: false }, "the same one as long as it is building")
    yield* Rebuild.discard(counts, generation)
    const advance = {
      generation,
      partition: 0,
      from: Position.make(1n),
      to: Position.make(2n),
      changes: [],
      applied: []
    }
    equal(yield* store.advance({ ...advance, epoch: epoch! }), "lost", "a worker that was building it")
    const claim = {
      consumer: counts.id,
      generation,
      owner: "builder",
      partitions: 1,
      partitionedBy: "document",
      reads: "",
      lease: hold
    }
    equal((yield* Effect.flip(store.claim(claim))).reason._tag, "GenerationDiscarded", "a worker that would build it")
    equal((yield* begin).generation, `${counts.id}~3`, "the next has another name")
  }),

  test("concurrent rebuilds begin the same generation", function*() {
    const store = yield* driver
    const { consumer } = yield* two([5], [5])
    const begun = yield* Effect.all(
      Array.from({ length: 8 }, () => store.beginGeneration({ consumer, head: Position.start })),
      { concurrency: "unbounded" }
    )
    equal(Array.from(new Set(begun.map(({ generation }) => generation))), [`${consumer}~1`], "one generation")
    const first = unique("first@1")
    const begin = (options: { readonly build?: string; readonly isBeside?: boolean } = {}) =>
      store.beginGeneration({ consumer: first, head: Position.make(10n), ...options })
    const both = yield* Effect.all([begin({ build: "a" }), begin({ build: "b" })], { concurrency: "unbounded" })
    equal(both.map(({ generation }) => generation), [first, first], "of one that never ran")
    equal(both.filter(({ isNew }) => isNew).length, 1, "which one of them has begun")
    equal(new Set(both.map(({ build }) => build)).size, 1, "with its build")
    yield* moveTo(first, first, "worker", [9])
    equal((yield* begin()).generation, first, "as long as it has not come as far as the log went")
    const beside = { generation: `${first}~1`, build: "c" }
    equal(yield* begin({ build: "c", isBeside: true }), { ...beside, isNew: true }, "beside it")
    equal(yield* begin({ isBeside: true }), { ...beside, isNew: false }, "again")
    equal(yield* begin(), { ...beside, isNew: false }, "the later of both")
    equal((yield* store.generations(first)).map(({ build }) => build), [both[0]!.build, "c"], "the builds")
    yield* store.discard(first, beside.generation, [])
    yield* moveTo(first, first, "worker", [10])
    equal((yield* begin()).generation, `${first}~2`, "then another")
  })
]
