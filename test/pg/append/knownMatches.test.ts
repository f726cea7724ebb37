/** Conditions of which many matches are known but are above a high-water mark that an append in flight holds. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { Event, EventQuery, EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { layerPostgres } from "../../support/Database.ts"

const Noted = Schema.TaggedUnion({ Noted: { n: Schema.Int, show: Schema.String } }).pipe(Event.tags({ show: "show" }))
const note = (n: number, show: string) => Noted.cases.Noted.make({ n, show })

/** So many that a check which compares each with all others takes longer than the `statementTimeout`, 40 seconds on an idle machine. */
const matches = 20_000
const page = 1_000

it.live(
  "a condition is checked in time although 20,000 known matches are above the mark",
  () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const { config } = yield* PgClient.PgClient
      const writer = yield* Effect.provide(PgClient.makeClient(config), Reactivity.layer)
      yield* writer`begin`
      yield* writer`select 1 from evsrc.append_one(true, 'held', null, null, gen_random_uuid(), 'Ticked', 1, '{}', '{}')`
      for (let first = 0; first < matches; first += page) {
        yield* store.append(Noted, `s${first}`, Array.from({ length: page }, (_, n) => note(n, "hamlet")))
      }
      let known = matches
      for (const item of [{ tags: ["show:hamlet"] }, { types: ["Noted"] }]) {
        const { condition, events } = yield* store.readByQuery(EventQuery.ofStoredTypes([item]))
        assert.deepStrictEqual([events.length, condition.seen.length], [known, known])
        yield* store.appendIf(condition, Noted, "on it", [note(1, "hamlet")])
        const error = yield* Effect.flip(store.appendIf(condition, Noted, "on it", [note(2, "hamlet")]))
        assert.strictEqual(error._tag, "AppendConditionFailed", error.message)
        known++
      }
      yield* writer`rollback`
    }).pipe(
      Effect.scoped,
      Effect.provide(PgEventStore.layerWith({ notify: false }).pipe(Layer.provideMerge(layerPostgres())))
    )
)
