/**
 * The events that this process has appended last. Its own consumers take them from here instead of reading them again.
 *
 * @since 0.1.0
 */
import type { Position } from "../core/Position.ts"
import type { EncodedEvent } from "../event/RecordedEvent.ts"
import { encodedEventsOf } from "./AppendCodec.ts"
import type { AppendRequest, AppendResult } from "./driver/EventStoreDriver.ts"

/** How many appended events are kept, and how many characters of their payloads. */
const maxEvents = 1_000
const maxCharacters = 4 * 1024 * 1024

type Appended = Extract<AppendResult, { readonly _tag: "Appended" }>

/** An append that was committed. Its events are converted when a consumer takes one of them. */
interface Entry {
  readonly request: Pick<AppendRequest, "events" | "stream">
  readonly result: Appended
  readonly characters: number
  encoded: ReadonlyArray<EncodedEvent> | undefined
}

/**
 * The events that this process has appended last, by position.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppendedEvents {
  /** Keeps the events of an append that was committed. Without readers it keeps nothing. */
  readonly record: (request: AppendRequest, result: () => Appended) => void
  /** Returns whether it has the event at a position. */
  readonly has: (position: Position) => boolean
  /** Returns the events at the positions right after one, up to the first that it does not have, and at most `limit`. */
  readonly after: (position: Position, limit: number) => ReadonlyArray<EncodedEvent>
  /** Discards all events, because the log was set back. */
  readonly clear: () => void
}

/** Returns what is kept of a request. The plaintext is not: what is erased later would be in it. */
const encrypted = ({ events, stream }: AppendRequest): Entry["request"] => ({
  stream,
  events: events.some(({ decrypted }) => decrypted !== undefined)
    ? events.map(({ decrypted: _, ...event }) => event)
    : events
})

/**
 * Returns an empty buffer of appended events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): AppendedEvents => {
  const entries = new Map<bigint, Entry>()
  let characters = 0
  /** How many events may still be recorded before a reader has to ask again. */
  let wanted = 0

  const remove = (position: bigint): void => {
    const entry = entries.get(position)
    if (entry === undefined) return
    entries.delete(position)
    characters -= entry.characters
  }
  const clear = (): void => {
    entries.clear()
    characters = 0
  }
  const trim = (): void => {
    for (const position of entries.keys()) {
      if (entries.size <= maxEvents && characters <= maxCharacters) return
      remove(position)
    }
  }
  const eventAt = (position: bigint): EncodedEvent | undefined => {
    const entry = entries.get(position)
    if (entry === undefined) return undefined
    entry.encoded ??= encodedEventsOf(entry.request, entry.result)
    return entry.encoded[entry.result.positions.findIndex((one) => one === position)]
  }

  return {
    record: (request, toResult) => {
      if (wanted <= 0) return
      wanted -= request.events.length
      if (wanted <= 0) return clear()
      const result = toResult()
      const total = request.events.reduce((sum, { data, metadata }) => sum + data.length + metadata.length, 0)
      const entry: Entry = {
        request: encrypted(request),
        result,
        characters: total / result.positions.length,
        encoded: undefined
      }
      for (const position of result.positions) {
        remove(position)
        entries.set(position, entry)
        characters += entry.characters
      }
      trim()
    },
    has: (position) => entries.has(position),
    after: (position, limit) => {
      wanted = maxEvents
      const events: Array<EncodedEvent> = []
      for (let next = position + 1n; events.length < limit; next++) {
        const event = eventAt(next)
        if (event === undefined) break
        events.push(event)
      }
      return events
    },
    clear
  }
}
