/**
 * The appends of a process that were not sent yet, in the order of their arrival. Those that must wait for another one are apart, each under what it
 * waits for, so that no search goes through them.
 *
 * @since 0.1.0
 */
import type { Entry } from "./AppendQueue.ts"
import { Heap } from "./Heap.ts"
import { conflictOf, type Held } from "./Held.ts"
import { NameOrder } from "./NameOrder.ts"

/** An append that waits, and where. */
interface Node<E extends Entry> {
  readonly entry: E
  /** The number of its arrival. */
  readonly order: number
  /** The heap in which it is. Other heaps may still contain it, and pass over it. */
  heap: Heap<Node<E>> | undefined
  /** Under which key it was, if it was moved from there and not examined since. The next one there follows it. */
  from: string | undefined
  /** Where its names are, while it waits for another append. */
  names: NameOrder | undefined
}

/** The keys under which appends wait. */
const ofStream = (stream: string): string => `s${stream}`
const ofCommand = (id: string): string => `c${id}`
const ofName = (name: string): string => `n${name}`
/** For an append whose condition names others, and which waits for an append that waits for its stream. */
const ofBasis = (name: string): string => `b${name}`
const ofLock = (lock: string): string => `l${lock}`

/**
 * The appends that wait.
 *
 * @since 0.1.0
 * @category models
 */
export class WaitingAppends<E extends Entry> {
  readonly #held: Held
  readonly #nodes = new Map<E, Node<E>>()
  readonly #orders = new WeakMap<E, number>()
  #count = 0
  readonly #ready = new Heap<Node<E>>()
  readonly #parked = new Map<string, Heap<Node<E>>>()
  /** Of each stream the first append. Later ones are under the key of the stream. */
  readonly #firsts = new Map<string, Node<E>>()
  readonly #commands = new Map<string, Heap<Node<E>>>()
  readonly #resting = new Map<string, Set<Node<E>>>()
  /** The names of those that wait for another append, but not for their stream. Later appends do not overtake them. */
  readonly #names = new NameOrder()
  /** The names of those that wait for their stream. Only an append that rests on others waits for them. */
  readonly #freedNames = new NameOrder()

  constructor(held: Held) {
    this.#held = held
  }

  get size(): number {
    return this.#nodes.size
  }

