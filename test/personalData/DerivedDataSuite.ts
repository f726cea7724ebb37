/**
 * The runtime suite of data that upcasters derive from personal data of earlier schema versions. The current events have no personal field, so nothing
 * of it is encrypted again; an erasure must still reach every place that can be folded again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { readStored } from "../../src/conformance/StoredEventSuite.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { IdGenerator } from "../../src/core/IdGenerator.ts"
import { internals } from "../../src/core/internals.ts"
import * as StreamId from "../../src/core/StreamId.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import type { Snapshot } from "../../src/snapshot/SnapshotDriver.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import * as Traces from "../support/Traces.ts"
import type { Stores } from "./PersonalDataFixtures.ts"
import { requireNoSecret, secret } from "./WithheldSuite.ts"

const guest = { guest: Schema.String }
const named = { ...guest, name: PersonalData.field(Schema.NonEmptyString, { subject: "guest" }) }
const badgeOf = (event: { readonly guest: string; readonly name: string | PersonalData.Erased }) => ({
  guest: event.guest,
  badge: PersonalData.getOrElse(event.name, () => "-")
})

const Guests = Schema.TaggedUnion({ BadgePrinted: { ...guest, badge: Schema.String }, BadgeSeen: guest }).pipe(
  Event.tags({ guest: "guest" })
)

/** What release 1 has written, and the current set that reads it. */
const releases = {
  "a past version": {
    old: Schema.TaggedUnion({ BadgePrinted: named }).pipe(Event.tags({ guest: "guest" })),
    type: "BadgePrinted",
    events: Guests.pipe(Event.upcasters({ BadgePrinted: Event.from(named).toCurrent(badgeOf) }))
  },
  "a version that is split": {
    old: Schema.TaggedUnion({ BadgeSeen: named }).pipe(Event.tags({ guest: "guest" })),
    type: "BadgeSeen",
    events: Guests.pipe(
      Event.upcasters({
        BadgeSeen: Event.from(named).splitInto(
          ["BadgePrinted"],
          (event) => [{ _tag: "BadgePrinted" as const, ...badgeOf(event) }]
        )
      })
    )
  },
  "a legacy type": {
    old: Schema.TaggedUnion({ BadgeOrdered: named }).pipe(Event.tags({ guest: "guest" })),
    type: "BadgeOrdered",
    events: Guests.pipe(Event.legacy({ BadgeOrdered: Event.from(named).renamedTo("BadgePrinted", badgeOf) }))
  }
} as const

const See = Command.make("SeeGuest", { payload: { ...guest, name: Schema.optionalKey(Schema.String) } })

const deciderOf = (events: typeof Guests, snapshots: SnapshotPolicy.Policy) =>
  Aggregate.make("Guest", {
    id: "guest",
    state: Schema.Struct({ badge: Schema.String, seen: Schema.Int }),
    events,
    commands: [See]
  }).decider({
    snapshots,
    initial: { badge: "", seen: 0 },
    evolve: {
      BadgePrinted: (state, { badge }) => ({ ...state, badge }),
      BadgeSeen: (state) => ({ ...state, seen: state.seen + 1 })
    },
    decide: { SeeGuest: (_, { guest }) => [Guests.cases.BadgeSeen.make({ guest })] }
  })

const liveOf = (events: typeof Guests) =>
  Projection.make(unique("badges"), {
    lifecycle: "live",
    events,
    document: Schema.Struct({ badge: Schema.String, seen: Schema.Int }),
    key: (event) => event.guest,
    find: (guest) => [{ tags: [Event.tag("guest", guest)] }],
    evolve: {
      BadgePrinted: (_, { badge }) => ({ badge, seen: 0 }),
      BadgeSeen: (document) => document && { ...document, seen: document.seen + 1 }
    }
  })

