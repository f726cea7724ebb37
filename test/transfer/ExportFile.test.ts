/** Exports that are damaged, truncated, of another log, or interrupted. */
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, FileSystem, Layer, Random, Schema, Stream } from "effect"
import { Event, EventStore, LogTransfer, Position, StreamLifecycle } from "evsrc"
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
/** Returns the error with which both verifying and importing an export fail. */
const damage = (content: string | Uint8Array) =>
  Effect.gen(function*() {
    const verified = yield* Effect.flip(LogTransfer.verify(Stream.make(content)))
    const error = yield* Effect.flip(on(yield* freshStore)(LogTransfer.import(Stream.make(content))))
    assert.deepStrictEqual(error, verified)
    return verified
  })

/** Returns the export of a small log with one archived stream. */
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

const bodiesOf = (lines: ReadonlyArray<string>) => lines.map((line) => ExportChecksums.splitChecksum(line)!.body)

/** Returns an export of these lines with new checksums, and with a footer that counts them unless `keepFooter` is set. */
const resealed = Effect.fnUntraced(
  function*(bodies: ReadonlyArray<string>, { keepFooter = false }: { readonly keepFooter?: boolean } = {}) {
    const checksummer = yield* ExportChecksums.checksummer
    const [, checksum] = yield* checksummer.sums(ExportChecksums.start, bodies.slice(0, -1))
    const events = bodies.filter((body) => body.includes(`"kind":"event"`)).length
    const footer = bodies.at(-1)!.replace(/"digest":"\w+"/, `"digest":"${yield* checksummer.digest(checksum)}"`)
    const all = [...bodies.slice(0, -1), keepFooter ? footer : footer.replace(/"events":\d+/, `"events":${events}`)]
    const [sums] = yield* checksummer.sums(ExportChecksums.start, all)
    return all.map((body, i) => `${ExportChecksums.withChecksum(body, sums[i]!)}\n`).join("")
  }
)

