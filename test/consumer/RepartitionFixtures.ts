/**
 * A subscription and a projection that show which events were handled, and in which order, for the suites of partitions.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { equal, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import { partitionOf } from "../../src/core/partitionHash.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { upTo } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"

export const Sent = Schema.TaggedUnion({ Sent: { n: Schema.Int } })

const timing = {
  stopTimeout: 0,
  batchSize: 3,
  retryDelay: { first: "20 millis", max: "50 millis" }
} as const

export type Mails = ReturnType<typeof fixture>

/** Mails of streams that no other case uses. The handler of a blocked stream waits; that of a failing event dies. */
export const fixture = () => {
  const name = unique("mails").replaceAll("-", "")
  const handled: Array<string> = []
  const blocked = new Set<string>()
  const failing = new Set<string>()
  const appended = new Map<string, number>()
  const handle = (stream: string, version: number) =>
    Effect.gen(function*() {
      while (blocked.has(stream)) yield* Effect.sleep("5 millis")
      if (failing.has(`${stream}/${version}`)) return yield* Effect.die(new Error(`${stream}/${version} fails`))
      handled.push(`${stream}/${version}`)
    })
  const common = {
    events: Sent,
    where: { streamPrefix: `${name}-` },
    retry: Schedule.recurs(0),
    handle: {
      Sent: (_: unknown, { stream, version }: { readonly stream: string; readonly version: number }) =>
        handle(stream, version)
    }
  }
  const subscription = (
    partitions: number,
    options: { readonly version?: number; readonly from?: Subscription.From } = {}
  ) => Subscription.make(name, { ...common, partitions, ...options })
  const projection = (partitions: number) => Projection.handler(name, { ...common, partitions })
  /** Returns streams of partitions: `[[2, 0], [4, 1]]` for partition 0 of 2, and 1 of 4. */
  const streamIn = (...places: ReadonlyArray<readonly [partitions: number, partition: number]>): string => {
    for (let n = 1;; n++) {
      const stream = `${name}-${n}`
      if (!appended.has(stream) && places.every(([of, partition]) => partitionOf(stream, of) === partition)) {
        appended.set(stream, 0)
        return stream
      }
    }
  }
  const append = (...streams: ReadonlyArray<string>) =>
    Effect.forEach(streams, (stream) => {
      const n = (appended.get(stream) ?? 0) + 1
      appended.set(stream, n)
      return Effect.map(EventStore.append(Sent, stream, [Sent.cases.Sent.make({ n })]), ({ position }) => position)
    })
  const until = (isTrue: () => boolean) =>
    Effect.sync(isTrue).pipe(
      Effect.repeat({ until: (is) => is, schedule: Schedule.spaced("5 millis") }),
      Effect.timeoutOrElse({
        duration: "1 minute",
        orElse: () => Effect.die(new Error(`timed out; handled ${handled.join(" ")}`))
      })
    )
  const versionsOf = (stream: string) =>
    handled.flatMap((one) => one.startsWith(`${stream}/`) ? [Number(one.slice(stream.length + 1))] : [])
  /** Waits until all events are handled, but those of some streams. */
  const untilHandled = (...without: ReadonlyArray<string>) =>
    until(() =>
      Array.from(appended).every(([stream, count]) => without.includes(stream) || versionsOf(stream).length >= count)
    )
  /** Every event was handled once, and those of a stream in order. */
  const assertOnce = () => {
    for (const [stream, count] of appended) equal(versionsOf(stream), upTo(count), `the versions of ${stream}`)
  }
  return {
    name,
    handled,
    blocked,
    failing,
    subscription,
    projection,
    streamIn,
    append,
    until,
    untilHandled,
    versionsOf,
    assertOnce
  }
}

export type Mail = ReturnType<Mails["subscription"]>

/** Starts a program with a subscription. It ends with the scope. */
export const start = (subscription: Mail) =>
  Effect.asVoid(Layer.build(Layer.fresh(attentive(Subscription.layer([subscription], timing), subscription))))

export const startProjection = (projection: ReturnType<Mails["projection"]>) =>
  Effect.asVoid(Layer.build(Layer.fresh(attentive(Projector.layer([projection], timing), projection))))

/** Starts a program in a scope of its own, and returns the effect that ends it. */
export const startIn = Effect.fnUntraced(function*<E, R>(program: Effect.Effect<void, E, R>) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* Scope.provide(program, scope)
  return { end: Scope.close(scope, Exit.void) }
})

/** Returns the number of partitions that a consumer works with. */
export const partitionsOf = (consumer: { readonly id: string }) =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const progress = yield* driver.progress(yield* driver.activeGeneration(consumer.id))
    for (const { partitions } of progress) equal(partitions, progress.length, "the number of partitions in each")
    return progress.length
  })

export const untilPartitions = (consumer: { readonly id: string }, partitions: number) =>
  partitionsOf(consumer).pipe(
    Effect.repeat({ until: (found) => found === partitions, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("1 minute")
  )

export const assertAudit = (consumer: Parameters<typeof DeliveryAudit.run>[0]) =>
  Effect.map(
    DeliveryAudit.run(consumer),
    ({ first, status }) => equal([status, first], ["complete", undefined], "the audit")
  )
