/** Server-sent events, health, metrics and fallback answers, over a real socket. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Schema, Scope, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServerRequest } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import {
  CommandBus,
  EventStore,
  EventStoreError,
  LogPosition,
  Position,
  ProjectionStore,
  Projector,
  StoreUnavailable
} from "evsrc"
import { HttpFallback, HttpHandlers, HttpHealth, HttpProblems, HttpSource, HttpStream } from "evsrc/http"
import { internals } from "../../src/core/internals.ts"
import * as Orders from "./Orders.ts"
import { client, memory, serve } from "./Server.ts"

const Change = Schema.Struct({ type: Schema.String, orderId: Orders.OrderId })

const orderChanges = HttpStream.changes("orderChanges", { path: "/changes", data: Change })
const watchOrder = HttpStream.watch("watchOrder", {
  path: "/orders/:orderId/live",
  params: { orderId: Orders.OrderId },
  data: Schema.NullOr(Orders.OrderView)
})
const health = HttpHealth.endpoint("health", { path: "/health" })
const own = HttpApiEndpoint.get("own", "/own", { success: Schema.String }).middleware(HttpProblems.HttpProblems)

const Api = HttpApi.make("shop").add(
  HttpApiGroup.make("orders").add(Orders.placeOrder, Orders.payOrder, orderChanges, watchOrder, health, own)
)

const flood = HttpStream.changes("flood", { path: "/flood", data: Schema.String })

let open = 0

const group = HttpHandlers.layerWith(Api, "orders", (others) =>
  others
    .handle(
      "orderChanges",
      HttpSource.changes(orderChanges, (after) =>
        Stream.suspend(() => {
          open++
          return HttpSource.ofEvents(
            Orders.OrderEvent,
            ({ event }) => event._tag === "OrderPlaced" ? { type: event._tag, orderId: event.orderId } : undefined
          )(after)
        }).pipe(Stream.ensuring(Effect.sync(() => open--))))
    )
    .handle(
      "watchOrder",
      HttpSource.watch(watchOrder, ({ orderId }) =>
        Stream.map(
          ProjectionStore.watch(Orders.OrdersProjection, orderId),
          (found) => found._tag === "Some" ? found.value : null
        ))
    )
    .handle(
      "health",
      HttpHealth.handle([Orders.OrdersProjection], {
        workers: Effect.flatMap(Projector.Projector, ({ status }) => status)
      })
    )
    .handle("own", () => Effect.succeed("own")))

const start = (stores: Layer.Layer<EventStore.EventStore | ProjectionStore.ProjectionStore> = memory) =>
  Effect.gen(function*() {
    const services = yield* Layer.build(
      Orders.layer.pipe(Layer.provideMerge(stores), Layer.provide(Logger.layer([])))
    )
    const url = yield* serve(
      Layer.mergeAll(
        HttpApiBuilder.layer(Api),
        HttpFallback.layer(Api),
        PrometheusMetrics.layerHttp({ path: "/metrics" })
      ).pipe(
        Layer.provide(group),
        HttpRouter.provideRequest(Layer.succeedContext(services)),
        Layer.provide(Layer.succeedContext(services))
      )
    )
    const place = (orderId: string) =>
      CommandBus.dispatch(Orders.PlaceOrder, { orderId: Orders.OrderId.make(orderId), amount: 5 }).pipe(
        Effect.provideContext(services)
      )
    const pay = (orderId: string) =>
      CommandBus.dispatch(Orders.PayOrder, { orderId: Orders.OrderId.make(orderId), amount: 5 }).pipe(
        Effect.provideContext(services)
      )
    return { url, place, pay }
  })

/** The stores in memory, of which the log cannot be read. */
const away = Layer.effect(
  EventStore.EventStore,
  Effect.flatMap(EventStore.EventStore, ({ [internals]: { driver } }) =>
    EventStore.make({
      ...driver,
      eventTypes: Effect.fail(
        new EventStoreError({
          reason: new StoreUnavailable({ message: "secret host", cause: new Error("the secret password") })
        })
      )
    }))
).pipe(Layer.provide(EventStore.layerMemory), Layer.merge(ProjectionStore.layerMemory))

interface Received {
  readonly id?: string
  readonly event: string
  readonly data: string
}

const parse = (text: string): Received =>
  Object.fromEntries(
    text.split("\n").map((line) => {
      const at = line.indexOf(":")
      return [line.slice(0, at), line.slice(at + 1).trimStart()] as const
    })
  ) as typeof Object.prototype as Received