describe("a damaged export", () => {
  it.live("fails at the damaged line when any byte is flipped", () =>
    Effect.scoped(Effect.gen(function*() {
      const { text } = yield* small
      const whole = bytesOf(text)
      let line = 1
      const step = scale(13, 1)
      for (let at = 0; at < whole.length; at++) {
        const masks = at % step !== 0 ? [] : at % 5 === 0 ? [1, 2, 4, 8, 16, 32, 64, 128, 255] : [1 << (at % 8)]
        for (const mask of masks) {
          const flipped = whole.slice()
          flipped[at]! ^= mask
          const { line: damagedLine } = yield* Effect.flip(LogTransfer.verify(Stream.make(flipped)))
          // A line without its newline joins the next one.
          assert.strictEqual(damagedLine, line, `byte ${at} ^ ${mask}`)
        }
        if (whole[at] === 10) line++
      }
    })))

  it.live("fails when a line is lost, duplicated or exchanged with the next", () =>
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

  it.live("fails when it is truncated at any byte", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines, text } = yield* small
      const whole = bytesOf(text)
      const ends = lines.map((_, n) => lines.slice(0, n + 1).join("\n").length)
      // Except for the last byte: the newline of the last line may be missing.
      for (let length = 0; length < whole.length - 1; length++) {
        const { line } = yield* Effect.flip(LogTransfer.verify(Stream.make(whole.slice(0, length))))
        assert.strictEqual(line, ends.filter((end) => end <= length).length + 1, `the first ${length} bytes`)
      }
      const { exit, text: same } = yield* imported(whole.slice(0, -1))
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(same, text)
    })))

  it.live("fails at the damaged line in later checksum blocks", () =>
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

  it.live("fails when the input is not an export of this format version", () =>
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
          [text.replace(`"version":1`, `"version":2`), /format version 2.*format version 1/]
        ] as const
      ) {
        const error = yield* damage(content)
        assert.strictEqual(error.line, 1, error.message)
        assert.match(error.detail, says)
      }
      // Only the first line states the version: another one is damage like any other.
      const header = `{"kind":"header","format":"evsrc-log","version":99,"head":"1"}`
      const inside = yield* damage(lines.toSpliced(2, 0, header).map((line) => `${line}\n`).join(""))
      assert.strictEqual(inside.line, 3)
      assert.match(inside.detail, /does not end with a checksum/)
      const after = yield* damage(`${text}\n`)
      assert.strictEqual(after.line, lines.length + 1)
      const twice = yield* damage(text + text)
      assert.strictEqual(twice.line, lines.length + 1)
    })))

  it.live("fails on import when events contradict each other, even with valid checksums", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines } = yield* small
      const bodies = bodiesOf(lines)
      const { exit, text } = yield* imported(yield* resealed(bodies))
      assert.strictEqual(exit._tag, "Success", "unchanged")
      assert.strictEqual(text, lines.map((line) => `${line}\n`).join(""))
      for (
        const [what, line, changed] of [
          ["an event left out: a hole in its stream", 8, bodies.toSpliced(1, 1)],
          ["one left out at the end: its archived stream", 11, bodies.toSpliced(10, 1)],
          ["two exchanged: positions", 3, bodies.toSpliced(1, 2, bodies[2]!, bodies[1]!)],
          ["a version", 2, bodies.with(1, bodies[1]!.replace(`"version":1`, `"version":2`))],
          ["no position", 2, bodies.with(1, bodies[1]!.replace(`"position":"1"`, `"position":1`))],
          ["an empty stream name", 2, bodies.with(1, bodies[1]!.replace(/"stream":"[^"]+"/, `"stream":""`))],
          ["a stream name with NUL", 2, bodies.with(1, bodies[1]!.replace(`"stream":"`, `"stream":"\\u0000`))],
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
        const content = yield* resealed(changed)
        const error = yield* Effect.flip(on(yield* freshStore)(LogTransfer.import(Stream.make(content))))
        assert(error._tag === "DamagedExport", `${what}: ${error.message}`)
        assert.strictEqual(error.line, line, `${what}: ${error.message}`)
      }
    })))

  it.live("fails to verify when lines are out of order, even with valid checksums", () =>
    Effect.scoped(Effect.gen(function*() {
      const bodies = bodiesOf((yield* small).lines)
      const archived = bodies[11]!
      const position = (body: string, position: number) => body.replace(/"position":"\d+"/, `"position":"${position}"`)
      for (
        const [line, detail, changed] of [
          [3, /position 1 must be greater than 1/, bodies.toSpliced(2, 0, bodies[1]!)],
          [4, /position 2 must be greater than 3/, bodies.toSpliced(2, 2, bodies[3]!, bodies[2]!)],
          [11, /position 11 must be .* at most 10/, bodies.with(10, position(bodies[10]!, 11))],
          [13, /position 10 must be greater than 10/, bodies.toSpliced(12, 0, archived)],
          [12, /position 11 must be .* at most 10/, bodies.with(11, position(archived, 11))],
          [13, /event after the archived/, bodies.toSpliced(12, 0, bodies[10]!)],
          [3, /second header/, bodies.toSpliced(2, 0, bodies[0]!)]
        ] as const
      ) {
        const error = yield* Effect.flip(LogTransfer.verify(Stream.make(yield* resealed(changed))))
        assert.match(error.detail, detail)
        assert.strictEqual(error.line, line, error.message)
      }
    })))

  it.live("fails to verify when the footer contradicts earlier lines with valid checksums", () =>
    Effect.scoped(Effect.gen(function*() {
      const bodies = bodiesOf((yield* small).lines)
      const footer = bodies.at(-1)!
      const wrong = {
        events: footer.replace(`"events":10`, `"events":9`),
        archived: footer.replace(`"archived":1`, `"archived":2`)
      }
      for (const [member, body] of Object.entries(wrong)) {
        const content = yield* resealed([...bodies.slice(0, -1), body], { keepFooter: true })
        const error = yield* Effect.flip(LogTransfer.verify(Stream.make(content)))
        assert.match(error.detail, /the footer counts/, member)
        assert.strictEqual(error.line, bodies.length, member)
      }
      // Files of other programs, and of releases that did not look: the log was set back while it was exported.
      const mixed = bodies.with(0, bodies[0]!.replace(/"headEventId":"\w/, `"headEventId":"x`))
      const ofNoLog = yield* Effect.flip(LogTransfer.verify(Stream.make(yield* resealed(mixed))))
      assert.match(ofNoLog.detail, /the header names event .* at position 10, where the export has/)
      // The last event is missing, and with it the closed stream.
      const shorter = bodies.toSpliced(10, 2).map((body) => body.replace(`"archived":1`, `"archived":0`))
      const error = yield* Effect.flip(LogTransfer.verify(Stream.make(yield* resealed(shorter))))
      assert.match(error.detail, /up to position 10; the export has 9 and 0 up to position 9/)
    })))
})

describe("an export", () => {
  it.live("reports its progress after each page", () =>
    Effect.scoped(Effect.gen(function*() {
      const store = yield* freshStore
      yield* on(store)(fill(5))
      const progress: Array<LogTransfer.Progress> = []
      const onProgress = (now: LogTransfer.Progress) => Effect.sync(() => void progress.push(now))
      yield* on(store)(Stream.runDrain(LogTransfer.export({ pageSize: 2, onProgress })))
      const head = Position.make(5n)
      const at = (line: number, events: number) => ({ line, events, position: Position.make(BigInt(events)), head })
      assert.deepStrictEqual(progress, [at(1, 0), at(3, 2), at(5, 4), at(6, 5), at(7, 5)])
    })))

  it.live("does not include a stream that was closed and archived after it began", () =>
    Effect.scoped(Effect.gen(function*() {
      const store = yield* freshStore
      const text = yield* on(store)(Effect.gen(function*() {
        yield* fill(9)
        yield* StreamLifecycle.close(Tick, "Tick-1", tick(100))
        yield* StreamLifecycle.archive("Tick-1")
        let isFirst = true
        const onProgress = () =>
          Effect.suspend(() => {
            if (!isFirst) return Effect.void
            isFirst = false
            return Effect.orDie(Effect.andThen(
              StreamLifecycle.close(Tick, "Tick-2", tick(100)),
              StreamLifecycle.archive("Tick-2")
            ))
          }).pipe(Effect.provideService(EventStore.EventStore, store))
        const lines = yield* Stream.runCollect(LogTransfer.export({ onProgress }))
        return lines.join("")
      }))
      const archived = bodiesOf(text.trimEnd().split("\n")).filter((body) => body.includes(`"kind":"archived"`))
      assert.strictEqual(archived.length, 1)
      assert.include(archived[0], `"Tick-1"`)
      assert.strictEqual((yield* imported(text)).exit._tag, "Success")
    })))
})

describe("an export whose source fails", () => {
  it.live("fails with the error of the source, and writes nothing of an incomplete group", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lines, text } = yield* small
      const whole = bytesOf(text)
      const middle = lines.slice(0, 4).join("\n").length + 7
      for (const length of [0, 3, lines[0]!.length + 1, middle, whole.length - 1, whole.length]) {
        const read = Stream.concat(Stream.make(whole.slice(0, length)), Stream.fail("EIO"))
        assert.strictEqual(yield* Effect.flip(LogTransfer.verify(read)), "EIO", `after ${length} bytes`)
        const store = yield* freshStore
        assert.strictEqual(yield* Effect.flip(on(store)(LogTransfer.import(read))), "EIO", `after ${length} bytes`)
        assert.strictEqual(yield* store.head, 0n, "nothing written")
      }
    })))

  it.live("imports its complete groups, and a second import continues from there", () =>
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

describe("an export file", () => {
  const inFolder = <A, E>(
    body: (path: string) => Effect.Effect<A, E, FileSystem.FileSystem | EventStore.EventStore>
  ) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      return yield* on(yield* freshStore)(body(`${folder}/log.ndjson`))
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

  it.live("imports once, and a second import writes nothing", () =>
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
        assert.strictEqual(yield* on(store)(textOf), yield* fs.readFileString(path), "unchanged")
      }).pipe(Effect.scoped)
    ))

  it.live("resumes to the same bytes from any truncation, though the log has grown", () =>
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
        // Without a complete header, the export starts again and includes the new event.
        for (const cut of [0, header - 1]) {
          yield* fs.writeFile(path, whole.slice(0, cut))
          assert.strictEqual((yield* LogTransfer.exportToFile(path, { resume: true })).events, 702)
        }
      })
    ))

  it.live("resumes with other tags, and only in the same way", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const Told = Schema.TaggedUnion({ Ticked: { n: Schema.Int, text: Schema.String } })
        const store = yield* EventStore.EventStore
        for (let n = 0; n < 30; n++) yield* store.append(Told, "Told", [{ _tag: "Ticked", n, text: `t${n % 3}` }])
        const retag = Told.pipe(Event.tags({ text: "text" }))
        yield* LogTransfer.exportToFile(path, { retag, pageSize: 7 })
        const whole = yield* fs.readFile(path)
        const header = whole.indexOf(10) + 1
        for (const cut of [header, header + 1, whole.length >> 1, whole.length - 200, whole.length]) {
          yield* fs.writeFile(path, whole.slice(0, cut))
          const error = yield* Effect.flip(LogTransfer.exportToFile(path, { resume: true }))
          assert.include(error.message, "The file was begun with `retag`")
          yield* LogTransfer.exportToFile(path, { resume: true, retag })
          assert.deepStrictEqual(Buffer.from(yield* fs.readFile(path)), Buffer.from(whole), `cut at ${cut}`)
        }
        yield* LogTransfer.exportToFile(path)
        const error = yield* Effect.flip(LogTransfer.exportToFile(path, { resume: true, retag }))
        assert.include(error.message, "The file was begun without `retag`")
        assert.notInclude(yield* fs.readFileString(path), "retagged")
      })
    ))

  it.live("keeps the pages written before each interruption, and continues after them", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fill(1000)
        const text = yield* textOf
        let before = 0
        for (const completePages of [1, 2, 1, 3, 1]) {
          let pages = 0
          const onProgress = () => pages++ < completePages ? Effect.void : Effect.interrupt
          const exit = yield* Effect.exit(LogTransfer.exportToFile(path, { resume: true, pageSize: 50, onProgress }))
          assert.strictEqual(exit._tag, "Failure")
          const written = yield* fs.readFileString(path)
          assert.isAbove(written.length, before)
          assert.strictEqual(written, text.slice(0, written.length))
          before = written.length
        }
        yield* LogTransfer.exportToFile(path, { resume: true })
        assert.strictEqual(yield* fs.readFileString(path), text)
      })
    ))

  it.live("resumes after interruptions at any time", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fill(3000)
        const text = yield* textOf
        for (let round = 0; round < 20; round++) {
          const fiber = yield* Effect.forkChild(LogTransfer.exportToFile(path, { resume: true, pageSize: 50 }))
          yield* Effect.sleep(round)
          yield* Fiber.interrupt(fiber)
          const written = (yield* fs.exists(path)) ? yield* fs.readFileString(path) : ""
          assert.strictEqual(written, text.slice(0, written.length), `round ${round}`)
        }
        yield* LogTransfer.exportToFile(path, { resume: true, pageSize: 50 })
        assert.strictEqual(yield* fs.readFileString(path), text)
      })
    ))

  it.live("fails with PlatformError when the path is missing or a folder", () =>
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

  it.live("is neither imported nor resumed when it is damaged or of another log", () =>
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
        assert.strictEqual(yield* store.head, 0n, "nothing written")
        assert.strictEqual((yield* Effect.flip(LogTransfer.exportToFile(path, { resume: true })))._tag, "DamagedExport")
        assert.deepStrictEqual(
          Buffer.from(yield* fs.readFile(path)),
          Buffer.from(damaged),
          "the file is unchanged"
        )
        yield* fs.writeFile(path, whole.slice(0, 10_000))
        for (const events of [0, 10, 2000]) {
          const other = yield* freshStore
          yield* on(other)(fill(events))
          const error = yield* Effect.flip(on(other)(LogTransfer.exportToFile(path, { resume: true })))
          assert.strictEqual(error._tag, "TransferRejected", `a log of ${events} other events`)
        }
        const header = whole.slice(0, whole.indexOf(10) + 1)
        yield* fs.writeFile(path, header)
        for (const events of [0, 10, 2000, 2500]) {
          const other = yield* freshStore
          yield* on(other)(fill(events))
          const error = yield* Effect.flip(on(other)(LogTransfer.exportToFile(path, { resume: true })))
          assert.strictEqual(error._tag, "TransferRejected", `a header alone, and a log of ${events} other events`)
        }
        assert.deepStrictEqual(Buffer.from(yield* fs.readFile(path)), Buffer.from(header), "the file is unchanged")
      }).pipe(Effect.scoped)
    ))
})
