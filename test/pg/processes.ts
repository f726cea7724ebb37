/**
 * The process managers of `processes.test.ts`. A job has steps, each of which is a command; a deadline sends the last one. Each step must happen once,
 * also when a process is killed between two steps.
 */
import { PgClient } from "@effect/sql-pg"
import { Clock, Effect, Layer, Redacted, Schema } from "effect"
import { Aggregate, Command, Event, ProcessManager } from "evsrc"
import { PgStores } from "evsrc/pg"

export const Job = Schema.TaggedUnion({ Ordered: { id: Schema.String, steps: Schema.Int } })

const step = { id: Schema.String, n: Schema.Int }
export const StepEvent = Schema.TaggedUnion({ Stepped: step })
const Step = Command.make("Step", { payload: step })

const Steps = Aggregate.make("Steps", { id: "id", state: Schema.Int, events: StepEvent, commands: [Step] }).decider({
  initial: 0,
  evolve: { Stepped: (count) => count + 1 },
  // It does not look at the number: a second dispatch under another id would be a second event.
  decide: { Step: (_, command) => [StepEvent.cases.Stepped.make(command)] }
})

export const steps = Aggregate.layer(Steps)

/** The first step follows the order, each other one the step before it, and the last one a deadline. */
export const Jobs = ProcessManager.make("jobs", {
  inputs: Event.merge(Job, StepEvent),
  correlate: {
    Ordered: ({ id }) => ProcessManager.start(id),
    Stepped: ({ id }) => ProcessManager.continue(id)
  },
  partitions: 4,
  state: Schema.Struct({ steps: Schema.Int }),
  events: Schema.TaggedUnion({ JobStarted: { steps: Schema.Int } }),
  commands: [Step],
  deadlines: { Last: { id: Schema.String, n: Schema.Int }, Expired: { id: Schema.String } }
}).behaviour({
  initial: { steps: 0 },
  evolve: { JobStarted: (_, { steps }) => ({ steps }) },
  react: {
    Ordered: (_, { id, steps }) => [
      { _tag: "JobStarted", steps },
      ProcessManager.deadline("Expired", { id }, { after: "365 days" }),
      ...(steps === 1
        ? [ProcessManager.deadline("Last", { id, n: 1 }, { after: "300 millis" })]
        : [ProcessManager.send(Step, { id, n: 1 })])
    ],
    Stepped: ({ steps }, { id, n }) =>
      n >= steps
        ? [ProcessManager.complete]
        : n === steps - 1
        ? [ProcessManager.deadline("Last", { id, n: n + 1 }, { after: "300 millis" })]
        : [ProcessManager.send(Step, { id, n: n + 1 })],
    Last: (_, payload) => [ProcessManager.send(Step, payload)],
    Expired: () => [ProcessManager.complete]
  }
})

export const stores = (url: string, maxConnections: number) =>
  PgStores.layer.pipe(
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections, connectTimeout: "20 seconds" }))
  )

/** Runs the process manager with connections of its own. */
export const worker = (url: string, maxConnections = 3) =>
  ProcessManager.layer([Jobs], {
    lease: "1 second",
    deadlineInterval: "500 millis",
    retryDelay: { first: "50 millis", max: "500 millis" }
  }).pipe(Layer.fresh, Layer.provide(steps), Layer.provide(Layer.fresh(stores(url, maxConnections))))

/** Returns a clock that differs from that of the machine by some milliseconds. */
export const shifted = (millis: number) =>
  Layer.effect(
    Clock.Clock,
    Effect.map(Clock.Clock, (clock): Clock.Clock => ({
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + millis,
      currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + millis),
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(millis) * 1_000_000n,
      currentTimeNanos: Effect.map(clock.currentTimeNanos, (now) => now + BigInt(millis) * 1_000_000n),
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: clock.monotonicTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }))
  )
