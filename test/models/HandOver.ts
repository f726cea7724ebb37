/**
 * The hand-over of partitions: workers join, close, freeze and die, and share the partitions of a consumer; events fail and are parked.
 *
 * Models `claim_partitions` and `release_partitions` of migrations/0002_projections.sql, src/consumer/worker/ConsumerWorker.ts with `reconcile`,
 * src/consumer/PartitionProcessor.ts, src/consumer/batch with `outcomeOf`, src/consumer/parking/Unparking.ts, and `drain` and
 * `reset_checkpoints` of src/operations/Checkpoints.ts. A call of the database is one step here; Lease.ts models what happens inside it. A handler has a beginning and an end, and its worker may do anything
 * else in between, or be interrupted. All events are committed from the start.
 */
import * as DateTime from "effect/DateTime"
import { outcomeOf } from "../../src/consumer/batch/PlanCommit.ts"
import type { Delivery } from "../../src/consumer/ConsumerKey.ts"
import { reconcile } from "../../src/consumer/worker/Reconciliation.ts"
import { invalidRequest } from "../../src/core/errors.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"
import type { Can, Model, Protocols } from "./Explorer.ts"

interface Event {
  readonly partition: number
  readonly stream: number
  /** Whether its handler fails until an operator has deployed better code. */
  readonly isPoison?: boolean
}

export interface Configuration {
  /** The events by position, from 1 on. */
  readonly events: ReadonlyArray<Event>
  readonly partitions: number
  /** The maximum number of events in a page. */
  readonly limit: number
  /** Whether effects commit with the checkpoint, as those of a projection, or happen before, as those of a subscription. */
  readonly isTransactional: boolean
  /** How many workers there are from the start, join, close, and are killed; how many leases of running workers expire. */
  readonly workers: number
  readonly joins: number
  readonly closings: number
  readonly kills: number
  readonly expirations: number
  /** How often an operator retries in vain, skips a parked event, and resets the checkpoints to 0. */
  readonly retries: number
  readonly skips: number
  readonly resets: number
}

export interface Protocol {
  /** When a lost or surplus partition is released or started again. */
  readonly handOver: "after its processor has ended" | "at once"
  readonly closing: "keeps the leases until its handlers have ended" | "lets the leases expire"
  /** When the checkpoint is written. */
  readonly checkpoint: "after the events" | "before the events"
  /** Whether a processor reads which streams are parked before its first page. */
  readonly start: "reads the parked streams" | "reads nothing"
  /** What happens to the later events of a stream that fails, in the same page. */
  readonly later: "wait" | "are tried"
  /** What a retry applies, in transactions of up to a page. */
  readonly retry: "all events that waited" | "the parked event"
  readonly freed: "is handled again" | "stays parked in the processor"
  /** What a retry saves that has more events than one transaction takes. */
  readonly chunk: "how far the stream is" | "nothing"
  /** For how long a worker remembers the events that it has handled, but no checkpoint covers. */
  readonly memory: "until the epoch ends" | "for ever"
  /** What a reset does while workers have partitions. */
  readonly reset: "waits until they have given them back" | "takes the partitions"
}

const protocol: Protocol = {
  handOver: "after its processor has ended",
  closing: "keeps the leases until its handlers have ended",
  checkpoint: "after the events",
  start: "reads the parked streams",
  later: "wait",
  retry: "all events that waited",
  freed: "is handled again",
  chunk: "how far the stream is",
  memory: "until the epoch ends",
  reset: "waits until they have given them back"
}

interface Parked {
  readonly stream: number
  /** The event that failed, or the one that a stream which is being freed has reached. */
  readonly position: number
  readonly isFreeing: boolean
  request: "none" | "retry" | "skip"
}

interface Partition {
  epoch: number
  owner: number | null
  lease: "free" | "valid" | "expired"
  position: number
  parked: Array<Parked>
  /** The epoch from which effects count again. */
  resetEpoch: number
}

