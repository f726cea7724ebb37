/** Runs the commands of docs/command-line.md on a shop, in their order, and compares what they print with the page. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, ProcessManager, Projector, Subscription } from "evsrc"
import { ExitCode, Reports } from "evsrc/cli"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cli from "../cli/Cli.ts"
import { Paid, Reminder, Thanks } from "../cli/fixtures/Shop.ts"
import * as Seed from "../cli/Seed.ts"
import { freshDatabase } from "../support/Database.ts"
import { blocksOf, read, section, tableOf } from "./Markdown.ts"

const page = read("docs/command-line.md")

/** Replaces what differs from run to run by what the page has. */
const settled = (text: string): string =>
  text.replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "2030-01-31T12:00:00.000Z")
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "0196c0de-7a4f-7000-8000-000000000001")
    .replaceAll(/"1\.[A-Za-z0-9+/=]+"/g, "\"…\"")
    .replaceAll(/\b[0-9a-f]{64}\b/g, "af69da36b48e…")
    .replaceAll(/\d+\.\d s\b/g, "0.6 s")
    // The process manager reacts to two orders at once.
    .replaceAll(
      /(reminder-1 v(\d)) at position \d+/g,
      (_, event: string, version: string) => `${event} at position ${5 + Number(version)}`
    )

/** The commands of the page, each with the block of its output. */
const commands = blocksOf(page).flatMap(({ code, language }, index, all) => {
  const next = all[index + 1]
  return language === "sh" && next?.language === "text" ? [{ command: code.trim(), printed: next.code }] : []
})

const programs = Layer.mergeAll(Projector.layer([Paid]), Subscription.layer([Thanks]), ProcessManager.layer([Reminder]))

/** The shop has five events, and the process manager appends six. */
const allHandled = Effect.repeat(
  Effect.delay(Effect.all([EventStore.head, Seed.positionsOf([Paid, Thanks])]), "20 millis"),
  { until: ([head, positions]) => head === 11n && positions.every((position) => position === 11n) }
)

describe("docs/command-line.md", () => {
  it.live("shows what the commands print", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "evsrc-docs-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      const check = Effect.fnUntraced(function*({ command, printed }: typeof commands[number]) {
        const file = join(folder, "log.ndjson")
        const [, ...args] = Array.from(command.matchAll(/"([^"]*)"|(\S+)/g), ([, quoted, word]) => quoted ?? word!)
        const run = Effect.map(
          Cli.run([...args.map((arg) => arg === "log.ndjson" ? file : arg), ...Cli.shop], { url }),
          ({ stderr, stdout }) => settled(stdout + stderr).replaceAll(file, "log.ndjson")
        )
        // What workers do at the moment shows in these. They come to rest.
        const isMoving = /^evsrc (status|consumers|generations list)$/.test(command)
        const text = yield* Effect.repeat(Effect.delay(run, isMoving ? "200 millis" : "0 millis"), {
          until: (text) => !isMoving || text === printed,
          times: 100
        })
        assert.strictEqual(text, printed, command)
      })

      assert.isAtLeast(commands.length, 20)
      const begun = commands.findIndex(({ command }) => command === "evsrc migrate")
      for (const one of commands.slice(0, begun + 1)) yield* check(one)
      yield* Effect.gen(function*() {
        yield* Seed.placeAndPay
        yield* Seed.place("2")
        yield* Seed.pay("7", 0)
        yield* Effect.provide(
          Effect.gen(function*() {
            yield* allHandled
            for (const one of commands.slice(begun + 1)) yield* check(one)
          }),
          programs
        )
      }).pipe(Effect.provide(Layer.provideMerge(Seed.runtime, Seed.storesOf(url))))
    }))

  it("lists the exit codes, and the Schema of every command", () => {
    const codes = tableOf(section(page, "## Exit codes")).map(([code]) => Number(code))
    assert.sameMembers(codes, Object.values(ExitCode))
    const schemas = tableOf(section(page, "## JSON")).flatMap(([, schema]) =>
      Array.from(schema!.matchAll(/(?:Reports\.)?(\w+)/g), ([, name]) => name!).filter((name) => name !== "Reports")
    )
    assert.sameMembers(schemas, Object.keys(Reports))
  })

  it("shows a configuration that the tests run with", () => {
    const [config] = blocksOf(page).filter(({ language }) => language === "ts")
    assert.strictEqual(config!.code, read("test/cli/fixtures/evsrc.config.ts"))
  })
})
