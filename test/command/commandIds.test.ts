/** Command ids in a log that was exported and imported. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { CommandBus, Erasure, EventStore, KeyStore, LogTransfer, ProjectionStore } from "evsrc"
import { Join, people, reuseOf } from "./CommandIdSuite.ts"

const commandId = "command-1"
const payload = { personId: "ann", group: "g", name: "Ann Archer" }
const join = (change: Partial<typeof payload>) =>
  CommandBus.dispatch(Join, { ...payload, ...change }, { commandId }).pipe(Effect.provide(people))

const onNewStore = Effect.provide(Layer.fresh(EventStore.layerMemory))

it.live("a command id keeps its payload through an export and an import", () =>
  Effect.gen(function*() {
    const { first, lines } = yield* onNewStore(Effect.gen(function*() {
      const first = yield* join({})
      return { first, lines: Array.from(yield* Stream.runCollect(LogTransfer.export())) }
    }))
    const imported = LogTransfer.import(Stream.fromIterable(lines))

    yield* onNewStore(Effect.gen(function*() {
      yield* imported
      assert.deepStrictEqual(yield* join({}), first)
      assert.strictEqual(yield* reuseOf(join({ name: "Bob Baker" })), "payload")
      assert.strictEqual(yield* reuseOf(join({ group: "h" })), "payload")
    }))

    // A key store that has never had the subject's key can read neither the event nor the salt.
    yield* Effect.gen(function*() {
      yield* imported
      const { message } = yield* Effect.flip(join({}))
      assert.include(message, `the key store has no key of the subject "ann"`)
      const reserved = yield* Effect.flip(
        CommandBus.dispatch(Join, { ...payload, personId: "bob" }, { commandId }).pipe(Effect.provide(people))
      )
      assert.strictEqual(reserved._tag === "EventStoreError" ? reserved.reason._tag : reserved._tag, "CommandIdReused")
    }).pipe(onNewStore, Effect.provide(Layer.fresh(KeyStore.layerMemory)))

    yield* Effect.gen(function*() {
      yield* imported
      yield* Erasure.erase("ann")
      assert.deepStrictEqual(yield* join({ name: "Bob Baker" }), first)
      assert.strictEqual(yield* reuseOf(join({ group: "h" })), "payload")
    }).pipe(Effect.provide(Layer.fresh(ProjectionStore.layerMemory)), onNewStore)
  }).pipe(Effect.provide(KeyStore.layerMemoryWith({ maxAge: 0 }))))
