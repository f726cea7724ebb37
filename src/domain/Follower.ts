/**
 * What follows the log: projections and subscriptions. What they have in common is a name and a version, which events they take, and how
 * they share them out.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { UndecodableEvent } from "./errors.ts"
import * as Event from "./Event.ts"
import * as EventCodec from "./EventCodec.ts"
import type { EventRecord, RecordedEvent } from "./EventRecord.ts"
import * as PersonalEvents from "./PersonalEvents.ts"

/**
 * Which events of its set a follower takes; all of them where it says nothing.
 *
 * - `tags`: with all of these tags
 * - `streamPrefix`: of streams whose name begins so, as `Order-`
 *
 * @since 0.1.0
 * @category options
 */
export interface Where {
  readonly tags?: ReadonlyArray<string> | undefined
  readonly streamPrefix?: string | undefined
}

/**
 * - `where`: which events of the set it takes
 * - `partitions`: how many workers can share it, by streams, from 1 to 256; 1 by default. More than one keep the order within a stream, not
 *   that between streams. It cannot change but by a rebuild or a new version
 * - `onFailure`: what becomes of an event that cannot be processed. `"park"`, the default, sets its stream aside from there on, and goes on
 *   with the others; `"stop"` goes no further
 * - `version`: raise it when what is made of the events changes; 1 by default. The follower then starts anew from the first event
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly where?: Where | undefined
  readonly partitions?: number | undefined
  readonly onFailure?: "park" | "stop" | undefined
  readonly version?: number | undefined
}

/**
 * - `id`: `<name>@<version>`, under which everything of it is kept
 * - `handles`: the names of the events that it takes
 * - `reads`: the types in the log that can mean one of them
 *
 * @since 0.1.0
 * @category models
 */
export interface Follower<out Name extends string = string, out Events extends Event.Any = Event.Any> {
  readonly name: Name
  readonly version: number
  readonly id: string
  readonly events: Events
  readonly handles: ReadonlyArray<string>
  readonly reads: ReadonlyArray<string>
  readonly where: Where
  readonly partitions: number
  readonly onFailure: "park" | "stop"
}

/**
 * What a recorded event means to a follower: of the events that it means today those that the follower handles.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (
  { events, handles }: Pick<Follower, "events" | "handles">,
  recorded: RecordedEvent
): Result.Result<ReadonlyArray<EventRecord<Event.Tagged>>, UndecodableEvent> =>
  Result.map(
    EventCodec.of(events).decode(recorded),
    (records) => records.filter(({ event }) => handles.includes(event._tag))
  )

/**
 * Throws when two followers have one id: they would share one checkpoint, and one of them would never be given an event.
 *
 * @since 0.1.0
 * @category checks
 */
export const refuseTwice = (maker: string, followers: ReadonlyArray<Pick<Follower, "id">>): void => {
  const twice = followers.find(({ id }, index) => followers.findIndex((other) => other.id === id) < index)
  if (twice !== undefined) throw new Error(`${maker}: there are two of the name and version ${twice.id}`)
}

/**
 * A follower of these events; throws when an option is not what it may be.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Name extends string, Events extends Event.Any>(
  maker: string,
  name: Name,
  events: Events,
  handles: ReadonlyArray<string>,
  options: Options
): Follower<Name, Events> => {
  const { onFailure = "park", partitions = 1, version = 1, where = {} } = options
  if (!/^[A-Za-z0-9_.:/-]{1,100}$/.test(name)) {
    throw new Error(`${maker}: the name "${name}" must be 1 to 100 of the characters A-Z a-z 0-9 _ . : / -`)
  }
  if (!Number.isInteger(version) || version < 1) {
    throw new Error(`${maker}: the version of "${name}" must be a whole number from 1`)
  }
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 256) {
    throw new Error(`${maker}: the partitions of "${name}" must be a whole number from 1 to 256`)
  }
  // What cannot be encrypted is refused now.
  PersonalEvents.of(events)
  const tagNames = new Set(Object.values(Event.tagFieldsOf(events)).flatMap((fields) => Object.keys(fields ?? {})))
  for (const tag of where.tags ?? []) {
    if (!Array.from(tagNames).some((tagName) => tag.startsWith(`${tagName}:`) && tag.length > tagName.length + 1)) {
      const known = tagNames.size === 0 ? "they have none" : `they have ${Array.from(tagNames).join(", ")}`
      throw new Error(`${maker}: "${name}" asks for the tag "${tag}", which its events cannot have; ${known}`)
    }
  }
  const reads = Event.storedTypes(events, handles)
  return { name, version, id: `${name}@${version}`, events, handles, reads, where, partitions, onFailure }
}
