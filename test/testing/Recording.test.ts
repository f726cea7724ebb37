/** Recordings: the differences that a replay reports, invalid files, and what a recording contains. */
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

/** The lines of the recording in this repository. */
const users = Stream.runCollect(Recording.open(file)).pipe(Effect.orDie, Effect.provide(NodeServices.layer))

const replay = (options: Recording.ReplayOptions, lines?: ReadonlyArray<string>) =>
  Effect.flatMap(
    lines === undefined ? users : Effect.succeed(lines),
    (lines) => Recording.replay(options, Stream.fromIterable(lines))
  )

/** Returns the kind, id and first version of each difference, and the number of events after which it differs. */
const summaries = (report: Recording.Report) =>
  report.differences.map(({ differentEvents, events, from, id, kind }) =>
    `${kind} ${id} from ${from.version}, ${differentEvents} of ${events}`
  )

it.effect("replays the users of the example without a difference", () =>
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
  // A rejected command writes nothing.
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

describe("a replay of random histories", () => {
  it.effect.prop(
    "finds no difference in equal code, and each difference of a changed evolve",
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

/** Returns the models of the users with other events. */
const withEvents = <E extends Event.Any>(events: E) => ({
  aggregates: [{ ...UserDecider, aggregate: { ...UserDecider.aggregate, events } }],
  projections: [{ ...UsersProjection, events }]
})

describe("a replay with changed code", () => {
  it.effect("reports a changed upcaster in the streams and documents of its events", () =>
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
      assert.deepEqual(summaries(report), [
        "aggregate User-user-1 from 1, 1 of 4",
        "projection user-1 from 1, 1 of 4",
        "aggregate User-user-2 from 1, 2 of 2",
        "projection user-2 from 1, 2 of 2",
        "aggregate User-user-3 from 1, 1 of 1",
        "projection user-3 from 1, 1 of 1"
      ])
      assert.deepEqual(report.differences[0]!.firstChanges, [{
        op: "replace",
        path: "/name",
        old: "ann",
        value: "nobody"
      }])
      assert.deepEqual(report.differences.map(({ changes }) => changes.length), [0, 0, 1, 1, 1, 1])
      const json = Schema.fromJsonString(Schema.toCodecJson(Recording.Report))
      assert.deepEqual(Schema.decodeSync(json)(Schema.encodeSync(json)(report)), report)
      assert.strictEqual(
        Recording.print(report, { differences: 2 }),
        `replayed 11 events, recorded at 2026-01-03T06:04:05.000Z
aggregate User: 3 of 5 streams differ, first after UserRegistered (3)
  User-user-1 differs from UserRegistered (version 1, position 1, line 2):
    /name: "ann" → "nobody"
    equal at the end: differs after 1 of 4 events
  User-user-2 differs from UserRegistered (version 1, position 2, line 3):
    /name: "bob" → "nobody"
    the same difference at the end
  … and 1 more
projection users: 3 of 5 documents differ, first after UserRegistered (3)
  user-1 differs from UserRegistered (User-user-1, version 1, position 1, line 2):
    /name: "ann" → "nobody"
    equal at the end: differs after 1 of 4 events
  user-2 differs from UserRegistered (User-user-2, version 1, position 2, line 3):
    /name: "bob" → "nobody"
    the same difference at the end
  … and 1 more`
      )
    }))

  it.effect("reports the events of a removed type as failures and skips their streams", () =>
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
        const own = report.failures.filter((one) => one.kind === kind)
        assert.deepEqual(own.map(({ event: { stream, version } }) => `${stream} ${version}`), failed)
        assert.isTrue(
          own.every(({ detail, when }) => when === "today" && detail.includes("has no event of that type"))
        )
      }
      assert.deepEqual(summaries(report).filter((one) => one.startsWith("aggregate")), [
        "aggregate User-user-1 from 2, 3 of 4",
        "aggregate User-user-5 from 2, 1 of 2",
        "aggregate User-user-4 from 2, 1 of 2"
      ])
      const text = Recording.print(report, { differences: 1 })
      assert.include(
        text,
        "fails now, did not fail in the recording: 6 events\n  aggregate User, UserRenamed (User-user-1, version 2"
      )
    }))

  it.effect("reports missing and additional documents after a change of key", () =>
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
      const [missing, additional] = [
        report.differences.filter(({ recorded }) => recorded !== null),
        report.differences.filter(({ today }) => today !== null)
      ]
      assert.deepEqual(missing.map(({ id, today }) => [id, today]), [1, 2, 3, 4, 5].map((n) => [`user-${n}`, null]))
      assert.deepEqual(
        additional.map(({ id, recorded }) => [id, recorded]),
        ["ann", "bob", "cleo", "dan", "eve"].map((name) => [`${name}@example.com`, null])
      )
      assert.strictEqual(report.differences.length, 10)
    }))

  it.effect("reports code that throws or breaks its Schema with the error message", () =>
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
      // A renewed recording has these failures; the replay with the former code then reports them as recorded.
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

  it.effect("does not report a difference that normalise declares", () =>
    Effect.gen(function*() {
      const without = ({ name, ...rest }: { readonly name?: string }) => rest
      const options = { ...models, aggregates: [forgetting] }
      assert.strictEqual((yield* replay(options)).differences.length, 2)
      assert.isTrue(Recording.isSame(yield* replay({ ...options, normalise: { aggregates: { User: without } } })))
      const onlyRecorded = (state: { readonly name?: string; readonly status?: string }, side: "recorded" | "today") =>
        side === "recorded" && state.status === "deactivated" ? { ...state, name: "-" } : state
      assert.isTrue(Recording.isSame(yield* replay({ ...options, normalise: { aggregates: { User: onlyRecorded } } })))
      // `normalise` also applies after the current code has failed on the stream.
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
      assert.include(String(unknown), "names projection User, which is not in")
    }).pipe(Effect.provide(EventStore.layerMemory)))

  it.effect("lists the models of one side only, and fails for recorded ones", () =>
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
        "in the recording, but not given: projection users\ngiven, but not in the recording: projection others"
      )
      assert.isTrue(Recording.isSame(yield* replay({ aggregates: [UserDecider], removed: ["users"] })))
      const nothing = yield* replay({ projections: [other], removed: ["User", "users"] })
      assert.deepEqual([nothing.missing, nothing.compared], [[], []])
      assert.isFalse(Recording.isSame(nothing))
      assert.deepEqual((yield* replay({})).missing, [user, projection])
      assert.throws(
        () => Effect.runSync(Recording.replay({ aggregates: [UserDecider, forgetting] }, Stream.empty)),
        /two aggregates have the name "User"/
      )
    }))

  it.effect("prints a short report for many differences", () =>
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
      assert.include(error.message, "aggregate User: 300 of 300 streams differ, first after UserRegistered (300)")
      assert.include(error.message, "… and 295 more")
      assert.isBelow(error.message.length, 4_000)
    }).pipe(Effect.provide(EventStore.layerMemory)))
})