/** Connects as a browser's EventSource does, until the scope closes. */
const connect = (
  url: string,
  headers: Record<string, string> = {}
): Effect.Effect<{ readonly next: Effect.Effect<Received>; readonly headers: Headers }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const abort = new AbortController()
    yield* Effect.addFinalizer(() => Effect.sync(() => abort.abort()))
    const response = yield* Effect.promise(() => fetch(url, { headers, signal: abort.signal }))
    assert.strictEqual(response.status, 200)
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/)
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    let text = ""
    const next = Effect.promise(async () => {
      while (!text.includes("\n\n")) {
        const { done, value } = await reader.read()
        if (done) throw new Error(`the stream has ended after ${JSON.stringify(text)}`)
        text += value
      }
      const end = text.indexOf("\n\n")
      const event = parse(text.slice(0, end))
      text = text.slice(end + 2)
      return event
    }).pipe(Effect.timeout("60 seconds"), Effect.orDie)
    return { next, headers: response.headers }
  })

const until = (condition: () => boolean) =>
  Effect.gen(function*() {
    while (!condition()) yield* Effect.sleep("20 millis")
  }).pipe(Effect.timeout("60 seconds"), Effect.orDie)

describe("HttpStream.changes", () => {
  it.live("streams new changes, each with a cursor", () =>
    Effect.gen(function*() {
      const { pay, place, url } = yield* start()
      yield* place("o1")
      const { headers, next } = yield* connect(`${url}/changes`)
      assert.strictEqual(headers.get("cache-control"), "no-cache, no-transform")
      const reached = yield* next
      assert.strictEqual(reached.event, "reached")
      assert.match(reached.id ?? "", /^1_/)
      yield* pay("o1")
      yield* place("o2")
      const change = yield* next
      assert.strictEqual(change.event, "change")
      assert.deepStrictEqual(JSON.parse(change.data), { type: "OrderPlaced", orderId: "o2" })
      assert.match(change.id ?? "", /^3_/)
    }))

  it.live("resumes after Last-Event-ID without a gap or a repetition", () =>
    Effect.gen(function*() {
      const { place, url } = yield* start()
      yield* place("o1")
      const first = yield* Effect.scoped(Effect.gen(function*() {
        const { next } = yield* connect(`${url}/changes?after=0`)
        yield* next
        return yield* next
      }))
      assert.include(first.data, "o1")
      for (const id of ["o2", "o3"]) yield* place(id)
      const { next } = yield* connect(`${url}/changes?after=0`, { "last-event-id": first.id ?? "" })
      const events = [yield* next, yield* next, yield* next]
      assert.deepStrictEqual(events.map(({ event }) => event), ["reached", "change", "change"])
      assert.include(events[1]!.data, "o2")
      assert.include(events[2]!.data, "o3")
    }))

  it.live("is a 410 for a cursor that the log does not have", () =>
    Effect.gen(function*() {
      const { place, url } = yield* start()
      yield* place("o1")
      const ask = client(url)
      for (const cursor of ["9", "1_00000000-0000-4000-8000-000000000000"]) {
        const answer = yield* Effect.promise(() => ask("GET", "/changes", { headers: { "last-event-id": cursor } }))
        assert.strictEqual(answer.status, 410, cursor)
      }
      const wrong = yield* Effect.promise(() => ask("GET", "/changes", { headers: { "last-event-id": "x" } }))
      assert.strictEqual(wrong.status, 400)
    }))

  it.live("sends heartbeats with the last cursor", () =>
    Effect.gen(function*() {
      const { place, url } = yield* start()
      yield* place("o1")
      const { next } = yield* connect(`${url}/changes?after=0`)
      const events = [yield* next, yield* next, yield* next]
      assert.deepStrictEqual(events.map(({ event }) => event), ["reached", "change", "reached"])
      assert.strictEqual(events[2]!.id, events[1]!.id)
    }).pipe(Effect.provideService(HttpSource.HeartbeatInterval, "300 millis")))

  it.live("ends when the server starts to shut down", () =>
    Effect.gen(function*() {
      const shutdown = yield* Deferred.make<void>()
      const { url } = yield* start().pipe(Effect.provideService(HttpSource.Shutdown, Deferred.await(shutdown)))
      const { next } = yield* connect(`${url}/changes`)
      yield* next
      yield* Deferred.succeed(shutdown, undefined)
      const end = yield* Effect.exit(next)
      assert.include(String(end), "the stream has ended")
    }))

  it.live("ends the subscription of a client that disconnects", () =>
    Effect.gen(function*() {
      const { url } = yield* start()
      const before = open
      yield* Effect.scoped(Effect.gen(function*() {
        const { next } = yield* connect(`${url}/changes`)
        yield* next
        yield* until(() => open === before + 1)
      }))
      yield* until(() => open === before)
    }))

  it.live("reads no further while a client does not read", () =>
    Effect.gen(function*() {
      const count = { made: 0 }
      const Api = HttpApi.make("flood").add(HttpApiGroup.make("flood").add(flood))
      const group = HttpHandlers.layerWith(Api, "flood", (others) =>
        others.handle(
          "flood",
          HttpSource.changes(flood, () =>
            Stream.fromEffectRepeat(Effect.sync(() => {
              count.made++
              return { cursor: LogPosition.start, data: "x".repeat(10_000) }
            })))
        ))
      const services = Layer.succeedContext(yield* Layer.build(memory))
      const url = yield* serve(
        HttpApiBuilder.layer(Api).pipe(
          Layer.provide(group),
          HttpRouter.provideRequest(services),
          Layer.provide(services)
        )
      )
      yield* connect(`${url}/flood`)
      let last = -1
      yield* Effect.gen(function*() {
        while (count.made !== last || last === 0) {
          last = count.made
          yield* Effect.sleep("500 millis")
        }
      }).pipe(Effect.timeout("60 seconds"))
      // The buffers of both sockets hold a few megabytes.
      assert.isBelow(count.made, 20_000)
    }))

  it.live("serves a client of HttpApiClient", () =>
    Effect.gen(function*() {
      const { place, url } = yield* start()
      yield* place("o1")
      const { orders } = yield* HttpApiClient.make(Api, { baseUrl: url }).pipe(Effect.provide(FetchHttpClient.layer))
      const changes = yield* orders.orderChanges({ query: { after: LogPosition.start }, headers: {} })
      const [reached, change] = yield* Stream.runCollect(Stream.take(changes, 2))
      assert.strictEqual(reached?.event, "reached")
      assert.deepStrictEqual(change?.data, { type: "OrderPlaced", orderId: Orders.OrderId.make("o1") })
    }))
})

