/** Recordings: what they tell of changed code, what they refuse, and what of a log they take. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, FileSystem, Layer, Result, Schema, Stream } from "effect"
import { Aggregate, CommandBus, Event, EventStore, KeyStore, PersonalData, Projection } from "evsrc"
import { Recording } from "evsrc/testing"
import { User, UserId } from "../../examples/users/contract/User.ts"
import { DeactivateUser, RegisterUser, RenameUser } from "../../examples/users/contract/UserCommands.ts"
import { UserEvent } from "../../examples/users/contract/UserEvent.ts"
import { WhatIfCommand } from "../../examples/users/contract/UserQueries.ts"
import { UserDecider } from "../../examples/users/UserDecider.ts"
import { UsersProjection } from "../../examples/users/UsersProjection.ts"
import * as RecordingSample from "../../src/testing/recording/RecordingSample.ts"
import { PersonDecider, PersonEvent } from "../personalData/PersonalDataFixtures.ts"

const file = "test/recordings/users.ndjson"
const models = { aggregates: [UserDecider], projections: [UsersProjection] }

/** The lines of our own recording. */
const users = Stream.runCollect(Recording.open(file)).pipe(Effect.orDie, Effect.provide(NodeServices.layer))

const replay = (options: Recording.ReplayOptions, lines?: ReadonlyArray<string>) =>
  Effect.flatMap(
    lines === undefined ? users : Effect.succeed(lines),
    (lines) => Recording.replay(options, Stream.fromIterable(lines))
  )

/** Of each difference its kind, its id, the version that it begins with, and after how many events it differs. */
const beginnings = (report: Recording.Report) =>
  report.differences.map(({ events, from, id, kind, of }) => `${kind} ${id} from ${from.version}, ${events} of ${of}`)

it.effect("the users of the example are what they were", () =>
  Effect.gen(function*() {
    const report = yield* Recording.checkFile(file, { ...models, update: false })
    assert.strictEqual(report.events, 11)
    assert.deepEqual(report.compared, [
      { kind: "aggregate", name: "User", items: 5, different: 0 },
      { kind: "projection", name: "users", items: 5, different: 0 }
    ])
  }).pipe(Effect.provide(NodeServices.layer)))

const Sent = Schema.Array(Schema.Struct({ user: Schema.Literals(["1", "2", "3"]), command: WhatIfCommand }))

const send = ({ command, user }: typeof Sent.Type[number]) => {
  const userId = UserId.make(user)
  const sent = command._tag === "RegisterUser"
    ? CommandBus.dispatch(RegisterUser, { ...command, userId })
    : command._tag === "RenameUser"
    ? CommandBus.dispatch(RenameUser, { ...command, userId })
    : CommandBus.dispatch(DeactivateUser, { userId })
  // One that is refused writes nothing.
  return Effect.ignore(sent)
}

/** Deactivated users lose their names. */
const forgetting: typeof UserDecider = {
  ...UserDecider,
  evolve: (state, event) => {
    const after = UserDecider.evolve(state, event)
    return event._tag === "UserDeactivated" && after._tag === "Registered" ? { ...after, name: "-" } : after
  }
}

describe("whatever has happened", () => {
  it.effect.prop(
    "it leads to the same in the same code, and where evolve is another, to what that makes",
    [Sent],
    ([sent]) =>
      Effect.gen(function*() {
        yield* Effect.forEach(sent, send)
        const { readAll } = yield* EventStore.EventStore
        const records = yield* Stream.runCollect(readAll(UserEvent))
        const lines = yield* Stream.runCollect(Recording.record(models))
        const same = yield* replay(models, lines)
        assert.deepEqual([same.differences, same.failures, same.events], [[], [], records.length])
        const report = yield* replay({ ...models, aggregates: [forgetting] }, lines)
        const deactivated = records.filter(({ event }) => event._tag === "UserDeactivated")
        assert.deepEqual(
          report.differences.map(({ changes, from, id }) => [id, from.position, changes.map(({ path }) => path)]),
          deactivated.map(({ position, stream }) => [stream, position, ["/name"]])
        )
      }).pipe(Effect.provide(Aggregate.layer(UserDecider).pipe(Layer.provideMerge(EventStore.layerMemory)))),
    {
      arbitrary: { runs: 40 }
    }
  )
})

const { UserDeactivated, UserRegistered, UserRenamed } = UserEvent.cases

