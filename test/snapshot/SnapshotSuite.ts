/**
 * The conformance suite of the runtime, the part on snapshots.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { storeError, StoreFailure } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import { retention } from "../../src/snapshot/SnapshotDriver.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { add, countingTally, folded, kept, notedTally, planted, process, tally } from "./SnapshotFixtures.ts"

const everyTen = SnapshotPolicy.every(10)

const first = tally({ snapshots: everyTen })

/** The same contract in other versions of the program: none of them may use another's snapshot. */
const others = {
  "a state with another Schema": countingTally({ snapshots: everyTen }),
  "an event with another Schema": notedTally({ snapshots: everyTen }),
  "another evolve version": tally({ snapshots: everyTen, evolveVersion: 2, weight: 2 }),
  "another initial state": tally({ snapshots: everyTen, initial: 5 })
}

/** An instance with 25 events, by a process that takes snapshots. */
const tallied = Effect.fnUntraced(function*(decider = first) {
  const { run, settled } = yield* process()
  const id = unique("t")
  for (const n of upTo(25)) {
    yield* run(add(decider, id, n % 7))
    yield* settled
  }
  return id
})

const failure = storeError(new StoreFailure({ message: "no snapshots today", cause: undefined }))

/** How a snapshot in the first program's place, of an instance with 25 events, can be wrong. */
const wrong: Readonly<Record<string, Partial<ReturnType<typeof planted>>>> = {
  "is no JSON": { state: "{\"sum\":" },
  "is another JSON": { state: "{\"sum\":\"six\"}" },
  "breaks a check of the state's Schema": { state: "{\"sum\":6666}" },
  "lies beyond the end of the stream": { version: Version.make(1_000) },
  "is of another event": {}
}

/**
 * Snapshots: when they are taken, what is read with them, and that none is believed that is wrong.
 *
 * @since 0.1.0
 * @category suites
 */
