/**
 * The runtime suite of signed snapshots: what a role that may write the table of snapshots, and has no key, can do.
 *
 * The driver of the context is that role: it reads and writes the rows as they are.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import { type Case, equal, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import type { Snapshot } from "../../src/snapshot/SnapshotDriver.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { add, foldedState, startProcess, storedSnapshot, tally } from "./SnapshotFixtures.ts"

const key = (text: string) => Redacted.make(btoa(text.padEnd(32, ".")))
const [first, second] = [key("first"), key("second")]

const everyTen = tally({ snapshots: SnapshotPolicy.every(10) })
const otherVersion = tally({ snapshots: SnapshotPolicy.every(10), evolveVersion: 2, weight: 2 })

/** Appends events to a new instance, by a process with keys that takes snapshots. Returns its id. */
const appendTally = Effect.fnUntraced(function*(keys: ReadonlyArray<Redacted.Redacted> | undefined, events = 25) {
  const { run, settled } = yield* startProcess(undefined, keys)
  const id = unique("t")
  for (const n of upTo(events)) {
    yield* run(add(everyTen, id, n % 7))
    yield* settled
  }
  return id
})

/** Replaces the snapshot of an instance, as a role that may write the table can. */
const forge = Effect.fnUntraced(function*(decider: typeof everyTen, id: string, change: Partial<Snapshot>) {
  const { driver: { snapshots } } = (yield* EventStore.EventStore)[internals]
  const stored = (yield* storedSnapshot(decider, id))!
  yield* snapshots.discard(stored)
  yield* snapshots.write({ ...stored, ...change })
})

