/** Executes the code of docs/personal-data.md. */
import { PgClient } from "@effect/sql-pg"
import { assert, it, layer } from "@effect/vitest"
import { Effect, Layer, Option, Redacted, Schema, Stream } from "effect"
import { Aggregate, Command, CommandBus, Erasure, Event, EventStore, KeyStore } from "evsrc"
import { PersonalData, Projection, ProjectionStore, Projector } from "evsrc"
import { PgKeyStore, PgStores } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"

const ofGuest = { subject: "guestId" }
const Name = PersonalData.field(Schema.NonEmptyString, ofGuest)
const Contact = PersonalData.field(Schema.Struct({ mail: Schema.String, phone: Schema.String }), ofGuest)

const BookingEvent = Schema.TaggedUnion({
  RoomBooked: {
    bookingId: Schema.String,
    guestId: Schema.String,
    hotel: Schema.String,
    name: Name,
    contact: Schema.optionalKey(Contact),
    companions: Schema.Array(
      Schema.Struct({ companionId: Schema.String, name: PersonalData.field(Schema.String, { subject: "companionId" }) })
    )
  },
  BookingCancelled: { bookingId: Schema.String, hotel: Schema.String }
}).pipe(Event.tags({ guest: "guestId" }))

const BookRoom = Command.make("BookRoom", {
  payload: { bookingId: Schema.String, guestId: Schema.String, hotel: Schema.String, name: Schema.NonEmptyString }
})

const Booking = Aggregate.make("Booking", {
  id: "bookingId",
  state: Schema.Struct({ booked: Schema.Boolean }),
  events: BookingEvent,
  commands: [BookRoom]
}).decider({
  initial: { booked: false },
  evolve: { RoomBooked: () => ({ booked: true }), BookingCancelled: () => ({ booked: false }) },
  decide: {
    BookRoom: ({ booked }, command) =>
      booked ? [] : [BookingEvent.cases.RoomBooked.make({ ...command, companions: [] })]
  }
})

const Guests = Projection.make("guests", {
  events: BookingEvent,
  document: Schema.Struct({
    rooms: Schema.Array(Schema.Struct({ bookingId: Schema.String, guestId: Schema.String, name: Name }))
  }),
  key: ({ hotel }) => hotel,
  evolve: {
    RoomBooked: ({ rooms } = { rooms: [] }, { bookingId, guestId, name }) => ({
      rooms: [...rooms, { bookingId, guestId, name }]
    }),
    BookingCancelled: ({ rooms } = { rooms: [] }, event) => ({
      rooms: rooms.filter(({ bookingId }) => bookingId !== event.bookingId)
    })
  }
})

const storesAt = (url: string, keysUrl: string) => {
  const Keys = PgKeyStore.layer.pipe(Layer.provide(PgClient.layer({ url: Redacted.make(keysUrl) })))
  return PgStores.layer.pipe(
    Layer.provideMerge(Keys),
    Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(url) })))
  )
}

const inMemory = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory).pipe(
  Layer.provideMerge(KeyStore.layerMemory)
)

const badge = (name: typeof Name.Type) => PersonalData.getOrElse(name, () => "a guest of ours")
const mailOf = ({ contact }: { readonly contact?: typeof Contact.Type }) =>
  contact === undefined || PersonalData.isErased(contact) ? undefined : contact.mail

const stores = Layer.unwrap(
  Effect.map(Effect.all([freshDatabase, freshDatabase]), ([log, keys]) => storesAt(log.url, keys.url))
)
const hotel = Layer.merge(Aggregate.layer(Booking), Projector.layer([Guests]))

layer(hotel.pipe(Layer.provideMerge(stores)), { excludeTestServices: true, timeout: 60_000 })("personal data", (it) => {
  it.effect("is erased everywhere, and other data is unchanged", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatch(BookRoom, { bookingId: "1", guestId: "g-1", hotel: "Ritz", name: "Ann Archer" })
      const { position } = yield* CommandBus.dispatch(BookRoom, {
        bookingId: "2",
        guestId: "g-2",
        hotel: "Ritz",
        name: "Bob Baker"
      })
      yield* ProjectionStore.awaitPosition(Guests, position, "20 seconds")

      const found = yield* Erasure.scan("g-1")
      assert.deepStrictEqual(found, {
        encrypted: { events: 1, snapshots: 0, documents: 1 },
        streams: ["Booking-1"],
        plaintext: []
      })

      const receipt = yield* Erasure.erase("g-1")
      assert.strictEqual(receipt.subject, "g-1")
      assert.deepStrictEqual(receipt.found.plaintext, [])

      const { rooms } = Option.getOrThrow(yield* ProjectionStore.get(Guests, "Ritz"))
      assert.deepStrictEqual(rooms.map(({ name }) => badge(name)), ["a guest of ours", "Bob Baker"])

      const [event] = yield* Stream.runCollect(EventStore.readStream(BookingEvent, "Booking-1"))
      assert.deepStrictEqual<unknown>(event?.event, {
        _tag: "RoomBooked",
        bookingId: "1",
        guestId: "g-1",
        hotel: "Ritz",
        name: { _tag: "Erased", subject: "g-1" },
        companions: []
      })

      const again = { bookingId: "3", guestId: "g-1", hotel: "Ritz", name: "Ann Archer" }
      const error = yield* Effect.flip(CommandBus.dispatch(BookRoom, again))
      assert(error._tag === "EventStoreError" && error.reason._tag === "SubjectErased")
    }), { timeout: 60_000 })

  it.effect("is read as a value or as Erased", () =>
    Effect.sync(() => {
      const erased = { _tag: "Erased", subject: "g-1" } as const
      assert.strictEqual(mailOf({ contact: erased }), undefined)
      assert.strictEqual(mailOf({ contact: { mail: "a@example.com", phone: "1" } }), "a@example.com")
    }))
})

it.live(
  "personal data is erased in memory too, and rejected without a key store",
  () => {
    const event = BookingEvent.cases.RoomBooked.make({
      bookingId: "1",
      guestId: "g-1",
      hotel: "Ritz",
      name: "Ann Archer",
      companions: []
    })
    const book = EventStore.append(BookingEvent, "Booking-1", [event])
    const merged = Layer.mergeAll(EventStore.layerMemory, ProjectionStore.layerMemory, KeyStore.layerMemory)
    return Effect.gen(function*() {
      const refused = yield* Effect.flip(book.pipe(Effect.provide(Layer.fresh(merged))))
      assert(refused._tag === "EventStoreError" && refused.reason._tag === "StoreMisconfigured")
      const [found, never, late] = yield* Effect.gen(function*() {
        yield* book
        const found = yield* Erasure.scan("g-1")
        const never = yield* Erasure.erase("g-l")
        const late = yield* Effect.flip(EventStore.append(BookingEvent, "Booking-2", [{ ...event, guestId: "g-l" }]))
        return [found, never, late] as const
      }).pipe(Effect.provide(Layer.fresh(inMemory)))
      assert.strictEqual(found.encrypted.events, 1)
      assert.deepStrictEqual(never.found.encrypted, { events: 0, snapshots: 0, documents: 0 })
      assert(late._tag === "EventStoreError" && late.reason._tag === "SubjectErased")
    })
  },
  60_000
)