  /** Adds an append. One that was there before gets its place again. */
  add(entry: E): void {
    const order = this.#orders.get(entry) ?? this.#count++
    this.#orders.set(entry, order)
    const node: Node<E> = { entry, order, heap: undefined, from: undefined, names: undefined }
    this.#nodes.set(entry, node)
    const { commandId, lastEventId, stream } = entry
    if (commandId !== undefined) getOrMake(this.#commands, commandId, makeHeap<Node<E>>).push(node)
    if (lastEventId !== undefined) getOrMake(this.#resting, lastEventId, makeSet<Node<E>>).add(node)
    const first = this.#firsts.get(stream)
    if (first !== undefined && first.order > order) {
      this.#parkAgain(first, ofStream(stream))
    } else if (first !== undefined || this.#held.hasStream(stream)) {
      this.#park(node, ofStream(stream))
      return
    }
    this.#firsts.set(stream, node)
    this.#makeReady(node)
  }

  /** Removes an append, and returns whether it was there. Those that wait for it may go. */
  remove(entry: E): boolean {
    const node = this.#nodes.get(entry)
    if (node === undefined) return false
    this.#remove(node)
    return true
  }

  /** Removes and returns the first append that may go, or `undefined`. `taken` are the command ids that go with it. */
  next(taken: ReadonlySet<string>, fits: (entry: E) => boolean): E | undefined {
    for (let node = this.#peek(this.#ready); node !== undefined; node = this.#peek(this.#ready)) {
      const key = this.#keyOf(node, taken)
      if (key === undefined) {
        if (!fits(node.entry)) return undefined
        this.#remove(node)
        return node.entry
      }
      this.#ready.pop()
      this.#parkAgain(node, key)
    }
    return undefined
  }

  /** Makes the appends to a stream wait that is held from now on. */
  streamHeld(stream: string): void {
    const first = this.#firsts.get(stream)
    if (first !== undefined) this.#parkAgain(first, ofStream(stream))
  }

  /** Lets those go that have waited for an append which has ended. */
  ended(entry: Entry): void {
    if (this.#parked.size === 0) return
    this.#move(ofStream(entry.stream))
    if (entry.commandId !== undefined) this.#move(ofCommand(entry.commandId))
    this.namesFreed(entry)
  }

  /** Lets those go that have waited for the names of an append. */
  namesFreed(entry: Entry): void {
    if (this.#parked.size === 0) return
    this.#namesMoved(entry, ofName)
    this.#namesMoved(entry, ofBasis)
  }

  /** Makes an append wait for a lock of another transaction. */
  await(entry: E, lock: string): void {
    const node = this.#nodes.get(entry)
    // One that is not the first of its stream waits for that one.
    if (node !== undefined && this.#firsts.get(entry.stream) === node) this.#parkAgain(node, ofLock(lock))
  }

  /** Removes and returns the first of those that wait for a lock, or `undefined`. */
  firstAwaiting(lock: string): E | undefined {
    const key = ofLock(lock)
    const heap = this.#parked.get(key)
    const node = heap && this.#peek(heap)
    if (node !== undefined) {
      heap?.pop()
      this.#remove(node)
    }
    if (heap?.size === 0) this.#parked.delete(key)
    return node?.entry
  }

  /** Lets all go that wait for a lock. */
  lockFreed(lock: string): void {
    const key = ofLock(lock)
    while (this.#parked.has(key)) this.#move(key)
  }

  /** Returns the append with the least number of which the last event of the stream must be this one. */
  restingOn(stream: string, eventId: string): E | undefined {
    let first: Node<E> | undefined
    for (const node of this.#resting.get(eventId) ?? []) {
      if (node.entry.stream === stream && (first === undefined || node.order < first.order)) first = node
    }
    return first?.entry
  }

  /** Removes and returns the appends for which `isRemoved` returns true, in the order of their arrival. */
  removeIf(isRemoved: (entry: E) => boolean): ReadonlyArray<E> {
    const found = Array.from(this.#nodes.values()).filter(({ entry }) => isRemoved(entry))
    for (const node of found) this.#remove(node)
    return found.toSorted((one, other) => one.order - other.order).map(({ entry }) => entry)
  }

  /** For what an append must wait, as a key; `undefined` if it may go. It is the first of its stream. */
  #keyOf(node: Node<E>, taken: ReadonlySet<string>): string | undefined {
    const { entry } = node
    const { commandId, restsOnOthers, stream } = entry
    if (this.#held.hasStream(stream)) return ofStream(stream)
    if (restsOnOthers) {
      const name = conflictOf(this.#held.freedNames, entry) ?? this.#freedNames.conflictBefore(node)
      if (name !== undefined) return ofBasis(name)
    }
    if (
      commandId !== undefined &&
      (this.#held.hasCommand(commandId) || taken.has(commandId) || this.#firstOfCommand(commandId) !== node)
    ) return ofCommand(commandId)
    const name = conflictOf(this.#held.names, entry) ?? this.#names.conflictBefore(node)
    return name === undefined ? undefined : ofName(name)
  }

  #firstOfCommand(id: string): Node<E> | undefined {
    const heap = this.#commands.get(id)
    if (heap === undefined) return undefined
    let node = heap.peek()
    while (node !== undefined && this.#nodes.get(node.entry) !== node) {
      heap.pop()
      node = heap.peek()
    }
    if (node === undefined) this.#commands.delete(id)
    return node
  }

  #remove(node: Node<E>): void {
    const { entry, from } = node
    const { commandId, lastEventId, stream } = entry
    this.#leave(node)
    this.#nodes.delete(entry)
    if (commandId !== undefined) this.#firstOfCommand(commandId)
    if (lastEventId !== undefined) {
      const set = this.#resting.get(lastEventId)
      if (set?.delete(node) === true && set.size === 0) this.#resting.delete(lastEventId)
    }
    if (this.#firsts.get(stream) === node) this.#firsts.delete(stream)
    this.ended(entry)
    if (from !== undefined) this.#move(from)
  }

  #makeReady(node: Node<E>): void {
    node.heap = this.#ready
    this.#ready.push(node)
  }

  #park(node: Node<E>, key: string): void {
    const { entry } = node
    const isOfStream = key === ofStream(entry.stream)
    if (isOfStream && this.#firsts.get(entry.stream) === node) this.#firsts.delete(entry.stream)
    node.names = isOfStream || key.startsWith("b") ? this.#freedNames : this.#names
    node.names.add(node)
    const heap = getOrMake(this.#parked, key, makeHeap<Node<E>>)
    node.heap = heap
    heap.push(node)
  }

  /** Makes an append that was to go wait. Others need not wait for it under the key under which it was. */
  #parkAgain(node: Node<E>, key: string): void {
    const { entry, from } = node
    this.#leave(node)
    this.#park(node, key)
    if (from !== undefined && from !== key) this.#move(from)
    if (node.names === this.#freedNames) this.#namesMoved(entry, ofName)
  }

  #namesMoved({ conditionNames, names }: Entry, key: (name: string) => string): void {
    for (const list of [conditionNames, names]) for (const name of list) this.#move(key(name))
  }

  /** Takes an append from where it is. */
  #leave(node: Node<E>): void {
    node.names?.remove(node)
    node.names = undefined
    node.heap = undefined
    node.from = undefined
  }

  /** Makes the first append under a key ready. If it can not go, and waits for something else, the next one follows. */
  #move(key: string): void {
    const heap = this.#parked.get(key)
    if (heap === undefined) return
    const node = this.#peek(heap)
    const isOfStream = key.startsWith("s")
    if (node !== undefined && isOfStream) {
      const { stream } = node.entry
      if (this.#firsts.has(stream) || this.#held.hasStream(stream)) return
      this.#firsts.set(stream, node)
    }
    heap.pop()
    if (heap.size === 0) this.#parked.delete(key)
    if (node === undefined) return
    this.#leave(node)
    if (!isOfStream && !key.startsWith("l")) node.from = key
    this.#makeReady(node)
  }

  /** Returns the first append of a heap. Those that are elsewhere by now are removed from it. */
  #peek(heap: Heap<Node<E>>): Node<E> | undefined {
    let node = heap.peek()
    while (node !== undefined && node.heap !== heap) {
      heap.pop()
      node = heap.peek()
    }
    return node
  }
}

const makeHeap = <A extends { readonly order: number }>(): Heap<A> => new Heap<A>()
const makeSet = <A>(): Set<A> => new Set<A>()

const getOrMake = <A>(map: Map<string, A>, key: string, make: () => A): A => {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}
