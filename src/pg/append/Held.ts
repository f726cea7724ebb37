/**
 * The streams, command ids and names of appends that have not ended, for which others wait.
 *
 * @since 0.1.0
 */
import type { Entry } from "./AppendQueue.ts"

/**
 * The streams, command ids and names of appends. A statement does not see what another one in flight writes.
 *
 * @since 0.1.0
 * @category models
 */
export class Held {
  readonly #streams = new Map<string, number>()
  readonly #commandIds = new Map<string, number>()
  readonly names = makeNames()
  /** The names of those that wait for their stream. */
  readonly freedNames = makeNames()
  readonly #freed = new WeakSet<Entry>()
  has(entry: Entry): boolean {
    return this.hasStream(entry.stream)
      || entry.commandId !== undefined && this.hasCommand(entry.commandId)
      || conflictOf(this.names, entry) !== undefined
      || entry.restsOnOthers && conflictOf(this.freedNames, entry) !== undefined
  }
  hasStream(stream: string): boolean {
    return this.#streams.has(stream)
  }
  hasCommand(id: string): boolean {
    return this.#commandIds.has(id)
  }
  add(entry: Entry): void {
    countNames(this.names, entry, 1)
    this.#change(entry, 1)
  }
  remove(entry: Entry): void {
    countNames(this.#freed.delete(entry) ? this.freedNames : this.names, entry, -1)
    this.#change(entry, -1)
  }
  freeNames(entry: Entry): void {
    if (this.#freed.has(entry)) return
    this.#freed.add(entry)
    countNames(this.names, entry, -1)
    countNames(this.freedNames, entry, 1)
  }
  #change({ commandId, stream }: Entry, change: number): void {
    count(this.#streams, stream, change)
    if (commandId !== undefined) count(this.#commandIds, commandId, change)
  }
}

/**
 * How many appends have each name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Names {
  readonly ofConditions: Map<string, number>
  readonly ofEvents: Map<string, number>
}

const makeNames = (): Names => ({ ofConditions: new Map(), ofEvents: new Map() })

const countNames = ({ ofConditions, ofEvents }: Names, { conditionNames, names }: Entry, change: number): void => {
  for (const name of conditionNames) count(ofConditions, name, change)
  for (const name of names) count(ofEvents, name, change)
}

/**
 * Returns a name for which an append must wait: that of another's condition, or that of its own condition and of another's events.
 *
 * @since 0.1.0
 * @category accessors
 */
export const conflictOf = (
  { ofConditions, ofEvents }: Names,
  { conditionNames, names }: Entry
): string | undefined =>
  (ofConditions.size > 0 ? firstIn(ofConditions, conditionNames) ?? firstIn(ofConditions, names) : undefined)
    ?? (conditionNames.length > 0 ? firstIn(ofEvents, conditionNames) : undefined)

const firstIn = (counts: ReadonlyMap<string, number>, names: ReadonlyArray<string>): string | undefined =>
  names.find((name) => counts.has(name))

const count = (counts: Map<string, number>, name: string, change: number): void => {
  const now = (counts.get(name) ?? 0) + change
  if (now > 0) counts.set(name, now)
  else counts.delete(name)
}
