import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Result, type Schema } from "effect"
import { TestClock } from "effect/testing"
import { type EventStoreErrorReason, KeyStore } from "evsrc"
import { createDecipheriv } from "node:crypto"
import * as EncryptedValue from "../../src/personalData/EncryptedValue.ts"
import type { FoundKeys, KeyStoreDriver } from "../../src/personalData/KeyStoreDriver.ts"
import * as MemoryKeyStore from "../../src/personalData/MemoryKeyStore.ts"

type Store = KeyStore.KeyStore["Service"]
type Reason = typeof EventStoreErrorReason.Type

/** A driver that counts the calls of its operations. */
const countingDriver = Effect.map(MemoryKeyStore.make, (driver) => {
  const calls = { find: 0, findOrCreate: 0, lastErasure: 0 }
  const count = (name: keyof typeof calls) => Effect.sync(() => calls[name]++)
  const counted: KeyStoreDriver = {
    find: (subjects) => Effect.andThen(count("find"), driver.find(subjects)),
    findOrCreate: (offered) => Effect.andThen(count("findOrCreate"), driver.findOrCreate(offered)),
    lastErasure: Effect.andThen(count("lastErasure"), driver.lastErasure),
    erase: driver.erase
  }
  return { driver: counted, calls }
})

/** Encrypts a value under the key of a subject. */
const encryptOne = Effect.fnUntraced(function*(
  store: Store,
  subject: unknown,
  value: Schema.Json,
  ofErased: "reject" | "erase" = "reject"
) {
  const parent: Record<string, Schema.Json> = { value }
  yield* store.encrypt([{ parent, field: "value", subject }], ofErased)
  return parent["value"]!
})

const decryptAll = (store: Store, values: ReadonlyArray<Schema.Json>) =>
  Effect.map(
    store.decrypt(values.map((value) => ({ value }))),
    (decrypted) =>
      decrypted.map((result) => Result.map(result, (parent) => (parent as { readonly value: Schema.Json }).value))
  )

const decryptOne = (store: Store, value: Schema.Json) =>
  Effect.map(decryptAll(store, [value]), ([decrypted]) => decrypted!)

const reasonOf = <A, E extends { readonly reason: Reason }>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const erased = (subject: string) => Result.succeed({ _tag: "Erased", subject })
const memory = (options?: KeyStore.KeyStoreOptions) =>
  Effect.flatMap(MemoryKeyStore.make, (driver) => KeyStore.make(driver, options))

