/** A log that is set back, and grows again, between two pages of a read that must be of one log. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { EventStore, HashChain, LogTransfer } from "evsrc"
import * as Position from "../../src/core/Position.ts"
import * as MemoryEventStore from "../../src/eventStore/memory/MemoryEventStore.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

/** A log of 4 events, which has others at the positions 3 to 6 once its first page was read. */
const setBack = Effect.orDie(Effect.gen(function*() {
  const [before, after] = [yield* MemoryEventStore.make(), yield* MemoryEventStore.make()]
  const append = (driver: typeof before, n: number) =>
    Effect.flatMap(EventStore.make(driver), (store) => store.append(Tick, `s-${n}`, [{ _tag: "Ticked", n }]))
  for (const n of [1, 2]) yield* append(before, n)
  const { events } = yield* before.readStored({ after: Position.start, limit: 10 })
  yield* after.restore({ after: Position.start, events })
  for (const n of [3, 4]) yield* append(before, n)
  for (const n of [13, 14, 15, 16]) yield* append(after, n)
  let current = before
  return yield* EventStore.make({
    ...before,
    head: Effect.suspend(() => current.head),
    last: Effect.suspend(() => current.last),
    eventIds: (positions) => Effect.suspend(() => current.eventIds(positions)),
    closedStreams: (page) => Effect.suspend(() => current.closedStreams(page)),
    readStored: (page) =>
      Effect.suspend(() => {
        const read = current.readStored(page)
        current = after
        return read
      })
  })
}))

const reads = {
  "an export": Stream.runDrain(LogTransfer.export({ pageSize: 2 })),
  "a verification of the hash chain": HashChain.verify({ pageSize: 1 })
}

describe("a log that is set back between two pages", () => {
  for (const [name, read] of Object.entries(reads)) {
    it.effect(`makes ${name} fail`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(
          Effect.asVoid(Effect.provideServiceEffect(read, EventStore.EventStore, setBack))
        )
        assert.strictEqual(error.reason._tag, "LogDiverged")
      }).pipe(Effect.scoped))
  }
})