describe("a recording file", () => {
  const edited = (edit: (lines: ReadonlyArray<string>) => ReadonlyArray<string>) =>
    Effect.flatMap(users, (lines) => Effect.flip(replay(models, edit(lines))))

  const damages: ReadonlyArray<
    readonly [string, (lines: ReadonlyArray<string>) => ReadonlyArray<string>, number, string]
  > = [
    ["an empty file", () => [], 1, "the file is empty"],
    ["a file of another format", () => ["{\"hello\": 1}"], 1, "not an evsrc recording"],
    ["a file without JSON", () => ["hello"], 1, "not an evsrc recording"],
    [
      "a file of another format version",
      (l) => l.with(0, l[0]!.replace(`"formatVersion":1`, `"formatVersion":2`)),
      1,
      "the format version is 2"
    ],
    ["a damaged header", (l) => l.with(0, l[0]!.replace("replaced", "lost")), 1, "the header does not decode"],
    ["a file without a header", (l) => l.slice(1), 1, "not an evsrc recording"],
    ["a file without its last line", (l) => l.slice(0, -1), 13, "the last line is missing"],
    ["a file cut within a line", (l) => [...l.slice(0, 5), l[5]!.slice(0, 100)], 6, "the line does not decode"],
    ["a missing line", (l) => l.toSpliced(4, 1), 12, "11 events were written, but the file has 10"],
    ["lines in another order", (l) => l.with(4, l[5]!).with(5, l[4]!), 13, "the checksum does not match"],
    ["a changed value", (l) => l.with(3, l[3]!.replaceAll("cleo", "mary")), 13, "the checksum does not match"],
    ["a line that is no event", (l) => l.with(6, "{}"), 7, "the line does not decode"],
    ["a change that does not apply", (l) => l.with(4, l[4]!.replaceAll("/name", "/nick/name")), 5, "does not apply"],
    ["text after the last line", (l) => [...l, l[1]!], 14, "text after the last line"],
    ["a damaged last line", (l) => l.with(12, `{"end":1}`), 13, "the line does not decode"]
  ]
  for (const [what, edit, line, detail] of damages) {
    it.effect(`rejects ${what} and names the line`, () =>
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

  it.effect("returns the saved lines, also with Windows line ends", () =>
    inFolder(Effect.fnUntraced(function*(folder, fs) {
      const lines = yield* users
      yield* Recording.save(`${folder}/a`, Stream.fromIterable(lines))
      assert.deepEqual(yield* Stream.runCollect(Recording.open(`${folder}/a`)), lines)
      assert.deepEqual(yield* fs.readDirectory(folder), ["a"])
      yield* fs.writeFileString(`${folder}/b`, `${lines.join("\r\n")}\r\n`)
      assert.isTrue(Recording.isSame(yield* Recording.checkFile(`${folder}/b`, models)))
    })))

  it.effect("keeps the old file when a save fails, and rejects the incomplete file", () =>
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
        "The recording is invalid at line 5: the last line is missing: the file was truncated; restore it or record again"
      )
    })))

  it.effect("is renewed only with UPDATE_RECORDING=1", () =>
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
      assert.include(Result.isFailure(before) ? before.failure.message : "", "run the test with UPDATE_RECORDING=1")
      assert.isTrue(Result.isFailure(yield* within({ UPDATE_RECORDING: "0" })))
      assert.isTrue(Result.isSuccess(yield* within({ UPDATE_RECORDING: "1" })))
      assert.isTrue(Result.isSuccess(yield* within({})))
      const [old, now] = [yield* users, yield* Stream.runCollect(Recording.open(path))]
      // Two events lead to other states, and the checksum changes.
      assert.deepEqual(old.flatMap((line, n) => line === now[n] ? [] : [n + 1]), [7, 11, 13])
    })))

  it.effect("is not renewed when that would lose recorded states", () =>
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
        [{ aggregates: [UserDecider] }, ["Give the projection users in the options", `in \`removed\`: ["users"]`]],
        [{}, ["the aggregate User and the projection users", `in \`removed\`: ["User","users"]`]],
        [{ removed: ["User", "users"] }, ["nothing was compared", "Give `aggregates` or `projections`"]],
        [{ ...models, aggregates: [throwing] }, ["there is no way out", "Fix the code"]],
        [{ ...models, projections: [UsersProjection, others] }, ["there is no way in", "Fix the code"]]
      ]
      for (const [options, texts] of cases) {
        const error = yield* Effect.flip(Recording.checkFile(path, { ...options, update: true }))
        for (const text of ["The update was rejected; nothing was written", ...texts]) {
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
      // A removed model is named, and an event that failed in the recording may fail now.
      yield* Recording.checkFile(path, { aggregates: [UserDecider], removed: ["users"], update: true })
      const failing = { aggregates: [throwing] }
      const renewed = yield* Stream.runCollect(Recording.renew(failing, Recording.open(path)))
      yield* Recording.save(path, Stream.fromIterable(renewed))
      const { compared } = yield* Recording.checkFile(path, { ...failing, update: true })
      assert.deepEqual(compared, [{ kind: "aggregate", name: "User", items: 5, different: 0 }])
    })))
})

