import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Event, EventStore } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as PastTags from "../../src/eventStore/PastTags.ts"

const mail = { user: Schema.String, email: Schema.String }
const Mixed = Schema.TaggedUnion({ MailTaken: mail }).pipe(Event.tags({ email: "email" }))
const Lower = Schema.TaggedUnion({ MailTaken: mail }).pipe(
  Event.tags({ email: "email" }),
  Event.upcasters({
    MailTaken: Event.from(mail).toCurrent((v1) => ({ ...v1, email: v1.email.toLowerCase() }))
  })
)

/** Returns the driver of a new log with an event for each address. */
const logOf = (emails: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    for (const email of emails) {
      yield* store.append(Mixed, `Mail-${email}`, [{ _tag: "MailTaken", user: "1", email }])
    }
    return store[internals].driver
  }).pipe(Effect.provide(Layer.fresh(EventStore.layerMemory)))

describe("the tags of past events", () => {
  it.effect("are compared again after the log was set back, also if it is longer by now", () =>
    Effect.gen(function*() {
      const before = yield* logOf(["a", "b", "c"])
      const after = yield* logOf(["a", "Ann", "c", "d"])
      let current = before
      const driver: EventStoreDriver = {
        ...before,
        eventIds: (positions) => Effect.suspend(() => current.eventIds(positions)),
        readAll: (page) => Effect.suspend(() => current.readAll(page))
      }
      const differences = Effect.gen(function*() {
        const found = yield* PastTags.compare(driver, Lower, yield* current.eventTypes)
        return found.map(({ events, tag }) => ({ events, tag }))
      })
      assert.deepStrictEqual(yield* differences, [])
      current = after
      assert.deepStrictEqual(yield* differences, [{ events: 1, tag: "email" }])
    }))
})
