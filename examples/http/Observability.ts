/**
 * Logs go to stderr: formatted on a terminal, otherwise one JSON object per line. Metrics are served at /metrics. With `OTEL_EXPORTER_OTLP_ENDPOINT`, such
 * as http://localhost:4318, traces, metrics and logs also go to that OpenTelemetry collector. docs/observability.md lists the variables.
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import { HttpClientError, TransportError } from "effect/http/HttpClientError"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { InvalidSetting } from "./Settings.ts"

/** The standard variables, and the defaults of this program. OpenTelemetry treats an empty variable as unset. */
const variables = (env: NodeJS.ProcessEnv): Record<string, string> => ({
  ...(/(^|,)\s*service\.name=/.test(env["OTEL_RESOURCE_ATTRIBUTES"] ?? "")
    ? {}
    : { OTEL_SERVICE_NAME: "evsrc-example-users" }),
  OTEL_TRACES_EXPORTER: "otlp",
  OTEL_METRICS_EXPORTER: "otlp",
  OTEL_LOGS_EXPORTER: "otlp",
  // Of one request, and of the last export when the program stops; in milliseconds.
  OTEL_EXPORTER_OTLP_TIMEOUT: "2000",
  ...Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => value === undefined || value === "" ? [] : [[name, value]])
  )
})

/** The maximum number of exports under way. Beyond it the collector is too slow, and the exporter drops its data and pauses for a minute. */
const maxExports = 8

/** A client whose requests end, whatever the collector does. */
const client = (timeout: Duration.Duration) =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.map(HttpClient.HttpClient, (client) => {
      let exports = 0
      return HttpClient.transform(client, (response, request) =>
        Effect.suspend(() => {
          const failed = (description: string) =>
            Effect.fail(new HttpClientError({ reason: new TransportError({ request, description }) }))
          if (exports >= maxExports) return Effect.die(new Error("the collector is too slow"))
          exports++
          return response.pipe(
            Effect.timeoutOrElse({ duration: timeout, orElse: () => failed("the collector did not respond in time") }),
            Effect.ensuring(Effect.sync(() => {
              exports--
            }))
          )
        }))
    })
  ).pipe(Layer.provide(FetchHttpClient.layer))

const otlp = Effect.gen(function*() {
  const timeout = Duration.millis(yield* Config.Int("OTEL_EXPORTER_OTLP_TIMEOUT"))
  const protocol = yield* Config.String("OTEL_EXPORTER_OTLP_PROTOCOL").pipe(Config.withDefault("http/protobuf"))
  if (protocol !== "http/json" && protocol !== "http/protobuf") {
    return yield* new InvalidSetting({
      message: `OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or http/json, not ${JSON.stringify(protocol)}`
    })
  }
  // Imported on demand, because most runs export nothing.
  const { Otlp, OtlpSerialization } = yield* Effect.promise(() => import("effect/observability"))
  return Otlp.layerFromConfig().pipe(
    Layer.provide(protocol === "http/json" ? OtlpSerialization.layerJson : OtlpSerialization.layerProtobuf),
    Layer.provide(client(timeout))
  )
})

const invalid = (error: unknown): InvalidSetting =>
  error instanceof InvalidSetting ? error : new InvalidSetting({
    message: `A variable of OpenTelemetry is invalid: ${
      (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, "; ")
    }`
  })

const exporters = Layer.unwrap(Effect.suspend(() => {
  const env = variables(process.env)
  const endpoint = env["OTEL_EXPORTER_OTLP_ENDPOINT"]
  if (endpoint === undefined) return Effect.succeed(Layer.empty)
  if (!/^https?:$/.test(URL.parse(endpoint)?.protocol ?? "")) {
    return Effect.fail(
      new InvalidSetting({
        message: `OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://localhost:4318, not ${
          JSON.stringify(endpoint)
        }`
      })
    )
  }
  const provider = ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
  return Effect.succeed(
    Layer.unwrap(otlp).pipe(
      Layer.provide(provider),
      // Effect dies of variables that it cannot read.
      Layer.catchCause((cause) => Layer.effectDiscard(Effect.fail(invalid(Cause.squash(cause)))))
    )
  )
}))

const logs = Layer.merge(
  Logger.layer([process.stderr.isTTY ? Logger.consolePretty() : Logger.withConsoleError(Logger.formatJson)]),
  Layer.succeed(Logger.LogToStderr, true)
)

/** Paths that monitoring polls have no spans. */
const polls = HttpMiddleware.layerTracerDisabledForUrls(["/health", "/metrics"])

export const layer = Layer.mergeAll(exporters, polls).pipe(Layer.provideMerge(logs))