const ofRelease = (what: keyof typeof releases): ReadonlyArray<Case<Stores>> => {
  // All have the same current events; only what they read of the log differs.
  const { old, type, events } = releases[what] as { old: Event.Any; type: string; events: typeof Guests }

  /** Appends what release 1 wrote. */
  const append = Effect.fnUntraced(function*(id: string) {
    const store = yield* EventStore.EventStore
    const event = { _tag: type, guest: id, name: secret }
    yield* store.append(old, `Guest-${id}`, [event])
  })

  return [
    test(`an erasure reaches states and snapshots derived from ${what}`, function*() {
      const id = unique("g")
      const [first, second, third] = [
        deciderOf(events, SnapshotPolicy.every(2)),
        deciderOf(events, SnapshotPolicy.every(2)),
        deciderOf(events, SnapshotPolicy.never)
      ]
      yield* Effect.gen(function*() {
        const { driver, snapshots } = (yield* EventStore.EventStore)[internals]
        yield* append(id)
        const badge = (decider: typeof first, policy: "fresh" | "stale" = "fresh") =>
          Effect.map(Aggregate.load(decider, id, { policy }), ({ state }) => state.badge)
        equal(yield* badge(first), secret, "the badge before the erasure")
        yield* CommandBus.dispatch(See, { guest: id })
        yield* Erasure.erase(id)
        equal(yield* badge(first, "stale"), "-", "the badge that the same process has cached")
        equal(yield* badge(first), "-", "the badge that the same process loads")
        for (let i = 0; i < 2; i++) yield* CommandBus.dispatch(See, { guest: id })
        yield* snapshots.settled
        equal(yield* badge(second), "-", "the badge that another process loads")
        equal(yield* badge(third), "-", "the badge folded from the events")
        const page = yield* driver.snapshots.page(undefined, 10_000)
        const texts = page.filter(({ stream }) => stream === `Guest-${id}`).map(({ state }) => state)
        equal(texts.length, 1, "the number of snapshots after the erasure")
        requireNoSecret(texts.join(), "the snapshots")
      }).pipe(Effect.provide(Aggregate.layer(first)))
    }),

    test(`a snapshot derived from ${what} is not written after the erasure`, function*() {
      for (const hasEnded of [false, true]) {
        const id = unique("g")
        const { driver, keys } = (yield* EventStore.EventStore)[internals]
        const [isWriting, proceed, hasArrived] = [yield* Latch.make(), yield* Latch.make(), yield* Latch.make()]
        const slow = {
          ...driver,
          snapshots: {
            ...driver.snapshots,
            write: (snapshot: Snapshot, drops?: bigint) => {
              const write = Effect.andThen(proceed.await, driver.snapshots.write(snapshot, drops))
              const begun = Effect.andThen(isWriting.open, Effect.ensuring(write, hasArrived.open))
              // The program ends or loses its connection, and the statement is still executed.
              return hasEnded ? Effect.andThen(Effect.forkDetach(begun), Effect.interrupt) : begun
            }
          }
        }
        const store = Layer.effect(EventStore.EventStore, EventStore.make(slow, keys))
        yield* Effect.gen(function*() {
          yield* append(id)
          yield* CommandBus.dispatch(See, { guest: id })
          yield* isWriting.await
          yield* Erasure.erase(id)
          yield* proceed.open
          yield* hasArrived.await
          yield* (yield* EventStore.EventStore)[internals].snapshots.settled
          const page = yield* driver.snapshots.page(undefined, 10_000)
          equal(page.filter(({ stream }) => stream === `Guest-${id}`), [], "the snapshots after the erasure")
        }).pipe(
          Effect.provide(
            Aggregate.layer(deciderOf(events, SnapshotPolicy.every(2))).pipe(Layer.provideMerge(Layer.fresh(store)))
          )
        )
      }
    }),

    test(`an erasure reaches a watched live document derived from ${what}`, function*() {
      const [id, store] = [unique("g"), yield* EventStore.EventStore]
      yield* append(id)
      const documents = yield* Stream.toPull(ProjectionStore.watch(liveOf(events), id))
      const next = Effect.map(Effect.timeout(documents, "1 minute"), (page) => page[page.length - 1]!)
      equal(yield* next, Option.some({ badge: secret, seen: 0 }), "the document at first")
      yield* Erasure.erase(id)
      yield* store.append(events, `Guest-${id}`, [Guests.cases.BadgeSeen.make({ guest: id })])
      equal(yield* next, Option.some({ badge: "-", seen: 1 }), "the document after the erasure")
    }),

    test(`errors quote nothing that is derived from ${what}`, function*() {
      const [id, traces] = [unique("g"), Traces.make()]
      yield* append(id)
      const quote = (value: unknown): never => {
        throw new Error(`not for ${JSON.stringify(value)}`)
      }
      const state = Schema.Struct({ badge: Schema.String })
      const Guest = Aggregate.make("Guest", { id: "guest", state, events, commands: [See] })
      const decider = Guest.decider({
        initial: { badge: "" },
        evolve: { BadgePrinted: (_, { badge }) => ({ badge }), BadgeSeen: quote },
        decide: { SeeGuest: quote }
      })
      const evolving = Guest.decider({
        initial: { badge: "" },
        evolve: { BadgePrinted: quote, BadgeSeen: quote },
        decide: { SeeGuest: quote }
      })
      const model = Decision.model({
        events,
        tags: { guest: id },
        initial: { badge: "" },
        evolve: { BadgePrinted: (_, { badge }) => ({ badge }) }
      })
      const decision = Decision.make(See, { events: Guests, models: () => ({ model }), decide: quote })
      const invalid = Decision.make(See, {
        events,
        models: () => ({ model }),
        decide: ({ model }) => [{ _tag: "BadgePrinted", guest: id, badge: [model.badge] as never }]
      })
      const live = Projection.make(unique("badges"), {
        lifecycle: "live",
        events,
        document: Schema.Struct({ badge: Schema.String.check(Schema.makeFilter((badge) => `not ${badge}`)) }),
        key: (event) => event.guest,
        find: (guest) => [{ tags: [Event.tag("guest", guest)] }],
        evolve: { BadgePrinted: (_, { badge }) => ({ badge }), BadgeSeen: Projection.ignore }
      })
      const dispatch = CommandBus.dispatch(See, { guest: id })
      yield* Effect.gen(function*() {
        const exits = [
          yield* Effect.exit(Effect.provide(dispatch, Aggregate.layer(decider))),
          yield* Effect.exit(Aggregate.load(evolving, id)),
          yield* Effect.exit(Effect.provide(dispatch, Decision.layer(decision))),
          yield* Effect.exit(Effect.provide(dispatch, Decision.layer(invalid))),
          yield* Effect.exit(ProjectionStore.get(live, id))
        ]
        equal(exits.map(({ _tag }) => _tag), Array.from(exits, () => "Failure" as const), "the outcomes")
        requireNoSecret(exits.map(Traces.allForms).join("\n"), "the failures")
      }).pipe(Effect.provide(traces.layer))
      requireNoSecret(traces.text(), "logs and spans")
    }),

    test(`the log allows no guess of a payload whose events replaced ${what}`, function*() {
      const [id, commandId] = [unique("g"), unique("c")]
      const { head } = yield* EventStore.EventStore
      const after = yield* head
      yield* CommandBus.dispatch(See, { guest: id, name: secret }, { commandId }).pipe(
        Effect.provide(Aggregate.layer(deciderOf(events, SnapshotPolicy.never)))
      )
      const [stored] = yield* readStored(after, [`Guest-${id}`])
      const { payloadHash, personalPayloadHash } = JSON.parse(stored!.metadata)
      equal(personalPayloadHash?.fields, ["guest"], "the fields of the hash that is not salted")
      equal(
        personalPayloadHash?.salts.map(({ subject }: { readonly subject: string }) => subject),
        [id],
        "the subjects of the salts"
      )
      equal(typeof payloadHash, "string", "the hash that is not salted")
    })
  ]
}

