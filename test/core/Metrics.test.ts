import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric, Option, References, Result, Schedule, Schema, Tracer } from "effect"
import { Aggregate, Command, CommandBus, EventStore, Projection, ProjectionStore, Projector, Version } from "evsrc"

const Lamp = Schema.TaggedUnion({ Lit: { id: Schema.String }, Doused: { id: Schema.String } })
class Dark extends Schema.TaggedError<Dark>()("Dark", { id: Schema.String }) {}
const Light = Command.make("Light", { payload: { id: Schema.String } })
const Douse = Command.make("Douse", { payload: { id: Schema.String }, error: Dark })
const Decider = Aggregate.make("Lamp", {
  id: "id",
  state: Schema.Struct({ lit: Schema.Boolean }),
  events: Lamp,
  commands: [Light, Douse]
}).decider({
  initial: { lit: false },
  evolve: { Lit: () => ({ lit: true }), Doused: () => ({ lit: false }) },
  decide: {
    Light: (_, c) => [Lamp.cases.Lit.make(c), Lamp.cases.Lit.make(c)],
    Douse: (s, c) => s.lit ? [Lamp.cases.Doused.make(c)] : Result.fail(new Dark(c))
  }
})
const lamps = <L extends Projection.Lifecycle>(name: string, lifecycle: L, onFailure?: "park" | "stop") =>
  Projection.make(name, {
    events: Lamp,
    document: Schema.Struct({ lit: Schema.Boolean }),
    lifecycle,
    onFailure,
    key: (event) => event.id,
    evolve: {
      Lit: () => {
        if (onFailure !== undefined) throw new Error("poison")
        return { lit: true }
      },
      Doused: () => ({ lit: false })
    }
  })

const consumer = lamps("consumer", "async")
const stuck = lamps("stuck", "async", "stop")
const parking = lamps("parking", "async", "park")
const inline = lamps("inline", "inline")

const live = Layer.mergeAll(
  Aggregate.layer(Decider),
  Projector.layer([consumer, stuck, parking], { retryDelay: { first: "1 minute", max: "1 minute" } })
).pipe(
  Layer.provideMerge(Projector.layerInline([inline])),
  Layer.provide(EventStore.layerMemory),
  Layer.provideMerge(ProjectionStore.layerMemory)
)

/** Runs a program and answers its spans, the metrics of the registry it alone has, and what it logged. */
const observed = <E>(program: Effect.Effect<void, E, Layer.Success<typeof live>>) =>
  Effect.gen(function*() {
    const spans: Array<Tracer.NativeSpan> = []
    const logs: Array<string> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    const logger = Logger.layer([
      Logger.formatJson.pipe(Logger.map((line) => {
        logs.push(line)
      }))
    ])
    const metrics = yield* program.pipe(
      Effect.provide(live),
      Effect.andThen(Metric.snapshot),
      Effect.provide(logger),
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Effect.withTracer(tracer)
    )
    const valueOf = (id: string, projection?: string): unknown => {
      const found = metrics.find((m) =>
        m.id === id && (projection === undefined || m.attributes?.["consumer"] === projection)
      )
      const state = found?.state
      return state === undefined
        ? undefined
        : "count" in state
        ? state.count
        : "value" in state
        ? state.value
        : undefined
    }
    const seriesOf = (id: string) =>
      metrics.filter((metric) => metric.id === id).map(({ attributes, state }) => ({
        attributes,
        value: "count" in state ? state.count : undefined
      }))
    return { spans, logs, valueOf, seriesOf }
  })

const parentOf = (span: Tracer.NativeSpan): string | undefined => {
  const parent = Option.getOrUndefined(span.parent)
  return parent?._tag === "Span" ? parent.name : undefined
}

