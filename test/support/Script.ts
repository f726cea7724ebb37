/** A `.ts` file that Node runs in its own process, which a test can signal and kill. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import * as Path from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export class ScriptError extends Schema.TaggedError<ScriptError>()("ScriptError", {
  message: Schema.String
}) {}

export interface Exited {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Script {
  readonly pid: number
  /** The lines of its standard output. The queue is done when the process has closed it. */
  readonly lines: Queue.Dequeue<string, Cause.Done>
  /** Returns the next matching line and drops those before it. Fails with the standard error if the process ends first. */
  readonly waitFor: (pattern: RegExp) => Effect.Effect<string, ScriptError>
  readonly write: (line: string) => Effect.Effect<void>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits until the process has ended, normally or by a signal. */
  readonly exited: Effect.Effect<Exited>
  readonly stderr: Effect.Effect<string>
}

export interface Options {
  readonly args?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
}

/** Where Node keeps compiled modules: a process that finds them starts in half the time. */
export const compileCache = Path.resolve(import.meta.dirname, "../../node_modules/.cache/evsrc/compiled")

/** Starts a script. Closing the scope kills it with SIGKILL. Make `path` with `import.meta.resolve`. */
export const start = (path: string | URL, options: Options = {}): Effect.Effect<Script, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => launch(path, options)),
    (script) => Effect.andThen(script.signal("SIGKILL"), script.exited)
  )

const launch = (path: string | URL, options: Options): Script => {
  const file = path instanceof URL || path.startsWith("file:") ? fileURLToPath(path) : path
  const child = spawn(process.execPath, ["--conditions=@evsrc/source", file, ...options.args ?? []], {
    env: { ...process.env, NODE_OPTIONS: "", NODE_COMPILE_CACHE: compileCache, ...options.env },
    stdio: ["pipe", "pipe", "pipe"]
  })
  const pid = child.pid
  if (pid === undefined) throw new Error(`Node did not start ${file}`)
  const lines = Effect.runSync(Queue.unbounded<string, Cause.Done>())
  let stderr = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  // A write to a script that has ended fails, which is not an error of the test.
  child.stdin.on("error", () => {})
  createInterface({ input: child.stdout })
    .on("line", (line) => Queue.offerUnsafe(lines, line))
    .on("close", () => Queue.endUnsafe(lines))
  const closed = new Promise<Exited>((resolve) => {
    child.once("close", (code, signal) => resolve({ code, signal }))
  })

  const exited = Effect.promise(() => closed)
  const waitFor = (pattern: RegExp): Effect.Effect<string, ScriptError> =>
    Queue.take(lines).pipe(
      Effect.repeat({ until: (line) => pattern.test(line) }),
      Effect.catchIf(Cause.isDone, () =>
        Effect.flatMap(exited, ({ code, signal }) =>
          Effect.fail(
            new ScriptError({ message: `${file} ended (${signal ?? code}) without a line like ${pattern}\n${stderr}` })
          )))
    )
  return {
    pid,
    lines,
    waitFor,
    write: (line) => Effect.sync(() => child.stdin.write(`${line}\n`)),
    signal: (signal) => Effect.sync(() => child.kill(signal)),
    exited,
    stderr: Effect.sync(() => stderr)
  }
}
