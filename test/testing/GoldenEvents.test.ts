/** Golden files: recorded examples never change, and every incompatible change is reported with its fix. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, type Path, Schema } from "effect"
import { Event } from "evsrc"
import { GoldenEvents } from "evsrc/testing"
import { AccountEvent } from "../../examples/bank-account.ts"
import { CourseEvent } from "../../examples/courses.ts"
import { UserEvent } from "../../examples/users/contract/UserEvent.ts"

describe("the events of the examples equal their golden files", () => {
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

/** The event sets of successive releases. */
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

/** Runs a test in a new temporary directory. */
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

/** Returns the problems of a check as `<file> <problem>`. */
const problemsOf = (events: Event.Any, directory: string, update = false) =>
  GoldenEvents.check(events, { directory, update }).pipe(
    Effect.as<ReadonlyArray<string>>([]),
    Effect.catchTag("GoldenEventsFailed", (error) => {
      // Each problem has a fix.
      assert.strictEqual(error.message.split("→").length, error.problems.length + 1)
      return Effect.succeed(error.problems.map(({ file, problem }) => `${file} ${problem}`))
    })
  )

describe("GoldenEvents", () => {
  it.effect("reports missing files, records them, and then succeeds", () =>
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

  it.effect("records only with UPDATE_GOLDEN=1", () =>
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

  it.effect("records given examples", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      yield* GoldenEvents.record(First, { directory, examples: { Registered: [{ fullName: "Ann" }] } })
      assert.deepEqual(JSON.parse((yield* files)["Registered.v1.json"]!).examples, [{ data: { fullName: "Ann" } }])
      const wrong = Schema.TaggedUnion({ Counted: { n: Schema.Int } })
      const problems = yield* inDirectory((directory) =>
        GoldenEvents.record(wrong, { directory, examples: { Counted: [{ n: 0.5 }] } }).pipe(Effect.flip)
      )
      assert.include(problems.message, "Undecodable")
    })))

  it.effect("records new versions and upcast events without changing recorded data", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      yield* GoldenEvents.record(First, { directory })
      const first = yield* files
      assert.deepEqual(yield* problemsOf(second(), directory), [
        "Registered.v1.json UpcastNotRecorded",
        "Registered.v2.json NotRecorded"
      ])
      yield* GoldenEvents.record(second(), { directory })
      assert.deepEqual(yield* problemsOf(second(), directory), [])
      const before = yield* files
      const then = JSON.parse(first["Registered.v1.json"]!)
      const now = JSON.parse(before["Registered.v1.json"]!)
      assert.deepEqual({ ...now, examples: now.examples.map(({ data }: { data: unknown }) => ({ data })) }, then)
      for (const { data, upcastTo } of now.examples) {
        assert.deepEqual(upcastTo, [{ type: "Registered", schemaVersion: 2, data: { name: data.fullName || "?" } }])
      }
      // `Left` is retired: its file stays and is not checked.
      assert.deepEqual(yield* problemsOf(third(), directory), [
        "Registered.v2.json UpcastNotRecorded",
        "Registered.v3.json NotRecorded"
      ])
      yield* GoldenEvents.record(third(), { directory })
      assert.deepEqual(yield* problemsOf(third(), directory), [])
      const after = yield* files
      assert.deepEqual([after["Registered.v1.json"], after["Left.v1.json"]], [
        before["Registered.v1.json"],
        before["Left.v1.json"]
      ])
      // A past version without a file is recorded with its upcast events.
      const late = yield* inDirectory((directory, files) =>
        Effect.andThen(GoldenEvents.record(second(), { directory }), files)
      )
      assert.isArray(JSON.parse(late["Registered.v1.json"]!).examples[0].upcastTo)
    })))

  it.effect("reports incompatible changes and never overwrites recorded data", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files, write) {
      for (const release of [First, second(), third()]) yield* GoldenEvents.record(release, { directory })
      const recorded = yield* files
      const cases: ReadonlyArray<readonly [what: string, events: Event.Any, problems: ReadonlyArray<string>]> = [
        [
          "an additional field in the current version",
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
          "Registered.v1.json UpcastChanged",
          "Registered.v1.json UpcastChanged",
          "Registered.v1.json UpcastChanged"
        ]],
        ["another upcaster to version 3", third("nobody"), Array(3).fill("Registered.v2.json UpcastChanged")],
        [
          "an upcaster that throws",
          third("none", () => {
            throw new Error("broken")
          }),
          ["Registered.v1.json Undecodable"]
        ],
        [
          "a deleted past version",
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
      // A removed file can be recorded again.
      yield* write("Registered.v2.json", undefined)
      yield* write("Registered.v3.json", undefined)
      yield* GoldenEvents.record(third(), { directory })
      assert.deepEqual((yield* files)["Registered.v3.json"], recorded["Registered.v3.json"])
    })))

  it.effect("detects a changed parser with given payloads of past versions", () =>
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
      const before = parcel((weight) => weight.endsWith(" kg") ? 1000 * Number.parseFloat(weight) : 0)
      const after = parcel((weight) => weight.endsWith(" kg") ? 100 * Number.parseFloat(weight) : 0)
      yield* GoldenEvents.record(before, { directory })
      const generated = yield* files
      // The generated texts are no weights, so the change is not detected.
      assert.deepEqual(yield* problemsOf(after, directory), [])
      const past = { Sent: { 1: [{ weight: "2.5 kg" }] }, Posted: { 1: [{ weight: "1 kg" }] } }
      const missing = yield* Effect.flip(GoldenEvents.check(before, { directory, past, update: false }))
      for (const text of [`"weight":"2.5 kg"`, `"weight":"1 kg"`, "ExampleNotRecorded", "UPDATE_GOLDEN=1"]) {
        assert.include(missing.message, text)
      }
      yield* GoldenEvents.record(before, { directory, past })
      assert.deepEqual((yield* GoldenEvents.check(before, { directory, past, update: false })).written, [])
      const [first, second] = [generated, yield* files].map((all) => JSON.parse(all["Sent.v1.json"]!).examples)
      assert.deepEqual(second, [
        ...first,
        { data: { weight: "2.5 kg" }, upcastTo: [{ type: "Sent", schemaVersion: 2, data: { grams: 2500 } }] }
      ])
      assert.deepEqual(yield* problemsOf(after, directory), [
        "Posted.v1.json UpcastChanged",
        "Sent.v1.json UpcastChanged"
      ])
      const fresh = yield* inDirectory((directory, files) =>
        Effect.andThen(GoldenEvents.record(before, { directory, past }), files)
      )
      assert.deepEqual(JSON.parse(fresh["Posted.v1.json"]!).examples, [
        { data: { weight: "1 kg" }, upcastTo: [{ type: "Sent", schemaVersion: 2, data: { grams: 1000 } }] }
      ])
      const rejected: ReadonlyArray<readonly [GoldenEvents.Options<typeof before>["past"], string]> = [
        [{ Sent: { 2: [{ grams: 1 }] } }, "which is current; give them in `examples`"],
        [{ Sent: { 3: [{ grams: 1 }] } }, "schema version 3 of \"Sent\", which the event set does not contain"],
        [{ Send: { 1: [] } }, "schema version 1 of \"Send\", which the event set does not contain"]
      ]
      for (const [past, text] of rejected) {
        const exit = yield* Effect.exit(GoldenEvents.check(before, { directory, past, update: true }))
        assert.include(String(exit), text)
      }
      const wrong = yield* Effect.flip(
        GoldenEvents.record(before, { directory, past: { Sent: { 1: [{ weight: 1 }] } } })
      )
      assert.include(wrong.message, "Sent.v1.json: Undecodable: Expected string")
    })))

  it.effect("numbers the faulty examples and groups equal faults", () =>
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
      assert.match(all!, /^examples 1, 2, 3 of 3, first {"fullName":"Ann"}: UpcasterFailed: .*broken/)
      assert.deepEqual(more, [])
      const [broken, changed, ...others] = yield* details(throwing((fullName) => fullName === "Eve"))
      assert.match(broken! + changed!, /example 3 of 3 {"fullName":"Eve"}: UpcasterFailed/)
      assert.match(
        broken! + changed!,
        /example 2 of 3 {"fullName":"Bob"}: recorded as .*"Bob".*, now upcast to .*"Rob"/
      )
      assert.deepEqual(others, [])
      // A file with an undecodable example is not written again without it.
      const recorded = yield* files
      const past = { Registered: { 1: [{ fullName: "Zoe" }] } }
      const eve = throwing((fullName) => fullName === "Eve")
      yield* Effect.flip(GoldenEvents.check(eve, { directory, past, update: true }))
      assert.deepEqual(yield* files, recorded)
    })))

  it.effect("does not record a version whose upcaster fails", () =>
    inDirectory(Effect.fnUntraced(function*(directory) {
      const broken = second((fullName) => fullName.slice(0, 0))
      const error = yield* Effect.flip(GoldenEvents.record(broken, { directory }))
      assert.include(error.message, "Registered.v1.json: Undecodable: UpcasterFailed")
      assert.notInclude(error.message, "Registered.v2.json")
    })))

  it.effect("encodes the type in the file name", () =>
    inDirectory(Effect.fnUntraced(function*(directory, files) {
      const Odd = Schema.TaggedUnion({ "a/../b*": {}, "Ünder weg": { n: Schema.Int } })
      yield* GoldenEvents.record(Odd, { directory })
      assert.deepEqual(Object.keys(yield* files), ["%C3%9Cnder%20weg.v1.json", "a%2F..%2Fb%2A.v1.json"])
      assert.deepEqual(yield* problemsOf(Odd, directory), [])
    })))
})
