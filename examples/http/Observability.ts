/**
 * Logs go to stderr: formatted on a terminal, otherwise one JSON object per line. Spans go to the OpenTelemetry collector that
 * `OTEL_EXPORTER_OTLP_ENDPOINT` names, such as http://localhost:4318. Metrics are served at /metrics.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as OtlpTracer from "effect/observability/OtlpTracer"
import * as Option from "effect/Option"

const logs = Layer.merge(
  Logger.layer([process.stderr.isTTY ? Logger.consolePretty() : Logger.withConsoleError(Logger.formatJson)]),
  Layer.succeed(Logger.LogToStderr, true)
)

const spans = Layer.unwrap(Effect.map(
  Config.option(Config.String("OTEL_EXPORTER_OTLP_ENDPOINT")),
  Option.match({
    onNone: () => Layer.empty,
    onSome: (collector) =>
      OtlpTracer.layer({
        url: `${collector.replace(/\/$/, "")}/v1/traces`,
        resource: { serviceName: "evsrc-example-users" }
      }).pipe(Layer.provide(OtlpSerialization.layerJson), Layer.provide(FetchHttpClient.layer))
  })
))

export const layer = Layer.mergeAll(logs, spans)
