/** The health of a process manager whose instances cannot be read ends in time, and names the session that is the cause. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { EventStore, ProcessManager } from "evsrc"
import { PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

const id = { id: Schema.String }
const Clock = Schema.TaggedUnion({ Wound: id })

const Clocks = ProcessManager.make("clocks", {
  inputs: Clock,
  correlate: { Wound: ({ id }) => ProcessManager.start(id) },
  state: Schema.Struct({}),
  events: Schema.TaggedUnion({ Ticked: {} }),
  commands: [],
  deadlines: { Due: {} }
}).behaviour({
  initial: {},
  evolve: { Ticked: (state) => state },
  react: {
    Wound: () => [ProcessManager.deadline("Due", {}, { after: "1 hour" })],
    Due: () => [ProcessManager.complete]
  }
})

const layer = ProcessManager.layer([Clocks]).pipe(
  // A check that waited for the statement would not end while the test waits.
  Layer.provideMerge(PgStores.layerWith({ lockTimeout: "5 minutes", statementTimeout: "6 minutes" })),
  Layer.provideMerge(layerPostgres()),
  Layer.merge(Reactivity.layer)
)

const untilGreen = ProcessManager.health(Clocks).pipe(
  Effect.repeat({ until: ({ status }) => status === "green", schedule: Schedule.spaced("50 millis") }),
  Effect.timeout("60 seconds")
)

describe("the health of a process manager", () => {
  it.live(
    "ends in time while a session has locked its instances, and names the session",
    () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const other = yield* PgClient.makeClient({ ...sql.config, applicationName: "culprit" })
        yield* EventStore.append(Clock, "Clock-a", [Clock.cases.Wound.make({ id: "a" })])
        yield* untilGreen
        yield* other`begin`
        yield* other`lock table evsrc.documents in access exclusive mode`
        const error = yield* ProcessManager.health(Clocks, { timeout: "3 seconds" }).pipe(
          Effect.flip,
          Effect.timeout("60 seconds")
        )
        assert.match(
          error.message,
          /^The health check has not ended within 3s \(timeout\): it could not read the deadlines and instances of the process manager "clocks"; the session \d+ \(role "[^"]+", application "culprit", idle in transaction\) holds the table documents/
        )
        yield* other`rollback`
        yield* untilGreen
      }).pipe(Effect.scoped, Effect.timeout("3 minutes"), Effect.provide(layer)),
    240_000
  )
})
