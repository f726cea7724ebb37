/**
 * The suite of exports that add the tags that a set declares today. Every case uses empty stores of its own.
 *
 * @since 0.1.0
 */
import { NodeFileSystem } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as StreamLifecycle from "../../src/archive/StreamLifecycle.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, ok } from "../../src/conformance/Suite.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventQuery from "../../src/event/EventQuery.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as HashChain from "../../src/history/HashChain.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as LogTransfer from "../../src/transfer/LogTransfer.ts"

type Store = EventStore["Service"]

const text = Schema.String
const Named = { guest: text, name: PersonalData.field(text, { subject: "guest" }) }
/** The first release, whose events have the tag of a show only. */
const First = Schema.TaggedUnion({
  SeatTaken: { show: text, guest: text },
  PartyTaken: { show: text, guests: Schema.Array(text) },
  NameGiven: Named,
  ShowOver: { show: text }
}).pipe(Event.tags({ show: "show" }))
/** A later release: a type has another name, another is split, and a tag was added. */
const later = (showOver: Schema.Codec<string>) =>
  Schema.TaggedUnion({ SeatReserved: { show: text, guest: text }, NameGiven: Named, ShowOver: { show: showOver } })
    .pipe(
      Event.tags({ show: "show", guest: "guest" }),
      Event.legacy({
        SeatTaken: Event.from({ show: text, guest: text }).renamedTo("SeatReserved", (event) => event),
        PartyTaken: Event.from({ show: text, guests: Schema.Array(text) }).splitInto(
          ["SeatReserved"],
          ({ guests, show }) => guests.map((guest) => ({ _tag: "SeatReserved" as const, show, guest }))
        )
      })
    )
const Second = later(text)
/** Sets of other releases, and how each differs from the second. */
const otherReleases = [
  [Second.pipe(Event.tags({ visitor: "guest" })), "\"NameGiven\" has the tags guest=guest in the file's set, and"],
  [Second.pipe(Event.legacy({ SeatLeft: Event.retired })), "only this program's set has the type \"SeatLeft\""],
  [later(Schema.NonEmptyString), "schema version 1 of \"ShowOver\" has another Schema"]
] as const
const Other = Schema.TaggedUnion({ Opened: { guest: text } })

const Reserve = Command.make("ReserveRetagged", { payload: { show: text, guest: text } })
/** Returns the handler of a decision by the new tag, which tells how many seats the guest has. */
const reserving = (seen: (seats: number) => void) =>
  Decision.layer(Decision.make(Reserve, {
    events: Second,
    models: ({ guest }) => ({
      seats: Decision.model({ events: Second, tags: { guest }, initial: 0, evolve: { SeatReserved: (n) => n + 1 } })
    }),
    decide: ({ seats }, command) => {
      seen(seats)
      return [Second.cases.SeatReserved.make(command)]
    }
  }))

/** The first release, and the second, which writes the names of guests in lower case and has dropped empty visits. */
const Mixed = Schema.TaggedUnion({ GuestMet: { guest: text }, VisitEnded: { guest: text, note: text } }).pipe(
  Event.tags({ guest: "guest" })
)
const Lower = Schema.TaggedUnion({ GuestMet: { guest: text } }).pipe(
  Event.tags({ guest: "guest" }),
  Event.upcasters({ GuestMet: Event.from({ guest: text }).toCurrent(({ guest }) => ({ guest: guest.toLowerCase() })) }),
  Event.legacy({
    VisitEnded: Event.from({ guest: text, note: text }).splitInto(
      ["GuestMet"],
      ({ guest, note }) => note === "" ? [] : [{ _tag: "GuestMet" as const, guest }]
    )
  })
)
const Meet = Command.make("MeetRetagged", { payload: { guest: text } })
const meeting = Effect.gen(function*() {
  let met = -1
  const dispatch = CommandBus.dispatch(Meet, { guest: "ann" }).pipe(
    Effect.provide(Decision.layer(Decision.make(Meet, {
      events: Lower,
      models: ({ guest }) => ({
        met: Decision.model({ events: Lower, tags: { guest }, initial: 0, evolve: { GuestMet: (n) => n + 1 } })
      }),
      decide: (states) => {
        met = states.met
        return []
      }
    }))),
    Effect.scoped
  )
  const failed = yield* Effect.match(dispatch, { onFailure: (error) => error.message, onSuccess: () => undefined })
  return { met, failed }
})

