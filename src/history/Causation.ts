/**
 * Causation trees: the commands and events of one correlation id, with who sent each command, when, and what caused it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type EventStoreError, invalidRequest } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type { StreamId } from "../core/StreamId.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import type { EventStoreDriver } from "../eventStore/driver/EventStoreDriver.ts"
import type { CorrelationPage } from "../eventStore/driver/LogPage.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import { ofOneLog, requireEvents } from "../eventStore/LogIdentity.ts"
import { defaultPageSize } from "../eventStore/LogReader.ts"

/**
 * A command that wrote events.
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
  /** The recorded time of its first event. */
  readonly recordedAt: DateTime.Utc
  readonly events: ReadonlyArray<EventNode>
  /** The effects whose causation id is the command itself, not one of its events. */
  readonly caused: ReadonlyArray<Node>
}

/**
 * An event with its effects: commands, and events that were appended without a command.
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
 * The causation tree of a correlation id.
 *
 * @since 0.1.0
 * @category models
 */
export interface CausationTree {
  readonly correlationId: string
  /** The nodes that have no cause within the tree, in the order of the log. */
  readonly roots: ReadonlyArray<Node>
  /** The node of the command or event that the selector names, with its effects below it. */
  readonly requested: Option.Option<Node>
  /** The number of events in the tree. */
  readonly events: number
  /** Whether these are all events of the correlation id; false if the limit cut the tree off. */
  readonly isComplete: boolean
}

/**
 * What selects a causation tree: the id of a command or event in it, or its correlation id.
 *
 * @since 0.1.0
 * @category models
 */
export type Selector =
  | { readonly commandId: string }
  | { readonly eventId: string }
  | { readonly correlationId: string }

/**
 * Options of {@link of}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The largest number of events in the tree; 10,000 by default. Later events are left out. */
  readonly limit?: number | undefined
}

/**
 * Returns the causation tree of a command, an event or a correlation id; none if no event belongs to it.
 *
 * **Details**
 *
 * The tree contains every event of the correlation id exactly once: below its command, which is below the event that its causation id names.
 * Causes form a cycle only if callers chose the ids themselves; then one command of the cycle becomes a root.
 *
 * **Gotchas**
 *
 * A command that wrote no event is not in the tree. Events with another correlation id belong to another tree. On PostgreSQL the read scans
 * all events, unless the store has the option `causationIndex`.
 *
 * **Example** (everything that a request caused)
 *
 * ```ts
 * const tree = yield* Causation.of({ correlationId: requestId })
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = Effect.fn("Causation.of")((selector: Selector, options: Options = {}) =>
  ofOneLog(read(selector, options))
)

const read = Effect.fnUntraced(
  function*(
    selector: Selector,
    options: Options
  ): Effect.fn.Return<Option.Option<CausationTree>, EventStoreError, EventStore> {
    const store = yield* EventStore
    const { driver } = store[internals]
    const limits = yield* Limits
    const limit = options.limit ?? 10_000
    if (!Number.isSafeInteger(limit) || limit < 1) {
      return yield* invalidRequest(`the limit of a causation tree must be a whole number of at least 1, not ${limit}`)
    }
    const event = yield* eventOf(store, selector)
    if (!("correlationId" in selector) && Option.isNone(event)) return Option.none()
    const correlationId = "correlationId" in selector ? selector.correlationId : correlationOf(Option.getOrThrow(event))
    // One event more than the limit shows whether the tree is complete.
    const selected = Option.map(event, LogPosition.ofEvent)
    const pageSize = Math.min(defaultPageSize, limits.pageSize)
    const events = yield* eventsOf(driver, {
      correlationId,
      basis: Option.toArray(selected),
      pageSize,
      enough: limit + 1
    })
    // The first event may have been appended without a correlation id; then its own id is the correlation id.
    if (!events.some(({ metadata }) => metadata.commandId === correlationId)) {
      const first = yield* driver.event(correlationId)
      yield* requireEvents(driver, events.slice(-1).map(LogPosition.ofEvent))
      if (Option.isSome(first) && correlationOf(first.value) === correlationId) {
        if (!events.some(({ id }) => id === first.value.id)) events.unshift(first.value)
      }
    }
    if (events.length === 0) return Option.none()
    const included = events.slice(0, limit)
    const tree = treeOf(included)
    return Option.some({
      correlationId,
      roots: tree.roots,
      requested: Option.fromUndefinedOr(
        "commandId" in selector
          ? tree.command(selector.commandId)
          : "eventId" in selector
          ? tree.event(selector.eventId)
          : undefined
      ),
      events: included.length,
      isComplete: events.length <= limit
    })
  }
)

interface CorrelationSearch extends Pick<CorrelationPage, "basis" | "correlationId"> {
  readonly pageSize: number
  /** How many events to read at least, if there are so many. */
  readonly enough: number
}

