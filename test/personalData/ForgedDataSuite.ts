/**
 * The runtime suite of what a client sends in the form of the store: the marker of encrypted data, and `Erased`. Neither reads the data of another
 * person, and neither passes for what the store has written.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { IdGenerator } from "../../src/core/IdGenerator.ts"
import { internals } from "../../src/core/internals.ts"
import * as StreamId from "../../src/core/StreamId.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import type { Stores } from "./PersonalDataFixtures.ts"
import { requireNoSecret, secret } from "./WithheldSuite.ts"

const visitor = { visitor: Schema.String }
const name = PersonalData.field(Schema.NonEmptyString, { subject: "visitor" })
const note = Schema.Record(Schema.String, Schema.Json)

const VisitorEvent = Schema.TaggedUnion({
  VisitorCame: { ...visitor, name, alias: Schema.optionalKey(PersonalData.field(Schema.Json, { subject: "visitor" })) },
  VisitorNoted: { ...visitor, note }
}).pipe(Event.tags({ visitor: "visitor" }))
const { VisitorCame, VisitorNoted } = VisitorEvent.cases

const Come = Command.make("VisitorComes", {
  payload: { ...visitor, name, others: Schema.optionalKey(Schema.Array(Schema.Struct({ ...visitor, name }))) }
})
const Note = Command.make("NoteOfVisitor", { payload: { ...visitor, note } })
const Alias = Command.make("AliasOfVisitor", { payload: { ...visitor, alias: Schema.Json } })

const Visitor = Aggregate.make("Visitor", {
  id: "visitor",
  state: Schema.Struct({ ...visitor, note, name: Schema.optionalKey(name) }),
  events: VisitorEvent,
  commands: [Come, Note, Alias]
})

const behaviour: Parameters<typeof Visitor.decider>[0] = {
  initial: { visitor: "", note: {} },
  evolve: {
    VisitorCame: (state, { name, visitor }) => ({ ...state, visitor, name }),
    VisitorNoted: (state, { note, visitor }) => ({ ...state, visitor, note })
  },
  decide: {
    VisitorComes: (_, { name, visitor }) => [VisitorCame.make({ visitor, name })],
    NoteOfVisitor: (_, command) => [VisitorNoted.make(command)],
    AliasOfVisitor: (_, { alias, visitor }) => [VisitorCame.make({ visitor, name: "Bob", alias })]
  }
}

const deciderOf = (snapshots: SnapshotPolicy.Policy) => Visitor.decider({ ...behaviour, snapshots })

const visitors = Aggregate.layer(deciderOf(SnapshotPolicy.never))

/** Appends a name, and returns its encrypted value as an export or a backup contains it. */
const encryptedName = Effect.fnUntraced(function*(id: string) {
  const store = yield* EventStore.EventStore
  yield* store.append(VisitorEvent, Visitor.streamOf(id), [VisitorCame.make({ visitor: id, name: secret })])
  const [stored] = yield* Stream.runCollect(store.readStreamEncoded(Visitor.streamOf(id)))
  return (stored!.data as { readonly name: Schema.Json }).name
})

/** Appends an event as it is, as an import does. */
const appendStored = Effect.fnUntraced(function*(id: string, type: string, data: Schema.Json) {
  const [{ [internals]: { driver } }, newId] = [yield* EventStore.EventStore, yield* IdGenerator]
  yield* driver.append({
    stream: StreamId.StreamId.make(Visitor.streamOf(id)),
    expected: "any",
    events: [{
      id: newId(),
      type,
      schemaVersion: 1,
      data: JSON.stringify(data),
      metadata: "{}",
      tags: [Event.tag("visitor", id)]
    }]
  })
})

const erasedOf = (subject: string) => ({ _tag: "Erased" as const, subject })

