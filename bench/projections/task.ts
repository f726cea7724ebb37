/** What a process of the benchmark of projections can be asked to do. */

/** How evsrc is to work; emmett has no partitions. */
export interface Way {
  /** Its own default if there is none. */
  readonly batchSize?: number
  readonly partitions: number
}

export interface Sample {
  readonly events: number
  readonly heapMiB: number
  readonly rssMiB: number
}

/** `processor`: seconds of it that the process has used. */
export interface Took {
  readonly events: number
  readonly seconds: number
  readonly processor: number
  readonly samples?: ReadonlyArray<Sample>
}

/** Milliseconds, from the answer to an append, of those that were seen. */
export interface Latency {
  readonly sent: number
  readonly seen: number
  readonly p50: number
  readonly p99: number
  readonly most: number
  /** The median from the call. */
  readonly fromCall: number
}

export interface Subject {
  /** Writes so many events to the log by SQL: of 1,000 customers, 10 to a stream, 150 bytes of JSON each. */
  readonly fill: (events: number) => Promise<void>
  /** Brings a new projection from the start of the log to its end. With `samples`, measures memory so many times on the way. */
  readonly catchUp: (way: Way, samples: number) => Promise<Took>
  /** Keeps a new projection up to date until the process ends; begins at the end of the log, or has caught up when it answers. */
  readonly follow: (name: string) => Promise<void>
  /**
   * One append every 20 ms or so, and how soon the document shows it: to a reader that looks every 3 ms, or that waits for the position of
   * the append, which emmett's cannot.
   */
  readonly latency: (name: string, seconds: number, how: "poll" | "await") => Promise<Latency>
  /** Makes the documents of the last `catchUp` again beside the old ones, and puts them in their place. */
  readonly rebuild?: () => Promise<Took>
  readonly close: () => Promise<unknown>
}

export type Task = {
  [K in Exclude<keyof Subject, "close">]: { readonly task: K; readonly args: Parameters<NonNullable<Subject[K]>> }
}[Exclude<keyof Subject, "close">]

export type Reply = { readonly answer: unknown } | { readonly failed: string }

export const customers = 1000

/** About what one of the events has, of number `g`; SQL. */
export const payload =
  `json_build_object('orderId', 'order-' || g, 'customer', 'customer-' || (g % ${customers}), 'amount', 129,
  'note', 'To be left with the neighbours, should nobody be at home')`

export const timed = async (events: number, run: () => Promise<unknown>): Promise<Took> => {
  const before = process.cpuUsage()
  const start = performance.now()
  await run()
  const seconds = (performance.now() - start) / 1000
  const { system, user } = process.cpuUsage(before)
  return { events, seconds, processor: (user + system) / 1e6 }
}

export const sample = (events: number): Sample => {
  globalThis.gc?.()
  const { heapUsed, rss } = process.memoryUsage()
  return { events, heapMiB: heapUsed / 2 ** 20, rssMiB: rss / 2 ** 20 }
}

export interface Sent {
  readonly called: number
  readonly answered: number
  seen: number | undefined
}

export const latencyOf = (sent: ReadonlyArray<Sent>): Latency => {
  const seen = sent.flatMap(({ answered, called, seen }) =>
    // It may be seen before the writer has its answer.
    seen === undefined ? [] : [{ fromAnswer: Math.max(0, seen - answered), fromCall: seen - called }]
  )
  const sorted = seen.map(({ fromAnswer }) => fromAnswer).toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
  const fromCall = seen.map(({ fromCall }) => fromCall).toSorted((a, b) => a - b)
  return {
    sent: sent.length,
    seen: seen.length,
    p50: at(0.5),
    p99: at(0.99),
    most: at(1),
    fromCall: fromCall[Math.floor(fromCall.length / 2)] ?? Number.NaN
  }
}
