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

/** A driver that counts how often it is asked. */
const counting = Effect.map(MemoryKeyStore.make, (driver) => {
  const asked = { find: 0, findOrCreate: 0, erasures: 0 }
  const count = (name: keyof typeof asked) => Effect.sync(() => asked[name]++)
  const counted: KeyStoreDriver = {
    find: (subjects) => Effect.andThen(count("find"), driver.find(subjects)),
    findOrCreate: (offered) => Effect.andThen(count("findOrCreate"), driver.findOrCreate(offered)),
    erasures: Effect.andThen(count("erasures"), driver.erasures),
    erase: driver.erase
  }
  return { driver: counted, asked }
})

/** Encrypts a value under the key of a subject. */
const seal = Effect.fnUntraced(function*(
  store: Store,
  subject: unknown,
  value: Schema.Json,
  ofErased: "reject" | "erase" = "reject"
) {
  const parent: Record<string, Schema.Json> = { value }
  yield* store.encrypt([{ parent, field: "value", subject }], ofErased)
  return parent["value"]!
})

const openAll = (store: Store, values: ReadonlyArray<Schema.Json>) =>
  Effect.map(
    store.decrypt(values.map((value) => ({ value }))),
    (decrypted) =>
      decrypted.map((result) => Result.map(result, (parent) => (parent as { readonly value: Schema.Json }).value))
  )

const open = (store: Store, value: Schema.Json) => Effect.map(openAll(store, [value]), ([decrypted]) => decrypted!)

const reasonOf = <A, E extends { readonly reason: Reason }>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const erased = (subject: string) => Result.succeed({ _tag: "Erased", subject })
const memory = (options?: KeyStore.KeyStoreOptions) =>
  Effect.flatMap(MemoryKeyStore.make, (driver) => KeyStore.make(driver, options))

