/** What consumers log and trace while nothing happens, and in an outage, on a PostgreSQL server. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Layer, Logger, Redacted, References, Schedule, Schema, Tracer } from "effect"
import { EventBus, EventStore, Health, Projection, ProjectionStore, Projector, Subscription } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import * as Proxy from "../support/Proxy.ts"

const Tick = Schema.TaggedUnion({ Ticked: {} })

const ticks = Projection.make("ticks", {
  events: Tick,
  document: Schema.Int,
  partitions: 4,
  key: (_, { stream }) => stream,
  evolve: { Ticked: (n) => (n ?? 0) + 1 }
})
const inline = Projection.make("inline", {
  events: Tick,
  lifecycle: "inline",
  document: Schema.Int,
  key: (_, { stream }) => stream,
  evolve: { Ticked: (n) => (n ?? 0) + 1 }
})

interface Line {
  readonly level: string
  readonly text: string
}

/** A logger of the levels that a program shows by default, and a tracer, that keep what they receive. */
const observer = () => {
  const lines: Array<Line> = []
  const spans: Array<Tracer.NativeSpan> = []
  const logger = Logger.make(({ cause, logLevel, message }) => {
    lines.push({
      level: logLevel,
      text: [message, ...cause.reasons.length === 0 ? [] : [Cause.pretty(cause)]].flat().map(String).join("\n")
    })
  })
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { lines, spans, layer: Layer.merge(Logger.layer([logger]), Layer.succeed(Tracer.Tracer, tracer)) }
}

const pings = (handle: Effect.Effect<void>) =>
  Subscription.make("pings", { events: Tick, handle: { Ticked: () => handle } })

/** A program with one of everything that polls, with short intervals, whose database is behind a proxy. */
const program = (url: string, handle: Effect.Effect<void> = Effect.void) => {
  const options = { lease: "300 millis", retryDelay: { first: "10 millis", max: "20 millis" } } as const
  const timeouts = { statementTimeout: "2 seconds", connectionTimeout: "2 seconds" } as const
  const stores = Layer.mergeAll(
    PgEventStore.layerWith({ ...timeouts, pollInterval: "20 millis" }),
    PgProjectionStore.layerWith(timeouts)
  ).pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 })))
  const subscription = pings(handle)
  return Layer.mergeAll(
    Projector.layer([ticks], options),
    Subscription.layer([subscription], options),
    EventBus.layer(),
    Layer.effectDiscard(Health.watch([ticks, subscription], { interval: "50 millis" }))
  ).pipe(
    Layer.provideMerge(Projector.layerInline([inline], { repairInterval: "50 millis" })),
    Layer.provideMerge(stores)
  )
}

const until = <E, R>(isTrue: Effect.Effect<boolean, E, R>) =>
  isTrue.pipe(
    Effect.repeat({ until: (found) => found, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("1 minute")
  )

const statusOf = Effect.gen(function*() {
  const projector = yield* Projector.Projector
  const subscriptions = yield* Subscription.Subscriptions
  return [...(yield* projector.status), ...(yield* subscriptions.status)]
})
const areAll = (state: Projector.ConsumerStatus["state"]) =>
  until(Effect.map(statusOf, (all) => all.every((one) => one.state === state)))

const append = Effect.flatMap(EventStore.EventStore, (store) => store.append(Tick, "s", [{ _tag: "Ticked" }]))

describe("A program with consumers", () => {
  it.live("has no spans while it is idle, and those of the work when an event comes", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const { layer, spans } = observer()
      const handled = yield* Deferred.make<void>()
      const handle = Effect.asVoid(Deferred.succeed(handled, undefined)).pipe(Effect.withSpan("handler"))
      yield* Effect.gen(function*() {
        yield* areAll("live")
        const [heartbeat] = yield* statusOf
        spans.length = 0
        // Heartbeats come less often than any other poll.
        yield* until(Effect.map(statusOf, ([now]) => now!.heartbeat > heartbeat!.heartbeat + 1_000))
        assert.deepStrictEqual(spans.map(({ name }) => name), [])
        const { position } = yield* append
        yield* (yield* ProjectionStore.ProjectionStore).awaitPosition(ticks, position, "10 seconds")
        yield* Deferred.await(handled)
        const handler = spans.find(({ name }) => name === "handler")
        const span = spans.find(({ name, spanId }) =>
          name === "Consumer.handle" && handler?.parent._tag === "Some" && handler.parent.value.spanId === spanId
        )
        assert.strictEqual(span?.attributes.get("evsrc.consumer"), "subscription:pings@1")
      }).pipe(Effect.provide(Layer.provideMerge(program(url, handle), layer)))
    }).pipe(Effect.scoped))

  it.live("logs what runs, an outage once for each consumer, and its end once", () =>
    Effect.gen(function*() {
      const proxy = yield* Proxy.make((yield* freshDatabase).url)
      const { layer, lines } = observer()
      yield* Effect.gen(function*() {
        yield* areAll("live")
        assert.deepStrictEqual(lines.filter(({ level }) => level === "Info").map(({ text }) => text).toSorted(), [
          "Projector.layer runs ticks@1 (4 partitions)",
          "Subscription.layer runs subscription:pings@1"
        ])
        for (let outage = 0; outage < 2; outage++) {
          lines.length = 0
          yield* proxy.cut(true)
          yield* areAll("retrying")
          const [before] = yield* statusOf
          yield* until(Effect.map(statusOf, ([now]) => now!.heartbeat > before!.heartbeat + 1_500))
          const warnings = lines.filter(({ level }) => level === "Warn").map(({ text }) => text)
          for (const about of consumers) {
            assert.strictEqual(warnings.filter((text) => text.startsWith(about)).length, 1, warnings.join("\n"))
          }
          assert.isFalse(lines.some(({ text }) => text.includes("\n    at ")), "stack traces")
          yield* proxy.cut(false)
          const recovered = () => lines.filter(({ text }) => text.includes(" has recovered after "))
          yield* until(Effect.sync(() => recovered().length >= recoveries.length))
          yield* areAll("live")
          assert.deepStrictEqual(
            recovered().map(({ level, text }) => `${level}: ${text.slice(0, text.indexOf(" has recovered"))}`)
              .toSorted(),
            recoveries
          )
          assert.strictEqual(
            lines.filter(({ level }) => level === "Warn" || level === "Error").length,
            warnings.length,
            "lines of the recovery"
          )
        }
      }).pipe(Effect.provide(Layer.provideMerge(program(proxy.url), layer)))
    }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "Info")))
})

/** How the line of an outage begins, for everything that runs in the background. */
const consumers = [
  "ticks@1 is retrying: ",
  "subscription:pings@1 is retrying: ",
  "The event bus is waiting for the store: ",
  "The health of consumers could not be checked",
  "Inline projections could not be checked for gaps",
  "Cannot listen for events of other processes"
]

const recoveries = [
  "Info: Listening for events of other processes",
  "Info: The check of inline projections for gaps",
  "Info: The event bus",
  "Info: The health check",
  "Info: subscription:pings@1",
  "Info: ticks@1"
]
