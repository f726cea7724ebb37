/**
 * Another number of partitions: workers with different numbers in their definitions share a consumer, until none has the number of its checkpoints.
 *
 * Models `claim_partitions` and `repartition` of migrations/0002_projections.sql, `claim` of src/consumer/worker/ConsumerWorker.ts, and `processPages` of
 * src/consumer/PartitionProcessor.ts. HandOver.ts models what a claim and a batch are in detail; here each is a step:
 *
 * - A claim, a release and `repartition` are one transaction each, under the locks of the rows.
 * - The handler of an event runs outside the transaction. Its commit is a step of its own, so that a worker may die or freeze in between.
 * - A retry of a parked key handles all events that wait, and commits, in one step.
 */
import type { Can, Model, Protocols } from "./Explorer.ts"

export interface Configuration {
  /** The key of the event at each position, from 1. The partition of a key is its remainder. */
  readonly keys: ReadonlyArray<number>
  /** An event that fails until an operator has deployed better code; 0 for none. */
  readonly poison: number
  /** The numbers of partitions in the definitions of the workers. The first is that of the checkpoints. */
  readonly wanted: ReadonlyArray<number>
  readonly kills: number
  /** How many leases of workers that run may expire: a worker freezes. */
  readonly expirations: number
}

export interface Protocol {
  readonly start: "the lowest checkpoint" | "the highest checkpoint"
  readonly former: "left out" | "processed again"
  /** What a second change keeps of the former partitions. */
  readonly earlier: "all" | "the last"
  readonly parked: "come to their partitions" | "stay in the number"
  readonly requests: "when caught up" | "at once"
  readonly changes: "when nothing is leased" | "at once"
  readonly epoch: "grows" | "begins again"
}

const protocol: Protocol = {
  start: "the lowest checkpoint",
  former: "left out",
  earlier: "all",
  parked: "come to their partitions",
  requests: "when caught up",
  changes: "when nothing is leased",
  epoch: "grows"
}

interface Row {
  position: number
  epoch: number
  owner: number | null
  lease: "none" | "valid" | "expired"
}

interface Processor {
  /** The number of partitions at its claim. */
  number: number
  epoch: number
  position: number
  parked: Array<number>
  /** The event that was handled or has failed, and is not committed; 0 for none. */
  done: number
  hasFailed: boolean
}

interface Worker {
  is: "running" | "closing" | "ended"
  isCounted: boolean
  processors: Array<Processor | null>
}

interface Parked {
  key: number
  partition: number
  position: number
  isRequested: boolean
}

export interface State {
  rows: Array<Row>
  /** The checkpoints of the former partitions, of each change. */
  former: Array<Array<number>>
  parked: Array<Parked>
  workers: Array<Worker>
  /** The events in the order of their effects. */
  effects: Array<number>
  /** Whether a worker was killed or froze, so that an event may be handled again. */
  mayRepeat: boolean
  isFixed: boolean
  kills: number
  expirations: number
}

interface Context extends Configuration {
  readonly rules: Protocol
}

const make = (configuration: Configuration, rules: Protocol): Model<State> => {
  const context = { ...configuration, rules }
  const { expirations, keys, kills, wanted } = configuration
  const largest = Math.max(...wanted)
  return {
    initial: {
      rows: Array.from({ length: wanted[0]! }, () => ({ position: 0, epoch: 0, owner: null, lease: "none" as const })),
      former: [],
      parked: [],
      workers: wanted.map((_, index) => ({
        is: "running" as const,
        isCounted: index === 0,
        processors: Array.from({ length: largest }, () => null)
      })),
      effects: [],
      mayRepeat: false,
      isFixed: false,
      kills,
      expirations
    },
    steps: (state, can) => {
      for (const index of state.workers.keys()) workerSteps(context, state, index, can)
      misfortunes(context, state, can)
    },
    violation: ({ effects, mayRepeat }) => violationOf(keys, effects, mayRepeat),
    goal: ({ effects }) => keys.every((_, index) => effects.includes(index + 1)),
    goalName: "an event is never handled"
  }
}

const violationOf = (
  keys: Configuration["keys"],
  effects: State["effects"],
  mayRepeat: boolean
): string | undefined => {
  for (const [place, event] of effects.entries()) {
    const before = effects.slice(0, place)
    const earlier = keys.findIndex((key, index) =>
      key === keys[event - 1] && index + 1 < event && !before.includes(index + 1)
    )
    if (earlier >= 0) return `event ${event} is handled before event ${earlier + 1} of its key`
    if (!mayRepeat && before.includes(event)) return `event ${event} is handled twice`
  }
  return undefined
}

