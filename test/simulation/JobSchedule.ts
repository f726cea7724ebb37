/**
 * A schedule of a simulation of process managers: inputs come while programs take them, dispatch commands and fire deadlines, and lose calls, freeze and
 * die; then all faults end, and each job must have ended, with each effect once. The seed determines everything, on a virtual clock.
 */
import { Context, Effect, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  EventStore,
  type EventStoreDriver,
  EventStoreError,
  IdGenerator,
  OutcomeUnknown,
  Position,
  ProcessManager
} from "evsrc"
import { ProjectionStore, type ProjectionStoreDriver } from "evsrc"
import * as MemoryEventStore from "../../src/eventStore/memory/MemoryEventStore.ts"
import * as MemoryProjectionStore from "../../src/projection/memory/MemoryProjectionStore.ts"
import { nameOf } from "../process/Probe.ts"
import { Dice } from "./Dice.ts"
import { faultsOf, Job, Jobs, targets, uncheckedJobs } from "./Jobs.ts"
import * as Machine from "./Machine.ts"
import { passing } from "./Schedule.ts"
import * as Workers from "./Workers.ts"

/** A fault of the code that the simulation must find. */
export type Planted =
  /** An append is under an id of its own, which does not follow from what caused it. */
  | "random ids"
  /** A deadline fires although it was cancelled meanwhile. */
  | "unchecked deadlines"

export interface Options {
  readonly planted?: Planted | undefined
  /** Whether all programs are layers of one process on one store in memory. Then none is killed or frozen, and no call is slow. `false` by default. */
  readonly isOneProcess?: boolean | undefined
}

interface World {
  readonly dice: Dice
  readonly log: EventStoreDriver.EventStoreDriver
  readonly documents: ProjectionStoreDriver.ProjectionStoreDriver
  readonly process: typeof Jobs
  readonly isFaulty: () => boolean
  readonly planted: Planted | undefined
  readonly isOneProcess: boolean
  readonly programs: Array<Program>
}

interface Program {
  readonly machine: Machine.Machine
  readonly scope: Scope.Closeable
}

/** The response to an append may be lost after it was written. */
const unknownOutcome = (stream: string) => (error: EventStoreError) =>
  error.reason._tag === "StoreUnavailable"
    ? new EventStoreError({ reason: new OutcomeUnknown({ stream, message: error.message, cause: undefined }) })
    : error

const logOn = (machine: Machine.Machine, { dice, log, planted }: World) => {
  const call = Workers.from(machine)
  return EventStore.make({
    ...log,
    append: (request) => {
      const { commandId, ...rest } = request
      const sent = planted === "random ids" && commandId !== undefined ? { ...rest, commandId: dice.uuid() } : request
      return Effect.mapError(machine.call(Effect.suspend(() => log.append(sent))), unknownOutcome(request.stream))
    },
    receipt: call(log.receipt),
    readAll: call(log.readAll),
    readStream: call(log.readStream),
    eventIds: call(log.eventIds)
  })
}

/** Starts a program that runs the process manager. */
const start = Effect.fnUntraced(function*(world: World) {
  const { dice, documents, isFaulty, isOneProcess, log, process, programs } = world
  // A program that dies while it makes the read model would keep a lock in memory, which a database frees.
  let isStarted = false
  const machine = Machine.make(dice, () => isStarted && isFaulty())
  const scope = yield* Scope.make()
  const [events, projections] = isOneProcess
    ? [EventStore.make(log), ProjectionStore.make(documents)] as const
    : [logOn(machine, world), Workers.documentsOn(machine, documents)] as const
  const services = Context.make(EventStore.EventStore, yield* Scope.provide(events, scope)).pipe(
    Context.add(ProjectionStore.ProjectionStore, yield* Scope.provide(projections, scope)),
    Context.add(IdGenerator, () => dice.uuid())
  )
  const layer = ProcessManager.layer([process], {
    lease: "300 millis",
    deadlineInterval: "100 millis",
    retryDelay: { first: "10 millis", max: "100 millis" }
  }).pipe(Layer.fresh, Layer.provide(Layer.fresh(targets)))
  yield* Effect.provideContext(Layer.buildWithScope(layer, scope), services)
  isStarted = true
  programs.push({ machine, scope })
})

const end = ({ programs }: World, program: Program, how: "kill" | "release") =>
  Effect.suspend(() => {
    programs.splice(programs.indexOf(program), 1)
    return Workers.end(program, how)
  })

/** Appends the inputs of a job. */
const order = Effect.fnUntraced(function*({ dice, log }: World, id: string) {
  const store = yield* Effect.scoped(EventStore.make(log))
  yield* Effect.sleep(dice.from(0, 400))
  yield* store.append(Job, `Job-${id}`, [Job.cases.Ordered.make({ id, dueAfter: dice.from(5, 200) })])
  for (let n = 1; n <= dice.from(0, 5); n++) {
    yield* Effect.sleep(dice.from(0, 150))
    yield* store.append(Job, `Job-${id}`, [Job.cases.Poked.make({ id, n })])
  }
})

const misfortunes = Effect.fnUntraced(function*(world: World) {
  const { dice, isOneProcess, programs } = world
  for (let i = 0; i < dice.from(4, 12); i++) {
    yield* Effect.sleep(dice.from(0, 150))
    const program = programs.length === 0 ? undefined : dice.pick(programs)
    const what = isOneProcess ? dice.pick([0, 2]) : dice.below(5)
    if (program === undefined || what === 0) yield* start(world)
    else if (what === 1) yield* end(world, program, "kill")
    else if (what === 2) yield* end(world, program, "release")
    else program.machine.freeze((yield* Effect.clockWith((clock) => clock.currentTimeMillis)) + dice.from(50, 900))
  }
})

/** Runs the schedule of a seed, and returns what is wrong at the end, and the types of all events. */
export const run = Effect.fnUntraced(function*(seed: number, { isOneProcess = false, planted }: Options = {}) {
  const dice = new Dice(seed)
  let isFaulty = true
  const world: World = {
    dice,
    log: yield* MemoryEventStore.make(),
    documents: yield* MemoryProjectionStore.make,
    process: planted === "unchecked deadlines" ? uncheckedJobs : Jobs,
    isFaulty: () => isFaulty,
    planted,
    isOneProcess,
    programs: []
  }
  const ids = Array.from({ length: dice.from(1, 4) }, (_, n) => `${n}`)
  yield* start(world)
  yield* passing(
    seed,
    Effect.all([misfortunes(world), ...ids.map((id) => order(world, id))], { concurrency: "unbounded", discard: true })
  )
  isFaulty = false
  // In one process, the program that is left must notice that the others have ended.
  const left = isOneProcess && world.programs.length > 0 ? dice.pick(world.programs) : undefined
  for (const program of world.programs.filter((program) => program !== left)) {
    yield* end(world, program, !isOneProcess && dice.chance(0.5) ? "kill" : "release")
  }
  if (left === undefined) yield* start(world)
  // A killed program may have claimed the deadlines of a job for 30 seconds.
  yield* isOneProcess ? TestClock.adjust("40 seconds") : Effect.repeat(TestClock.adjust("100 millis"), { times: 400 })
  for (const program of Array.from(world.programs)) yield* end(world, program, isOneProcess ? "release" : "kill")
  yield* TestClock.adjust("10 seconds")
  const store = yield* EventStore.make(world.log)
  const faults = yield* Effect.forEach(ids, faultsOf).pipe(Effect.provideService(EventStore.EventStore, store))
  const { events } = yield* world.log.readAll({ after: Position.start, limit: 10_000 })
  return { faults: faults.flat(), types: events.map(nameOf) }
})
