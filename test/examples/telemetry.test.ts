/**
 * What the example program exports to an OpenTelemetry collector.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Collector from "../support/Collector.ts"
import { freshDatabase } from "../support/Database.ts"
import * as PostgresServer from "../support/PostgresServer.ts"
import { end, launch, type Running, running } from "./MainProgram.ts"
import { at, poll } from "./UsersProgram.ts"

const slow = 180_000

/** Exports often, so that a test does not wait. */
const often = {
  OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
  OTEL_BSP_SCHEDULE_DELAY: "100",
  OTEL_BLRP_SCHEDULE_DELAY: "100",
  OTEL_METRIC_EXPORT_INTERVAL: "200"
}

const send = (program: Running, path: string, body: unknown, headers: Record<string, string> = {}) =>
  Effect.promise(() => program.ask("POST", path, { body, headers }))

const until = (what: string, isTrue: () => boolean) =>
  Effect.sync(isTrue).pipe(
    Effect.repeat({ until: (found) => found, schedule: Schedule.spaced("50 millis") }),
    Effect.timeoutOrElse({ duration: "1 minute", orElse: () => Effect.die(new Error(`not within a minute: ${what}`)) })
  )

const order = (orderId: string, rest = {}) => ({
  orderId,
  product: "lamp",
  quantity: 1,
  amount: 900,
  address: "Secret Street 17",
  ...rest
})

