/** Runs the program `evsrc`: in a process of its own, as a shell does, or within this one. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert } from "@effect/vitest"
import {
  type Cause,
  ConfigProvider,
  Console,
  Effect,
  Layer,
  Option,
  Queue,
  Schema,
  type Scope,
  Sink,
  Stdio,
  Stream,
  Terminal
} from "effect"
import { TerminalCapabilities } from "effect/cli"
import { spawn } from "node:child_process"
import { join, resolve } from "node:path"
import { createInterface } from "node:readline"
import * as program from "../../src/cli/program.ts"
import { compileCache } from "../support/Script.ts"

export const root = resolve(import.meta.dirname, "../..")
export const main = join(root, "src/cli/main.ts")
export const fixtures = join(import.meta.dirname, "fixtures")

export interface Options {
  /** The folder in which it runs: by default one without a configuration. */
  readonly cwd?: string
  readonly url?: string
  readonly env?: Readonly<Record<string, string>>
  /** For a run within this process: the keys that are pressed on a terminal. Without it there is no terminal. */
  readonly keys?: string
}

export interface Ended {
  /** The exit code, or the name of the signal that ended it. */
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  /** Waits until the standard output has a line that matches. Fails when the process ends before. */
  readonly lineOf: (pattern: RegExp) => Effect.Effect<string>
  /** Waits until the standard output matches, also within a line. Fails when the process ends before. */
  readonly textOf: (pattern: RegExp) => Effect.Effect<string>
  readonly stdin: (text: string) => Effect.Effect<void>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Closes the reading end of its standard output, as `head` does. */
  readonly closeOutput: Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

/** The environment without what would change the output, or the settings of the tests. */
const envOf = ({ env = {}, url }: Options): NodeJS.ProcessEnv => ({
  PATH: process.env["PATH"] ?? "",
  HOME: process.env["HOME"] ?? "",
  NODE_COMPILE_CACHE: compileCache,
  ...url === undefined ? {} : { DATABASE_URL: url },
  ...env
})

export const startAs = (command: string, args: ReadonlyArray<string>, options: Options = {}) =>
  Effect.acquireRelease(
    Effect.sync((): Running => {
      const child = spawn(command, args, { cwd: options.cwd ?? root, env: envOf(options), stdio: "pipe" })
      let stdout = ""
      let stderr = ""
      let isEnded = false
      const waiting = new Set<() => void>()
      const wake = () => {
        for (const one of waiting) one()
      }
      const lines: Array<string> = []
      child.stdin.on("error", () => {})
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        stdout += text
        wake()
      })
      createInterface({ input: child.stdout }).on("line", (line) => {
        lines.push(line)
        wake()
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text
        wake()
      })
      const ended = new Promise<Ended>((done) => {
        child.once("close", (code, signal) => {
          isEnded = true
          done({ code: code ?? signal ?? "unknown", stdout, stderr })
          wake()
        })
      })
      const seen = (find: () => string | undefined, pattern: RegExp) =>
        Effect.promise(() =>
          new Promise<string>((done, fail) => {
            const look = () => {
              const found = find()
              if (found === undefined && !isEnded) return
              waiting.delete(look)
              if (found !== undefined) done(found)
              else fail(new Error(`evsrc ended without ${pattern} in its output: ${stdout}\n${stderr}`))
            }
            waiting.add(look)
            look()
          })
        )
      return {
        lineOf: (pattern) => seen(() => lines.find((line) => pattern.test(line)), pattern),
        textOf: (pattern) => seen(() => pattern.exec(stdout)?.[0], pattern),
        stdin: (text) => Effect.sync(() => child.stdin.write(text)),
        signal: (signal) => Effect.sync(() => child.kill(signal)),
        closeOutput: Effect.sync(() => child.stdout.destroy()),
        ended: Effect.promise(() => ended)
      }
    }),
    ({ ended, signal }) => Effect.andThen(signal("SIGKILL"), ended)
  )

