/**
 * Explores every state that a model can reach, breadth first. A violated property comes with a shortest trace to it.
 *
 * A state is plain JSON; its text identifies it. So a set is a sorted array, and every field is always present.
 */

/** Adds a step to those that can be taken in a state. */
export type Can<S> = (actor: string, does: string, change: (state: S) => void, options?: StepOptions) => void

export interface StepOptions {
  /** Whether the step is a failure, or an operator's: no property relies on it. */
  readonly mayHappen?: boolean
}

export interface Model<S> {
  readonly initial: S
  /** Calls `can` for each step that can be taken in a state. */
  readonly steps: (state: S, can: Can<S>) => void
  /** Returns the property that a state violates. */
  readonly violation: (state: S) => string | undefined
  /**
   * Whether everything is done that must be done eventually. From every state that can be reached, steps must lead to such a state without a
   * failure or an operator. Then a run that goes on comes to it, unless the same steps lose every race for ever.
   */
  readonly goal: (state: S) => boolean
  /** The violated property when no steps lead to the goal. */
  readonly goalName: string
}

/** A protocol, and mutants of it that differ in one point. */
export interface Protocols<C, P, S> {
  readonly make: (configuration: C, rules: P) => Model<S>
  /** The rules as the code follows them. */
  readonly protocol: P
  /** Configurations in which no property is violated: those that take a second or two, and those of the long tests. */
  readonly small: ReadonlyArray<C>
  readonly large: ReadonlyArray<C>
  readonly mutants: Readonly<Record<string, { readonly change: Partial<P>; readonly configuration: C }>>
}

export interface Result {
  readonly states: number
  /** The largest number of steps on a shortest way to any state. */
  readonly depth: number
  readonly violation: string | undefined
  /** A shortest trace to the violation. */
  readonly trace: ReadonlyArray<string>
}

interface Graph {
  readonly keys: Array<string>
  /** The state from which each state was first reached, and the step. */
  readonly parents: Array<number>
  readonly labels: Array<string>
  readonly depths: Array<number>
  /** The states from which each state can be reached by a step that needs no failure and no operator. */
  readonly before: Array<Array<number>>
}

const stateLimit = 2_000_000

/** Explores a model until a property is violated, or until there are no further states. */
export const explore = <S>(model: Model<S>): Result => {
  const graph: Graph = { keys: [], parents: [], labels: [], depths: [], before: [] }
  const numbers = new Map<string, number>()
  const numberOf = (key: string, parent: number, label: string): number => {
    const known = numbers.get(key)
    if (known !== undefined) return known
    const number = graph.keys.push(key) - 1
    numbers.set(key, number)
    graph.parents.push(parent)
    graph.labels.push(label)
    graph.before.push([])
    graph.depths.push(parent < 0 ? 0 : graph.depths[parent]! + 1)
    return number
  }
  const isDone: Array<boolean> = []
  numberOf(JSON.stringify(model.initial), -1, "")
  for (let number = 0; number < graph.keys.length; number++) {
    if (number > stateLimit) {
      throw new Error(`the model has more than ${stateLimit} states: make its configuration smaller`)
    }
    const state = JSON.parse(graph.keys[number]!) as S
    const violation = model.violation(state)
    if (violation !== undefined) return resultOf(graph, violation, number)
    isDone.push(model.goal(state))
    model.steps(state, (actor, does, change, { mayHappen = false } = {}) => {
      const next = copyOf(state)
      change(next)
      const to = numberOf(JSON.stringify(next), number, `${actor} ${does}`)
      if (!mayHappen) graph.before[to]!.push(number)
    })
  }
  const stuck = stuckState(graph.before, isDone)
  return stuck === undefined
    ? resultOf(graph, undefined, graph.keys.length - 1)
    : resultOf(graph, model.goalName, stuck)
}

/** Copies JSON. Parsing its text again takes three times as long, and is most of what an exploration does. */
const copyOf = <A>(value: A): A => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map(copyOf) as A
  const copy = {} as A
  for (const key in value) copy[key] = copyOf(value[key])
  return copy
}

const resultOf = ({ depths, keys, labels, parents }: Graph, violation: string | undefined, at: number): Result => {
  const trace: Array<string> = []
  if (violation !== undefined) {
    for (let number = at; parents[number]! >= 0; number = parents[number]!) trace.unshift(labels[number]!)
  }
  return { states: keys.length, depth: depths.at(-1)!, violation, trace }
}

/** Returns the first state from which no steps lead to the goal. */
const stuckState = (before: Graph["before"], isDone: ReadonlyArray<boolean>): number | undefined => {
  const leads = [...isDone]
  const found = Array.from(isDone.keys()).filter((number) => isDone[number])
  for (let number = found.pop(); number !== undefined; number = found.pop()) {
    for (const earlier of before[number]!) {
      if (leads[earlier]) continue
      leads[earlier] = true
      found.push(earlier)
    }
  }
  const stuck = leads.indexOf(false)
  return stuck < 0 ? undefined : stuck
}