/** Whether no worker that counts has the number of the checkpoints. */
const isPending = ({ wanted }: Context, { rows, workers }: State): boolean =>
  workers.some(({ isCounted }) => isCounted)
  && workers.every(({ isCounted }, index) => !isCounted || wanted[index] !== rows.length)

const isLeft = ({ keys, rules }: Context, { former }: State, event: number): boolean =>
  rules.former === "left out"
  && former.some((positions) => event <= positions[keys[event - 1]! % positions.length]!)

const workerSteps = (context: Context, state: State, index: number, can: Can<State>): void => {
  const { rules, wanted } = context
  const { rows, workers } = state
  const { is, isCounted, processors } = workers[index]!
  if (is === "ended") return
  const name = `worker ${index + 1} (of ${wanted[index]})`
  const pending = isPending(context, state)
  if (is === "running" && !isCounted) {
    can(name, "sends a heartbeat", (state) => void (state.workers[index]!.isCounted = true))
  }
  if (is === "running" && isCounted && !pending) {
    for (const [partition, { lease }] of rows.entries()) {
      if (lease === "valid" || processors[partition] !== null) continue
      can(name, `claims partition ${partition} of ${rows.length}`, (state) => claim(state, index, partition))
    }
  }
  const isFree = rows.every(({ lease }) => lease !== "valid")
  if (is === "running" && isCounted && pending && (isFree || rules.changes === "at once")) {
    can(
      name,
      `changes ${rows.length} partitions to ${wanted[index]}`,
      (state) => repartition(context, state, wanted[index]!)
    )
  }
  for (const [partition, processor] of processors.entries()) {
    if (processor === null) continue
    const isOwner = rows.length === processor.number && rows[partition]?.epoch === processor.epoch
    if (processor.done === 0 && (is === "closing" || (pending && isOwner))) {
      can(name, `gives back partition ${partition}`, (state) => {
        state.workers[index]!.processors[partition] = null
        const row = state.rows[partition]
        if (row?.owner === index && row.epoch === processor.epoch) free(row)
      })
    } else processorSteps(context, state, index, partition, `${name}, partition ${partition}`, can)
  }
  if (is === "closing" && processors.every((one) => one === null)) {
    can(name, "ends", (state) => void Object.assign(state.workers[index]!, { is: "ended", isCounted: false }))
  }
}

const free = (row: Row): void => void Object.assign(row, { epoch: row.epoch + 1, owner: null, lease: "none" })

const claim = (state: State, index: number, partition: number): void => {
  const row = state.rows[partition]!
  Object.assign(row, { epoch: row.epoch + 1, owner: index, lease: "valid" })
  state.workers[index]!.processors[partition] = {
    number: state.rows.length,
    epoch: row.epoch,
    position: row.position,
    parked: state.parked.filter((one) => one.partition === partition).map(({ key }) => key),
    done: 0,
    hasFailed: false
  }
}

const repartition = ({ rules }: Context, state: State, to: number): void => {
  const positions = state.rows.map(({ position }) => position)
  const position = rules.start === "the lowest checkpoint" ? Math.min(...positions) : Math.max(...positions)
  const epoch = rules.epoch === "grows" ? Math.max(...state.rows.map(({ epoch }) => epoch)) + 1 : 0
  const kept = rules.earlier === "all" ? state.former.filter((one) => Math.max(...one) > position) : []
  state.former = [...kept, positions]
  state.rows = Array.from({ length: to }, () => ({ position, epoch, owner: null, lease: "none" as const }))
  for (const one of state.parked) if (rules.parked === "come to their partitions") one.partition = one.key % to
}