/**
 * The cases of forged data.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  test("an event with the marker of encrypted data is rejected, whatever its set encrypts", function*() {
    const [ann, eve, store] = [unique("ann"), unique("eve"), yield* EventStore.EventStore]
    const marker = yield* encryptedName(ann)
    yield* Effect.gen(function*() {
      const dispatched = yield* Effect.flip(CommandBus.dispatch(Note, { visitor: eve, note: { x: [marker] } }))
      equal(dispatched._tag === "EventStoreError" && dispatched.reason._tag, "InvalidRequest", "the error of a command")
      includes(dispatched.message, `must not be named "~encrypted"`, "the message")
    }).pipe(Effect.provide(visitors))
    const Plain = Schema.TaggedUnion({ VisitorNoted: { ...visitor, note } })
    const event = Plain.cases.VisitorNoted.make({ visitor: eve, note: { x: marker } })
    const appended = yield* Effect.flip(store.append(Plain, Visitor.streamOf(eve), [event]))
    equal(appended._tag === "EventStoreError" && appended.reason._tag, "InvalidRequest", "the error of an append")
    equal(yield* Stream.runCollect(store.readStream(Plain, Visitor.streamOf(eve))), [], "the events")
  }),

  test("a snapshot decrypts nothing but the personal fields of the state", function*() {
    const [ann, eve] = [unique("ann"), unique("eve")]
    const marker = yield* encryptedName(ann)
    const [writing, reading] = [deciderOf(SnapshotPolicy.every(1)), deciderOf(SnapshotPolicy.every(1))]
    const note = { x: marker, y: { "~encrypted": "1.", subject: unique("nobody") } }
    yield* appendStored(eve, "VisitorNoted", { visitor: eve, note })
    yield* Effect.gen(function*() {
      const { driver, snapshots } = (yield* EventStore.EventStore)[internals]
      yield* CommandBus.dispatch(Come, { visitor: eve, name: "Eve" })
      yield* snapshots.settled
      const page = yield* driver.snapshots.page(undefined, 10_000)
      equal(page.filter(({ stream }) => stream === Visitor.streamOf(eve)).length, 1, "the number of snapshots")
      const folded = yield* Aggregate.load(writing, eve)
      equal<unknown>(folded.state, { visitor: eve, name: "Eve", note }, "the folded state")
      const fromSnapshot = Visitor.decider({
        ...behaviour,
        snapshots: SnapshotPolicy.every(1),
        evolve: {
          ...behaviour.evolve,
          VisitorNoted: () => {
            throw new Error("not from the snapshot")
          }
        }
      })
      equal((yield* Aggregate.load(fromSnapshot, eve)).state, folded.state, "the state of the snapshot")
      equal((yield* Aggregate.load(reading, eve)).state, folded.state, "the state that another process loads")
      yield* Erasure.erase(ann)
      equal((yield* Aggregate.load(reading, eve)).state, folded.state, "the state after the erasure")
    }).pipe(Effect.provide(Aggregate.layer(writing)))
  }),

  test("a document that cannot be encrypted parks its key, and the others go on", function*() {
    const [ann, eve, bob, empty] = [unique("ann"), unique("eve"), unique("bob"), unique("empty")]
    const [marker, store] = [yield* encryptedName(ann), yield* EventStore.EventStore]
    const projection = Projection.make(unique("visitors"), {
      events: VisitorEvent,
      document: Schema.Struct({ ...visitor, name, notes: note }),
      key: (event) => event.visitor,
      evolve: {
        VisitorCame: (_, { name, visitor }) => ({
          visitor: visitor === empty ? "" : visitor,
          name: PersonalData.getOrElse(name, () => "-"),
          notes: {}
        }),
        VisitorNoted: (_, { note, visitor }) => ({ visitor, name: "Eve", notes: note })
      }
    })
    yield* appendStored(eve, "VisitorNoted", { visitor: eve, note: { x: marker } })
    for (const id of [empty, bob]) {
      yield* store.append(VisitorEvent, Visitor.streamOf(id), [VisitorCame.make({ visitor: id, name: "Bob" })])
    }
    yield* Effect.gen(function*() {
      const { awaitPosition } = yield* ProjectionStore.ProjectionStore
      yield* awaitPosition(projection, yield* store.head, "1 minute")
      const document = yield* ProjectionStore.get(projection, bob)
      equal(Option.getOrUndefined(document)?.name, "Bob", "the document of another key")
      const parked = (yield* Parking.list(projection)).items.filter(({ key }) =>
        key.includes(eve) || key.includes(empty)
      )
      equal(parked.length, 2, "the number of parked keys")
      const words = parked.map(({ error }) => error).join()
      includes(words, `must not be named "~encrypted"`, "the words about the marker")
      includes(words, `the subject of the personal field "name" must not be empty`, "the words about the subject")
      requireNoSecret(words, "the words")
    }).pipe(Effect.provide(Projector.layer([projection])))
  }),

  test("a command is rejected whose personal field claims to be erased", function*() {
    const [ann, bob, store] = [unique("ann"), unique("bob"), yield* EventStore.EventStore]
    const decided = Decision.layer(Decision.make(Come, {
      events: VisitorEvent,
      models: () => ({}),
      decide: (_, { name, visitor }) => [VisitorCame.make({ visitor, name })]
    }))
    for (const handler of [visitors, decided]) {
      yield* Effect.gen(function*() {
        const rejected = Effect.fnUntraced(function*(payload: Command.PayloadInput<typeof Come>) {
          const error = yield* Effect.flip(CommandBus.dispatch(Come, payload))
          equal(error._tag, "InvalidCommand", "the error")
          includes(
            error.message,
            `the personal field "name" is \`Erased\` of a subject that was not erased`,
            "its words"
          )
        })
        yield* rejected({ visitor: bob, name: erasedOf(bob) })
        yield* rejected({ visitor: bob, name: "Bob", others: [{ visitor: "x", name: erasedOf("") }] })
        yield* rejected({ visitor: bob, name: "Bob", others: [{ visitor: ann, name: erasedOf(unique("no")) }] })
      }).pipe(Effect.provide(handler))
    }
    equal(yield* Stream.runCollect(store.readStream(VisitorEvent, Visitor.streamOf(bob))), [], "the events")
  }),

  test("a command of an erased person passes the erased value on, but not for another", function*() {
    const [ann, bob] = [unique("ann"), unique("bob")]
    yield* encryptedName(ann)
    yield* Erasure.erase(ann)
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Come, { visitor: ann, name: erasedOf(ann) })
      equal<unknown>(
        (yield* Aggregate.load(deciderOf(SnapshotPolicy.never), ann)).state.name,
        erasedOf(ann),
        "the name"
      )
      const error = yield* Effect.flip(CommandBus.dispatch(Come, { visitor: bob, name: erasedOf(ann) }))
      equal(error._tag, "InvalidCommand", "the error of another person")
    }).pipe(Effect.provide(visitors))
  }),

  test("an event is rejected whose personal field claims to be erased", function*() {
    const [bob, store] = [unique("bob"), yield* EventStore.EventStore]
    yield* Effect.gen(function*() {
      for (const subject of [bob, unique("other")]) {
        // The payload has free JSON, which `decide` puts into a personal field.
        const error = yield* Effect.flip(CommandBus.dispatch(Alias, { visitor: bob, alias: erasedOf(subject) }))
        equal(error._tag === "EventStoreError" && error.reason._tag, "InvalidRequest", "the error of the append")
        includes(error.message, `event "VisitorCame": the personal field "alias" is \`Erased\``, "the message")
      }
    }).pipe(Effect.provide(visitors))
    const came = VisitorCame.make({ visitor: bob, name: erasedOf(bob) })
    const error = yield* Effect.flip(store.append(VisitorEvent, Visitor.streamOf(bob), [came]))
    equal(error._tag === "EventStoreError" && error.reason._tag, "InvalidRequest", "the error without a command")
    equal(yield* Stream.runCollect(store.readStream(VisitorEvent, Visitor.streamOf(bob))), [], "the events")
  })
]
