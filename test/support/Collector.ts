/** A collector of OpenTelemetry for tests: an OTLP/HTTP endpoint that keeps the traces, metrics and logs that it receives as JSON. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

interface Value {
  readonly stringValue?: string
  readonly intValue?: string | number
  readonly boolValue?: boolean
  readonly doubleValue?: number
  readonly arrayValue?: { readonly values: ReadonlyArray<Value> }
}

interface Attribute {
  readonly key: string
  readonly value: Value
}

export interface Span {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly attributes: Readonly<Record<string, unknown>>
  readonly links: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>
  readonly status: { readonly code: number; readonly message?: string }
}

export interface Line {
  readonly level: string
  readonly text: string
  readonly traceId: string | undefined
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface Received {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Collector {
  readonly url: string
  /** All requests so far. */
  readonly requests: ReadonlyArray<Received>
  readonly spans: () => ReadonlyArray<Span>
  readonly lines: () => ReadonlyArray<Line>
  /** Returns the names of the metrics that were received. */
  readonly metrics: () => ReadonlySet<string>
  /** Returns the attributes of the resource that sent the first request. */
  readonly resource: () => Readonly<Record<string, unknown>>
}

/** What the collector does with a request, once it has received it. */
export type Reply = (response: ServerResponse) => void

export const accept: Reply = (response) => void response.setHeader("content-type", "application/json").end("{}")

const plain = ({ arrayValue, boolValue, doubleValue, intValue, stringValue }: Value): unknown =>
  arrayValue?.values.map(plain) ?? stringValue ?? boolValue ?? doubleValue ??
    (intValue === undefined ? undefined : Number(intValue))

const attributesOf = (attributes: ReadonlyArray<Attribute> = []) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, plain(value)]))

// The shapes are those of https://github.com/open-telemetry/opentelemetry-proto, as JSON.
interface Resource {
  readonly resource: { readonly attributes: ReadonlyArray<Attribute> }
}
type Encoded<A> = Omit<A, "attributes"> & { readonly attributes: ReadonlyArray<Attribute> }
interface Traces {
  readonly resourceSpans: ReadonlyArray<
    Resource & { readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<Encoded<Span>> }> }
  >
}
interface Logs {
  readonly resourceLogs: ReadonlyArray<
    Resource & {
      readonly scopeLogs: ReadonlyArray<{
        readonly logRecords: ReadonlyArray<
          {
            readonly severityText: string
            readonly body: Value
            readonly traceId?: string
            readonly attributes: ReadonlyArray<Attribute>
          }
        >
      }>
    }
  >
}
interface Metrics {
  readonly resourceMetrics: ReadonlyArray<
    Resource & { readonly scopeMetrics: ReadonlyArray<{ readonly metrics: ReadonlyArray<{ readonly name: string }> }> }
  >
}

/** Starts a collector. Closing the scope closes its connections. */
export const make = (reply: Reply = accept): Effect.Effect<Collector, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly collector: Collector; readonly close: () => void }>((resume) => {
      const requests: Array<Received> = []
      const server = createServer(async (request, response) => {
        const chunks: Array<Buffer> = []
        for await (const chunk of request) chunks.push(chunk)
        const { headers, url: path = "" } = request
        requests.push({ path, headers, body: Buffer.concat(chunks).toString() })
        reply(response)
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        const close = () => {
          server.close()
          server.closeAllConnections()
        }
        resume(Effect.succeed({ collector: read(`http://127.0.0.1:${port}`, requests), close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  ).pipe(Effect.map(({ collector }) => collector))

const read = (url: string, requests: ReadonlyArray<Received>): Collector => {
  const of = <A>(path: string): ReadonlyArray<A> =>
    requests.filter((one) => one.path === path).map(({ body }): A => JSON.parse(body))
  return {
    url,
    requests,
    spans: () =>
      of<Traces>("/v1/traces").flatMap(({ resourceSpans }) => resourceSpans).flatMap(({ scopeSpans }) => scopeSpans)
        .flatMap(({ spans }) => spans).map((span) => ({ ...span, attributes: attributesOf(span.attributes) })),
    lines: () =>
      of<Logs>("/v1/logs").flatMap(({ resourceLogs }) => resourceLogs).flatMap(({ scopeLogs }) => scopeLogs)
        .flatMap(({ logRecords }) => logRecords).map(({ attributes, body, severityText, traceId }) => ({
          level: severityText,
          text: String(plain(body)),
          traceId,
          attributes: attributesOf(attributes)
        })),
    metrics: () =>
      new Set(
        of<Metrics>("/v1/metrics").flatMap(({ resourceMetrics }) => resourceMetrics).flatMap(({ scopeMetrics }) =>
          scopeMetrics
        )
          .flatMap(({ metrics }) => metrics).map(({ name }) => name)
      ),
    resource: () => attributesOf(of<Traces>("/v1/traces")[0]?.resourceSpans[0]?.resource.attributes)
  }
}
