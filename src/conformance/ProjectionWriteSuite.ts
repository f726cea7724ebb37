/**
 * Cases about the writes of a projection: documents with checkpoints, the delivery log and parked keys.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EncodedDocument } from "../consumer/CheckpointDriver.ts"
import type { ParkedPage, ParkingRequest } from "../consumer/parking/ParkingDriver.ts"
import type * as Position from "../core/Position.ts"
import { StreamId } from "../core/StreamId.ts"
import * as Version from "../core/Version.ts"
import { ProjectionStore } from "../projection/ProjectionStore.ts"
import {
  acquire,
  advance,
  at,
  claim,
  driver,
  keys,
  minute,
  notes,
  put,
  remove,
  written
} from "./ProjectionStoreFixtures.ts"
import { type Case, equal, test } from "./Suite.ts"

/**
 * The cases.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases: ReadonlyArray<Case<ProjectionStore>> = [
  test("writes documents and checkpoint atomically", function*() {
    const { id } = notes()
    yield* acquire(id)
    equal(yield* advance(id, 1n, 0, 3, [put("a", "open"), put("b", "open")]), true, "the first batch")
    equal(yield* advance(id, 1n, 0, 4, [put("c", "open")]), false, "the same batch again")
    equal(yield* advance(id, 1n, 2, 4, [put("c", "open")]), false, "from another position")
    equal(yield* keys(id), ["a", "b"], "the documents")
    equal(yield* advance(id, 1n, 3, 4, [remove("a"), put("b", "done"), put("c", "open")]), true, "the next batch")
    equal(yield* keys(id), ["b", "c"], "the documents after it")
    equal(yield* keys(id, ["status=4open"]), ["c"], "the index after it")
    equal((yield* (yield* driver).checkpoint(id)).position, at(4), "the checkpoint")
  }),

  test("writes one of 20 concurrent writes of the same batch", function*() {
    const { id } = notes()
    yield* acquire(id)
    const results = yield* Effect.forEach(
      Array.from({ length: 20 }, (_, i) => i),
      (i) => advance(id, 1n, 0, 1, [put(`k${i}`, "open")]),
      { concurrency: "unbounded" }
    )
    equal(results.filter((written) => written).length, 1, "writes")
    equal((yield* keys(id)).length, 1, "documents")
  }),

  test("rejects a shared document that changed since it was read", function*() {
    const { id } = notes()
    const store = yield* driver
    const { assigned: [one, two] } = yield* claim(id, "me", minute, 2)
    const move = (partition: 0 | 1, read: Record<string, bigint>, changes: ReadonlyArray<EncodedDocument>) =>
      store.advance({
        ...written(id, [one, two][partition]!.epoch, 0, 1, changes),
        partition,
        reads: Object.entries(read).map(([key, revision]) => ({ key, revision }))
      })
    equal(yield* move(0, { a: 0n, b: 0n }, [put("a", "open"), put("b", "open")]), "advanced", "new ones")
    equal(yield* move(1, { a: 0n }, [put("a", "done")]), "changed", "one that was not there when it was read")
    const [a, b] = yield* store.load(id, ["a", "b"])
    equal(yield* move(1, { a: a!.revision, c: 1n }, [put("c", "open")]), "changed", "one that is there no more")
    equal(
      yield* move(1, { a: a!.revision, b: b!.revision, c: 0n }, [put("a", "done"), remove("b"), put("c", "open")]),
      "advanced",
      "as they were read"
    )
    equal(yield* keys(id), ["a", "c"], "the documents")
    equal(yield* move(0, { a: a!.revision }, [put("a", "open")]), "changed", "one that was written since")
    const again = yield* store.load(id, ["a"])
    equal(yield* move(1, { a: again[0]!.revision }, []), "lost", "from a checkpoint that has moved")
    equal((yield* store.progress(id)).map((p) => p.position), [at(1), at(1)], "the checkpoints")
  }),

  test("stores the stream that feeds a document until the document is removed", function*() {
    const { id } = notes()
    const store = yield* driver
    const { assigned: [one] } = yield* claim(id, "me", minute, 2)
    const streams = Effect.map(
      store.load(id, ["a", "b"]),
      (all) => all.map(({ key, stream }) => [key, stream]).toSorted()
    )
    const move = (from: number, revisions: Record<string, bigint>, changes: ReadonlyArray<EncodedDocument>) =>
      store.advance({
        ...written(id, one!.epoch, from, from + 1, changes),
        partition: 0,
        reads: Object.entries(revisions).map(([key, revision]) => ({ key, revision }))
      })
    const of = (key: string, stream: string): EncodedDocument => ({ ...put(key, "open"), stream })
    const revisions = Effect.map(
      store.load(id, ["a", "b"]),
      (all) => Object.fromEntries(all.map(({ key, revision }) => [key, revision]))
    )
    yield* move(0, { a: 0n, b: 0n }, [of("a", "A-1"), put("b", "open")])
    equal(yield* streams, [["a", "A-1"], ["b", undefined]], "the streams")
    yield* move(1, yield* revisions, [of("a", "A-2"), of("b", "B-1")])
    equal(yield* streams, [["a", "A-2"], ["b", "B-1"]], "the streams after an update")
    yield* move(2, yield* revisions, [remove("a")])
    yield* move(3, { a: 0n }, [of("a", "A-3")])
    equal(yield* streams, [["a", "A-3"], ["b", "B-1"]], "the streams after a removal")
  }),

  test("loses no update of 20 partitions that write one document", function*() {
    const { id } = notes()
    const store = yield* driver
    const { assigned } = yield* claim(id, "me", minute, 20)
    const counted = (n: number): EncodedDocument => ({ key: "k", document: String(n), indexed: [] })
    yield* Effect.forEach(assigned, ({ epoch, partition }) =>
      Effect.gen(function*() {
        const [found] = yield* store.load(id, ["k"])
        const n = found === undefined ? 0 : Number(found.document)
        return yield* store.advance({
          ...written(id, epoch, 0, 1, [counted(n + 1)]),
          partition,
          reads: [{ key: "k", revision: found?.revision ?? 0n }]
        })
      }).pipe(Effect.repeat({ until: (outcome) => outcome === "advanced" })), { concurrency: "unbounded" })
    equal((yield* store.load(id, ["k"])).map((d) => d.document), [20], "the count")
  }),

  test("counts and digests delivered events per segment, also late ones", function*() {
    const { id } = notes()
    const store = yield* driver
    yield* acquire(id)
    const applied = (first: number, events: number, digest: bigint) => ({ first: at(first), events, digest })
    const move = (from: number, to: number, segments: ReadonlyArray<ReturnType<typeof applied>>) =>
      store.advance({ ...written(id, 1n, from, to), applied: segments })
    yield* move(0, 300, [applied(1, 256, 5n), applied(257, 40, -7n)])
    yield* move(300, 310, [applied(301, 10, 1n << 62n)])
    yield* move(310, 600, [applied(311, 250, 9n)])
    yield* store.recordLateDelivery(id, 0, [applied(258, 1, 3n), applied(600, 1, 4n)])
    equal(yield* store.applied(id, 0), [
      applied(1, 256, 5n),
      applied(257, 51, -7n ^ (1n << 62n) ^ 3n),
      applied(311, 251, 9n ^ 4n)
    ], "the segments")
    const [progress] = yield* store.progress(id)
    equal(
      [progress?.applied, progress?.digest],
      [558n, 5n ^ -7n ^ (1n << 62n) ^ 9n ^ 3n ^ 4n],
      "of the whole partition"
    )
  }),

  test("parks, retries and frees a stream, and records each step", function*() {
    const { id } = notes()
    const store = yield* driver
    const stream = StreamId.make("Note-1")
    const event = (version: number, error: string) => ({
      stream,
      key: stream,
      version: Version.make(version),
      position: at(10 * version),
      eventId: globalThis.crypto.randomUUID(),
      type: "Noticed",
      error
    })
    const [third, fifth] = [event(3, "first \u0000"), event(5, "second")]
    yield* claim(id, "me", minute, 2)
    yield* store.park(id, 1, [third])
    const all = (page: Omit<ParkedPage, "limit"> = {}) => store.parked(id, { limit: 10, ...page })
    const request = (key: string, of: Omit<ParkingRequest, "id">) =>
      Effect.flatMap(
        store.parkedPlaces(id, { key }),
        (places) => store.request(id, { ...of, id: `${of.action} of ${key}` }, places)
      )
    const [parked] = yield* all()
    equal(
      [parked?.key, parked?.version, parked?.position, parked?.attempts],
      [stream, third.version, at(30), 1],
      "it"
    )
    equal(yield* all({ partition: 0 }), [], "in another partition")
    equal(yield* request("Note-2", { action: "retry" }), 0, "another key is not")
    const requested = Effect.map(claim(id, "me", minute, 2), ({ assigned }) => assigned.map((one) => one.requested))
    equal(yield* requested, [false, false], "no request yet")
    equal(yield* request(stream, { action: "retry", actor: "ann" }), 1, "asked")
    equal(yield* requested, [false, true], "the owner hears of it")
    yield* store.unpark(id, 1, [{
      key: stream,
      position: at(30),
      request: `retry of ${stream}`,
      action: "failed",
      next: { ...third, error: "again" }
    }])
    const [again] = yield* all()
    equal([again?.attempts, again?.error, again?.request], [2, "again", undefined], "it has failed again")
    yield* request(stream, { action: "skip", actor: "bob", reason: "a test" })
    equal((yield* all())[0]?.request, {
      id: `skip of ${stream}`,
      action: "skip",
      actor: "bob",
      reason: "a test"
    }, "the request")
    const unparkAt = (position: Position.Position, action: "skipped" | "retried", next?: typeof fifth) => {
      const request = `${action === "skipped" ? "skip" : "retry"} of ${stream}`
      return store.unpark(id, 1, [{ key: stream, position, request, action, next }])
    }
    equal(yield* unparkAt(at(30), "retried"), { changed: [stream] }, "another request")
    equal(yield* store.withdraw(id, [{ partition: 1, key: stream, position: at(31) }]), 0, "a withdrawal elsewhere")
    equal(yield* unparkAt(at(30), "skipped", fifth), "written", "parked there")
    equal((yield* all()).map((p) => [p.position, p.attempts]), [[at(50), 1]], "at another event")
    yield* request(stream, { action: "retry" })
    equal(yield* unparkAt(at(30), "skipped"), "moved", "no longer parked there")
    equal(yield* unparkAt(at(50), "skipped"), { changed: [stream] }, "a skip that was replaced by a retry")
    const earlier = { key: stream, position: at(50), request: "an earlier retry", action: "retried" as const }
    equal(yield* store.unpark(id, 1, [earlier]), "written", "a retry that a later one has replaced")
    equal(yield* unparkAt(at(50), "retried"), "moved", "not parked at all")
    equal(yield* all(), [], "free")
    equal(
      (yield* store.parkingLog(id, { limit: 10 })).map((
        e
      ) => [e.action, e.position, e.actor, e.detail?.replace("\u0000", "?").replace("\ufffd", "?")]),
      [
        ["parked", at(30), undefined, "first ?"],
        ["failed", at(30), "ann", "again"],
        ["skipped", at(30), "bob", "a test"],
        ["parked", at(50), undefined, "second"],
        ["retried", at(50), undefined, undefined]
      ],
      "what has become of it"
    )
  }),

  test("separates the documents of projections", function*() {
    const [a, b] = [notes(), notes()]
    yield* acquire(a.id)
    yield* acquire(b.id)
    yield* advance(a.id, 1n, 0, 1, [put("k", "open")])
    yield* advance(b.id, 1n, 0, 1, [put("k", "done")])
    const store = yield* ProjectionStore
    equal(Option.map(yield* store.get(a, "k"), (note) => note.status), Option.some("open" as const), "one")
    equal(Option.map(yield* store.get(b, "k"), (note) => note.status), Option.some("done" as const), "the other")
  })
]