describe("KeyStore.encrypt and decrypt", () => {
  const subjects = ["ann", `o'"neil\\`, "☃ 雪", "__proto__", "s".repeat(512)]

  for (const subject of subjects) {
    it.effect(`round-trips every JSON value of the subject ${subject.slice(0, 20)}`, () =>
      Effect.gen(function*() {
        const store = yield* memory()
        for (const value of ["Ann", "", null, 42, { a: [1, "☃", { b: null }] }, "x".repeat(100_000)]) {
          const encrypted = yield* encryptOne(store, subject, value)
          assert.isTrue(EncryptedValue.isEncrypted(encrypted))
          assert.deepStrictEqual(yield* decryptOne(store, encrypted), Result.succeed(value))
        }
      }))
  }

  it.effect("encrypts by AES-256-GCM with the subject as additional data and a fresh nonce", () =>
    Effect.gen(function*() {
      const driver = yield* MemoryKeyStore.make
      const store = yield* KeyStore.make(driver)
      const texts = new Set<string>()
      for (let i = 0; i < 100; i++) {
        const encrypted = yield* encryptOne(store, "ann", "Ann Archer")
        assert(EncryptedValue.isEncrypted(encrypted))
        texts.add(encrypted["~encrypted"])
      }
      assert.strictEqual(texts.size, 100)
      const { keys } = yield* driver.find(["ann"])
      const found = keys.get("ann")
      assert(found?._tag === "Key")
      const [text] = texts
      assert.match(text!, /^1\./)
      const bytes = Buffer.from(text!.slice(2), "base64")
      const decipher = createDecipheriv("aes-256-gcm", found.key, bytes.subarray(0, 12))
      decipher.setAAD(Buffer.from("ann")).setAuthTag(bytes.subarray(-16))
      assert.strictEqual(
        decipher.update(bytes.subarray(12, -16), undefined, "utf8") + decipher.final("utf8"),
        `"Ann Archer"`
      )
    }))

  it.effect("fails on each tampered value, and decrypts the others", () =>
    Effect.gen(function*() {
      const store = yield* memory()
      const ann = (yield* encryptOne(store, "ann", "Ann")) as Schema.JsonObject
      const bob = (yield* encryptOne(store, "bob", "Bob")) as Schema.JsonObject
      const text = String(ann["~encrypted"])
      const at = (index: number) => {
        const bytes = Buffer.from(text.slice(2), "base64")
        bytes[index]! ^= 1
        return `1.${bytes.toString("base64")}`
      }
      const forms = [
        ...[0, 12, 15, -1].map((index) => at(index < 0 ? Buffer.from(text.slice(2), "base64").length + index : index)),
        text.slice(0, -8),
        "1.",
        "1.AAAA",
        "1.?",
        `2.${text.slice(2)}`,
        ""
      ]
      const decrypted = yield* decryptAll(store, [
        ...forms.map((form) => ({ ...ann, "~encrypted": form })),
        { ...ann, subject: "bob" },
        { ...ann, subject: "carl" },
        bob,
        ann
      ])
      const [good, bad] = [decrypted.slice(-2), decrypted.slice(0, -2)]
      assert.deepStrictEqual(good, [Result.succeed("Bob"), Result.succeed("Ann")])
      const why = bad.map((result) => Result.isFailure(result) ? result.failure : "decrypted")
      const changed =
        `its personal data cannot be decrypted: it was changed, or encrypted under another key of the subject`
      const unknown =
        "its personal data cannot be decrypted: it is in a form that this program does not know; deploy a newer release"
      assert.deepStrictEqual(why, [
        ...Array.from({ length: 5 }, () => `${changed} "ann"`),
        ...Array.from({ length: 5 }, () => unknown),
        `${changed} "bob"`,
        `its personal data cannot be decrypted: the key store has no key of the subject "carl"; provide the key store that belongs to this log`
      ])
    }))

  it.effect("rejects an invalid subject, and then encrypts nothing", () =>
    Effect.gen(function*() {
      const store = yield* memory()
      for (const subject of ["", "s".repeat(513), "a\0", "\ud800", 42, null, undefined, {}]) {
        const parent: Record<string, Schema.Json> = { a: "Ann", b: "Bob" }
        const reason = yield* reasonOf(
          store.encrypt([{ parent, field: "a", subject: "ann" }, { parent, field: "b", subject }], "reject")
        )
        assert.strictEqual(reason._tag, "InvalidRequest", String(subject))
        assert.match(reason.message, /^the subject of the personal field "b" /)
        assert.deepStrictEqual(parent, { a: "Ann", b: "Bob" }, "the values after the rejection")
        if (typeof subject === "string") {
          assert.strictEqual((yield* reasonOf(store.erase(subject)))._tag, "InvalidRequest")
        }
      }
    }))

  it.effect("fails when the driver returns no key or one of the wrong size", () =>
    Effect.gen(function*() {
      const driver = yield* MemoryKeyStore.make
      const found = (keys: FoundKeys["keys"]) => Effect.succeed({ keys, lastErasure: "0", durable: true })
      const withoutKey = yield* KeyStore.make({ ...driver, findOrCreate: () => found(new Map()) })
      assert.strictEqual((yield* reasonOf(encryptOne(withoutKey, "ann", "Ann")))._tag, "StoreFailure")
      const short = found(new Map([["ann", { _tag: "Key" as const, key: new Uint8Array(16) }]]))
      const broken = yield* KeyStore.make({ ...driver, find: () => short, findOrCreate: () => short })
      assert.strictEqual((yield* reasonOf(encryptOne(broken, "ann", "Ann")))._tag, "StoreFailure")
      const encrypted = yield* encryptOne(yield* KeyStore.make(driver), "ann", "Ann")
      assert.strictEqual((yield* reasonOf(decryptOne(broken, encrypted)))._tag, "StoreFailure")
    }))
})

