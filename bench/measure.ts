/** One contestant in one cell, for some seconds. */
import { setTimeout } from "node:timers/promises"
import { type Cell, readSizes, streamsOfASize } from "./cells.ts"
import { type Action, type Contestant, fresh } from "./contestant.ts"

/** Operations a second, or of a latency the milliseconds. */
export type Measured =
  | { readonly rate: number; readonly p50: number; readonly p99: number }
  | { readonly rate: undefined; readonly p50: number; readonly p99: number; readonly fromCall: number }

/** A cell that a contestant cannot fill is `undefined`. */
export type Measure = (cell: Cell, seconds: number) => Promise<Measured | undefined>

const seededStream = (size: number, number: number) => `seeded-${size}-${number}`

export const seed = async <Run>({ seed }: Contestant<Run>): Promise<void> => {
  for (const size of readSizes) {
    for (let number = 0; number < streamsOfASize; number++) await seed(seededStream(size, number), size)
  }
}

export const measurer = <Run>(contestant: Contestant<Run>): Measure => {
  const { actions } = contestant
  const actionOf = (cell: Cell, worker: number): Action<Run> | undefined => {
    switch (cell.kind) {
      case "append":
        return actions.append(cell.size)
      case "read":
        return { run: actions.read(seededStream(cell.size, worker % streamsOfASize)), expect: cell.size }
      case "log":
        return actions.log && { run: actions.log(cell.size), expect: cell.size }
      case "cold":
        return actions.cold?.()
      case "hot":
        return actions.hot?.()
      case "decision":
        return actions.decision?.()
      case "latency":
        return undefined
    }
  }
  return async (cell, seconds) => {
    if (cell.kind === "latency") return latency(contestant, seconds)
    const made = Array.from({ length: cell.concurrency }, (_, worker) => actionOf(cell, worker))
    const ready = made.filter((action) => action !== undefined)
    if (ready.length === 0) return undefined
    const times: Array<number> = []
    const started = performance.now()
    const turn = {
      open: () => performance.now() - started < seconds * 1000,
      took: (milliseconds: number) => times.push(milliseconds)
    }
    await Promise.all(ready.map((action) => contestant.loop(action, turn)))
    const elapsed = performance.now() - started
    const timed = times.reduce((sum, time) => sum + time, 0)
    // Where something had to be prepared in between, only the time within operations counts.
    const rate = ready[0]!.prepare === undefined
      ? times.length / elapsed * 1000
      : times.length / timed * 1000 * cell.concurrency
    return { rate, ...percentiles(times) }
  }
}

/** How long after the answer to an append, its commit therefore, a listener has the event. */
const latency = async <Run>(
  { appendTo, listen }: Contestant<Run>,
  seconds: number
): Promise<Measured | undefined> => {
  if (listen === undefined) return undefined
  const heardAt = new Map<string, number>()
  const stop = await listen((stream) => {
    heardAt.set(stream, performance.now())
  })
  // Not every listener says when it has begun.
  for (let tries = 0; heardAt.size === 0; tries++) {
    if (tries === 100) throw new Error("The listener hears nothing")
    await appendTo(fresh("probe"))
    await setTimeout(50)
  }
  const sent: Array<{ readonly stream: string; readonly called: number; readonly answered: number }> = []
  const started = performance.now()
  for (let i = 0; performance.now() - started < seconds * 1000; i++) {
    const stream = fresh("heard")
    const called = performance.now()
    await appendTo(stream)
    sent.push({ stream, called, answered: performance.now() })
    await setTimeout(10 + i % 11)
  }
  for (let tries = 0; tries < 100 && sent.some(({ stream }) => !heardAt.has(stream)); tries++) await setTimeout(50)
  await stop()
  const missed = sent.filter(({ stream }) => !heardAt.has(stream))
  if (missed.length > 0) throw new Error(`The listener has not heard of ${missed.length} of ${sent.length} appends`)
  const heard = sent.map(({ answered, called, stream }) => {
    const at = heardAt.get(stream)!
    // It may hear of the commit before the writer has its answer.
    return { fromAnswer: Math.max(0, at - answered), fromCall: at - called }
  })
  const fromCall = percentiles(heard.map(({ fromCall }) => fromCall)).p50
  return { rate: undefined, ...percentiles(heard.map(({ fromAnswer }) => fromAnswer)), fromCall }
}

const percentiles = (times: ReadonlyArray<number>) => {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  return { p50: at(0.5), p99: at(0.99) }
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
