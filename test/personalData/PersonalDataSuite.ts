/**
 * The runtime suite of personal data: it is encrypted wherever it is stored, and an erasure applies everywhere at once.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { readStored } from "../../src/conformance/StoredEventSuite.ts"
import { type Case, equal, includes, isAbove, isAtLeast, ok, test, unique } from "../../src/conformance/Suite.ts"
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
import * as SnapshotSigning from "../../src/snapshot/SnapshotSigning.ts"
import { parkedKeys } from "../support/parked.ts"
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

/** Returns the stored JSON texts of a projection's documents, of every generation. */
const storedDocuments = (projection: { readonly id: string }) =>
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

const logHead = Effect.flatMap(EventStore.EventStore, ({ head }) => head)

/** The names of the people in plaintext. Each contains a space, so that no base64 text matches by chance. */
const names = /Ann Zimmer|Ann Archer|Bob Baker/

/** Returns the tag of a store error's reason, or the error itself when it is another one. */
const reasonOf = (error: unknown) => error instanceof EventStoreError ? error.reason._tag : error

/** Registers two people in a group, and renames the first. Returns their ids. */
const twoPeople = Effect.fnUntraced(function*(group: string) {
  const [ann, bob] = [unique("ann"), unique("bob")]
  yield* CommandBus.dispatch(Register, { personId: ann, group, name: "Ann Archer" })
  yield* CommandBus.dispatch(Register, { personId: bob, group, name: "Bob Baker" })
  yield* CommandBus.dispatch(Rename, { personId: ann, name: "Ann Zimmer" })
  return { ann, bob }
})

const memberNames = (members: ReadonlyArray<{ readonly name: unknown }>) => members.map(({ name }) => name)

const inLifecycle = (lifecycle: Lifecycle): Case<Stores> =>
  test(`${lifecycle} documents store personal data encrypted and lose what is erased`, function*() {
    const group = unique("g")
    const projection = groups(lifecycle)
    const base = lifecycle === "inline" ? Projector.layerInline([groupsOf("inline", projection)]) : undefined
    const program = Effect.gen(function*() {
      const { ann, bob } = yield* twoPeople(group)
      const after = yield* logHead
      const settledAt = lifecycle === "async" ? Projector.layer([groupsOf("async", projection)]) : Layer.empty
      const read = Effect.gen(function*() {
        const { awaitPosition } = yield* ProjectionStore.ProjectionStore
        yield* awaitPosition(projection, after, "1 minute")
        return Option.getOrThrow(yield* ProjectionStore.get(projection, group))
      })
      const before = yield* Effect.provide(read, settledAt)
      equal(memberNames(before.members), ["Ann Zimmer", "Bob Baker"], "the members")
      const texts = yield* storedDocuments(projection)
      // An asynchronous projection also reads the events of other tests.
      if (lifecycle === "live") equal(texts, [], "the stored documents")
      else isAtLeast(texts.length, 1, "the number of stored documents")
      equal(texts.filter((text) => names.test(text)), [], "the stored documents with a name in plaintext")
      const receipt = yield* Erasure.erase(ann)
      equal(
        receipt.found.encrypted,
        { events: 2, snapshots: 0, documents: lifecycle === "live" ? 0 : 1 },
        "the encrypted values found"
      )
      const again = yield* Effect.provide(read, settledAt)
      equal<unknown>(memberNames(again.members), [erasedOf(ann), "Bob Baker"], "the members after the erasure")
      // A later change leaves the other member decryptable.
      yield* CommandBus.dispatch(Rename, { personId: bob, name: "Bob Young" })
      const end = yield* logHead
      const last = yield* Effect.provide(
        Effect.andThen(
          Effect.flatMap(
            ProjectionStore.ProjectionStore,
            (store) => store.awaitPosition(projection, end, "1 minute")
          ),
          read
        ),
        settledAt
      )
      equal<unknown>(memberNames(last.members), [erasedOf(ann), "Bob Young"], "the members after the rename")
    })
    yield* base === undefined
      ? Effect.provide(program, people)
      : Effect.provide(program, people.pipe(Layer.provideMerge(base)))
  })

/** Returns the projection with the type of its lifecycle. */
const groupsOf = <L extends Lifecycle>(_lifecycle: L, projection: ReturnType<typeof groups<Lifecycle>>) =>
  projection as ReturnType<typeof groups<L>>

