/**
 * A schedule of a simulation: writers append while workers project, rebuild, freeze and die; then all faults end, and the documents must contain
 * every committed event once. The seed determines everything, on a virtual clock.
 */
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, Position } from "evsrc"
import * as MemoryProjectionStore from "../../src/projection/memory/MemoryProjectionStore.ts"
import { Dice } from "./Dice.ts"
import * as SimulatedLog from "./SimulatedLog.ts"
import { differences, makeProjection, Tick } from "./Ticks.ts"
import * as Workers from "./Workers.ts"

export interface Settings {
  /** Whether readers wait for appends in flight. */
  readonly watermark: boolean
}

/** The faults of a schedule, and its workers. */
interface Faults {
  faulty: boolean
  healed: boolean
  readonly workers: Array<Workers.Worker>
}

/** Runs the schedule of a seed, and returns how the documents differ from the log. */
export const run = Effect.fnUntraced(function*(seed: number, settings: Settings) {
  const dice = new Dice(seed)
  const faults: Faults = { faulty: true, healed: false, workers: [] }
  const log = yield* SimulatedLog.make(dice, settings)
  const world: Workers.World = {
    dice,
    log: log.driver,
    documents: yield* MemoryProjectionStore.make,
    projection: makeProjection(dice.pick([1, 1, 2, 4]), dice.pick(["stream", "document"]), () => faults.healed),
    batchSize: dice.from(1, 6),
    isFaulty: () => faults.faulty
  }

  yield* start(world, faults, "projects")
  const writers = Array.from({ length: dice.from(1, 4) }, (_, n) => write(world, n))
  yield* passing(
    seed,
    Effect.all([misfortunes(world, faults), ...writers], { concurrency: "unbounded", discard: true })
  )

  faults.faulty = false
  faults.healed = true
  yield* endAll(faults, () => dice.chance(0.5) ? "kill" : "release")
  yield* start(world, faults, "projects")
  const committed = log.committed()
  yield* passing(seed, settled(world, committed.at(-1)?.position ?? Position.start))
  yield* endAll(faults, () => "kill")
  yield* TestClock.adjust("10 seconds")

  const generation = yield* world.documents.activeGeneration(world.projection.id)
  return {
    differences: yield* differences(world.documents, world.projection, generation, committed),
    events: committed.length,
    rebuilt: generation !== world.projection.id
  }
})

const start = (world: Workers.World, { workers }: Faults, does: "projects" | "rebuilds") =>
  Effect.map(Workers.start(world, does), (worker) => {
    workers.push(worker)
  })

const end = ({ workers }: Faults, worker: Workers.Worker, how: "kill" | "release") =>
  Effect.suspend(() => {
    workers.splice(workers.indexOf(worker), 1)
    return Workers.end(worker, how)
  })

const endAll = (faults: Faults, how: () => "kill" | "release") =>
  Effect.forEach(Array.from(faults.workers), (worker) => end(faults, worker, how()), { discard: true })

/** Appends a few batches, some of them poisoned, or with events of unknown key. */
const write = ({ dice, log }: Workers.World, n: number) =>
  Effect.scoped(Effect.gen(function*() {
    const store = yield* EventStore.make(log)
    for (let i = 0; i < dice.from(2, 5); i++) {
      yield* Effect.sleep(dice.from(0, 100))
      const stream = `Tick-${dice.below(4)}`
      const batch = Array.from({ length: dice.from(1, 3) }, () =>
        dice.chance(0.15)
          ? Tick.cases.Other.make({ n })
          : Tick.cases.Ticked.make({
            stream,
            n: dice.from(1, 9),
            poison: dice.chance(0.05),
            keyless: dice.chance(0.03)
          }))
      yield* Effect.exit(store.append(Tick, stream, batch))
    }
  }))

/** Starts, kills, ends and freezes workers, and lets the operator retry parked keys. */
const misfortunes = Effect.fnUntraced(function*(world: Workers.World, faults: Faults) {
  const { dice } = world
  for (let i = 0; i < dice.from(2, 8); i++) {
    yield* Effect.sleep(dice.from(0, 120))
    const worker = faults.workers.length === 0 ? undefined : dice.pick(faults.workers)
    const what = dice.below(6)
    if (worker === undefined || what === 0) yield* start(world, faults, dice.chance(0.3) ? "rebuilds" : "projects")
    else if (what === 1) yield* end(faults, worker, "kill")
    else if (what === 2) yield* end(faults, worker, "release")
    else if (what === 3) {
      faults.healed = dice.chance(0.5)
      yield* retryParked(world)
    } else worker.machine.freeze((yield* Effect.clockWith((clock) => clock.currentTimeMillis)) + dice.from(50, 900))
  }
})

const retryParked = Effect.fnUntraced(function*({ documents, projection }: Workers.World) {
  const generation = yield* documents.activeGeneration(projection.id)
  for (const one of yield* documents.parked(generation, { limit: 100 })) {
    if (one.request === undefined) yield* documents.request(generation, { id: "test", action: "retry" }, [one])
  }
})

/** Waits until the projection has reached a position and no key is parked. */
const settled = Effect.fnUntraced(function*(world: Workers.World, last: Position.Position) {
  const { documents, projection } = world
  while (true) {
    yield* retryParked(world)
    const generation = yield* documents.activeGeneration(projection.id)
    const [reached, parked] = [
      yield* documents.checkpoint(projection.id),
      yield* documents.parked(generation, { limit: 100 })
    ]
    if (reached.position >= last && parked.length === 0) return
    yield* Effect.sleep("20 millis")
  }
})

/** Lets virtual time pass until an effect has ended. */
export const passing = <A, E, R>(seed: number, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    for (let steps = 0; fiber.pollUnsafe() === undefined; steps++) {
      if (steps > 5_000) return yield* Effect.die(`seed ${seed}: no end after ${steps} steps`)
      yield* TestClock.adjust(10)
    }
    return yield* fiber.pollUnsafe()!
  })
