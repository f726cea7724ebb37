/** One contestant in one cell, for some seconds. */
import { setTimeout } from "node:timers/promises"
import { type Cell, inTurn, mixCommands, mixInstances, readSizes, streamsOfASize } from "./cells.ts"
import { type Action, type Commands, type Contestant, fresh } from "./contestant.ts"
import { microsOf } from "./processor.ts"

/** Operations a second, or of a latency the milliseconds. */
export interface Measured {
  readonly rate: number | undefined
  readonly p50: number
  readonly p95: number
  readonly p99: number
  /** Of a latency, the median from the call. */
  readonly fromCall?: number
  /** The share of operations that failed, beyond the retries of the contestant. */
  readonly failed?: number
  /** Microseconds of processor time an operation. */
  readonly client?: number | undefined
  readonly server?: number | undefined
}

/** A cell that a contestant cannot fill is `undefined`. */
export type Measure = (cell: Cell, seconds: number) => Promise<Measured | undefined>

const seededStream = (size: number, number: number) => `seeded-${size}-${number}`

export const seed = async <Run>({ seed }: Contestant<Run>): Promise<void> => {
  for (const size of readSizes) {
    for (let number = 0; number < streamsOfASize; number++) await seed(seededStream(size, number), size)
  }
}

/** Runs tasks, a number of them at a time. */
const parallel = async <A>(items: ReadonlyArray<A>, run: (item: A) => Promise<unknown>, concurrency = 32) => {
  const left = items.values()
  await Promise.all(Array.from({ length: concurrency }, async () => {
    for (const item of left) await run(item)
  }))
}

const ids = (kind: string, count: number) => Array.from({ length: count }, () => fresh(kind))

/** No measurement creates more instances than this. */
const maxStock = 1000

/** Returns indexes below a number by Zipf's law: the second is half as frequent as the first, the third a third. */
const zipf = (count: number): () => number => {
  const sums: Array<number> = []
  for (let rank = 1, sum = 0; rank <= count; rank++) sums.push(sum += 1 / rank)
  return () => {
    const at = Math.random() * sums.at(-1)!
    return sums.findIndex((sum) => at < sum)
  }
}

interface Prepared<Run> {
  readonly actionOf: (worker: number) => Action<Run>
}

const forever = <Run>(run: Run, options: Partial<Action<Run>> = {}): Action<Run> => ({ ...options, next: () => run })

/** Each worker takes an id from the stock, uses it a number of times, and takes another. */
const fromStock = <Run>(stock: Array<string>, uses: number, run: (id: string) => Run): Action<Run> => {
  let id: string | undefined
  let left = 0
  return {
    next: () => {
      if (left === 0) {
        id = stock.pop()
        left = uses
      }
      left--
      return id === undefined ? undefined : run(id)
    }
  }
}

/** Makes what the operations of a cell need. It is not timed. */
const prepare = async <Run>(
  { actions, loop }: Contestant<Run>,
  cell: Cell,
  expected: number
): Promise<Prepared<Run> | undefined> => {
  const runAll = (all: ReadonlyArray<Run>) => {
    const left = all.values()
    const turn = { open: () => true, took: () => {}, failed: () => {} }
    return Promise.all(Array.from({ length: 32 }, () => loop({ next: () => left.next().value }, turn)))
  }
  const stocked = async (kind: string, commands: Commands<Run>, uses: number, isKnown: boolean) => {
    // Some more than the last measurement has used.
    const count = Math.min(maxStock, Math.max(2 * cell.concurrency, Math.ceil(1.5 * expected / uses)))
    const stock = ids(kind, count)
    await parallel(stock, commands.create)
    if (isKnown) await runAll(stock.map(commands.run))
    return { actionOf: () => fromStock(stock, uses, commands.run) }
  }
  const { commands } = actions
  switch (cell.kind) {
    case "append":
      return { actionOf: () => forever(actions.append(cell.size)) }
    case "read":
      return {
        actionOf: (worker) =>
          forever(actions.read(seededStream(cell.size, worker % streamsOfASize)), { expect: cell.size })
      }
    case "log": {
      const { log } = actions
      return log && { actionOf: () => forever(log(cell.size), { expect: cell.size }) }
    }
    case "cold":
      return commands && stocked("command", commands, 1, false)
    case "hot":
      return commands && stocked("command", commands, inTurn, true)
    case "decision":
    case "newcomer": {
      const decisions = cell.kind === "decision" ? actions.decisions : actions.newcomers
      if (decisions === undefined) return undefined
      // The first decision after a pause of minutes costs more, with every contestant. The pause is that of the benchmark.
      const [first] = ids("course", 1)
      await decisions.create(first!)
      await runAll([decisions.run(first!)])
      return stocked("course", decisions, inTurn, false)
    }
    case "one": {
      if (commands === undefined) return undefined
      const id = fresh("one")
      await commands.create(id)
      return { actionOf: () => forever(commands.run(id), { mayFail: true }) }
    }
    case "mix": {
      if (commands === undefined) return undefined
      const instances = ids("mix", mixInstances)
      await parallel(instances, commands.create)
      const nextIndex = zipf(mixInstances)
      const next = () => {
        const id = instances[nextIndex()]!
        return Math.random() < mixCommands ? commands.run(id) : commands.load(id)
      }
      return { actionOf: () => ({ next, mayFail: true }) }
    }
    default:
      return undefined
  }
}

export const measurer = <Run>(contestant: Contestant<Run>, server: number | undefined): Measure => {
  /** Operations a second of each cell, when it was measured last. */
  const rates = new Map<string, number>()
  return async (cell, seconds) => {
    if (cell.kind === "latency") return latency(contestant, seconds)
    const prepared = await prepare(contestant, cell, (rates.get(cell.id) ?? 0) * seconds)
    if (prepared === undefined) return undefined
    const times: Array<number> = []
    let failures = 0
    const ofServer = microsOf(server)
    const ofClient = process.cpuUsage()
    const started = performance.now()
    const turn = {
      open: () => performance.now() - started < seconds * 1000,
      took: (milliseconds: number) => times.push(milliseconds),
      failed: () => void failures++
    }
    await Promise.all(
      Array.from({ length: cell.concurrency }, (_, worker) => contestant.loop(prepared.actionOf(worker), turn))
    )
    const elapsed = performance.now() - started
    const { system, user } = process.cpuUsage(ofClient)
    const ended = microsOf(server)
    const operations = times.length + failures
    const rate = times.length / elapsed * 1000
    rates.set(cell.id, rate)
    return {
      rate,
      ...percentiles(times),
      client: (user + system) / operations,
      server: ofServer === undefined || ended === undefined ? undefined : (ended - ofServer) / operations,
      ...failures === 0 ? {} : { failed: failures / operations }
    }
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
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
