/**
 * Who did what, when, and caused by what: a conversation as a tree of commands, the events that each has written, and what those have caused.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"

/**
 * A command that has written events.
 *
 * - `recordedAt`: when its first event was
 * - `caused`: what it has caused by itself, and not by an event
 *
 * @since 0.1.0
 * @category models
 */
export interface CommandNode {
  readonly _tag: "Command"
  readonly id: string
  readonly name: string | undefined
  readonly actor: string | undefined
  readonly causationId: string | undefined
  readonly stream: StreamId
  readonly recordedAt: DateTime.Utc
  readonly events: ReadonlyArray<EventNode>
  readonly caused: ReadonlyArray<Node>
}

/**
 * An event, and what it has caused: commands, and events that were appended without one.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventNode {
  readonly _tag: "Event"
  readonly event: EncodedEvent
  readonly caused: ReadonlyArray<Node>
}

/**
 * @since 0.1.0
 * @category models
 */
export type Node = CommandNode | EventNode

/**
 * A conversation.
 *
 * - `roots`: what came from outside, and whatever names a cause that is not part of the conversation; in the order of the log
 * - `asked`: where in the tree that is, of which the trail was asked for; all its consequences are below it
 * - `events`: how many there are
 * - `isComplete`: whether that is all of them, or as many as were asked for
 *
 * @since 0.1.0
 * @category models
 */
export interface CausationTree {
  readonly correlationId: string
  readonly roots: ReadonlyArray<Node>
  readonly asked: Option.Option<Node>
  readonly events: number
  readonly isComplete: boolean
}

/**
 * What a trail is asked for by: a command's id, an event's, or the conversation's.
 *
 * @since 0.1.0
 * @category models
 */
export type Subject =
  | { readonly commandId: string }
  | { readonly eventId: string }
  | { readonly correlationId: string }

/**
 * - `limit`: how many events to list at most, the first ones; 10,000 by default
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly limit?: number | undefined
}

/**
 * The whole conversation that a command or an event belongs to; none when there is no event of it.
 *
 * **Details**
 *
 * Every event that has the conversation's correlation id is in the tree, once: at its command, and that at the event which its causation id
 * names. Cause and effect go in a circle only where somebody has written ids of their own; such a circle is opened at one of its commands.
 *
 * **Gotchas**
 *
 * A command that wrote nothing has left no trace. What was given another correlation id is another conversation. On PostgreSQL a conversation is
 * found by a look at every event, unless the store has the option `causationIndex`.
 *
 * **Example** (everything that a request has led to)
 *
 * ```ts
 * const trail = yield* Causation.of({ correlationId: requestId })
 * ```
 *
 * @since 0.1.0
 * @category reading
 */
export const of = Effect.fn("Causation.of")(
  function*(
    subject: Subject,
    options: Options = {}
  ): Effect.fn.Return<Option.Option<CausationTree>, EventStoreError, EventStore> {
    const store = yield* EventStore
    const { driver } = store[internals]
    const limits = yield* Limits
    const limit = options.limit ?? 10_000
    if (!Number.isSafeInteger(limit) || limit < 1) {
      return yield* invalidRequest(`a limit is a whole number from 1, not ${limit}`)
    }
    const known = yield* eventOf(store, subject)
    if (!("correlationId" in subject) && Option.isNone(known)) return Option.none()
    const correlationId = "correlationId" in subject ? subject.correlationId : correlationOf(Option.getOrThrow(known))
    const pageSize = Math.min(defaultPageSize, limits.pageSize)
    const events: Array<EncodedEvent> = []
    let isLast = false
    // One more than is asked for tells whether there are more.
    while (!isLast && events.length <= limit) {
      const page = yield* driver.readCorrelation({
        correlationId,
        after: events[events.length - 1]?.position ?? Position.start,
        limit: pageSize
      })
      for (const event of page) events.push(event)
      isLast = page.length < pageSize
    }
    // An event that was appended without a correlation id has begun the conversation that has its own id.
    if (!events.some(({ metadata }) => metadata.commandId === correlationId)) {
      const first = yield* driver.event(correlationId)
      if (Option.isSome(first) && correlationOf(first.value) === correlationId) {
        if (!events.some(({ id }) => id === first.value.id)) events.unshift(first.value)
      }
    }
    if (events.length === 0) return Option.none()
    const shown = events.slice(0, limit)
    const tree = treeOf(shown)
    return Option.some({
      correlationId,
      roots: tree.roots,
      asked: Option.fromUndefinedOr(
        "commandId" in subject
          ? tree.command(subject.commandId)
          : "eventId" in subject
          ? tree.event(subject.eventId)
          : undefined
      ),
      events: shown.length,
      isComplete: events.length <= limit
    })
  }
)

