/**
 * Reads and writes the snapshots of an aggregate's states.
 *
 * A snapshot is an optimization, and a load verifies it. It is used when its fingerprint is that of this program, one of the program's keys has
 * signed it (if there are any), its text decodes, and the stream has its last event under the same version, position and id. Otherwise the state is folded
 * from the events.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as JsonText from "../core/json/JsonText.ts"
import { parseJson } from "../core/json/parseJson.ts"
import type { StreamId } from "../core/StreamId.ts"
import { countSnapshotRead, countSnapshotWrite } from "../core/telemetry/metricUpdates.ts"
import * as EventStore from "../eventStore/EventStore.ts"
import * as Limits from "../eventStore/Limits.ts"
import * as EncryptedValue from "../personalData/EncryptedValue.ts"
import type { Keys } from "../personalData/KeyStoreLookup.ts"
import type { Snapshot } from "../snapshot/SnapshotDriver.ts"
import * as StateSnapshots from "../snapshot/StateSnapshots.ts"
import type { CachedState } from "./AggregateState.ts"

/**
 * What a lookup of a snapshot found.
 *
 * @since 0.1.0
 * @category models
 */
export type FoundSnapshot<State> =
  | { readonly _tag: "None" }
  /** A state to start from, if the stream has its last event. */
  | { readonly _tag: "Usable"; readonly state: CachedState<State>; readonly snapshot: Snapshot }
  /** A snapshot that does not decode or has no valid signature; the next one replaces it. */
  | { readonly _tag: "Unusable"; readonly snapshot: Snapshot }

/**
 * The result of a lookup that found no snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const none: FoundSnapshot<never> = { _tag: "None" }

/**
 * Reads and writes the snapshots of one aggregate.
 *
 * **Details**
 *
 * `lastErasure` is the id of the last erasure that the state takes into account, for an aggregate with personal data. If it is another by the
 * time of the write, no snapshot is written, because the state may contain data of an erased subject.
 *
 * @since 0.1.0
 * @category models
 */
export interface AggregateSnapshotter<State> {
  /** Returns the snapshot of a stream, of a version up to `maxVersion`. */
  readonly find: (stream: string, maxVersion: number) => Effect.Effect<FoundSnapshot<State>>
  /** Counts and logs whether the stream has the last event of a snapshot that was found. */
  readonly verified: (snapshot: Snapshot, isThere: boolean) => Effect.Effect<void>
  /** Writes a snapshot when one is due after a read of the events from version `from` on, or when it replaces an unusable one. */
  readonly afterRead: (
    stream: string,
    from: number,
    state: CachedState<State>,
    lastErasure: string | undefined,
    cost: Duration.Duration,
    unusable: Snapshot | undefined
  ) => Effect.Effect<void>
  /** Writes a snapshot when one is due after an append to version `from`. */
  readonly afterAppend: (
    stream: string,
    from: number,
    state: CachedState<State>,
    lastErasure: string | undefined
  ) => Effect.Effect<void>
}

