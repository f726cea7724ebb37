/** Reads by query while appends are under way: what has a lower position may be seen later. */
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { EventQuery, EventStore, Position } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import { Limits } from "../../src/eventStore/Limits.ts"

const Counted = Schema.TaggedUnion({ Counted: { n: Schema.Int } })
const count = (n: number) => Counted.cases.Counted.make({ n })

/** A store of five events whose first `reads` reads miss the event at `hidden`; from there on nothing is final. */
const withHidden = Effect.fnUntraced(function*(hidden: bigint, reads: number) {
  const { driver } = (yield* EventStore.EventStore)[internals]
  let asked = 0
  const store = yield* EventStore.make({
    ...driver,
    readByQuery: (page) =>
      Effect.map(driver.readByQuery({ ...page, limit: page.limit + 1 }), ({ events, head, headEventId }) => {
        const hides = asked++ < reads
        const ids = new Map(events.map(({ id, position }) => [BigInt(position), id]))
        const found = events.filter(({ position }) => !hides || position !== hidden).slice(0, page.limit)
        const mark = hides ? Position.make(hidden - 1n) : head
        const last = found.length < page.limit ? Position.max(page.after, mark) : found.at(-1)!.position
        return {
          events: found,
          reached: LogPosition.make(last, ids.get(last)),
          head: mark,
          headEventId: hides ? ids.get(hidden - 1n) : headEventId
        }
      })
  })
  yield* store.append(Counted, "s", [1, 2, 3, 4, 5].map(count))
  return { asked: () => asked, store }
})

const inPagesOfTwo = Effect.updateService(Limits, (limits) => ({ ...limits, pageSize: 2 }))

it.effect("a read by query over several pages returns the events of one moment", () =>
  Effect.gen(function*() {
    for (const hidden of [1n, 2n, 3n, 4n]) {
      yield* Effect.gen(function*() {
        const { asked, store } = yield* withHidden(hidden, 1)
        const { condition, events } = yield* store.readByQuery(EventQuery.ofStoredTypes([{ types: ["Counted"] }]))
        // Event 3 is the first of the second page, which the first read does not reach.
        assert.deepStrictEqual(events.map(({ position }) => Number(position)), [1, 2, 3, 4, 5], `hidden: ${hidden}`)
        assert.isAtMost(asked(), 4)
        yield* store.appendIf(condition, Counted, "s", [count(6)])
      }).pipe(inPagesOfTwo, Effect.provide(EventStore.layerMemory), Effect.scoped)
    }
  }))

it.effect("a read by query ends while an append in flight keeps everything from being final", () =>
  Effect.gen(function*() {
    const { asked, store } = yield* withHidden(1n, 1_000)
    const { condition, events } = yield* store.readByQuery(EventQuery.ofStoredTypes([{ types: ["Counted"] }]))
    assert.deepStrictEqual(events.map(({ position }) => Number(position)), [2, 3, 4, 5])
    // Pages of 2, 4 and 8: the last holds all events behind the one in flight.
    assert.strictEqual(asked(), 3)
    const error = yield* Effect.flip(store.appendIf(condition, Counted, "s", [count(6)]))
    assert.strictEqual(error._tag, "AppendConditionFailed")
  }).pipe(inPagesOfTwo, Effect.provide(EventStore.layerMemory)))
