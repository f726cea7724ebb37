/**
 * The names of appends that wait, in the order of their arrival.
 *
 * @since 0.1.0
 */
import type { Entry } from "./AppendQueue.ts"
import { Heap } from "./Heap.ts"

/** An append that waits, as it is in the queue. */
interface Named {
  readonly entry: Entry
  readonly order: number
}

/** The appends that have a name, and how many they are. Those that were removed are passed over when they come first. */
interface Order {
  readonly heap: Heap<Named>
  readonly present: Set<Named>
}

/**
 * The names of appends that wait. A search takes a time that does not grow with their number.
 *
 * @since 0.1.0
 * @category models
 */
export class NameOrder {
  readonly #ofConditions = new Map<string, Order>()
  readonly #ofEvents = new Map<string, Order>()

  add(named: Named): void {
    for (const name of named.entry.conditionNames) addTo(this.#ofConditions, name, named)
    for (const name of named.entry.names) addTo(this.#ofEvents, name, named)
  }

  remove(named: Named): void {
    for (const name of named.entry.conditionNames) removeFrom(this.#ofConditions, name, named)
    for (const name of named.entry.names) removeFrom(this.#ofEvents, name, named)
  }

  /** Returns a name for which an append must wait, because one that came before it has the name too. */
  conflictBefore({ entry: { conditionNames, names }, order }: Named): string | undefined {
    const isBefore = (orders: ReadonlyMap<string, Order>) => (name: string) => firstOrder(orders.get(name)) < order
    return (this.#ofConditions.size > 0
      ? conditionNames.find(isBefore(this.#ofConditions)) ?? names.find(isBefore(this.#ofConditions))
      : undefined)
      ?? (this.#ofEvents.size > 0 ? conditionNames.find(isBefore(this.#ofEvents)) : undefined)
  }
}

const addTo = (orders: Map<string, Order>, name: string, named: Named): void => {
  let found = orders.get(name)
  if (found === undefined) {
    found = { heap: new Heap(), present: new Set() }
    orders.set(name, found)
  }
  if (found.present.has(named)) return
  found.present.add(named)
  found.heap.push(named)
}

const removeFrom = (orders: Map<string, Order>, name: string, named: Named): void => {
  const found = orders.get(name)
  if (found?.present.delete(named) === true && found.present.size === 0) orders.delete(name)
}

const firstOrder = (found: Order | undefined): number => {
  if (found === undefined) return Infinity
  let first = found.heap.peek()
  while (first !== undefined && !found.present.has(first)) {
    found.heap.pop()
    first = found.heap.peek()
  }
  return first?.order ?? Infinity
}