/**
 * All cases. Each erasure waits for the `maxAge` of the key store, so provide one with a short `maxAge`.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  test("the log stores personal data encrypted, and readers decrypt it", function*() {
    const store = yield* EventStore.EventStore
    const [person, friend, stream, after] = [unique("p"), unique("f"), unique("people"), yield* logHead]
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
        friends: [{ friendId: friend, nick: "Bobby Baker" }, { friendId: person, nick: "Annie Archer" }]
      })
    ]
    yield* store.append(PersonEvent, stream, written)
    const stored = yield* readStored(after, [stream])
    const plaintext = /Ann Archer|Main Street|Bobby Baker|Annie Archer/
    equal(
      stored.filter(({ data, metadata }) => plaintext.test(data + metadata)),
      [],
      "the stored events with personal data in plaintext"
    )
    equal(stored.map(({ metadata }) => JSON.parse(metadata).subjects), [[person], [friend, person]], "the subjects")
    const read = yield* Stream.runCollect(store.readStream(PersonEvent, stream))
    equal(read.map(({ event }) => event), written, "the decoded events")
    const texts = read.map(({ data }) => JSON.stringify(data))
    equal(texts.filter((text) => plaintext.test(text)), [], "the recorded payloads with personal data in plaintext")
  }),

  test("an erasure erases a subject in events and cached states, and no other", function*() {
    yield* Effect.gen(function*() {
      const after = yield* logHead
      const { ann, bob } = yield* twoPeople("g")
      const streams = [ann, bob].map((id) => `Person-${id}`)
      const before = yield* readStored(after, streams)
      equal((yield* Aggregate.load(PersonDecider, ann)).state.name, "Ann Zimmer", "the name before the erasure")
      const receipt = yield* Erasure.erase(ann)
      equal(receipt.found.encrypted.events, 2, "the number of events with her data")
      const { maxAge } = yield* KeyStore.KeyStore
      const waited = DateTime.distance(receipt.erasedAt, receipt.doneAt)
      isAbove(Duration.toMillis(waited), Duration.toMillis(maxAge), "the milliseconds for which the erasure waited")
      equal(receipt.found.streams, [`Person-${ann}`], "the streams of these events")
      equal(yield* readStored(after, streams), before, "the log, byte for byte")
      const { state } = yield* Aggregate.load(PersonDecider, ann, { policy: "stale" })
      equal<unknown>(
        state,
        { personId: ann, group: "g", name: erasedOf(ann), names: 2 },
        "the state of the erased person"
      )
      equal((yield* Aggregate.load(PersonDecider, bob)).state.name, "Bob Baker", "the name of the other person")
      const again = yield* Erasure.erase(ann)
      equal(again.erasedAt, receipt.erasedAt, "the time of the first erasure")
      equal(again.found.plaintext, undefined, "the plaintext, which a second erasure cannot search")
    }).pipe(Effect.provide(people))
  }),

  test("a command that comes after an erasure is not decided on a state in flight from before it", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const [sent, mayEnd] = [Latch.makeUnsafe(), Latch.makeUnsafe()]
    let holds = false
    const store = yield* EventStore.make({
      ...driver,
      append: (request) => {
        if (!holds) return driver.append(request)
        holds = false
        // The next command is decided beside this append, on every store.
        request.onQueued?.()
        return Effect.andThen(
          Effect.andThen(sent.open, mayEnd.await),
          driver.append({ ...request, onQueued: undefined })
        )
      }
    })
    const names: Array<unknown> = []
    const noting = Aggregate.layer({
      ...PersonDecider,
      decide: {
        ...PersonDecider.decide,
        RenamePerson: (...input: Parameters<typeof PersonDecider.decide.RenamePerson>) => {
          names.push(input[0].name)
          return PersonDecider.decide.RenamePerson(...input)
        }
      }
    })
    yield* Effect.gen(function*() {
      const { ann } = yield* twoPeople("g")
      holds = true
      const rename = (name: string) => CommandBus.dispatch(Rename, { personId: ann, name })
      const first = yield* Effect.forkChild(rename("Ann Young"), { startImmediately: true })
      yield* sent.await
      yield* Erasure.erase(ann)
      names.length = 0
      const second = yield* Effect.forkChild(Effect.exit(rename("Ann Old")), { startImmediately: true })
      yield* Effect.yieldNow
      yield* mayEnd.open
      equal((yield* Fiber.join(first)).events.length, 1, "what was encrypted before the erasure is written")
      ok(Exit.isFailure(yield* Fiber.join(second)), "there is no key for a new name")
      ok(names.length > 0, "the second command was decided")
      equal(names.filter((name) => Predicate.isString(name)), [], "the names in plaintext on which it was decided")
    }).pipe(Effect.provide(noting), Effect.provideService(EventStore.EventStore, store))
  }),

  test("rejects new data of an erased subject, and deduplicates an earlier command", function*() {
    yield* Effect.gen(function*() {
      const ann = unique("ann")
      const register = { personId: ann, group: "g", name: "Ann Archer" }
      const commandId = unique("c")
      const first = yield* CommandBus.dispatch(Register, register, { commandId })
      yield* Erasure.erase(ann)
      const error = yield* Effect.flip(CommandBus.dispatch(Rename, { personId: ann, name: "Ann Zimmer" }))
      equal(reasonOf(error), "SubjectErased", "the error")
      equal(
        (yield* Aggregate.load(PersonDecider, ann)).version,
        first.version,
        "the version after the rejected command"
      )
      equal(yield* CommandBus.dispatch(Register, register, { commandId }), first, "the first receipt")
      const store = yield* EventStore.EventStore
      const bob = unique("bob")
      const event = PersonEvent.cases.Registered.make({ ...register, personId: bob })
      const append = store.append(PersonEvent, `Person-${bob}`, [event], { metadata: { commandId: unique("c") } })
      const appended = yield* append
      yield* Erasure.erase(bob)
      equal(yield* append, appended, "the first receipt of an append")
    }).pipe(Effect.provide(people))
  }),

  test("a snapshot stores personal data encrypted, and an erasure removes it", function*() {
    const ann = unique("ann")
    const snapshotted = Person.decider({ ...behaviour, snapshots: SnapshotPolicy.every(2) })
    yield* Effect.gen(function*() {
      const { driver, snapshots } = (yield* EventStore.EventStore)[internals]
      yield* CommandBus.dispatch(Register, { personId: ann, group: "g", name: "Ann Archer" })
      const { stream } = yield* CommandBus.dispatch(Rename, { personId: ann, name: "Ann Zimmer" })
      yield* snapshots.settled
      const snapshotTexts = Effect.map(
        driver.snapshots.page(undefined, 10_000),
        (page) => page.filter((one) => one.stream === stream).map(({ state }) => state)
      )
      const texts = yield* snapshotTexts
      equal(texts.length, 1, "the number of snapshots")
      equal(texts.filter((text) => names.test(text)), [], "the snapshots with a name in plaintext")
      // A decider without cached states must start from the snapshot, because its `evolve` throws on the first event.
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
      equal((yield* Aggregate.load(again, ann)).state.name, "Ann Zimmer", "the name from the snapshot")
      const { found } = yield* Erasure.erase(ann)
      equal(found.encrypted, { events: 2, snapshots: 1, documents: 0 }, "the encrypted values found")
      equal(yield* snapshotTexts, [], "the snapshots after the erasure")
      const { state } = yield* Aggregate.load(snapshotted, ann)
      equal<unknown>(state.name, erasedOf(ann), "the name folded from the events")
    }).pipe(Effect.provide(Aggregate.layer(snapshotted)))
  }),

  test("a snapshot that was queued when its subject was erased is not written", function*() {
    const [ann, bob] = [unique("ann"), unique("bob")]
    const snapshotted = Person.decider({ ...behaviour, snapshots: SnapshotPolicy.every(1) })
    const { driver, keys } = (yield* EventStore.EventStore)[internals]
    const [isWaiting, proceed] = [yield* Latch.make(), yield* Latch.make()]
    const writes: Array<string> = []
    const slow = {
      ...driver,
      snapshots: {
        ...driver.snapshots,
        write: (snapshot: Snapshot) => {
          writes.push(snapshot.stream)
          return isWaiting.open.pipe(Effect.andThen(proceed.await), Effect.andThen(driver.snapshots.write(snapshot)))
        }
      }
    }
    const store = Layer.effect(EventStore.EventStore, EventStore.make(slow, keys))
    yield* Effect.gen(function*() {
      const { snapshots } = (yield* EventStore.EventStore)[internals]
      const first = yield* CommandBus.dispatch(Register, { personId: bob, group: "g", name: "Bob Baker" })
      yield* isWaiting.await
      const { stream } = yield* CommandBus.dispatch(Register, { personId: ann, group: "g", name: "Ann Archer" })
      yield* Erasure.erase(ann)
      yield* proceed.open
      yield* snapshots.settled
      equal(writes, [first.stream], "the streams whose snapshots were written")
      const page = yield* driver.snapshots.page(undefined, 10_000)
      equal(page.filter((one) => one.stream === stream), [], "the snapshots of the erased subject")
    }).pipe(Effect.provide(Aggregate.layer(snapshotted).pipe(Layer.provideMerge(store))))
  }),

  test("a signed snapshot has encrypted data, and another person's is not used in its place", function*() {
    const [ann, bob] = [unique("ann"), unique("bob")]
    const snapshotted = Person.decider({ ...behaviour, snapshots: SnapshotPolicy.every(2) })
    const { driver, keys } = (yield* EventStore.EventStore)[internals]
    const snapshots = yield* SnapshotSigning.withKeys(driver.snapshots, [Redacted.make(btoa("k".repeat(32)))])
    const startProcess = EventStore.make({ ...driver, snapshots }, keys)
    const store = yield* startProcess
    const streams: Array<string> = []
    for (const [personId, name] of [[ann, "Ann Archer"], [bob, "Bob Baker"]] as const) {
      const { stream } = yield* Effect.gen(function*() {
        yield* CommandBus.dispatch(Register, { personId, group: "g", name: "Nobody" })
        return yield* CommandBus.dispatch(Rename, { personId, name })
      }).pipe(Effect.provide(Aggregate.layer(snapshotted)), Effect.provideService(EventStore.EventStore, store))
      yield* store[internals].snapshots.settled
      streams.push(stream)
    }
    const stored = (yield* driver.snapshots.page(undefined, 10_000)).filter(({ stream }) => streams.includes(stream))
    const [ofAnn, ofBob] = streams.map((stream) => stored.find((one) => one.stream === stream)!)
    equal(stored.filter(({ state }) => names.test(state)), [], "the snapshots with a name in plaintext")
    const load = (id: string) =>
      Effect.flatMap(
        startProcess,
        (process) =>
          Effect.tap(
            Effect.provideService(Aggregate.load(snapshotted, id), EventStore.EventStore, process),
            process[internals].snapshots.settled
          )
      )
    equal((yield* load(ann)).state.name, "Ann Archer", "the name from the snapshot")
    yield* driver.snapshots.discard(ofAnn!)
    yield* driver.snapshots.write({ ...ofAnn!, state: ofBob!.state, signature: ofBob!.signature })
    equal((yield* load(ann)).state.name, "Ann Archer", "the name after the encrypted state was replaced")
    yield* Erasure.erase(ann)
    equal<unknown>((yield* load(ann)).state.name, erasedOf(ann), "the name after the erasure")
  }),

  inLifecycle("async"),
  inLifecycle("inline"),
  inLifecycle("live"),

  test("a rebuild continues after an erasure and finds no false differences", function*() {
    const group = unique("g")
    const projection = groupsOf("async", groups("async"))
    yield* Effect.gen(function*() {
      const { ann } = yield* twoPeople(group)
      const { awaitPosition } = yield* ProjectionStore.ProjectionStore
      yield* awaitPosition(projection, yield* logHead, "1 minute")
      yield* Stream.runDrain(Rebuild.rebuild(projection, { cutOver: false }))
      const differences = Stream.runCollect(Rebuild.compare(projection))
      equal(yield* differences, [], "the differences before the erasure")
      yield* Erasure.erase(ann)
      equal(yield* differences, [], "the differences after the erasure")
      yield* Rebuild.cutOver(projection)
      const { members } = Option.getOrThrow(yield* ProjectionStore.get(projection, group))
      equal<unknown>(memberNames(members), [erasedOf(ann), "Bob Baker"], "the members")
    }).pipe(Effect.provide(Layer.merge(people, Projector.layer([projection]))))
  }),

  test("an erasure finds other copies of the values in plaintext", function*() {
    const store = yield* EventStore.EventStore
    const [person, friend, stream] = [unique("p"), unique("f"), unique("people")]
    const [name, nick] = [unique("Archibald"), unique("Archie")]
    const { Introduced, Registered } = PersonEvent.cases
    const metadata = { attributes: { mail: `${name}@example.com` } }
    const introduced = Introduced.make({ personId: friend, group: "", friends: [] })
    yield* store.append(PersonEvent, stream, [Registered.make({ personId: person, group: `friends of ${name}`, name })])
    yield* store.append(PersonEvent, stream, [introduced], { metadata })
    yield* store.append(PersonEvent, `of-${nick}`, [introduced])
    // Neither values of another person nor `true` and `null` count as copies.
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
    equal(found.encrypted.events, 3, "the number of encrypted events")
    equal(found.plaintext, [
      { source: "events", owner: stream, key: "1", path: "data.group" },
      { source: "events", owner: stream, key: "2", path: "metadata.attributes.mail" },
      { source: "events", owner: `of-${nick}`, key: "1", path: "stream" }
    ], "the places with plaintext")
  }),

  test("a scan returns the path to each plaintext copy, without the value itself", function*() {
    const store = yield* EventStore.EventStore
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const [person, friend, stream, name] = [unique("p"), unique("f"), unique("people"), unique("Archibald")]
    const registered = PersonEvent.cases.Registered.make({ personId: person, group: "g", name })
    yield* store.append(PersonEvent, stream, [registered])
    const Anything = Schema.TaggedUnion({ Said: { of: Schema.Json } })
    const deep = Array.from({ length: 20 }).reduce<Schema.Json>((inner) => ({ a: inner }), name)
    const copies: ReadonlyArray<readonly [Schema.Json, string]> = [
      [{ who: [1, { nick: `${name}!` }] }, "data.of.who.1.nick"],
      [{ who: { [name]: 1 } }, "data.of.who"],
      [{ who: { [`${name}-x`]: name } }, "data.of.who"],
      [{ who: { "bob@example.com": { by: name } } }, "data.of.who.*.by"],
      [{ ["x".repeat(65)]: name }, "data.of.*"],
      [[[name]], "data.of.0.0"],
      [deep, "data.of.a.a.a.a.a.a"]
    ]
    for (const [of] of copies) yield* store.append(Anything, stream, [Anything.cases.Said.make({ of })])
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
      [...copies.map(([, path]) => path), "tags.0", "metadata.actor"],
      "the paths in events"
    )
    equal(
      plaintext.filter(({ source }) => source === "documents").map(({ key, path }) => [key, path]).toSorted(),
      [[key, "document.all.who"], [name, "key"]].toSorted(),
      "the paths in documents"
    )
  }),

  test("a parked error contains no personal data of the event or the document", function*() {
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
      awaitPosition(projection, yield* logHead, "1 minute"),
      parkedKeys(projection)
    ).pipe(Effect.provide(Projector.layer([projection])))
    equal(parked?.stream, bob, "the parked stream")
    includes(
      parked?.error ?? "",
      `${group}: "[personal data]" comes after [personal data]`,
      "the parked error"
    )
  }),

  test("a tampered value fails only its own stream and its own document", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const documents = (yield* ProjectionStore.ProjectionStore)[internals].driver
    const group = unique("g")
    const [ann, bob] = [unique("ann"), unique("bob")]
    const tamper = <E extends EncodedEvent>(event: E): E => {
      const { decrypted: _, ...rest } = event
      const text = JSON.stringify(event.data)
      // Claims that the value was encrypted under another subject's key.
      return event.stream === ann
        ? { ...(rest as E), data: JSON.parse(text.replaceAll(`"subject":"${ann}"`, `"subject":"${bob}"`)) }
        : event
    }
    const tampered = yield* EventStore.make({
      ...driver,
      readStream: (page) => Effect.map(driver.readStream(page), (events) => events.map(tamper)),
      readAll: (page) => Effect.map(driver.readAll(page), (page) => ({ ...page, events: page.events.map(tamper) }))
    })
    const projection = groupsOf("async", groups("async"))
    for (const [person, name] of [[ann, "Ann Archer"], [bob, "Bob Baker"]] as const) {
      const event = PersonEvent.cases.Registered.make({ personId: person, group, name })
      yield* tampered.append(PersonEvent, person, [event])
    }
    const error = yield* Effect.flip(Stream.runDrain(tampered.readStream(PersonEvent, ann)))
    equal(error.reason._tag, "UndecodableEvent", "the error of the tampered event")
    includes(error.message, "cannot be decrypted", "the message of the tampered event")
    equal(
      (yield* Stream.runCollect(tampered.readStream(PersonEvent, bob))).length,
      1,
      "the number of events of the other person"
    )
    yield* Effect.gen(function*() {
      const { awaitPosition } = yield* ProjectionStore.ProjectionStore
      yield* awaitPosition(projection, yield* logHead, "1 minute")
      equal((yield* parkedKeys(projection)).map(({ stream }) => stream), [ann], "the parked streams")
      const { members } = Option.getOrThrow(yield* ProjectionStore.get(projection, group))
      equal<unknown>(memberNames(members), ["Bob Baker"], "the members")
    }).pipe(
      Effect.provide(Projector.layer([projection])),
      Effect.provide(Layer.succeed(EventStore.EventStore, tampered))
    )
    const text = (yield* storedDocuments(projection)).find((text) => text.includes(bob))
    const encrypted = JSON.parse(text!.replaceAll(`"subject":"${bob}"`, `"subject":"nobody"`)) as Schema.Json
    const found = yield* ProjectionStore.make({
      ...documents,
      get: (generation, key) =>
        Effect.succeed({ generation, document: Option.some({ key, document: encrypted, revision: 1n }) })
    })
    const undecodable = yield* Effect.flip(found.get(projection, group))
    equal(reasonOf(undecodable), "UndecodableDocument", "the error of the tampered document")
    includes(undecodable.message, `no key of the subject "nobody"`, "the message of the tampered document")
  }),

  test("a document that was read before an erasure is written as erased after it", function*() {
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const [ann, bob] = [unique("ann"), unique("bob")]
    const projection = groups("async")
    const members = [{ personId: ann, name: "Ann Archer" }, { personId: bob, name: "Bob Baker" }]
    const change = Result.getOrThrow(DocumentCodec.of(projection).encode("g", { size: 2, members }))
    const write = driver.write([{ generation: projection.id, changes: [change] }])
    const read = Effect.map(driver.get(projection.id, "g"), (found) => Option.getOrThrow(found.document).document)
    yield* write
    equal(yield* read, { size: 2, members }, "the document before the erasure")
    yield* (yield* KeyStore.KeyStore).erase(ann)
    yield* write
    equal(
      yield* read,
      { size: 2, members: [{ personId: ann, name: erasedOf(ann) }, members[1]!] },
      "the document after the erasure"
    )
    const texts = yield* storedDocuments(projection)
    equal(texts.length, 1, "the number of stored documents")
    equal(texts.filter((text) => names.test(text)), [], "the stored documents with a name in plaintext")
  }),

  test("reads by correlation id and by event id return decrypted events", function*() {
    yield* Effect.gen(function*() {
      const ann = unique("ann")
      const [correlationId, store] = [unique("correlation"), yield* EventStore.EventStore]
      yield* CommandBus.dispatch(Register, { personId: ann, group: "g", name: "Ann Archer" }, { correlationId })
      const page = { correlationId, after: Position.start, limit: 10 }
      const { events: [event] } = yield* store[internals].driver.readCorrelation(page)
      const decoded = EventCodec.make(PersonEvent).decode(event!)
      equal(
        Result.getOrThrow(decoded).map(({ event }) => event),
        [PersonEvent.cases.Registered.make({ personId: ann, group: "g", name: "Ann Archer" })],
        "the decoded events"
      )
      equal(
        Option.map(yield* store[internals].driver.event(event!.id), ({ decrypted }) => decrypted),
        Option.some(event!.decrypted),
        "the decrypted payload of the event with this id"
      )
    }).pipe(Effect.provide(people))
  }),

  test("a watched live document no longer contains erased data after its next change", function*() {
    yield* Effect.gen(function*() {
      const group = unique("g")
      const { ann, bob } = yield* twoPeople(group)
      const documents = yield* Stream.toPull(ProjectionStore.watch(groupsOf("live", groups("live")), group))
      const next = Effect.map(
        Effect.timeout(documents, "1 minute"),
        (page) => memberNames(Option.getOrThrow(page[page.length - 1]!).members)
      )
      equal<unknown>(yield* next, ["Ann Zimmer", "Bob Baker"], "the members at first")
      yield* Erasure.erase(ann)
      yield* CommandBus.dispatch(Rename, { personId: bob, name: "Bob Young" })
      equal<unknown>(yield* next, [erasedOf(ann), "Bob Young"], "the members after the erasure")
    }).pipe(Effect.provide(people))
  }),

  test("a slow event bus listener does not see data that was erased meanwhile", function*() {
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
      equal(yield* ofAnn(quick), event, "the event before the erasure")
      yield* Erasure.erase(ann)
      equal(yield* ofAnn(slow), { ...event, name: erasedOf(ann) }, "the event after the erasure")
    }).pipe(Effect.scoped, Effect.provide(Layer.fresh(EventBus.layer())))
  }),

  test("rejects an empty subject and names the event or document and the field", function*() {
    const store = yield* EventStore.EventStore
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const stream = unique("people")
    const registered = PersonEvent.cases.Registered.make({ personId: "", group: "g", name: "Ann" })
    const ofEvent = yield* Effect.flip(store.append(PersonEvent, stream, [registered]))
    const because = `the subject of the personal field "name" must not be empty`
    includes(ofEvent.message, `event "Registered": ${because}`, "the message of the event")
    equal(yield* Stream.runCollect(store.readStream(PersonEvent, stream)), [], "the stored events")
    const document = JSON.stringify({ personId: "", name: "Ann" })
    const locateFields = PersonalFields.locateFields("it", PersonEvent.cases.Registered)!
    const write = driver.write([{
      generation: unique("p"),
      changes: [{ key: "k", document, indexed: [], locateFields }]
    }])
    const ofDocument = yield* Effect.flip(write)
    includes(ofDocument.message, `document "k": ${because}`, "the message of the document")
  }),

  test("parks an event after which the personal data of a document cannot be encrypted", function*() {
    const prefix = unique("unencryptable")
    const store = yield* EventStore.EventStore
    const projection = Projection.make(prefix, {
      events: PersonEvent,
      where: { streamPrefix: prefix },
      document: Schema.Struct({
        personId: Schema.String,
        name: PersonalData.field(Schema.String, ofPerson),
        more: Schema.Json
      }),
      key: ({ personId }) => personId,
      evolve: {
        Registered: (_, { group, name, personId }) => ({
          name,
          personId: group === "no subject" ? "" : personId,
          more: group === "a marker" ? { "~encrypted": 1 } : null
        }),
        Renamed: (found, { name }) => found && { ...found, name },
        Introduced: Projection.ignore
      }
    })
    const people = { a: "no subject", b: "a marker", c: "valid" }
    const append = ([personId, group]: readonly [string, string]) =>
      store.append(PersonEvent, `${prefix}-${personId}`, [
        PersonEvent.cases.Registered.make({ personId, group, name: "Ann Archer" })
      ])
    const receipts = yield* Effect.forEach(Object.entries(people), append)
    yield* Effect.gen(function*() {
      const documents = yield* ProjectionStore.ProjectionStore
      yield* documents.awaitPosition(projection, receipts.at(-1)!.position, "1 minute")
      const parked = (yield* parkedKeys(projection)).toSorted((a, b) => a.key < b.key ? -1 : 1)
      equal(parked.map(({ key }) => key), ["a", "b"], "the parked keys")
      includes(parked[0]!.error, "the subject of the personal field", "the error without a subject")
      includes(parked[1]!.error, `must not be named "~encrypted"`, "the error of a marker")
      equal(Option.map(yield* documents.get(projection, "c"), ({ name }) => name), Option.some("Ann Archer"), "another")
    }).pipe(Effect.provide(Projector.layer([projection])))
  }),

  test("rejects data that uses the reserved field names of encryption", function*() {
    const store = yield* EventStore.EventStore
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    const stream = unique("notes")
    const Note = Schema.TaggedUnion({
      Noted: { personId: Schema.String, name: PersonalData.field(Schema.String, ofPerson), more: Schema.Json }
    })
    const note = (more: Schema.Json) => Note.cases.Noted.make({ personId: "p", name: "~encrypted", more })
    for (const more of [{ "~encrypted": "x", subject: "p" }, [{ a: { "~encrypted": 1 } }]]) {
      equal(
        reasonOf(yield* Effect.flip(store.append(Note, stream, [note(more)]))),
        "InvalidRequest",
        `the error of an event with ${JSON.stringify(more)}`
      )
    }
    const metadata = { subjects: ["p"] }
    equal(
      reasonOf(yield* Effect.flip(store.append(Note, stream, [note(1)], { metadata }))),
      "InvalidRequest",
      "the error of the metadata"
    )
    const fields: Schema.Json = JSON.parse(`{"__proto__": "~encrypted", "~subjects": ["p"], "a": "\\"~encrypted\\":"}`)
    yield* store.append(Note, stream, [note(fields)])
    const [read] = yield* Stream.runCollect(store.readStream(Note, stream))
    equal(read?.event.more, fields, "the field as it was appended")
    const write = (document: Schema.Json) =>
      driver.write([{
        generation: unique("p"),
        changes: [{ key: "k", document: JSON.stringify(document), indexed: [] }]
      }])
    equal(reasonOf(yield* Effect.flip(write({ "~subjects": [] }))), "InvalidRequest", "the error of the document")
    yield* write({ a: { "~subjects": [] } })
  }),

  test("rejects personal data without a key store instead of storing plaintext", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const after = yield* logHead
    const without = yield* Effect.updateContext(
      EventStore.make(driver),
      (context: Context.Context<KeyStore.KeyStore | Scope.Scope>) => Context.omit(KeyStore.KeyStore)(context)
    )
    const [person, stream] = [unique("p"), unique("people")]
    const event = PersonEvent.cases.Registered.make({ personId: person, group: "g", name: "Ann Archer" })
    const error = yield* Effect.flip(without.append(PersonEvent, stream, [event]))
    equal(reasonOf(error), "StoreMisconfigured", "the error")
    equal(yield* readStored(after, [stream]), [], "the stored events")
  }),

  test("an unavailable key store loses and parks nothing, and consumers retry", function*() {
    const { driver } = (yield* EventStore.EventStore)[internals]
    const group = unique("g")
    const projection = groupsOf("async", groups("async"))
    let isDown = false
    const flaky = (keys: KeyStoreDriver): KeyStoreDriver => {
      const failWhenDown = <A>(answer: Effect.Effect<A, EventStoreError>) =>
        Effect.suspend(() =>
          isDown
            ? Effect.fail(storeError(new KeyStoreUnavailable({ message: "the key store is down", cause: undefined })))
            : answer
        )
      return {
        find: (subjects) => failWhenDown(keys.find(subjects)),
        findOrCreate: (offered) => failWhenDown(keys.findOrCreate(offered)),
        lastErasure: failWhenDown(keys.lastErasure),
        erase: (subject) => failWhenDown(keys.erase(subject))
      }
    }
    const keys = KeyStore.layer(Effect.map(MemoryKeyStore.make, flaky), { maxAge: 0 })
    const stores = Layer.effect(EventStore.EventStore, EventStore.make(driver)).pipe(Layer.provide(keys))
    const retryableReason = (error: unknown) =>
      error instanceof EventStoreError ? [error.reason._tag, error.isRetryable] : [error]
    yield* Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const after = yield* logHead
      const { ann } = yield* twoPeople(group)
      const end = yield* logHead
      isDown = true
      const rename = CommandBus.dispatch(Rename, { personId: ann, name: "Ann Young" })
      equal(retryableReason(yield* Effect.flip(rename)), ["KeyStoreUnavailable", true], "the error of a command")
      const impersonal = PersonEvent.cases.Introduced.make({ personId: ann, group: "", friends: [] })
      equal(
        (yield* store.append(PersonEvent, unique("s"), [impersonal])).version,
        Version.make(1),
        "the version of an event without personal data"
      )
      const read = Stream.runCollect(store.readStream(PersonEvent, `Person-${ann}`))
      equal(retryableReason(yield* Effect.flip(read)), ["KeyStoreUnavailable", true], "the error of a read")
      equal((yield* readStored(after, [`Person-${ann}`])).length, 2, "the number of stored events")
      yield* Effect.gen(function*() {
        const projector = yield* Projector.Projector
        yield* Effect.repeat(projector.status, {
          until: ([status]) => status?.state === "retrying",
          schedule: Schedule.spaced("10 millis")
        })
        equal(yield* parkedKeys(projection), [], "the parked streams")
        isDown = false
        const { awaitPosition } = yield* ProjectionStore.ProjectionStore
        yield* awaitPosition(projection, end, "1 minute")
      }).pipe(Effect.provide(Projector.layer([projection], { retryDelay: { first: "10 millis", max: "50 millis" } })))
      const { members } = Option.getOrThrow(yield* ProjectionStore.get(projection, group))
      equal(memberNames(members), ["Ann Zimmer", "Bob Baker"], "the members")
    }).pipe(Effect.provide(people.pipe(Layer.provideMerge(stores))))
  })
]
