import { assert, describe, it } from "@effect/vitest"
import { DateTime } from "effect"
import * as evsrc from "evsrc"
import * as domain from "evsrc/domain"
import * as pg from "evsrc/pg"
import * as pglite from "evsrc/pglite"
import * as promise from "evsrc/promise"
import * as testing from "evsrc/testing"
import { version } from "../../src/core/AsOf.ts"
import { AsOfNotReached } from "../../src/core/errors.ts"

const messageFor = (stream: string) => new AsOfNotReached({ stream, asOf: version(2), reached: version(1) }).message

const cause = new Error("refused")
const position = evsrc.Position.make(7n)
const three = evsrc.Version.make(3)
const at = { position, stream: "Order-1", version: three, type: "OrderPlaced" }
const unavailable = new evsrc.StoreUnavailable({ message: "The database is unavailable: refused", cause })
const asOf = evsrc.AsOf.position(position)
const report = {
  recordedAt: DateTime.nowUnsafe(),
  events: 0,
  compared: [],
  differences: [],
  failures: [],
  missing: [],
  unrecorded: []
}

/** An instance of every error class that an entry point exports, with words of its message: what was wrong, and what to do. */
const instances: ReadonlyArray<readonly [error: Error, words: ReadonlyArray<string>]> = [
  [new evsrc.AppendConditionFailed({ position }), ["position 7", "retry"]],
  [new evsrc.AsOfNotReached({ asOf, reached: asOf }), ["The log", "7", "read again later"]],
  [
    new evsrc.CommandIdReused({
      commandId: "c1",
      stream: "Order-2",
      differs: "stream",
      firstStream: "Order-1",
      firstCommand: "PlaceOrder"
    }),
    ["c1", "PlaceOrder", "Order-1", "Order-2", "an id of its own"]
  ],
  [
    new evsrc.ConcurrencyConflict({ stream: "Order-1", expected: evsrc.Version.make(2), actual: three }),
    ["Order-1", "version 3", "version 2", "retry"]
  ],
  [
    new evsrc.CircularWait({ consumer: "orders@1", position, waiting: "handler" }),
    [`"orders@1"`, "position 7", "only after the handler has ended", "without `after`"]
  ],
  [
    new evsrc.CircularWait({ consumer: "orders@1", position, waiting: "transaction" }),
    [`"orders@1"`, "position 7", "not committed yet", "after the commit"]
  ],
  [
    new evsrc.ConsumerFailed({ ...at, kind: "subscription", consumer: "subscription:mail@1", detail: "no host" }),
    [`Subscription "subscription:mail@1" failed`, "OrderPlaced", "position 7", "no host"]
  ],
  [
    new evsrc.ConsumerFailed({ ...at, kind: "projection", consumer: "orders@1", detail: "no key" }),
    [`Projection "orders@1" failed`, "no key"]
  ],
  [new evsrc.DamagedExport({ line: 4, detail: "its checksum differs" }), ["Line 4", "its checksum differs"]],
  [new evsrc.EventStoreError({ reason: unavailable }), [unavailable.message]],
  [new evsrc.InvalidCommand({ command: "PlaceOrder", message: "Missing key" }), ["Missing key"]],
  [new evsrc.InvalidQuery({ query: "GetOrder", message: "Missing key" }), ["Missing key"]],
  [new evsrc.InvalidRequest({ message: "a page must have 1 to 10 events" }), ["a page must have"]],
  [new evsrc.KeyStoreUnavailable({ message: "The key store is unavailable: refused", cause }), [
    "key store",
    "refused"
  ]],
  [new evsrc.ListenerTooSlow({ missed: 9 }), ["missed 9 events", "capacity"]],
  [new evsrc.LogDiverged({ eventId: "e1", position }), ["e1", "position 7", "Read the log again"]],
  [new evsrc.NotParked({ consumer: "orders@1", key: "Order-1" }), ["Order-1", "orders@1", "Parking.list"]],
  [new evsrc.OutcomeUnknown({ stream: "Order-1", message: "The connection was lost", cause }), ["was lost"]],
  [
    new evsrc.ProjectionBehind({ projection: "orders@1", wanted: position, reached: evsrc.Position.start }),
    ["orders@1", "position 0", "not yet 7", "read again later"]
  ],
  [
    new evsrc.EventsUntagged({ type: "SeatReserved", tag: "guest", events: 2 }),
    ["2 events \"SeatReserved\"", "the tag \"guest\"", "Read without this tag"]
  ],
  [
    new evsrc.CursorExpired({ projection: "orders@1", generation: "orders@1", active: "orders@1~1" }),
    ["orders@1~1", "begin with the first page"]
  ],
  [
    new evsrc.IndexIncomplete({ projection: "orders@1", fields: ["total"] }),
    ["orders@1", "total", "ProjectionStore.reindex"]
  ],
  [new evsrc.ProjectionIncomplete({ projection: "orders@1" }), ["orders@1", "Start a program"]],
  [new evsrc.ProjectionIncomplete({ projection: "orders@1", position }), ["orders@1", "position 7", "repairInline"]],
  [
    new evsrc.InlineProjectionMissing({ projection: "orders@1", stream: "Order-1", type: "OrderPlaced" }),
    ["orders@1", "Order-1", "OrderPlaced", "Projector.retireInline"]
  ],
  [
    new evsrc.DiscardRejected({ generation: "orders@1", reason: "Unknown" }),
    [`"orders@1"`, "no such generation", "Generations.list"]
  ],
  [
    new evsrc.DiscardRejected({ generation: "orders@1", reason: "Active" }),
    [`"orders@1"`, "active generation", "`evenIfActive: true`"]
  ],
  [
    new evsrc.DiscardRejected({ generation: "orders@1", reason: "RollbackTarget" }),
    ["Rebuild.rollback", "`evenIfRollbackTarget: true`"]
  ],
  [new evsrc.DiscardRejected({ generation: "orders@1", reason: "Leased" }), ["workers run it", "stop the programs"]],
  [
    new evsrc.ResetRejected({
      consumer: "orders@1",
      reason: "Leased",
      partitions: [{ partition: 2, worker: "w" }],
      detail: "partition 2 (worker w)"
    }),
    [`"orders@1"`, "nothing was changed", "partition 2 (worker w)", "stop that program"]
  ],
  [
    new evsrc.ResetRejected({ consumer: "orders@1", reason: "InTransaction", partitions: [], detail: "partition 2" }),
    [`"orders@1"`, "nothing was changed", "outside a transaction"]
  ],
  [new evsrc.GenerationDiscarded({ generation: "orders@1" }), [`"orders@1" was discarded`, "raise the version"]],
  [
    new evsrc.RebuildRejected({ projection: "orders@1", reason: "Active", detail: "it is active" }),
    ["orders@1", "it is active"]
  ],
  [new evsrc.StillParked({ consumer: "orders@1", key: "Order-1", position, action: "skip", keys: 1 }), [
    "skip",
    "Order-1",
    "position 7",
    "start a worker"
  ]],
  [new evsrc.StillParked({ consumer: "orders@1", action: "retry", keys: 12 }), [
    "retry of 12 keys",
    "orders@1",
    "start a worker"
  ]],
  [new evsrc.StoreFailure({ message: "The database failed: refused", cause }), ["refused"]],
  [new evsrc.StoreMisconfigured({ message: "The schema is invalid", cause }), ["invalid"]],
  [unavailable, ["refused"]],
  [new evsrc.StreamClosed({ stream: "Order-1", version: three }), ["Order-1", "version 3", "new stream"]],
  [
    new evsrc.SubjectErased({ subject: "user:ann", erasedAt: DateTime.makeUnsafe(0) }),
    ["user:ann", "1970-01-01", "new subject"]
  ],
  [new evsrc.TransferRejected({ detail: "the log is not empty" }), ["the log is not empty"]],
  [
    new evsrc.UndecodableDocument({ projection: "orders@1", key: "k", detail: "Expected string" }),
    ["orders@1", `"k"`, "Expected string", "raise the version"]
  ],
  [
    new evsrc.UndecodableEvent({ ...at, problem: "UnknownType", schemaVersion: 1, detail: "no such type" }),
    ["OrderPlaced", "position 7", "Order-1", "version 3", "no such type"]
  ],
  [new promise.AppClosed({ wasInFlight: false }), ["did nothing", "Evsrc.start"]],
  [new promise.AppClosed({ wasInFlight: true }), ["outcome is unknown", "the same `commandId`"]],
  [new promise.LayerTimeout({ phase: "build", timeout: "15m" }), ["not built within 15m", "Evsrc.start"]],
  [new promise.LayerTimeout({ phase: "release", timeout: "30s" }), ["not released within 30s", "releaseTimeout"]],
  [new pglite.PgliteError({ reason: "InUse", message: "The folder is in use" }), ["in use"]],
  [new testing.GoldenEvents.GoldenEventsFailed({ directory: "golden", problems: [] }), ["golden"]],
  [new testing.Recording.InvalidRecording({ line: 4, detail: "it is damaged" }), ["line 4", "it is damaged"]],
  [new testing.Recording.RecordingFailed({ detail: "the log is empty" }), ["cannot be recorded", "the log is empty"]],
  [
    new testing.Recording.ReplayDiffers({ report, hint: "Give the aggregate" }),
    ["replay of the recording differs", "Give the aggregate"]
  ],
  [new testing.SpecFailed("The decision differs", 1, 2), ["The decision differs", "expected: 1", "actual:   2"]]
]