interface Processor {
  at: "starting" | "ready" | "working" | "ended"
  epoch: number
  position: number
  /** The parked streams that it knows. */
  parked: Array<number>
  hasRequest: boolean
  /** The parked event that it carries out a request for. */
  unparking: Parked | null
  /** The events of the page, those still to be handled, and what became of the others. */
  page: Array<number>
  left: Array<number>
  to: number
  applied: Array<number>
  failed: Array<number>
  /** The event whose handler runs; 0 for none. */
  inHand: number
  isInterrupted: boolean
}

interface Assigned {
  readonly partition: number
  readonly epoch: number
  readonly position: number
  readonly requested: boolean
}

interface Worker {
  is: "absent" | "running" | "closing" | "ended"
  /** Whether its row in `workers` counts. */
  isCounted: boolean
  answer: { assigned: Array<Assigned>; size: number } | null
  releases: Array<number>
  processors: Array<Processor | null>
  /** Under which epoch of its partition it has handled events that no checkpoint covers. */
  handled: Array<[event: number, epoch: number]>
}

export interface State {
  partitions: Array<Partition>
  workers: Array<Worker>
  /** The events whose effects happened, in order, and those that were skipped. */
  effects: Array<number>
  skipped: Array<number>
  isFixed: boolean
  /** Whether a lease of a running worker has expired. Handlers may then run beside those of the next owner. */
  mayOverlap: boolean
  /** Whether a reset waits until the workers have given back the partitions. */
  drains: boolean
  closings: number
  kills: number
  expirations: number
  retries: number
  skips: number
  resets: number
  mistake: string | null
}

type Rules = Configuration & Protocol

const make = (configuration: Configuration, protocol: Protocol): Model<State> => {
  const rules: Rules = { ...configuration, ...protocol }
  const { closings, expirations, joins, kills, resets, retries, skips, workers } = configuration
  return {
    initial: {
      partitions: Array.from({ length: configuration.partitions }, () => ({
        epoch: 0,
        owner: null,
        lease: "free",
        position: 0,
        parked: [],
        resetEpoch: 0
      })),
      workers: Array.from({ length: workers + joins }, (_, index) => ({
        is: index < workers ? "running" : "absent",
        isCounted: false,
        answer: null,
        releases: [],
        processors: Array.from({ length: configuration.partitions }, () => null),
        handled: []
      })),
      effects: [],
      skipped: [],
      isFixed: false,
      mayOverlap: false,
      drains: false,
      closings,
      kills,
      expirations,
      retries,
      skips,
      resets,
      mistake: null
    },
    steps: (state, can) => {
      for (const [index, worker] of state.workers.entries()) {
        workerSteps(rules, state, index, can)
        for (const partition of worker.processors.keys()) processorSteps(rules, state, index, partition, can)
      }
      misfortunes(rules, state, can)
      operatorSteps(rules, state, can)
    },
    violation: (state) => violation(rules, state),
    goal: ({ effects, partitions, skipped, workers }) =>
      !workers.some(({ is }) => is === "running")
      || (partitions.every(({ position }) => position === configuration.events.length)
        && configuration.events.every((_, index) => effects.includes(index + 1) || skipped.includes(index + 1))),
    goalName: "an event is never handled although a worker runs"
  }
}

const eventAt = ({ events }: Rules, position: number): Event => events[position - 1]!

const violation = (
  rules: Rules,
  { effects, mayOverlap, mistake, partitions, skipped, workers }: State
): string | undefined => {
  if (mistake !== null) return mistake
  if (rules.isTransactional && new Set(effects).size < effects.length) {
    return "the effects of an event are committed twice"
  }
  const inHand = workers.flatMap(({ processors }) => processors).flatMap((one) =>
    one === null || one.inHand === 0 ? [] : [one.inHand]
  )
  const streams = inHand.map((event) => eventAt(rules, event).stream)
  if (!mayOverlap && new Set(streams).size < streams.length) return "two handlers of one stream run at the same time"
  for (const [index, { parked, position }] of partitions.entries()) {
    for (let event = 1; event <= position; event++) {
      const { partition, stream } = eventAt(rules, event)
      const waits = parked.some((one) => one.stream === stream && one.position <= event)
      if (partition === index && !waits && !effects.includes(event) && !skipped.includes(event)) {
        return `the checkpoint of partition ${index} has passed event ${event}, which was not handled`
      }
    }
  }
  return undefined
}

