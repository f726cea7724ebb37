/**
 * The runtime suite of snapshots.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import { type Case, equal, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import { storeError, StoreFailure } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import { retention } from "../../src/snapshot/SnapshotDriver.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import {
  add,
  countingTally,
  fakeSnapshot,
  foldedState,
  notedTally,
  startProcess,
  storedSnapshot,
  tally
} from "./SnapshotFixtures.ts"

const everyTen = SnapshotPolicy.every(10)

const first = tally({ snapshots: everyTen })

/** Other program versions of the same aggregate. None of them may use another's snapshot. */
const others = {
  "a state with another Schema": countingTally({ snapshots: everyTen }),
  "an event with another Schema": notedTally({ snapshots: everyTen }),
  "another evolve version": tally({ snapshots: everyTen, evolveVersion: 2, weight: 2 }),
  "another initial state": tally({ snapshots: everyTen, initial: 5 })
}

/** Appends 25 events to a new instance, by a process that takes snapshots. Returns its id. */
const appendTally = Effect.fnUntraced(function*(decider = first) {
  const { run, settled } = yield* startProcess()
  const id = unique("t")
  for (const n of upTo(25)) {
    yield* run(add(decider, id, n % 7))
    yield* settled
  }
  return id
})

const failure = storeError(new StoreFailure({ message: "no snapshots today", cause: undefined }))

/** The faults of a snapshot at the first program's key, of an instance with 25 events. */
const faults: Readonly<Record<string, Partial<ReturnType<typeof fakeSnapshot>>>> = {
  "is not JSON": { state: "{\"sum\":" },
  "has a value of another type": { state: "{\"sum\":\"six\"}" },
  "breaks a check of the state's Schema": { state: "{\"sum\":6666}" },
  "is beyond the end of the stream": { version: Version.make(1_000) },
  "belongs to another event": {}
}

/**
 * Cases on when snapshots are taken, what is read with them, and how invalid ones are replaced.
 *
 * @since 0.1.0
 * @category suites
 */