/** A set that reads an event without the annotations by which the event was written. */
const unannotated: ReadonlyArray<Case<Stores>> = [
  test("a set of events reads only those personal fields that it annotates", function*() {
    const [id, store] = [unique("g"), yield* EventStore.EventStore]
    const Written = Schema.TaggedUnion({ BadgePrinted: named })
    yield* store.append(Written, `Guest-${id}`, [Written.cases.BadgePrinted.make({ guest: id, name: secret })])
    const read = <E extends Event.Any>(events: E) =>
      Effect.map(Stream.runCollect(store.readStream(events, `Guest-${id}`)), (page) => page.map(({ event }) => event))
    equal(yield* read(Written), [{ _tag: "BadgePrinted", guest: id, name: secret }], "the event with its annotation")
    const without = Schema.TaggedUnion({ BadgePrinted: guest })
    equal(yield* read(without), [{ _tag: "BadgePrinted", guest: id }], "the event without the field")
    const asText = yield* Effect.flip(read(Schema.TaggedUnion({ BadgePrinted: { ...guest, name: Schema.String } })))
    equal(asText.reason._tag, "UndecodableEvent", "the error of a field without annotation")
    includes(asText.message, `("name"), and they stay encrypted; annotate them`, "the message")
    const [free] = yield* read(Schema.TaggedUnion({ BadgePrinted: { ...guest, name: Schema.Json } }))
    requireNoSecret(JSON.stringify(free), "a field that takes any JSON")
  }),

  test("an encrypted value is read at its place and for its subject only", function*() {
    const [ann, eve, store] = [unique("ann"), unique("eve"), yield* EventStore.EventStore]
    const newId = yield* IdGenerator
    const Written = Schema.TaggedUnion({
      BadgePrinted: { ...named, note: Schema.optionalKey(Schema.Json) },
      BadgeNoted: { ...guest, note: Schema.Json }
    })
    yield* store.append(Written, `Guest-${ann}`, [Written.cases.BadgePrinted.make({ guest: ann, name: secret })])
    const [stored] = yield* Stream.runCollect(store.readStreamEncoded(`Guest-${ann}`))
    const { name } = stored!.data as { readonly name: Schema.Json }
    /** Appends as a program does that writes to the database, or changes a file that is imported. */
    const forge = Effect.fnUntraced(function*(type: string, data: Schema.Json) {
      const stream = StreamId.StreamId.make(`Guest-${unique(eve)}`)
      const { driver } = store[internals]
      yield* driver.append({
        stream,
        expected: "any",
        events: [{
          id: newId(),
          type,
          schemaVersion: 1,
          data: JSON.stringify(data),
          metadata: JSON.stringify({ subjects: [ann] }),
          tags: []
        }]
      })
      const read = yield* Effect.result(Stream.runCollect(store.readStream(Written, stream)))
      return Result.match(read, {
        onFailure: ({ message }) => message,
        onSuccess: (events) => JSON.stringify(events.map(({ event }) => event))
      })
    })
    requireNoSecret(yield* forge("BadgeNoted", { guest: eve, note: { a: [{ name }] } }), "a note")
    const [first, last] = (yield* forge("BadgePrinted", { guest: ann, name, note: name })).split(`"note":`)
    includes(first!, "Vembrith", "the name")
    requireNoSecret(last!, "a note beside the name")
    requireNoSecret(yield* forge("BadgePrinted", { guest: eve, name }), "the name of another subject")
  })
]