const correlationOf = ({ id, metadata }: EncodedEvent): string => metadata.correlationId ?? id

/** The event that is asked for, or the first one of the command. */
const eventOf = Effect.fnUntraced(
  function*(
    store: EventStore["Service"],
    subject: Subject
  ): Effect.fn.Return<Option.Option<EncodedEvent>, EventStoreError> {
    if ("eventId" in subject) return yield* store[internals].driver.event(subject.eventId)
    if ("correlationId" in subject) return Option.none()
    const receipt = Option.getOrUndefined(yield* store.receipt(subject.commandId))
    const first = receipt?.events[0]
    if (receipt === undefined || first === undefined) return Option.none()
    const page = { stream: receipt.stream, from: first.version, direction: "forward", limit: 1 } as const
    const [event] = yield* store[internals].driver.readStream(page)
    return Option.fromUndefinedOr(event)
  }
)

/** A node of the tree that is being put together: where what it causes goes, and what it is below. */
interface Place {
  readonly node: Node
  readonly caused: Array<Node>
  above: Place | undefined
}

/**
 * The tree of events that are in the order of the log. It is put together without recursion: a conversation may be one long chain.
 */
const treeOf = (events: ReadonlyArray<EncodedEvent>) => {
  const places = new Map<string, Place>()
  const commands = new Map<string, { readonly place: Place; readonly events: Array<EventNode> }>()
  const effects: Array<{ readonly place: Place; readonly cause: string | undefined }> = []
  for (const event of events) {
    const caused: Array<Node> = []
    const node: EventNode = { _tag: "Event", event, caused }
    const place: Place = { node, caused, above: undefined }
    places.set(event.id, place)
    const { causationId: cause, commandId } = event.metadata
    if (commandId === undefined) {
      effects.push({ place, cause })
      continue
    }
    let command = commands.get(commandId)
    if (command === undefined) {
      commands.set(commandId, command = commandOf(commandId, event))
      effects.push({ place: command.place, cause })
    }
    command.events.push(node)
    place.above = command.place
  }
  const roots: Array<Node> = []
  for (const { cause, place } of effects) {
    // A handler may name its command by the event, so an id may be both: then the event is meant.
    const above = cause === undefined ? undefined : places.get(cause) ?? commands.get(cause)?.place
    if (above === undefined || isWithin(above, place)) {
      roots.push(place.node)
    } else {
      place.above = above
      above.caused.push(place.node)
    }
  }
  return {
    roots,
    command: (id: string): Node | undefined => commands.get(id)?.place.node,
    event: (id: string): Node | undefined => places.get(id)?.node
  }
}

const commandOf = (id: string, { metadata, recordedAt, stream }: EncodedEvent) => {
  const caused: Array<Node> = []
  const events: Array<EventNode> = []
  const { actor, causationId, command: name } = metadata
  const node: CommandNode = { _tag: "Command", id, name, actor, causationId, stream, recordedAt, events, caused }
  const place: Place = { node, caused, above: undefined }
  return { place, events }
}

/** Whether a place is another, or below it. */
const isWithin = (place: Place, other: Place): boolean => {
  for (let at: Place | undefined = place; at !== undefined; at = at.above) if (at === other) return true
  return false
}

/**
 * A trail as text: a line for each command, with who and when, and for each event, indented below what has caused it.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = ({ isComplete, roots }: CausationTree): string => {
  const lines: Array<string> = []
  const waiting = roots.toReversed().map((node) => ({ node, depth: 0 }))
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { depth, node } = next
    lines.push("  ".repeat(depth) + lineOf(node))
    const below = node._tag === "Command" ? [...node.events, ...node.caused] : node.caused
    for (const node of below.toReversed()) waiting.push({ node, depth: depth + 1 })
  }
  return (isComplete ? lines : [...lines, "…"]).join("\n")
}

const lineOf = (node: Node): string =>
  node._tag === "Command"
    ? `${node.name ?? "a command"} by ${node.actor ?? "nobody named"} at ${DateTime.formatIso(node.recordedAt)}`
    : `${node.event.type} in ${node.event.stream}, version ${node.event.version}`