/** The users with other events; an event that is gone is handled by nobody. */
const withEvents = <E extends Event.Any>(events: E) => ({
  aggregates: [{ ...UserDecider, aggregate: { ...UserDecider.aggregate, events } }],
  projections: [{ ...UsersProjection, events }]
})

describe("what is different today", () => {
  it.effect("another upcaster: in the streams and documents of its events, as long as what it makes is there", () =>
    Effect.gen(function*() {
      const { email, userId } = UserRegistered.fields
      const changed = Schema.TaggedUnion({
        UserRegistered: UserRegistered.fields,
        UserRenamed: UserRenamed.fields,
        UserDeactivated: UserDeactivated.fields
      }).pipe(Event.upcasters({
        UserRegistered: Event.from({ userId, email }).toCurrent((v1) => ({ ...v1, name: "nobody" }))
      }))
      const report = yield* replay(withEvents(changed))
      assert.deepEqual(beginnings(report), [
        "aggregate User-user-1 from 1, 1 of 4",
        "projection user-1 from 1, 1 of 4",
        "aggregate User-user-2 from 1, 2 of 2",
        "projection user-2 from 1, 2 of 2",
        "aggregate User-user-3 from 1, 1 of 1",
        "projection user-3 from 1, 1 of 1"
      ])
      assert.deepEqual(report.differences[0]!.there, [{ op: "replace", path: "/name", old: "ann", value: "nobody" }])
      assert.deepEqual(report.differences.map(({ changes }) => changes.length), [0, 0, 1, 1, 1, 1])
      const json = Schema.fromJsonString(Schema.toCodecJson(Recording.Report))
      assert.deepEqual(Schema.decodeSync(json)(Schema.encodeSync(json)(report)), report)
      assert.strictEqual(
        Recording.print(report, { differences: 2 }),
        `11 events, recorded at 2026-01-03T06:04:05.000Z, replayed
aggregate User: 3 of 5 streams differ, beginning with UserRegistered (3)
  User-user-1, from UserRegistered (version 1, position 1, line 2) on:
    /name: "ann" → "nobody"
    no more in the end: it differs after 1 of 4 events
  User-user-2, from UserRegistered (version 1, position 2, line 3) on:
    /name: "bob" → "nobody"
    the same in the end
  … and 1 more
projection users: 3 of 5 documents differ, beginning with UserRegistered (3)
  user-1, from UserRegistered (User-user-1, version 1, position 1, line 2) on:
    /name: "ann" → "nobody"
    no more in the end: it differs after 1 of 4 events
  user-2, from UserRegistered (User-user-2, version 1, position 2, line 3) on:
    /name: "bob" → "nobody"
    the same in the end
  … and 1 more`
      )
    }))

  it.effect("a type that is gone: its events cannot be decoded, and their streams stay as they were", () =>
    Effect.gen(function*() {
      const fewer = Schema.TaggedUnion({
        UserRegistered: UserRegistered.fields,
        UserDeactivated: UserDeactivated.fields
      }).pipe(Event.upcasters({
        UserRegistered: Event.from({ userId: UserId, email: UserRegistered.fields.email })
          .toCurrent(({ email, userId }) => ({ userId, email, name: email.slice(0, email.indexOf("@")) }))
      }))
      const report = yield* replay(withEvents(fewer))
      const failed = ["User-user-1 2", "User-user-5 2", "User-user-4 2"]
      for (const kind of ["aggregate", "projection"]) {
        const ours = report.failures.filter((one) => one.kind === kind)
        assert.deepEqual(ours.map(({ event: { stream, version } }) => `${stream} ${version}`), failed)
        assert.isTrue(
          ours.every(({ detail, when }) => when === "today" && detail.includes("has no event of that type"))
        )
      }
      assert.deepEqual(beginnings(report).filter((one) => one.startsWith("aggregate")), [
        "aggregate User-user-1 from 2, 3 of 4",
        "aggregate User-user-5 from 2, 1 of 2",
        "aggregate User-user-4 from 2, 1 of 2"
      ])
      const text = Recording.print(report, { differences: 1 })
      assert.include(
        text,
        "cannot be processed any more: 6 times\n  aggregate User, UserRenamed (User-user-1, version 2"
      )
    }))

  it.effect("another key: documents are missing, and others are there", () =>
    Effect.gen(function*() {
      const changed = Projection.make("users", {
        events: UserEvent,
        document: User,
        key: (event) => event._tag === "UserRegistered" ? event.email : [],
        evolve: {
          UserRegistered: (_, e) => ({ ...e, status: "active" as const, version: User.fields.version.make(1) }),
          UserRenamed: Projection.ignore,
          UserDeactivated: Projection.ignore
        }
      })
      const report = yield* replay({ ...models, projections: [changed] })
      const [was, is] = [
        report.differences.filter(({ recorded }) => recorded !== null),
        report.differences.filter(({ today }) => today !== null)
      ]
      assert.deepEqual(was.map(({ id, today }) => [id, today]), [1, 2, 3, 4, 5].map((n) => [`user-${n}`, null]))
      assert.deepEqual(
        is.map(({ id, recorded }) => [id, recorded]),
        ["ann", "bob", "cleo", "dan", "eve"].map((name) => [`${name}@example.com`, null])
      )
      assert.strictEqual(report.differences.length, 10)
    }))

  it.effect("what throws, or breaks its Schema, in the words of the error", () =>
    Effect.gen(function*() {
      const throwing: typeof UserDecider = {
        ...UserDecider,
        evolve: (state, event) => {
          if (event._tag === "UserDeactivated") throw new Error("there is no way out")
          return UserDecider.evolve(state, event)
        }
      }
      const empty: typeof UsersProjection = {
        ...UsersProjection,
        evolve: (document, record, key) => {
          const after = UsersProjection.evolve(document, record, key)
          return record.event._tag === "UserRenamed" ? { ...Object(after), name: "" } : after
        }
      }
      const changed = { aggregates: [throwing], projections: [empty] }
      const report = yield* replay(changed)
      assert.deepEqual(
        report.failures.map(({ event, kind }) => `${kind} ${event.stream} ${event.version}`),
        [
          "projection User-user-1 2",
          "aggregate User-user-2 2",
          "projection User-user-5 2",
          "aggregate User-user-1 4",
          "projection User-user-4 2"
        ]
      )
      assert.strictEqual(report.failures[1]!.detail, "there is no way out")
      assert.include(report.failures[0]!.detail, "does not satisfy its Schema")
      // Recorded so, it is the same; and what could not be processed then and is now is told.
      const renewed = yield* Stream.runCollect(Recording.renew(changed, Stream.fromIterable(yield* users)))
      assert.isTrue(Recording.isSame(yield* replay(changed, renewed)))
      const back = yield* replay(models, renewed)
      assert.deepEqual(back.failures.map(({ when }) => when), Array.from({ length: 5 }, () => "recorded"))
      assert.deepEqual(back.differences.map(({ id }) => id).toSorted(), [
        "User-user-1",
        "User-user-2",
        "user-1",
        "user-4",
        "user-5"
      ])
    }))

  it.effect("what is declared to be different is not", () =>
    Effect.gen(function*() {
      const without = ({ name, ...rest }: { readonly name?: string }) => rest
      const options = { ...models, aggregates: [forgetting] }
      assert.strictEqual((yield* replay(options)).differences.length, 2)
      assert.isTrue(Recording.isSame(yield* replay({ ...options, normalise: { aggregates: { User: without } } })))
      const onlyRecorded = (state: { readonly name?: string; readonly status?: string }, side: "recorded" | "today") =>
        side === "recorded" && state.status === "deactivated" ? { ...state, name: "-" } : state
      assert.isTrue(Recording.isSame(yield* replay({ ...options, normalise: { aggregates: { User: onlyRecorded } } })))
      // It stays declared where today's state does not move any more.
      const store = yield* EventStore.EventStore
      const userId = UserId.make("1")
      const email = UserRegistered.fields.email.make("ann@example.com")
      const deactivated = UserDeactivated.make({ userId })
      yield* store.append(UserEvent, "User-1", [
        UserRegistered.make({ userId, email, name: "Ann" }),
        deactivated,
        deactivated
      ])
      const lines = yield* Stream.runCollect(Recording.record({ aggregates: [UserDecider] }))
      const once: typeof UserDecider = {
        ...forgetting,
        evolve: (state, event) => {
          if (state._tag === "Registered" && state.status === "deactivated") throw new Error("gone")
          return forgetting.evolve(state, event)
        }
      }
      const stuck = yield* replay({ aggregates: [once], normalise: { aggregates: { User: onlyRecorded } } }, lines)
      assert.deepEqual([stuck.differences, stuck.failures.map(({ event }) => Number(event.version))], [[], [3]])
      const unknown = yield* Effect.exit(replay({ ...options, normalise: { projections: { User: without } } }))
      assert.include(String(unknown), "there is no projection User to normalise")
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("what is compared on one side only is told, and fails where it was recorded", () =>
    Effect.gen(function*() {
      const [user, projection] = [{ kind: "aggregate", name: "User" }, { kind: "projection", name: "users" }] as const
      const other = Projection.make("others", {
        events: UserEvent,
        document: Schema.Int,
        key: (event) => event.userId,
        evolve: { UserRegistered: () => 1, UserRenamed: Projection.ignore, UserDeactivated: Projection.ignore }
      })
      const missing = yield* replay({ aggregates: [UserDecider], projections: [other] })
      assert.deepEqual([missing.missing, missing.unrecorded], [[projection], [{ ...projection, name: "others" }]])
      assert.deepEqual(missing.compared.map(({ name }) => name), ["User"])
      assert.isFalse(Recording.isSame(missing))
      assert.include(
        Recording.print(missing),
        "not given to be replayed: projection users\nnot in the recording: projection others"
      )
      assert.isTrue(Recording.isSame(yield* replay({ aggregates: [UserDecider], removed: ["users"] })))
      const nothing = yield* replay({ projections: [other], removed: ["User", "users"] })
      assert.deepEqual([nothing.missing, nothing.compared], [[], []])
      assert.isFalse(Recording.isSame(nothing))
      assert.deepEqual((yield* replay({})).missing, [user, projection])
      assert.throws(
        () => Effect.runSync(Recording.replay({ aggregates: [UserDecider, forgetting] }, Stream.empty)),
        /two aggregates "User"/
      )
    }))

  it.effect("is printed in a few lines, however much it is", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      for (let n = 0; n < 300; n++) {
        const userId = UserId.make(`${n}`)
        const email = UserRegistered.fields.email.make("ann@example.com")
        yield* store.append(UserEvent, `User-${n}`, [UserRegistered.make({ userId, email, name: "x".repeat(200) })])
      }
      const lines = yield* Stream.runCollect(Recording.record(models))
      const nameless: typeof UserDecider = { ...UserDecider, evolve: (state) => state }
      const error = yield* Effect.flip(
        Recording.check({ ...models, aggregates: [nameless] }, Stream.fromIterable(lines))
      )
      assert.strictEqual(error._tag, "ReplayDiffers")
      assert.include(error.message, "aggregate User: 300 of 300 streams differ, beginning with UserRegistered (300)")
      assert.include(error.message, "… and 295 more")
      assert.isBelow(error.message.length, 4_000)
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("a file", () => {
  const edited = (edit: (lines: ReadonlyArray<string>) => ReadonlyArray<string>) =>
    Effect.flatMap(users, (lines) => Effect.flip(replay(models, edit(lines))))

  const damages: ReadonlyArray<
    readonly [string, (lines: ReadonlyArray<string>) => ReadonlyArray<string>, number, string]
  > = [
    ["that is empty", () => [], 1, "there is nothing in it"],
    ["of something else", () => ["{\"hello\": 1}"], 1, "not the first line of a recording"],
    ["that is no JSON", () => ["hello"], 1, "not the first line of a recording"],
    ["of another format", (l) => l.with(0, l[0]!.replace(`"formatVersion":1`, `"formatVersion":2`)), 1, "version 2"],
    ["with a damaged header", (l) => l.with(0, l[0]!.replace("replaced", "lost")), 1, "was damaged"],
    ["without a header", (l) => l.slice(1), 1, "not the first line of a recording"],
    ["without its end", (l) => l.slice(0, -1), 13, "without its last line"],
    ["that was cut within a line", (l) => [...l.slice(0, 5), l[5]!.slice(0, 100)], 6, "damaged"],
    ["that lacks a line", (l) => l.toSpliced(4, 1), 12, "11 events were written, and 10 are there"],
    ["with lines in another order", (l) => l.with(4, l[5]!).with(5, l[4]!), 13, "not those that were written"],
    ["with another value", (l) => l.with(3, l[3]!.replaceAll("cleo", "mary")), 13, "not those that were written"],
    ["with a line of something else", (l) => l.with(6, "{}"), 7, "no line of a recording"],
    ["with a change that does not apply", (l) => l.with(4, l[4]!.replaceAll("/name", "/nick/name")), 5, "what changes"],
    ["with something behind its end", (l) => [...l, l[1]!], 14, "behind the last line"],
    ["with a damaged end", (l) => l.with(12, `{"end":1}`), 13, "damaged"]
  ]
  for (const [what, edit, line, detail] of damages) {
    it.effect(`${what} is refused, with the line`, () =>
      Effect.gen(function*() {
        const error = yield* edited(edit)
        assert.strictEqual(error._tag, "InvalidRecording")
        assert.strictEqual(error.line, line, error.message)
        assert.include(error.detail, detail)
      }))
  }

  const inFolder = <A, E>(
    body: (folder: string, fs: FileSystem.FileSystem) => Effect.Effect<A, E, FileSystem.FileSystem>
  ) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      return yield* body(yield* fs.makeTempDirectoryScoped(), fs)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

  it.effect("holds what was saved, also with the line ends of Windows", () =>
    inFolder(Effect.fnUntraced(function*(folder, fs) {
      const lines = yield* users
      yield* Recording.save(`${folder}/a`, Stream.fromIterable(lines))
      assert.deepEqual(yield* Stream.runCollect(Recording.open(`${folder}/a`)), lines)
      assert.deepEqual(yield* fs.readDirectory(folder), ["a"])
      yield* fs.writeFileString(`${folder}/b`, `${lines.join("\r\n")}\r\n`)
      assert.isTrue(Recording.isSame(yield* Recording.checkFile(`${folder}/b`, models)))
    })))

  it.effect("is not touched by one whose writing is interrupted, and that is refused", () =>
    inFolder(Effect.fnUntraced(function*(folder, fs) {
      const lines = yield* users
      yield* Recording.save(`${folder}/a`, Stream.fromIterable(lines))
      const broken = Stream.concat(Stream.fromIterable(lines.slice(0, 4)), Stream.fail("the network is down"))
      const exit = yield* Effect.exit(Recording.save(`${folder}/a`, broken))
      assert.isTrue(Exit.isFailure(exit))
      assert.isTrue(Recording.isSame(yield* Recording.checkFile(`${folder}/a`, models)))
      assert.deepEqual((yield* fs.readDirectory(folder)).toSorted(), ["a", "a.part"])
      const error = yield* Effect.flip(Recording.checkFile(`${folder}/a.part`, models))
      assert.strictEqual(
        error.message,
        "This recording cannot be replayed. Line 5: it ends here, without its last line: it was not written to its end, or has lost a part"
      )
    })))

  it.effect("is renewed on UPDATE_RECORDING=1, and not without", () =>
    inFolder(Effect.fnUntraced(function*(folder) {
      const path = `${folder}/a`
      yield* Recording.save(path, Stream.fromIterable(yield* users))
      const options = { ...models, aggregates: [forgetting] }
      const within = (env: Record<string, string>) =>
        Effect.provideService(
          Effect.result(Recording.checkFile(path, options)),
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromUnknown(env)
        )
      const before = yield* within({})
      assert.include(Result.isFailure(before) ? before.failure.message : "", "accept it with UPDATE_RECORDING=1")
      assert.isTrue(Result.isFailure(yield* within({ UPDATE_RECORDING: "0" })))
      assert.isTrue(Result.isSuccess(yield* within({ UPDATE_RECORDING: "1" })))
      assert.isTrue(Result.isSuccess(yield* within({})))
      const [old, now] = [yield* users, yield* Stream.runCollect(Recording.open(path))]
      // The two events that lead elsewhere, and the checksum.
      assert.deepEqual(old.flatMap((line, n) => line === now[n] ? [] : [n + 1]), [7, 11, 13])
    })))

  it.effect("is not renewed where that would lose what it tells, and then nothing is written", () =>
    inFolder(Effect.fnUntraced(function*(folder, fs) {
      const path = `${folder}/a`
      yield* Recording.save(path, Stream.fromIterable(yield* users))
      const before = yield* fs.readFileString(path)
      const throwing: typeof UserDecider = {
        ...UserDecider,
        evolve: (state, event) => {
          if (event._tag === "UserDeactivated") throw new Error("there is no way out")
          return UserDecider.evolve(state, event)
        }
      }
      const others = Projection.make("others", {
        events: UserEvent,
        document: Schema.Int,
        key: (event) => event.userId,
        evolve: {
          UserRegistered: () => {
            throw new Error("there is no way in")
          },
          UserRenamed: Projection.ignore,
          UserDeactivated: Projection.ignore
        }
      })
      const cases: ReadonlyArray<readonly [Recording.ReplayOptions, ReadonlyArray<string>]> = [
        [{ aggregates: [UserDecider] }, ["Give the projection users to be replayed", `in \`removed\`: ["users"]`]],
        [{}, ["the aggregate User and the projection users", `in \`removed\`: ["User","users"]`]],
        [{ removed: ["User", "users"] }, ["nothing was compared", "Give `aggregates` or `projections`"]],
        [{ ...models, aggregates: [throwing] }, ["there is no way out", "Mend the code"]],
        [{ ...models, projections: [UsersProjection, others] }, ["there is no way in", "Mend the code"]]
      ]
      for (const [options, texts] of cases) {
        const error = yield* Effect.flip(Recording.checkFile(path, { ...options, update: true }))
        for (const text of ["The update was refused, and nothing was written", ...texts]) {
          assert.include(error.message, text)
        }
        assert.strictEqual(yield* fs.readFileString(path), before)
        assert.deepEqual(yield* fs.readDirectory(folder), ["a"])
      }
      const forgotten = yield* Effect.flip(
        Recording.checkFile(path, { aggregates: [UserDecider], update: false })
      )
      assert.include(forgotten.message, `in \`removed\`: ["users"]`)
      assert.notInclude(forgotten.message, "UPDATE_RECORDING=1")
      // What is gone is named; and what could not be processed before need not be today.
      yield* Recording.checkFile(path, { aggregates: [UserDecider], removed: ["users"], update: true })
      const failing = { aggregates: [throwing] }
      const renewed = yield* Stream.runCollect(Recording.renew(failing, Recording.open(path)))
      yield* Recording.save(path, Stream.fromIterable(renewed))
      const { compared } = yield* Recording.checkFile(path, { ...failing, update: true })
      assert.deepEqual(compared, [{ kind: "aggregate", name: "User", items: 5, different: 0 }])
    })))
})

describe("what is recorded", () => {
  const record = (options: Recording.RecordOptions) => Stream.runCollect(Recording.record(options))
  const store = EventStore.layerMemory.pipe(Layer.provideMerge(KeyStore.layerMemory))
  const withStore = <A, E>(body: Effect.Effect<A, E, EventStore.EventStore>) => Effect.provide(body, store)
  const append = <E extends Event.Any>(events: E, stream: string, ...batch: ReadonlyArray<Event.Of<E>>) =>
    Effect.flatMap(EventStore.EventStore, (store) => store.append(events, stream, batch))
  const registered = (personId: string, name: string) =>
    PersonEvent.cases.Registered.make({ personId, group: "g", name })

  it.effect("refuses a sample that is none, and a log that lacks events", () =>
    withStore(Effect.gen(function*() {
      for (
        const sample of [{ fraction: 0 }, { fraction: 1.5 }, { fraction: Number.NaN }, { count: 0 }, { count: 1.5 }]
      ) {
        const error = yield* Effect.flip(record({ ...models, sample }))
        assert.strictEqual(error._tag, "RecordingFailed")
      }
      yield* append(UserEvent, "User-1", UserDeactivated.make({ userId: UserId.make("1") }))
      yield* append(UserEvent, "User-1", UserDeactivated.make({ userId: UserId.make("1") }))
      const given = yield* EventStore.EventStore
      const without = {
        ...given,
        readAllEncoded: (options?: Parameters<typeof given.readAllEncoded>[0]) =>
          Stream.drop(given.readAllEncoded(options), 1)
      }
      const error = yield* Effect.flip(Effect.provideService(record(models), EventStore.EventStore, without))
      assert.strictEqual(
        error.message,
        "This log cannot be recorded: the events of its stream before version 2 are not in the log "
          + "(event \"UserDeactivated\" at position 2, stream \"User-1\")"
      )
    })))

  it.effect("takes as many streams of each aggregate as are asked for, and about the fraction", () =>
    withStore(Effect.gen(function*() {
      for (let n = 0; n < 5; n++) {
        yield* append(UserEvent, `User-${n}`, UserDeactivated.make({ userId: UserId.make(`${n}`) }))
        yield* append(PersonEvent, `Person-${n}`, registered(`${n}`, "Annabel"))
      }
      const lines = yield* record({ aggregates: [UserDecider, PersonDecider], sample: { count: 2 } })
      const streams = lines.flatMap((line) => /"stream":"(\w+)-/.exec(line)?.[1] ?? [])
      assert.deepEqual(streams.toSorted(), ["Person", "Person", "User", "User"])
      for (const seed of [1, 2, 3]) {
        const isSelected = yield* RecordingSample.select({ fraction: 0.5, seed }, new Set(), Stream.empty)
        const all = Array.from({ length: 1000 }, (_, n) => isSelected(`User-${n}`))
        assert.isTrue(Math.abs(all.filter((is) => is).length - 500) < 80)
      }
    })))

  it.effect("leaves out whose events nobody takes, and metadata unless it is asked for", () =>
    withStore(Effect.gen(function*() {
      const { append } = yield* EventStore.EventStore
      const email = UserRegistered.fields.email.make("ann@example.com")
      const event = UserRegistered.make({ userId: UserId.make("1"), email, name: "Ann" })
      yield* append(UserEvent, "User-1", [event], { metadata: { actor: "the boss" } })
      yield* append(UserEvent, "Elsewhere-1", [event])
      yield* append(PersonEvent, "Person-1", [registered("1", "Ann")])
      const actors = Projection.make("actors", {
        events: UserEvent,
        document: Schema.String,
        key: (event) => event.userId,
        evolve: {
          UserRegistered: (_, _event, { metadata }) => metadata.actor ?? "nobody",
          UserRenamed: Projection.ignore,
          UserDeactivated: Projection.ignore
        },
        where: { streamPrefix: "User-" }
      })
      const options = { aggregates: [UserDecider], projections: [actors] }
      const left = yield* record(options)
      assert.strictEqual(left.length, 3)
      assert.notInclude(left.join(), "the boss")
      assert.include(left[1]!, "nobody")
      // What a projection does not follow is nothing to it, where others want it.
      const narrow = Projection.make("narrow", {
        events: UserEvent,
        document: Schema.Null,
        key: (event) => event.userId,
        evolve: { UserRegistered: () => null, UserRenamed: Projection.ignore, UserDeactivated: Projection.ignore },
        where: { streamPrefix: "User-2" }
      })
      const two = { aggregates: [UserDecider], projections: [narrow] }
      const [found] = (yield* replay(two, yield* record(two))).compared.toReversed()
      assert.deepEqual(found, { kind: "projection", name: "narrow", items: 0, different: 0 })
      const kept = yield* record({ ...options, metadata: "keep" })
      assert.match(kept[1]!, /"actor":"the boss".*"value":"the boss"/)
      for (const lines of [left, kept]) assert.isTrue(Recording.isSame(yield* replay(options, lines)))
      assert.strictEqual((yield* record(models)).length, 4)
    })))

  it.effect("can be changed by the user, after what is marked was replaced", () =>
    withStore(Effect.gen(function*() {
      yield* append(PersonEvent, "Person-ann", registered("ann", "Annabel"))
      const seen: Array<string> = []
      const lines = yield* record({
        aggregates: [PersonDecider],
        replace: ({ data, ...event }) => {
          seen.push(JSON.stringify(data))
          const text = JSON.stringify(data).replaceAll("\"ann\"", "\"someone\"")
          return {
            ...event,
            stream: "Person-someone",
            tags: ["person:someone"],
            data: Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Json))(text)
          }
        }
      })
      assert.notInclude(seen.join(), "Annabel")
      assert.notInclude(lines.join(), "ann\"")
      const report = yield* replay({ aggregates: [PersonDecider] }, lines)
      assert.isTrue(Recording.isSame(report))
      const invalid = yield* Effect.flip(
        record({ aggregates: [PersonDecider], replace: (event) => ({ ...event, stream: "" }) })
      )
      assert.include(invalid.message, "a stream name")
    })))

  const Pet = { petId: Schema.String, owner: Schema.String }
  const owned = (schema: Schema.Codec<string>) => PersonalData.field(schema, { subject: "owner" })
  const petOf = <E extends Event.Any>(events: E) => ({
    initial: null,
    evolve: () => null,
    aggregate: { name: "Pet", state: Schema.Null, events }
  })

  it.effect("has personal data of past versions and of retired types replaced too", () =>
    withStore(Effect.gen(function*() {
      const Former = Schema.TaggedUnion({
        PetCame: { ...Pet, name: owned(Schema.String) },
        PetWashed: { ...Pet, by: owned(Schema.String) },
        PetWent: { ...Pet, where: owned(Schema.String) }
      })
      const event = { petId: "1", owner: "ann" }
      yield* append(
        Former,
        "Pet-1",
        { _tag: "PetCame", ...event, name: "Fluffy Duck" },
        { _tag: "PetWashed", ...event, by: "Fluffy Duck" },
        { _tag: "PetWent", ...event, where: "Fluffy Duck" }
      )
      const Now = Schema.TaggedUnion({ PetCame: { ...Pet, called: owned(Schema.String) } }).pipe(
        Event.upcasters({
          PetCame: Event.from({ ...Pet, name: owned(Schema.String) }).toCurrent(({ name, ...v1 }) => ({
            ...v1,
            called: name
          }))
        }),
        Event.legacy({ PetWashed: Event.retired })
      )
      const lines = yield* record({ aggregates: [petOf(Now)] })
      assert.notMatch(lines.join(), /Fluffy|sealed/)
      assert.match(lines[1]!, /"name":"/)
      assert.include(lines[2]!, `"by":{"_tag":"Erased","subject":"ann"}`)
      // Of a type that nobody knows there is no Schema either; that it does not decode is recorded.
      assert.include(lines[3]!, `"where":{"_tag":"Erased","subject":"ann"}`)
      assert.include(lines[3]!, `"failed"`)

      const Unmarked = Schema.TaggedUnion({ PetCame: { ...Pet, called: owned(Schema.String) } }).pipe(Event.upcasters({
        PetCame: Event.from({ ...Pet, name: Schema.String }).toCurrent(({ name, ...v1 }) => ({ ...v1, called: name }))
      }))
      const error = yield* Effect.flip(record({ aggregates: [petOf(Unmarked)] }))
      assert.include(error.message, `"name" was written as personal data and is not marked`)
      assert.notInclude(error.message, "Fluffy")
      // What only the events of a projection mark is personal, too.
      const marking = Projection.make("pets", {
        events: Now,
        document: Schema.Null,
        key: ({ petId }) => petId,
        evolve: { PetCame: () => null }
      })
      assert.notMatch((yield* record({ aggregates: [petOf(Unmarked)], projections: [marking] })).join(), /Fluffy/)
    })))

  it.effect("says of what nothing can be generated for which field", () =>
    withStore(Effect.gen(function*() {
      const Ahead = Schema.String.check(Schema.isPattern(/^(?=Fluffy)\w{6}$/))
      const events = Schema.TaggedUnion({ PetCame: { ...Pet, name: owned(Ahead) } })
      yield* append(events, "Pet-1", { _tag: "PetCame", petId: "1", owner: "ann", name: "Fluffy" })
      const error = yield* Effect.flip(record({ aggregates: [petOf(events)] }))
      assert.include(error.message, `"name": nothing can be generated from its Schema`)
      assert.include(error.message, `event "PetCame" at position 1, stream "Pet-1"`)
    })))

  it.effect("has other values for other ones, where there are enough, and those of few at least of the Schema", () =>
    withStore(Effect.gen(function*() {
      const Colour = Schema.Literals(["red", "blue"])
      const events = Schema.TaggedUnion({
        PetCame: { ...Pet, name: owned(Schema.NonEmptyString), colour: owned(Colour) }
      })
      for (let n = 0; n < 60; n++) {
        const pet = {
          petId: `${n}`,
          owner: `${n % 7}`,
          name: `Fluffy ${n % 20}`,
          colour: n % 2 === 0 ? "red" : "blue"
        } as const
        yield* append(events, `Pet-${n}`, { _tag: "PetCame", ...pet })
      }
      // What stands for a name need not be a colour.
      yield* append(events, "Pet-x", { _tag: "PetCame", petId: "x", owner: "x", name: "red", colour: "red" })
      const lines = yield* record({ aggregates: [petOf(events)] })
      const Line = Schema.fromJsonString(Schema.Struct({
        event: Schema.Struct({ data: Schema.Struct({ owner: Schema.String, name: Schema.String, colour: Colour }) })
      }))
      const found = lines.slice(1, -1).map((line) => Schema.decodeSync(Line)(line).event.data)
      const pairs = new Set(found.map(({ name, owner }) => `${owner} ${name}`))
      assert.strictEqual(new Set(found.map(({ name }) => name)).size, 61, "no two of different ones are the same")
      assert.strictEqual(pairs.size, 61)
    })))
})