describe("KeyStore.erase", () => {
  it.effect("takes effect at once in its process, and in others within `maxAge`", () =>
    Effect.gen(function*() {
      const { calls, driver } = yield* countingDriver
      const [first, second] = [yield* KeyStore.make(driver), yield* KeyStore.make(driver)]
      const encrypted = yield* encryptOne(first, "ann", "Ann")
      const other = yield* encryptOne(first, "bob", "Bob")
      assert.deepStrictEqual(yield* decryptAll(second, [encrypted, other]), [
        Result.succeed("Ann"),
        Result.succeed("Bob")
      ])
      const { find, lastErasure } = { ...calls }
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* decryptOne(second, encrypted), Result.succeed("Ann"))
      assert.deepStrictEqual(
        { ...calls, findOrCreate: 0 },
        { find, findOrCreate: 0, lastErasure },
        "the calls of the driver"
      )

      const before = yield* first.lastErasure
      yield* first.erase("ann")
      const after = yield* driver.lastErasure
      assert.notStrictEqual(after, before)
      assert.strictEqual(yield* first.lastErasure, after)
      assert.deepStrictEqual(yield* decryptOne(first, encrypted), erased("ann"))
      assert.strictEqual(yield* second.lastErasure, before)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* second.lastErasure, after)
      assert.deepStrictEqual(yield* decryptAll(second, [encrypted, other]), [erased("ann"), Result.succeed("Bob")])
      assert.strictEqual((yield* reasonOf(encryptOne(second, "ann", "Ann")))._tag, "SubjectErased")
      assert.deepStrictEqual(yield* encryptOne(second, "ann", "Ann", "erase"), { _tag: "Erased", subject: "ann" })
    }))

  it.effect("is idempotent, and may precede the first key", () =>
    Effect.gen(function*() {
      const store = yield* memory({ maxAge: 0 })
      const first = yield* store.erase("ann")
      const lastErasure = yield* store.lastErasure
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(yield* store.erase("ann"), first)
      assert.strictEqual(yield* store.lastErasure, lastErasure)
      const reason = yield* reasonOf(encryptOne(store, "ann", "Ann"))
      assert(reason._tag === "SubjectErased")
      assert.deepStrictEqual([reason.subject, reason.erasedAt], ["ann", first])
    }))

  /** A driver that can hold back the result of its next `find` until `release` is done. */
  const makeSlowDriver = Effect.gen(function*() {
    const driver = yield* MemoryKeyStore.make
    const [reached, release] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    let isSlow = false
    const delayOnce = <A, E>(answer: Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        if (!isSlow) return answer
        isSlow = false
        return Effect.flatMap(answer, (found) =>
          Effect.as(Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(release)), found))
      })
    const slowDriver: KeyStoreDriver = { ...driver, find: (subjects) => delayOnce(driver.find(subjects)) }
    return { driver, slowDriver, reached, release, delayNext: () => isSlow = true }
  })

  it.effect("is not undone by an earlier `find` that returns after it", () =>
    Effect.gen(function*() {
      const { driver, release, slowDriver, delayNext, reached } = yield* makeSlowDriver
      const [first, second] = [yield* KeyStore.make(driver), yield* KeyStore.make(slowDriver)]
      const encrypted = yield* encryptOne(first, "ann", "Ann")
      delayNext()
      const lateResult = yield* Effect.forkChild(decryptOne(second, encrypted))
      yield* Deferred.await(reached)
      yield* first.erase("ann")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(
        yield* second.lastErasure,
        yield* driver.lastErasure,
        "the last erasure that the other process has read"
      )
      yield* Deferred.succeed(release, undefined)
      assert.deepStrictEqual(yield* Fiber.join(lateResult), erased("ann"), "the late result")
      assert.deepStrictEqual(yield* decryptOne(second, encrypted), erased("ann"), "the value after the late result")
    }))

  it.effect("holds for a cached key that is used together with one that comes late", () =>
    Effect.gen(function*() {
      const { driver, release, slowDriver, delayNext, reached } = yield* makeSlowDriver
      const [first, second] = [yield* KeyStore.make(driver), yield* KeyStore.make(slowDriver)]
      const encrypted = [yield* encryptOne(first, "ann", "Ann"), yield* encryptOne(first, "bob", "Bob")]
      assert.deepStrictEqual(yield* decryptOne(second, encrypted[0]!), Result.succeed("Ann"))
      yield* TestClock.adjust("1 seconds")
      yield* first.erase("ann")
      yield* TestClock.adjust("3 seconds")
      delayNext()
      const both = yield* Effect.forkChild(decryptAll(second, encrypted))
      yield* Deferred.await(reached)
      yield* TestClock.adjust("2 seconds")
      yield* Deferred.succeed(release, undefined)
      assert.deepStrictEqual(yield* Fiber.join(both), [erased("ann"), Result.succeed("Bob")])
    }))

  it.effect("is seen by a process to which the store responds late that there was none", () =>
    Effect.gen(function*() {
      const driver = yield* MemoryKeyStore.make
      const responses: Array<Deferred.Deferred<void>> = []
      const late = Effect.flatMap(driver.lastErasure, (found) =>
        Effect.suspend(() => {
          const response = Deferred.makeUnsafe<void>()
          responses.push(response)
          return Effect.as(Deferred.await(response), found)
        }))
      const [first, second] = [yield* KeyStore.make(driver), yield* KeyStore.make({ ...driver, lastErasure: late })]
      const seen = yield* Effect.forkChild(second.lastErasure, { startImmediately: true })
      yield* first.erase("ann")
      yield* TestClock.adjust("5 seconds")
      yield* Deferred.succeed(responses[0]!, undefined)
      yield* Effect.yieldNow
      assert.strictEqual(responses.length, 2, "the number of requests")
      yield* Deferred.succeed(responses[1]!, undefined)
      assert.strictEqual(yield* Fiber.join(seen), yield* driver.lastErasure)
    }))

  it.effect("makes uses fail while every response of the store takes longer than `maxAge`", () =>
    Effect.gen(function*() {
      const driver = yield* MemoryKeyStore.make
      const slowDriver: KeyStoreDriver = { ...driver, lastErasure: Effect.delay(driver.lastErasure, "6 seconds") }
      const [first, second] = [
        yield* KeyStore.make(driver),
        yield* KeyStore.make(slowDriver, { timeout: "20 seconds" })
      ]
      const encrypted = yield* encryptOne(first, "ann", "Ann")
      const decrypting = yield* Effect.forkChild(reasonOf(decryptOne(second, encrypted)), { startImmediately: true })
      for (let passed = 0; passed < 30; passed++) yield* TestClock.adjust("1 seconds")
      assert.strictEqual(
        (yield* Fiber.join(decrypting)).message,
        "The key store responds too late: its last response took 6s, and a subject may have been erased meanwhile, because an erasure waits for 5s "
          + "(maxAge). This was so for 20s (timeout); try again, or raise maxAge in all programs of the key store"
      )
    }))

  it.effect("fails after the timeout of a driver that does not respond, and asks again", () =>
    Effect.gen(function*() {
      let hangs = true
      const memory = yield* MemoryKeyStore.make
      const slow = <A, E>(call: Effect.Effect<A, E>) => Effect.suspend(() => hangs ? Effect.never : call)
      const store = yield* KeyStore.make({
        find: (subjects) => slow(memory.find(subjects)),
        findOrCreate: (offered) => slow(memory.findOrCreate(offered)),
        lastErasure: slow(memory.lastErasure),
        erase: (subject) => slow(memory.erase(subject))
      }, { timeout: "2 seconds" })
      const ends = yield* Effect.forkChild(Effect.all([
        reasonOf(encryptOne(store, "ann", "Ann")),
        reasonOf(store.lastErasure),
        reasonOf(store.erase("ann"))
      ], { concurrency: "unbounded" }))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual((yield* Fiber.join(ends)).map(({ _tag, message }) => `${_tag}: ${message}`), [
        "KeyStoreUnavailable: The key store did not respond within 2s (timeout)",
        "KeyStoreUnavailable: The key store did not respond within 2s (timeout)",
        "KeyStoreUnavailable: The key store did not respond within 2s (timeout); the key of \"ann\" may or may not have been erased, so repeat the "
        + "erasure"
      ])
      hangs = false
      assert.deepStrictEqual(yield* decryptOne(store, yield* encryptOne(store, "ann", "Ann")), Result.succeed("Ann"))
    }))

  it.effect("expires a late key `maxAge` after its request, not after its result", () =>
    Effect.gen(function*() {
      const { driver, release, slowDriver, delayNext, reached } = yield* makeSlowDriver
      const [first, second] = [yield* KeyStore.make(driver), yield* KeyStore.make(slowDriver)]
      const encrypted = yield* encryptOne(first, "ann", "Ann")
      yield* second.lastErasure
      yield* TestClock.adjust("3 seconds")
      delayNext()
      const lateResult = yield* Effect.forkChild(decryptOne(second, encrypted))
      yield* Deferred.await(reached)
      yield* first.erase("ann")
      yield* TestClock.adjust("4 seconds")
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(lateResult)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(yield* decryptOne(second, encrypted), erased("ann"))
    }))

  it.effect("leaves no usable key in any of several concurrent processes", () =>
    Effect.gen(function*() {
      let state = 1
      const random = (below: number) => (state = (state * 48271) % 2147483647) % below
      const driver = yield* MemoryKeyStore.make
      const stores = yield* Effect.forEach([1, 2, 3], () => KeyStore.make(driver, { maxAge: 100, capacity: 3 }))
      const encrypted = new Map<string, Schema.Json>()
      const erasedAt = new Map<string, number>()
      let now = 0
      let decrypted = 0
      for (let step = 0; step < 3000; step++) {
        const store = stores[random(3)]!
        const subject = `s${Math.floor(step / 300)}-${random(8)}`
        const at = erasedAt.get(subject)
        const isExpired = at !== undefined && now >= at + 100
        const action = random(20)
        if (action === 0) {
          yield* store.erase(subject)
          if (at === undefined) erasedAt.set(subject, now)
        } else if (action < 8) {
          const result = yield* Effect.result(encryptOne(store, subject, subject))
          if (Result.isSuccess(result)) encrypted.set(subject, result.success)
          if (at === undefined || isExpired) assert.strictEqual(Result.isFailure(result), isExpired)
        } else if (action < 16 && encrypted.has(subject)) {
          const found = yield* decryptOne(store, encrypted.get(subject)!)
          if (isExpired) assert.deepStrictEqual(found, erased(subject))
          if (at === undefined) assert.deepStrictEqual(found, Result.succeed(subject))
          decrypted++
        } else {
          const millis = random(40)
          now += millis
          yield* TestClock.adjust(millis)
        }
      }
      assert.isAbove(decrypted, 500)
      assert.isAbove(erasedAt.size, 30)
    }))
})