type ErrorClass = new(...args: never) => Error

const isErrorClass = (value: unknown): value is ErrorClass =>
  typeof value === "function" && value.prototype instanceof Error

/** The error classes of an entry point, also those of its namespaces. */
const errorClasses = (exported: object): ReadonlyArray<ErrorClass> =>
  Object.values(exported).flatMap((value: unknown) =>
    isErrorClass(value)
      ? [value]
      : typeof value === "object" && value !== null && Reflect.get(value, Symbol.toStringTag) === "Module"
      ? errorClasses(value)
      : []
  )

describe("the message of an error", () => {
  it("quotes a name of up to 120 characters, and the beginning of a longer one", () => {
    assert.include(messageFor("x".repeat(120)), `Stream "${"x".repeat(120)}" has reached`)
    assert.include(messageFor("x".repeat(121)), `Stream "${"x".repeat(120)}… (121 characters)" has reached`)
  })

  it.each(instances.map(([error, words]) => ({ name: error.name, error, words })))(
    "says what was wrong: $name",
    ({ error, words }) => {
      for (const word of words) assert.include(error.message, word)
    }
  )

  it("is tested for every exported error class", () => {
    const exported = new Set([evsrc, domain, pg, pglite, promise, testing].flatMap(errorClasses))
    const tested = new Set(instances.map(([error]) => error.constructor))
    assert.deepStrictEqual(
      [...exported].filter((one) => !tested.has(one)).map(({ name }) => name),
      [],
      "error classes without an instance above"
    )
    assert.isAtLeast(exported.size, 30)
  })
})