describe("HttpStream.watch", () => {
  it.live("streams a document and each later state", () =>
    Effect.gen(function*() {
      const { pay, place, url } = yield* start()
      const { position } = yield* place("o1")
      const { next } = yield* connect(`${url}/orders/o1/live?after=${position}`)
      assert.deepStrictEqual(JSON.parse((yield* next).data), { orderId: "o1", amount: 5, paid: false })
      yield* pay("o1")
      assert.deepStrictEqual(JSON.parse((yield* next).data), { orderId: "o1", amount: 5, paid: true })
    }))
})

describe("HttpStream.watch after a cursor", () => {
  it.live("is an error when the read model does not reach it, or the log lacks its event", () =>
    Effect.gen(function*() {
      const { place, url } = yield* start().pipe(Effect.provideService(HttpHandlers.ReadTimeout, "50 millis"))
      yield* place("o1")
      const ask = (after: string) => Effect.promise(() => client(url)("GET", `/orders/o1/live?after=${after}`))
      const behind = yield* ask("999")
      assert.deepStrictEqual([behind.status, behind.headers.get("retry-after")], [503, "1"])
      assert.include(behind.text, "ProjectionBehind")
      assert.strictEqual((yield* ask("999_00000000-0000-0000-0000-000000000000")).status, 410)
    }))

  it.effect("starts after a bounded wait when the source has no state yet", () =>
    Effect.gen(function*() {
      const silent = HttpSource.watch(watchOrder, () => Stream.never)
      const params = { orderId: Orders.OrderId.make("o1") }
      const request = { params, query: { after: LogPosition.make(Position.make(1n), undefined) } }
      const response = yield* Effect.forkChild(Effect.provideService(
        silent(request),
        HttpServerRequest.HttpServerRequest,
        HttpServerRequest.fromWeb(new Request("http://localhost/"))
      ))
      yield* TestClock.adjust("11 seconds")
      assert.isTrue(Stream.isStream(yield* Fiber.join(response)))
    }))
})

