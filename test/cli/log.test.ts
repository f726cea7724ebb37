/** The commands that read, check and copy the log. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { EventStore, StreamLifecycle } from "evsrc"
import { Reports } from "evsrc/cli"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { freshDatabase } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import * as Cli from "./Cli.ts"
import { OrderEvent } from "./fixtures/Shop.ts"
import * as Seed from "./Seed.ts"

const scope = Scope.makeUnsafe()
let url: string
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "evsrc-cli-"))
  url = (await Effect.runPromise(Scope.provide(freshDatabase, scope))).url
  await Effect.runPromise(
    Effect.scoped(Seed.placeAndPay.pipe(Effect.provide(Seed.runtime), Effect.provide(Seed.storesOf(url))))
  )
})

afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await rm(folder, { recursive: true })
})

const inStores = <A, E>(effect: Effect.Effect<A, E, EventStore.EventStore>, at = url) =>
  Effect.provide(effect, Seed.storesOf(at))

describe("evsrc tail", () => {
  it.live("prints the log, as lines and as JSON, without personal data", () =>
    Effect.gen(function*() {
      const text = yield* Cli.output(["tail", "--no-follow"], { url })
      assert.match(text, /^1 \d{4}-\S+Z Order-1 v1 OrderPlaced \{"orderId":"1","customer":"ann",/)
      assert.lengthOf(text.trim().split("\n"), 3)
      assert.notInclude(text, Seed.mail)
      const events = yield* Cli.items(Reports.tail, ["tail", "--no-follow"], { url })
      assert.deepStrictEqual(events.map(({ position, type }) => [position, type]), [
        [1n, "OrderPlaced"],
        [2n, "OrderPaid"],
        [3n, "OrderPaid"]
      ])
      assert.strictEqual(events[0]!.metadata.commandId, Seed.commandId)
    }))

  it.live("selects by stream, type, tag and position", () =>
    Effect.gen(function*() {
      const positions = (...args: ReadonlyArray<string>) =>
        Effect.map(
          Cli.items(Reports.tail, ["tail", "--no-follow", ...args], { url }),
          (events) => events.map(({ position }) => Number(position))
        )
      assert.deepStrictEqual(yield* positions("--type", "OrderPaid", "--after", "2"), [3])
      assert.deepStrictEqual(yield* positions("--stream", "Order-*", "--tag", "customer:ann", "--limit", "2"), [1, 2])
      assert.deepStrictEqual(yield* positions("--stream", "Order-", "--tag", "customer:ann"), [])
      assert.deepStrictEqual(yield* positions("--stream", "Order-1", "--after", "1"), [2, 3])
    }))

  it.live("follows the log, and ends cleanly when its reader ends and after Ctrl-C", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* inStores(Seed.pay("7", 1), url)
      const [head, interrupted] = yield* Effect.all(
        [Cli.start(["tail", "--after", "0"], { url }), Cli.start(["tail", "--after", "0"], { url })]
      )
      yield* head.lineOf(/^1 .*Order-7/)
      yield* interrupted.lineOf(/^1 .*Order-7/)
      yield* inStores(Seed.pay("8", 2), url)
      yield* interrupted.lineOf(/^2 .*Order-8/)
      yield* interrupted.signal("SIGINT")
      assert.deepInclude(yield* interrupted.ended, { code: 130, stderr: "" })
      yield* head.closeOutput
      // The next events find that nothing reads them any more.
      for (const amount of [3, 4]) yield* inStores(Seed.pay("9", amount), url)
      assert.deepInclude(yield* head.ended, { code: 0, stderr: "" })
    }))
})

describe("evsrc tail, when it cannot continue", () => {
  it.live("says that a position is beyond the log, and not to continue there", () =>
    Effect.gen(function*() {
      const { code, stderr } = yield* Cli.run(["tail", "--after", "99999"], { url })
      assert.strictEqual(code, 2)
      assert.match(stderr, /^evsrc: Position 99999 is beyond the end of the log/)
    }))

  it.live("exits with 3 when the server stops, and prints where to continue", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      yield* inStores(Seed.pay("7", 1), server.url)
      const tail = yield* Cli.start(["tail", "--after", "0"], { url: server.url })
      yield* tail.lineOf(/^1 .*Order-7/)
      yield* server.kill
      const { code, stderr } = yield* tail.ended
      assert.strictEqual(code, 3, stderr)
      assert.match(stderr, /^Stopped; to continue, give --after 1\nevsrc: The database is unavailable/)
    }))
})

describe("evsrc stream", () => {
  it.live("prints the events, and the states after them with personal data erased", () =>
    Effect.gen(function*() {
      const events = yield* Cli.items(Reports.stream, ["stream", "Order-1", "--at", "version:2"], { url })
      assert.deepStrictEqual(events.map(({ event, state }) => [event.version, state]), [[1, undefined], [2, undefined]])
      const steps = yield* Cli.items(Reports.stream, ["stream", "Order-1", "--state", ...Cli.shop], { url })
      assert.deepStrictEqual(
        steps.map(({ state }) => state),
        [0, 30, 42].map((paid) => ({ customer: "ann", paid, contact: { _tag: "Erased", subject: "ann" } }))
      )
      const text = yield* Cli.output(["stream", "Order-1", "--state", ...Cli.shop], { url })
      assert.include(text, "state {\"customer\":\"ann\",\"paid\":42")
      assert.notInclude(text, Seed.mail)
    }))

  it.live("names the stream or version that does not exist", () =>
    Effect.gen(function*() {
      for (
        const [args, message] of [
          [["stream", "Order-9"], "There is no stream \"Order-9\""],
          [["stream", "Order-1", "--at", "version:4"], "its last version is 3"],
          [["stream", "Cart-1", "--state"], "it has Order"],
          [["import", "none.ndjson"], "The file none.ndjson does not exist; give that of an earlier evsrc export"],
          [["import", "none.ndjson", "--verify"], "The file none.ndjson does not exist"],
          [
            ["export", join(folder, "none", "log.ndjson")],
            `The folder ${join(folder, "none")} does not exist; create it`
          ]
        ] as const
      ) {
        const { code, stderr } = yield* Cli.run([...args, ...Cli.shop], { url })
        assert.strictEqual(code, 2)
        assert.include(stderr, message)
      }
    }))
})

describe("evsrc causation", () => {
  it.live("prints what a command caused", () =>
    Effect.gen(function*() {
      const tree = yield* Cli.document(Reports.causation, ["causation", Seed.commandId], { url })
      assert.deepStrictEqual(tree.nodes.map(({ _tag, depth }) => [_tag, depth]), [["Command", 0], ["Event", 1]])
      assert.isTrue(tree.isComplete)
      const text = yield* Cli.output(["causation", tree.nodes[1]!.id, "--by", "event"], { url })
      assert.match(text, /^PlaceOrder by clerk at .*\n {2}OrderPlaced in Order-1 v1 at position 1\n$/)
      assert.include(
        (yield* Cli.run(["causation", "none"], { url })).stderr,
        "No event belongs to the command \"none\""
      )
    }))
})

describe("evsrc verify", () => {
  it.live("proves that the log is intact, also against an anchor", () =>
    Effect.gen(function*() {
      const anchor = join(folder, "anchor.json")
      assert.include((yield* Cli.run(["verify"], { url, keys: "" })).stderr, "100 %  position 3 of 3")
      const found = yield* Cli.document(Reports.verify, ["verify", "--save", anchor], { url })
      assert.deepInclude(found, { isIntact: true, verified: 3, faults: [] })
      yield* Cli.output(["verify", "--against", anchor], { url })
      yield* Effect.promise(async () => {
        await writeFile(anchor, (await readFile(anchor, "utf8")).replace(/"digest":"../, "\"digest\":\"00"))
      })
      const { code, stdout } = yield* Cli.run(["verify", "--against", anchor], { url })
      assert.strictEqual(code, 1)
      assert.include(stdout, "faulty")
      assert.include(stdout, "anchor at position 3")
    }))
})

describe("evsrc export and import", () => {
  it.live("copy the log, ask before they overwrite a file, and verify it", () =>
    Effect.gen(function*() {
      const file = join(folder, "log.ndjson")
      const exported = yield* Cli.document(Reports.export, ["export", file], { url })
      assert.deepStrictEqual(exported, { file, events: 3, archived: 0, head: exported.head })
      const again = yield* Cli.run(["export", file], { url })
      assert.strictEqual(again.code, 2)
      assert.include(again.stderr, "There is no terminal to ask on; to confirm, add --yes")
      yield* Cli.output(["export", file, "--yes"], { url })
      assert.notInclude(yield* Effect.promise(() => readFile(file, "utf8")), Seed.mail)
      assert.deepStrictEqual(yield* Cli.document(Reports.export, ["import", file, "--verify"]), exported)

      const { url: target } = yield* freshDatabase
      yield* Cli.output(["migrate"], { url: target })
      assert.strictEqual((yield* Cli.document(Reports.import, ["import", file], { url: target })).written, 3)
      assert.strictEqual((yield* Cli.document(Reports.import, ["import", file], { url: target })).written, 0)
      yield* Effect.promise(() => writeFile(file, "{}\n"))
      const damaged = yield* Cli.run(["import", file], { url: target })
      assert.strictEqual(damaged.code, 3)
      assert.include(damaged.stderr, "Line 1 of the export")
    }))

  it.live("ask on a terminal, and show a bar and colours there", () =>
    Effect.gen(function*() {
      const file = join(folder, "asked.ndjson")
      yield* Effect.promise(() => writeFile(file, "kept"))
      const no = yield* Cli.run(["export", file], { url, keys: "n" })
      assert.strictEqual(no.code, 2)
      assert.include(no.stderr, `Overwrite ${file}?`)
      assert.include(no.stderr, "It was not confirmed, so nothing was changed")
      assert.strictEqual(yield* Effect.promise(() => readFile(file, "utf8")), "kept")
      const yes = yield* Cli.run(["export", file], { url, keys: "y" })
      assert.strictEqual(yes.code, 0, yes.stderr)
      assert.include(yes.stderr, "100 %  3 events, position 3 of 3")
      assert.isTrue(yes.stdout.startsWith("\u001b[32mexported\u001b[0m 3 events"), yes.stdout)
    }))

  it.live("stop cleanly after Ctrl-C and print where; a second run continues", () =>
    Effect.gen(function*() {
      const { url: source } = yield* freshDatabase
      const many = 40_000
      yield* inStores(Seed.payMany(many), source)
      const file = join(folder, "many.ndjson")
      const size = () => readFile(file).then(({ length }) => length, () => 0)
      const stop = Effect.gen(function*() {
        yield* Effect.promise(() => rm(file, { force: true }))
        const exporting = yield* Cli.start(["export", file], { url: source })
        yield* Effect.promise(async () => {
          while (await size() === 0) await new Promise((done) => setTimeout(done, 2))
        })
        yield* exporting.signal("SIGINT")
        return yield* exporting.ended
      })
      // On a busy machine the export may end before the signal comes.
      const stopped = yield* Effect.repeat(Effect.scoped(stop), { until: ({ code }) => code !== 0, times: 5 })
      assert.strictEqual(stopped.code, 130)
      assert.match(
        stopped.stderr,
        /The export stopped at position \d+ of 40000. To continue: evsrc export \S+ --resume/
      )
      assert.strictEqual(
        (yield* Cli.document(Reports.export, ["export", file, "--resume"], { url: source })).events,
        many
      )

      const { url: target } = yield* freshDatabase
      yield* Cli.output(["migrate"], { url: target })
      const importing = yield* Cli.start(["import", file], { url: target })
      yield* inStores(
        Effect.repeat(EventStore.head, { until: (head) => head > 0n }),
        target
      )
      yield* importing.signal("SIGINT")
      const half = yield* importing.ended
      assert.strictEqual(half.code, 130, half.stderr)
      assert.match(
        half.stderr,
        /The import stopped at position \d+ of 40000. To continue, run it again: evsrc import \S+/
      )
      const done = yield* Cli.document(Reports.import, ["import", file], { url: target })
      assert.strictEqual(done.events, many)
      assert.isBelow(done.written, many)
    }))
})

describe("evsrc archive", () => {
  it.live("archives closed streams, and rejects open ones", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* inStores(
        Effect.gen(function*() {
          const shipped = OrderEvent.cases.OrderShipped.make({ orderId: "1", customer: "ann" })
          for (const id of ["1", "2"]) {
            yield* Seed.pay(id, 5)
            yield* StreamLifecycle.close(OrderEvent, `Order-${id}`, shipped)
          }
          yield* Seed.pay("3", 5)
        }),
        url
      )
      const archived = yield* Cli.items(Reports.archive, ["archive", "--closed"], { url })
      assert.deepStrictEqual(archived, [{ stream: "Order-1", events: 2 }, { stream: "Order-2", events: 2 }])
      assert.strictEqual(yield* Cli.output(["archive", "Order-1"], { url }), "Order-1 was archived before\n")
      const open = yield* Cli.run(["archive", "Order-3"], { url })
      assert.strictEqual(open.code, 2)
      assert.include(open.stderr, "is open and cannot be archived")
    }))
})
