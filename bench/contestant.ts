/** What a store has to be able to do in order to be measured. */

/** Operations of one worker. `Run` is how the contestant's users would write one: a Promise, or an Effect. */
export interface Action<Run> {
  /** Returns the next operation; `undefined` when the worker has nothing more to do. */
  readonly next: () => Run | undefined
  /** What an operation must return; otherwise the measurement fails. */
  readonly expect?: number
  /** Whether operations may fail, as commands on one instance do beyond the retries of a library. Failures are counted. */
  readonly mayFail?: boolean
}

/** Commands on instances, and decisions on courses. */
export interface Commands<Run> {
  /** Makes what a command is about, without its caches. */
  readonly create: (id: string) => Promise<unknown>
  /** Runs a command, with the contestant's own retries. */
  readonly run: (id: string) => Run
}

export interface Actions<Run> {
  /** To a new stream, which must not exist. */
  readonly append: (events: number) => Run
  /** Of a stream that `seed` has made; returns the number of events. */
  readonly read: (stream: string) => Run
  readonly log?: (events: number) => Run
  /** `load` returns the current state of an instance. */
  readonly commands?: Commands<Run> & { readonly load: (id: string) => Run }
  readonly decisions?: Commands<Run>
  /** Like `decisions`, with the option, if there is one, that a tag which this process has not seen is new. */
  readonly newcomers?: Commands<Run>
}

/** Says whether there is time for one more, and takes the milliseconds of each. */
export interface Turn {
  readonly open: () => boolean
  readonly took: (milliseconds: number) => void
  readonly failed: () => void
}

export type Loop<Run> = (action: Action<Run>, turn: Turn) => Promise<void>

export interface Contestant<Run> {
  readonly loop: Loop<Run>
  readonly actions: Actions<Run>
  readonly seed: (stream: string, events: number) => Promise<unknown>
  /** Hears of events as they are committed, by the stream that `appendTo` has named. */
  readonly listen?: (heard: (stream: string) => void) => Promise<() => Promise<void>>
  readonly appendTo: (stream: string) => Promise<unknown>
  readonly close: () => Promise<unknown>
}

/** Makes a contestant on a database of its own, with at most so many connections. */
export type Make<Run> = (url: string, pool: number) => Promise<Contestant<Run>>

export type PromiseRun = () => Promise<unknown>

export const check = (expected: number | undefined, answer: unknown): void => {
  if (expected !== undefined && answer !== expected) throw new Error(`${String(answer)} events instead of ${expected}`)
}

export const promiseLoop: Loop<PromiseRun> = async ({ expect, mayFail, next }, turn) => {
  while (turn.open()) {
    const run = next()
    if (run === undefined) return
    const start = performance.now()
    try {
      const answer = await run()
      turn.took(performance.now() - start)
      check(expect, answer)
    } catch (cause) {
      if (mayFail !== true) throw cause
      turn.failed()
    }
  }
}

let last = 0
export const fresh = (kind: string): string => `${kind}-${++last}`

/** The payload that every contestant stores: about 150 bytes of JSON. */
export const payload = (orderId: string) => ({
  orderId,
  customer: "customer-4711",
  amount: 129,
  note: "To be left with the neighbours, should nobody be at home"
})

export const payloads = (orderId: string, count: number) => Array.from({ length: count }, () => payload(orderId))

/**
 * A package of bench/node_modules. Its types are not there when the repository is checked, so each caller writes down what it uses of them.
 */
export const peer = <Module>(name: string): Promise<Module> => import(name)