/** Records the effects of an event, which must come after those of the earlier events of its stream. */
const take = (rules: Rules, state: State, event: number): void => {
  const { partition, stream } = eventAt(rules, event)
  const { parked } = state.partitions[partition]!
  const isDone = (earlier: number) =>
    state.effects.includes(earlier) || state.skipped.includes(earlier)
    || parked.some(({ position, request }) => position === earlier && request === "skip")
  for (let earlier = 1; earlier < event; earlier++) {
    if (eventAt(rules, earlier).stream === stream && !isDone(earlier)) {
      state.mistake = `event ${event} is handled before event ${earlier} of its stream`
    }
  }
  // An effect outside of the transaction may repeat, so only the first one counts.
  if (rules.isTransactional || !state.effects.includes(event)) state.effects.push(event)
}

const workerSteps = (rules: Rules, { partitions, workers }: State, index: number, can: Can<State>): void => {
  const name = `worker ${index + 1}`
  const { answer, is, processors, releases } = workers[index]!
  const to = (does: string, change: (worker: Worker, state: State) => void, mayHappen = false) =>
    can(name, does, (state) => change(state.workers[index]!, state), { mayHappen })
  if (is === "absent") to("starts", (worker) => void (worker.is = "running"), true)
  if (is === "closing" && processors.every((processor) => processor === null || processor.at === "ended")) {
    to("releases its partitions and ends", (worker, state) => {
      for (const partition of state.partitions.filter(({ owner }) => owner === index)) release(partition)
      Object.assign(worker, { is: "ended", isCounted: false, processors: processors.map(() => null), handled: [] })
    })
  }
  if (is !== "running") return
  const [next] = releases
  if (next !== undefined) {
    to(`releases partition ${next}`, (worker, state) => {
      worker.releases.shift()
      const partition = state.partitions[next]!
      if (partition.owner === index) release(partition)
    })
  } else if (answer === null) {
    to("claims", (worker, state) => claim(state, index, worker))
  } else {
    const owned = answer.assigned.map(({ partition }) => partition).join(" and ")
    to(
      `reads that it owns ${owned === "" ? "nothing" : owned} of ${partitions.length}`,
      (worker) => start(rules, worker)
    )
  }
}

const release = (partition: Partition): void =>
  void Object.assign(partition, { epoch: partition.epoch + 1, owner: null, lease: "free" })

const claim = (state: State, index: number, worker: Worker): void => {
  worker.isCounted = true
  const size = state.drains
    ? 0
    : Math.ceil(state.partitions.length / state.workers.filter(({ isCounted }) => isCounted).length)
  const isMine = ({ owner }: Partition) => owner === index
  for (const partition of state.partitions.filter(isMine)) partition.lease = "valid"
  for (const partition of state.partitions) {
    if (partition.lease === "valid" || state.partitions.filter(isMine).length >= size) continue
    Object.assign(partition, { epoch: partition.epoch + 1, owner: index, lease: "valid" })
  }
  worker.answer = {
    size,
    assigned: state.partitions.flatMap((row, partition) =>
      isMine(row)
        ? [{
          partition,
          epoch: row.epoch,
          position: row.position,
          requested: row.parked.some(({ request }) => request !== "none")
        }]
        : []
    )
  }
}

