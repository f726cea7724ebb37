/**
 * Tags of events of earlier schema versions: a read by a tag that an upcaster adds or changes fails or is red, and is never wrong. Every back end
 * passes it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, ok, test, unique } from "../../src/conformance/Suite.ts"
import { EventsUntagged } from "../../src/core/errors.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { anHourLater, countTypes, reasonOf } from "./UntaggedSuite.ts"

const text = Schema.String

class Taken extends Schema.TaggedError<Taken>()("Taken", {}) {}

/** The first release, and the second, which writes addresses in lower case. */
const Mixed = Schema.TaggedUnion({ MailTaken: { user: text, email: text } }).pipe(Event.tags({ email: "email" }))
const Lower = Schema.TaggedUnion({ MailTaken: { user: text, email: text } }).pipe(
  Event.tags({ email: "email" }),
  Event.upcasters({
    MailTaken: Event.from({ user: text, email: text }).toCurrent((v1) => ({ ...v1, email: v1.email.toLowerCase() }))
  })
)
const TakeMail = Command.make("TakeMail", { payload: { user: text, email: text }, error: Taken })
const takeMail = Decision.make(TakeMail, {
  events: Lower,
  models: ({ email }) => ({
    users: Decision.model({ events: Lower, tags: { email }, initial: 0, evolve: { MailTaken: (n) => n + 1 } })
  }),
  decide: ({ users }, command) => users > 0 ? Result.fail(new Taken()) : [{ _tag: "MailTaken", ...command }]
})

/** The first release, whose events are split by the second: a legacy type, and a version of a current type. */
const book = { book: text, shelf: text }
const Bought = Schema.TaggedUnion({ BookBoughtOnce: book, BookListed: book }).pipe(Event.tags({ book: "book" }))
const parts = (event: { readonly book: string; readonly shelf: string }) =>
  [{ _tag: "BookListed", book: event.book }, { _tag: "BookShelved", ...event }] as const
const Shelved = Schema.TaggedUnion({ BookListed: { book: text }, BookShelved: book }).pipe(
  Event.tags({ book: "book", shelf: "shelf" }),
  Event.legacy({ BookBoughtOnce: Event.from(book).splitInto(["BookListed", "BookShelved"], parts) }),
  Event.upcasters({
    BookListed: Event.from(book).splitInto(["BookListed", "BookShelved"], parts).from({ book: text }).toCurrent((v2) =>
      v2
    )
  })
)
const ShelveBook = Command.make("ShelveBook", { payload: book, error: Taken })
const shelve = (by: "shelf" | "book") =>
  Decision.make(ShelveBook, {
    events: Shelved,
    models: (command) => ({
      books: Decision.model({
        events: Shelved,
        tags: by === "shelf" ? { shelf: command.shelf } : { book: command.book },
        initial: 0,
        evolve: { BookShelved: (n) => n + 1 }
      })
    }),
    decide: ({ books }, command) => books > 0 ? Result.fail(new Taken()) : [{ _tag: "BookShelved", ...command }]
  })

const Region = { North: "north", South: "south" } as const
const shop = { area: Schema.Union([Schema.Enum(Region), Schema.suspend(() => text)]), region: Schema.Enum(Region) }
const Shops = Schema.TaggedUnion({ ShopOpenedIn: shop })
const TaggedShops = Shops.pipe(Event.tags({ region: "region", area: "area" }))
const OpenShop = Command.make("OpenShop", { payload: { value: Schema.Enum(Region) } })
const openShop = (tag: "region" | "area") =>
  Decision.make(OpenShop, {
    events: TaggedShops,
    models: ({ value }) => ({
      shops: Decision.model({
        events: TaggedShops,
        tags: { [tag]: value },
        initial: 0,
        evolve: { ShopOpenedIn: (n) => n + 1 }
      })
    }),
    decide: () => []
  })

