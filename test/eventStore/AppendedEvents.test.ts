import { assert, it } from "@effect/vitest"
import { DateTime } from "effect"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import type { NewEvent } from "../../src/event/RecordedEvent.ts"
import * as AppendedEvents from "../../src/eventStore/AppendedEvents.ts"

it("the buffer of appended events keeps no plaintext of personal data", () => {
  const appended = AppendedEvents.make()
  // Without a reader it keeps nothing.
  appended.after(Position.start, 1)
  let isRecorded = false
  const event: NewEvent = {
    id: "6f1c1b86-4f0c-4b43-8a6f-0f4b0f6f7f01",
    type: "Named",
    schemaVersion: 1,
    data: `{"name":{"~encrypted":"…"}}`,
    metadata: "{}",
    tags: [],
    get decrypted() {
      assert.isFalse(isRecorded, "the plaintext is read after the append was recorded")
      return `{"name":"Ann"}`
    }
  }
  appended.record({ stream: StreamId.make("Person-1"), expected: "any", events: [event] }, () => ({
    _tag: "Appended",
    version: Version.make(1),
    positions: [Position.make(1n)],
    recordedAt: DateTime.makeUnsafe(0)
  }))
  isRecorded = true
  const [found] = appended.after(Position.start, 1)
  assert.strictEqual(found?.type, "Named")
  assert.notProperty(found, "decrypted")
})