/** Compares the answer to a claim with the processors that run, as `ConsumerWorker` does. */
const start = (rules: Rules, worker: Worker): void => {
  const { handOver, memory } = rules
  const { assigned, size } = worker.answer!
  const { processors } = worker
  const plan = reconcile(
    {
      generation: "mail@1",
      assigned: assigned.map(({ epoch, partition, position, requested }) => ({
        partition,
        epoch: BigInt(epoch),
        position: Position.make(BigInt(position)),
        requested
      }))
    },
    new Map(processors.flatMap((processor, partition) =>
      processor === null ? [] : [[partition, {
        generation: "mail@1",
        epoch: BigInt(processor.epoch),
        hasEnded: processor.at === "ended" || (handOver === "at once" && processor.isInterrupted)
      }]]
    )),
    size
  )
  worker.answer = null
  for (const partition of plan.stop) interrupt(processors[partition]!)
  for (const partition of plan.ended) {
    if (processors[partition]!.at === "ended") processors[partition] = null
  }
  worker.releases = [...plan.release]
  if (handOver === "at once") {
    worker.releases.push(...plan.stop.filter((partition) => !worker.releases.includes(partition)))
  }
  for (const partition of plan.wake) processors[partition]!.hasRequest = true
  for (const { epoch, partition, position, requested } of plan.start) {
    if (memory === "until the epoch ends") {
      worker.handled = worker.handled.filter(([event, of]) =>
        of === Number(epoch) || rules.events[event - 1]!.partition !== partition
      )
    }
    processors[partition] = {
      at: "starting",
      epoch: Number(epoch),
      position: Number(position),
      parked: [],
      hasRequest: requested,
      ...idle
    }
  }
}

const idle = { unparking: null, page: [], left: [], to: 0, applied: [], failed: [], inHand: 0, isInterrupted: false }

/** Interrupts a processor. A handler that runs takes its time. */
const interrupt = (processor: Processor): void => {
  processor.isInterrupted = true
  if (processor.inHand === 0) Object.assign(processor, { ...idle, at: "ended" })
}

const processorSteps = (rules: Rules, state: State, index: number, partition: number, can: Can<State>): void => {
  const worker = state.workers[index]!
  const processor = worker.processors[partition]
  if (!processor || processor.at === "ended") return
  const { at, epoch, hasRequest, inHand, isInterrupted, left, position } = processor
  const row = state.partitions[partition]!
  const to = (does: string, change: (processor: Processor, state: State) => void) =>
    can(
      `worker ${index + 1}`,
      `${does} (partition ${partition}, epoch ${epoch})`,
      (state) => change(state.workers[index]!.processors[partition]!, state)
    )

  if (inHand !== 0) handlerSteps(rules, state, processor, index, to)
  else if (at === "starting") {
    to("reads the parked streams", (processor) => {
      processor.at = "ready"
      processor.parked = rules.start === "reads nothing" ? [] : row.parked.map(({ stream }) => stream)
    })
  } else if (at === "ready" && hasRequest) {
    to("looks for requests", (processor) => {
      const [found, ...others] = row.parked.filter(({ request }) => request !== "none")
      processor.hasRequest = others.length > 0
      if (found !== undefined) {
        // What is skipped is skipped in a transaction before.
        const isSkip = found.request === "skip" && !found.isFreeing
        const page = isSkip ? [] : waiting(rules, processor, found).slice(0, rules.limit)
        begin(processor, { unparking: found, page, to: position })
      }
    })
  } else if (at === "ready" && position < rules.events.length) {
    to("reads a page", (processor, state) => {
      const events = positionsOf(rules, partition).filter((event) => event > position).slice(0, rules.limit)
      const page = events.filter((event) => !processor.parked.includes(eventAt(rules, event).stream))
      begin(processor, {
        unparking: null,
        page,
        to: events.length === rules.limit ? events.at(-1)! : rules.events.length
      })
      if (rules.checkpoint === "before the events") state.partitions[partition]!.position = processor.to
    })
  } else if (at === "working" && left.length > 0 && !isInterrupted) {
    const event = left[0]!
    const isHandled = worker.handled.some(([handled, of]) =>
      handled === event && (rules.memory === "for ever" || of === epoch)
    )
    to(isHandled ? `has handled event ${event} before` : `begins event ${event}`, (processor, state) => {
      if (!isHandled) {
        if (epoch < row.resetEpoch && !state.mayOverlap) {
          state.mistake = `event ${event} begins by the position before the reset`
        }
        processor.inHand = event
      } else {
        processor.left.shift()
        processor.applied.push(event)
      }
    })
  } else if (at === "working") {
    to("commits", (processor, state) => {
      commit(rules, state, state.workers[index]!, processor, state.partitions[partition]!)
    })
  }
}

