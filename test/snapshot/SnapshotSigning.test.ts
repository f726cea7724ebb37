import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Redacted } from "effect"
import { SnapshotSigning } from "evsrc"
import { createHmac } from "node:crypto"
import * as MemorySnapshotDriver from "../../src/snapshot/MemorySnapshotDriver.ts"
import { fakeSnapshot } from "./SnapshotFixtures.ts"

const key = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA=="

describe("snapshot keys", () => {
  it.effect("sign by HMAC-SHA-256 everything that a load relies on", () =>
    Effect.gen(function*() {
      const driver = MemorySnapshotDriver.make()
      const signed = yield* SnapshotSigning.withKeys(driver, [Redacted.make(`${key}\n`)])
      const snapshot = fakeSnapshot("Tally-ü", "f", 7, { eventId: "ABCDEF00-0000-4000-8000-000000000000" })
      yield* signed.write(snapshot)
      const written = Option.getOrThrow(yield* driver.read(snapshot))
      const text = JSON.stringify([
        "evsrc snapshot",
        "1.",
        "Tally-ü",
        "f",
        7,
        "7",
        "abcdef00-0000-4000-8000-000000000000",
        `{"sum":666}`
      ])
      const expected = createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64")
      assert.strictEqual(written.signature, `1.${expected}`)
      assert.isTrue(yield* signed.isAuthentic!(written))
      const changes = { stream: "Tally-u", fingerprint: "g", version: 8, position: 8n, eventId: "x", state: "{}" }
      for (const [field, value] of Object.entries(changes)) {
        const changed = Object.assign({}, written, { [field]: value })
        assert.isFalse(yield* signed.isAuthentic!(changed), field)
      }
    }))

  it.effect("that are missing, short or not Base64 are misconfigured, and stay out of the message", () =>
    Effect.gen(function*() {
      const driver = MemorySnapshotDriver.make()
      assert.strictEqual(yield* SnapshotSigning.withKeys(driver, undefined), driver)
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, string]> = [
        [[], "The option `snapshotKeys` has no key; give it at least one, or leave it out to use unsigned snapshots"],
        [
          [key, "c2hvcnQ="],
          "Key 2 of the option `snapshotKeys` has 5 bytes; a key has at least 32 random bytes in Base64"
        ],
        [[""], "Key 1 of the option `snapshotKeys` has 0 bytes; a key has at least 32 random bytes in Base64"],
        [
          ["my secret"],
          "Key 1 of the option `snapshotKeys` is not Base64; a key has at least 32 random bytes in Base64"
        ]
      ]
      for (const [keys, message] of cases) {
        const error = yield* Effect.flip(SnapshotSigning.withKeys(driver, keys.map((text) => Redacted.make(text))))
        assert.strictEqual(error.reason._tag, "StoreMisconfigured")
        assert.include(error.message, message)
        assert.notInclude(error.message, "my secret")
      }
    }))
})