describe("telemetry", () => {
  it.live("spans link the caller, dispatch, append and both kinds of projection", () =>
    Effect.gen(function*() {
      const { spans } = yield* observed(Effect.gen(function*() {
        const receipt = yield* CommandBus.dispatch(Light, { id: "a" }).pipe(Effect.withSpan("request"))
        const store = yield* ProjectionStore.ProjectionStore
        yield* store.awaitPosition(consumer, receipt.position, "1 minute")
      }))
      const find = (name: string, from = spans) => from.find((span) => span.name === name)!
      const append = find("EventStore.append")
      assert.strictEqual(parentOf(find("CommandBus.dispatch Light")), "request")
      assert.strictEqual(parentOf(append), "CommandBus.dispatch Light")
      assert.strictEqual(parentOf(find("Projector.inline")), "EventStore.append")
      assert.strictEqual(append.attributes.get("evsrc.stream"), "Lamp-a")
      assert.strictEqual(append.attributes.get("evsrc.events"), 2)
      // The asynchronous projection goes on with the trace of the command.
      const step = spans.find(({ attributes, name }) =>
        name === "Consumer.step" && attributes.get("evsrc.consumer") === consumer.id
      )
      assert.strictEqual(step?.traceId, find("request").traceId)
      assert.deepStrictEqual(
        Option.map(step!.parent, ({ spanId }) => spanId),
        Option.some(find("CommandBus.dispatch Light").spanId)
      )
      assert.strictEqual(parentOf(find("Aggregate.load")), "CommandBus.dispatch Light")
    }))

  it.live("metrics count commands by their outcomes", () =>
    Effect.gen(function*() {
      const { seriesOf } = yield* observed(Effect.gen(function*() {
        yield* CommandBus.dispatch(Light, { id: "a" })
        yield* CommandBus.dispatch(Light, { id: "b" })
        yield* Effect.flip(CommandBus.dispatch(Douse, { id: "c" }))
        yield* Effect.flip(CommandBus.dispatchUnknown(Light, { id: 1 }))
        yield* Effect.flip(CommandBus.dispatch(Light, { id: "a" }, { expected: Version.make(7) }))
        yield* Effect.flip(CommandBus.dispatch(Light, { id: "x".repeat(1_000) }))
      }))
      assert.sameDeepMembers(
        seriesOf("evsrc_commands_total").map(({ attributes, value }) => [attributes, value]),
        [
          [{ command: "Light", outcome: "ok" }, 2],
          [{ command: "Douse", outcome: "rejected" }, 1],
          [{ command: "Light", outcome: "invalid" }, 1],
          [{ command: "Light", outcome: "conflict" }, 1],
          [{ command: "Light", outcome: "failed" }, 1]
        ]
      )
      assert.deepStrictEqual(
        seriesOf("evsrc_store_errors_total").map(({ attributes, value }) => [attributes, value]),
        [[{ reason: "InvalidRequest" }, 1]]
      )
      assert.sameDeepMembers(
        seriesOf("evsrc_command_duration_seconds").map(({ attributes, value }) => [attributes, value]),
        [[{ command: "Light" }, 5], [{ command: "Douse" }, 1]]
      )
      // The conflict is found before the append.
      assert.deepStrictEqual(seriesOf("evsrc_append_duration_seconds").map(({ value }) => value), [2])
    }))

  it.live("metrics count appends, events, conflicts, repeated commands and progress", () =>
    Effect.gen(function*() {
      const { logs, valueOf } = yield* observed(Effect.gen(function*() {
        yield* CommandBus.dispatch(Light, { id: "a" }, { commandId: "c" })
        yield* CommandBus.dispatch(Light, { id: "a" }, { commandId: "c" })
        const store = yield* EventStore.EventStore
        yield* Effect.flip(store.append(Lamp, "Lamp-a", [{ _tag: "Lit", id: "a" }], { expected: Version.make(1) }))
        const last = yield* CommandBus.dispatch(Douse, { id: "a" })
        yield* (yield* ProjectionStore.ProjectionStore).awaitPosition(consumer, last.position, "1 minute")
        yield* (yield* Projector.Projector).status.pipe(
          Effect.repeat({
            until: (all) =>
              all.some((s) => s.state === "stuck") && all.filter((s) => s.state === "live").length === 2
              && all.some((s) => s.parked === 1),
            schedule: Schedule.spaced("5 millis")
          }),
          Effect.timeout("1 minute")
        )
      }))
      assert.strictEqual(valueOf("evsrc_appends_total"), 2)
      assert.strictEqual(valueOf("evsrc_appended_events_total"), 3)
      assert.strictEqual(valueOf("evsrc_append_conflicts_total"), 1)
      assert.strictEqual(valueOf("evsrc_append_duplicates_total"), 1)
      assert.strictEqual(valueOf("evsrc_consumer_events_total", consumer.id), 3)
      assert.strictEqual(valueOf("evsrc_consumer_lag_positions", consumer.id), 0n)
      assert.strictEqual(valueOf("evsrc_consumer_lag_positions", stuck.id), 3n)
      assert.strictEqual(valueOf("evsrc_consumer_stuck", consumer.id), 0)
      assert.strictEqual(valueOf("evsrc_consumer_stuck", stuck.id), 1)
      assert.strictEqual(valueOf("evsrc_consumer_parked_keys", consumer.id), 0)
      assert.strictEqual(valueOf("evsrc_consumer_parked_keys", parking.id), 1)
      for (const [told, by] of [[" is stuck", stuck], [` has parked the document "a"`, parking]] as const) {
        const logged = logs.filter((line) => JSON.parse(line).message.includes(`${by.id}${told}`))
        assert.isAbove(logged.length, 0)
        assert.strictEqual(JSON.parse(logged[0]!).annotations.consumer, by.id)
      }
    }).pipe(Effect.provideService(References.MinimumLogLevel, "Warn")))
})
