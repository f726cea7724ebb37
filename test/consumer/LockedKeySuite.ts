/** A handler whose wait for a lock times out: a lock of rows parks its key, and one that may concern all keys parks nothing. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { LockTimeoutError, SqlError } from "effect/sql/SqlError"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { AccountDecider, Open, type Stores } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"

const Sent = Schema.TaggedUnion({ Sent: { n: Schema.Int } })

const options = { retryDelay: { first: "20 millis", max: "50 millis" } } as const

const message = "canceling statement due to lock timeout"

/** The error of PostgreSQL, with or without the context that it gives for rows. */
const lockTimeout = (where: string | undefined) =>
  new SqlError({
    reason: new LockTimeoutError({ message, cause: { code: "55P03", message, where }, operation: "query" })
  })

interface Made {
  readonly consumer: Parameters<typeof Parking.list>[0]
  readonly layer: Layer.Layer<never, EventStoreError, EventStore.EventStore | ProjectionStore.ProjectionStore>
}

const subscriptionOf = (concurrency: number): Make => (name, prefix, handle) => {
  const consumer = Subscription.make(name, {
    events: Sent,
    where: { streamPrefix: prefix },
    retry: Schedule.recurs(1),
    concurrency,
    handle: { Sent: (_, { stream }) => handle(stream.slice(prefix.length)) }
  })
  return {
    consumer,
    layer: Layer.effectDiscard(Layer.build(attentive(Subscription.layer([consumer], options), consumer)))
  }
}

type Make = (name: string, prefix: string, handle: (stream: string) => Effect.Effect<void, SqlError>) => Made

const ofRow = "while updating tuple (0,1) in relation \"mine\""

/** A lock that all events need, for how many attempts, and the context that the server gives. */
const locksOfAll = {
  "that may be of a table": { count: 6, where: undefined },
  // The last attempt at one key fails, and then the other key succeeds.
  "of a row that all keys need": { count: 11, where: ofRow }
}

const kinds: Readonly<Record<string, Make>> = {
  "Projection.handler": (name, prefix, handle) => {
    const consumer = Projection.handler(name, {
      events: Sent,
      where: { streamPrefix: prefix },
      retry: Schedule.recurs(1),
      handle: { Sent: (_, { stream }) => handle(stream.slice(prefix.length)) }
    })
    return {
      consumer,
      layer: Layer.effectDiscard(Layer.build(attentive(Projector.layer([consumer], options), consumer)))
    }
  },
  "Subscription": subscriptionOf(1),
  "Subscription with concurrency": subscriptionOf(4)
}