/**
 * Makes the snapshotter of an aggregate on a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State>(
  store: EventStore.EventStore["Service"],
  snapshots: StateSnapshots.StateSnapshots<State>
): AggregateSnapshotter<State> => {
  const { fingerprint, policy } = snapshots

  const write = (
    stream: string,
    cached: CachedState<State>,
    lastErasure: string | undefined,
    unusable?: Snapshot
  ): Effect.Effect<void> => {
    const name = Limits.checkStream(stream)
    if (name instanceof EventStoreError) return Effect.void
    const taken = cached.version === 0 ? Effect.succeedNone : take(snapshots, store[internals].keys, name, cached)
    if (lastErasure === undefined) return store[internals].snapshots.write(name, taken, unusable)
    const isValid = Effect.map(store[internals].keys.lastErasure, (now) => now === lastErasure)
    const snapshot = Effect.flatMap(isValid, (valid) => valid ? taken : Effect.succeedNone)
    // An erasure drops snapshots after `maxAge`, so a check for erasures after the drop finds it. A write that began before the drop is rejected.
    return store[internals].snapshots.write(name, snapshot, unusable, true)
  }

  return {
    find: Effect.fnUntraced(function*(stream, maxVersion): Effect.fn.Return<FoundSnapshot<State>> {
      const name = Limits.checkStream(stream)
      // The read of the stream then fails with what is wrong with its name.
      if (name instanceof EventStoreError) return none
      const found = yield* store[internals].snapshots.read({ stream: name, fingerprint })
      if (found._tag === "None") return none
      const { snapshot } = found
      const { eventId, position, version } = snapshot
      if (found._tag === "Unsigned") {
        yield* countSnapshotRead("unsigned")
        yield* warn(
          "A snapshot has no valid signature: another program wrote or changed it, or its key is not among `snapshotKeys`; "
            + "the state is folded from its events",
          stream,
          version,
          ""
        )
        return { _tag: "Unusable", snapshot }
      }
      if (version > maxVersion) return yield* Effect.as(countSnapshotRead("none"), none)
      // Without the key store no snapshot can be decrypted; the read of the events then fails with the reason.
      const decoded = yield* Effect.orElseSucceed(
        decodeState(snapshots, store[internals].keys, snapshot.state),
        () => undefined
      )
      if (decoded === undefined) return none
      if (Result.isSuccess(decoded)) {
        return { _tag: "Usable", snapshot, state: { state: decoded.success, version, position, eventId } }
      }
      yield* countSnapshotRead("undecodable")
      yield* warn(
        "A snapshot cannot be decoded; the state is folded from its events",
        stream,
        version,
        decoded.failure
      )
      return { _tag: "Unusable", snapshot }
    }),
    verified: ({ stream, version }, isThere) =>
      isThere ? countSnapshotRead("hit") : Effect.andThen(
        countSnapshotRead("stale"),
        warn(
          "The last event of a snapshot is not in its stream; the state is folded from its events",
          stream,
          version,
          ""
        )
      ),
    afterRead: (stream, from, state, lastErasure, cost, unusable) =>
      unusable !== undefined || StateSnapshots.isDue(policy, from, state.version, cost)
        ? write(stream, state, lastErasure, unusable)
        : Effect.void,
    afterAppend: (stream, from, state, lastErasure) =>
      StateSnapshots.isDue(policy, from, state.version, undefined) ? write(stream, state, lastErasure) : Effect.void
  }
}

/** Returns the snapshot of a state, or none when its Schema cannot encode it. */
const take = <State>(
  snapshots: StateSnapshots.StateSnapshots<State>,
  keys: Keys,
  stream: StreamId,
  { eventId, position, state, version }: CachedState<State>
): Effect.Effect<Option.Option<Snapshot>, EventStoreError> =>
  Effect.gen(function*() {
    const encoded = yield* encodeState(snapshots, keys, state)
    if (Result.isFailure(encoded)) {
      yield* countSnapshotWrite("unencodable")
      yield* warn("A state cannot be encoded, so no snapshot is written", stream, version, encoded.failure)
      return Option.none()
    }
    const takenAt = yield* DateTime.now
    const { fingerprint } = snapshots
    return Option.some({ stream, fingerprint, version, position, eventId, state: encoded.success, takenAt })
  })

/** Returns the text of a state, with its personal data encrypted. */
const encodeState = <State>(
  { encode, locateFields }: StateSnapshots.StateSnapshots<State>,
  keys: Keys,
  state: State
): Effect.Effect<Result.Result<string, string>, EventStoreError> =>
  Effect.suspend(() => {
    const encoded = encode(state)
    if (Result.isFailure(encoded) || locateFields === undefined) return Effect.succeed(encoded)
    // `encode` made the text.
    const json = parseJson(encoded.success)
    const fields = locateFields(json)
    if (fields.length === 0) return Effect.succeed(encoded)
    return Effect.map(keys.encrypt(fields, "erase"), () => Result.succeed(JsonText.make(json)))
  })

/** Returns the state of a text. It decrypts the personal fields only: elsewhere a state may have what looks encrypted, as a user sent it. */
const decodeState = <State>(
  { decode, locateFields }: StateSnapshots.StateSnapshots<State>,
  keys: Keys,
  text: string
): Effect.Effect<Result.Result<State, string>, EventStoreError> => {
  if (locateFields === undefined || !EncryptedValue.looksEncrypted(text)) return Effect.sync(() => decode(text))
  // The error of JSON.parse quotes the text.
  const parsed = Result.try({ try: () => parseJson(text), catch: () => "its text is not JSON" })
  if (Result.isFailure(parsed)) return Effect.succeed(Result.fail(parsed.failure))
  const state = parsed.success
  const fields = locateFields(state).filter(({ field, parent, subject }) => {
    const value = parent[field]
    return EncryptedValue.isEncrypted(value) && value.subject === subject
  })
  return Effect.map(
    keys.decrypt(fields.map(({ field, parent }) => ({ [field]: parent[field]! }))),
    (decrypted) =>
      Result.flatMap(Result.all(decrypted), (values) => {
        for (const [index, { field, parent }] of fields.entries()) {
          parent[field] = Reflect.get(Object(values[index]), field)
        }
        return decode(JsonText.make(state))
      })
  )
}

const warn = (message: string, stream: string, version: number, detail: string): Effect.Effect<void> =>
  Effect.annotateLogs(detail === "" ? Effect.logWarning(message) : Effect.logWarning(message, detail), {
    stream,
    version
  })

/**
 * Removes the snapshots of instances, under every fingerprint, and returns how many it removed. The next load folds the whole stream.
 *
 * @since 0.1.0
 * @category combinators
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