describe("what a key store has encrypted", () => {
  const subjects = ["ann", `o'"neil\\`, "☃ 雪", "__proto__", "s".repeat(512)]

  for (const subject of subjects) {
    it.effect(`is decrypted byte for byte: of ${subject.slice(0, 20)}`, () =>
      Effect.gen(function*() {
        const store = yield* memory()
        for (const value of ["Ann", "", null, 42, { a: [1, "☃", { b: null }] }, "x".repeat(100_000)]) {
          const encrypted = yield* seal(store, subject, value)
          assert.isTrue(EncryptedValue.isEncrypted(encrypted))
          assert.deepStrictEqual(yield* open(store, encrypted), Result.succeed(value))
        }
      }))
  }

  it.effect("is AES-256-GCM with the subject authenticated, and never the same twice", () =>
    Effect.gen(function*() {
      const driver = yield* MemoryKeyStore.make
      const store = yield* KeyStore.make(driver)
      const texts = new Set<string>()
      for (let i = 0; i < 100; i++) {
        const encrypted = yield* seal(store, "ann", "Ann Archer")
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

  it.effect("is told when it was tampered with, and only that value suffers", () =>
    Effect.gen(function*() {
      const store = yield* memory()
      const ann = (yield* seal(store, "ann", "Ann")) as Schema.JsonObject
      const bob = (yield* seal(store, "bob", "Bob")) as Schema.JsonObject
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
      const decrypted = yield* openAll(store, [
        ...forms.map((form) => ({ ...ann, "~encrypted": form })),
        { ...ann, subject: "bob" },
        { ...ann, subject: "carl" },
        bob,
        ann
      ])
      const [good, bad] = [decrypted.slice(-2), decrypted.slice(0, -2)]
      assert.deepStrictEqual(good, [Result.succeed("Bob"), Result.succeed("Ann")])
      const why = bad.map((result) => Result.isFailure(result) ? result.failure : "opened")
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

  it.effect("is nothing where a subject has no name that can be kept", () =>
    Effect.gen(function*() {
      const store = yield* memory()
      for (const subject of ["", "s".repeat(513), "a\0", "\ud800", 42, null, undefined, {}]) {
        const parent: Record<string, Schema.Json> = { a: "Ann", b: "Bob" }
        const reason = yield* reasonOf(
          store.encrypt([{ parent, field: "a", subject: "ann" }, { parent, field: "b", subject }], "reject")
        )
        assert.strictEqual(reason._tag, "InvalidRequest", String(subject))
        assert.match(reason.message, /^the subject of the personal field "b" /)
        assert.deepStrictEqual(parent, { a: "Ann", b: "Bob" }, "all or nothing")
        if (typeof subject === "string") {
          assert.strictEqual((yield* reasonOf(store.erase(subject)))._tag, "InvalidRequest")
        }
      }
    }))

  it.effect("is not made without a key, nor with one that is none", () =>
    Effect.gen(function*() {
      const driver = yield* MemoryKeyStore.make
      const found = (keys: FoundKeys["keys"]) => Effect.succeed({ keys, erasures: 0n, durable: true })
      const none = yield* KeyStore.make({ ...driver, findOrCreate: () => found(new Map()) })
      assert.strictEqual((yield* reasonOf(seal(none, "ann", "Ann")))._tag, "StoreFailure")
      const short = found(new Map([["ann", { _tag: "Key" as const, key: new Uint8Array(16) }]]))
      const broken = yield* KeyStore.make({ ...driver, find: () => short, findOrCreate: () => short })
      assert.strictEqual((yield* reasonOf(seal(broken, "ann", "Ann")))._tag, "StoreFailure")
      const encrypted = yield* seal(yield* KeyStore.make(driver), "ann", "Ann")
      assert.strictEqual((yield* reasonOf(open(broken, encrypted)))._tag, "StoreFailure")
    }))
})

describe("an erasure", () => {
  it.effect("is noticed at once by the process that does it, and by others as soon as `maxAge` has passed", () =>
    Effect.gen(function*() {
      const { asked, driver } = yield* counting
      const [here, there] = [yield* KeyStore.make(driver), yield* KeyStore.make(driver)]
      const encrypted = yield* seal(here, "ann", "Ann")
      const other = yield* seal(here, "bob", "Bob")
      assert.deepStrictEqual(yield* openAll(there, [encrypted, other]), [Result.succeed("Ann"), Result.succeed("Bob")])
      const { erasures, find } = { ...asked }
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* open(there, encrypted), Result.succeed("Ann"))
      assert.deepStrictEqual({ ...asked, findOrCreate: 0 }, { erasures, find, findOrCreate: 0 }, "nobody was asked")

      yield* here.erase("ann")
      assert.strictEqual(yield* here.erasures, 1n)
      assert.deepStrictEqual(yield* open(here, encrypted), erased("ann"))
      assert.strictEqual(yield* there.erasures, 0n)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* there.erasures, 1n)
      assert.deepStrictEqual(yield* openAll(there, [encrypted, other]), [erased("ann"), Result.succeed("Bob")])
      assert.strictEqual((yield* reasonOf(seal(there, "ann", "Ann")))._tag, "SubjectErased")
      assert.deepStrictEqual(yield* seal(there, "ann", "Ann", "erase"), { _tag: "Erased", subject: "ann" })
    }))

  it.effect("is one, however often it is asked for, and may come before any key", () =>
    Effect.gen(function*() {
      const store = yield* memory({ maxAge: 0 })
      const first = yield* store.erase("ann")
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(yield* store.erase("ann"), first)
      assert.strictEqual(yield* store.erasures, 1n)
      const reason = yield* reasonOf(seal(store, "ann", "Ann"))
      assert(reason._tag === "SubjectErased")
      assert.deepStrictEqual([reason.subject, reason.erasedAt], ["ann", first])
    }))

  /** A driver whose next answer, with the keys of before, comes only when it is let go. */
  const slow = Effect.gen(function*() {
    const driver = yield* MemoryKeyStore.make
    const [reached, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    let isSlow = false
    const hold = <A, E>(answer: Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        if (!isSlow) return answer
        isSlow = false
        return Effect.flatMap(answer, (found) =>
          Effect.as(Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(go)), found))
      })
    const held: KeyStoreDriver = { ...driver, find: (subjects) => hold(driver.find(subjects)) }
    return { driver, held, reached, go, next: () => isSlow = true }
  })

  it.effect("is not undone by an answer that it has overtaken", () =>
    Effect.gen(function*() {
      const { driver, go, held, next, reached } = yield* slow
      const [here, there] = [yield* KeyStore.make(driver), yield* KeyStore.make(held)]
      const encrypted = yield* seal(here, "ann", "Ann")
      next()
      const late = yield* Effect.forkChild(open(there, encrypted))
      yield* Deferred.await(reached)
      yield* here.erase("ann")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* there.erasures, 1n, "it has heard of the erasure")
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(late)
      assert.deepStrictEqual(yield* open(there, encrypted), erased("ann"), "the key was not kept")
    }))

  it.effect("lets a key that was found before it live no longer than `maxAge` from when it was asked for", () =>
    Effect.gen(function*() {
      const { driver, go, held, next, reached } = yield* slow
      const [here, there] = [yield* KeyStore.make(driver), yield* KeyStore.make(held)]
      const encrypted = yield* seal(here, "ann", "Ann")
      yield* there.erasures
      yield* TestClock.adjust("3 seconds")
      next()
      const late = yield* Effect.forkChild(open(there, encrypted))
      yield* Deferred.await(reached)
      yield* here.erase("ann")
      yield* TestClock.adjust("4 seconds")
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(late)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(yield* open(there, encrypted), erased("ann"))
    }))

  it.effect("leaves no key behind, whatever several processes do meanwhile", () =>
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
        const isOver = at !== undefined && now >= at + 100
        const action = random(20)
        if (action === 0) {
          yield* store.erase(subject)
          if (at === undefined) erasedAt.set(subject, now)
        } else if (action < 8) {
          const result = yield* Effect.result(seal(store, subject, subject))
          if (Result.isSuccess(result)) encrypted.set(subject, result.success)
          if (at === undefined || isOver) assert.strictEqual(Result.isFailure(result), isOver)
        } else if (action < 16 && encrypted.has(subject)) {
          const found = yield* open(store, encrypted.get(subject)!)
          if (isOver) assert.deepStrictEqual(found, erased(subject))
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

describe("keys in memory", () => {
  it.effect("are asked for again when there are too many, or with `maxAge` 0", () =>
    Effect.gen(function*() {
      const { asked, driver } = yield* counting
      const small = yield* KeyStore.make(driver, { capacity: 2 })
      for (const subject of ["a", "b", "a", "b", "c", "b", "c"]) yield* seal(small, subject, subject)
      assert.strictEqual(asked.findOrCreate, 3)
      yield* seal(small, "a", "a")
      assert.strictEqual(asked.findOrCreate, 4)
      const before = asked.erasures
      const wary = yield* KeyStore.make(driver, { maxAge: 0 })
      for (let i = 0; i < 3; i++) yield* seal(wary, "a", "a")
      assert.strictEqual(asked.erasures, before + 3)
    }))

  it.effect("are none that may be rolled back", () =>
    Effect.gen(function*() {
      const { asked, driver } = yield* counting
      const store = yield* KeyStore.make({
        ...driver,
        findOrCreate: (offered) => Effect.map(driver.findOrCreate(offered), (found) => ({ ...found, durable: false }))
      })
      yield* seal(store, "ann", "Ann")
      yield* seal(store, "ann", "Ann")
      assert.strictEqual(asked.findOrCreate, 2)
    }))

  it.effect("are not trusted when the key store was set back", () =>
    Effect.gen(function*() {
      const [driver, backup] = [yield* MemoryKeyStore.make, yield* MemoryKeyStore.make]
      let current: KeyStoreDriver = driver
      const store = yield* KeyStore.make({
        find: (subjects) => Effect.suspend(() => current.find(subjects)),
        findOrCreate: (offered) => Effect.suspend(() => current.findOrCreate(offered)),
        erasures: Effect.suspend(() => current.erasures),
        erase: (subject) => Effect.suspend(() => current.erase(subject))
      })
      yield* store.erase("ann")
      assert.strictEqual(yield* store.erasures, 1n)
      current = backup
      yield* TestClock.adjust("1 minute")
      const encrypted = yield* seal(store, "bob", "Bob")
      yield* backup.erase("bob")
      assert.deepStrictEqual(yield* open(store, encrypted), erased("bob"), "at once: nothing is kept meanwhile")
    }))
})