/** Reads the events of a correlation id. Fails with `LogDiverged` if the log is set back between two pages. */
const eventsOf = Effect.fnUntraced(function*(
  driver: EventStoreDriver,
  { basis, correlationId, enough, pageSize }: CorrelationSearch
): Effect.fn.Return<Array<EncodedEvent>, EventStoreError> {
  const events: Array<EncodedEvent> = []
  for (let limit = pageSize, after = LogPosition.start;;) {
    const { position } = after
    const known = position === Position.start ? basis : [after]
    const page = yield* driver.readCorrelation({ correlationId, after: position, basis: known, limit })
    const found = page.events
    // Above the high-water mark events may still appear between those of a page. They are read again, with the next page, in one statement.
    const isLast = found.length < limit || events.length + found.length >= enough && found.at(-1)!.position <= page.head
    for (const event of found) if (isLast || event.position <= page.head) events.push(event)
    if (isLast) return events
    const last = events.at(-1)
    if (last === undefined || last.position === position) limit *= 2
    else after = LogPosition.ofEvent(last)
  }
})

const correlationOf = ({ id, metadata }: EncodedEvent): string => metadata.correlationId ?? id

/** Returns the selected event, or the first event of the selected command. */
const eventOf = Effect.fnUntraced(
  function*(
    store: EventStore["Service"],
    selector: Selector
  ): Effect.fn.Return<Option.Option<EncodedEvent>, EventStoreError> {
    if ("eventId" in selector) return yield* store[internals].driver.event(selector.eventId)
    if ("correlationId" in selector) return Option.none()
    const receipt = Option.getOrUndefined(yield* store.receipt(selector.commandId))
    const first = receipt?.events[0]
    if (receipt === undefined || first === undefined) return Option.none()
    const page = { stream: receipt.stream, from: first.version, direction: "forward", limit: 1 } as const
    const [event] = yield* store[internals].driver.readStream(page)
    return Option.fromUndefinedOr(event)
  }
)

/** A node while the tree is built, with the array of its effects and its parent. */
interface TreeEntry {
  readonly node: Node
  readonly caused: Array<Node>
  parent: TreeEntry | undefined
}

/**
 * Builds the tree of events in the order of the log. It does not recurse, because a tree may be one long chain.
 */
const treeOf = (events: ReadonlyArray<EncodedEvent>) => {
  const entries = new Map<string, TreeEntry>()
  const commands = new Map<string, { readonly entry: TreeEntry; readonly events: Array<EventNode> }>()
  const effects: Array<{ readonly entry: TreeEntry; readonly cause: string | undefined }> = []
  for (const event of events) {
    const caused: Array<Node> = []
    const node: EventNode = { _tag: "Event", event, caused }
    const entry: TreeEntry = { node, caused, parent: undefined }
    entries.set(event.id, entry)
    const { causationId: cause, commandId } = event.metadata
    if (commandId === undefined) {
      effects.push({ entry, cause })
      continue
    }
    let command = commands.get(commandId)
    if (command === undefined) {
      commands.set(commandId, command = commandOf(commandId, event))
      effects.push({ entry: command.entry, cause })
    }
    command.events.push(node)
    entry.parent = command.entry
  }
  const roots: Array<Node> = []
  for (const { cause, entry } of effects) {
    // A handler may use the event's id as its command id. Then the cause is the event.
    const parent = cause === undefined ? undefined : entries.get(cause) ?? commands.get(cause)?.entry
    if (parent === undefined || isInSubtree(parent, entry)) {
      roots.push(entry.node)
    } else {
      entry.parent = parent
      parent.caused.push(entry.node)
    }
  }
  return {
    roots,
    command: (id: string): Node | undefined => commands.get(id)?.entry.node,
    event: (id: string): Node | undefined => entries.get(id)?.node
  }
}

const commandOf = (id: string, { metadata, recordedAt, stream }: EncodedEvent) => {
  const caused: Array<Node> = []
  const events: Array<EventNode> = []
  const { actor, causationId, command: name } = metadata
  const node: CommandNode = { _tag: "Command", id, name, actor, causationId, stream, recordedAt, events, caused }
  const entry: TreeEntry = { node, caused, parent: undefined }
  return { entry, events }
}

/** Returns whether an entry is another one or below it. */
const isInSubtree = (entry: TreeEntry, other: TreeEntry): boolean => {
  for (let at: TreeEntry | undefined = entry; at !== undefined; at = at.parent) if (at === other) return true
  return false
}

/**
 * Formats a causation tree as text: a line for each command, with actor and time, and for each event, indented below its cause.
 *
 * @since 0.1.0
 * @category accessors
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
    ? `${node.name ?? "a command"} by ${node.actor ?? "an unknown actor"} at ${DateTime.formatIso(node.recordedAt)}`
    : `${node.event.type} in ${node.event.stream}, version ${node.event.version}`
