/**
 * Snapshots of an aggregate's states: which one a load may start from, and when the next is taken.
 *
 * A snapshot is a hint. It is used when its fingerprint is this program's, its text decodes, and its last event is in the stream under the same
 * version, position and id; anything else is folded from the events, as if there were none.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { countSnapshotRead, countSnapshotWrite } from "../core/metricUpdates.ts"
import type { StreamId } from "../core/StreamId.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import type { Keys } from "../personalData/Encryption.ts"
import type { Snapshot } from "../snapshot/SnapshotDriver.ts"
import * as SnapshotPolicy from "../snapshot/SnapshotPolicy.ts"
import type { CachedState } from "./AggregateState.ts"

/**
 * - `Usable`: a state to start from, if its last event is still there
 * - `Wrong`: a snapshot that is none, to be replaced
 *
 * @since 0.1.0
 * @category models
 */
export type Found<State> =
  | { readonly _tag: "None" }
  | { readonly _tag: "Usable"; readonly known: CachedState<State>; readonly snapshot: Snapshot }
  | { readonly _tag: "Wrong"; readonly snapshot: Snapshot }

/**
 * - `find`: the snapshot of a stream, of a version up to `most`
 * - `verified`: whether the last event of the snapshot that was found is in the stream
 * - `afterRead`: a state was read from the version `from` on, which took this long; `wrong` is to be replaced by it
 * - `afterAppend`: a state was taken further by an append, from the version `from`
 *
 * Both are told how many erasures the state knows of, where it has personal data: when there are more by the time that it is written, it is
 * not, as something that was made of the data may be in it.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateSnapshots<State> {
  readonly find: (stream: string, max: number) => Effect.Effect<Found<State>>
  readonly verified: (snapshot: Snapshot, isThere: boolean) => Effect.Effect<void>
  readonly afterRead: (
    stream: string,
    from: number,
    known: CachedState<State>,
    erasures: bigint | undefined,
    cost: Duration.Duration,
    wrong: Snapshot | undefined
  ) => Effect.Effect<void>
  readonly afterAppend: (
    stream: string,
    from: number,
    known: CachedState<State>,
    erasures: bigint | undefined
  ) => Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = <State>(
  store: EventStore.EventStore["Service"],
  snapshots: SnapshotPolicy.StateSnapshots<State>
): AggregateSnapshots<State> => {
  const { fingerprint, locateFields, policy } = snapshots
  /** What is wrong with a state may quote it. */
  const tellable = (detail: string) => locateFields === undefined ? detail : "it has personal data, so that is not told"

  /** The snapshot of a state; none when its Schema refuses it. */
  const take = (stream: StreamId, { eventId, position, state, version }: CachedState<State>) =>
    Effect.gen(function*() {
      const encoded = yield* encodeState(snapshots, store[internals].keys, state)
      if (Result.isFailure(encoded)) {
        yield* countSnapshotWrite("unencodable")
        yield* warn("A state cannot be kept in a snapshot", stream, version, tellable(encoded.failure))
        return Option.none<Snapshot>()
      }
      const takenAt = yield* DateTime.now
      return Option.some<Snapshot>({ stream, fingerprint, version, position, eventId, state: encoded.success, takenAt })
    })

  const write = (
    stream: string,
    known: CachedState<State>,
    erasures: bigint | undefined,
    wrong?: Snapshot
  ): Effect.Effect<void> => {
    const name = Limits.checkStream(stream)
    if (name instanceof EventStoreError) return Effect.void
    const taken = known.version === 0 ? Effect.succeedNone : take(name, known)
    const snapshot = erasures === undefined
      ? taken
      : Effect.flatMap(store[internals].keys.erasures, (now) => now === erasures ? taken : Effect.succeedNone)
    return store[internals].snapshots.write(name, snapshot, wrong)
  }

  return {
    find: Effect.fnUntraced(function*(stream, max): Effect.fn.Return<Found<State>> {
      const name = Limits.checkStream(stream)
      // Who reads the stream is told what is wrong with its name.
      if (name instanceof EventStoreError) return { _tag: "None" }
      const found = yield* store[internals].snapshots.read({ stream: name, fingerprint })
      if (Option.isNone(found)) return { _tag: "None" }
      if (found.value.version > max) return yield* Effect.as(countSnapshotRead("none"), { _tag: "None" } as const)
      const snapshot = found.value
      const { eventId, position, version } = snapshot
      // Without the key store there is no state: who reads the events is told why.
      const decoded = yield* Effect.orElseSucceed(
        decodeState(snapshots, store[internals].keys, snapshot.state),
        () => undefined
      )
      if (decoded === undefined) return { _tag: "None" }
      if (Result.isSuccess(decoded)) {
        return { _tag: "Usable", snapshot, known: { state: decoded.success, version, position, eventId } }
      }
      yield* countSnapshotRead("undecodable")
      yield* warn("A snapshot cannot be decoded; the state is folded again", stream, version, tellable(decoded.failure))
      return { _tag: "Wrong", snapshot }
    }),
    verified: ({ stream, version }, isThere) =>
      isThere ? countSnapshotRead("hit") : Effect.andThen(
        countSnapshotRead("stale"),
        warn("The last event of a snapshot is not in its stream; the state is folded again", stream, version, "")
      ),
    afterRead: (stream, from, known, erasures, cost, wrong) =>
      wrong !== undefined || SnapshotPolicy.isDue(policy, from, known.version, cost)
        ? write(stream, known, erasures, wrong)
        : Effect.void,
    afterAppend: (stream, from, known, erasures) =>
      SnapshotPolicy.isDue(policy, from, known.version, undefined) ? write(stream, known, erasures) : Effect.void
  }
}