const locks: ReadonlyArray<Case<Stores>> = Object.entries(kinds).flatMap(([kind, make]) => [
  test(`a lock of rows parks the key that needs it, and the others go on (${kind})`, function*() {
    const [name, prefix] = [unique("rows"), unique("row")]
    const handled: Array<string> = []
    let isLocked = true
    const { consumer, layer } = make(name, prefix, (stream) =>
      Effect.suspend(() => {
        if (isLocked && stream === "a") {
          return Effect.fail(lockTimeout(ofRow))
        }
        handled.push(stream)
        return Effect.void
      }))
    const { append } = yield* EventStore.EventStore
    for (const stream of ["a", "b", "a"]) yield* append(Sent, `${prefix}${stream}`, [{ _tag: "Sent", n: 1 }])
    yield* Layer.build(layer)
    const [one] = yield* Effect.repeat(Effect.map(Parking.list(consumer), ({ items }) => items), {
      until: (items) => items.length > 0,
      schedule: Schedule.spaced("20 millis")
    }).pipe(Effect.timeout("1 minute"))
    equal([one?.stream, one?.attempts], [`${prefix}a`, 3], "the parked key")
    includes(
      one?.error ?? "",
      `waited too long for a lock: ${message} while updating tuple (0,1) in relation "mine"`,
      "its error"
    )
    isLocked = false
    yield* Parking.retry(consumer, `${prefix}a`)
    equal(new Set(handled.slice(0, -2)), new Set(["b"]), "before the retry")
    equal(handled.slice(-2), ["a", "a"], "the events of the key")
  }),

  ...Object.entries(locksOfAll).map(([what, { count, where }]) =>
    test(`a lock ${what} parks nothing (${kind})`, function*() {
      const [name, prefix] = [unique("rows"), unique("row")]
      const handled: Array<string> = []
      let failures = 0
      const { consumer, layer } = make(name, prefix, (stream) =>
        Effect.suspend(() => {
          if (failures < count) {
            failures++
            return Effect.fail(lockTimeout(where))
          }
          handled.push(stream)
          return Effect.void
        }))
      const { append } = yield* EventStore.EventStore
      yield* append(Sent, `${prefix}a`, [{ _tag: "Sent", n: 1 }])
      const { position } = yield* append(Sent, `${prefix}b`, [{ _tag: "Sent", n: 1 }])
      yield* Layer.build(layer)
      yield* Effect.repeat(Effect.sync(() => handled.length), {
        until: (count) => count >= 2,
        schedule: Schedule.spaced("20 millis")
      }).pipe(Effect.timeout("1 minute"))
      yield* ProjectionStore.awaitPosition({ id: consumer.id, lifecycle: "async" }, position, "20 seconds")
      equal(handled.slice(-2).toSorted(), ["a", "b"], "the handled events")
      // The transaction of a projection is rolled back for the key that waits.
      if (kind === "Subscription") equal(handled.length, 2, "the number of handled events")
      equal((yield* Parking.list(consumer)).items, [], "the parked keys")
    })
  )
])

const busyInstances: ReadonlyArray<Case<Stores>> = [
  test("a handler that sends a command to a busy instance parks its key, and the others go on", function*() {
    const [name, prefix] = [unique("sends"), unique("send")]
    const opened: Array<string> = []
    const gate = yield* Deferred.make<void>()
    const { driver } = (yield* EventStore.EventStore)[internals]
    const busy = `${prefix}busy`
    const slow = yield* EventStore.make({
      ...driver,
      append: (request) =>
        request.stream === `Account-${busy}`
          ? Effect.andThen(Deferred.await(gate), driver.append(request))
          : driver.append(request)
    })
    const handlers = yield* Layer.build(
      Aggregate.layer(AccountDecider, { maxWaiting: 1 }).pipe(Layer.provide(Layer.succeed(EventStore.EventStore, slow)))
    )
    const open = (id: string) => Effect.provide(CommandBus.dispatch(Open, { id, owner: "ann" }), handlers)
    const subscription = Subscription.make(name, {
      events: Sent,
      where: { streamPrefix: prefix },
      retry: Schedule.recurs(1),
      handle: {
        Sent: (_, { stream }) =>
          open(stream).pipe(
            Effect.catch((error) => error instanceof EventStoreError ? Effect.fail(error) : Effect.die(error)),
            Effect.andThen(Effect.sync(() => opened.push(stream)))
          )
      }
    })
    yield* Effect.forkScoped(open(busy), { startImmediately: true })
    const { append } = yield* EventStore.EventStore
    for (const id of ["busy", "a", "b"]) yield* append(Sent, `${prefix}${id}`, [{ _tag: "Sent", n: 1 }])
    yield* Layer.build(Subscription.layer([subscription], options))
    const [one] = yield* Effect.repeat(Effect.map(Parking.list(subscription), ({ items }) => items), {
      until: (items) => items.length > 0,
      schedule: Schedule.spaced("20 millis")
    }).pipe(Effect.timeout("1 minute"))
    equal([one?.stream, opened], [busy, [`${prefix}a`, `${prefix}b`]], "the parked key, and the others")
    includes(one?.error ?? "", `1 commands on "Account-${busy}" wait`, "its error")
    yield* Deferred.succeed(gate, undefined)
  })
]

/**
 * The cases.
 *
 * @since 0.1.0
 * @category suites
 */
export const lockedKeys: ReadonlyArray<Case<Stores>> = [...locks, ...busyInstances]