const stored: ReadonlyArray<Case<Stores>> = [
  test("a rebuild after an erasure leaves nothing derived if it discards generations", function*() {
    const id = unique("g")
    const { old: Printed } = releases["a past version"]
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const store = yield* EventStore.EventStore
    const projection = Projection.make(unique("badges"), {
      events: Printed,
      where: { streamPrefix: `Guest-${id}` },
      document: Schema.Struct({ badge: Schema.String }),
      key: (event) => event.guest,
      evolve: { BadgePrinted: (_, event) => ({ badge: badgeOf(event).badge }) }
    })
    const documents = Effect.gen(function*() {
      const pages = yield* Effect.forEach(
        yield* Rebuild.list(projection),
        ({ generation }) => driver.generationPage({ generation, limit: 10 })
      )
      return pages.flat().map(({ document }) => document)
    })
    const options = { interval: "20 millis" } as const
    const discarding = { ...options, cutOver: { discardPrevious: true } }
    yield* Effect.gen(function*() {
      const event = Printed.cases.BadgePrinted.make({ guest: id, name: secret })
      const { position } = yield* store.append(Printed, `Guest-${id}`, [event])
      yield* ProjectionStore.awaitPosition(projection, position, "1 minute")
      yield* Stream.runDrain(Rebuild.rebuild(projection, options))
      // Begun before the erasure, and not finished.
      yield* Stream.runDrain(Rebuild.run(projection, options))
      yield* Erasure.erase(id)
      yield* Stream.runDrain(Rebuild.rebuild(projection, discarding))
      equal(yield* documents, [{ badge: "-" }], "the documents of all generations")
      const rolledBack = yield* Effect.flip(Rebuild.rollback(projection))
      equal(rolledBack._tag, "RebuildRejected", "a rollback")
      yield* Stream.runDrain(Rebuild.run(projection, options))
      yield* Rebuild.cutOver(projection, { discardPrevious: true })
      equal(yield* documents, [{ badge: "-" }], "after a cut-over of its own")
    }).pipe(Effect.provide(Projector.layer([projection], { lease: "1 second" })))
  })
]

/**
 * The cases of derived data.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  ...(Object.keys(releases) as ReadonlyArray<keyof typeof releases>).flatMap(ofRelease),
  ...unannotated,
  ...stored
]
