/** What `evsrc` prints on a real terminal, which the program `script` of util-linux provides. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { freshDatabase } from "../support/Database.ts"
import { needs } from "../support/needs.ts"
import * as Cli from "./Cli.ts"
import * as Seed from "./Seed.ts"

const hasScript = spawnSync("script", ["--version"]).stdout?.includes("util-linux") === true

/** Makes a log of three events, and a folder. */
const shop = Effect.gen(function*() {
  const { url } = yield* freshDatabase
  yield* Seed.placeAndPay.pipe(Effect.provide(Seed.runtime), Effect.provide(Seed.storesOf(url)))
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "evsrc-terminal-"))),
    (folder) => Effect.promise(() => rm(folder, { recursive: true }))
  )
  return { url, file: join(folder, "log.ndjson") }
})

/** Starts `evsrc` on a terminal of a number of columns. Its output has what both outputs print. */
const onTerminal = (
  url: string,
  args: ReadonlyArray<string>,
  columns: number,
  env: Readonly<Record<string, string>> = {}
) => {
  const command = [process.execPath, "--conditions=@evsrc/source", Cli.main, ...args].map((word) => `'${word}'`)
  return Cli.startAs("script", ["-qefc", `stty cols ${columns}; exec ${command.join(" ")}`, "/dev/null"], {
    url,
    env: { TERM: "xterm", ...env }
  })
}

describe("evsrc on a terminal", needs("script", hasScript), () => {
  it.live("draws a bar within the width, and colours", () =>
    Effect.gen(function*() {
      const { url } = yield* shop
      const { code, stdout } = yield* Effect.flatMap(onTerminal(url, ["verify"], 30), ({ ended }) => ended)
      assert.strictEqual(code, 0, stdout)
      const bar = stdout.split("\r").find((line) => line.startsWith("█"))!
      assert.strictEqual(bar.replace("\u001b[K", "").trimEnd(), "█".repeat(29))
      assert.include(stdout, "\u001b[32mintact\u001b[0m")
    }))

  it.live("prints no colours with NO_COLOR, or on a terminal without them", () =>
    Effect.gen(function*() {
      const { url } = yield* shop
      for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
        const { code, stdout } = yield* Effect.flatMap(onTerminal(url, ["verify"], 100, env), ({ ended }) => ended)
        assert.strictEqual(code, 0, stdout)
        assert.notInclude(stdout, "\u001b[32m")
      }
    }))

  it.live("asks before it overwrites, and takes the answer", () =>
    Effect.gen(function*() {
      const { file, url } = yield* shop
      yield* Cli.output(["export", file], { url })
      const before = yield* Effect.promise(() => readFile(file, "utf8"))
      const no = yield* onTerminal(url, ["export", file], 100)
      yield* no.textOf(/Overwrite/)
      yield* no.stdin("n")
      const { code, stdout } = yield* no.ended
      assert.strictEqual(code, 2, stdout)
      assert.include(stdout, "It was not confirmed, so nothing was changed")
      assert.strictEqual(yield* Effect.promise(() => readFile(file, "utf8")), before)
      const yes = yield* onTerminal(url, ["export", file], 100)
      yield* yes.textOf(/Overwrite/)
      yield* yes.stdin("y")
      assert.deepInclude(yield* yes.ended, { code: 0 })
    }))

  it.live("leaves the terminal as it was after Ctrl-C at a question", () =>
    Effect.gen(function*() {
      const { file, url } = yield* shop
      yield* Cli.output(["export", file, "--yes"], { url })
      const asked = yield* onTerminal(url, ["export", file], 100)
      yield* asked.textOf(/Overwrite/)
      yield* asked.stdin("\u0003")
      const { code, stdout } = yield* asked.ended
      assert.strictEqual(code, 130, stdout)
      assert.isTrue(stdout.lastIndexOf("\u001b[?25h") >= stdout.lastIndexOf("\u001b[?25l"), JSON.stringify(stdout))
    }))
})
