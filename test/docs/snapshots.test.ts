/** Executes the code of docs/snapshots.md. */
import { assert, it } from "@effect/vitest"
import { Config, Effect, Schema } from "effect"
import { Aggregate, Command, CommandBus, EventStore, SnapshotPolicy } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import { layerConfiguration } from "../support/Configuration.ts"
import { layerPostgres } from "../support/Database.ts"

const Read = Command.make("Read", { payload: { meterId: Schema.String, units: Schema.Int } })

const Meter = Aggregate.make("Meter", {
  id: "meterId",
  state: Schema.Struct({ total: Schema.Int, readings: Schema.Int }),
  events: Schema.TaggedUnion({ Read: { meterId: Schema.String, units: Schema.Int } }),
  commands: [Read]
})

const MeterDecider = Meter.decider({
  snapshots: SnapshotPolicy.every(100),
  initial: { total: 0, readings: 0 },
  evolve: { Read: ({ readings, total }, { units }) => ({ total: total + units, readings: readings + 1 }) },
  decide: { Read: (_, read) => [{ _tag: "Read", ...read }] }
})

const read = (meterId: string, units: number) =>
  CommandBus.dispatch(Read, { meterId, units }).pipe(Effect.provide(Aggregate.layer(MeterDecider)))

const total = (meterId: string) => Effect.map(Aggregate.load(MeterDecider, meterId), ({ state }) => state.total)

const MeterDecider2 = Meter.decider({
  snapshots: SnapshotPolicy.every(100),
  evolveVersion: 2,
  initial: { total: 0, readings: 0 },
  evolve: {
    Read: ({ readings, total }, { units }) => ({ total: total + Math.max(0, units), readings: readings + 1 })
  },
  decide: { Read: (_, read) => [{ _tag: "Read", ...read }] }
})

const dropSnapshots = (meterId: string) => Aggregate.dropSnapshots(Meter, [meterId])

const Store = PgEventStore.layerConfig({ snapshotKeys: Config.all([Config.Redacted("SNAPSHOT_KEY")]) })

it.live("takes snapshots, ignores those of other code, and drops them", () =>
  Effect.gen(function*() {
    const { driver, snapshots } = (yield* EventStore.EventStore)[internals]
    for (let n = 1; n <= 120; n++) yield* read("a", n % 2 === 0 ? 3 : -1)
    yield* snapshots.settled
    assert.strictEqual(yield* total("a"), 120)
    const [snapshot] = yield* driver.snapshots.page(undefined, 10)
    assert.deepStrictEqual([snapshot?.version, snapshot?.state, snapshot?.signature?.length], [
      100,
      `{"total":100,"readings":100}`,
      46
    ])
    const { state } = yield* Aggregate.load(MeterDecider2, "a")
    assert.deepStrictEqual(state, { total: 180, readings: 120 })
    yield* snapshots.settled
    assert.strictEqual((yield* driver.snapshots.page(undefined, 10)).length, 2)
    assert.strictEqual(yield* dropSnapshots("a"), 2)
    assert.strictEqual(yield* total("a"), 120)
  }).pipe(
    Effect.provide(Store),
    Effect.provide(layerConfiguration({ SNAPSHOT_KEY: btoa("k".repeat(32)) })),
    Effect.provide(layerPostgres())
  ))
