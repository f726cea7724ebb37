import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { EventStore, Subscription } from "evsrc"
import * as PageReader from "../../src/consumer/page/PageReader.ts"
import { internals } from "../../src/core/internals.ts"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import type { EncodedEvent } from "../../src/event/RecordedEvent.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

/** A reader of a log of so many events, and the positions after which it has read. */
const readerOf = Effect.fnUntraced(function*(events: number, batchSize = 2, maxBatchSize = batchSize) {
  const store = yield* EventStore.EventStore
  yield* store.append(Tick, "s", Array.from({ length: events }, (_, n) => ({ _tag: "Ticked", n })))
  const { driver } = store[internals]
  const reads: Array<readonly [after: Position.Position, limit: number]> = []
  const reader = PageReader.make({
    driver: {
      ...driver,
      readAll: (request) => {
        reads.push([request.after, request.limit])
        return driver.readAll(request)
      }
    },
    filter: {},
    batchSize,
    maxBatchSize
  })
  return { reader, reads }
})

const positions = ({ events }: PageReader.Page) => events.map(({ position }) => Number(position))

describe("PageReader", () => {
  it.effect("reads the page after a full one in advance", () =>
    Effect.gen(function*() {
      const { reader, reads } = yield* readerOf(3)
      const first = yield* reader.read(LogPosition.make(Position.start, undefined))
      assert.deepStrictEqual([positions(first), first.isLast], [[1, 2], false])
      yield* Effect.yieldNow
      assert.deepStrictEqual(reads, [[Position.start, 2], [Position.make(2n), 2]])
      const second = yield* reader.read(LogPosition.make(Position.make(2n), undefined))
      assert.deepStrictEqual([positions(second), second.isLast], [[3], true])
      assert.strictEqual(reads.length, 2)
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("reads again where the caller is after a discard", () =>
    Effect.gen(function*() {
      const { reader } = yield* readerOf(4)
      yield* reader.read(LogPosition.make(Position.start, undefined))
      yield* reader.discard
      assert.deepStrictEqual(positions(yield* reader.read(LogPosition.make(Position.make(1n), undefined))), [2, 3])
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("returns to the first size after a page that was not full", () =>
    Effect.gen(function*() {
      const { reader, reads } = yield* readerOf(4, 2, 8)
      yield* reader.read(LogPosition.make(Position.start, undefined))
      yield* reader.read(LogPosition.make(Position.make(2n), undefined))
      yield* reader.read(LogPosition.make(Position.make(4n), undefined))
      assert.deepStrictEqual(reads.map(([, limit]) => limit), [2, 4, 2])
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("reads again when another unknown type is there instead of one that is gone", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const Ring = Schema.TaggedUnion({ Rang: {} })
      yield* store.append(Tick, "s-1", [{ _tag: "Ticked", n: 1 }])
      yield* store.append(Ring, "s-1", [{ _tag: "Rang" }])
      const { driver } = store[internals]
      let gone = "Fell"
      const reader = PageReader.make({
        driver: {
          ...driver,
          eventTypes: Effect.map(driver.eventTypes, (counted) => ({
            ...counted,
            types: counted.types.map((one) => one.type === "Rang" && gone !== "" ? { ...one, type: gone } : one)
          }))
        },
        filter: { types: ["Ticked"] },
        batchSize: 10,
        maxBatchSize: 10,
        stopsAtUnknown: Subscription.make("ticks", {
          events: Tick,
          unknownTypes: "stop",
          handle: () => Effect.void
        })
      })
      const start = LogPosition.make(Position.start, undefined)
      assert.deepStrictEqual(positions(yield* reader.read(start)), [1])
      gone = ""
      assert.deepStrictEqual(positions(yield* reader.read(start)), [1, 2])
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("the size of the next page", () => {
  const events = (count: number, characters: number) => {
    // Only the payload is looked at.
    const event: Pick<EncodedEvent, "data"> = { data: "x".repeat(characters - 2) }
    return Array.from({ length: count }, () => event as EncodedEvent)
  }

  it("doubles up to the maximum", () => {
    assert.strictEqual(PageReader.nextLimit(events(10, 100), 10, 1_000), 20)
    assert.strictEqual(PageReader.nextLimit(events(800, 100), 10, 1_000), 1_000)
  })

  it("stays the same where it must not grow", () => {
    assert.strictEqual(PageReader.nextLimit(events(10, 100), 10, 10), 10)
  })

  it("keeps a page of large events below 4 MB, but never below the first size", () => {
    assert.strictEqual(PageReader.nextLimit(events(100, 2 ** 17), 10, 1_000), 32)
    assert.strictEqual(PageReader.nextLimit(events(100, 2 ** 20), 10, 1_000), 10)
  })
})
