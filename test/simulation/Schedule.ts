/**
 * One run: writers, workers that come and go, and every misfortune there is, as a seed determines; then all heals, and what the workers have
 * made is compared with the log.
 */
import { Context, Effect, Exit, Layer, Option, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, IdGenerator, Position, Projection, ProjectionStore, Projector, Rebuild } from "evsrc"
import * as MemoryProjectionStore from "../../src/projection/memory/MemoryProjectionStore.ts"
import { Dice } from "./Dice.ts"
import * as Machine from "./Machine.ts"
import * as SimulatedLog from "./SimulatedLog.ts"

const Tick = Schema.TaggedUnion({
  Ticked: { stream: Schema.String, n: Schema.Int, poison: Schema.Boolean },
  Other: { n: Schema.Int }
})

const Doc = Schema.Struct({ n: Schema.Int, versions: Schema.Array(Schema.Int), positions: Schema.Array(Schema.String) })

/** A document a stream, and one of all streams together. */
const projection = (partitions: number, healed: () => boolean) =>
  Projection.make("ticks", {
    events: Tick,
    document: Doc,
    partitions,
    key: (event) => event._tag === "Ticked" ? [event.stream, "all"] : [],
    evolve: {
      Ticked: (doc, event, record) => {
        if (event.poison && !healed()) throw new Error("poison")
        return {
          n: (doc?.n ?? 0) + event.n,
          versions: [...doc?.versions ?? [], record.version],
          positions: [...doc?.positions ?? [], String(record.position)]
        }
      },
      Other: Projection.ignore
    }
  })

export interface Settings {
  readonly watermark: boolean
}

