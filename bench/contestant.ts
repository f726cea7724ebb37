/** What a store has to be able to do in order to be measured. */

/** One kind of operation, of one worker. `Run` is how the contestant's users would write it: a Promise, or an Effect. */
export interface Action<Run> {
  readonly run: Run
  /** Not timed: what has to be there before the next `every` runs. */
  readonly prepare?: { readonly every: number; readonly run: Run }
  /** What `run` must answer; otherwise the measurement fails. */
  readonly expect?: number
}

export interface Actions<Run> {
  /** To a new stream, which must not exist. */
  readonly append: (events: number) => Action<Run>
  /** Of a stream that `seed` has made; answers the number of events. */
  readonly read: (stream: string) => Run
  readonly log?: (events: number) => Run
  readonly cold?: () => Action<Run>
  readonly hot?: () => Action<Run>
  readonly decision?: () => Action<Run>
}

/** Says whether there is time for one more, and takes the milliseconds of each. */
export interface Turn {
  readonly open: () => boolean
  readonly took: (milliseconds: number) => void
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

export const promiseLoop: Loop<PromiseRun> = async ({ expect, prepare, run }, turn) => {
  for (let i = 0; turn.open(); i++) {
    if (prepare !== undefined && i % prepare.every === 0) await prepare.run()
    const start = performance.now()
    const answer = await run()
    turn.took(performance.now() - start)
    check(expect, answer)
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