const fill = Effect.gen(function*() {
  const store = yield* EventStore
  const seat = (show: string, guest: string) => ({ _tag: "SeatTaken" as const, show, guest })
  yield* store.append(First, "Show-a", [seat("a", "ann"), seat("a", "bob")], { metadata: { commandId: "first" } })
  yield* store.append(First, "Show-b", [{ _tag: "PartyTaken", show: "b", guests: ["ann", "eve", "ann"] }])
  yield* store.append(First, "Guest-ann", [{ _tag: "NameGiven", guest: "ann", name: "Ann Archer" }])
  yield* store.append(Other, "Other-1", [{ _tag: "Opened", guest: "ann" }])
  yield* store.close(First, "Show-b", { _tag: "ShowOver", show: "b" })
  yield* StreamLifecycle.archive("Show-b")
})

const linesOf = (options?: LogTransfer.ExportOptions) => Stream.runCollect(LogTransfer.export(options))
const importOf = (lines: Iterable<string>) => LogTransfer.import(Stream.fromIterable(lines))

const tagsOf = Effect.gen(function*() {
  const events = yield* Stream.runCollect((yield* EventStore).readAllEncoded())
  return events.map(({ tags, type }) => [type, ...tags].join(" "))
})

const dispatched = (guest: string) =>
  Effect.gen(function*() {
    let seats = -1
    const dispatch = CommandBus.dispatch(Reserve, { show: "c", guest }).pipe(
      Effect.provide(reserving((seen) => seats = seen)),
      Effect.scoped
    )
    const failed = yield* Effect.match(dispatch, { onFailure: (error) => error.message, onSuccess: () => undefined })
    return { seats, failed }
  })