describe("cached keys", () => {
  it.effect("are evicted above the capacity, and not used with `maxAge` 0", () =>
    Effect.gen(function*() {
      const { calls, driver } = yield* countingDriver
      const small = yield* KeyStore.make(driver, { capacity: 2 })
      for (const subject of ["a", "b", "a", "b", "c", "b", "c"]) yield* encryptOne(small, subject, subject)
      assert.strictEqual(calls.findOrCreate, 3)
      yield* encryptOne(small, "a", "a")
      assert.strictEqual(calls.findOrCreate, 4)
      const before = calls.lastErasure
      const uncached = yield* KeyStore.make(driver, { maxAge: 0 })
      for (let i = 0; i < 3; i++) yield* encryptOne(uncached, "a", "a")
      assert.strictEqual(calls.lastErasure, before + 3)
    }))

  it.effect("exclude keys that are not durable yet", () =>
    Effect.gen(function*() {
      const { calls, driver } = yield* countingDriver
      const store = yield* KeyStore.make({
        ...driver,
        findOrCreate: (offered) => Effect.map(driver.findOrCreate(offered), (found) => ({ ...found, durable: false }))
      })
      yield* encryptOne(store, "ann", "Ann")
      yield* encryptOne(store, "ann", "Ann")
      assert.strictEqual(calls.findOrCreate, 2)
    }))
})