describe("a recording", () => {
  const record = (options: Recording.RecordOptions) => Stream.runCollect(Recording.record(options))
  const store = EventStore.layerMemory.pipe(Layer.provideMerge(KeyStore.layerMemory))
  const withStore = <A, E>(body: Effect.Effect<A, E, EventStore.EventStore>) => Effect.provide(body, store)
  const append = <E extends Event.Any>(events: E, stream: string, ...batch: ReadonlyArray<Event.Of<E>>) =>
    Effect.flatMap(EventStore.EventStore, (store) => store.append(events, stream, batch))
  const registered = (personId: string, name: string) =>
    PersonEvent.cases.Registered.make({ personId, group: "g", name })

  it.effect("rejects an invalid sample and a log that lacks events", () =>
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
        "The log cannot be recorded: the log lacks the events of the stream before version 2 "
          + "(event \"UserDeactivated\" at position 2, stream \"User-1\")"
      )
    })))

  it.effect("selects count streams of each aggregate, or about the fraction", () =>
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

  it.effect("omits events of no model, and metadata by default", () =>
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
      const omitted = yield* record(options)
      assert.strictEqual(omitted.length, 3)
      assert.notInclude(omitted.join(), "the boss")
      assert.include(omitted[1]!, "nobody")
      // An event that only another model processes does not concern the projection.
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
      for (const lines of [omitted, kept]) assert.isTrue(Recording.isSame(yield* replay(options, lines)))
      assert.strictEqual((yield* record(models)).length, 4)
    })))

  it.effect("passes events to replace after annotated fields were replaced", () =>
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

  it.effect("replaces personal data of past versions and of retired types", () =>
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
      // An unknown type has no Schema either; the recording contains the failure to decode it.
      assert.include(lines[3]!, `"where":{"_tag":"Erased","subject":"ann"}`)
      assert.include(lines[3]!, `"failed"`)

      const Unannotated = Schema.TaggedUnion({ PetCame: { ...Pet, called: owned(Schema.String) } }).pipe(
        Event.upcasters({
          PetCame: Event.from({ ...Pet, name: Schema.String }).toCurrent(({ name, ...v1 }) => ({ ...v1, called: name }))
        })
      )
      const error = yield* Effect.flip(record({ aggregates: [petOf(Unannotated)] }))
      assert.include(error.message, `"name" is stored encrypted, but the Schema of this version does not annotate it`)
      assert.notInclude(error.message, "Fluffy")
      // An annotation in the events of a projection is enough.
      const annotating = Projection.make("pets", {
        events: Now,
        document: Schema.Null,
        key: ({ petId }) => petId,
        evolve: { PetCame: () => null }
      })
      assert.notMatch((yield* record({ aggregates: [petOf(Unannotated)], projections: [annotating] })).join(), /Fluffy/)
    })))

  it.effect("names the field whose Schema cannot generate values", () =>
    withStore(Effect.gen(function*() {
      const Ahead = Schema.String.check(Schema.isPattern(/^(?=Fluffy)\w{6}$/))
      const events = Schema.TaggedUnion({ PetCame: { ...Pet, name: owned(Ahead) } })
      yield* append(events, "Pet-1", { _tag: "PetCame", petId: "1", owner: "ann", name: "Fluffy" })
      const error = yield* Effect.flip(record({ aggregates: [petOf(events)] }))
      assert.include(error.message, `"name": its Schema cannot generate values`)
      assert.include(error.message, `event "PetCame" at position 1, stream "Pet-1"`)
    })))

  it.effect("replaces different values by different ones if the Schema has enough", () =>
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
      // The replacement of a name does not have to be a colour.
      yield* append(events, "Pet-x", { _tag: "PetCame", petId: "x", owner: "x", name: "red", colour: "red" })
      const lines = yield* record({ aggregates: [petOf(events)] })
      const Line = Schema.fromJsonString(Schema.Struct({
        event: Schema.Struct({ data: Schema.Struct({ owner: Schema.String, name: Schema.String, colour: Colour }) })
      }))
      const found = lines.slice(1, -1).map((line) => Schema.decodeSync(Line)(line).event.data)
      const pairs = new Set(found.map(({ name, owner }) => `${owner} ${name}`))
      assert.strictEqual(new Set(found.map(({ name }) => name)).size, 61, "different names get different replacements")
      assert.strictEqual(pairs.size, 61)
    })))
})
