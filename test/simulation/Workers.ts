/**
 * The workers of a simulation: each runs on a machine of its own, and calls the log and the projection store from there.
 */
import { Context, Effect, Exit, Layer, Scope, Stream } from "effect"
import { EventStore, type EventStoreDriver, IdGenerator, ProjectionStore, type ProjectionStoreDriver } from "evsrc"
import { Projector, Rebuild } from "evsrc"
import type { Dice } from "./Dice.ts"
import * as Machine from "./Machine.ts"
import type { Ticks } from "./Ticks.ts"

/** What all workers of a simulation share. */
export interface World {
  readonly dice: Dice
  readonly log: EventStoreDriver.EventStoreDriver
  readonly documents: ProjectionStoreDriver.ProjectionStoreDriver
  readonly projection: Ticks
  readonly batchSize: number
  /** Whether calls are slow or lost now. */
  readonly isFaulty: () => boolean
}

export interface Worker {
  readonly machine: Machine.Machine
  readonly scope: Scope.Closeable
}

/** Starts a worker that projects, or that rebuilds the projection and cuts over. */
export const start = Effect.fnUntraced(function*(world: World, does: "projects" | "rebuilds") {
  const { batchSize, dice, isFaulty, projection } = world
  const machine = Machine.make(dice, isFaulty)
  const scope = yield* Scope.make()
  const services = Context.make(EventStore.EventStore, yield* eventStoreOn(machine, world.log)).pipe(
    Context.add(ProjectionStore.ProjectionStore, yield* Scope.provide(documentsOn(machine, world.documents), scope)),
    Context.add(IdGenerator, () => dice.uuid())
  )
  const options = {
    batchSize,
    lease: "300 millis",
    retryDelay: { first: "10 millis", max: "100 millis" }
  } as const
  const rebuild = Effect.exit(
    Stream.runDrain(
      Rebuild.rebuild(projection, {
        ...options,
        build: "one",
        interval: "20 millis",
        cutOver: { timeout: "1 second" }
      })
    )
  )
  yield* Effect.provideContext(
    does === "projects"
      ? Effect.asVoid(Layer.buildWithScope(Projector.layer([projection], options), scope))
      : Effect.asVoid(Effect.forkIn(rebuild, scope)),
    services
  )
  return { machine, scope } satisfies Worker
})

/** Ends a worker: kills its machine, or lets it release its partitions. */
export const end = ({ machine, scope }: Pick<Worker, "machine" | "scope">, how: "kill" | "release") =>
  Effect.suspend(() => {
    if (how === "kill") machine.kill()
    return Effect.asVoid(Effect.forkDetach(Scope.close(scope, Exit.void)))
  })

/** Makes each call of an operation a call from the machine. */
export const from =
  (machine: Machine.Machine) =>
  <Args extends ReadonlyArray<unknown>, A, E, R>(operation: (...args: Args) => Effect.Effect<A, E, R>) =>
  (...args: Args) => machine.call(Effect.suspend(() => operation(...args)))

const eventStoreOn = (machine: Machine.Machine, log: EventStoreDriver.EventStoreDriver) => {
  const call = from(machine)
  return EventStore.make({
    ...log,
    readAll: call(log.readAll),
    readStream: call(log.readStream),
    eventIds: call(log.eventIds)
  })
}

/** Returns the store of documents as a program on the machine calls it. */
export const documentsOn = (machine: Machine.Machine, documents: ProjectionStoreDriver.ProjectionStoreDriver) => {
  const call = from(machine)
  return ProjectionStore.make({
    ...documents,
    // Machines are processes of their own.
    inProcess: undefined,
    // A transaction is one call: the network does not lose its statements one by one.
    transaction: (effect) => machine.call(effect),
    claim: call(documents.claim),
    release: call(documents.release),
    advance: call(documents.advance),
    load: call(documents.load),
    checkpoint: call(documents.checkpoint),
    parked: call(documents.parked),
    claimTimers: call(documents.claimTimers),
    releaseTimers: call(documents.releaseTimers),
    beginGeneration: call(documents.beginGeneration),
    generations: call(documents.generations),
    cutOver: call(documents.cutOver)
  }, { pollInterval: "20 millis" })
}
