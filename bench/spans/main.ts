/**
 * What the spans of a command cost a program without a tracer: the processor time of a command with them, and with tracing disabled, in turns.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schema } from "effect"
import { Aggregate, Command, CommandBus, EventStore } from "../../src/index.ts"
import { PgStores } from "../../src/pg/index.ts"
import * as PostgresServer from "../../test/support/PostgresServer.ts"

const whole = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] ?? otherwise)
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} must be a whole number from 1`)
  return value
}
const rounds = whole("BENCH_ROUNDS", 61)
const callers = 8

const Tick = Schema.TaggedUnion({ Ticked: { id: Schema.String, n: Schema.Int } })
const Count = Command.make("Count", { payload: { id: Schema.String, n: Schema.Int } })
const Counter = Aggregate.make("Counter", {
  id: "id",
  state: Schema.Struct({ n: Schema.Int }),
  events: Tick,
  commands: [Count]
}).decider({
  initial: { n: 0 },
  evolve: { Ticked: (_, { n }) => ({ n }) },
  decide: { Count: (_, c) => [Tick.cases.Ticked.make(c)] }
})

/** Returns the microseconds of this process for a command, when each caller sends so many to its own instance. */
const microsOf = (commands: number) =>
  Effect.gen(function*() {
    const before = process.cpuUsage()
    yield* Effect.forEach(
      Array.from({ length: callers }, (_, caller) => `c${caller}`),
      (id) =>
        Effect.forEach(Array.from({ length: commands }, (_, n) => n), (n) => CommandBus.dispatch(Count, { id, n })),
      { concurrency: callers, discard: true }
    )
    const { system, user } = process.cpuUsage(before)
    return (system + user) / (callers * commands)
  })

const medianOf = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN

const measure = Effect.fnUntraced(function*(store: string, commands: number) {
  const withSpans: Array<number> = []
  const without: Array<number> = []
  const kinds = [
    { micros: withSpans, run: microsOf(commands) },
    { micros: without, run: Effect.withTracerEnabled(microsOf(commands), false) }
  ]
  for (let round = -3; round < rounds; round++) {
    for (const { micros, run } of round % 2 === 0 ? kinds : kinds.toReversed()) {
      const value = yield* run
      if (round >= 0) micros.push(value)
    }
  }
  // Both of a round run one after the other, on a machine with the same other load.
  const differences = withSpans.map((micros, round) => micros - without[round]!)
  console.log(
    `${store}: ${medianOf(withSpans).toFixed(1)} µs of processor time for a command with spans, ${
      medianOf(without).toFixed(1)
    } µs with tracing disabled; median of the differences ${medianOf(differences).toFixed(1)} µs`
  )
})

const inMemory = measure("memory", 200).pipe(
  Effect.provide(Aggregate.layer(Counter)),
  Effect.provide(EventStore.layerMemory)
)

const onPostgres = Effect.gen(function*() {
  const { url } = yield* PostgresServer.make()
  yield* measure("PostgreSQL", 60).pipe(
    Effect.provide(Aggregate.layer(Counter)),
    Effect.provide(PgStores.layer.pipe(Layer.provide(PgClient.layer({ url: Redacted.make(url) }))))
  )
})

await Effect.runPromise(Effect.scoped(Effect.andThen(inMemory, onPostgres)))