/**
 * Returns the cases. `fresh` makes an empty store that nothing else uses, each time it runs; all stores have the same keys of personal data.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cases = <E>(fresh: Effect.Effect<Store, E, Scope.Scope>): ReadonlyArray<Case<never>> => {
  const onNewStore = <A, E2, R>(body: Effect.Effect<A, E2, R>) =>
    Effect.flatMap(Effect.orDie(fresh), (store) => Effect.provideService(body, EventStore, store))
  const test = <E2>(name: string, body: Effect.Effect<void, E2, EventStore | Scope.Scope>): Case<never> => ({
    name,
    test: onNewStore(body)
  })
  return [
    test(
      "a decision by an added tag is right on a copy with retagged events",
      Effect.gen(function*() {
        yield* fill
        includes((yield* dispatched("ann")).failed ?? "", "without the tag \"guest\"", "in the log")
        const before = yield* Stream.runCollect((yield* EventStore).readAllEncoded())
        const receipt = yield* (yield* EventStore).receipt("first")
        const lines = yield* linesOf({ retag: Second, pageSize: 2 })
        yield* onNewStore(Effect.gen(function*() {
          const store = yield* EventStore
          yield* importOf(lines)
          equal(yield* tagsOf, [
            "SeatTaken show:a guest:ann",
            "SeatTaken show:a guest:bob",
            "PartyTaken show:b guest:ann guest:eve",
            "NameGiven guest:ann",
            "Opened",
            "ShowOver show:b"
          ], "the tags")
          const after = yield* Stream.runCollect(store.readAllEncoded())
          const untagged = (events: typeof before) => events.map(({ tags: _, decrypted: __, ...event }) => event)
          equal(untagged(after), untagged(before), "all else is equal")
          equal(yield* store.receipt("first"), receipt, "the receipt of a command")
          const { events } = yield* store.readByQuery(EventQuery.make(Second, [{ tags: [Event.tag("guest", "eve")] }]))
          equal(events.map(({ type }) => type), ["PartyTaken"], "a query")
          // One seat alone, and two of a party.
          equal(yield* dispatched("ann"), { seats: 3, failed: undefined }, "the decision")
          equal(yield* dispatched("ann"), { seats: 4, failed: undefined }, "the next decision")
          const report = yield* HashChain.verify({ pageSize: 2 })
          equal([report.isIntact, report.faults], [true, []], "the index of tags, and the chain")
          equal(yield* linesOf({ retag: Second }), yield* linesOf({ retag: Second }), "the same again")
        }))
      })
    ),
    test(
      "a decision by a tag whose value an upcaster changes is right on a copy with retagged events",
      Effect.gen(function*() {
        yield* (yield* EventStore).append(Mixed, "Guest-1", [
          { _tag: "VisitEnded", guest: "ann", note: "" },
          { _tag: "VisitEnded", guest: "ann", note: "late" },
          { _tag: "GuestMet", guest: "Ann" }
        ])
        includes((yield* meeting).failed ?? "", "1 event \"GuestMet\" without the tag \"guest\"", "in the log")
        const lines = yield* linesOf({ retag: Lower })
        yield* onNewStore(Effect.gen(function*() {
          yield* importOf(lines)
          equal(yield* meeting, { met: 2, failed: undefined }, "the decision")
        }))
      })
    ),
    test(
      "another export with the tags brings a copy up to date; one without is rejected",
      Effect.gen(function*() {
        yield* fill
        const early = yield* linesOf({ retag: Second })
        yield* (yield* EventStore).append(First, "Show-c", [{ _tag: "SeatTaken", show: "c", guest: "bob" }])
        const late = yield* linesOf({ retag: Second })
        const plain = yield* linesOf()
        yield* onNewStore(Effect.gen(function*() {
          yield* importOf(early)
          equal((yield* importOf(late)).written, 1, "the events that the second import writes")
          equal((yield* tagsOf).at(-1), "SeatTaken show:c guest:bob", "the last event")
          equal(
            yield* importOf(late),
            { events: 7, written: 0, archived: 1, head: yield* (yield* EventStore).head },
            "again"
          )
          const rejected = yield* Effect.flip(importOf(plain))
          equal(rejected._tag, "TransferRejected", "an export without the tags")
        }))
      })
    ),
    test(
      "an import does not continue where the copy has other tags",
      Effect.gen(function*() {
        yield* fill
        const [visitors] = otherReleases[0]
        // In each of these exports the last event is the same.
        const exports = [yield* linesOf({ retag: Second }), yield* linesOf({ retag: visitors }), yield* linesOf()]
        for (const [done, first] of exports.entries()) {
          yield* onNewStore(Effect.gen(function*() {
            yield* importOf(first)
            const before = yield* tagsOf
            for (const [index, next] of exports.entries()) {
              if (index === done) continue
              const error = yield* Effect.flip(importOf(next))
              equal(error._tag, "TransferRejected", `export ${index} after export ${done}`)
              includes(error.message, "The log's event at position 1 has the tags show", "the message")
            }
            equal(yield* tagsOf, before, "the log")
          }))
        }
      })
    ),
    test(
      "an export resumes only with the definitions of tags with which it began",
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const path = `${yield* fs.makeTempDirectoryScoped()}/log.ndjson`
        yield* fill
        const lines = yield* linesOf({ retag: Second })
        const begun = lines.slice(0, 3).join("")
        yield* fs.writeFileString(path, begun)
        for (const [retag, difference] of otherReleases) {
          const error = yield* Effect.flip(LogTransfer.exportToFile(path, { resume: true, retag }))
          equal(error._tag, "TransferRejected", "another set")
          includes(error.message, "The file was begun with another set of events in `retag`", "the message")
          includes(error.message, difference, "the difference")
          equal(yield* fs.readFileString(path), begun, "the file")
        }
        yield* LogTransfer.exportToFile(path, { resume: true, retag: later(text) })
        equal(yield* fs.readFileString(path), lines.join(""), "the export that was resumed with an equal set")
      }).pipe(Effect.provide(NodeFileSystem.layer))
    ),
    test(
      "an export ends with an error at an event that cannot have its tags",
      Effect.gen(function*() {
        const store = yield* EventStore
        yield* store.append(First, "Show-a", [{ _tag: "SeatTaken", show: "a", guest: "x".repeat(300) }])
        const long = yield* Effect.flip(linesOf({ retag: Second }))
        equal(long.reason._tag, "InvalidRequest", "a tag that is too long")
        includes(long.message, "position 1 cannot have its tags", "a tag that is too long")
        const Narrow = Schema.TaggedUnion({ SeatTaken: { guest: Schema.Int, show: text } }).pipe(
          Event.tags({ show: "show" })
        )
        equal((yield* Effect.flip(linesOf({ retag: Narrow }))).reason._tag, "UndecodableEvent", "another Schema")
        const none = yield* Effect.flip(linesOf({ retag: Other }))
        includes(none.message, "declares no tags", "a set without tags")
        ok(Option.isNone(yield* store.receipt("none")), "the store works")
      })
    )
  ]
}
