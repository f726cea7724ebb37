/**
 * A binary heap, from which the element with the least number comes first.
 *
 * @since 0.1.0
 */

/**
 * A heap. To add an element with the greatest number takes a constant time, other changes take one that grows with the logarithm of its size.
 *
 * @since 0.1.0
 * @category models
 */
export class Heap<A extends { readonly order: number }> {
  readonly #elements: Array<A> = []

  get size(): number {
    return this.#elements.length
  }

  /** Returns the first element. */
  peek(): A | undefined {
    return this.#elements[0]
  }

  push(element: A): void {
    const elements = this.#elements
    let index = elements.push(element) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (elements[parent]!.order <= element.order) break
      elements[index] = elements[parent]!
      index = parent
    }
    elements[index] = element
  }

  /** Removes the first element. */
  pop(): void {
    const elements = this.#elements
    const last = elements.pop()
    if (last === undefined || elements.length === 0) return
    let index = 0
    for (let child = 1; child < elements.length; child = 2 * index + 1) {
      if (child + 1 < elements.length && elements[child + 1]!.order < elements[child]!.order) child++
      if (last.order <= elements[child]!.order) break
      elements[index] = elements[child]!
      index = child
    }
    elements[index] = last
  }
}
