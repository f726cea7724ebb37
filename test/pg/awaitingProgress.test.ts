/** Callers that wait for a position of a projection that a worker of another process brings there. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer, Option, Queue, Redacted, Schedule } from "effect"
import { Aggregate, CommandBus, LogPosition, Position, ProjectionStore, Projector, type Receipt } from "evsrc"
import { PgStores } from "evsrc/pg"
import * as PgNotify from "../../src/pg/PgNotify.ts"
import { AccountDecider, Open, wealth } from "../support/AccountFixtures.ts"
import { freshDatabase } from "../support/Database.ts"
import * as RoundTrips from "../support/RoundTrips.ts"

/** A process: stores with connections of their own. It finds nothing by polling. */
const process = (url: string) =>
  Layer.build(
    Layer.fresh(
      PgStores.layerWith({ pollInterval: "1 hour", connectionTimeout: "1 minute", statementTimeout: "1 minute" })
    ).pipe(
      Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })))
    )
  )

const after = ({ events, position }: Receipt) => ({
  position,
  eventId: events.at(-1)?.id,
  timeout: Duration.seconds(40)
})

describe("a caller that waits for another process", () => {
  it.live(
    "is woken when that process has saved the checkpoint, and reads it once with all others",
    () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const proxy = yield* RoundTrips.make(url, 0)
        const [worker, waiter] = [yield* process(url), yield* process(proxy.url)]
        const total = wealth("async")
        const store = Context.get(waiter, ProjectionStore.ProjectionStore)
        const receipt = yield* CommandBus.dispatch(Open, { id: "a", owner: "ann" }).pipe(
          Effect.provide(Aggregate.layer(AccountDecider)),
          Effect.provideContext(worker)
        )
        const callers = yield* Effect.forEach(Array.from({ length: 300 }), () =>
          Effect.forkChild(
            Effect.provideService(store.get(total, "ann"), ProjectionStore.ReadAfter, after(receipt)),
            { startImmediately: true }
          ))
        const position = yield* Effect.forkChild(store.awaitPosition(total, receipt.position, "40 seconds"))
        const textsOf = (part: string) => proxy.sent().filter(({ sql }) => sql.includes(part)).length
        const reads = () => textsOf("min(least(")
        // Until they wait: they have read, and read nothing more.
        let before = 0
        do {
          before = reads()
          yield* Effect.sleep("500 millis")
        } while (before === 0 || reads() > before)
        assert.isAtMost(before, 20, "the callers share the reads of the checkpoint")
        yield* Layer.build(Projector.layer([total], { lease: "10 minutes" })).pipe(Effect.provideContext(worker))
        const found = yield* Effect.forEach(callers, Fiber.join)
        yield* Fiber.join(position)
        assert.strictEqual(found.filter((one) => one._tag === "Some").length, 300)
        // One document each.
        assert.isAtMost(reads() - before, 320)
      })
  )

  it.live("is woken again and again while the worker progresses", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const [worker, waiter] = [yield* process(url), yield* process(url)]
      const total = wealth("async")
      const store = Context.get(waiter, ProjectionStore.ProjectionStore)
      yield* Effect.gen(function*() {
        yield* Layer.build(Projector.layer([total], { lease: "10 minutes" }))
        for (let n = 0; n < 10; n++) {
          const receipt = yield* CommandBus.dispatch(Open, { id: `a${n}`, owner: "ann" })
          const found = yield* Effect.provideService(
            store.get(total, "ann"),
            ProjectionStore.ReadAfter,
            after(receipt)
          )
          assert.strictEqual(found._tag === "Some" ? found.value.events : 0, n + 1)
        }
      }).pipe(Effect.provide(Aggregate.layer(AccountDecider)), Effect.provideContext(worker))
    }))

  it.live("is answered only by a process in which the consumer has progressed", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const polling = Layer.build(
        Layer.fresh(PgStores.layer).pipe(
          Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })))
        )
      )
      const worker = yield* polling
      const waiters = yield* Effect.forEach([1, 2, 3], () => polling)
      const total = wealth("async")
      const { position } = yield* CommandBus.dispatch(Open, { id: "a", owner: "ann" }).pipe(
        Effect.provide(Aggregate.layer(AccountDecider)),
        Effect.provideContext(worker)
      )
      yield* Layer.build(Projector.layer([total], { lease: "10 minutes" })).pipe(Effect.provideContext(worker))
      const notifications = yield* Context.get(worker, PgClient.PgClient).listen(PgNotify.channelOf("evsrc"))
      // Without a question.
      yield* Context.get(worker, ProjectionStore.ProjectionStore).get(total, "ann").pipe(
        Effect.repeat({ until: Option.isSome, schedule: Schedule.spaced("50 millis") }),
        Effect.timeout("40 seconds")
      )
      for (const context of waiters) {
        yield* Effect.forkChild(
          Context.get(context, ProjectionStore.ProjectionStore)
            .awaitPosition(total, Position.make(position + 1n), "50 seconds")
        )
      }
      // What a process answers to a question is sent before its own next question.
      const questions = new Map<string, number>()
      const answers: Array<string> = []
      while (questions.size < 3 || Math.min(...questions.values()) < 2) {
        const { payload = "" } = yield* Effect.timeout(Queue.take(notifications), "40 seconds")
        const [kind, id = ""] = payload.split(" ")
        if (kind === "await") questions.set(id, (questions.get(id) ?? 0) + 1)
        else if (kind === "progress") answers.push(id)
      }
      assert.strictEqual(answers.length, 1)
      assert.isFalse(questions.has(answers[0]!))
    }), 60_000)

  it.live("fails when the log has lost the event that it waits for", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const stores = yield* process(url)
      const total = wealth("async")
      yield* Effect.gen(function*() {
        yield* Layer.build(Projector.layer([total], { lease: "10 minutes" }))
        const { position } = yield* CommandBus.dispatch(Open, { id: "a", owner: "ann" })
        const lost = LogPosition.make(position, "00000000-0000-4000-8000-000000000000")
        const error = yield* Effect.flip(
          Effect.provideService(
            ProjectionStore.get(total, "ann"),
            ProjectionStore.ReadAfter,
            { ...lost, timeout: Duration.seconds(20) }
          )
        )
        assert.strictEqual(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "LogDiverged")
        const far = yield* Effect.flip(
          Effect.provideService(
            ProjectionStore.get(total, "ann"),
            ProjectionStore.ReadAfter,
            { position: Position.make(position + 10n), timeout: Duration.millis(100) }
          )
        )
        assert.strictEqual(far._tag, "ProjectionBehind")
      }).pipe(Effect.provide(Aggregate.layer(AccountDecider)), Effect.provideContext(stores))
    }))
})