/** Loads an instance in a new process with keys. Returns the state, how many events were read, and how many snapshots had no valid signature. */
const loadWith = (keys: ReadonlyArray<Redacted.Redacted> | undefined, id: string, decider = everyTen) =>
  Effect.gen(function*() {
    const { read, run, settled } = yield* startProcess(undefined, keys)
    const logs: Array<string> = []
    const { state } = yield* run(Aggregate.load(decider, id)).pipe(
      Effect.provide(Logger.layer([Logger.map(Logger.formatJson, (line) => void logs.push(line))])),
      Effect.provideService(References.MinimumLogLevel, "Warn")
    )
    yield* settled
    const metrics = (yield* Metric.snapshot).filter(({ attributes, id }) =>
      id === "evsrc_snapshot_reads_total" && attributes?.["outcome"] === "unsigned"
    )
    const unsigned = metrics.reduce((sum, { state }) => sum + ("count" in state ? Number(state.count) : 0), 0)
    equal(
      logs.filter((line) => line.includes("A snapshot has no valid signature") && line.includes(`Tally-${id}`)).length,
      unsigned,
      "the warnings about the signature"
    )
    return { state, read: yield* read, unsigned }
  }).pipe((effect) => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

/** Checks that the state is folded from all events, that this is counted and logged, and that the next process uses a new snapshot. */
const isNotUsed = Effect.fnUntraced(function*(keys: ReadonlyArray<Redacted.Redacted>, id: string, decider = everyTen) {
  const { state, version } = yield* foldedState(decider, id)
  equal(yield* loadWith(keys, id, decider), { state, read: version, unsigned: 1 }, "the load")
  equal((yield* storedSnapshot(decider, id))?.version, version, "the version of the new snapshot")
  equal(yield* loadWith(keys, id, decider), { state, read: 1, unsigned: 0 }, "the load from the new snapshot")
})

/** What may be written in place of an instance's snapshot of version 20. */
const forgeries: Readonly<Record<string, (stored: Snapshot) => Partial<Snapshot>>> = {
  "another state under the old signature": () => ({ state: `{"sum":666}` }),
  "another state without a signature": () => ({ state: `{"sum":666}`, signature: undefined }),
  "the right state without a signature": () => ({ signature: undefined }),
  "an empty signature": () => ({ signature: "" }),
  "a signature that is not Base64": () => ({ signature: "1.???" }),
  "a signature in an unknown form": ({ signature }) => ({ signature: signature!.replace("1.", "2.") }),
  "a signature cut short": ({ signature }) => ({ signature: signature!.slice(0, 20) }),
  "a longer signature": ({ signature }) => ({ signature: `${signature!.slice(0, -1)}AA==` })
}

/**
 * Cases on snapshots under keys: forged, moved, of an earlier version, and under other keys.
 *
 * @since 0.1.0
 * @category suites
 */
export const signedSnapshots: ReadonlyArray<Case<Stores>> = [
  test("a signed snapshot is used by programs with its key, and by those without keys", function*() {
    const id = yield* appendTally([first])
    const { state } = yield* foldedState(everyTen, id)
    for (const keys of [[first], [second, first], undefined]) {
      equal(yield* loadWith(keys, id), { state, read: 6, unsigned: 0 }, "the load")
    }
    equal((yield* storedSnapshot(everyTen, id))?.signature?.length, 46, "the length of the signature")
  }),

  ...Object.entries(forgeries).map(([name, change]) =>
    test(`a program with a key does not use ${name}, and replaces it`, function*() {
      const id = yield* appendTally([first])
      yield* forge(everyTen, id, change((yield* storedSnapshot(everyTen, id))!))
      yield* isNotUsed([first], id)
    })
  ),

  test("a program with a key does not use a snapshot of another stream", function*() {
    const [source, target] = [yield* appendTally([first]), yield* appendTally([first])]
    yield* (yield* startProcess()).run(add(everyTen, source, 100))
    const moved = (yield* storedSnapshot(everyTen, source))!
    const { stream } = (yield* storedSnapshot(everyTen, target))!
    // The last event of the snapshot is one of the stream: only the signature tells that the state is not.
    yield* forge(everyTen, target, { state: moved.state, signature: moved.signature })
    yield* isNotUsed([first], target)
    yield* forge(everyTen, target, { ...moved, stream })
    yield* isNotUsed([first], target)
  }),

  test("a program with a key does not use an earlier state at a later version", function*() {
    const id = yield* appendTally([first], 15)
    const earlier = (yield* storedSnapshot(everyTen, id))!
    equal(earlier.version as number, 10, "the version of the earlier snapshot")
    const { run, settled } = yield* startProcess(undefined, [first])
    for (const n of upTo(10)) yield* run(add(everyTen, id, n))
    yield* settled
    equal((yield* storedSnapshot(everyTen, id))?.version as number, 20, "the version of the later snapshot")
    yield* forge(everyTen, id, { state: earlier.state, signature: earlier.signature })
    yield* isNotUsed([first], id)
    // The earlier snapshot itself is right: the events after it are folded.
    yield* forge(everyTen, id, earlier)
    const { state } = yield* foldedState(everyTen, id)
    equal(yield* loadWith([first], id), { state, read: 16, unsigned: 0 }, "the load from the earlier snapshot")
  }),

  test("a program with a key does not use the state of another program version", function*() {
    const id = yield* appendTally([first])
    yield* loadWith([first], id, otherVersion)
    const other = (yield* storedSnapshot(otherVersion, id))!
    const { fingerprint } = (yield* storedSnapshot(everyTen, id))!
    yield* forge(everyTen, id, { ...other, fingerprint })
    yield* isNotUsed([first], id)
  }),

  test("commands on a forged snapshot decide on the state of the events", function*() {
    const id = yield* appendTally([first])
    yield* forge(everyTen, id, { state: `{"sum":666}` })
    const { run } = yield* startProcess(undefined, [first])
    equal((yield* run(add(everyTen, id, 1))).version as number, 26, "the version of the receipt")
    equal(
      (yield* run(Aggregate.load(everyTen, id))).state,
      (yield* foldedState(everyTen, id)).state,
      "the state after the command"
    )
  }),

  test("a rotated key leaves snapshots in use until it is removed", function*() {
    const id = yield* appendTally([first])
    const { state } = yield* foldedState(everyTen, id)
    const old = (yield* storedSnapshot(everyTen, id))!
    equal(yield* loadWith([second, first], id), { state, read: 6, unsigned: 0 }, "the load with both keys")
    const { run, settled } = yield* startProcess(undefined, [second, first])
    for (const n of upTo(5)) yield* run(add(everyTen, id, n))
    yield* settled
    equal((yield* storedSnapshot(everyTen, id))?.version as number, 30, "the version of the next snapshot")
    equal((yield* loadWith([second], id)).unsigned, 0, "the unsigned snapshots of a load with the new key alone")
    yield* forge(everyTen, id, old)
    yield* isNotUsed([second], id)
    yield* isNotUsed([first], id)
  }),

  test("a lost key costs one fold of each stream", function*() {
    const ids = [yield* appendTally([first]), yield* appendTally([first])]
    for (const id of ids) yield* isNotUsed([second], id)
  }),

  test("programs with a new key replace the unsigned snapshots from before", function*() {
    const id = yield* appendTally(undefined)
    equal((yield* storedSnapshot(everyTen, id))?.signature, undefined, "the signature before")
    yield* isNotUsed([first], id)
    equal((yield* storedSnapshot(everyTen, id))?.signature?.length, 46, "the length of the signature after")
  }),

  test("without keys a well-formed forged snapshot is used, as the guide says", function*() {
    const id = yield* appendTally(undefined)
    yield* forge(everyTen, id, { state: `{"sum":666}` })
    const { state } = yield* loadWith(undefined, id)
    isAbove(state.sum, 665, "the sum")
  }),

  test("a forged snapshot of a stream without events is removed", function*() {
    const { driver: { snapshots } } = (yield* EventStore.EventStore)[internals]
    const [source, id] = [yield* appendTally([first]), unique("t")]
    yield* snapshots.write({ ...(yield* storedSnapshot(everyTen, source))!, stream: StreamId.make(`Tally-${id}`) })
    equal(yield* loadWith([first], id), { state: { sum: 0 }, read: 0, unsigned: 1 }, "the load")
    equal(yield* storedSnapshot(everyTen, id), undefined, "the snapshot")
  })
]
