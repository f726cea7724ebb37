/**
 * The snapshots of an aggregate's states: when one is due, how a state becomes text, and the fingerprint that tells whether a snapshot is still
 * valid.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as JsonText from "../core/json/JsonText.ts"
import { parseJson } from "../core/json/parseJson.ts"
import * as SchemaFingerprint from "../core/SchemaFingerprint.ts"
import type * as Event from "../event/Event.ts"
import * as EventFingerprints from "../event/EventFingerprints.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as JsonCodec from "../personalData/JsonCodec.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import type { Policy } from "./SnapshotPolicy.ts"

/**
 * Returns whether a snapshot is due of a state that went from one version of its stream to another. `cost` is the time that a load took; an append
 * has none.
 *
 * @since 0.1.0
 * @category guards
 */
export const isDue = (policy: Policy, from: number, to: number, cost: Duration.Duration | undefined): boolean => {
  switch (policy._tag) {
    case "Never":
      return false
    case "Every":
      // No process knows which snapshots the others have taken, so each takes one at every multiple that it passes.
      return Math.floor(to / policy.events) > Math.floor(from / policy.events)
    case "AfterCost":
      return cost !== undefined && to > from && Duration.isGreaterThanOrEqualTo(cost, policy.cost)
  }
}

/**
 * How the states of an aggregate become snapshots.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateSnapshots<in out State> {
  readonly policy: Policy
  /** The fingerprint of everything a state depends on. A snapshot with another fingerprint is not used. */
  readonly fingerprint: SchemaFingerprint.Fingerprint
  /** Returns the text of a state, or a message when its Schema would not decode that text to the same state. */
  readonly encode: (state: State) => Result.Result<string, string>
  /** Returns the state of a text, or a message when the text is not that of a state. */
  readonly decode: (text: string) => Result.Result<State, string>
  /** Locates the personal data in an encoded state; undefined when its Schema has none. */
  readonly locateFields: PersonalFields.FieldLocator | undefined
}

/** Raise it when the form of a snapshot or the way that events are folded changes, so that old snapshots are not used. */
const format = 1

/**
 * Returns the snapshots of the states that some events are folded to.
 *
 * **Details**
 *
 * The fingerprint covers the Schema and the first value of the state, the names, versions and Schemas of the events, and `evolveVersion`. It
 * cannot cover functions: raise `evolveVersion` with every change to what `evolve`, an upcaster or a function of a Schema does.
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
  const isPersonal = PersonalFields.isPersonal(options.state) || EventPersonalData.hasPersonalData(options.events)
  const codec = JsonCodec.make(options.state, {
    // A field that the Schema leaves out would be missing in the state that is read.
    parseOptions: { onExcessProperty: "error" }
  })
  const messageOf = (failure: SchemaFailure.SchemaFailure) => SchemaFailure.messageOf(failure, isPersonal)
  const attempt = <A>(body: () => Result.Result<A, string>): Result.Result<A, string> =>
    Result.flatMap(
      // Only a getter of the state and JSON.parse throw.
      Result.try({
        try: body,
        catch: (cause) => messageOf(SchemaFailure.ofThrown("reading the snapshot or the state", cause))
      }),
      (result) => result
    )
  const decode = (text: string): Result.Result<State, string> =>
    attempt(() => Result.mapError(codec.decode(parseJson(text)), messageOf))
  const encode = (state: State): Result.Result<string, string> =>
    attempt(() => Result.flatMap(Result.mapError(codec.encode(state), messageOf), JsonText.encode))
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
      EventFingerprints.of(options.events)
    ]))
  }
}

/**
 * Returns a whole number from 1. Throws for any other value.
 *
 * @since 0.1.0
 * @category guards
 */
export const wholeNumber = (what: string, value: number): number => {
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${what} must be a whole number from 1, not ${value}`)
  return value
}
