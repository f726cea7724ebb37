/**
 * The lease of a partition: workers claim it, renew it, lose it, and write under its epoch. Statements outlive the client that has sent them.
 *
 * Models `claim_partitions`, `release_partitions`, `advance_partition` and `unpark` of migrations/0002_projections.sql, the worker of
 * src/consumer/worker/ConsumerWorker.ts, of which it calls `reconcile`, and src/consumer/parking/Unparking.ts. What happens inside a statement:
 *
 * - An UPDATE of the checkpoint's row takes the row's lock, or waits for it, and then tests its WHERE on the newest committed row (READ
 *   COMMITTED). So the test and the lock are one step. The commit is another: it makes the row visible, and unlocks it.
 * - A claim waits for the lock of a row that its worker owns. It skips another locked row (`skip locked`).
 * - The response to a claim travels, and may arrive late. The processor of the partition works meanwhile.
 * - A connection may be lost at any time. The client then does not know whether its statement commits; the server ends it, or rolls it back.
 *
 * A frozen worker is one that takes no step while its lease expires. A lease may expire at any time, because a worker may freeze for any time.
 */
import { reconcile } from "../../src/consumer/worker/Reconciliation.ts"
import * as Position from "../../src/core/Position.ts"
import type { Can, Model, Protocols } from "./Explorer.ts"

export interface Configuration {
  readonly workers: number
  readonly events: number
  /** How many events wait behind the checkpoint, the first of them parked; an operator has asked to retry it. Each is applied in a transaction. */
  readonly parked: number
  /** How many leases expire, connections are lost, and workers are killed or closed. */
  readonly expirations: number
  readonly lostConnections: number
  readonly kills: number
  readonly closings: number
}

export interface Protocol {
  /** What a write compares with the row of the partition. */
  readonly fence: "epoch and position" | "position" | "epoch"
  /** What increases the epoch. */
  readonly epoch: "claims and releases" | "releases" | "claims"
  readonly claims: "free and expired leases" | "free leases"
  /** Whether a transaction of a retry commits only if the key is still parked at the event. */
  readonly unparking: "of a parked event" | "of any event"
  /** Whether the effects and the checkpoint commit together. */
  readonly effects: "in the transaction" | "before the transaction"
}

const protocol: Protocol = {
  fence: "epoch and position",
  epoch: "claims and releases",
  claims: "free and expired leases",
  unparking: "of a parked event",
  effects: "in the transaction"
}

/** A statement in the server, or the transaction that it belongs to. */
interface Session {
  readonly worker: number
  readonly kind: "claim" | "release" | "advance" | "unpark"
  /** Before and after it has the lock of the row. The transaction of an unparking is committed by its client. */
  stage: "queued" | "locked" | "committing"
  /** Whether its client still waits for it. */
  isAwaited: boolean
  readonly epoch: number
  readonly position: number
  /** How many events waited when an unparking was sent. */
  readonly parked: number
}

interface Processor {
  at: "starting" | "ready" | "waiting" | "failed" | "ended"
  epoch: number
  position: number
  /** How many events wait, as far as it knows. */
  parked: number
}

interface Worker {
  is: "running" | "closing" | "ended"
  claim: "idle" | "waiting" | "answered"
  answer: { epoch: number; position: number } | null
  processor: Processor | null
}

export interface State {
  row: { epoch: number; owner: number | null; lease: "free" | "valid" | "expired"; position: number }
  parked: number
  /** The events whose effects are committed, in this order; 0 is the parked one, and below 0 are those that wait behind it. */
  effects: Array<number>
  /** The worker that has written under each epoch. */
  writers: Array<[epoch: number, worker: number]>
  sessions: Array<Session>
  workers: Array<Worker>
  expirations: number
  lostConnections: number
  kills: number
  closings: number
  mistake: string | null
}

