/** Exports that are damaged, torn, foreign or interrupted; and what memory they take. */
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, FileSystem, Layer, Random, Schema, Stream } from "effect"
import { EventStore, LogTransfer, StreamLifecycle } from "evsrc"
import * as ExportChecksums from "../../src/transfer/ExportChecksums.ts"
import { scale } from "../support/scale.ts"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int, text: Schema.optionalKey(Schema.String) } })
const tick = (n: number) => Tick.cases.Ticked.make({ n })

const freshStore = Effect.map(
  Layer.build(Layer.fresh(EventStore.layerMemory)),
  (built) => Context.get(built, EventStore.EventStore)
)
const on = (store: EventStore.EventStore["Service"]) => Effect.provideService(EventStore.EventStore, store)
const fill = (events: number) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    for (let n = 0; n < events; n++) {
      yield* store.append(Tick, `Tick-${n % 7}`, [tick(n)], { metadata: { commandId: `c${n}` } })
    }
  })
const textOf = Effect.map(Stream.runCollect(LogTransfer.export()), (lines) => lines.join(""))
const bytesOf = (text: string) => new TextEncoder().encode(text)
const imported = (content: string | Uint8Array) =>
  Effect.gen(function*() {
    const store = yield* freshStore
    const exit = yield* Effect.exit(on(store)(LogTransfer.import(Stream.make(content))))
    return { exit, text: yield* on(store)(textOf) }
  })
/** The error that an export is refused with, and that importing it is refused with too. */
const damage = (content: string | Uint8Array) =>
  Effect.gen(function*() {
    const verified = yield* Effect.flip(LogTransfer.verify(Stream.make(content)))
    const error = yield* Effect.flip(on(yield* freshStore)(LogTransfer.import(Stream.make(content))))
    assert.deepStrictEqual(error, verified)
    return verified
  })

/** A small log with a closed and archived stream, its export, and the lines of it. */
const small = Effect.gen(function*() {
  const store = yield* freshStore
  return yield* on(store)(Effect.gen(function*() {
    yield* fill(9)
    yield* StreamLifecycle.close(Tick, "Tick-1", tick(100))
    yield* StreamLifecycle.archive("Tick-1")
    const text = yield* textOf
    return { text, lines: text.trimEnd().split("\n") }
  }))
})