const processorSteps = (
  context: Context,
  state: State,
  index: number,
  partition: number,
  name: string,
  can: Can<State>
): void => {
  const { keys, poison, rules } = context
  const { done, epoch, number, parked, position } = state.workers[index]!.processors[partition]!
  const row = state.rows[partition]
  const isOwner = row !== undefined && row.epoch === epoch && row.position === position
  const to = (does: string, change: (processor: Processor, state: State) => void) =>
    can(name, does, (state) => change(state.workers[index]!.processors[partition]!, state))
  if (done > 0) {
    to(isOwner ? `commits event ${done}` : `loses event ${done}`, (processor, state) => {
      if (!isOwner) state.workers[index]!.processors[partition] = null
      else {
        state.rows[partition]!.position = done
        const key = keys[done - 1]!
        if (processor.hasFailed) {
          state.parked.push({ key, partition, position: done, isRequested: false })
          processor.parked.push(key)
        }
        Object.assign(processor, { position: done, done: 0, hasFailed: false })
      }
    })
    return
  }
  if (!isOwner) {
    to("has lost the partition", (_, state) => void (state.workers[index]!.processors[partition] = null))
    return
  }
  const request = state.parked.find((one) => one.partition === partition && one.isRequested)
  const isCaughtUp = position >= Math.max(0, ...state.former.flat()) || rules.requests === "at once"
  if (request !== undefined && parked.includes(request.key) && isCaughtUp) {
    to(`retries key ${request.key}`, (processor, state) => {
      for (let event = request.position; event <= position; event++) {
        if (keys[event - 1] === request.key) state.effects.push(event)
      }
      state.parked = state.parked.filter(({ key }) => key !== request.key)
      processor.parked = processor.parked.filter((key) => key !== request.key)
    })
    return
  }
  const next =
    keys.findIndex((key, place) =>
      place + 1 > position && key % number === partition && !parked.includes(key) && !isLeft(context, state, place + 1)
    ) + 1
  if (next > 0) {
    const fails = next === poison && !state.isFixed
    to(`${fails ? "fails on" : "handles"} event ${next}`, (processor, state) => {
      Object.assign(processor, { done: next, hasFailed: fails })
      if (!fails) state.effects.push(next)
    })
  } else if (position < keys.length) {
    to("moves to the end of the log", (processor, state) => {
      processor.position = keys.length
      state.rows[partition]!.position = keys.length
    })
  }
}

const misfortunes = (
  { wanted }: Context,
  { expirations, kills, parked, rows, workers }: State,
  can: Can<State>
) => {
  for (const [index, { is, isCounted }] of workers.entries()) {
    const name = `worker ${index + 1} (of ${wanted[index]})`
    // The last one goes on.
    if (is === "running" && index < workers.length - 1) {
      can(name, "closes", (state) => void (state.workers[index]!.is = "closing"))
    }
    if (is !== "ended" && kills > 0 && index < workers.length - 1) {
      can(name, "is killed", (state) => {
        state.kills--
        state.mayRepeat = true
        const worker = state.workers[index]!
        Object.assign(worker, { is: "ended", processors: worker.processors.map(() => null) })
      }, { mayHappen: true })
    }
    if (is === "ended" && isCounted) {
      can(`the row of ${name}`, "expires", (state) => void (state.workers[index]!.isCounted = false))
    }
  }
  for (const [partition, { lease, owner }] of rows.entries()) {
    if (lease !== "valid") continue
    const isAlive = workers[owner!]!.is !== "ended"
    if (isAlive && expirations === 0) continue
    can(`the lease of partition ${partition}`, "expires", (state) => {
      if (isAlive) {
        state.expirations--
        state.workers[owner!]!.isCounted = false
      }
      state.mayRepeat = true
      state.rows[partition]!.lease = "expired"
    }, { mayHappen: isAlive })
  }
  for (const [place, { isRequested, key }] of parked.entries()) {
    if (isRequested) continue
    can("the operator", `deploys better code and retries key ${key}`, (state) => {
      state.isFixed = true
      state.parked[place]!.isRequested = true
    })
  }
}

const two: Configuration = { keys: [0, 1, 2], poison: 0, wanted: [2, 3], kills: 0, expirations: 0 }
const parking: Configuration = { ...two, keys: [0, 1, 1], poison: 2 }

export const repartitioning: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [two, { ...two, wanted: [3, 2] }, parking, { ...two, keys: [3, 0], expirations: 1 }],
  large: [
    { ...two, kills: 1 },
    { ...two, wanted: [2, 1, 3] },
    { ...two, keys: [0, 1, 2, 0], expirations: 1 },
    { ...parking, keys: [0, 1, 3, 1], kills: 1 },
    { ...parking, wanted: [2, 1, 3] }
  ],
  mutants: {
    "each new partition starts at the highest checkpoint": {
      change: { start: "the highest checkpoint" },
      configuration: two
    },
    "events that the former partitions have processed are not left out": {
      change: { former: "processed again" },
      configuration: two
    },
    "a second change forgets the first former partitions": {
      change: { earlier: "the last" },
      configuration: { ...two, keys: [0, 1], wanted: [2, 1, 3] }
    },
    "parked keys stay in the partition of their number": {
      change: { parked: "stay in the number" },
      configuration: { ...parking, keys: [3, 3, 0], poison: 1 }
    },
    "a parked key is retried before the checkpoint has caught up": {
      change: { requests: "at once" },
      configuration: parking
    },
    "the number changes while partitions are leased": {
      change: { changes: "at once" },
      configuration: two
    },
    "the epochs of the new partitions begin again": {
      change: { epoch: "begins again" },
      configuration: { ...two, keys: [3, 0], expirations: 1 }
    }
  }
}
