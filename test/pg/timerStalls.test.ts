/** An instance whose stream another session has locked holds up no deadline of another instance. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { EventStore, ProcessManager } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const id = { id: Schema.String }
const Clock = Schema.TaggedUnion({ Wound: id })
const ticks = 20

/** A clock that has been wound ticks so often, each time by a deadline. */
const Clocks = ProcessManager.make("clocks", {
  inputs: Clock,
  correlate: { Wound: ({ id }) => ProcessManager.start(id) },
  state: Schema.Struct({ count: Schema.Int }),
  events: Schema.TaggedUnion({ Ticked: {} }),
  commands: [],
  deadlines: { Due: {} }
}).behaviour({
  initial: { count: 0 },
  evolve: { Ticked: ({ count }) => ({ count: count + 1 }) },
  react: {
    Wound: () => [ProcessManager.deadline("Due", {}, { after: "1 second" })],
    Due: ({ count }) => [
      { _tag: "Ticked" },
      count + 1 < ticks ? ProcessManager.deadline("Due", {}, { after: "10 millis" }) : ProcessManager.complete
    ]
  }
})

const wind = (id: string) => EventStore.append(Clock, `Clock-${id}`, [Clock.cases.Wound.make({ id })])

const untilStatus = (id: string, isExpected: (status: string | undefined) => boolean) =>
  ProcessManager.inspect(Clocks, id).pipe(
    Effect.repeat({
      until: (found) => isExpected(found._tag === "Some" ? found.value.instance.status : undefined),
      schedule: Schedule.spaced("50 millis")
    }),
    Effect.timeout("60 seconds")
  )

const layer = ProcessManager.layer([Clocks], { deadlineInterval: "200 millis" }).pipe(
  // The lock is held for longer than the test waits: a timer that waited for it would never go on.
  Layer.provideMerge(PgStores.layerWith({ lockTimeout: "5 minutes", statementTimeout: "6 minutes" })),
  Layer.provideMerge(layerPostgres()),
  Layer.merge(Reactivity.layer)
)

describe("a timer", () => {
  it.live("fires the deadlines of other instances while one instance is locked", () =>
    Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const other = yield* PgClient.makeClient(sql.config)
      yield* wind("locked")
      yield* untilStatus("locked", (status) => status === "running")
      const holder = yield* Effect.forkChild(other.withTransaction(Effect.andThen(
        other`select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext('clocks-locked'))`,
        Effect.never
      )))
      const waits = sql<{ readonly waits: boolean }>`
        select exists (select from pg_locks where locktype = 'advisory' and not granted) as waits`
      yield* Effect.repeat(waits, { until: ([row]) => row!.waits, schedule: Schedule.spaced("20 millis") })
      yield* wind("free")
      yield* untilStatus("free", (status) => status === "completed")
      assert.isTrue((yield* waits)[0]!.waits)
      yield* Fiber.interrupt(holder)
      yield* untilStatus("locked", (status) => status === "completed")
    }).pipe(Effect.scoped, Effect.timeout("3 minutes"), Effect.provide(layer)), 240_000)
})
