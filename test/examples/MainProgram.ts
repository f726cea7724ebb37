/**
 * The example program as a process of its own.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Script from "../support/Script.ts"
import { at, client } from "./UsersProgram.ts"

/** Overrides variables that may be set where the tests run. */
const unset = {
  PORT: "0",
  HOST: "",
  DATABASE_URL: "",
  EVSRC_DATA: "",
  PROVOKE: "",
  OTEL_EXPORTER_OTLP_ENDPOINT: "",
  OTEL_EXPORTER_OTLP_PROTOCOL: "",
  OTEL_EXPORTER_OTLP_HEADERS: "",
  OTEL_EXPORTER_OTLP_TIMEOUT: "",
  OTEL_SERVICE_NAME: "",
  OTEL_RESOURCE_ATTRIBUTES: "",
  OTEL_SDK_DISABLED: ""
}

export const launch = (env: Readonly<Record<string, string>>) =>
  Script.start(import.meta.resolve("../../examples/http/start.ts"), { env: { ...unset, ...env } })

/** Starts the program and waits until it serves. */
export const running = Effect.fnUntraced(function*(env: Readonly<Record<string, string>>) {
  const script = yield* launch(env)
  const [, url = ""] = /^ +API +(http:.*)\/users$/.exec(yield* script.waitFor(/^ +API /)) ?? []
  return { ...script, url, ask: client(url) }
})

export type Running = Effect.Success<ReturnType<typeof running>>

/** Stops the program; it must exit with 0 and print only its log to stderr. */
export const end = Effect.fnUntraced(function*(program: Running, signal: NodeJS.Signals) {
  yield* program.signal(signal)
  assert.deepStrictEqual(yield* program.exited, { code: 0, signal: null })
  for (const line of (yield* program.stderr).split("\n")) {
    if (line !== "") assert.match(String(at(JSON.parse(line), "level")), /^(INFO|WARN)$/, line)
  }
})