const positionsOf = ({ events }: Rules, partition: number): ReadonlyArray<number> =>
  events.flatMap((event, index) => event.partition === partition ? [index + 1] : [])

/** Returns the events that a request applies. */
const waiting = (
  rules: Rules,
  { position }: Processor,
  { isFreeing, position: from, request, stream }: Parked
): Array<number> =>
  rules.events.flatMap((event, index) => event.stream === stream ? [index + 1] : [])
    .filter((event) => event <= position && (isFreeing || request === "skip" ? event > from : event >= from))
    .filter((event) => rules.retry === "all events that waited" || event === from)

const begin = (processor: Processor, work: Pick<Processor, "unparking" | "page" | "to">): void =>
  void Object.assign(processor, { ...idle, ...work, at: "working", left: [...work.page] })

const handlerSteps = (
  rules: Rules,
  { isFixed }: State,
  { epoch, inHand, isInterrupted }: Processor,
  index: number,
  to: (does: string, change: (processor: Processor, state: State) => void) => void
): void => {
  const { isPoison = false, stream } = eventAt(rules, inHand)
  const succeed = (state: State) => {
    if (rules.isTransactional) return
    if (epoch >= state.partitions[eventAt(rules, inHand).partition]!.resetEpoch) take(rules, state, inHand)
    const { handled } = state.workers[index]!
    if (!isInterrupted && !handled.some(([event, of]) => event === inHand && of === epoch)) {
      handled.push([inHand, epoch])
    }
    handled.sort(([a, i], [b, j]) => a - b || i - j)
  }
  const end = (processor: Processor) => {
    processor.inHand = 0
    processor.left.shift()
    if (isInterrupted) Object.assign(processor, { ...idle, at: "ended" })
  }
  if (isInterrupted) to(`is interrupted in event ${inHand}`, end)
  if (isPoison && !isFixed) {
    to(`fails on event ${inHand}`, (processor) => {
      end(processor)
      if (isInterrupted) return
      processor.failed.push(inHand)
      if (rules.later === "wait") {
        processor.left = processor.left.filter((event) => eventAt(rules, event).stream !== stream)
      }
    })
  } else {
    to(`ends event ${inHand}`, (processor, state) => {
      succeed(state)
      end(processor)
      if (!isInterrupted) processor.applied.push(inHand)
    })
  }
}

/** Moves the checkpoint, or unparks, in one transaction. */
const commit = (rules: Rules, state: State, worker: Worker, processor: Processor, row: Partition): void => {
  const { applied, epoch, failed, page, position, to, unparking } = processor
  const isParked = row.parked.some(({ position, stream }) =>
    stream === unparking?.stream && position === unparking.position
  )
  const isOwned = row.epoch === epoch && row.position === position && (unparking === null || isParked)
  worker.handled = worker.handled.filter(([event]) => !page.includes(event))
  if (!isOwned) {
    Object.assign(processor, { ...idle, at: "ended" })
    return
  }
  const { reached, toPark } = outcomeOf(
    { onFailure: "park", unknownTypes: "pass" },
    {
      applied: applied.map((event) => deliveryOf(rules, event)),
      failures: failed.map((event) => ({ ...deliveryOf(rules, event), error: invalidRequest("poison") }))
    },
    positionOf(position),
    positionOf(to)
  )
  if (rules.isTransactional) { for (const event of applied) take(rules, state, event) }
  if (unparking?.request === "skip" && !unparking.isFreeing) {
    state.skipped = [...state.skipped, unparking.position].toSorted((a, b) => a - b)
  }
  if (Number(reached) < row.position) state.mistake = "the checkpoint goes back"
  row.position = Number(reached)
  const parked = toPark.map(({ event: { position } }): Parked => ({
    stream: eventAt(rules, Number(position)).stream,
    position: Number(position),
    isFreeing: false,
    request: "none"
  }))
  const rest = unparking === null || failed.length > 0 ? undefined : restOf(rules, processor, unparking)
  row.parked = [
    ...row.parked.filter(({ stream }) => stream !== unparking?.stream),
    ...parked,
    ...rest === undefined ? [] : [rest]
  ].toSorted((a, b) => a.stream - b.stream)
  if (rest !== undefined) processor.hasRequest = true
  const known = rules.freed === "stays parked in the processor" || rest !== undefined
    ? processor.parked
    : processor.parked.filter((stream) => stream !== unparking?.stream)
  Object.assign(processor, {
    ...idle,
    at: "ready",
    position: Number(reached),
    parked: Array.from(new Set([...known, ...parked.map(({ stream }) => stream)])).toSorted((a, b) => a - b)
  })
}

