/** The golden events of events: what is recorded stays as it was, and every way to break it is told, with how to mend it. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, type Path, Schema } from "effect"
import { Event } from "evsrc"
import { GoldenEvents } from "evsrc/testing"
import { AccountEvent } from "../../examples/bank-account.ts"
import { CourseEvent } from "../../examples/courses.ts"
import { UserEvent } from "../../examples/users/contract/UserEvent.ts"

describe("the events of the examples are as they are recorded", () => {
  const sets = { users: UserEvent, bank: AccountEvent, courses: CourseEvent }
  for (const [name, events] of Object.entries(sets)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const { files } = yield* GoldenEvents.check(events, { directory: `test/golden/${name}` })
        assert.isAtLeast(files, Object.keys(events.cases).length)
      }).pipe(Effect.provide(NodeServices.layer)))
  }
})

const Name = Schema.NonEmptyString

/** The releases of a set, one after the other. */
const First = Schema.TaggedUnion({ Registered: { fullName: Schema.String }, Left: { why: Schema.String } })

const second = (upcast = (fullName: string) => fullName || "?") =>
  Schema.TaggedUnion({ Registered: { name: Name }, Left: { why: Schema.String } }).pipe(
    Event.upcasters({
      Registered: Event.from({ fullName: Schema.String }).toCurrent((v1) => ({ name: upcast(v1.fullName) }))
    })
  )

const third = (nick = "none", upcast = (fullName: string) => fullName || "?") =>
  Schema.TaggedUnion({ Registered: { name: Name, nick: Schema.String } }).pipe(
    Event.upcasters({
      Registered: Event.from({ fullName: Schema.String })
        .to({ name: Name }, (v1) => ({ name: upcast(v1.fullName) }))
        .toCurrent((v2) => ({ ...v2, nick }))
    }),
    Event.legacy({ Left: Event.retired })
  )

type Files = Readonly<Record<string, string>>

/** Something to try in a directory of its own. */
const inDirectory = <A, E>(
  body: (
    directory: string,
    files: Effect.Effect<Files>,
    write: (file: string, text: string | undefined) => Effect.Effect<void>
  ) => Effect.Effect<A, E, FileSystem.FileSystem | Path.Path>
) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const directory = `${yield* fs.makeTempDirectoryScoped()}/golden`
    const files = Effect.gen(function*() {
      const names = (yield* fs.readDirectory(directory)).toSorted()
      const texts = yield* Effect.forEach(names, (name) => fs.readFileString(`${directory}/${name}`))
      return Object.fromEntries(names.map((name, i) => [name, texts[i]!]))
    })
    const write = (file: string, text: string | undefined) =>
      text === undefined ? fs.remove(`${directory}/${file}`) : fs.writeFileString(`${directory}/${file}`, text)
    return yield* body(directory, Effect.orDie(files), (file, text) => Effect.orDie(write(file, text)))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

/** What a check has to say, as `<file> <problem>`; in an environment as of CI, unless it is to update. */
const problemsOf = (events: Event.Any, directory: string, update = false) =>
  GoldenEvents.check(events, { directory, update }).pipe(
    Effect.as<ReadonlyArray<string>>([]),
    Effect.catchTag("GoldenEventsFailed", (error) => {
      // Each tells how it can be fixed.
      assert.strictEqual(error.message.split("→").length, error.problems.length + 1)
      return Effect.succeed(error.problems.map(({ file, problem }) => `${file} ${problem}`))
    })
  )

