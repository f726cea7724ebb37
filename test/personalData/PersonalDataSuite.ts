/**
 * The conformance suite of personal data: it is kept encrypted wherever it goes, and erased everywhere at once.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { readStored } from "../../src/conformance/StoredEventSuite.ts"
import { type Case, equal, ok, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError, KeyStoreUnavailable, storeError } from "../../src/core/errors.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as EventCodec from "../../src/event/EventCodec.ts"
import type { EncodedEvent, NewEvent, RecordedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventBus from "../../src/eventStore/EventBus.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as KeyStore from "../../src/personalData/KeyStore.ts"
import type { KeyStoreDriver } from "../../src/personalData/KeyStoreDriver.ts"
import * as MemoryKeyStore from "../../src/personalData/MemoryKeyStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as PersonalFields from "../../src/personalData/PersonalFields.ts"
import * as DocumentCodec from "../../src/projection/DocumentCodec.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import type { Lifecycle } from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"
import type { Snapshot } from "../../src/snapshot/SnapshotDriver.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import {
  behaviour,
  groups,
  ofPerson,
  people,
  Person,
  PersonDecider,
  PersonEvent,
  Register,
  Rename,
  type Stores
} from "./PersonalDataFixtures.ts"

/** The texts of a projection's documents as they are kept, of whatever target. */
const keptDocuments = (projection: { readonly id: string }) =>
  Effect.gen(function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const texts: Array<string> = []
    let after: { readonly generation: string; readonly cursor: string } | undefined
    while (true) {
      const page = yield* driver.storedTexts({ in: "documents", after, limit: 100 })
      texts.push(...page.filter(({ generation }) => generation.startsWith(projection.id)).map(({ text }) => text))
      after = page.at(-1)
      if (page.length < 100) return texts
    }
  })

const erasedOf = (subject: string) => ({ _tag: "Erased" as const, subject })

const start = Effect.flatMap(EventStore.EventStore, ({ head }) => head)

/** Two people in a group, one of whom is renamed; answers their ids. */
const twoPeople = Effect.fnUntraced(function*(group: string) {
  const [ann, bob] = [unique("ann"), unique("bob")]
  yield* CommandBus.dispatch(Register, { personId: ann, group, name: "Ann Archer" })
  yield* CommandBus.dispatch(Register, { personId: bob, group, name: "Bob Baker" })
  yield* CommandBus.dispatch(Rename, { personId: ann, name: "Ann Zimmer" })
  return { ann, bob }
})

const memberNames = (members: ReadonlyArray<{ readonly name: unknown }>) => members.map(({ name }) => name)

const inLifecycle = (lifecycle: Lifecycle): Case<Stores> =>
  test(`${lifecycle} documents keep personal data encrypted, and lose what is erased`, function*() {
    const group = unique("g")
    const projection = groups(lifecycle)
    const base = lifecycle === "inline" ? Projector.layerInline([groupsOf("inline", projection)]) : undefined
    const program = Effect.gen(function*() {
      const { ann, bob } = yield* twoPeople(group)
      const after = yield* start
      const settledAt = lifecycle === "async" ? Projector.layer([groupsOf("async", projection)]) : Layer.empty
      const read = Effect.gen(function*() {
        const { awaitPosition } = yield* ProjectionStore.ProjectionStore
        yield* awaitPosition(projection, after, "20 seconds")
        return Option.getOrThrow(yield* ProjectionStore.get(projection, group))
      })
      const before = yield* Effect.provide(read, settledAt)
      equal(memberNames(before.members), ["Ann Zimmer", "Bob Baker"], "the members")
      const texts = yield* keptDocuments(projection)
      ok(!texts.some((text) => /Ann Zimmer|Ann Archer|Bob Baker/.test(text)), "no name in what is kept")
      const receipt = yield* Erasure.erase(ann)
      equal(
        receipt.found.encrypted,
        { events: 2, snapshots: 0, documents: lifecycle === "live" ? 0 : 1 },
        "what was encrypted"
      )
      const again = yield* Effect.provide(read, settledAt)
      equal<unknown>(memberNames(again.members), [erasedOf(ann), "Bob Baker"], "the members after the erasure")
      // What is written later keeps the rest.
      yield* CommandBus.dispatch(Rename, { personId: bob, name: "Bob Young" })
      const end = yield* start
      const last = yield* Effect.provide(
        Effect.andThen(
          Effect.flatMap(
            ProjectionStore.ProjectionStore,
            (store) => store.awaitPosition(projection, end, "20 seconds")
          ),
          read
        ),
        settledAt
      )
      equal<unknown>(memberNames(last.members), [erasedOf(ann), "Bob Young"], "the members at last")
    })
    yield* base === undefined
      ? Effect.provide(program, people)
      : Effect.provide(program, people.pipe(Layer.provideMerge(base)))
  })