describe("a damaged export", () => {
  it.live("is refused at its line, whichever byte of it is flipped", () =>
    Effect.scoped(Effect.gen(function*() {
      const { text } = yield* small
      const whole = bytesOf(text)
      let line = 1
      const step = scale(7, 1)
      for (let at = 0; at < whole.length; at++) {
        const masks = at % step !== 0 ? [] : at % 5 === 0 ? [1, 2, 4, 8, 16, 32, 64, 128, 255] : [1 << (at % 8)]
        for (const mask of masks) {
          const flipped = whole.slice()
          flipped[at]! ^= mask
          const { line: told } = yield* Effect.flip(LogTransfer.verify(Stream.make(flipped)))
          // A line that lost its end is one with the next.
          assert.strictEqual(told, line, `byte ${at} ^ ${mask}`)
        }
        if (whole[at] === 10) line++
      }
    })), 120_000)

  it.live("is refused with a line lost, doubled, exchanged or put elsewhere", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines } = yield* small
      const text = (changed: ReadonlyArray<string>) => changed.map((line) => `${line}\n`).join("")
      for (let n = 0; n < lines.length; n++) {
        const without = yield* damage(text(lines.toSpliced(n, 1)))
        assert.strictEqual(without.line, n + 1, `without line ${n + 1}`)
        const doubled = yield* damage(text(lines.toSpliced(n, 0, lines[n]!)))
        assert.strictEqual(doubled.line, n + 2, `line ${n + 1} twice`)
        if (n + 1 < lines.length) {
          const swapped = yield* damage(text(lines.toSpliced(n, 2, lines[n + 1]!, lines[n]!)))
          assert.strictEqual(swapped.line, n + 1, `lines ${n + 1} and ${n + 2} exchanged`)
        }
      }
    })))

  it.live("is refused when it is cut off anywhere", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines, text } = yield* small
      const whole = bytesOf(text)
      const ends = lines.map((_, n) => lines.slice(0, n + 1).join("\n").length)
      // All but the very last: without the end of its last line it says the same.
      for (let length = 0; length < whole.length - 1; length++) {
        const { line } = yield* Effect.flip(LogTransfer.verify(Stream.make(whole.slice(0, length))))
        assert.strictEqual(line, ends.filter((end) => end <= length).length + 1, `the first ${length} bytes`)
      }
      const { exit, text: same } = yield* imported(whole.slice(0, -1))
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(same, text)
    })))

  it.live("is refused far from its beginning too, at its line", () =>
    Effect.scoped(Effect.gen(function*() {
      const store = yield* freshStore
      yield* on(store)(fill(2500))
      const lines = (yield* on(store)(textOf)).trimEnd().split("\n")
      for (const n of [510, 511, 512, 513, 1023, 1024, 1025, 1800, 2500]) {
        const changed = lines.with(n, lines[n]!.replace(`"n":`, `"m":`))
        const error = yield* damage(changed.map((line) => `${line}\n`).join(""))
        assert.strictEqual(error.line, n + 1)
      }
    })))

  it.live("is refused when it is no export, or none of this format", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines, text } = yield* small
      const gzip = new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip")))
      const zipped = new Uint8Array(yield* Effect.promise(() => gzip.arrayBuffer()))
      const garbage = yield* Effect.forEach(Array.from({ length: 5000 }), () => Random.nextIntBetween(0, 255))
      for (
        const [content, says] of [
          [zipped, /UTF-8|header/],
          [Uint8Array.from(garbage), /UTF-8|header/],
          ["", /footer/],
          ["\n", /header/],
          ["hello\nworld\n", /header/],
          ["{}\n", /header/],
          [`[${lines.join(",")}]`, /header/],
          [text.replaceAll("\n", "\r\n"), /header/],
          [`\uFEFF${text}`, /header|checksum/],
          [text.slice(text.indexOf("\n") + 1), /checksum|header/],
          [text.replace(`"version":1`, `"version":2`), /format 2.*format 1/]
        ] as const
      ) {
        const error = yield* damage(content)
        assert.strictEqual(error.line, 1, error.message)
        assert.match(error.detail, says)
      }
      const after = yield* damage(`${text}\n`)
      assert.strictEqual(after.line, lines.length + 1)
      const twice = yield* damage(text + text)
      assert.strictEqual(twice.line, lines.length + 1)
    })))

  it.live("is refused with checksums made again, where its events cannot be", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines } = yield* small
      const checksummer = yield* ExportChecksums.checksummer
      const bodies = lines.map((line) => ExportChecksums.splitChecksum(line)!.body)
      const withChecksum = (changed: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          const [, checksum] = yield* checksummer.sums(ExportChecksums.start, changed.slice(0, -1))
          const events = changed.filter((body) => body.includes(`"kind":"event"`)).length
          const footer = changed.at(-1)!.replace(/"digest":"\w+"/, `"digest":"${yield* checksummer.digest(checksum)}"`)
            .replace(/"events":\d+/, `"events":${events}`)
          const all = [...changed.slice(0, -1), footer]
          const [sums] = yield* checksummer.sums(ExportChecksums.start, all)
          return all.map((body, i) => `${ExportChecksums.withChecksum(body, sums[i]!)}\n`).join("")
        })
      const { exit, text } = yield* imported(yield* withChecksum(bodies))
      assert.strictEqual(exit._tag, "Success", "unchanged")
      assert.strictEqual(text, lines.map((line) => `${line}\n`).join(""))
      for (
        const [what, line, changed] of [
          ["an event left out: a hole in its stream", 8, bodies.toSpliced(1, 1)],
          ["one left out at the end: its archived stream", 11, bodies.toSpliced(10, 1)],
          ["two exchanged: positions", 3, bodies.toSpliced(1, 2, bodies[2]!, bodies[1]!)],
          ["a version", 2, bodies.with(1, bodies[1]!.replace(`"version":1`, `"version":2`))],
          ["no position", 2, bodies.with(1, bodies[1]!.replace(`"position":"1"`, `"position":1`))],
          ["no id", 2, bodies.with(1, bodies[1]!.replace(/"id":"\w/, `"id":"x`))],
          ["no data", 2, bodies.with(1, bodies[1]!.replace(`"data":`, `"date":`))],
          ["an unknown kind", 2, bodies.with(1, bodies[1]!.replace(`"kind":"event"`, `"kind":"word"`))],
          ["a number for a line", 2, bodies.with(1, `{"kind":7}`)],
          [
            "the archived stream is another",
            12,
            bodies.with(11, bodies[11]!.replace(`"position":"10"`, `"position":"11"`))
          ],
          ["a second header", 3, bodies.toSpliced(2, 0, bodies[0]!)],
          ["an event after the archived", 13, bodies.toSpliced(12, 0, bodies[10]!)]
        ] as const
      ) {
        const content = yield* withChecksum(changed)
        const { exit } = yield* imported(content)
        assert.isTrue(exit._tag === "Failure", what)
        const error = yield* Effect.flip(on(yield* freshStore)(LogTransfer.import(Stream.make(content))))
        assert.isTrue(error._tag === "DamagedExport" && error.line === line, `${what}: ${error.message}`)
      }
    })))
})

describe("an export that cannot be read", () => {
  it.live("fails with what the reading fails with, and is no damaged one", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines, text } = yield* small
      const whole = bytesOf(text)
      const middle = lines.slice(0, 4).join("\n").length + 7
      for (const length of [0, 3, lines[0]!.length + 1, middle, whole.length - 1, whole.length]) {
        const read = Stream.concat(Stream.make(whole.slice(0, length)), Stream.fail("EIO"))
        assert.strictEqual(yield* Effect.flip(LogTransfer.verify(read)), "EIO", `after ${length} bytes`)
        const store = yield* freshStore
        assert.strictEqual(yield* Effect.flip(on(store)(LogTransfer.import(read))), "EIO", `after ${length} bytes`)
        assert.strictEqual(yield* store.head, 0n, "nothing of a group that was not read to its end")
      }
    })))

  it.live("is imported as far as its groups were read, and again from there", () =>
    Effect.scoped(Effect.gen(function*() {
      const store = yield* freshStore
      yield* on(store)(fill(1200))
      const text = yield* on(store)(textOf)
      const broken = Stream.concat(Stream.make(text.slice(0, -text.length / 12)), Stream.fail("EIO"))
      const other = yield* freshStore
      assert.strictEqual(yield* Effect.flip(on(other)(LogTransfer.import(broken))), "EIO")
      // The header and 999 events are two groups of 500 lines.
      assert.strictEqual(yield* other.head, 999n)
      assert.strictEqual((yield* on(other)(LogTransfer.import(Stream.make(text)))).written, 201)
      assert.strictEqual(yield* on(other)(textOf), text)
    })))
})

describe("a file", () => {
  const inFolder = <A, E>(
    body: (path: string) => Effect.Effect<A, E, FileSystem.FileSystem | EventStore.EventStore>
  ) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      return yield* on(yield* freshStore)(body(`${folder}/log.ndjson`))
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

  it.live("is exported, and imported twice: the second time nothing is to be done", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fill(1200)
        yield* StreamLifecycle.close(Tick, "Tick-1", tick(100))
        yield* StreamLifecycle.archive("Tick-1")
        const done = yield* LogTransfer.exportToFile(path)
        assert.deepInclude(done, { events: 1201, archived: 1 })
        assert.strictEqual(yield* fs.readFileString(path), yield* textOf)
        const store = yield* freshStore
        assert.strictEqual((yield* on(store)(LogTransfer.importFromFile(path))).written, 1201)
        assert.strictEqual((yield* on(store)(LogTransfer.importFromFile(path))).written, 0)
        assert.strictEqual(yield* on(store)(textOf), yield* fs.readFileString(path))
        assert.deepStrictEqual(yield* LogTransfer.exportToFile(path, { resume: true }), done)
        assert.strictEqual(yield* on(store)(textOf), yield* fs.readFileString(path), "left as it is")
      }).pipe(Effect.scoped)
    ))

  it.live("that is torn anywhere is continued to the same bytes, though the log has gone on", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fill(700)
        yield* StreamLifecycle.close(Tick, "Tick-1", tick(100))
        yield* StreamLifecycle.archive("Tick-1")
        yield* LogTransfer.exportToFile(path)
        const whole = yield* fs.readFile(path)
        const header = whole.indexOf(10) + 1
        const store = yield* EventStore.EventStore
        yield* store.append(Tick, "Later", [tick(1)])
        const cuts = [header, header + 1, whole.length - 1, whole.length - 2, whole.length - 200, whole.length]
        const random = yield* Effect.forEach(Array.from({ length: 12 }), () =>
          Random.nextIntBetween(header, whole.length))
        for (const cut of [...cuts, ...random]) {
          yield* fs.writeFile(path, whole.slice(0, cut))
          yield* LogTransfer.exportToFile(path, { resume: true })
          assert.deepStrictEqual(Buffer.from(yield* fs.readFile(path)), Buffer.from(whole), `cut at ${cut}`)
        }
        // Before the header is whole, it is a new export, with what was appended since.
        for (const cut of [0, header - 1]) {
          yield* fs.writeFile(path, whole.slice(0, cut))
          assert.strictEqual((yield* LogTransfer.exportToFile(path, { resume: true })).events, 702)
        }
      })
    ))

  it.live("is continued after its export was interrupted, and each time it is", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fill(3000)
        const text = yield* textOf
        for (let round = 0; round < 20; round++) {
          const fiber = yield* Effect.forkChild(LogTransfer.exportToFile(path, { resume: true, pageSize: 50 }))
          yield* Effect.sleep(round)
          yield* Fiber.interrupt(fiber)
          if (yield* fs.exists(path)) assert.isTrue(text.startsWith(yield* fs.readFileString(path)), `round ${round}`)
        }
        yield* LogTransfer.exportToFile(path, { resume: true, pageSize: 50 })
        assert.strictEqual(yield* fs.readFileString(path), text)
      })
    ))

  it.live("that is missing, or is a folder, is told so, and nothing is imported", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const missing = yield* Effect.flip(LogTransfer.importFromFile(path))
        assert(missing._tag === "PlatformError", missing.message)
        assert.strictEqual(missing.reason._tag, "NotFound")
        yield* fs.makeDirectory(path)
        const folder = yield* Effect.flip(LogTransfer.importFromFile(path))
        assert.strictEqual(folder._tag, "PlatformError", folder.message)
        const resumed = yield* Effect.flip(LogTransfer.exportToFile(path, { resume: true }))
        assert.strictEqual(resumed._tag, "PlatformError", resumed.message)
        assert.strictEqual(yield* (yield* EventStore.EventStore).head, 0n)
      })
    ))

  it.live("that is damaged, or of another log, is not continued, nor is anything of it imported", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fill(2000)
        yield* LogTransfer.exportToFile(path)
        const whole = yield* fs.readFile(path)
        const damaged = whole.slice()
        damaged[damaged.length - 300]! ^= 1
        yield* fs.writeFile(path, damaged)
        const store = yield* freshStore
        const error = yield* Effect.flip(on(store)(LogTransfer.importFromFile(path)))
        assert.strictEqual(error._tag, "DamagedExport")
        assert.strictEqual(yield* store.head, 0n, "nothing was written")
        assert.strictEqual((yield* Effect.flip(LogTransfer.exportToFile(path, { resume: true })))._tag, "DamagedExport")
        assert.deepStrictEqual(
          Buffer.from(yield* fs.readFile(path)),
          Buffer.from(damaged),
          "the file is left as it was"
        )
        yield* fs.writeFile(path, whole.slice(0, 10_000))
        for (const events of [0, 10, 2000]) {
          const other = yield* freshStore
          yield* on(other)(fill(events))
          const refused = yield* Effect.flip(on(other)(LogTransfer.exportToFile(path, { resume: true })))
          assert.strictEqual(refused._tag, "TransferRejected", `a log of ${events} other events`)
        }
      }).pipe(Effect.scoped)
    ))
})
