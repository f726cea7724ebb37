/**
 * Constructs consumers and decodes their events.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { UndecodableEvent } from "../core/errors.ts"
import * as Event from "../event/Event.ts"
import * as EventCodec from "../event/EventCodec.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as EventTags from "../event/EventTags.ts"
import { type EncodedEvent, freeze, type RecordedEvent } from "../event/RecordedEvent.ts"
import type * as Consumer from "./Consumer.ts"

/**
 * Marks an event of the set as ignored by a consumer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ignore: unique symbol = Symbol.for("evsrc/consumer/ConsumerDefinition/ignore")

/** The ids of subscriptions begin with it, because checkpoints of both kinds are stored in one table. */
const subscriptionPrefix = "subscription:"

/**
 * Returns a consumer. Throws when an option is invalid; `maker` names the constructor that the user called.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Name extends string, Events extends Event.Any>(
  maker: string,
  { events, from, handles, kind, name, partitionBy }: Pick<
    Consumer.Consumer<Name, Events>,
    "kind" | "name" | "events" | "handles" | "from" | "partitionBy"
  >,
  options: Consumer.Options<Events> & Pick<Consumer.Consumer, "lifecycle">
): Consumer.Consumer<Name, Events> => {
  const {
    earlierEvents = "reject",
    ignoreTypes = [],
    onFailure = "park",
    partitions = 1,
    unknownTypes = "pass",
    version = 1,
    where = {}
  } = options
  if (!/^[A-Za-z0-9_.:/-]{1,100}$/.test(name)) {
    throw new Error(`${maker}: the name "${name}" is invalid; use 1 to 100 of the characters A-Z a-z 0-9 _ . : / -`)
  }
  if (kind === "projection" && name.startsWith(subscriptionPrefix)) {
    throw new Error(`${maker}: the name "${name}" must not begin with "${subscriptionPrefix}"; choose another name`)
  }
  if (!Number.isInteger(version) || version < 1) {
    throw new Error(`${maker}: the version of "${name}" is ${version}; it must be a whole number from 1`)
  }
  if (typeof from === "object" && "version" in from) {
    const { version: earlier } = from
    if (!Number.isInteger(earlier) || earlier < 1 || earlier >= version) {
      throw new Error(
        `${maker}: \`from\` of "${name}" is version ${earlier}; give a whole number from 1, below its own version, ${version}`
      )
    }
  }
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 256) {
    throw new Error(`${maker}: "${name}" has ${partitions} partitions; use a whole number from 1 to 256`)
  }
  if (unknownTypes === "stop" && (options.lifecycle ?? "async") !== "async") {
    throw new Error(
      `${maker}: "${name}" is ${options.lifecycle}, so it cannot stop before an event of unknown type; leave \`unknownTypes\` out, and see Health, or `
        + "make it async"
    )
  }
  // Throws for personal data that cannot be encrypted.
  EventPersonalData.fieldLocators(events)
  const wrong = EventTags.validateTexts(events, handles, where.tags ?? [])
  if (wrong !== undefined) throw new Error(`${maker}: the filter \`where\` of "${name}" is invalid: ${wrong}`)
  validatePartitionBy(maker, name, events, handles, partitionBy)
  const ignored = ignoreTypes.find((type) => Event.declaredTypes(events).includes(type))
  if (ignored !== undefined) {
    throw new Error(
      `${maker}: \`ignoreTypes\` of "${name}" names "${ignored}", which is in its set; handle it, or ignore it there`
    )
  }
  return {
    kind,
    name,
    version,
    id: `${kind === "subscription" ? subscriptionPrefix : ""}${name}@${version}`,
    events,
    handles,
    reads: Event.storedTypes(events, handles),
    where,
    partitions,
    partitionBy,
    onFailure,
    unknownTypes,
    ignoreTypes,
    earlierEvents,
    from
  }
}

const validatePartitionBy = (
  maker: string,
  name: string,
  events: Event.Any,
  handles: ReadonlyArray<string>,
  by: Consumer.Consumer["partitionBy"]
): void => {
  if (by === "stream" || by === "document" || by === "instance") return
  const wrong = typeof by === "object" ? EventTags.validateNames(events, handles, [by.tag]) : `${String(by)} is no key`
  if (wrong !== undefined) {
    throw new Error(`${maker}: \`partitionBy\` of "${name}" is invalid: ${wrong}; use "stream", or a tag of its events`)
  }
}

/**
 * Decodes an event and returns the events of the current version that the consumer handles. An upcaster may have split or renamed it, so
 * there may be none, one or several. What the user's code could change in them, and then find at its next attempt, is read-only.
 *
 * @since 0.1.0
 * @category accessors
 */
export const decode = (
  { events, handles, where }: Pick<Consumer.Consumer, "events" | "handles" | "where">,
  encoded: EncodedEvent
): Result.Result<ReadonlyArray<RecordedEvent<Event.Tagged>>, UndecodableEvent> =>
  Result.map(
    EventCodec.make(events).decode(freeze(encoded), where.tags),
    (recorded) => recorded.filter(({ event }) => handles.includes(event._tag))
  )