export const snapshots: ReadonlyArray<Case<Stores>> = [
  test("a snapshot is taken every so many events, and who does not know the instance reads what came after", function*() {
    const id = yield* tallied()
    const snapshot = yield* kept(first, id)
    equal(
      [snapshot?.version, snapshot?.state],
      [20, `{"sum":${upTo(20).reduce((sum, n) => sum + n % 7, 0)}}`],
      "the snapshot"
    )
    const { calls, read, run } = yield* process()
    equal(yield* run(Aggregate.load(first, id)), yield* folded(first, id), "the state")
    equal(yield* read, 6, "the events that were read: the snapshot's own, and those after it")
    equal(yield* calls, ["read"], "no other is due")
    yield* run(Aggregate.load(first, id))
    equal([yield* read, yield* calls], [1, []], "an instance that is known needs no snapshot")
  }),

  test("a long stream without a snapshot gets one when it is read", function*() {
    const id = yield* tallied(tally({}))
    const { run, settled } = yield* process()
    yield* run(Aggregate.load(first, id))
    yield* settled
    equal((yield* kept(first, id))?.version, Version.make(25), "of all that was read")
  }),

  test("a snapshot is taken after a load that cost enough, and not after an append", function*() {
    const cheap = tally({ snapshots: SnapshotPolicy.afterCost(0) })
    const dear = tally({ snapshots: SnapshotPolicy.afterCost("1 hour"), evolveVersion: 2 })
    const id = yield* tallied(cheap)
    equal(yield* kept(cheap, id), undefined, "the process that has appended all knows the instance")
    for (const decider of [cheap, dear]) {
      const { run, settled } = yield* process()
      yield* run(Aggregate.load(decider, id))
      yield* settled
    }
    equal((yield* kept(cheap, id))?.version, Version.make(25), "cost enough")
    equal(yield* kept(dear, id), undefined, "did not")
  }),

  test("the policy never neither takes nor looks for snapshots", function*() {
    const { calls, run, settled } = yield* process()
    const never = tally({ snapshots: SnapshotPolicy.never })
    const id = unique("t")
    for (const n of upTo(3)) yield* run(add(never, id, n))
    const cold = yield* process()
    yield* cold.run(Aggregate.load(never, id))
    yield* settled
    yield* cold.settled
    equal([yield* calls, yield* cold.calls], [[], []], "the operations on snapshots")
  }),

  ...Object.entries(others).map(([name, decider]) =>
    test(`a snapshot does not outlive ${name}: the state is folded again, and kept beside the old one`, function*() {
      const id = yield* tallied()
      const before = yield* kept(first, id)
      const { read, run, settled } = yield* process()
      // The several states have no type in common but that of the answer.
      const load = (self: typeof first) => Aggregate.load(self, id)
      const other = decider as typeof first
      equal(yield* run(load(other)), yield* folded(other, id), "the state")
      equal(yield* read, 25, "all events were read")
      yield* settled
      equal((yield* kept(other, id))?.version, Version.make(25), "its own snapshot")
      equal(yield* kept(first, id), before, "an old program that still runs goes on with the old one")
      const again = yield* process()
      equal(yield* again.run(load(other)), yield* folded(other, id), "the state from its own snapshot")
      equal(yield* again.read, 1, "which spares the events")
    })
  ),

  ...Object.entries(wrong).map(([name, change]) =>
    test(`a snapshot that ${name} is not believed, and replaced`, function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const id = yield* tallied()
      const right = (yield* kept(first, id))!
      yield* driver.snapshots.discard(right)
      yield* driver.snapshots.write({ ...right, ...planted(right.stream, right.fingerprint, 20), ...change })
      const { run, settled } = yield* process()
      equal(yield* run(Aggregate.load(first, id)), yield* folded(first, id), "the state")
      yield* settled
      const replaced = yield* kept(first, id)
      equal([replaced?.version, replaced?.state], [25, `{"sum":${(yield* folded(first, id)).state.sum}}`], "replaced")
      const next = yield* process()
      yield* next.run(add(first, id, 1))
      equal(
        (yield* folded(first, id)).state,
        (yield* next.run(Aggregate.load(first, id))).state,
        "and a command after it"
      )
    })
  ),

  test("a snapshot of a stream that was set back to nothing is removed", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const id = unique("t")
    yield* driver.snapshots.write(planted(`Tally-${id}`, first.stateSnapshots!.fingerprint, 20))
    const { run, settled } = yield* process()
    equal((yield* run(Aggregate.load(first, id))).state, { sum: 0 }, "the state")
    yield* settled
    equal(yield* kept(first, id), undefined, "the snapshot")
  }),

  test("a fingerprint from the future is left alone", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const id = yield* tallied()
    const future = planted(`Tally-${id}`, "f".repeat(32), 1_000, { takenAt: yield* DateTime.now })
    yield* driver.snapshots.write(future)
    const { run, settled } = yield* process()
    equal(yield* run(Aggregate.load(first, id)), yield* folded(first, id), "the state")
    for (const n of upTo(10)) yield* run(add(first, id, n))
    yield* settled
    equal((yield* kept(first, id))?.version, Version.make(30), "its own snapshot")
    const found = yield* driver.snapshots.read(future)
    equal(Option.map(found, ({ version }) => version), Option.some(future.version), "the other's")
  }),

  test("a state of the past is what it was, before, at and after a snapshot", function*() {
    const id = yield* tallied()
    for (const version of [0, 1, 19, 20, 21, 25, 30].map((n) => Version.make(n))) {
      const { read, run } = yield* process()
      equal(
        yield* run(Aggregate.load(first, id, { atVersion: version })),
        yield* folded(first, id, { atVersion: version }),
        `at version ${version}`
      )
      ok(version < 20 || (yield* read) <= 6, "read from the snapshot on")
    }
    const now = yield* DateTime.now
    for (const atTime of [DateTime.makeUnsafe(0), DateTime.add(now, { hours: 1 })]) {
      const { run } = yield* process()
      equal(yield* run(Aggregate.load(first, id, { atTime })), yield* folded(first, id, { atTime }), "at a time")
    }
  }),

  test("two versions of the program and several processes write at once: each is right, and so is every snapshot", function*() {
    const id = unique("t")
    const programs = [first, others["another evolve version"]]
    const processes = yield* Effect.forEach(upTo(4), () => process())
    yield* Effect.forEach(
      upTo(80),
      // A command whose retries are used up has done nothing.
      (n) =>
        Effect.retry(processes[n % 4]!.run(add(programs[n % 2]!, id, n % 5)), {
          while: ({ _tag }) => _tag === "ConcurrencyConflict"
        }),
      { concurrency: 6 }
    )
    for (const { settled } of processes) yield* settled
    for (const decider of programs) {
      const { version } = yield* folded(decider, id)
      equal(version, Version.make(80), "every command took effect once")
      const snapshot = yield* kept(decider, id)
      ok(snapshot !== undefined && snapshot.version > 0, "there is a snapshot")
      const { state } = yield* folded(decider, id, { atVersion: snapshot!.version })
      equal(snapshot!.state, JSON.stringify(state), `the snapshot at ${snapshot!.version}`)
      const { run } = yield* process()
      equal(yield* run(Aggregate.load(decider, id)), yield* folded(decider, id), "the state from it")
    }
  }),

  test("a state that its own Schema refuses is kept in no snapshot, and commands go on", function*() {
    const { calls, run, settled } = yield* process()
    const id = unique("t")
    for (const n of upTo(9)) yield* run(add(first, id, n))
    equal((yield* run(add(first, id, 5_000))).version, Version.make(10), "the command that takes it too far")
    yield* settled
    equal([yield* calls, yield* kept(first, id)], [["read"], undefined], "nothing was written")
    equal((yield* run(Aggregate.load(first, id))).state, { sum: 5_045 }, "the state")
  }),

  test("a store of snapshots that fails, fails no command", function*() {
    for (const broken of [Effect.fail(failure), Effect.die("broken")]) {
      const { run, settled } = yield* process(() => ({
        read: () => broken,
        write: () => broken,
        discard: () => broken
      }))
      const id = unique("t")
      for (const n of upTo(25)) yield* run(add(first, id, n % 7))
      yield* settled
      equal((yield* run(Aggregate.load(first, id))).version, Version.make(25), "the version")
      equal(yield* kept(first, id), undefined, "there is no snapshot")
    }
  }),

  test("an append does not wait for its snapshot", function*() {
    const { calls, run } = yield* process(() => ({ write: () => Effect.never }))
    const ids = upTo(3).map(() => unique("t"))
    for (const id of ids) {
      for (const n of upTo(30)) {
        equal((yield* run(add(first, id, n % 7))).version, Version.make(n), "the receipt")
      }
    }
    const writes = Effect.map(calls, (all) => all.filter((call) => call === "write").length)
    equal(
      yield* Effect.repeat(writes, { until: (n) => n > 0 }).pipe(Effect.timeout("10 seconds")),
      1,
      "one is under way"
    )
    equal((yield* run(add(first, ids[0]!, 1))).version, Version.make(31), "and goes on")
    equal(yield* writes, 0, "the others wait for it")
  }),

  test("driver: of one stream and fingerprint the latest version stays; others of it go when they are old", function*() {
    const { driver: { snapshots } } = (yield* EventStore.EventStore)[internals]
    const stream = unique("Tally-t")
    const versionOf = (fingerprint: string) =>
      Effect.map(
        snapshots.read({ stream: StreamId.make(stream), fingerprint }),
        Option.match({ onNone: () => 0, onSome: ({ version }) => version as number })
      )
    const takenAt = DateTime.makeUnsafe("2026-03-01T00:00:00Z")
    const before = (by: typeof retention) => ({ takenAt: DateTime.subtractDuration(takenAt, by) })
    yield* snapshots.write(planted(stream, "old", 7, { takenAt: DateTime.subtract(takenAt, { days: 7, seconds: 1 }) }))
    yield* snapshots.write(planted(stream, "recent", 8, before(retention)))
    const stranger = unique("Tally-t")
    yield* snapshots.write(planted(stranger, "old", 9))
    equal([yield* versionOf("old"), yield* versionOf("recent")], [7, 8], "side by side")

    yield* snapshots.write(planted(stream, "new", 5, { takenAt, state: "{\"sum\":5}" }))
    equal([yield* versionOf("old"), yield* versionOf("recent"), yield* versionOf("new")], [0, 8, 5], "what is left")
    for (const version of [4, 5]) yield* snapshots.write(planted(stream, "new", version, { takenAt, state: "[]" }))
    const five = Option.getOrThrow(yield* snapshots.read({ stream: StreamId.make(stream), fingerprint: "new" }))
    equal(five, planted(stream, "new", 5, { takenAt, state: "{\"sum\":5}" }), "not replaced by an earlier one")
    const six = planted(stream, "new", 6, { takenAt, state: "{\"sum\":\"\\u0000 ü\"}" })
    yield* snapshots.write(six)
    yield* snapshots.discard(five)
    equal(yield* snapshots.read(five), Option.some(six), "replaced by a later one, which nobody has discarded")
    yield* snapshots.discard(six)
    equal(yield* versionOf("new"), 0, "discarded")
  }),

  test("driver: all snapshots are told page by page, and dropped by stream", function*() {
    const { driver: { snapshots } } = (yield* EventStore.EventStore)[internals]
    const streams = upTo(3).map(() => unique("Tally-t"))
    const written = streams.flatMap((stream) => ["a", "b"].map((print) => planted(stream, print, 3)))
    for (const snapshot of written.toReversed()) yield* snapshots.write(snapshot)
    const all = Effect.gen(function*() {
      const found: Array<string> = []
      let after: ReturnType<typeof planted> | undefined
      while (true) {
        const page = yield* snapshots.page(after, 2)
        ok(page.length <= 2, "a page is no longer than its limit")
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
      "every one, once"
    )
    equal(yield* snapshots.drop(streams.slice(0, 2).map((stream) => StreamId.make(stream))), 4, "how many were dropped")
    equal(yield* all, ["a", "b"].map((print) => `${streams[2]} ${print}`), "what is left")
    equal(yield* snapshots.drop([]), 0, "none")
  })
]
