/**
 * The conformance suite of key stores. It tests a driver and the key store over it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as KeyStore from "../personalData/KeyStore.ts"
import type { FoundKeys, KeyStoreDriver, SubjectKey } from "../personalData/KeyStoreDriver.ts"
import { upTo } from "./EventStoreFixtures.ts"
import { type Case, equal } from "./Suite.ts"

/** Subjects whose names have special characters, in SQL, JSON or JavaScript. */
const subjects = ["ann", `o'"neil\\`, "☃ 雪", "__proto__", " ", "s".repeat(512)]

/** Returns a key of 32 bytes, each of which is the number. */
const keyOf = (n: number): Uint8Array => new Uint8Array(32).fill(n)

const offer = (names: ReadonlyArray<string>, n: number): ReadonlyMap<string, Uint8Array> =>
  new Map(names.map((name, i) => [name, keyOf(n + i)]))

const shown = (key: SubjectKey | undefined): string =>
  key === undefined ? "none" : key._tag === "Erased" ? "erased" : Array.from(key.key).join()

const keysIn = ({ keys }: FoundKeys, names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.map((name) => shown(keys.get(name)))

const expected = (n: number, count: number): ReadonlyArray<string> =>
  upTo(count).map((i) => Array.from(keyOf(n + i - 1)).join())

const encrypt = Effect.fnUntraced(function*(store: KeyStore.KeyStore["Service"], subject: string, value: Schema.Json) {
  const parent: Record<string, Schema.Json> = { value }
  yield* store.encrypt([{ parent, field: "value", subject }], "reject")
  return parent
})

type Tests<E> = ReadonlyArray<readonly [name: string, body: (driver: KeyStoreDriver) => Effect.Effect<void, E>]>

const keyTests: Tests<unknown> = [
  ["returns the offered keys byte for byte, whatever the subject's name", (driver) =>
    Effect.gen(function*() {
      const created = yield* driver.findOrCreate(offer(subjects, 1))
      equal(keysIn(created, subjects), expected(1, subjects.length), "created")
      const found = yield* driver.find([...subjects, "bob"])
      equal(keysIn(found, subjects), expected(1, subjects.length), "found")
      equal(Array.from(found.keys.keys()).toSorted(), subjects.toSorted(), "only those that have a key")
      equal([created.durable, found.durable], [true, true], "durable")
      equal(created.lastErasure, found.lastErasure, "no erasure between")
    })],

  ["keeps the first key of a subject", (driver) =>
    Effect.gen(function*() {
      yield* driver.findOrCreate(offer(["ann"], 1))
      const found = yield* driver.findOrCreate(offer(["ann", "bob"], 7))
      equal(keysIn(found, ["ann", "bob"]), [...expected(1, 1), ...expected(8, 1)], "the keys")
      equal(keysIn(yield* driver.find(["bob", "ann"]), ["ann", "bob"]), [...expected(1, 1), ...expected(8, 1)], "later")
    })],

  ["finds and creates none of none", (driver) =>
    Effect.gen(function*() {
      equal((yield* driver.find([])).keys.size, 0, "found")
      equal((yield* driver.findOrCreate(new Map())).keys.size, 0, "created")
    })],

  ["creates 1,000 keys at once", (driver) =>
    Effect.gen(function*() {
      const names = upTo(1000).map((n) => `subject-${n}`)
      const all = new Map(names.map((name, i) => [name, keyOf(i % 256)]))
      equal((yield* driver.findOrCreate(all)).keys.size, 1000, "created")
      const found = yield* driver.find(names)
      equal(keysIn(found, names), names.map((_, i) => Array.from(keyOf(i % 256)).join()), "found")
    })],

  ["gives everyone who offers a key at the same time the same key", (driver) =>
    Effect.gen(function*() {
      const names = ["ann", "bob", "carl"]
      const found = yield* Effect.forEach(
        upTo(16),
        (n) => driver.findOrCreate(offer(n % 2 === 0 ? names : names.toReversed(), 10 * n)),
        { concurrency: "unbounded" }
      )
      const [first] = found.map((one) => keysIn(one, names))
      for (const one of found) equal(keysIn(one, names), first!, "the keys")
      equal(keysIn(yield* driver.find(names), names), first!, "later")
    })]
]

const erasureTests: Tests<unknown> = [
  ["deletes the key of an erased subject, and no other", (driver) =>
    Effect.gen(function*() {
      yield* driver.findOrCreate(offer(["ann", "bob"], 1))
      const before = yield* driver.lastErasure
      const at = yield* driver.erase("ann")
      const found = yield* driver.find(["ann", "bob"])
      equal(found.keys.get("ann"), { _tag: "Erased", at }, "the erased subject")
      equal(keysIn(found, ["bob"]), expected(2, 1), "the other")
      equal(found.lastErasure, yield* driver.lastErasure, "the id of the erasure")
      equal(found.lastErasure === before, false, "another id than before")
    })],

  ["creates no key for an erased subject", (driver) =>
    Effect.gen(function*() {
      yield* driver.erase("ann")
      const found = yield* driver.findOrCreate(offer(["ann", "bob"], 1))
      equal(keysIn(found, ["ann", "bob"]), ["erased", ...expected(2, 1)], "the keys")
      equal(found.lastErasure, yield* driver.lastErasure, "the id of the erasure")
      equal(keysIn(yield* driver.find(["ann"]), ["ann"]), ["erased"], "later")
    })],

  ["erases a subject once, and returns the first time from then on", (driver) =>
    Effect.gen(function*() {
      const ids = [yield* driver.lastErasure]
      const first = yield* driver.erase("ann")
      yield* Effect.sleep("5 millis")
      equal(yield* driver.erase("ann"), first, "again")
      ids.push(yield* driver.lastErasure)
      yield* driver.erase("ann")
      equal(yield* driver.lastErasure, ids[1], "the id after a repeated erasure")
      yield* driver.erase("bob")
      ids.push(yield* driver.lastErasure)
      equal(new Set(ids).size, 3, "ids")
    })],

  ["erases a subject whose key is created and erased at the same time", (driver) =>
    Effect.gen(function*() {
      const names = upTo(8).map((n) => `subject-${n}`)
      const times = yield* Effect.forEach(names, (name) =>
        Effect.all([
          driver.findOrCreate(offer([name], 1)),
          driver.erase(name),
          driver.erase(name),
          driver.findOrCreate(offer([name], 2))
        ], { concurrency: "unbounded" }), { concurrency: "unbounded" })
      for (const [, one, other] of times) equal(one, other, "the time of the erasure")
      equal(keysIn(yield* driver.find(names), names), names.map(() => "erased"), "the keys")
    })]
]

const storeTests: Tests<unknown> = [
  ["decrypts what another store over the same driver has encrypted", (driver) =>
    Effect.gen(function*() {
      const [here, there] = [yield* KeyStore.make(driver), yield* KeyStore.make(driver)]
      for (const subject of subjects) {
        const parent = yield* encrypt(here, subject, { name: "Ann ☃", n: [1, null] })
        const [decrypted] = yield* there.decrypt([parent])
        equal(decrypted, Result.succeed({ value: { name: "Ann ☃", n: [1, null] } }), subject)
      }
    })],

  ["decrypts nothing of a subject that another store has erased, after `maxAge`", (driver) =>
    Effect.gen(function*() {
      const [here, there] = [yield* KeyStore.make(driver, { maxAge: 0 }), yield* KeyStore.make(driver, { maxAge: 0 })]
      const [ann, bob] = [yield* encrypt(here, "ann", "Ann"), yield* encrypt(here, "bob", "Bob")]
      const at = yield* there.erase("ann")
      const decrypted = yield* here.decrypt([ann, bob])
      equal(decrypted, [
        Result.succeed({ value: { _tag: "Erased", subject: "ann" } }),
        Result.succeed({ value: "Bob" })
      ], "decrypted")
      const error = yield* Effect.flip(encrypt(here, "ann", "Ann"))
      equal(
        error.reason._tag === "SubjectErased" ? [error.reason.subject, error.reason.erasedAt] : error.reason._tag,
        ["ann", at],
        "encrypted"
      )
    })]
]

/**
 * Returns the cases. `fresh` makes the driver of an empty key store for each of them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases = <E>(fresh: Effect.Effect<KeyStoreDriver, E, Scope.Scope>): ReadonlyArray<Case<never>> =>
  [...keyTests, ...erasureTests, ...storeTests].map(([name, body]) => ({ name, test: Effect.flatMap(fresh, body) }))
