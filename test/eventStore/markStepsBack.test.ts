/** Reads in pages end neither early nor never when an append in flight moves the high-water mark back between two pages. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, type EventStoreError, HashChain, LogTransfer } from "evsrc"
import * as LogPosition from "../../src/core/LogPosition.ts"
import * as Position from "../../src/core/Position.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as MemoryEventStore from "../../src/eventStore/memory/MemoryEventStore.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

interface Mark {
  /** The position to which the high-water mark is moved back after the first page. */
  back: Position.Position | undefined
  /** Whether it goes up again once a reader waits. */
  isBrief: boolean
  pages: number
  /** Opens when a reader waits. */
  readonly waits?: Latch.Latch
}

/** A log of 10 events whose mark steps back. */
const storeWith = Effect.fnUntraced(function*(mark: Mark) {
  const driver = yield* MemoryEventStore.make({ hashChain: true })
  const clamp = (position: Position.Position) =>
    mark.back !== undefined && mark.pages > 1 && mark.back < position ? mark.back : position
  const head = Effect.map(driver.head, clamp)
  const store = yield* EventStore.make(
    {
      ...driver,
      head,
      readAll: (page) =>
        Effect.map(driver.readAll(page), (read) => {
          mark.pages++
          const head = clamp(read.head)
          const events = read.events.filter(({ position }) => position <= head)
          const reached = read.reached.position > head ? LogPosition.make(head, undefined) : read.reached
          return {
            ...read,
            events,
            head,
            reached: reached.position < page.after ? LogPosition.from(page.after) : reached
          }
        }),
      readStored: (page) =>
        Effect.map(driver.readStored(page), ({ events, head }) => {
          mark.pages++
          return { events: events.filter(({ position }) => position <= clamp(head)), head: clamp(head) }
        }),
      changed: (after) =>
        Effect.suspend(() => {
          mark.waits?.openUnsafe()
          if (!mark.isBrief) return Effect.andThen(Effect.sleep("1 second"), driver.changed(Position.make(0n)))
          mark.back = undefined
          return driver.changed(after)
        })
    } satisfies EventStoreDriver
  )
  for (let n = 1; n <= 10; n++) yield* store.append(Tick, `s-${n % 3}`, [{ _tag: "Ticked", n }])
  return store
})

const four = Position.make(4n)
const all = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
const readNumbers = (store: EventStore.EventStore["Service"]) =>
  Effect.map(Stream.runCollect(store.readAll(Tick, { pageSize: 3 })), (events) => events.map(({ event }) => event.n))
const verify = (store: EventStore.EventStore["Service"], against?: HashChain.Anchor) =>
  Effect.provideService(HashChain.verify({ pageSize: 3, against }), EventStore.EventStore, store)
const exported = (store: EventStore.EventStore["Service"]) =>
  Effect.provideService(Stream.mkString(LogTransfer.export({ pageSize: 3 })), EventStore.EventStore, store)
const reads = {
  readAll: readNumbers,
  "HashChain.verify": (store: EventStore.EventStore["Service"]) => verify(store),
  "LogTransfer.export": exported
}

describe("a high-water mark that steps back between two pages", () => {
  for (const back of [0n, 2n, 4n, 6n].map((back) => Position.make(back))) {
    it.effect(`to ${back}: the log is read to its end`, () =>
      Effect.gen(function*() {
        const store = yield* storeWith({ back, isBrief: true, pages: 0 })
        assert.deepStrictEqual(yield* readNumbers(store), all)
      }).pipe(Effect.scoped))

    it.effect(`to ${back}: the whole chain is verified, and its anchor accuses nobody`, () =>
      Effect.gen(function*() {
        const mark: Mark = { back, isBrief: true, pages: 0 }
        const store = yield* storeWith(mark)
        const { anchor, ...report } = yield* verify(store)
        assert.deepInclude(report, { isIntact: true, verified: 10 })
        assert.deepInclude(anchor, { events: 10, position: Position.make(10n) })
        // The mark is back at once when the next verification begins.
        Object.assign(mark, { back, pages: 2 })
        assert.deepStrictEqual((yield* verify(store, anchor)).faults, [])
      }).pipe(Effect.scoped))
  }

  for (const pages of [0, 2]) {
    it.effect(`${pages === 0 ? "after the header of an export" : "before an export"}: it has all events`, () =>
      Effect.gen(function*() {
        const text = yield* exported(yield* storeWith({ back: four, isBrief: true, pages }))
        assert.deepStrictEqual(yield* LogTransfer.verify(Stream.make(text)), { events: 10, archived: 0, head: 10n })
      }).pipe(Effect.scoped))
  }

  for (const [name, read] of Object.entries(reads)) {
    it.effect(`for long: ${name} fails after 30 seconds`, () =>
      Effect.gen(function*() {
        const waits = yield* Latch.make()
        const store = yield* storeWith({ back: four, isBrief: false, pages: 0, waits })
        const reading = yield* Effect.forkChild(
          Effect.flip(Effect.asVoid<unknown, EventStoreError, never>(read(store)))
        )
        yield* waits.await
        yield* TestClock.adjust("31 seconds")
        const { reason } = yield* Fiber.join(reading)
        assert.strictEqual(reason._tag, "StoreUnavailable")
        assert.include(
          reason.message,
          "must read the log up to position 10, and an append in flight has held the high-water mark at 4 for 30 s"
        )
      }).pipe(Effect.scoped))
  }
})