describe("GoldenEvents", () => {
  it.effect("tells what is not recorded, records it when asked to, and then finds nothing wrong", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      const all = ["Left.v1.json", "Registered.v1.json"]
      assert.deepEqual(yield* problemsOf(First, directory), all.map((file) => `${file} NotRecorded`))
      const { files: count, written } = yield* GoldenEvents.record(First, { directory })
      assert.deepEqual([written.toSorted(), count], [all, 2])
      assert.deepEqual(yield* problemsOf(First, directory), [])
      const text = (yield* files)["Registered.v1.json"]!
      const golden = JSON.parse(text)
      assert.deepEqual(Object.keys(golden), ["examples", "fingerprint", "schemaVersion", "type"])
      assert.isTrue(text.endsWith("}\n"))
      assert.strictEqual(golden.examples.length, 3)
      for (const { data } of golden.examples) assert.isString(data.fullName)
      const again = yield* inDirectory((other, files) =>
        Effect.andThen(GoldenEvents.record(First, { directory: other }), files)
      )
      assert.deepEqual(again, yield* files)
    })))

  it.effect("records on UPDATE_GOLDEN=1, and not without", () =>
    inDirectory(Effect.fnUntraced(function*(directory) {
      const within = (env: Record<string, string>) =>
        Effect.provideService(
          Effect.result(GoldenEvents.check(First, { directory })),
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromUnknown(env)
        )
      assert.strictEqual((yield* within({}))._tag, "Failure")
      assert.strictEqual((yield* within({ UPDATE_GOLDEN: "0" }))._tag, "Failure")
      assert.strictEqual((yield* within({ UPDATE_GOLDEN: "1" }))._tag, "Success")
      assert.strictEqual((yield* within({}))._tag, "Success")
    })))

  it.effect("records the examples that are given", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      yield* GoldenEvents.record(First, { directory, examples: { Registered: [{ fullName: "Ann" }] } })
      assert.deepEqual(JSON.parse((yield* files)["Registered.v1.json"]!).examples, [{ data: { fullName: "Ann" } }])
      const wrong = Schema.TaggedUnion({ Counted: { n: Schema.Int } })
      const problems = yield* inDirectory((directory) =>
        GoldenEvents.record(wrong, { directory, examples: { Counted: [{ n: 0.5 }] } }).pipe(Effect.flip)
      )
      assert.include(problems.message, "Undecodable")
    })))

  it.effect("goes with the releases: a new version is recorded, and what the old ones mean; nothing that is there changes", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      yield* GoldenEvents.record(First, { directory })
      const first = yield* files
      assert.deepEqual(yield* problemsOf(second(), directory), [
        "Registered.v1.json MeaningNotRecorded",
        "Registered.v2.json NotRecorded"
      ])
      yield* GoldenEvents.record(second(), { directory })
      assert.deepEqual(yield* problemsOf(second(), directory), [])
      const before = yield* files
      const then = JSON.parse(first["Registered.v1.json"]!)
      const now = JSON.parse(before["Registered.v1.json"]!)
      assert.deepEqual({ ...now, examples: now.examples.map(({ data }: { data: unknown }) => ({ data })) }, then)
      for (const { data, means } of now.examples) {
        assert.deepEqual(means, [{ type: "Registered", schemaVersion: 2, data: { name: data.fullName || "?" } }])
      }
      // `Left` was retired: its file stays, and nothing is asked of it.
      assert.deepEqual(yield* problemsOf(third(), directory), [
        "Registered.v2.json MeaningNotRecorded",
        "Registered.v3.json NotRecorded"
      ])
      yield* GoldenEvents.record(third(), { directory })
      assert.deepEqual(yield* problemsOf(third(), directory), [])
      const after = yield* files
      assert.deepEqual([after["Registered.v1.json"], after["Left.v1.json"]], [
        before["Registered.v1.json"],
        before["Left.v1.json"]
      ])
      // A version that was never a current one here is recorded too, with what it means.
      const late = yield* inDirectory((directory, files) =>
        Effect.andThen(GoldenEvents.record(second(), { directory }), files)
      )
      assert.isArray(JSON.parse(late["Registered.v1.json"]!).examples[0].means)
    })))

  it.effect("finds each change of what is in the log, and never records over it", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files, write) {
      for (const release of [First, second(), third()]) yield* GoldenEvents.record(release, { directory })
      const recorded = yield* files
      const cases: ReadonlyArray<readonly [what: string, events: Event.Any, problems: ReadonlyArray<string>]> = [
        [
          "a field more in the current version",
          Schema.TaggedUnion({
            Registered: { name: Name, nick: Schema.String, age: Schema.optionalKey(Schema.Int) }
          }).pipe(
            Event.upcasters({
              Registered: Event.from({ fullName: Schema.String })
                .to({ name: Name }, (v1) => ({ name: v1.fullName || "?" }))
                .toCurrent((v2) => ({ ...v2, nick: "none" }))
            }),
            Event.legacy({ Left: Event.retired })
          ),
          ["Registered.v3.json SchemaChanged"]
        ],
        ["another upcaster to version 2", third("none", (name) => `${name}!`), [
          "Registered.v1.json MeaningChanged",
          "Registered.v1.json MeaningChanged",
          "Registered.v1.json MeaningChanged"
        ]],
        ["another upcaster to version 3", third("nobody"), Array(3).fill("Registered.v2.json MeaningChanged")],
        [
          "an upcaster that throws",
          third("none", () => {
            throw new Error("broken")
          }),
          ["Registered.v1.json Undecodable"]
        ],
        [
          "a step that was deleted",
          Schema.TaggedUnion({ Registered: { name: Name, nick: Schema.String } }).pipe(
            Event.upcasters({ Registered: Event.from({ name: Name }).toCurrent((v2) => ({ ...v2, nick: "none" })) }),
            Event.legacy({ Left: Event.retired })
          ),
          [
            "Registered.v1.json SchemaChanged",
            "Registered.v1.json Undecodable",
            "Registered.v2.json SchemaChanged",
            "Registered.v2.json Undecodable",
            "Registered.v3.json VersionLost"
          ]
        ]
      ]
      for (const [what, events, problems] of cases) {
        assert.deepEqual(yield* problemsOf(events, directory), problems, what)
        assert.deepEqual(yield* problemsOf(events, directory, true), problems, what)
        assert.deepEqual(yield* files, recorded, what)
      }
      const gone = Schema.TaggedUnion({ Other: {} })
      assert.deepEqual(yield* problemsOf(gone, directory), [
        "Left.v1.json VersionLost",
        "Other.v1.json NotRecorded",
        "Registered.v1.json VersionLost",
        "Registered.v2.json VersionLost",
        "Registered.v3.json VersionLost"
      ])
      yield* write("Registered.v3.json", recorded["Registered.v2.json"]!)
      yield* write("Registered.v2.json", "{")
      assert.deepEqual(yield* problemsOf(third(), directory, true), [
        "Registered.v2.json InvalidFile",
        "Registered.v3.json InvalidFile"
      ])
      // To remove a file is the way to take it back.
      yield* write("Registered.v2.json", undefined)
      yield* write("Registered.v3.json", undefined)
      yield* GoldenEvents.record(third(), { directory })
      assert.deepEqual((yield* files)["Registered.v3.json"], recorded["Registered.v3.json"])
    })))

  it.effect("notices another parser where it is given payloads of past versions, also such as are given later", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      const parcel = (parse: (weight: string) => number) =>
        Schema.TaggedUnion({ Sent: { grams: Schema.Int } }).pipe(
          Event.upcasters({
            Sent: Event.from({ weight: Schema.String }).toCurrent(({ weight }) => ({ grams: parse(weight) }))
          }),
          Event.legacy({
            Posted: Event.from({ weight: Schema.String })
              .renamedTo("Sent", ({ weight }) => ({ grams: parse(weight) }))
          })
        )
      const was = parcel((weight) => weight.endsWith(" kg") ? 1000 * Number.parseFloat(weight) : 0)
      const is = parcel((weight) => weight.endsWith(" kg") ? 100 * Number.parseFloat(weight) : 0)
      yield* GoldenEvents.record(was, { directory })
      const generated = yield* files
      // What is generated is no weight.
      assert.deepEqual(yield* problemsOf(is, directory), [])
      const past = { Sent: { 1: [{ weight: "2.5 kg" }] }, Posted: { 1: [{ weight: "1 kg" }] } }
      const missing = yield* Effect.flip(GoldenEvents.check(was, { directory, past, update: false }))
      for (const text of [`"weight":"2.5 kg"`, `"weight":"1 kg"`, "ExampleNotRecorded", "UPDATE_GOLDEN=1"]) {
        assert.include(missing.message, text)
      }
      yield* GoldenEvents.record(was, { directory, past })
      assert.deepEqual((yield* GoldenEvents.check(was, { directory, past, update: false })).written, [])
      const [before, after] = [generated, yield* files].map((all) => JSON.parse(all["Sent.v1.json"]!).examples)
      assert.deepEqual(after, [
        ...before,
        { data: { weight: "2.5 kg" }, means: [{ type: "Sent", schemaVersion: 2, data: { grams: 2500 } }] }
      ])
      assert.deepEqual(yield* problemsOf(is, directory), [
        "Posted.v1.json MeaningChanged",
        "Sent.v1.json MeaningChanged"
      ])
      const fresh = yield* inDirectory((directory, files) =>
        Effect.andThen(GoldenEvents.record(was, { directory, past }), files)
      )
      assert.deepEqual(JSON.parse(fresh["Posted.v1.json"]!).examples, [
        { data: { weight: "1 kg" }, means: [{ type: "Sent", schemaVersion: 2, data: { grams: 1000 } }] }
      ])
      const refused: ReadonlyArray<readonly [GoldenEvents.Options<typeof was>["past"], string]> = [
        [{ Sent: { 2: [{ grams: 1 }] } }, "is the current one"],
        [{ Sent: { 3: [{ grams: 1 }] } }, "schema version 3 of \"Sent\", and there is none"],
        [{ Send: { 1: [] } }, "schema version 1 of \"Send\", and there is none"]
      ]
      for (const [past, text] of refused) {
        const exit = yield* Effect.exit(GoldenEvents.check(was, { directory, past, update: true }))
        assert.include(String(exit), text)
      }
      const wrong = yield* Effect.flip(GoldenEvents.record(was, { directory, past: { Sent: { 1: [{ weight: 1 }] } } }))
      assert.include(wrong.message, "Sent.v1.json: Undecodable: Expected string")
    })))

  it.effect("says which examples are wrong, and once what is wrong with several", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files, write) {
      const examples = { Registered: ["Ann", "Bob", "Eve"].map((fullName) => ({ fullName })) }
      yield* GoldenEvents.record(First, { directory, examples })
      yield* write("Left.v1.json", undefined)
      yield* GoldenEvents.record(third(), { directory })
      const throwing = (broken: (fullName: string) => boolean) =>
        third("none", (fullName) => {
          if (broken(fullName)) throw new Error("broken")
          return fullName === "Bob" ? "Rob" : fullName
        })
      const details = (events: Event.Any) =>
        Effect.map(Effect.flip(GoldenEvents.check(events, { directory, update: false })), (error) => {
          assert.strictEqual(error._tag, "GoldenEventsFailed")
          return error._tag === "GoldenEventsFailed" ? error.problems.map(({ detail }) => detail) : []
        })
      const [all, ...more] = yield* details(throwing(() => true))
      assert.match(all!, /^examples 1, 2, 3 of 3, the first of them {"fullName":"Ann"}: UpcasterFailed: .*broken/)
      assert.deepEqual(more, [])
      const [broken, changed, ...others] = yield* details(throwing((fullName) => fullName === "Eve"))
      assert.match(broken! + changed!, /example 3 of 3 {"fullName":"Eve"}: UpcasterFailed/)
      assert.match(broken! + changed!, /example 2 of 3 {"fullName":"Bob"}: it was .*"Bob".*, and is .*"Rob"/)
      assert.deepEqual(others, [])
      // A file with an example that cannot be read is not written again without it.
      const recorded = yield* files
      const past = { Registered: { 1: [{ fullName: "Zoe" }] } }
      const eve = throwing((fullName) => fullName === "Eve")
      yield* Effect.flip(GoldenEvents.check(eve, { directory, past, update: true }))
      assert.deepEqual(yield* files, recorded)
    })))

  it.effect("does not record what an upcaster cannot bring up to date", () =>
    inDirectory(Effect.fnUntraced(function*(directory) {
      const broken = second((fullName) => fullName.slice(0, 0))
      const error = yield* Effect.flip(GoldenEvents.record(broken, { directory }))
      assert.include(error.message, "Registered.v1.json: Undecodable: UpcasterFailed")
      assert.notInclude(error.message, "Registered.v2.json")
    })))

  it.effect("gives every type a file, whatever its name is", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      const Odd = Schema.TaggedUnion({ "a/../b*": {}, "Ünder weg": { n: Schema.Int } })
      yield* GoldenEvents.record(Odd, { directory })
      assert.deepEqual(Object.keys(yield* files), ["%C3%9Cnder%20weg.v1.json", "a%2F..%2Fb%2A.v1.json"])
      assert.deepEqual(yield* problemsOf(Odd, directory), [])
    })))
})