const make = (configuration: Configuration, rules: Protocol): Model<State> => ({
  initial: {
    row: { epoch: 0, owner: null, lease: "free", position: 0 },
    parked: configuration.parked,
    effects: [],
    writers: [],
    sessions: [],
    workers: Array.from({ length: configuration.workers }, () => ({
      is: "running",
      claim: "idle",
      answer: null,
      processor: null
    })),
    expirations: configuration.expirations,
    lostConnections: configuration.lostConnections,
    kills: configuration.kills,
    closings: configuration.closings,
    mistake: null
  },
  steps: (state, can) => {
    for (const index of state.workers.keys()) workerSteps(configuration, rules, state, index, can)
    for (const index of state.sessions.keys()) sessionSteps(configuration, rules, state, index, can)
    misfortunes(state, can)
  },
  violation: ({ effects, mistake, row }) => {
    if (mistake !== null) return mistake
    const applied = effects.filter((event) => event > 0)
    if (effects.length > new Set(effects).size) return "the effects of an event are committed twice"
    const late = effects.filter((event) => event <= 0)
    if (applied.some((event, index) => event !== index + 1) || late.some((event, index) => event !== -index)) {
      return "effects are committed out of order"
    }
    return row.position > applied.length ? "the checkpoint has passed an event without its effects" : undefined
  },
  goal: ({ effects, parked, workers }) =>
    !workers.some(({ is }) => is === "running") ||
    (effects.filter((event) => event > 0).length === configuration.events && parked === 0),
  goalName: "an event is never processed although a worker runs"
})

const withSessions = (state: State, change: (sessions: Array<Session>) => void): void => {
  change(state.sessions)
  // The order has no meaning: equal states must look equal.
  state.sessions = state.sessions.toSorted((a, b) =>
    a.worker - b.worker || order(a.kind, b.kind) || order(a.stage, b.stage) || Number(a.isAwaited) - Number(b.isAwaited)
    || a.epoch - b.epoch || a.position - b.position || a.parked - b.parked
  )
}

const order = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0

const send = (
  state: State,
  session: Omit<Session, "stage" | "isAwaited" | "parked"> & { readonly parked?: number }
): void =>
  withSessions(state, (sessions) =>
    sessions.push({
      worker: session.worker,
      kind: session.kind,
      stage: "queued",
      isAwaited: true,
      epoch: session.epoch,
      position: session.position,
      parked: session.parked ?? 0
    }))

const workerSteps = (
  configuration: Configuration,
  rules: Protocol,
  { parked, sessions, workers }: State,
  index: number,
  can: Can<State>
): void => {
  const name = `worker ${index + 1}`
  const { claim, is, processor } = workers[index]!
  if (is === "ended") return
  const to = (does: string, change: (worker: Worker, state: State) => void) =>
    can(name, does, (state) => change(state.workers[index]!, state))
  const ofProcessor = (does: string, change: (processor: Processor, state: State) => void) =>
    can(`${name}'s processor`, does, (state) => change(state.workers[index]!.processor!, state))

  if (is === "closing") {
    if (sessions.some(({ isAwaited, kind, worker }) => worker === index && kind === "release" && isAwaited)) return
    to("sends its release", (_, state) => send(state, { worker: index, kind: "release", epoch: 0, position: 0 }))
    return
  }
  if (claim === "idle") {
    to("sends a claim", (worker, state) => {
      worker.claim = "waiting"
      send(state, { worker: index, kind: "claim", epoch: 0, position: 0 })
    })
  } else if (claim === "answered") {
    to("reads the answer to its claim", (_, state) => reconcileWith(state, index))
  }
  if (processor === null) return
  const { at, epoch, position } = processor
  if (at === "starting") {
    ofProcessor(parked > 0 ? "finds the parked event" : "finds no parked event", (processor) => {
      processor.at = "ready"
      processor.parked = parked
    })
  } else if (at === "ready" && processor.parked > 0) {
    const { parked } = processor
    ofProcessor("retries the parked event", (processor, state) => {
      processor.at = "waiting"
      send(state, { worker: index, kind: "unpark", epoch, position, parked })
    })
  } else if (at === "ready" && position < configuration.events) {
    ofProcessor(`writes event ${position + 1} under epoch ${epoch}`, (processor, state) => {
      processor.at = "waiting"
      if (rules.effects === "before the transaction") state.effects.push(position + 1)
      send(state, { worker: index, kind: "advance", epoch, position })
    })
  } else if (at === "failed") {
    ofProcessor("ends after its failure", (processor) => void (processor.at = "ended"))
  }
}