describe("cached keys after a restore of the key store", () => {
  /** A driver whose state can be replaced by another, as by a backup that was restored or by a standby. */
  const replaceable = Effect.map(MemoryKeyStore.make, (first) => {
    let current = first
    const driver: KeyStoreDriver = {
      find: (subjects) => Effect.suspend(() => current.find(subjects)),
      findOrCreate: (offered) => Effect.suspend(() => current.findOrCreate(offered)),
      // A backup without an erasure since, so its id is the same.
      lastErasure: Effect.suspend(() => first.lastErasure),
      erase: (subject) => Effect.suspend(() => current.erase(subject))
    }
    const withId: KeyStoreDriver = {
      ...driver,
      find: (subjects) =>
        Effect.zipWith(driver.find(subjects), first.lastErasure, (found, lastErasure) => ({ ...found, lastErasure })),
      findOrCreate: (offered) =>
        Effect.zipWith(
          driver.findOrCreate(offered),
          first.lastErasure,
          (found, lastErasure) => ({ ...found, lastErasure })
        )
    }
    return { driver: withId, replace: (by: KeyStoreDriver) => current = by }
  })

  it.effect("are put back if the store has lost them", () =>
    Effect.gen(function*() {
      const { driver, replace } = yield* replaceable
      const [here, there] = [yield* KeyStore.make(driver), yield* KeyStore.make(driver)]
      const before = yield* encryptOne(here, "eve", "Eve 1")
      replace(yield* MemoryKeyStore.make)
      yield* TestClock.adjust("5 seconds")
      const after = yield* encryptOne(here, "eve", "Eve 2")
      const other = yield* encryptOne(there, "eve", "Eve 3")
      for (const store of [here, there]) {
        assert.deepStrictEqual(
          yield* decryptAll(store, [before, after, other]),
          ["Eve 1", "Eve 2", "Eve 3"].map((name) => Result.succeed(name))
        )
      }
    }))

  it.effect("are replaced if another process has made other ones", () =>
    Effect.gen(function*() {
      const { driver, replace } = yield* replaceable
      const [here, there, reader] = [
        yield* KeyStore.make(driver),
        yield* KeyStore.make(driver),
        yield* KeyStore.make(driver)
      ]
      const before = yield* encryptOne(here, "eve", "Eve 1")
      assert.deepStrictEqual(yield* decryptOne(reader, before), Result.succeed("Eve 1"))
      replace(yield* MemoryKeyStore.make)
      const other = yield* encryptOne(there, "eve", "Eve 2")
      assert.deepStrictEqual(yield* decryptOne(reader, other), Result.succeed("Eve 2"), "a process that only reads")
      yield* TestClock.adjust("5 seconds")
      const after = yield* encryptOne(here, "eve", "Eve 3")
      for (const store of [here, there, reader]) {
        const names = yield* decryptAll(store, [other, after])
        assert.deepStrictEqual(names, [Result.succeed("Eve 2"), Result.succeed("Eve 3")])
      }
    }))

  it.effect("are forgotten when erasures are repeated, also if they are as many as before", () =>
    Effect.gen(function*() {
      const [first, backup] = [yield* MemoryKeyStore.make, yield* MemoryKeyStore.make]
      let current: KeyStoreDriver = first
      const driver: KeyStoreDriver = {
        find: (subjects) => Effect.suspend(() => current.find(subjects)),
        findOrCreate: (offered) => Effect.suspend(() => current.findOrCreate(offered)),
        lastErasure: Effect.suspend(() => current.lastErasure),
        erase: (subject) => Effect.suspend(() => current.erase(subject))
      }
      const [here, operator] = [yield* KeyStore.make(driver), yield* KeyStore.make(driver)]
      current = backup
      const ann = yield* encryptOne(operator, "ann", "Ann")
      current = first
      yield* first.erase("ann")
      yield* first.erase("bob")
      const erasedTwo = yield* here.lastErasure
      current = backup
      yield* TestClock.adjust("5 seconds")
      const restored = yield* here.lastErasure
      assert.deepStrictEqual(yield* decryptOne(here, ann), Result.succeed("Ann"), "the key is back")
      yield* operator.erase("ann")
      yield* operator.erase("bob")
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* decryptOne(here, ann), erased("ann"))
      assert.strictEqual(new Set([erasedTwo, restored, yield* here.lastErasure]).size, 3)
    }))
})

