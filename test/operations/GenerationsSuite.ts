/**
 * The suite of retired generations: an operator lists them, and discards them with all that they have written. A program that still has one is refused.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import type { FailedEvent } from "../../src/consumer/parking/ParkingDriver.ts"
import type { EventStoreError } from "../../src/core/errors.ts"
import * as Position from "../../src/core/Position.ts"
import type { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Checkpoints from "../../src/operations/Checkpoints.ts"
import type { ResetRejected } from "../../src/operations/CheckpointsError.ts"
import * as Generations from "../../src/operations/Generations.ts"
import type { DiscardRejected } from "../../src/operations/GenerationsError.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import type { RebuildRejected } from "../../src/projection/rebuild/RebuildError.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import type { Stores } from "../support/AccountFixtures.ts"

const Visited = Schema.TaggedUnion({ Visited: { page: Schema.String } })
const options = { retryDelay: { first: "20 millis", max: "50 millis" } } as const

const visit = (stream: string, page: string) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(Visited, stream, [{ _tag: "Visited", page }]))

const until = <A, E, R>(self: Effect.Effect<A, E, R>, isReached: (a: A) => boolean) =>
  self.pipe(
    Effect.repeat({ until: isReached, schedule: Schedule.spaced("20 millis") }),
    Effect.timeout("1 minute")
  )

const reasonOf = (error: DiscardRejected | RebuildRejected | ResetRejected | EventStoreError): string =>
  error._tag === "EventStoreError" ? error.reason._tag : error.reason

const reasonOfAppend = (error: { readonly _tag: string } | EventStoreError): string =>
  "reason" in error ? error.reason._tag : error._tag

/** Counts the visits of the pages of a site. */
const visits = (name: string, version = 1) =>
  Projection.make(name, {
    version,
    events: Visited,
    where: { streamPrefix: `${name}-` },
    document: Schema.Int,
    key: ({ page }) => page,
    evolve: { Visited: (count = 0, { page }) => page === "bad" ? Number.NaN : count + 1 }
  })

const inlineVisits = (name: string) =>
  Projection.make(name, {
    events: Visited,
    lifecycle: "inline",
    where: { streamPrefix: `${name}-` },
    document: Schema.Int,
    key: ({ page }) => page,
    evolve: { Visited: (count = 0) => count + 1 }
  })

/** Collects the pages that it is given. */
const mails = (name: string, version: number, handled: Array<string>) =>
  Subscription.make(name, {
    version,
    events: Visited,
    where: { streamPrefix: `${name}-` },
    handle: { Visited: ({ page }) => Effect.sync(() => handled.push(`${version}:${page}`)) }
  })

const listed = (name: string) =>
  Effect.map(Generations.list(), (all) => all.filter(({ generation }) => generation.includes(name)))

const find = (generation: string) =>
  Effect.map(Generations.list(), (all) => all.find((one) => one.generation === generation))

const runTo = (projection: ReturnType<typeof visits>, position: Position.Position) =>
  ProjectionStore.awaitPosition(projection, position, "60 seconds").pipe(
    Effect.provide(Projector.layer([projection], options))
  )

/** A generation with a checkpoint, documents, a parked key with a request, and entries in the parking log. */
const fill = Effect.fnUntraced(function*(consumer: string, lease: Duration.Duration, documents = 3) {
  const store = yield* ProjectionStore.driver
  const claim = { consumer, owner: `${consumer}'s worker`, partitions: 1, partitionedBy: "stream", reads: "{}", lease }
  const { assigned: [assignment] } = yield* store.claim(claim)
  const advance = {
    generation: consumer,
    partition: 0,
    epoch: assignment!.epoch,
    from: Position.start,
    to: Position.make(7n),
    changes: Array.from(
      { length: documents },
      (_, n) => ({ key: `k${n}`, document: "1", indexed: [",n,", `n=${n}`] })
    ),
    applied: [{ first: Position.make(7n), events: 1, digest: 7n }]
  }
  equal(yield* store.advance(advance), "advanced", "the worker's first batch")
  const parked: FailedEvent = {
    key: "s",
    stream: "s" as StreamId,
    version: Version.make(1),
    position: Position.make(6n),
    eventId: globalThis.crypto.randomUUID(),
    type: "Visited",
    error: "no"
  }
  yield* store.transaction(store.park(consumer, 0, [parked]))
  yield* store.request(consumer, { id: "test", action: "retry" }, yield* store.parkedPlaces(consumer, {}))
  return { store, claim, advance, parked }
})