/** What went wrong, or nothing. */
export const run = Effect.fnUntraced(function*(seed: number, settings: Settings) {
  const dice = new Dice(seed)
  let faulty = true
  let healed = false
  const log = yield* SimulatedLog.make(dice, settings)
  const documents = yield* MemoryProjectionStore.make
  const ticks = projection(dice.pick([1, 1, 2, 4]), () => healed)
  const batchSize = dice.from(1, 6)
  const machines: Array<{ readonly machine: Machine.Machine; readonly scope: Scope.Closeable }> = []

  /** A machine that works on the projection, or rebuilds it and switches to what it has built. */
  const start = Effect.fnUntraced(function*(does: "projects" | "rebuilds") {
    const machine = Machine.make(dice, () => faulty)
    const scope = yield* Scope.make()
    const call =
      <Args extends ReadonlyArray<unknown>, A, E, R>(operation: (...args: Args) => Effect.Effect<A, E, R>) =>
      (...args: Args) => machine.call(Effect.suspend(() => operation(...args)))
    const events = yield* EventStore.make({
      ...log.driver,
      readAll: call(log.driver.readAll),
      readStream: call(log.driver.readStream)
    })
    const store = yield* Scope.provide(
      ProjectionStore.make({
        ...documents,
        // A transaction is one call: its statements are not lost one by one.
        transaction: (effect) => machine.call(effect),
        claim: call(documents.claim),
        release: call(documents.release),
        advance: call(documents.advance),
        load: call(documents.load),
        checkpoint: call(documents.checkpoint),
        parked: call(documents.parked),
        beginGeneration: call(documents.beginGeneration),
        generations: call(documents.generations),
        cutOver: call(documents.cutOver)
      }, { pollInterval: "20 millis" }),
      scope
    )
    const options = {
      batchSize,
      lease: "300 millis",
      retryDelay: { first: "10 millis", max: "100 millis" }
    } as const
    const rebuild = Effect.exit(
      Stream.runDrain(Rebuild.rebuild(ticks, { ...options, interval: "20 millis", cutOver: { timeout: "1 second" } }))
    )
    yield* Effect.provideContext(
      does === "projects"
        ? Effect.asVoid(Layer.buildWithScope(Projector.layer([ticks], options), scope))
        : Effect.asVoid(Effect.forkIn(rebuild, scope)),
      Context.make(EventStore.EventStore, events).pipe(
        Context.add(ProjectionStore.ProjectionStore, store),
        Context.add(IdGenerator, () => dice.uuid())
      )
    )
    machines.push({ machine, scope })
  })
  const end = (one: typeof machines[number], kill: boolean) =>
    Effect.suspend(() => {
      machines.splice(machines.indexOf(one), 1)
      if (kill) one.machine.kill()
      return Effect.asVoid(Effect.forkDetach(Scope.close(one.scope, Exit.void)))
    })

  const writer = (n: number) =>
    Effect.scoped(Effect.gen(function*() {
      const store = yield* EventStore.make(log.driver)
      for (let i = 0; i < dice.from(2, 5); i++) {
        yield* Effect.sleep(dice.from(0, 100))
        const stream = `Tick-${dice.below(4)}`
        const batch = Array.from({ length: dice.from(1, 3) }, () =>
          dice.chance(0.15)
            ? Tick.cases.Other.make({ n })
            : Tick.cases.Ticked.make({ stream, n: dice.from(1, 9), poison: dice.chance(0.05) }))
        yield* Effect.exit(store.append(Tick, stream, batch))
      }
    }))

  const retryParked = Effect.gen(function*() {
    const generation = yield* documents.activeGeneration(ticks.id)
    for (const { request, stream } of yield* documents.parked(generation)) {
      if (request === undefined) yield* documents.request(generation, stream, { action: "retry" })
    }
  })

  const misfortune = Effect.gen(function*() {
    for (let i = 0; i < dice.from(2, 8); i++) {
      yield* Effect.sleep(dice.from(0, 120))
      const one = machines.length === 0 ? undefined : dice.pick(machines)
      const what = dice.below(6)
      if (one === undefined || what === 0) yield* start(dice.chance(0.3) ? "rebuilds" : "projects")
      else if (what === 1) yield* end(one, true)
      else if (what === 2) yield* end(one, false)
      else if (what === 3) {
        healed = dice.chance(0.5)
        yield* retryParked
      } else one.machine.freeze((yield* Effect.clockWith((clock) => clock.currentTimeMillis)) + dice.from(50, 900))
    }
  })

  /** Lets the virtual time go by until an effect has ended. */
  const passing = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(effect)
      for (let steps = 0; fiber.pollUnsafe() === undefined; steps++) {
        if (steps > 5_000) return yield* Effect.die(`seed ${seed}: no end after ${steps} steps`)
        yield* TestClock.adjust(10)
      }
      return yield* fiber.pollUnsafe()!
    })

  yield* start("projects")
  yield* passing(Effect.all([misfortune, ...Array.from({ length: dice.from(1, 4) }, (_, n) => writer(n))], {
    concurrency: "unbounded",
    discard: true
  }))

  // All heals: what is left of the workers goes, and one comes that nothing happens to. What was parked is tried again.
  faulty = false
  healed = true
  for (const one of Array.from(machines)) yield* end(one, dice.chance(0.5))
  yield* start("projects")
  const committed = log.committed()
  const last = committed.at(-1)?.position ?? Position.start
  yield* passing(Effect.gen(function*() {
    while (true) {
      yield* retryParked
      const generation = yield* documents.activeGeneration(ticks.id)
      const [at, parked] = [yield* documents.checkpoint(ticks.id), yield* documents.parked(generation)]
      if (at >= last && parked.length === 0) return
      yield* Effect.sleep("20 millis")
    }
  }))
  for (const one of Array.from(machines)) yield* end(one, true)
  yield* TestClock.adjust("10 seconds")

  const problems: Array<string> = []
  const generation = yield* documents.activeGeneration(ticks.id)
  const taken = committed.filter((event) => event.type === "Ticked")
  for (const stream of [...new Set(taken.map((event) => event.stream)), "all"]) {
    const own = taken.filter((event) => stream === "all" || event.stream === stream)
    const [found] = yield* documents.load(generation, [stream])
    const doc = Option.getOrUndefined(Schema.decodeUnknownOption(Doc)(found?.document))
    const expected = own.map((event) => String(event.position))
    // The events of one stream come in order; those of several do where one worker has them all and nothing was parked.
    const positions = doc === undefined
      ? []
      : stream === "all"
      ? doc.positions.toSorted((a, b) => Number(a) - Number(b))
      : doc.positions
    if (JSON.stringify(positions) !== JSON.stringify(expected)) {
      problems.push(`${stream}: ${JSON.stringify(doc?.positions)} instead of ${JSON.stringify(expected)}`)
    }
  }
  const progress = yield* documents.progress(generation)
  const applied = progress.reduce((sum, one) => sum + one.applied, 0n)
  if (applied !== BigInt(taken.length)) problems.push(`${applied} of ${taken.length} events are in the ledger`)
  return { problems, events: committed.length, rebuilt: generation !== ticks.id }
})