/** Compares the answer to a claim with the partition that runs, as `ConsumerWorker` does. */
const reconcileWith = (state: State, index: number): void => {
  const worker = state.workers[index]!
  const { answer, processor } = worker
  worker.claim = "idle"
  worker.answer = null
  const plan = reconcile(
    {
      generation: "sums@1",
      assigned: answer === null
        ? []
        : [{
          partition: 0,
          epoch: BigInt(answer.epoch),
          position: Position.make(BigInt(answer.position)),
          requested: true
        }]
    },
    new Map(
      processor === null
        ? []
        : [[0, { generation: "sums@1", epoch: BigInt(processor.epoch), hasEnded: processor.at === "ended" }]]
    ),
    1
  )
  if (plan.stop.length > 0) {
    worker.processor!.at = "ended"
    abandon(state, ({ kind, worker }) => worker === index && (kind === "advance" || kind === "unpark"))
  }
  if (plan.ended.length > 0) worker.processor = null
  if (plan.start.length > 0) {
    worker.processor = { at: "starting", epoch: answer!.epoch, position: answer!.position, parked: 0 }
  }
}

/** Ends the wait of clients. A transaction whose client has not sent its COMMIT is rolled back. */
const abandon = (state: State, isTheirs: (session: Session) => boolean): void =>
  withSessions(state, (sessions) => {
    for (const session of sessions.filter(isTheirs)) session.isAwaited = false
    state.sessions = sessions.filter(({ isAwaited, kind, stage }) =>
      isAwaited || kind !== "unpark" || stage === "committing"
    )
  })

const sessionSteps = (
  configuration: Configuration,
  rules: Protocol,
  state: State,
  index: number,
  can: Can<State>
): void => {
  const session = state.sessions[index]!
  const { isAwaited, kind, stage, worker } = session
  const holder = state.sessions.find(({ stage }) => stage !== "queued")
  const { lease, owner } = state.row
  const name = `${isAwaited ? "" : "the abandoned "}${kind} of worker ${worker + 1}`
  const to = (does: string, change: (state: State, session: Session) => void) =>
    can(name, does, (state) => {
      const session = state.sessions[index]!
      change(state, session)
      withSessions(state, () => {})
    })
  const remove = (state: State) => void state.sessions.splice(index, 1)

  if (!isAwaited) {
    can(name, "is rolled back", (state) => withSessions(state, (sessions) => void sessions.splice(index, 1)), {
      mayHappen: true
    })
  }
  if (stage === "queued") {
    const isFree = lease === "free" || (lease === "expired" && rules.claims === "free and expired leases")
    if (kind === "claim" && owner !== worker && (holder !== undefined || !isFree)) {
      to("finds no free lease", (state) => {
        answer(state, session, null)
        remove(state)
      })
    } else if (holder === undefined) {
      if (kind === "claim" || (kind === "release" ? owner === worker : isFenced(rules, state, session))) {
        to("locks the row", (_, session) => void (session.stage = "locked"))
      } else {
        to("finds the partition lost", (state) => {
          lost(state, session)
          remove(state)
        })
      }
    }
  } else if (kind === "unpark" && stage === "locked") {
    to("receives its COMMIT", (_, session) => void (session.stage = "committing"))
  } else {
    to("commits", (state) => {
      remove(state)
      commit(configuration, rules, state, session)
    })
  }
}

const isFenced = ({ fence }: Protocol, { row }: State, { epoch, position }: Session): boolean =>
  (fence === "position" || row.epoch === epoch) && (fence === "epoch" || row.position === position)

const lost = (state: State, { isAwaited, kind, worker }: Session): void => {
  if (!isAwaited) return
  if (kind === "release") state.workers[worker]!.is = "ended"
  else state.workers[worker]!.processor!.at = "ended"
}

const answer = (state: State, { isAwaited, worker }: Session, given: Worker["answer"]): void => {
  if (!isAwaited) return
  state.workers[worker]!.claim = "answered"
  state.workers[worker]!.answer = given
}