/** Returns what is saved of a stream that has further events, which wait. */
const restOf = (rules: Rules, processor: Processor, unparking: Parked): Parked | undefined => {
  const { page } = processor
  const reached = { ...unparking, position: page.at(-1) ?? unparking.position, isFreeing: true }
  if (waiting(rules, processor, reached).length === 0) return undefined
  return rules.chunk === "nothing" ? unparking : reached
}

const positionOf = (position: number) => Position.make(BigInt(position))

const deliveryOf = (rules: Rules, position: number): Delivery => {
  const stream = StreamId.make(`s-${eventAt(rules, position).stream}`)
  const event: EncodedEvent = {
    position: positionOf(position),
    stream,
    version: Version.make(1),
    type: "Ticked",
    schemaVersion: 1,
    id: String(position),
    data: {},
    metadata: {},
    tags: [],
    recordedAt: DateTime.makeUnsafe(0)
  }
  return { event, key: stream, digest: 0n }
}

const misfortunes = (
  { closing }: Rules,
  { closings, expirations, kills, partitions, workers }: State,
  can: Can<State>
): void => {
  for (const [index, { is, isCounted, processors }] of workers.entries()) {
    const name = `worker ${index + 1}`
    if (is === "running" && closings > 0) {
      can(name, "closes", (state) => {
        state.closings--
        const worker = state.workers[index]!
        Object.assign(worker, { is: "closing", answer: null, releases: [] })
        for (const processor of worker.processors) if (processor && processor.at !== "ended") interrupt(processor)
      }, { mayHappen: true })
    }
    if ((is === "running" || is === "closing") && kills > 0) {
      can(name, "is killed", (state) => {
        state.kills--
        Object.assign(state.workers[index]!, {
          is: "ended",
          answer: null,
          releases: [],
          processors: processors.map(() => null),
          handled: []
        })
      }, { mayHappen: true })
    }
    if (is === "ended" && isCounted) {
      can(`the row of ${name}`, "expires", (state) => void (state.workers[index]!.isCounted = false))
    }
  }
  for (const [number, { lease, owner }] of partitions.entries()) {
    if (lease !== "valid") continue
    const { is, processors } = workers[owner!]!
    const hasHandlers = processors.some((one) => one !== null && one.at !== "ended")
    const hasHeartbeats = is === "running" || (is === "closing" && hasHandlers && closing !== "lets the leases expire")
    if (hasHeartbeats && expirations === 0) continue
    can(`the lease of partition ${number}`, "expires", (state) => {
      if (hasHeartbeats) {
        state.expirations--
        state.mayOverlap = true
      }
      state.partitions[number]!.lease = "expired"
    }, { mayHappen: hasHeartbeats })
  }
}