/** The text of a state, its personal data encrypted. */
const encodeState = <State>(
  { encode, locateFields }: SnapshotPolicy.StateSnapshots<State>,
  keys: Keys,
  state: State
): Effect.Effect<Result.Result<string, string>, EventStoreError> =>
  Effect.suspend(() => {
    const encoded = encode(state)
    if (Result.isFailure(encoded) || locateFields === undefined) return Effect.succeed(encoded)
    // It was made by JSON.stringify.
    const json = JSON.parse(encoded.success) as Schema.Json
    const fields = locateFields(json)
    if (fields.length === 0) return Effect.succeed(encoded)
    return Effect.map(keys.encrypt(fields, "erase"), () => Result.succeed(JSON.stringify(json)))
  })

const decodeState = <State>(
  { decode, locateFields }: SnapshotPolicy.StateSnapshots<State>,
  keys: Keys,
  text: string
): Effect.Effect<Result.Result<State, string>, EventStoreError> => {
  if (locateFields === undefined || !EncryptedValue.looksEncrypted(text)) return Effect.sync(() => decode(text))
  const parsed = Result.try({ try: () => JSON.parse(text) as Schema.Json, catch: String })
  if (Result.isFailure(parsed)) return Effect.succeed(Result.fail(parsed.failure))
  return Effect.map(
    keys.decrypt([parsed.success]),
    ([decrypted]) => Result.flatMap(decrypted!, (state) => decode(JSON.stringify(state)))
  )
}

const warn = (message: string, stream: string, version: number, detail: string): Effect.Effect<void> =>
  Effect.annotateLogs(detail === "" ? Effect.logWarning(message) : Effect.logWarning(message, detail), {
    stream,
    version
  })

/**
 * Removes the snapshots of instances, under whatever fingerprint, and returns how many there were. The next load folds the whole stream.
 *
 * @since 0.1.0
 * @category dropping
 */
export const dropSnapshots = Effect.fn("Aggregate.dropSnapshots")(function*(
  aggregate: { readonly streamOf: (id: string) => string },
  ids: ReadonlyArray<string>
): Effect.fn.Return<number, EventStoreError, EventStore.EventStore> {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const streams = ids.map((id) => Limits.checkStream(aggregate.streamOf(id)))
  const valid: Array<StreamId> = []
  for (const stream of streams) {
    if (stream instanceof EventStoreError) return yield* stream
    valid.push(stream)
  }
  return yield* driver.snapshots.drop(valid)
})