/** Waits until no worker of a generation has a lease. */
const untilFree = (generation: string) => until(find(generation), (one) => one?.owners.length === 0)

/**
 * The cases.
 *
 * @since 0.1.0
 * @category suites
 */
export const retiredGenerations: ReadonlyArray<Case<Stores>> = [
  test("lists the generations of all consumers with what they hold", function*() {
    const name = unique("visits")
    const [first, third] = [visits(name), visits(name, 3)]
    const { position } = yield* visit(`${name}-a`, "home")
    yield* runTo(first, position)
    yield* Stream.runDrain(Rebuild.rebuild(first, { interval: "20 millis" }))
    yield* runTo(third, position)
    const bad = yield* visit(`${name}-b`, "bad")
    const handled: Array<string> = []
    const mail = mails(unique("mail"), 2, handled)
    const inline = inlineVisits(unique("inline"))
    yield* Effect.gen(function*() {
      yield* ProjectionStore.awaitPosition(third, bad.position, "60 seconds")
      yield* until(find(third.id), (one) => one?.parked.count === 1)
      yield* visit(`${mail.name}-a`, "home")
      yield* until(Effect.sync(() => handled.length), (n) => n === 1)
      equal((yield* find(third.id))!.owners.length, 1, "the worker of the third version")
      const ofMail = (yield* find(mail.id))!
      equal([ofMail.kind, ofMail.consumer, ofMail.owners.length], ["subscription", mail.id, 1], "a subscription")
    }).pipe(Effect.provide([Projector.layer([third], options), Subscription.layer([mail], options)]))
    yield* Effect.provide(visit(`${inline.name}-a`, "home"), Layer.fresh(Projector.layerInline([inline])))
    const ofInline = (yield* find(inline.id))!
    equal([ofInline.kind, ofInline.isActive, ofInline.documents.count], ["inline", true, 1], "an inline projection")
    const all = yield* listed(name)
    equal(
      all.map(({ documents, generation, isActive, isRollbackTarget, newerVersion, owners, parked, parkingLog }) => [
        generation,
        isActive,
        isRollbackTarget,
        newerVersion,
        owners.length,
        documents.count,
        parked.count,
        parkingLog.count
      ]),
      [
        [first.id, false, true, third.id, 0, 1, 0, 0],
        [`${first.id}~1`, true, false, third.id, 0, 1, 0, 0],
        [third.id, true, false, undefined, 0, 1, 1, 1]
      ],
      "the generations of both versions"
    )
    equal(all.map(({ checkpoints }) => checkpoints), [1, 1, 1], "the checkpoints")
    equal(all.map(({ kind }) => kind), Array(3).fill("projection"), "the kinds")
    equal(all.every(({ lastActivity }) => lastActivity !== undefined), true, "the last activity")
    const [counted] = (yield* Generations.list({ maxCount: 0 })).filter(({ generation }) => generation === third.id)
    equal(counted!.documents, { count: 0, isMore: true }, "counted up to a number")
  }),

  test("an old process whose subscription was discarded is refused, and repeats nothing", function*() {
    const name = unique("mail")
    const handled: Array<string> = []
    const [old, current] = [mails(name, 1, handled), mails(name, 2, handled)]
    yield* visit(`${name}-a`, "one")
    yield* until(Effect.sync(() => handled.length), (n) => n === 1).pipe(
      Effect.provide(Subscription.layer([old], options))
    )
    yield* untilFree(old.id)
    yield* Generations.discard(old.id, { evenIfActive: true })
    equal((yield* find(old.id))?.status, "discarded", "the name stays taken")
    yield* Effect.gen(function*() {
      const { status } = yield* Subscription.Subscriptions
      const [stuck] = yield* until(status, ([one]) => one?.state === "stuck")
      includes(stuck!.detail ?? "", `"${old.id}" was discarded`, "the status of the old process")
      yield* visit(`${name}-a`, "two")
      const { consumers: [health] } = yield* Health.of([old])
      equal(health!.status, "red", "the health of the old version")
      includes(health!.reasons.join(), "was discarded", "the reason")
      equal(reasonOf(yield* Effect.flip(Checkpoints.reset(old, "end"))), "GenerationDiscarded", "a reset")
      equal((yield* Effect.flip(Parking.list(old))).reason._tag, "GenerationDiscarded", "a list of parked keys")
    }).pipe(Effect.provide(Subscription.layer([old], options)))
    equal(Array.from(handled), ["1:one"], "nothing was handled again")
    yield* until(Effect.sync(() => handled.length), (n) => n === 3).pipe(
      Effect.provide(Subscription.layer([current], options))
    )
    equal(Array.from(handled), ["1:one", "2:one", "2:two"], "the current version is not concerned")
  }),

  test("a discarded subscription does not stop the others of an old process", function*() {
    const handled: Array<string> = []
    const name = unique("mail")
    const old = Subscription.make(name, {
      events: Visited,
      from: "now",
      where: { streamPrefix: `${name}-` },
      handle: { Visited: ({ page }) => Effect.sync(() => handled.push(`old:${page}`)) }
    })
    const other = mails(unique("other"), 1, handled)
    yield* Effect.scoped(Layer.build(Subscription.layer([old], options)))
    yield* untilFree(old.id)
    yield* Generations.discard(old.id, { evenIfActive: true })
    yield* Effect.gen(function*() {
      yield* visit(`${name}-a`, "one")
      yield* visit(`${other.name}-a`, "one")
      const { status } = yield* Subscription.Subscriptions
      yield* until(status, (all) => all.find(({ consumer }) => consumer === old.id)?.state === "stuck")
      yield* until(Effect.sync(() => handled.length), (n) => n === 1)
    }).pipe(Effect.provide(Subscription.layer([old, other], options)))
    equal(Array.from(handled), ["1:one"], "the other one's event")
  }),

  test("reads of a discarded version fail, and a rebuild does not bring it back", function*() {
    const name = unique("visits")
    const first = visits(name)
    const { position } = yield* visit(`${name}-a`, "home")
    yield* runTo(first, position)
    yield* untilFree(first.id)
    yield* Generations.discard(first.id, { evenIfActive: true })
    const failures = yield* Effect.all([
      Effect.flip(ProjectionStore.get(first, "home")),
      Effect.flip(ProjectionStore.list(first)),
      Effect.flip(ProjectionStore.awaitPosition(first, position, "5 seconds")),
      Effect.flip(Stream.runDrain(Rebuild.rebuild(first))),
      Effect.flip(Rebuild.rollback(first))
    ])
    equal(
      failures.map((error) => error._tag === "EventStoreError" ? error.reason._tag : error._tag),
      [...Array(4).fill("GenerationDiscarded"), "RebuildRejected"],
      "reads and rebuilds"
    )
    const { checkpoints, documents, position: reached, status } = (yield* find(first.id))!
    equal([checkpoints, documents.count, reached, status], [0, 0, undefined, "discarded"], "what is left")
    yield* Generations.discard(first.id)
    const second = visits(name, 2)
    yield* runTo(second, position)
    equal(yield* ProjectionStore.get(second, "home"), Option.some(1), "another version is not concerned")
  }),

  test("discards neither the active generation, nor a rollback target, nor one that runs, by itself", function*() {
    const name = unique("visits")
    const projection = visits(name)
    const { position } = yield* visit(`${name}-a`, "home")
    const rejected = (generation: string, options?: Generations.DiscardOptions) =>
      Effect.map(Effect.flip(Generations.discard(generation, options)), reasonOf)
    equal(yield* rejected(projection.id), "Unknown", "one that never ran")
    yield* Effect.gen(function*() {
      yield* ProjectionStore.awaitPosition(projection, position, "60 seconds")
      yield* Stream.runDrain(Rebuild.rebuild(projection, { interval: "20 millis" }))
      const next = `${projection.id}~1`
      yield* until(find(next), (one) => one?.owners.length === 1)
      equal(yield* rejected(next), "Active", "the active one")
      equal(yield* rejected(next, { evenIfActive: true }), "Leased", "one that a worker runs")
      equal(yield* rejected(projection.id, { evenIfActive: true }), "RollbackTarget", "the rollback target")
      equal(yield* rejected(`${projection.id}~2`, { evenIfActive: true }), "Unknown", "another")
      equal(yield* ProjectionStore.get(projection, "home"), Option.some(1), "nothing was changed")
      yield* Generations.discard(projection.id, { evenIfRollbackTarget: true })
      equal((yield* find(projection.id))?.documents.count, 0, "its documents")
      equal(yield* ProjectionStore.get(projection, "home"), Option.some(1), "the active documents stay")
    }).pipe(Effect.provide(Projector.layer([projection], options)))
    equal(reasonOf(yield* Effect.flip(Rebuild.rollback(projection))), "NoGeneration", "a rollback")
  }),

  test("a worker that was frozen during the discard writes nothing after it", function*() {
    const consumer = unique("frozen@1")
    const { advance, claim, parked, store } = yield* fill(consumer, Duration.millis(200))
    equal(
      reasonOf(yield* Effect.flip(Generations.discard(consumer, { evenIfActive: true }))),
      "Leased",
      "while its lease lasts"
    )
    yield* untilFree(consumer)
    yield* Generations.discard(consumer, { evenIfActive: true })
    const next = { ...advance, from: advance.to, to: Position.make(8n) }
    equal(yield* store.advance(next), "lost", "its batch")
    equal(
      yield* store.advance({ ...next, reads: [{ key: "k0", revision: 0n }] }),
      "lost",
      "its batch of shared documents"
    )
    const unparked = yield* store.transaction(
      store.unpark(consumer, 0, [{ key: "s", position: parked.position, request: "test", action: "retried" }])
    )
    equal(unparked, "moved", "its retry of a parked key")
    equal((yield* Effect.flip(store.claim(claim))).reason._tag, "GenerationDiscarded", "its heartbeat")
    const explicit = yield* Effect.flip(store.claim({ ...claim, generation: consumer }))
    equal(explicit.reason._tag, "GenerationDiscarded", "a heartbeat on the generation")
    const begun = yield* Effect.flip(store.beginGeneration({ consumer, head: Position.start }))
    equal(begun.reason._tag, "GenerationDiscarded", "a rebuild")
    equal(yield* store.generationPage({ generation: consumer, limit: 10 }), [], "its documents")
    equal([yield* store.progress(consumer), yield* store.applied(consumer, 0)], [[], []], "its progress")
  }),

  test("of a claim and a discard at the same time one succeeds", function*() {
    for (let attempt = 0; attempt < 10; attempt++) {
      const consumer = unique("raced@1")
      const { claim, store } = yield* fill(consumer, Duration.millis(100))
      yield* untilFree(consumer)
      const [claimed, discarded] = yield* Effect.all([
        Effect.result(store.claim({ ...claim, owner: "other", lease: Duration.minutes(1) })),
        Effect.result(Generations.discard(consumer, { evenIfActive: true }))
      ], { concurrency: "unbounded" })
      const outcomes = [claimed._tag, discarded._tag]
      equal(outcomes.toSorted(), ["Failure", "Success"], "the outcomes")
      if (claimed._tag === "Success") equal((yield* store.progress(consumer)).length, 1, "its checkpoint")
    }
  }),

  test("lists more generations than one statement returns, and a first one that a rebuild began as active", function*() {
    const store = yield* ProjectionStore.driver
    const name = unique("many")
    const consumers = Array.from({ length: 45 }, (_, n) => `${name}-${n}@1`)
    for (const consumer of consumers) yield* store.beginGeneration({ consumer, head: Position.make(9n) })
    const all = yield* listed(name)
    equal(all.map(({ generation }) => generation), consumers.toSorted(), "all of them")
    equal(all.every(({ isActive, status }) => isActive && status === "building"), true, "the active generation of each")
    const [first] = consumers
    equal(reasonOf(yield* Effect.flip(Generations.discard(first!))), "Active", "so it is not discarded by itself")
  }),

  test("removes what a generation has written, and its parking log on request", function*() {
    const consumer = unique("filled@1")
    const { store } = yield* fill(consumer, Duration.millis(100), 20)
    yield* untilFree(consumer)
    // As after a process that died before it removed the rows.
    equal(yield* store.discard(consumer, consumer, ["active"]), "discarded", "marked")
    equal((yield* find(consumer))!.parked.count, 1, "rows that are left")
    yield* Generations.discard(consumer)
    const { documents, parked, parkingLog } = (yield* find(consumer))!
    equal([documents.count, parked.count, parkingLog.count], [0, 0, 1], "the parking log stays")
    equal((yield* store.parkingLog(consumer, { limit: 10 })).length, 1, "its entries")
    yield* Generations.discard(consumer, { removeParkingLog: true })
    equal((yield* find(consumer))!.parkingLog.count, 0, "it is removed on request")
  }),

  test("appends that race with the discard of an inline projection leave no document", function*() {
    const inline = inlineVisits(unique("inline"))
    const layer = Layer.fresh(Projector.layerInline([inline]))
    const outcomes = yield* Effect.gen(function*() {
      yield* visit(`${inline.name}-0`, "home")
      const appends = Array.from({ length: 40 }, (_, n) =>
        visit(`${inline.name}-${n % 8}`, `page${n % 4}`).pipe(
          Effect.as("appended"),
          Effect.catch((error) => Effect.succeed(reasonOfAppend(error)))
        ))
      const discarding = Generations.discard(inline.id, { evenIfActive: true })
      const [all] = yield* Effect.all([
        Effect.all(appends, { concurrency: 10 }),
        Effect.andThen(Effect.yieldNow, discarding)
      ], { concurrency: "unbounded" })
      return [...all, yield* Effect.map(Effect.flip(visit(`${inline.name}-0`, "home")), reasonOfAppend)]
    }).pipe(Effect.provide(layer))
    equal(
      outcomes.every((one) => one === "appended" || one === "GenerationDiscarded"),
      true,
      `the outcomes: ${outcomes.join()}`
    )
    equal(outcomes.at(-1), "GenerationDiscarded", "the last append")
    equal((yield* find(inline.id))!.documents.count, 0, "its documents")
  }),

  test("a discarded inline projection is refused in running programs and in new ones", function*() {
    const inline = inlineVisits(unique("inline"))
    const stream = `${inline.name}-a`
    const layer = Layer.fresh(Projector.layerInline([inline]))
    yield* Effect.gen(function*() {
      yield* visit(stream, "home")
      equal(yield* ProjectionStore.get(inline, "home"), Option.some(1), "its documents")
      const active = yield* Effect.flip(Generations.discard(inline.id))
      equal(reasonOf(active), "Active", "not by itself")
      yield* Generations.discard(inline.id, { evenIfActive: true })
      const append = yield* Effect.flip(visit(stream, "home"))
      equal(append._tag === "EventStoreError" && append.reason._tag, "GenerationDiscarded", "an append that runs it")
    }).pipe(Effect.provide(layer))
    const started = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
    equal(started.reason._tag, "GenerationDiscarded", "a program that is started")
    const read = yield* Effect.flip(ProjectionStore.get(inline, "home"))
    equal(read._tag === "EventStoreError" && read.reason._tag, "GenerationDiscarded", "a read")
    yield* visit(stream, "other")
    const { documents, status } = (yield* find(inline.id))!
    equal([status, documents.count], ["discarded", 0], "its documents")
  })
]
