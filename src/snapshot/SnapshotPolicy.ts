/**
 * Snapshots: when the state of an aggregate's instance is kept beside its stream, so that whoever does not know it need not fold all of its
 * events, and what tells a snapshot that is still true from one that is not.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaFingerprint from "../core/SchemaFingerprint.ts"
import type * as Event from "../event/Event.ts"
import { legacyOf, upcastersOf } from "../event/EventAnnotations.ts"
import type * as Upcasters from "../event/Upcasters.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"

/**
 * When a snapshot is taken.
 *
 * - `Never`
 * - `Every`: whenever an append or a load takes a state past a version that is a multiple of `events`
 * - `AfterCost`: after it took this long to read and fold what came after the snapshot, or all there was without one
 *
 * @since 0.1.0
 * @category models
 */
export type Policy =
  | { readonly _tag: "Never" }
  | { readonly _tag: "Every"; readonly events: number }
  | { readonly _tag: "AfterCost"; readonly cost: Duration.Duration }

/**
 * The default: states are folded from all of their events.
 *
 * @since 0.1.0
 * @category policies
 */
export const never: Policy = { _tag: "Never" }

/**
 * A snapshot every so many events of a stream. Throws unless it is a whole number from 1.
 *
 * @since 0.1.0
 * @category policies
 */
export const every = (events: number): Policy => ({
  _tag: "Every",
  events: wholeNumber("Snapshots.every: the number of events", events)
})

/**
 * A snapshot when it was needed: after a load that took longer than this. What a process appends to an instance that it knows costs no load,
 * and takes no snapshot.
 *
 * @since 0.1.0
 * @category policies
 */
export const afterCost = (cost: Duration.Input): Policy => ({
  _tag: "AfterCost",
  cost: Duration.fromInputUnsafe(cost)
})

/**
 * Whether a snapshot is due of a state that was taken from one version of its stream to another, by a load at this cost, or by an append at
 * none.
 *
 * @since 0.1.0
 * @category getters
 */
export const isDue = (policy: Policy, from: number, to: number, cost: Duration.Duration | undefined): boolean => {
  switch (policy._tag) {
    case "Never":
      return false
    case "Every":
      // No process knows what the others have taken: each takes one at every multiple that it comes past.
      return Math.floor(to / policy.events) > Math.floor(from / policy.events)
    case "AfterCost":
      return cost !== undefined && to > from && Duration.isGreaterThanOrEqualTo(cost, policy.cost)
  }
}

/**
 * The snapshots of an aggregate's states.
 *
 * - `fingerprint`: of all that a state rests on; a snapshot with another one is of no use
 * - `encode`: the text of a state. Fails with a message when its Schema does not give back the same state
 * - `decode`: fails with a message when the text is not that of a state
 * - `locate`: finds the personal data in an encoded state, where its Schema has any
 *
 * @since 0.1.0
 * @category models
 */
export interface StateSnapshots<in out State> {
  readonly policy: Policy
  readonly fingerprint: SchemaFingerprint.Fingerprint
  readonly encode: (state: State) => Result.Result<string, string>
  readonly decode: (text: string) => Result.Result<State, string>
  readonly locateFields: PersonalFields.FieldLocator | undefined
}

/**
 * Grows when a snapshot means something else under the same fingerprint: when what is kept beside a state or how events are folded changes.
 */
const format = 1

/**
 * The snapshots of the states that some events are folded to.
 *
 * **Details**
 *
 * The fingerprint covers the Schema and the first value of the state, the name, versions and Schemas of the events, and `evolveVersion`. It
 * cannot cover the functions: who changes what `evolve` or an upcaster does, raises `evolveVersion`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <State>(options: {
  readonly policy: Policy
  readonly state: Schema.Codec<State, unknown>
  readonly initial: State
  readonly events: Event.Any
  readonly evolveVersion: number
}): StateSnapshots<State> => {
  const json = Schema.toCodecJson(options.state)
  const isSame = Schema.toEquivalence(options.state)
  // What a Schema would leave out of a state is missing in the one that is read.
  const toJson = Schema.encodeUnknownResult(json, { onExcessProperty: "error" })
  const fromJson = Schema.decodeUnknownResult(json)
  const decode = (text: string): Result.Result<State, string> =>
    attempt(() => Result.mapError(fromJson(JSON.parse(text)), ({ message }) => message))
  const encode = (state: State): Result.Result<string, string> =>
    attempt(() =>
      Result.flatMap(Result.mapError(toJson(state), ({ message }) => message), (encoded) => {
        const text = JSON.stringify(encoded)
        return Result.flatMap(decode(text), (read) =>
          isSame(read, state)
            ? Result.succeed(text)
            : Result.fail("its Schema encodes it to something that decodes to another state"))
      })
    )
  return {
    policy: options.policy,
    encode,
    decode,
    locateFields: PersonalFields.locateFields("the state", options.state),
    fingerprint: SchemaFingerprint.fromText(JSON.stringify([
      format,
      wholeNumber("evolveVersion", options.evolveVersion),
      SchemaFingerprint.make(options.state),
      Result.merge(encode(options.initial)),
      fingerprintsOf(options.events)
    ]))
  }
}

/** For each type that may be in the log, by name, the Schemas of its versions and what becomes of each: the order is the versions'. */
const fingerprintsOf = (events: Event.Any): ReadonlyArray<readonly [type: string, versions: ReadonlyArray<string>]> => {
  const histories = upcastersOf(events)
  const current = Object.entries(events.cases).map(([type, schema]) =>
    [type, [...pastOf(histories[type]?.past), SchemaFingerprint.make(schema)]] as const
  )
  const before = Object.entries(legacyOf(events)).map(([type, legacy]) =>
    [type, legacy.end === "retired" ? ["retired"] : pastOf(legacy.past)] as const
  )
  return [...current, ...before].toSorted(([a], [b]) => a < b ? -1 : 1)
}

const pastOf = (past: ReadonlyArray<Upcasters.PastVersion> = []): ReadonlyArray<string> =>
  past.map(({ schema, upcaster }) =>
    `${SchemaFingerprint.make(schema)}${
      upcaster._tag === "Split" ? ` into ${upcaster.types.toSorted().join(", ")}` : ""
    }`
  )

/** A getter of a Schema may throw on what it does not expect. */
const attempt = <A>(body: () => Result.Result<A, string>): Result.Result<A, string> =>
  Result.flatMap(Result.try({ try: body, catch: String }), (result) => result)

const wholeNumber = (what: string, value: number): number => {
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${what} must be a whole number from 1, not ${value}`)
  return value
}
