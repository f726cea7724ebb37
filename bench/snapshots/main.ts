/**
 * What it costs to load one long stream with and without a snapshot, and what taking snapshots costs the commands. Both kinds take turns, in
 * one process on one server; a load is that of a process that knows nothing.
 */
import { PgClient } from "@effect/sql-pg"
import { DateTime, Effect, Layer, Redacted, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as Fs from "node:fs"
import { join } from "node:path"
import { internals } from "../../src/core/internals.ts"
import { Aggregate, Command, CommandBus, EventStore, SnapshotPolicy } from "../../src/index.ts"
import { PgEventStore } from "../../src/pg/index.ts"
import * as PostgresServer from "../../test/support/PostgresServer.ts"

const whole = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] ?? otherwise)
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${name} must be a whole number from 1`)
  return value
}
const events = whole("BENCH_EVENTS", 100_000)
const tail = whole("BENCH_TAIL", 100)
const rounds = whole("BENCH_ROUNDS", 9)
const commands = whole("BENCH_COMMANDS", 1_000)

const id = Schema.String
const Moved = Schema.Struct({ at: Schema.DateTimeUtc, amount: Schema.Int, note: Schema.String })
const AccountEvent = Schema.TaggedUnion({ Moved: { id, ...Moved.fields } })
const Move = Command.make("Move", { payload: { id, ...Moved.fields } })
/** Its state is the balance and the last 20 movements: 2 kB of JSON. */
const account = (snapshots: SnapshotPolicy.Policy) =>
  Aggregate.make("Account", {
    id: "id",
    state: Schema.Struct({ balance: Schema.Int, last: Schema.Array(Moved) }),
    events: AccountEvent,
    commands: [Move]
  }).decider({
    initial: { balance: 0, last: [] },
    snapshots,
    evolve: {
      Moved: ({ balance, last }, { amount, at, note }) => ({
        balance: balance + amount,
        last: [...last.slice(-19), { at, amount, note }]
      })
    },
    decide: { Move: (_, moved) => [{ _tag: "Moved", ...moved }] }
  })

const movement = (n: number): typeof Moved.Type => ({
  at: DateTime.makeUnsafe(1_700_000_000_000 + n * 1_000),
  amount: n % 97 - 48,
  note: "To be left with the neighbours, should nobody be at home"
})
const batch = (stream: string, from: number, count: number) =>
  Array.from({ length: count }, (_, n) => AccountEvent.cases.Moved.make({ id: stream, ...movement(from + n) }))

const append = Effect.fnUntraced(function*(stream: string, count: number) {
  const store = yield* EventStore.EventStore
  for (let done = 0; done < count; done += 5_000) {
    yield* store.append(AccountEvent, `Account-${stream}`, batch(stream, done, Math.min(5_000, count - done)))
  }
})

/** Like another process on the same database. */
const fresh = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.gen(function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const store = yield* EventStore.make(driver)
    const answer = yield* Effect.provideService(self, EventStore.EventStore, store)
    yield* store[internals].snapshots.settled
    return answer
  }))

const millis = (since: number): number => Number((performance.now() - since).toPrecision(4))
const percentile = (all: ReadonlyArray<number>, p: number): number =>
  all.toSorted((a, b) => a - b)[Math.min(all.length - 1, Math.floor(all.length * p))]!

type Account = ReturnType<typeof account>

const loaded = Effect.fnUntraced(function*(decider: Account, stream: string) {
  const since = performance.now()
  const { state, version } = yield* fresh(Aggregate.load(decider, stream))
  return { took: millis(since), version, state }
})

const without = account(SnapshotPolicy.never)
/** As all others but that it takes none while it is measured. */
const withSnapshot = account(SnapshotPolicy.every(1_000_000_000))

const loads = Effect.gen(function*() {
  yield* append("long", events - tail)
  yield* fresh(Aggregate.load(account(SnapshotPolicy.every(1)), "long"))
  yield* append("long", tail)
  yield* append("tail", tail)
  const kinds = {
    "without a snapshot": () => loaded(without, "long"),
    "with a snapshot": () => loaded(withSnapshot, "long"),
    "a stream of the tail's length, without": () => loaded(without, "tail")
  }
  const times = new Map(Object.keys(kinds).map((name) => [name, new Array<number>()]))
  const states = new Set<string>()
  for (let round = 0; round <= rounds; round++) {
    for (const [name, load] of Object.entries(kinds)) {
      const { state, took, version } = yield* load()
      if (version === events) states.add(JSON.stringify(state))
      if (round > 0) times.get(name)!.push(took)
    }
  }
  if (states.size !== 1) throw new Error("The states with and without a snapshot differ")
  return times
})

const policies = {
  never: SnapshotPolicy.never,
  "every 100": SnapshotPolicy.every(100),
  "every 1": SnapshotPolicy.every(1)
}

/** Commands on an instance that is known, one after the other; each policy has an instance and a process of its own. */
const appends = Effect.gen(function*() {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const each = yield* Effect.forEach(
    Object.entries(policies),
    ([name, policy]) =>
      Effect.map(
        EventStore.make(driver),
        (store) => ({ name, store, decider: account(policy), times: new Array<number>() })
      )
  )
  for (let n = 0; n < commands; n++) {
    for (let turn = 0; turn < each.length; turn++) {
      const { decider, name, store, times } = each[(n + turn) % each.length]!
      const command = CommandBus.dispatch(Move, { id: `hot ${name}`, ...movement(n) }).pipe(
        Effect.provide(Aggregate.layer(decider)),
        Effect.provideService(EventStore.EventStore, store)
      )
      const since = performance.now()
      yield* command
      // The first ones warm up.
      if (n >= commands / 10) times.push(millis(since))
    }
  }
  return each
})

const began = performance.now()

const results = Effect.gen(function*() {
  const sql = yield* SqlClient
  const settings = yield* sql<{ readonly setting: string }>`
    select setting from pg_settings where name in ('fsync', 'synchronous_commit')`
  if (settings.some(({ setting }) => setting !== "on")) {
    throw new Error("A benchmark needs fsync and synchronous_commit")
  }
  const times = yield* loads
  return {
    events,
    tail,
    loads: Array.from(times, ([name, rounds]) => ({ name, median: percentile(rounds, 0.5), rounds })),
    commands: (yield* appends).map(({ name, times }) => ({
      name,
      p50: percentile(times, 0.5),
      p99: percentile(times, 0.99)
    }))
  }
})

const onServer = Layer.unwrap(
  Effect.map(
    PostgresServer.make(),
    ({ url }) =>
      PgEventStore.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })))
  )
)

const measured = await Effect.runPromise(Effect.scoped(results).pipe(Effect.provide(onServer)))
Fs.writeFileSync(join(import.meta.dirname, "../snapshots-results.json"), `${JSON.stringify(measured, undefined, 2)}\n`)
for (const { median, name } of measured.loads) {
  const ratio = measured.loads[0]!.median / median
  process.stdout.write(`load, ${name}: ${median.toFixed(1)} ms (${ratio.toFixed(1)} x)\n`)
}
for (const { name, p50, p99 } of measured.commands) {
  process.stdout.write(`command, ${name}: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms\n`)
}
process.stdout.write(`${Math.round(millis(began) / 1_000)} s; bench/snapshots-results.json is written\n`)