const commit = (configuration: Configuration, rules: Protocol, state: State, session: Session): void => {
  const { epoch, isAwaited, kind, parked, position, worker } = session
  const { row } = state
  const processor = isAwaited ? state.workers[worker]!.processor : null
  if (kind === "claim") {
    if (row.owner !== worker && rules.epoch !== "releases") row.epoch++
    row.owner = worker
    row.lease = "valid"
    answer(state, session, { epoch: row.epoch, position: row.position })
    return
  }
  if (kind === "release") {
    if (row.owner === worker) {
      if (rules.epoch !== "claims") row.epoch++
      Object.assign(row, { owner: null, lease: "free" })
    }
    if (isAwaited) state.workers[worker]!.is = "ended"
    return
  }
  if (row.owner !== worker || row.epoch !== epoch) {
    state.mistake = "a worker writes that does not own the partition any more"
  }
  const writer = state.writers.find(([of]) => of === epoch)
  if (writer === undefined) state.writers.push([epoch, worker])
  else if (writer[1] !== worker) state.mistake = "two workers write under one epoch"
  if (kind === "advance") {
    row.position = position + 1
    if (rules.effects === "in the transaction") state.effects.push(position + 1)
    if (processor !== null) Object.assign(processor, { at: "ready", position: position + 1 })
    return
  }
  if (state.parked === parked || rules.unparking === "of any event") {
    state.effects.push(parked - configuration.parked)
    state.parked = parked - 1
    if (processor !== null) Object.assign(processor, { at: "ready", parked: parked - 1 })
  } else if (processor !== null) processor.at = "ended"
}

const misfortunes = (
  { closings, expirations, kills, lostConnections, row, sessions, workers }: State,
  can: Can<State>
): void => {
  if (row.lease === "valid") {
    const hasHeartbeats = row.owner !== null && workers[row.owner]!.is === "running"
    if (!hasHeartbeats || expirations > 0) {
      can("the lease", "expires", (state) => {
        if (hasHeartbeats) state.expirations--
        state.row.lease = "expired"
      }, { mayHappen: hasHeartbeats })
    }
  }
  if (lostConnections > 0) {
    for (const [index, { isAwaited, kind, worker }] of sessions.entries()) {
      if (!isAwaited) continue
      can(`worker ${worker + 1}`, `loses the connection of its ${kind}`, (state) => {
        state.lostConnections--
        const lost = state.workers[worker]!
        if (kind === "claim") lost.claim = "idle"
        else if (kind !== "release") lost.processor!.at = "failed"
        abandon(
          state,
          (session) => session.worker === worker && session.kind === kind && session === state.sessions[index]
        )
      }, { mayHappen: true })
    }
  }
  for (const [index, { is }] of workers.entries()) {
    const stops = (does: string, is: Worker["is"], counter: "kills" | "closings") =>
      can(`worker ${index + 1}`, does, (state) => {
        state[counter]--
        state.workers[index] = { is, claim: "idle", answer: null, processor: null }
        abandon(state, ({ worker }) => worker === index)
      }, { mayHappen: true })
    if (kills > 0 && is !== "ended") stops("is killed", "ended", "kills")
    if (closings > 0 && is === "running") stops("closes", "closing", "closings")
  }
}

const one: Configuration = {
  workers: 1,
  events: 1,
  parked: 0,
  expirations: 0,
  lostConnections: 0,
  kills: 0,
  closings: 0
}
const two: Configuration = { ...one, workers: 2, expirations: 1 }

export const lease: Protocols<Configuration, Protocol, State> = {
  make,
  protocol,
  small: [two, { ...one, parked: 2, lostConnections: 1 }],
  large: [
    { ...two, lostConnections: 1 },
    { ...two, closings: 1 },
    { ...two, events: 2, kills: 1 },
    { ...two, parked: 1, lostConnections: 1 },
    { ...two, parked: 2 },
    { ...two, expirations: 0, closings: 1, lostConnections: 1 },
    { ...one, parked: 2, expirations: 1, lostConnections: 2 }
  ],
  mutants: {
    "a write does not compare the epoch": { change: { fence: "position" }, configuration: two },
    "a write does not compare the checkpoint": {
      change: { fence: "epoch" },
      configuration: { ...one, lostConnections: 1 }
    },
    "a claim keeps the epoch": { change: { epoch: "releases" }, configuration: two },
    "a release keeps the epoch": { change: { epoch: "claims" }, configuration: { ...one, closings: 1 } },
    "a claim takes no expired lease": {
      change: { claims: "free leases" },
      configuration: { ...two, expirations: 0, kills: 1 }
    },
    "effects commit before the checkpoint": { change: { effects: "before the transaction" }, configuration: two },
    "a retry does not compare the parked event": {
      change: { unparking: "of any event" },
      configuration: { ...one, events: 0, parked: 2, lostConnections: 1 }
    }
  }
}