/** The same projection, of the lifecycle that it was made with. */
const groupsOf = <L extends Lifecycle>(_lifecycle: L, projection: ReturnType<typeof groups<Lifecycle>>) =>
  projection as ReturnType<typeof groups<L>>

/**
 * All tests. An erasure waits for the `maxAge` of the key store, which is best a short one here.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  test("personal data is encrypted in the log, and read as it was written", function*() {
    const store = yield* EventStore.EventStore
    const [person, friend, stream, after] = [unique("p"), unique("f"), unique("people"), yield* start]
    const written = [
      PersonEvent.cases.Registered.make({
        personId: person,
        group: "g",
        name: "Ann Archer",
        address: { street: "Main Street", since: DateTime.makeUnsafe(0) }
      }),
      PersonEvent.cases.Introduced.make({
        personId: person,
        group: "g",
        friends: [{ friendId: friend, nick: "Bobby" }, { friendId: person, nick: "Annie" }]
      })
    ]
    yield* store.append(PersonEvent, stream, written)
    const raw = yield* readStored(after, [stream])
    ok(!raw.some(({ data, metadata }) => /Archer|Main|Bobby|Annie/.test(data + metadata)), "nothing in plaintext")
    equal(raw.map(({ metadata }) => JSON.parse(metadata).subjects), [[person], [friend, person]], "their subjects")
    const read = yield* Stream.runCollect(store.readStream(PersonEvent, stream))
    equal(read.map(({ event }) => event), written, "what is read")
    ok(read.every(({ data }) => !JSON.stringify(data).includes("Archer")), "what is kept stays beside it")
  }),

  test("erasing a subject erases it in events and states, also those that are kept in memory, and changes nothing else", function*() {
    yield* Effect.gen(function*() {
      const after = yield* start
      const { ann, bob } = yield* twoPeople("g")
      const streams = [ann, bob].map((id) => `Person-${id}`)
      const before = yield* readStored(after, streams)
      equal((yield* Aggregate.load(PersonDecider, ann)).state.name, "Ann Zimmer", "the state")
      const receipt = yield* Erasure.erase(ann)
      equal(receipt.found.encrypted.events, 2, "events with her data")
      const { maxAge } = yield* KeyStore.KeyStore
      const waited = DateTime.distance(receipt.erasedAt, receipt.doneAt)
      ok(Duration.isGreaterThan(waited, maxAge), "it has waited for the other processes")
      equal(receipt.found.streams, [`Person-${ann}`], "their streams")
      equal(yield* readStored(after, streams), before, "the log, byte for byte")
      const { state } = yield* Aggregate.load(PersonDecider, ann, { policy: "stale" })
      equal<unknown>(state, { personId: ann, group: "g", name: erasedOf(ann), names: 2 }, "the state of who was erased")
      equal((yield* Aggregate.load(PersonDecider, bob)).state.name, "Bob Baker", "the state of another")
      const again = yield* Erasure.erase(ann)
      equal(again.erasedAt, receipt.erasedAt, "when it was erased")
      equal(again.found.plaintext, undefined, "what cannot be looked for any more")
    }).pipe(Effect.provide(people))
  }),

  test("what is new about an erased subject is refused, and a command that was done stays done", function*() {
    yield* Effect.gen(function*() {
      const ann = unique("ann")
      const register = { personId: ann, group: "g", name: "Ann Archer" }
      const commandId = unique("c")
      const first = yield* CommandBus.dispatch(Register, register, { commandId })
      yield* Erasure.erase(ann)
      const error = yield* Effect.flip(CommandBus.dispatch(Rename, { personId: ann, name: "Ann Zimmer" }))
      ok(error._tag === "EventStoreError" && error.reason._tag === "SubjectErased", "the error")
      equal((yield* Aggregate.load(PersonDecider, ann)).version, first.version, "nothing was written")
      const store = yield* EventStore.EventStore
      const event = PersonEvent.cases.Registered.make(register)
      const metadata = { command: "RegisterPerson", commandId }
      equal(yield* store.append(PersonEvent, first.stream, [event], { metadata }), first, "the first receipt")
    }).pipe(Effect.provide(people))
  }),

  test("a snapshot keeps personal data encrypted, and is removed by an erasure", function*() {
    const ann = unique("ann")
    const noted = Person.decider({ ...behaviour, snapshots: SnapshotPolicy.every(2) })
    yield* Effect.gen(function*() {
      const { driver, snapshots } = (yield* EventStore.EventStore)[internals]
      yield* CommandBus.dispatch(Register, { personId: ann, group: "g", name: "Ann Archer" })
      const { stream } = yield* CommandBus.dispatch(Rename, { personId: ann, name: "Ann Zimmer" })
      yield* snapshots.settled
      const storedTexts = Effect.map(
        driver.snapshots.page(undefined, 10_000),
        (page) => page.filter((one) => one.stream === stream)
      )
      const [snapshot, ...others] = yield* storedTexts
      ok(snapshot !== undefined && others.length === 0 && !/Archer|Zimmer/.test(snapshot.state), "what is kept")
      // A program that knows nothing yet starts from it.
      const again = Person.decider({
        ...behaviour,
        snapshots: SnapshotPolicy.every(2),
        evolve: {
          ...behaviour.evolve,
          Registered: () => {
            throw new Error("not from the snapshot")
          }
        }
      })
      equal((yield* Aggregate.load(again, ann)).state.name, "Ann Zimmer", "the state from the snapshot")
      const { found } = yield* Erasure.erase(ann)
      equal(found.encrypted, { events: 2, snapshots: 1, documents: 0 }, "what was found")
      equal(yield* storedTexts, [], "what is left")
      const { state } = yield* Aggregate.load(noted, ann)
      equal<unknown>(state.name, erasedOf(ann), "the state that is folded again")
    }).pipe(Effect.provide(Aggregate.layer(noted)))
  }),

  test("a snapshot that was waiting while somebody was erased is not written", function*() {
    const [ann, bob] = [unique("ann"), unique("bob")]
    const noted = Person.decider({ ...behaviour, snapshots: SnapshotPolicy.every(1) })
    const { driver, keys } = (yield* EventStore.EventStore)[internals]
    const [isWaiting, goOn] = [yield* Latch.make(), yield* Latch.make()]
    const slow = {
      ...driver,
      snapshots: {
        ...driver.snapshots,
        write: (snapshot: Snapshot) =>
          isWaiting.open.pipe(Effect.andThen(goOn.await), Effect.andThen(driver.snapshots.write(snapshot)))
      }
    }
    const store = Layer.effect(EventStore.EventStore, EventStore.make(slow, keys))
    yield* Effect.gen(function*() {
      const { snapshots } = (yield* EventStore.EventStore)[internals]
      const first = yield* CommandBus.dispatch(Register, { personId: bob, group: "g", name: "Bob Baker" })
      yield* isWaiting.await
      const { stream } = yield* CommandBus.dispatch(Register, { personId: ann, group: "g", name: "Ann Archer" })
      yield* Erasure.erase(ann)
      yield* goOn.open
      yield* snapshots.settled
      const page = yield* driver.snapshots.page(undefined, 10_000)
      const ofStreams = page.map((one) => one.stream).filter((one) => one === stream || one === first.stream)
      equal(ofStreams, [first.stream], "of whom there is a snapshot")
    }).pipe(Effect.provide(Aggregate.layer(noted).pipe(Layer.provideMerge(store))))
  }),

  inLifecycle("async"),
  inLifecycle("inline"),
  inLifecycle("live"),

  test("a rebuild goes on after an erasure, and compares what is encrypted again each time", function*() {
    const group = unique("g")
    const projection = groupsOf("async", groups("async"))
    yield* Effect.gen(function*() {
      const { ann } = yield* twoPeople(group)
      const { awaitPosition } = yield* ProjectionStore.ProjectionStore
      yield* awaitPosition(projection, yield* start, "20 seconds")
      yield* Stream.runDrain(Rebuild.rebuild(projection, { cutOver: false }))
      const differences = Stream.runCollect(Rebuild.compare(projection))
      equal(yield* differences, [], "differences before")
      yield* Erasure.erase(ann)
      equal(yield* differences, [], "differences after")
      yield* Rebuild.cutOver(projection)
      const { members } = Option.getOrThrow(yield* ProjectionStore.get(projection, group))
      equal<unknown>(memberNames(members), [erasedOf(ann), "Bob Baker"], "the members")
    }).pipe(Effect.provide(Layer.merge(people, Projector.layer([projection]))))
  }),

  test("values that stand in plaintext as well are found before the key is gone", function*() {
    const store = yield* EventStore.EventStore
    const [person, friend, stream] = [unique("p"), unique("f"), unique("people")]
    const [name, nick] = [unique("Archibald"), unique("Archie")]
    const { Introduced, Registered } = PersonEvent.cases
    const metadata = { attributes: { mail: `${name}@example.com` } }
    const introduced = Introduced.make({ personId: friend, group: "", friends: [] })
    yield* store.append(PersonEvent, stream, [Registered.make({ personId: person, group: `friends of ${name}`, name })])
    yield* store.append(PersonEvent, stream, [introduced], { metadata })
    yield* store.append(PersonEvent, `of-${nick}`, [introduced])
    // What is of another, and what is true or null of everybody.
    const other = unique("Other")
    yield* store.append(PersonEvent, stream, [
      Introduced.make({
        personId: friend,
        group: `true null ${other}`,
        friends: [{ friendId: person, nick }, { friendId: friend, nick: other }]
      })
    ])
    const CachedKey = Schema.TaggedUnion({
      CachedKey: {
        personId: Schema.String,
        of: PersonalData.field(Schema.Array(Schema.NullOr(Schema.Boolean)), ofPerson)
      }
    })
    yield* store.append(CachedKey, stream, [CachedKey.cases.CachedKey.make({ personId: person, of: [true, null] })])
    const { found } = yield* Erasure.erase(person)
    equal(found.encrypted.events, 3, "events")
    equal(found.plaintext, [
      { source: "events", owner: stream, key: "1", path: "data.group" },
      { source: "events", owner: stream, key: "2", path: "metadata.attributes.mail" },
      { source: "events", owner: `of-${nick}`, key: "1", path: "stream" }
    ], "the places")
  }),

  test("where a value stands in plaintext is told to the field, and without telling it", function*() {
    const store = yield* EventStore.EventStore
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const [person, friend, stream, name] = [unique("p"), unique("f"), unique("people"), unique("Archibald")]
    const registered = PersonEvent.cases.Registered.make({ personId: person, group: "g", name })
    yield* store.append(PersonEvent, stream, [registered])
    const Anything = Schema.TaggedUnion({ Said: { of: Schema.Json } })
    const deep = Array.from({ length: 20 }).reduce<Schema.Json>((inner) => ({ a: inner }), name)
    const said: ReadonlyArray<readonly [Schema.Json, string]> = [
      [{ who: [1, { nick: `${name}!` }] }, "data.of.who.1.nick"],
      [{ who: { [name]: 1 } }, "data.of.who"],
      [{ who: { [`${name}-x`]: name } }, "data.of.who"],
      [{ who: { "bob@example.com": { by: name } } }, "data.of.who.*.by"],
      [{ ["x".repeat(65)]: name }, "data.of.*"],
      [[[name]], "data.of.0.0"],
      [deep, "data.of.a.a.a.a.a.a"]
    ]
    for (const [of] of said) yield* store.append(Anything, stream, [Anything.cases.Said.make({ of })])
    const tagged: NewEvent = {
      id: globalThis.crypto.randomUUID(),
      type: "Tagged",
      schemaVersion: 1,
      data: "{}",
      metadata: "{}",
      tags: [`who=${name}`]
    }
    yield* store[internals].driver.append({ stream: StreamId.make(stream), expected: "any", events: [tagged] })
    yield* store.append(PersonEvent, stream, [PersonEvent.cases.Introduced.make({
      personId: friend,
      group: "",
      friends: []
    })], { metadata: { actor: name } })
    const [projection, key] = [unique("p"), unique("k")]
    const write = (key: string, document: Schema.Json) => ({ key, document: JSON.stringify(document), indexed: [] })
    yield* driver.write([{ generation: projection, changes: [write(key, { all: { who: name } }), write(name, 1)] }])
    const { plaintext = [] } = yield* Erasure.scan(person)
    equal(
      plaintext.map(({ path }) => path).filter((path) => path !== "document.all.who" && path !== "key"),
      [...said.map(([, path]) => path), "tags.0", "metadata.actor"],
      "the paths in events"
    )
    equal(
      plaintext.filter(({ source }) => source === "documents").map(({ key, path }) => [key, path]).toSorted(),
      [[key, "document.all.who"], [name, "key"]].toSorted(),
      "the paths in documents"
    )
  }),

  test("a failure is parked without personal data in its words, of the event or of the document", function*() {
    const [ann, bob, group] = [unique("ann"), unique("bob"), unique("g")]
    const projection = Projection.make(unique("fails"), {
      events: PersonEvent,
      document: Schema.Struct({ personId: Schema.String, name: PersonalData.field(Schema.NonEmptyString, ofPerson) }),
      key: (event) => event.group,
      evolve: {
        Registered: (before, { name, personId }) => {
          if (before === undefined || personId !== bob) return { personId, name }
          throw new Error(
            `${group}: ${JSON.stringify(name)} comes after ${PersonalData.getOrElse(before.name, () => "?")}`
          )
        },
        Renamed: Projection.ignore,
        Introduced: Projection.ignore
      }
    })
    const store = yield* EventStore.EventStore
    for (const [personId, name] of [[ann, "Ann Archer"], [bob, `Bob "B" O'Baker`]] as const) {
      yield* store.append(PersonEvent, personId, [PersonEvent.cases.Registered.make({ personId, group, name })])
    }
    const { awaitPosition } = yield* ProjectionStore.ProjectionStore
    const [parked] = yield* Effect.andThen(
      awaitPosition(projection, yield* start, "20 seconds"),
      Parking.list(projection)
    ).pipe(Effect.provide(Projector.layer([projection])))
    equal(parked?.stream, bob, "the stream that is parked")
    const error = parked?.error ?? ""
    ok(error.includes(`${group}: "[personal data]" comes after [personal data]`), error)
  }),

  test("what was tampered with stops only its own stream and its own document", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const documents = (yield* ProjectionStore.ProjectionStore)[internals].driver
    const group = unique("g")
    const [ann, bob] = [unique("ann"), unique("bob")]
    const spoil = <E extends EncodedEvent>(event: E): E => {
      const { decrypted: _, ...rest } = event
      const text = JSON.stringify(event.data)
      // Under the key of somebody else.
      return event.stream === ann
        ? { ...(rest as E), data: JSON.parse(text.replaceAll(`"subject":"${ann}"`, `"subject":"${bob}"`)) }
        : event
    }
    const spoilt = yield* EventStore.make({
      ...driver,
      readStream: (page) => Effect.map(driver.readStream(page), (events) => events.map(spoil)),
      readAll: (page) => Effect.map(driver.readAll(page), (page) => ({ ...page, events: page.events.map(spoil) }))
    })
    const projection = groupsOf("async", groups("async"))
    for (const [person, name] of [[ann, "Ann Archer"], [bob, "Bob Baker"]] as const) {
      const event = PersonEvent.cases.Registered.make({ personId: person, group, name })
      yield* spoilt.append(PersonEvent, person, [event])
    }
    const error = yield* Effect.flip(Stream.runDrain(spoilt.readStream(PersonEvent, ann)))
    ok(error.reason._tag === "UndecodableEvent" && error.message.includes("cannot be decrypted"), error.message)
    equal((yield* Stream.runCollect(spoilt.readStream(PersonEvent, bob))).length, 1, "events of another")
    yield* Effect.gen(function*() {
      const { awaitPosition } = yield* ProjectionStore.ProjectionStore
      yield* awaitPosition(projection, yield* start, "20 seconds")
      equal((yield* Parking.list(projection)).map(({ stream }) => stream), [ann], "what is parked")
      const { members } = Option.getOrThrow(yield* ProjectionStore.get(projection, group))
      equal<unknown>(memberNames(members), ["Bob Baker"], "the members")
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provide(Layer.succeed(EventStore.EventStore, spoilt))
    )
    const text = (yield* keptDocuments(projection)).find((text) => text.includes(bob))
    const encrypted = JSON.parse(text!.replaceAll(`"subject":"${bob}"`, `"subject":"nobody"`)) as Schema.Json
    const found = yield* ProjectionStore.make({
      ...documents,
      get: (_, key) => Effect.succeedSome({ key, document: encrypted, revision: 1n })
    })
    const undecodable = yield* Effect.flip(found.get(projection, group))
    ok(
      undecodable._tag === "EventStoreError" && undecodable.reason._tag === "UndecodableDocument" &&
        undecodable.message.includes(`no key of the subject "nobody"`),
      undecodable.message
    )
  }),

  test("what is written of somebody who was erased since it was read is written as erased", function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const [ann, bob] = [unique("ann"), unique("bob")]
    const projection = groups("async")
    const members = [{ personId: ann, name: "Ann Archer" }, { personId: bob, name: "Bob Baker" }]
    const change = Result.getOrThrow(DocumentCodec.of(projection).encode("g", { size: 2, members }))
    const write = driver.write([{ generation: projection.id, changes: [change] }])
    const read = Effect.map(driver.get(projection.id, "g"), (found) => Option.getOrThrow(found).document)
    yield* write
    equal(yield* read, { size: 2, members }, "the document, byte for byte")
    yield* (yield* KeyStore.KeyStore).erase(ann)
    yield* write
    equal(yield* read, { size: 2, members: [{ personId: ann, name: erasedOf(ann) }, members[1]!] }, "and after that")
    ok(!/Ann Zimmer|Ann Archer|Bob Baker/.test((yield* keptDocuments(projection)).join("")), "no name in what is kept")
  }),

  test("a trail has its events as they can be decoded", function*() {
    yield* Effect.gen(function*() {
      const ann = unique("ann")
      const [correlationId, store] = [unique("talk"), yield* EventStore.EventStore]
      yield* CommandBus.dispatch(Register, { personId: ann, group: "g", name: "Ann Archer" }, { correlationId })
      const page = { correlationId, after: Position.start, limit: 10 }
      const [event] = yield* store[internals].driver.readCorrelation(page)
      const decoded = EventCodec.make(PersonEvent).decode(event!)
      ok(Result.isSuccess(decoded) && decoded.success[0]?.event._tag === "Registered", "it is decoded")
      equal(
        Option.map(yield* store[internals].driver.event(event!.id), ({ decrypted }) => decrypted),
        Option.some(event!.decrypted),
        "by its id"
      )
    }).pipe(Effect.provide(people))
  }),

  test("whoever watches a live document no longer sees what was erased when it changes", function*() {
    yield* Effect.gen(function*() {
      const group = unique("g")
      const { ann, bob } = yield* twoPeople(group)
      const documents = yield* Stream.toPull(ProjectionStore.watch(groupsOf("live", groups("live")), group))
      const next = Effect.map(
        Effect.timeout(documents, "20 seconds"),
        (page) => memberNames(Option.getOrThrow(page[page.length - 1]!).members)
      )
      equal<unknown>(yield* next, ["Ann Zimmer", "Bob Baker"], "the members at first")
      yield* Erasure.erase(ann)
      yield* CommandBus.dispatch(Rename, { personId: bob, name: "Bob Young" })
      equal<unknown>(yield* next, [erasedOf(ann), "Bob Young"], "the members after the erasure")
    }).pipe(Effect.provide(people))
  }),

  test("a listener that is slow does not see what was erased in the meantime", function*() {
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const ann = unique("ann")
      const ofAnn = <E, R>(events: Stream.Stream<RecordedEvent<typeof PersonEvent.Type>, E, R>) =>
        Effect.map(
          Stream.runHead(Stream.filter(events, ({ event }) => event.personId === ann)),
          (found) => Option.getOrThrow(found).event
        )
      const [quick, slow] = [yield* EventBus.listen(PersonEvent), yield* EventBus.listen(PersonEvent)]
      const event = PersonEvent.cases.Registered.make({ personId: ann, group: "g", name: "Ann Archer" })
      yield* store.append(PersonEvent, ann, [event])
      equal(yield* ofAnn(quick), event, "what is heard at once")
      yield* Erasure.erase(ann)
      equal(yield* ofAnn(slow), { ...event, name: erasedOf(ann) }, "what is heard later")
    }).pipe(Effect.scoped, Effect.provide(Layer.fresh(EventBus.layer())))
  }),

  test("a subject without a name is refused with the event and the field", function*() {
    const store = yield* EventStore.EventStore
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const stream = unique("people")
    const registered = PersonEvent.cases.Registered.make({ personId: "", group: "g", name: "Ann" })
    const ofEvent = yield* Effect.flip(store.append(PersonEvent, stream, [registered]))
    const because = `the subject of the personal field "name" must not be empty`
    ok(ofEvent.message.includes(`event "Registered": ${because}`), ofEvent.message)
    equal(yield* Stream.runCollect(store.readStream(PersonEvent, stream)), [], "nothing is written")
    const document = JSON.stringify({ personId: "", name: "Ann" })
    const locateFields = PersonalFields.locateFields("it", PersonEvent.cases.Registered)!
    const write = driver.write([{
      generation: unique("p"),
      changes: [{ key: "k", document, indexed: [], locateFields }]
    }])
    const ofDocument = yield* Effect.flip(write)
    ok(ofDocument.message.includes(`document "k": ${because}`), ofDocument.message)
  }),

  test("names that tell what is encrypted cannot be taken by data", function*() {
    const store = yield* EventStore.EventStore
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const stream = unique("notes")
    const Note = Schema.TaggedUnion({
      Noted: { personId: Schema.String, name: PersonalData.field(Schema.String, ofPerson), more: Schema.Json }
    })
    const note = (more: Schema.Json) => Note.cases.Noted.make({ personId: "p", name: "~encrypted", more })
    const isInvalid = (error: { readonly _tag: string; readonly reason?: { readonly _tag: string } }) =>
      error._tag === "EventStoreError" && error.reason?._tag === "InvalidRequest"
    for (const more of [{ "~encrypted": "x", subject: "p" }, [{ a: { "~encrypted": 1 } }]]) {
      ok(isInvalid(yield* Effect.flip(store.append(Note, stream, [note(more)]))), "the error of an event")
    }
    const metadata = { subjects: ["p"] }
    ok(isInvalid(yield* Effect.flip(store.append(Note, stream, [note(1)], { metadata }))), "the error of metadata")
    const names: Schema.Json = JSON.parse(`{"__proto__": "~encrypted", "~subjects": ["p"], "a": "\\"~encrypted\\":"}`)
    yield* store.append(Note, stream, [note(names)])
    const [read] = yield* Stream.runCollect(store.readStream(Note, stream))
    equal(read?.event.more, names, "what is read")
    const write = (document: Schema.Json) =>
      driver.write([{
        generation: unique("p"),
        changes: [{ key: "k", document: JSON.stringify(document), indexed: [] }]
      }])
    ok(isInvalid(yield* Effect.flip(write({ "~subjects": [] }))), "the error of a document")
    yield* write({ a: { "~subjects": [] } })
  }),

  test("without its key store nothing is written or read in plaintext", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const without = yield* Effect.updateContext(
      EventStore.make(driver),
      (context: Context.Context<KeyStore.KeyStore | Scope.Scope>) => Context.omit(KeyStore.KeyStore)(context)
    )
    const [person, stream] = [unique("p"), unique("people")]
    const event = PersonEvent.cases.Registered.make({ personId: person, group: "g", name: "Ann Archer" })
    const error = yield* Effect.flip(without.append(PersonEvent, stream, [event]))
    ok(error._tag === "EventStoreError" && error.reason._tag === "StoreMisconfigured", "the error")
    equal(yield* readStored(yield* start, [stream]), [], "nothing was written")
  }),

  test("while the key store cannot be reached nothing is written, lost or parked, and then all goes on", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const group = unique("g")
    const projection = groupsOf("async", groups("async"))
    let isDown = false
    const flaky = (keys: KeyStoreDriver): KeyStoreDriver => {
      const unless = <A>(answer: Effect.Effect<A, EventStoreError>) =>
        Effect.suspend(() =>
          isDown
            ? Effect.fail(storeError(new KeyStoreUnavailable({ message: "the key store is down", cause: undefined })))
            : answer
        )
      return {
        find: (subjects) => unless(keys.find(subjects)),
        findOrCreate: (offered) => unless(keys.findOrCreate(offered)),
        erasures: unless(keys.erasures),
        erase: (subject) => unless(keys.erase(subject))
      }
    }
    const keys = KeyStore.layer(Effect.map(MemoryKeyStore.make, flaky), { maxAge: 0 })
    const stores = Layer.effect(EventStore.EventStore, EventStore.make(driver)).pipe(Layer.provide(keys))
    const isUnavailable = (error: unknown) =>
      error instanceof EventStoreError && error.reason._tag === "KeyStoreUnavailable" && error.isRetryable
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const after = yield* start
      const { ann } = yield* twoPeople(group)
      const end = yield* start
      isDown = true
      const rename = CommandBus.dispatch(Rename, { personId: ann, name: "Ann Young" })
      ok(isUnavailable(yield* Effect.flip(rename)), "the error of a command")
      const nobody = PersonEvent.cases.Introduced.make({ personId: ann, group: "", friends: [] })
      equal(
        (yield* store.append(PersonEvent, unique("s"), [nobody])).version,
        Version.make(1),
        "what has no personal data"
      )
      const read = Stream.runCollect(store.readStream(PersonEvent, `Person-${ann}`))
      ok(isUnavailable(yield* Effect.flip(read)), "the error of a read")
      equal((yield* readStored(after, [`Person-${ann}`])).length, 2, "nothing was written")
      yield* Effect.gen(function*() {
        const projector = yield* Projector.Projector
        yield* Effect.repeat(projector.status, {
          until: ([status]) => status?.state === "retrying",
          schedule: Schedule.spaced("10 millis")
        })
        equal(yield* Parking.list(projection), [], "what is parked")
        isDown = false
        const { awaitPosition } = yield* ProjectionStore.ProjectionStore
        yield* awaitPosition(projection, end, "20 seconds")
      }).pipe(Effect.provide(Projector.layer([projection], { retryDelay: { first: "10 millis", max: "50 millis" } })))
      const document = yield* ProjectionStore.get(projection, group)
      ok(Option.isSome(document), "the document")
    }).pipe(Effect.provide(people.pipe(Layer.provideMerge(stores))))
  })
]