describe("the example program", () => {
  it.live(
    "exports one trace from a request to the command of the process manager that reacts",
    () =>
      Effect.gen(function*() {
        const collector = yield* Collector.make()
        const { url: DATABASE_URL } = yield* freshDatabase
        const program = yield* running({
          ...often,
          DATABASE_URL,
          OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/`,
          OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20abc",
          OTEL_RESOURCE_ATTRIBUTES: "service.name=shop,deployment.environment.name=test"
        })
        yield* send(program, "/stock/lamp/deliveries", { quantity: 5 })
        const traceId = "0af7651916cd43dd8448eb211c80319c"
        const traceparent = `00-${traceId}-b7ad6b7169203331-01`
        yield* send(program, "/orders", order("o-1", { payWithin: 1 }), { traceparent })
        const isCancelled = (json: unknown) => at(json, "status") === "cancelled"
        yield* Effect.promise(() => poll(() => program.ask("GET", "/orders/o-1"), ({ json }) => isCancelled(json)))

        const spans = collector.spans
        const inTrace = () => spans().filter((span) => span.traceId === traceId)
        const byId = () => new Map(inTrace().map((span) => [span.spanId, span]))
        /** The names from a span up to the request. */
        const chain = (id: string | undefined): ReadonlyArray<string> => {
          const span = id === undefined ? undefined : byId().get(id)
          return span === undefined ? [id ?? ""] : [span.name, ...chain(span.parentSpanId)]
        }
        const find = (name: string, attributes: Record<string, unknown> = {}) =>
          inTrace().find((span) =>
            span.name === name && Object.entries(attributes).every(([key, value]) => span.attributes[key] === value)
          )
        yield* until("the command of the process manager", () => find("CommandBus.dispatch ReserveStock") !== undefined)
        const reserved = find("EventStore.append", { "evsrc.stream": "Stock-lamp" })
        yield* until("the request", () => chain(reserved?.spanId).includes("POST"))
        assert.deepStrictEqual(chain(reserved?.spanId), [
          "EventStore.append",
          "CommandBus.dispatch ReserveStock",
          "Consumer.handle",
          "Consumer.handle",
          "CommandBus.dispatch PlaceOrder",
          "POST",
          "b7ad6b7169203331"
        ])
        const [outputs, inputs] = [
          find("Consumer.handle", { "evsrc.event.type": "fulfilment.send" }) ??
            inTrace().find(({ attributes, name }) =>
              name === "Consumer.handle" && String(attributes["evsrc.consumer"]).includes("outputs")
            ),
          find("Consumer.handle", { "evsrc.event.type": "OrderPlaced" })
        ]
        assert.isDefined(inputs)
        assert.isDefined(outputs)
        const command = chain(find("CommandBus.dispatch PlaceOrder")?.spanId).slice(0, 2)
        assert.deepStrictEqual(command, ["CommandBus.dispatch PlaceOrder", "POST"])
        for (const name of ["Aggregate.load", "EventStore.append"]) {
          const span = find(name, { "evsrc.stream": "Order-o-1" })
          assert.deepStrictEqual(chain(span?.parentSpanId).slice(0, 2), command, name)
        }
        // A batch may have events of other traces too.
        const isOfTrace = (span: Collector.Span) =>
          span.traceId === traceId || span.links.some((link) => link.traceId === traceId)
        yield* until("the projection", () =>
          spans().some((span) =>
            span.name === "Consumer.step" && span.attributes["evsrc.consumer"] === "orders@1" && isOfTrace(span)
          ))
        yield* until("the deadline", () =>
          spans().some(({ name }) =>
            name === "ProcessManager.deadline"
          ))
        const deadline = spans().find(({ name }) => name === "ProcessManager.deadline")
        assert.notStrictEqual(deadline?.traceId, traceId)
        assert.deepStrictEqual(deadline?.links.map((link) => link.traceId), [traceId])

        yield* until("metrics", () => collector.metrics().has("evsrc_commands_total"))
        yield* until("logs", () =>
          collector.lines().some((line) => line.text === "Sent HTTP response" && line.traceId === traceId))
        assert.isTrue(
          collector.lines().some(({ attributes }) =>
            attributes["event"] === "consumers.started"
          )
        )
        yield* end(program, "SIGTERM")
        // It exports what is left when it stops.
        assert.isTrue(collector.lines().some(({ attributes }) => attributes["event"] === "consumers.stopped"))
        assert.deepInclude(collector.resource(), { "service.name": "shop", "deployment.environment.name": "test" })
        for (const { headers } of collector.requests) assert.strictEqual(headers.authorization, "Bearer abc")
        assert.deepStrictEqual(spans().filter(({ attributes }) => attributes["url.path"] === "/metrics"), [])
      }),
    slow
  )

  it.live("exports no personal data, also of commands that are rejected", () =>
    Effect.gen(function*() {
      const collector = yield* Collector.make()
      const { url: DATABASE_URL } = yield* freshDatabase
      const program = yield* running({ ...often, DATABASE_URL, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
      const ann = { userId: "u-1", email: "secret@example.com", name: "Secret Name" }
      const statuses = [
        yield* send(program, "/users", ann),
        yield* send(program, "/users", ann),
        yield* send(program, "/users", { ...ann, userId: "u-2", email: "secret" }),
        yield* send(program, "/stock/lamp/deliveries", { quantity: 1 }),
        yield* send(program, "/orders", order("o-2")),
        yield* send(program, "/orders", order("o-2", { amount: "Secret" }))
      ].map(({ status }) => status)
      assert.deepStrictEqual(statuses.map((status) => status < 300), [true, false, false, true, true, false])
      yield* Effect.promise(() => poll(() => program.ask("GET", "/users/u-1?after=1"), ({ status }) => status === 200))
      yield* Effect.promise(() =>
        poll(() => program.ask("GET", "/orders/o-2"), ({ json }) => at(json, "isReserved") === true)
      )
      yield* end(program, "SIGTERM")
      assert.isTrue(collector.spans().some(({ name }) => name === "CommandBus.dispatch RegisterUser"))
      assert.strictEqual(collector.resource()["service.name"], "evsrc-example-users")
      for (const { body, path } of collector.requests) assert.notMatch(body, /secret/i, path)
    }), slow)

  it.live(
    "is neither slowed nor kept from stopping by a collector that is away, slow or broken",
    () =>
      Effect.gen(function*() {
        const silent = yield* Collector.make(() => {})
        const broken = yield* Collector.make((response) => void response.writeHead(500).end("broken"))
        const away = `http://127.0.0.1:${yield* Effect.promise(() => PostgresServer.freePort())}`
        const { url: DATABASE_URL } = yield* freshDatabase
        yield* Effect.forEach([silent.url, broken.url, away], (endpoint, n) =>
          Effect.gen(function*() {
            const program = yield* running({
              ...often,
              DATABASE_URL,
              OTEL_EXPORTER_OTLP_PROTOCOL: "",
              OTEL_EXPORTER_OTLP_TIMEOUT: "500",
              OTEL_EXPORTER_OTLP_ENDPOINT: endpoint
            })
            for (let i = 0; i < 30; i++) {
              const user = { userId: `u-${n}-${i}`, email: "ann@example.com", name: "Ann" }
              assert.strictEqual((yield* send(program, "/users", user)).status, 201)
            }
            // A request that is not answered ends, and is repeated.
            const isRepeated = ({ requests }: Collector.Collector) =>
              requests.filter(({ path }) => path === "/v1/logs").length > 1
            if (n < 2) yield* until("a second request", () => isRepeated([silent, broken][n]!))
            yield* program.signal("SIGTERM")
            // Without a bound, a collector that never responds would hold it for minutes.
            const exited = yield* Effect.timeout(program.exited, "1 minute")
            assert.deepStrictEqual(exited, { code: 0, signal: null })
          }), { concurrency: "unbounded", discard: true })
        const [first] = silent.requests
        assert.strictEqual(first?.headers["content-type"], "application/x-protobuf")
      }),
    slow
  )

  it.live("says in one line which variable of OpenTelemetry is invalid", () =>
    Effect.forEach(
      [
        [{ OTEL_EXPORTER_OTLP_ENDPOINT: "localhost:4318" }, /OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as/],
        [
          { OTEL_EXPORTER_OTLP_ENDPOINT: "http://x", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
          /OTEL_EXPORTER_OTLP_PROTOCOL must be .*, not "grpc"/
        ],
        [
          { OTEL_EXPORTER_OTLP_ENDPOINT: "http://x", OTEL_SDK_DISABLED: "perhaps" },
          /variable of OpenTelemetry is invalid: .*OTEL_SDK_DISABLED/
        ]
      ] as const,
      ([env, why]) =>
        Effect.gen(function*() {
          const script = yield* launch({ ...env, EVSRC_DATA: "/nowhere" })
          const { code } = yield* script.exited
          const stderr = yield* script.stderr
          assert.strictEqual(code, 1, stderr)
          assert.match(stderr, why)
          assert.match(stderr, /^evsrc: .*\n$/)
        }),
      { concurrency: 2, discard: true }
    ), slow)
})