describe("HttpHealth", () => {
  it.live("is 200 while the consumers make progress", () =>
    Effect.gen(function*() {
      const { url } = yield* start()
      const ask = client(url)
      let answer = yield* Effect.promise(() => ask("GET", "/health"))
      const isLive = () => answer.status === 200 && answer.text.includes("\"state\":\"live\"")
      for (let i = 0; i < 300 && !isLive(); i++) {
        yield* Effect.sleep("100 millis")
        answer = yield* Effect.promise(() => ask("GET", "/health"))
      }
      assert.strictEqual(answer.status, 200, answer.text)
      assert.include(answer.text, "\"consumer\":\"orders@1\"")
      const { consumers, store, workers } = Object(answer.json)
      assert.strictEqual(store, "reachable")
      assert.strictEqual(consumers[0].partitions[0].partition, 0)
      assert.deepInclude(workers[0], { consumer: "orders@1", state: "live" })
    }))

  it.live("is 503 with the reason while the store is unreachable", () =>
    Effect.gen(function*() {
      const { url } = yield* start(away)
      const answer = yield* Effect.promise(() => client(url)("GET", "/health"))
      assert.strictEqual(answer.status, 503)
      assert.include(answer.text, "the store cannot be reached")
      assert.notInclude(answer.text, "secret")
    }))

  const worker = {
    consumer: "orders@1",
    state: "live",
    position: Position.make(1n),
    head: Position.make(1n),
    last: Position.make(1n),
    lag: 0n,
    partitions: 1,
    parked: 0,
    applied: 1,
    heartbeat: 0,
    detail: undefined
  }

  it.live("is red with the reasons of a further assessment", () =>
    Effect.gen(function*() {
      const others = [Effect.succeed({ status: "red" as const, reasons: ["a deadline is overdue"] })]
      const { health, message, reasons } = yield* Effect.flip(HttpHealth.handle([], { others })())
      assert.deepStrictEqual([health, message, reasons], ["red", "a deadline is overdue", ["a deadline is overdue"]])
    }).pipe(Effect.provide(memory)))

  it.live("is red while a worker of the process is stuck, without the text of its error", () =>
    Effect.gen(function*() {
      for (const state of ["stuck", "retrying"] as const) {
        const workers = Effect.succeed([{ ...worker, state, detail: "the secret of the database" }])
        const report = yield* Effect.flip(HttpHealth.handle([], { workers })())
        assert.strictEqual(report.message, `"orders@1" is ${state}; the log of its process says why`)
        assert.deepStrictEqual([report.health, report.store, report.workers[0]?.state], ["red", "reachable", state])
        assert.notInclude(JSON.stringify(report.workers.map(({ detail }) => detail ?? null)), "secret")
      }
    }).pipe(Effect.provide(memory)))

  it.live("waits for a worker that starts", () =>
    Effect.gen(function*() {
      let asked = 0
      const workers = Effect.sync(() => [{ ...worker, state: asked++ < 3 ? "starting" as const : "live" as const }])
      const report = yield* HttpHealth.handle([], { workers })()
      assert.strictEqual(report.workers[0]?.state, "live")
    }).pipe(Effect.provide(memory)))
})

describe("beside the endpoints", () => {
  it.live("answers a request to an endpoint of your own that the shutdown interrupts", () =>
    Effect.gen(function*() {
      const seen = { waiting: false }
      const Api = HttpApi.make("own").add(HttpApiGroup.make("own").add(HttpApiEndpoint.post("wait", "/wait")))
      const group = HttpApiBuilder.group(Api, "own", (handlers) =>
        handlers.handle("wait", () =>
          Effect.suspend(() => {
            seen.waiting = true
            return Effect.never
          })))
      const scope = yield* Scope.make()
      const url = yield* Scope.provide(
        serve(Layer.merge(HttpApiBuilder.layer(Api).pipe(Layer.provide(group)), HttpFallback.layer(Api))),
        scope
      )
      const answer = yield* Effect.forkChild(Effect.promise(() => client(url)("POST", "/wait")))
      yield* until(() => seen.waiting)
      yield* Scope.close(scope, Exit.void)
      const { status, text } = yield* Fiber.join(answer)
      assert.strictEqual(status, 503)
      assert.include(text, "OutcomeUnknown")
    }))

  it.live("serves metrics, and answers unknown paths and methods with problems", () =>
    Effect.gen(function*() {
      const { url } = yield* start()
      const ask = client(url)
      const metrics = yield* Effect.promise(() => ask("GET", "/metrics"))
      assert.strictEqual(metrics.status, 200)
      const missing = yield* Effect.promise(() => ask("GET", "/nothing?x=1"))
      assert.strictEqual(missing.status, 404)
      const method = yield* Effect.promise(() => ask("DELETE", "/orders"))
      assert.strictEqual(method.status, 405)
      assert.strictEqual(method.headers.get("allow"), "POST, OPTIONS")
      const broken = yield* Effect.promise(() => ask("GET", "/nothing%FF"))
      assert.strictEqual(broken.status, 400)
      const own = yield* Effect.promise(() => ask("GET", "/own"))
      assert.strictEqual(own.json, "own")
    }))
})
