/** Errors of a projection quote no personal data: neither that of the event nor that of the document before it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Result, Schema, Stream } from "effect"
import { AsOf, EventStore, KeyStore, PersonalData, Projection, ProjectionStore, Projector, TimeTravel } from "evsrc"
import * as DocumentFold from "../../src/projection/DocumentFold.ts"

const name = PersonalData.field(Schema.String, { subject: "guest" })
const GuestEvent = Schema.TaggedUnion({
  Arrived: { guest: Schema.String, name },
  Complained: { guest: Schema.String, about: name },
  Noted: { guest: Schema.String }
})
type GuestEvent = typeof GuestEvent.Type

/** A Schema whose message quotes the value. */
const Note = Schema.String.check(Schema.makeFilter((note) => note === "" || `the note is not empty: ${note}`))
const Guest = Schema.Struct({ guest: Schema.String, name, note: Note })

const guests = <L extends Projection.Lifecycle>(lifecycle: L) =>
  Projection.make(`guests-${lifecycle}`, {
    events: GuestEvent,
    document: Guest,
    lifecycle,
    key: ({ guest }) => guest,
    evolve: {
      Arrived: (_, { guest, name }) => ({ guest, name, note: "" }),
      Complained: (guest, { about }) => {
        throw new Error(`${String(guest?.name)} complained about ${String(about)}`)
      },
      Noted: (guest) => guest && { ...guest, note: String(guest.name) }
    }
  })

const append = (events: ReadonlyArray<GuestEvent>) =>
  Effect.flatMap(EventStore.EventStore, (store) => store.append(GuestEvent, "Guests", events))

const messageOf = ({ message }: { readonly message: string }): string => message

/** How each path reports that the projection failed on the last event. */
const paths = {
  batch: (events: ReadonlyArray<GuestEvent>) =>
    Effect.gen(function*() {
      const projection = guests("async")
      const { position } = yield* append(events)
      const store = yield* ProjectionStore.ProjectionStore
      yield* Effect.provide(store.awaitPosition(projection, position, "1 minute"), Projector.layer([projection]))
      const parked = yield* (yield* ProjectionStore.driver).parked(projection.id, { limit: 100 })
      assert.strictEqual(parked.length, 1)
      return parked[0]!.error
    }),
  inline: (events: ReadonlyArray<GuestEvent>) =>
    Effect.map(Effect.flip(append(events)), messageOf).pipe(Effect.provide(Projector.layerInline([guests("inline")]))),
  live: (events: ReadonlyArray<GuestEvent>) =>
    Effect.andThen(append(events), Effect.map(Effect.flip(ProjectionStore.get(guests("live"), "g-1")), messageOf)),
  "time travel": (events: ReadonlyArray<GuestEvent>) =>
    Effect.andThen(
      append(events),
      Effect.map(Effect.flip(TimeTravel.document(guests("async"), "g-1", AsOf.now)), messageOf)
    )
}

const stores = Layer.mergeAll(EventStore.layerMemory, ProjectionStore.layerMemory).pipe(
  Layer.provide(KeyStore.layerMemory)
)

const arrive = append([GuestEvent.cases.Arrived.make({ guest: "g-1", name: "Ann Archer" })])
const complained = GuestEvent.cases.Complained.make({ guest: "g-1", about: "Bob Baker" })
const noted = GuestEvent.cases.Noted.make({ guest: "g-1" })
const personal = /Ann|Archer|Bob|Baker/

for (const [path, errorOf] of Object.entries(paths)) {
  const before = path === "inline" ? Effect.provide(arrive, Projector.layerInline([guests("inline")])) : arrive

  describe(`the error of a projection: ${path}`, () => {
    it.effect("does not quote the document before the event when evolve throws", () =>
      Effect.gen(function*() {
        yield* before
        const message = yield* errorOf([complained])
        assert.include(message, "[personal data] complained about [personal data]")
        assert.notMatch(message, personal)
      }).pipe(Effect.provide(Layer.fresh(stores))))

    it.effect("does not quote the document before the event when the new one breaks its Schema", () =>
      Effect.gen(function*() {
        yield* before
        const message = yield* errorOf([noted])
        assert.include(message, `does not satisfy its Schema: Expected a value that passes a check\n  at ["note"]`)
        assert.notMatch(message, personal)
      }).pipe(Effect.provide(Layer.fresh(stores))))
  })
}

for (const [path, errorOf] of Object.entries(paths)) {
  it.effect(`names the event that breaks a document, not a later one: ${path}`, () =>
    Effect.gen(function*() {
      const message = yield* errorOf([
        GuestEvent.cases.Arrived.make({ guest: "g-1", name: "Ann Archer" }),
        noted,
        complained
      ])
      assert.match(
        message,
        /^Projection "guests-.*" failed on event "Noted" at position 2: .*does not satisfy its Schema/
      )
      assert.notMatch(message, personal)
    }).pipe(Effect.provide(Layer.fresh(stores))))
}

it.effect("fails an event whose projection key cannot be stored", () =>
  Effect.gen(function*() {
    const byNote = Projection.make("by-note", {
      events: GuestEvent,
      document: Schema.Int,
      key: ({ guest }) => guest,
      evolve: { Arrived: () => 1, Complained: () => 2, Noted: () => 3 }
    })
    yield* append(["g-1", "", "a\u0000b"].map((guest) => GuestEvent.cases.Noted.make({ guest })))
    const events = yield* Stream.runCollect(EventStore.readAllEncoded())
    const [valid, ...invalid] = events.map((event) => DocumentFold.decode(byNote, event))
    assert.deepStrictEqual(Result.map(valid!, (records) => records.map(({ keys }) => keys)), Result.succeed([["g-1"]]))
    for (const decoded of invalid) {
      assert(Result.isFailure(decoded))
      assert.match(decoded.failure.message, /by-note.* key /)
    }
  }).pipe(Effect.provide(Layer.fresh(stores))))
