/**
 * What a process knows of the events that match one item of a query: the events in the order of the log, and how far they are complete.
 *
 * @since 0.1.0
 */
import type { LogPosition } from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import type * as Event from "../event/Event.ts"

/**
 * A decoded event and the id of the stored event that it is of. A stored event may decode to several events or none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Match {
  readonly id: string
  readonly events: ReadonlyArray<Event.Tagged>
}

/**
 * A list of matches that can be extended without a copy: lists share the array of which each has the first elements.
 *
 * @since 0.1.0
 * @category models
 */
export class MatchList {
  readonly #all: Array<Match>
  /** The index of each stored event. */
  readonly #indexes: Map<string, number>
  readonly length: number
  constructor(all: Array<Match>, indexes: Map<string, number>, length: number) {
    this.#all = all
    this.#indexes = indexes
    this.length = length
  }
  has(id: string): boolean {
    return (this.#indexes.get(id) ?? this.length) < this.length
  }
  /** Returns a list with further matches at its end. */
  with(matches: ReadonlyArray<Match>): MatchList {
    let shared = 0
    // Decisions that follow each other add the same matches again, and one more.
    while (shared < matches.length && this.#all[this.length + shared]?.id === matches[shared]!.id) shared++
    const isAtEnd = this.length + shared === this.#all.length
    if (!isAtEnd && shared < matches.length || this === emptyList) return this.first(this.length).#push(matches)
    return this.#push(matches.slice(shared), this.length + matches.length)
  }
  #push(matches: ReadonlyArray<Match>, length: number = this.length + matches.length): MatchList {
    for (const match of matches) {
      this.#indexes.set(match.id, this.#all.length)
      this.#all.push(match)
    }
    return new MatchList(this.#all, this.#indexes, length)
  }
  /** Returns a list of its own with the first matches. */
  first(length: number): MatchList {
    const all = this.#all.slice(0, length)
    return new MatchList(all, new Map(all.map(({ id }, index) => [id, index])), length)
  }
  /** Returns whether this list begins with all of another one. */
  startsWith(other: MatchList): boolean {
    return this.#all === other.#all && this.length >= other.length
  }
  /** Calls a function with each event from the match of this index on. */
  forEach(from: number, f: (event: Event.Tagged) => void): void {
    for (let index = from; index < this.length; index++) {
      for (const event of this.#all[index]!.events) f(event)
    }
  }
}

/**
 * The list without matches.
 *
 * @since 0.1.0
 * @category constructors
 */
export const emptyList: MatchList = new MatchList([], new Map(), 0)

/**
 * The matches of an item that are in the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface KnownMatches {
  readonly matches: MatchList
  /** All matches up to this position are known. */
  readonly after: Position.Position
  /** The positions of the known matches above it, which are the last ones of the list. */
  readonly seen: ReadonlyArray<Position.Position>
  /** Events that the log has if it has the matches. */
  readonly basis: ReadonlyArray<LogPosition>
  /** The last match. */
  readonly last: LogPosition
}

/** How many events of earlier reads the matches rest on at most. */
const maxEarlierBasis = 8

/**
 * Returns the events on which matches rest, each once.
 *
 * @since 0.1.0
 * @category combinators
 */
export const distinctBasis = (events: ReadonlyArray<LogPosition>): ReadonlyArray<LogPosition> =>
  events.length < 2
    ? events
    : Array.from(new Map(events.map((event) => [event.position, event] as const)).values())

/**
 * Returns the matches that an item had before the first event.
 *
 * @since 0.1.0
 * @category constructors
 */
export const nothing: KnownMatches = {
  matches: emptyList,
  after: Position.start,
  seen: [],
  basis: [],
  last: { position: Position.start, eventId: undefined }
}

/**
 * A match that was read, and its position.
 *
 * @since 0.1.0
 * @category models
 */
export interface PlacedMatch extends Match {
  readonly position: Position.Position
}

/**
 * Returns what is known after a read that has returned all matches after a position not above `known.after`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const afterRead = (
  known: KnownMatches,
  read: {
    readonly matches: ReadonlyArray<PlacedMatch>
    readonly after: Position.Position
    readonly basis: ReadonlyArray<LogPosition>
  }
): KnownMatches => {
  // Another event may still appear between those above the mark, so they are taken from the last read.
  const settled = known.seen.length === 0
    ? known.matches
    : known.matches.first(known.matches.length - known.seen.length)
  const later = read.matches.filter(({ position }) => position > known.after)
  const after = Position.max(known.after, read.after)
  const last = later.at(-1)
  return {
    matches: settled.with(later),
    after,
    seen: later.flatMap(({ position }) => position > after ? [position] : []),
    basis: distinctBasis([...known.basis.slice(-maxEarlierBasis), ...read.basis]),
    last: last === undefined ? known.last : { position: last.position, eventId: last.id }
  }
}

/**
 * Returns what is known after a match that this process has written, if it comes after all known ones.
 *
 * @since 0.1.0
 * @category combinators
 */
export const afterWritten = (known: KnownMatches, match: PlacedMatch): KnownMatches | undefined => {
  const { id, position } = match
  if (position <= known.after || position <= (known.seen.at(-1) ?? known.after)) return undefined
  const last: LogPosition = { position, eventId: id }
  return {
    matches: known.matches.with([match]),
    after: known.after,
    seen: [...known.seen, position],
    basis: [...known.basis, last],
    last
  }
}