export const snapshots: ReadonlyArray<Case<Stores>> = [
  test("takes a snapshot every 10 events, and a load then reads the events after it", function*() {
    const id = yield* appendTally()
    const snapshot = yield* storedSnapshot(first, id)
    equal(
      [snapshot?.version, snapshot?.state],
      [20, `{"sum":${upTo(20).reduce((sum, n) => sum + n % 7, 0)}}`],
      "the snapshot"
    )
    const { calls, read, run } = yield* startProcess()
    equal(yield* run(Aggregate.load(first, id)), yield* foldedState(first, id), "the state")
    equal(yield* read, 6, "the number of events read: the snapshot's last one and those after it")
    equal(yield* calls, ["read"], "the snapshot operations of the load")
    yield* run(Aggregate.load(first, id))
    equal([yield* read, yield* calls], [1, []], "the events read and snapshot operations with a cached state")
  }),

  test("takes a snapshot when a load reads a long stream without one", function*() {
    const id = yield* appendTally(tally({}))
    const { run, settled } = yield* startProcess()
    yield* run(Aggregate.load(first, id))
    yield* settled
    equal((yield* storedSnapshot(first, id))?.version, Version.make(25), "the version of the snapshot")
  }),

  test("takes a snapshot after a load above the cost, not after an append", function*() {
    const cheap = tally({ snapshots: SnapshotPolicy.afterCost(0) })
    const dear = tally({ snapshots: SnapshotPolicy.afterCost("1 hour"), evolveVersion: 2 })
    const id = yield* appendTally(cheap)
    equal(yield* storedSnapshot(cheap, id), undefined, "the snapshot after appends on a cached state")
    for (const decider of [cheap, dear]) {
      const { run, settled } = yield* startProcess()
      yield* run(Aggregate.load(decider, id))
      yield* settled
    }
    equal(
      (yield* storedSnapshot(cheap, id))?.version,
      Version.make(25),
      "the version of the snapshot after a load above the cost"
    )
    equal(yield* storedSnapshot(dear, id), undefined, "the snapshot after a load below the cost")
  }),

  test("the policy `never` neither writes nor reads snapshots", function*() {
    const { calls, run, settled } = yield* startProcess()
    const never = tally({ snapshots: SnapshotPolicy.never })
    const id = unique("t")
    for (const n of upTo(3)) yield* run(add(never, id, n))
    const cold = yield* startProcess()
    yield* cold.run(Aggregate.load(never, id))
    yield* settled
    yield* cold.settled
    equal([yield* calls, yield* cold.calls], [[], []], "the snapshot operations")
  }),

  ...Object.entries(others).map(([name, decider]) =>
    test(`ignores an older program's snapshot after ${name}, and stores its own`, function*() {
      const id = yield* appendTally()
      const before = yield* storedSnapshot(first, id)
      const { read, run, settled } = yield* startProcess()
      // The deciders have different state types. The test only compares the loaded states.
      const load = (self: typeof first) => Aggregate.load(self, id)
      const other = decider as typeof first
      equal(yield* run(load(other)), yield* foldedState(other, id), "the state")
      equal(yield* read, 25, "the number of events read")
      yield* settled
      equal((yield* storedSnapshot(other, id))?.version, Version.make(25), "the version of the new snapshot")
      equal(yield* storedSnapshot(first, id), before, "the snapshot of the old program")
      const again = yield* startProcess()
      equal(yield* again.run(load(other)), yield* foldedState(other, id), "the state from the new snapshot")
      equal(yield* again.read, 1, "the number of events read with the new snapshot")
    })
  ),

  ...Object.entries(faults).map(([name, change]) =>
    test(`replaces a snapshot that ${name}`, function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const id = yield* appendTally()
      const right = (yield* storedSnapshot(first, id))!
      yield* driver.snapshots.discard(right)
      yield* driver.snapshots.write({ ...right, ...fakeSnapshot(right.stream, right.fingerprint, 20), ...change })
      const { run, settled } = yield* startProcess()
      equal(yield* run(Aggregate.load(first, id)), yield* foldedState(first, id), "the state")
      yield* settled
      const replaced = yield* storedSnapshot(first, id)
      equal(
        [replaced?.version, replaced?.state],
        [25, `{"sum":${(yield* foldedState(first, id)).state.sum}}`],
        "the new snapshot"
      )
      const next = yield* startProcess()
      yield* next.run(add(first, id, 1))
      equal(
        (yield* foldedState(first, id)).state,
        (yield* next.run(Aggregate.load(first, id))).state,
        "the state after a further command"
      )
    })
  ),

  test("removes a snapshot of a stream without events", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const id = unique("t")
    yield* driver.snapshots.write(fakeSnapshot(`Tally-${id}`, first.stateSnapshots!.fingerprint, 20))
    const { run, settled } = yield* startProcess()
    equal((yield* run(Aggregate.load(first, id))).state, { sum: 0 }, "the state")
    yield* settled
    equal(yield* storedSnapshot(first, id), undefined, "the snapshot")
  }),

  test("leaves a snapshot with the fingerprint of a newer program unchanged", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const id = yield* appendTally()
    const future = fakeSnapshot(`Tally-${id}`, "f".repeat(32), 1_000, { takenAt: yield* DateTime.now })
    yield* driver.snapshots.write(future)
    const { run, settled } = yield* startProcess()
    equal(yield* run(Aggregate.load(first, id)), yield* foldedState(first, id), "the state")
    for (const n of upTo(10)) yield* run(add(first, id, n))
    yield* settled
    equal((yield* storedSnapshot(first, id))?.version, Version.make(30), "the version of its own snapshot")
    const found = yield* driver.snapshots.read(future)
    equal(Option.map(found, ({ version }) => version), Option.some(future.version), "the version of the other snapshot")
  }),

  test("loads past states before, at and after the version of a snapshot", function*() {
    const id = yield* appendTally()
    const reads: Array<number> = []
    for (const version of [0, 1, 19, 20, 21, 25, 30].map((n) => Version.make(n))) {
      const { read, run } = yield* startProcess()
      equal(
        yield* run(Aggregate.load(first, id, { atVersion: version })),
        yield* foldedState(first, id, { atVersion: version }),
        `at version ${version}`
      )
      if (version >= 20) reads.push(yield* read)
    }
    equal(reads, [6, 6, 6, 6], "the number of events read at versions 20, 21, 25 and 30")
    const now = yield* DateTime.now
    for (const atTime of [DateTime.makeUnsafe(0), DateTime.add(now, { hours: 1 })]) {
      const { run } = yield* startProcess()
      equal(yield* run(Aggregate.load(first, id, { atTime })), yield* foldedState(first, id, { atTime }), "at a time")
    }
  }),

  test("concurrent processes of two program versions store correct snapshots", function*() {
    const id = unique("t")
    const programs = [first, others["another evolve version"]]
    const processes = yield* Effect.forEach(upTo(4), () => startProcess())
    yield* Effect.forEach(
      upTo(80),
      // A command that fails after its last retry has appended nothing, so the test repeats it.
      (n) =>
        Effect.retry(processes[n % 4]!.run(add(programs[n % 2]!, id, n % 5)), {
          while: ({ _tag }) => _tag === "ConcurrencyConflict"
        }),
      { concurrency: 6 }
    )
    for (const { settled } of processes) yield* settled
    for (const decider of programs) {
      const { version } = yield* foldedState(decider, id)
      equal(version, Version.make(80), "the version after all commands")
      const snapshot = yield* storedSnapshot(decider, id)
      isAbove(snapshot?.version ?? 0, 0, "the version of the snapshot")
      const { state } = yield* foldedState(decider, id, { atVersion: snapshot!.version })
      equal(snapshot!.state, JSON.stringify(state), `the snapshot at ${snapshot!.version}`)
      const { run } = yield* startProcess()
      equal(yield* run(Aggregate.load(decider, id)), yield* foldedState(decider, id), "the state from the snapshot")
    }
  }),

  test("commands continue on a state that its Schema rejects, without a snapshot", function*() {
    const { calls, run, settled } = yield* startProcess()
    const id = unique("t")
    for (const n of upTo(9)) yield* run(add(first, id, n))
    equal(
      (yield* run(add(first, id, 5_000))).version,
      Version.make(10),
      "the version after the command that exceeds the limit"
    )
    yield* settled
    equal(
      [yield* calls, yield* storedSnapshot(first, id)],
      [["read"], undefined],
      "the snapshot operations and the snapshot"
    )
    equal((yield* run(Aggregate.load(first, id))).state, { sum: 5_045 }, "the state")
  }),

  test("commands succeed while the snapshot driver fails", function*() {
    for (const broken of [Effect.fail(failure), Effect.die("broken")]) {
      const { run, settled } = yield* startProcess(() => ({
        read: () => broken,
        write: () => broken,
        discard: () => broken
      }))
      const id = unique("t")
      for (const n of upTo(25)) yield* run(add(first, id, n % 7))
      yield* settled
      equal((yield* run(Aggregate.load(first, id))).version, Version.make(25), "the version")
      equal(yield* storedSnapshot(first, id), undefined, "the snapshot")
    }
  }),

  test("an append does not wait for its snapshot", function*() {
    const { calls, run } = yield* startProcess(() => ({ write: () => Effect.never }))
    const ids = upTo(3).map(() => unique("t"))
    for (const id of ids) {
      for (const n of upTo(30)) {
        equal((yield* run(add(first, id, n % 7))).version, Version.make(n), "the receipt")
      }
    }
    const writes = Effect.map(calls, (all) => all.filter((call) => call === "write").length)
    equal(
      yield* Effect.repeat(writes, { until: (n) => n > 0 }).pipe(Effect.timeout("1 minute")),
      1,
      "the writes in progress"
    )
    equal((yield* run(add(first, ids[0]!, 1))).version, Version.make(31), "the version of a further append")
    equal(yield* writes, 0, "the further writes, which wait for the first")
  }),

  test("driver: stores the latest version per fingerprint and removes expired ones", function*() {
    const { driver: { snapshots } } = (yield* EventStore.EventStore)[internals]
    const stream = unique("Tally-t")
    const versionOf = (fingerprint: string) =>
      Effect.map(
        snapshots.read({ stream: StreamId.make(stream), fingerprint }),
        Option.match({ onNone: () => 0, onSome: ({ version }) => version as number })
      )
    const takenAt = DateTime.makeUnsafe("2026-03-01T00:00:00Z")
    const before = (by: typeof retention) => ({ takenAt: DateTime.subtractDuration(takenAt, by) })
    yield* snapshots.write(
      fakeSnapshot(stream, "old", 7, { takenAt: DateTime.subtract(takenAt, { days: 7, seconds: 1 }) })
    )
    yield* snapshots.write(fakeSnapshot(stream, "recent", 8, before(retention)))
    const otherStream = unique("Tally-t")
    yield* snapshots.write(fakeSnapshot(otherStream, "old", 9))
    equal([yield* versionOf("old"), yield* versionOf("recent")], [7, 8], "the versions of both fingerprints")

    yield* snapshots.write(fakeSnapshot(stream, "new", 5, { takenAt, state: "{\"sum\":5}" }))
    equal(
      [yield* versionOf("old"), yield* versionOf("recent"), yield* versionOf("new")],
      [0, 8, 5],
      "the versions after the retention time of the oldest"
    )
    for (const version of [4, 5]) yield* snapshots.write(fakeSnapshot(stream, "new", version, { takenAt, state: "[]" }))
    const five = Option.getOrThrow(yield* snapshots.read({ stream: StreamId.make(stream), fingerprint: "new" }))
    equal(
      five,
      fakeSnapshot(stream, "new", 5, { takenAt, state: "{\"sum\":5}" }),
      "the snapshot after writes of earlier and equal versions"
    )
    const six = fakeSnapshot(stream, "new", 6, { takenAt, state: "{\"sum\":\"\\u0000 ü\"}" })
    yield* snapshots.write(six)
    yield* snapshots.discard(five)
    equal(yield* snapshots.read(five), Option.some(six), "the later snapshot after `discard` of the earlier one")
    yield* snapshots.discard(six)
    equal(yield* versionOf("new"), 0, "the version after `discard`")
  }),

  test("driver: a snapshot that was taken before a drop is not written after it", function*() {
    const { driver: { snapshots } } = (yield* EventStore.EventStore)[internals]
    const stream = unique("Tally-t")
    const found = Effect.map(
      snapshots.read({ stream: StreamId.make(stream), fingerprint: "a" }),
      Option.map(({ version }) => version)
    )
    const before = yield* snapshots.drops
    yield* snapshots.write(fakeSnapshot(stream, "a", 1), before)
    equal(yield* found, Option.some(1), "the version before a drop")
    yield* snapshots.drop([])
    yield* snapshots.write(fakeSnapshot(stream, "a", 2), before)
    equal(yield* found, Option.some(1), "the version after a drop of other streams")
    for (const version of upTo(20)) {
      const drops = yield* snapshots.drops
      const [write, drop] = [
        snapshots.write(fakeSnapshot(stream, "a", version), drops),
        snapshots.drop([StreamId.make(stream)])
      ]
      yield* Effect.all(version % 2 === 0 ? [write, drop] : [drop, write], { concurrency: 2 })
      equal(yield* found, Option.none(), "the version after a drop at the same time")
    }
    yield* snapshots.write(fakeSnapshot(stream, "a", 3), yield* snapshots.drops)
    equal(yield* found, Option.some(3), "the version after the last drop")
  }),

  test("driver: returns snapshots page by page, and drops them by stream", function*() {
    const { driver: { snapshots } } = (yield* EventStore.EventStore)[internals]
    const streams = upTo(3).map(() => unique("Tally-t"))
    const written = streams.flatMap((stream) => ["a", "b"].map((print) => fakeSnapshot(stream, print, 3)))
    for (const snapshot of written.toReversed()) yield* snapshots.write(snapshot)
    const all = Effect.gen(function*() {
      const found: Array<string> = []
      let after: ReturnType<typeof fakeSnapshot> | undefined
      while (true) {
        const page = yield* snapshots.page(after, 2)
        equal(page.slice(2), [], "the snapshots beyond the limit of the page")
        if (page.length === 0) return found
        after = page.at(-1)
        found.push(
          ...page.flatMap(({ fingerprint, stream }) => streams.includes(stream) ? [`${stream} ${fingerprint}`] : [])
        )
      }
    })
    equal(
      yield* all,
      written.map(({ fingerprint, stream }) => `${stream} ${fingerprint}`).toSorted(),
      "the snapshots of these streams"
    )
    equal(
      yield* snapshots.drop(streams.slice(0, 2).map((stream) => StreamId.make(stream))),
      4,
      "the number of dropped snapshots"
    )
    equal(yield* all, ["a", "b"].map((print) => `${streams[2]} ${print}`), "the remaining snapshots")
    equal(yield* snapshots.drop([]), 0, "the number dropped for no stream")
  })
]