describe("the keys of payloads that name no subject", () => {
  const [today, tomorrow] = ["evsrc:payloads:2026-11-30", "evsrc:payloads:2026-12-01"]

  it.effect("are made a day ahead, by one call a day", () =>
    Effect.gen(function*() {
      const { calls, driver } = yield* countingDriver
      const store = yield* KeyStore.make(driver)
      for (let i = 0; i < 100; i++) yield* encryptOne(store, today, i)
      assert.deepStrictEqual([calls.findOrCreate, calls.find], [1, 0])
      const { keys } = yield* driver.find([today, tomorrow, "evsrc:payloads:2026-12-02"])
      assert.deepStrictEqual(Array.from(keys.keys()).toSorted(), [today, tomorrow])
      yield* encryptOne(store, "ann", "Ann Archer")
      assert.strictEqual((yield* driver.find(["ann"])).keys.size, 1, "another subject has one key")
    }))

  it.effect("are erased from an hour after their day", () =>
    Effect.gen(function*() {
      const store = yield* memory()
      yield* TestClock.setTime(Date.UTC(2026, 11, 1, 0, 59, 59))
      for (
        const [subject, message] of [
          [today, "cannot be erased before 2026-12-01T01:00:00.000Z"],
          [tomorrow, "cannot be erased before 2026-12-02T01:00:00.000Z"],
          ["evsrc:payloads:ann", "it must have a day, such as evsrc:payloads:2026-12-01"]
        ] as const
      ) {
        const reason = yield* reasonOf(store.erase(subject))
        assert.strictEqual(reason._tag, "InvalidRequest")
        assert.include(reason.message, message)
      }
      yield* TestClock.setTime(Date.UTC(2026, 11, 1, 1))
      yield* store.erase(today)
      assert.strictEqual((yield* reasonOf(encryptOne(store, today, "late")))._tag, "SubjectErased")
      yield* encryptOne(store, tomorrow, "next")
    }))
})