/** Starts `evsrc`. Closing the scope kills it. */
export const start = (
  args: ReadonlyArray<string>,
  options: Options = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  startAs(process.execPath, ["--conditions=@evsrc/source", main, ...args], options)

/** Runs `evsrc` in a process of its own, to its end. */
export const execute = (args: ReadonlyArray<string>, options: Options = {}): Effect.Effect<Ended> =>
  Effect.scoped(Effect.flatMap(start(args, options), ({ ended }) => ended))

/** The configuration of the shop. */
export const shop: ReadonlyArray<string> = ["--config", join(fixtures, "evsrc.config.ts")]

const isTerminal = { canColor: true, canAnimate: true, canPrompt: true }

/** Returns a terminal of 100 columns on which keys are pressed. It shows its output beside the errors. */
const terminalOf = (keys: string, display: (text: string) => void) =>
  Terminal.make({
    columns: Effect.succeed(100),
    rows: Effect.succeed(24),
    size: Effect.die("unused"),
    readLine: Effect.die("unused"),
    display: (text) => Effect.sync(() => display(text)),
    readInput: Effect.gen(function*() {
      const queue = yield* Queue.make<Terminal.UserInput, Cause.Done>()
      for (const key of keys) {
        Queue.offerUnsafe(queue, {
          input: Option.some(key),
          key: { name: key, ctrl: false, meta: false, shift: false }
        })
      }
      return queue
    })
  })

/** Runs `evsrc` within this process, which takes a tenth of the time of another one. */
export const run = (args: ReadonlyArray<string>, options: Options = {}): Effect.Effect<Ended> =>
  Effect.suspend(() => {
    const texts = { stdout: "", stderr: "" }
    const sink = (name: keyof typeof texts) => () =>
      Sink.forEach((chunk: string | Uint8Array) =>
        Effect.sync(() => {
          texts[name] += String(chunk)
        })
      )
    const write = (name: keyof typeof texts) => (...words: ReadonlyArray<unknown>) => {
      texts[name] += `${words.join(" ")}\n`
    }
    const { keys } = options
    const onTerminal = keys === undefined ? Layer.empty : Layer.mergeAll(
      Layer.succeed(TerminalCapabilities.TerminalCapabilities, isTerminal),
      Layer.succeed(Terminal.Terminal, terminalOf(keys, write("stderr")))
    )
    return program.run("0.0.0").pipe(
      Effect.provide(onTerminal),
      Effect.map((code) => ({ code, ...texts })),
      Effect.provideService(Console.Console, { ...console, log: write("stdout"), error: write("stderr") }),
      Effect.provideService(
        Stdio.Stdio,
        Stdio.make({
          args: Effect.succeed(args),
          stdout: sink("stdout"),
          stderr: sink("stderr"),
          stdin: Stream.empty,
          stderrIsTerminal: Effect.succeed(keys !== undefined)
        })
      ),
      Effect.provideService(
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({
          env: { ...options.env, ...options.url === undefined ? {} : { DATABASE_URL: options.url } }
        })
      ),
      Effect.provide(NodeServices.layer)
    )
  })

/** Runs `evsrc`, and returns its output. Fails the test if the exit code is another one. */
export const output = (args: ReadonlyArray<string>, options: Options & { readonly code?: number } = {}) =>
  Effect.map(run(args, options), ({ code, stderr, stdout }) => {
    assert.strictEqual(code, options.code ?? 0, `evsrc ${args.join(" ")}: ${stderr}${stdout}`)
    return stdout
  })

/** Runs `evsrc --json`, and decodes the document that it prints. */
export const document = <T>(
  report: Schema.Codec<T, Schema.Json>,
  args: ReadonlyArray<string>,
  options: Options & { readonly code?: number } = {}
) =>
  Effect.flatMap(
    output([...args, "--json"], options),
    (text) => Schema.decodeUnknownEffect(Schema.fromJsonString(report))(text)
  )

/** Runs `evsrc --json`, and decodes each of the lines that it prints. */
export const items = <T>(
  report: Schema.Codec<T, Schema.Json>,
  args: ReadonlyArray<string>,
  options: Options & { readonly code?: number } = {}
) =>
  Effect.flatMap(output([...args, "--json"], options), (text) =>
    Effect.forEach(
      text.split("\n").filter((line) => line !== ""),
      (line) => Schema.decodeUnknownEffect(Schema.fromJsonString(report))(line)
    ))