const operatorSteps = (rules: Rules, state: State, can: Can<State>): void => {
  const { drains, isFixed, partitions, resets, retries, skips } = state
  const isFree = partitions.every(({ lease }) => lease !== "valid")
  if (drains ? isFree : resets > 0 && rules.reset === "takes the partitions") {
    can("the operator", "resets the checkpoints to 0", reset, { mayHappen: !drains })
  } else if (!drains && resets > 0) {
    can("the operator", "asks for a reset", (state) => {
      state.resets--
      state.drains = true
    }, { mayHappen: true })
  }
  for (const [number, { parked }] of partitions.entries()) {
    for (const [place, { position, request }] of parked.entries()) {
      if (request !== "none") continue
      const asks = (does: string, request: "retry" | "skip", counter: "retries" | "skips" | undefined) =>
        can("the operator", `${does} event ${position}`, (state) => {
          if (counter === undefined) state.isFixed = true
          else state[counter]--
          state.partitions[number]!.parked[place]!.request = request
        }, { mayHappen: counter !== undefined })
      asks("deploys better code and retries", "retry", undefined)
      if (retries > 0 && !isFixed) asks("retries", "retry", "retries")
      if (skips > 0) asks("skips", "skip", "skips")
    }
  }
}

const reset = (state: State): void => {
  if (!state.drains) state.resets--
  state.drains = false
  for (const partition of state.partitions) {
    release(partition)
    Object.assign(partition, { position: 0, parked: [], resetEpoch: partition.epoch })
  }
  state.effects = []
  state.skipped = []
}

const one: Configuration = {
  events: [{ partition: 0, stream: 1 }, { partition: 0, stream: 1 }],
  partitions: 1,
  limit: 10,
  isTransactional: false,
  workers: 1,
  joins: 0,
  closings: 0,
  kills: 0,
  expirations: 0,
  retries: 0,
  skips: 0,
  resets: 0
}
const joining: Configuration = {
  ...one,
  events: [{ partition: 0, stream: 1 }, { partition: 1, stream: 2 }],
  partitions: 2,
  joins: 1
}
const parking: Configuration = {
  ...one,
  events: [{ partition: 0, stream: 1, isPoison: true }, { partition: 0, stream: 2 }, { partition: 0, stream: 1 }]
}

export const handOver: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [joining, { ...parking, workers: 2 }, { ...one, resets: 1 }],
  large: [
    { ...joining, closings: 1 },
    { ...joining, expirations: 1 },
    { ...joining, kills: 1, isTransactional: true },
    { ...parking, workers: 2, expirations: 1 },
    { ...parking, workers: 2, expirations: 1, isTransactional: true },
    { ...parking, limit: 1, retries: 1, skips: 1 },
    { ...parking, limit: 1, workers: 2, expirations: 1, isTransactional: true },
    { ...one, workers: 2, resets: 1 },
    { ...one, workers: 2, kills: 1, resets: 1 },
    { ...one, workers: 2, expirations: 1, resets: 1 },
    { ...parking, limit: 1, resets: 1 }
  ],
  mutants: {
    "a partition is handed over before the event in hand has ended": {
      change: { handOver: "at once" },
      configuration: joining
    },
    "a worker that closes sends no heartbeats": {
      change: { closing: "lets the leases expire" },
      configuration: { ...joining, closings: 1 }
    },
    "the checkpoint is written before the events are handled": {
      change: { checkpoint: "before the events" },
      configuration: one
    },
    "a processor starts without the parked streams": {
      change: { start: "reads nothing" },
      configuration: { ...parking, limit: 1, workers: 2, kills: 1 }
    },
    "later events of a stream are handled after one has failed": {
      change: { later: "are tried" },
      configuration: parking
    },
    "a retry applies only the parked event": { change: { retry: "the parked event" }, configuration: parking },
    "a retry in several transactions does not save how far the stream is": {
      change: { chunk: "nothing" },
      configuration: { ...parking, limit: 1 }
    },
    "a freed stream stays parked in the processor": {
      change: { freed: "stays parked in the processor" },
      configuration: { ...parking, limit: 1 }
    },
    "a worker remembers handled events when the epoch has ended": {
      change: { memory: "for ever" },
      configuration: { ...one, resets: 1 }
    },
    "a reset takes the partitions from their workers": {
      change: { reset: "takes the partitions" },
      configuration: { ...one, resets: 1 }
    }
  }
}
