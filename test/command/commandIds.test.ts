/** Command ids in a log that was exported and imported, and of commands with annotated payloads. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import {
  Aggregate,
  Command,
  CommandBus,
  Erasure,
  EventStore,
  KeyStore,
  LogTransfer,
  PersonalData,
  ProjectionStore
} from "evsrc"
import { Join, people, reuseOf } from "./CommandIdSuite.ts"

const commandId = "command-1"
const payload = { personId: "ann", group: "g", name: "Ann Archer" }
const join = (change: Partial<typeof payload>) =>
  CommandBus.dispatch(Join, { ...payload, ...change }, { commandId }).pipe(Effect.provide(people))

const onNewStore = Effect.provide(Layer.fresh(EventStore.layerMemory))

/** The events have no personal data, the payload has. */
const Note = Schema.TaggedUnion({ Noted: { id: Schema.String } })
const TakeNote = Command.make("TakeNote", {
  payload: { id: Schema.String, by: PersonalData.field(Schema.String, { subject: "id" }) }
})
const notes = Aggregate.layer(
  Aggregate.make("Note", { id: "id", state: Schema.Null, events: Note, commands: [TakeNote] }).decider({
    initial: null,
    evolve: { Noted: () => null },
    decide: { TakeNote: (_, { id }) => [Note.cases.Noted.make({ id })] }
  })
)

it.live("an annotated payload is compared under the key of its subject, and needs a key store", () =>
  Effect.gen(function*() {
    const take = (by: string, id = "note-1") =>
      CommandBus.dispatch(TakeNote, { id, by }, { commandId: `command-${id}` }).pipe(Effect.provide(notes))
    yield* Effect.gen(function*() {
      const first = yield* take("ann")
      assert.deepStrictEqual(yield* take("ann"), first)
      assert.strictEqual(yield* reuseOf(take("bob")), "payload")
      yield* take("bob", "note-2")
      const [one, two] = yield* Stream.runCollect(EventStore.readAllEncoded())
      assert.isDefined(one?.metadata.personalPayloadHash)
      assert.notStrictEqual(one?.metadata.payloadHash, two?.metadata.payloadHash, "they differ in the id")
    }).pipe(onNewStore, Effect.provide(Layer.fresh(KeyStore.layerMemory)))

    const error = yield* Effect.flip(onNewStore(take("ann")))
    assert.strictEqual(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "StoreMisconfigured")
    assert.include(error.message, "payloads of commands have personal data")
  }))

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