const isUntagged = (result: Result.Result<unknown, unknown>, type: string, tag: string, what: string): void => {
  const reason = reasonOf(result)
  ok(reason instanceof EventsUntagged, `${what}: ${String(reason)}`)
  if (reason instanceof EventsUntagged) equal([reason.type, reason.tag], [type, tag], what)
}

/** The cases, over an event store and a projection store that share their transactions. */
export const pastTags: ReadonlyArray<Case<Stores>> = [
  test("a read by a tag whose value an upcaster changes fails, and Health is red", function*() {
    const name = unique("ann").toLowerCase()
    const take = Effect.result(CommandBus.dispatch(TakeMail, { user: "2", email: name })).pipe(
      Effect.provide(Decision.layer(takeMail)),
      anHourLater
    )
    yield* EventStore.append(Mixed, `Mail-${name}`, [{ _tag: "MailTaken", user: "1", email: name.toUpperCase() }])
    yield* countTypes
    isUntagged(yield* take, "MailTaken", "email", "a decision")
    const common = {
      events: Lower,
      document: Schema.Array(text),
      key: ({ email }: { readonly email: string }) => email,
      evolve: {
        MailTaken: (users: ReadonlyArray<string> = [], { user }: { readonly user: string }) => [...users, user]
      }
    }
    const live = Projection.make(unique("mails"), {
      ...common,
      lifecycle: "live",
      find: (email) => [{ tags: [Event.tag("email", email)] }]
    })
    isUntagged(yield* Effect.result(ProjectionStore.get(live, name)), "MailTaken", "email", "a live projection")
    const where = { tags: [Event.tag("email", name)] }
    const { consumers } = yield* Health.of([Projection.make(unique("mails"), { ...common, where })])
    equal(consumers[0]?.status, "red", "the health of a projection by the tag")
    includes(consumers[0]!.reasons.join(), "\"MailTaken\" without the tag \"email\"", "the reasons")
  }),

  test("a decision by a tag of which only one part of a split event has a value fails", function*() {
    for (const type of ["BookBoughtOnce", "BookListed"] as const) {
      const [one, shelf] = [unique("book"), unique("shelf")]
      yield* EventStore.append(Bought, `Book-${one}`, [{ _tag: type, book: one, shelf }])
    }
    yield* countTypes
    const payload = { book: unique("book"), shelf: unique("shelf") }
    const dispatch = Effect.result(CommandBus.dispatch(ShelveBook, payload))
    const byShelf = yield* dispatch.pipe(Effect.provide(Decision.layer(shelve("shelf"))), anHourLater)
    isUntagged(byShelf, "BookListed", "shelf", "by the tag of one part")
    ok(
      Result.isSuccess(yield* dispatch.pipe(Effect.provide(Decision.layer(shelve("book"))))),
      "by the tag of all parts"
    )
    const where = { tags: [Event.tag("shelf", payload.shelf)] }
    const byTag = Projection.make(unique("shelves"), {
      events: Shelved,
      where,
      document: Schema.Int,
      key: (event) => "shelf" in event ? event.shelf : "",
      evolve: { BookListed: Projection.ignore, BookShelved: (n = 0) => n + 1 }
    })
    const { consumers: [shelves] } = yield* Health.of([byTag])
    equal(shelves?.status, "red", "the health of a projection by the tag")
    includes(shelves!.reasons.join(), "\"BookBoughtOnce\" without the tag \"shelf\"", "the reasons")
  }),

  test("a decision by a tag of an enumeration or a suspended Schema fails if events lack it", function*() {
    yield* EventStore.append(Shops, unique("Shop"), [{
      _tag: "ShopOpenedIn",
      area: Region.South,
      region: Region.North
    }])
    yield* countTypes
    const dispatch = Effect.result(CommandBus.dispatch(OpenShop, { value: Region.North }))
    for (const tag of ["region", "area"] as const) {
      const dispatched = yield* dispatch.pipe(Effect.provide(Decision.layer(openShop(tag))), anHourLater)
      isUntagged(dispatched, "ShopOpenedIn", tag, tag)
    }
  })
]
