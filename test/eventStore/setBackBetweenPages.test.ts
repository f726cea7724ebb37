/** A log that is set back, and grows again, between two pages of a read that must be of one log. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Schema, Stream } from "effect"
import { Causation, EventStore, HashChain, Limits, LogTransfer } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import { layerPglite, layerPostgres } from "../support/Database.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

const two = <E, R>(storeIn: (schema: string) => Layer.Layer<EventStore.EventStore, E, R>) =>
  Effect.forEach(["before", "after"], (schema) =>
    Effect.map(
      Layer.build(Layer.fresh(storeIn(schema))),
      (built) => Context.get(built, EventStore.EventStore)
    ))
const twoOnSql = (client: ReturnType<typeof layerPglite>) =>
  Effect.flatMap(
    Layer.build(client),
    (database) => Effect.provideContext(two((schema) => PgEventStore.layerWith({ schema, notify: false })), database)
  )

const backEnds = {
  memory: two(() => EventStore.layerMemory),
  PGlite: twoOnSql(layerPglite()),
  PostgreSQL: twoOnSql(layerPostgres({ poolSize: 4 }))
}

/** A log of 4 events, which has others from the third on once its first page was read. */
const setBackOn = Effect.fnUntraced(function*(stores: (typeof backEnds)["PGlite"] | (typeof backEnds)["memory"]) {
  const [before, after] = yield* stores
  assert(before !== undefined && after !== undefined)
  const append = (store: typeof before, n: number) =>
    store.append(Tick, `s-${n}`, [{ _tag: "Ticked", n }], { metadata: { correlationId: "all" } })
  for (const n of [1, 2]) yield* append(before, n)
  const drivers = { before: before[internals].driver, after: after[internals].driver }
  const { events } = yield* drivers.before.readStored({ after: Position.start, limit: 10 })
  yield* drivers.after.restore({ after: Position.start, events })
  for (const n of [3, 4]) yield* append(before, n)
  for (const n of [13, 14, 15, 16]) yield* append(after, n)
  let current = drivers.before
  const thenSetBack = <A, E>(page: (driver: typeof current) => Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      const read = page(current)
      current = drivers.after
      return read
    })
  return yield* EventStore.make({
    ...drivers.before,
    head: Effect.suspend(() => current.head),
    last: Effect.suspend(() => current.last),
    event: (id) => Effect.suspend(() => current.event(id)),
    eventIds: (positions) => Effect.suspend(() => current.eventIds(positions)),
    closedStreams: (page) => Effect.suspend(() => current.closedStreams(page)),
    readStored: (page) => thenSetBack((driver) => driver.readStored(page)),
    readCorrelation: (page) => thenSetBack((driver) => driver.readCorrelation(page))
  })
}, Effect.orDie)

const reads = {
  "an export": Stream.runDrain(LogTransfer.export({ pageSize: 2 })),
  "a verification of the hash chain": HashChain.verify({ pageSize: 1 })
}

for (const [name, backEnd] of Object.entries(backEnds)) {
  describe(`a log on ${name} that is set back between two pages`, () => {
    const onLog = Effect.provideServiceEffect(EventStore.EventStore, setBackOn(backEnd))

    for (const [what, read] of Object.entries(reads)) {
      it.effect(`makes ${what} fail`, () =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(Effect.asVoid(onLog(read)))
          assert.strictEqual(error.reason._tag, "LogDiverged")
        }).pipe(Effect.scoped))
    }

    it.effect("gives a causation tree of the log to which it was set back", () =>
      Effect.gen(function*() {
        const tree = yield* onLog(Causation.of({ correlationId: "all" }))
        assert.deepStrictEqual(
          Option.getOrThrow(tree).roots.map((root) => root._tag === "Event" ? String(root.event.stream) : ""),
          ["s-1", "s-2", "s-13", "s-14", "s-15", "s-16"]
        )
      }).pipe(Effect.updateService(Limits, (limits) => ({ ...limits, pageSize: 3 })), Effect.scoped))
  })
}
