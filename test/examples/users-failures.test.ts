/**
 * The user management example when the store, a read model or its own code fails.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import {
  Aggregate,
  type EventStore,
  EventStoreError,
  OutcomeUnknown,
  ProjectionStore,
  StoreFailure,
  StoreUnavailable
} from "evsrc"
import { HttpHandlers } from "evsrc/http"
import { Agent, type IncomingMessage, request } from "node:http"
import { connect, type Socket } from "node:net"
import { internals } from "../../src/core/internals.ts"
import { type Answer, type Ask, at, changedStore, client, memoryStores, poll, start } from "./UsersProgram.ts"

const withProgram = (
  stores: Layer.Layer<EventStore.EventStore | ProjectionStore.ProjectionStore>,
  use: (ask: Ask, url: string) => Promise<void>
) =>
  start(stores).pipe(
    Effect.flatMap((url) => Effect.promise(() => use(client(url), url))),
    Effect.scoped
  )

const ann = { body: { userId: "ann", email: "ann@example.com", name: "Ann" } }
const secret = "connect ECONNREFUSED 10.1.2.3:5432"

const unavailable = new EventStoreError({ reason: new StoreUnavailable({ message: secret, cause: new Error(secret) }) })

const reads = ["/users/ann", "/users/ann?atVersion=1", "/users/ann/history", "/users/ann/diff?from=now", "/users"]

const expectAll = (answers: ReadonlyArray<Answer>, status: number, tag: string) => {
  for (const answer of answers) {
    assert.strictEqual(answer.status, status, answer.text)
    assert.deepInclude(answer.json, { _tag: tag })
    assert.notInclude(answer.text, secret)
  }
}

describe("the store", () => {
  it.live("returns 503 while the store cannot be reached", () => {
    let down = false
    const gate = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.suspend((): Effect.Effect<A, E | EventStoreError, R> => down ? Effect.fail(unavailable) : effect)
    const events = changedStore((driver) => ({
      append: (request) => gate(driver.append(request)),
      readStream: (page) => gate(driver.readStream(page)),
      readAll: (page) => gate(driver.readAll(page)),
      receipt: (commandId) => gate(driver.receipt(commandId)),
      head: gate(driver.head)
    }))
    const documents = Layer.effect(
      ProjectionStore.ProjectionStore,
      Effect.flatMap(ProjectionStore.ProjectionStore, ({ [internals]: { driver } }) =>
        ProjectionStore.make({
          ...driver,
          load: (...request) => gate(driver.load(...request)),
          get: (...request) => gate(driver.get(...request)),
          list: (page) => gate(driver.list(page))
        }))
    ).pipe(Layer.provide(ProjectionStore.layerMemory))
    return withProgram(Layer.merge(events, documents), async (ask) => {
      assert.strictEqual((await ask("POST", "/users", ann)).status, 201)
      await poll(() => ask("GET", "/users/ann"), ({ status }) => status === 200)
      down = true
      const write = { body: { name: "Ann Lee" }, headers: { "idempotency-key": "k" } }
      expectAll(
        await Promise.all([
          ...reads.map((path) => ask("GET", path)),
          ask("PATCH", "/users/ann", write),
          ask("POST", "/users", { body: { email: "b@example.com", name: "Bob" } }),
          ask("POST", "/users/ann/deactivate")
        ]),
        503,
        "StoreUnavailable"
      )
      const unhealthy = await ask("GET", "/health")
      expectAll([unhealthy], 503, "Unhealthy")
      assert.deepInclude(unhealthy.json, { status: "unhealthy", store: "unreachable" })
      assert.match(String(at(unhealthy.json, "message")), /^the store cannot be reached/)
      down = false
      assert.strictEqual((await ask("PATCH", "/users/ann", write)).status, 200)
      await poll(() => ask("GET", "/health"), ({ status }) => status === 200)
      for (const path of reads) assert.strictEqual((await ask("GET", path)).status, 200)
    })
  })

  it.live("answers the health check while the store does not respond", () =>
    withProgram(
      Layer.merge(changedStore(() => ({ head: Effect.never })), ProjectionStore.layerMemory),
      async (ask) => {
        const { json, status } = await ask("GET", "/health")
        assert.deepStrictEqual([status, at(json, "store")], [503, "unreachable"])
        assert.match(String(at(json, "message")), /^the store has not responded within 2s/)
      }
    ))

  const unknown = new EventStoreError({
    reason: new OutcomeUnknown({ stream: "User-ann", message: secret, cause: undefined })
  })

  it.live("writes once when the response of the store is lost", () => {
    let losses = 1
    const events = changedStore((driver) => ({
      append: (request) => Effect.tap(driver.append(request), () => losses-- > 0 ? Effect.fail(unknown) : Effect.void)
    }))
    return withProgram(Layer.merge(events, ProjectionStore.layerMemory), async (ask) => {
      const { json, status } = await ask("POST", "/users", ann)
      assert.strictEqual(status, 201)
      assert.deepInclude(json, { userId: "ann", version: 1, position: "1" })
      assert.isAtMost(losses, 0)
      assert.lengthOf(Object(at((await ask("GET", "/users/ann/history")).json, "items")), 1)
    })
  })

  it.live("names the Idempotency-Key when the outcome of a write is unknown", () =>
    withProgram(
      Layer.merge(changedStore(() => ({ append: () => Effect.fail(unknown) })), ProjectionStore.layerMemory),
      async (ask) => {
        const written = await ask("POST", "/users", ann)
        expectAll([written], 503, "OutcomeUnknown")
        assert.include(written.text, "Idempotency-Key")
      }
    ))

  it.live("names the Idempotency-Key when a write is interrupted, and repeats only reads", () =>
    withProgram(
      Layer.merge(
        changedStore(() => ({ append: () => Effect.interrupt, readStream: () => Effect.interrupt })),
        ProjectionStore.layerMemory
      ),
      async (ask) => {
        const written = await ask("POST", "/users", ann)
        expectAll([written], 503, "OutcomeUnknown")
        assert.include(written.text, "Send the request again with the same Idempotency-Key")
        expectAll([await ask("GET", "/users/ann/history")], 503, "ShuttingDown")
      }
    ))

  it.live("returns 500 without details for other errors and defects", () => {
    const failure = new EventStoreError({ reason: new StoreFailure({ message: secret, cause: new Error(secret) }) })
    return Effect.forEach(
      [Effect.fail(failure), Effect.die(new Error(secret)), Effect.die(secret)],
      (fails) =>
        withProgram(
          Layer.merge(
            changedStore(() => ({ append: () => fails, readStream: () => fails })),
            ProjectionStore.layerMemory
          ),
          async (ask) =>
            expectAll(
              [
                await ask("POST", "/users", ann),
                await ask("GET", "/users/ann/history"),
                await ask("GET", "/users/ann?atVersion=1")
              ],
              500,
              "InternalError"
            )
        )
    )
  })

  it.live("returns 500 for a user with an undecodable event, and serves the others", () => {
    const corrupt = changedStore((driver) => ({
      append: (request) =>
        driver.append({
          ...request,
          events: request.events.map((event) => request.stream === "User-bad" ? { ...event, data: "{}" } : event)
        })
    }))
    // Without a cache the process reads its own events.
    const withoutCache = Layer.succeed(Aggregate.StateCache, { capacity: 0, timeToLive: "1 second" })
    return withProgram(Layer.mergeAll(corrupt, ProjectionStore.layerMemory, withoutCache), async (ask) => {
      await ask("POST", "/users", ann)
      await poll(() => ask("GET", "/users/ann"), ({ status }) => status === 200)
      assert.strictEqual((await ask("POST", "/users", { body: { ...ann.body, userId: "bad" } })).status, 201)
      expectAll([await ask("GET", "/users/bad?atVersion=1")], 500, "InternalError")
      // The history shows the stored payload.
      const { json } = await ask("GET", "/users/bad/history")
      assert.deepStrictEqual(at(json, "items", 0, "data"), {})
      assert.strictEqual((await ask("GET", "/users/ann?atVersion=1")).status, 200)
      // The read model parks this user's stream, reports it, and continues with the others.
      const bob = await ask("POST", "/users", { body: { ...ann.body, userId: "bob" } })
      assert.strictEqual((await ask("GET", `/users/bob?after=${at(bob.json, "position")}`)).status, 200)
      assert.strictEqual((await ask("GET", "/users/bad")).status, 404)
      assert.match((await ask("GET", "/metrics")).text, /^evsrc_consumer_parked_keys\{consumer="users@1"\} 1$/m)
    })
  })
})

describe("a read model that is behind", () => {
  const behind = Layer.succeed(HttpHandlers.ReadTimeout, "100 millis")

  it.live("returns 503 with its position", () =>
    Effect.gen(function*() {
      const url = yield* start(memoryStores)
      const ask = client(url)
      yield* Effect.promise(async () => {
        const { json } = await ask("POST", "/users", ann)
        await ask("GET", `/users/ann?after=${at(json, "position")}`)
        for (const path of ["/users/ann?after=7", "/users?after=7"]) {
          const answer = await ask("GET", path)
          assert.strictEqual(answer.status, 503, answer.text)
          assert.deepInclude(answer.json, { _tag: "ProjectionBehind", wanted: "7", reached: "1" })
        }
        // Reads of the log depend on no read model.
        for (const path of ["/users/ann?after=7&atVersion=1", "/users/ann/history?after=7"]) {
          assert.strictEqual((await ask("GET", path)).status, 200)
        }
      })
    }).pipe(Effect.scoped, Effect.provide(behind)))

  it.live("answers a waiting read once the write is projected", () =>
    withProgram(memoryStores, async (ask) => {
      const waiting = ask("GET", "/users/ann?after=1")
      const { json } = await ask("POST", "/users", ann)
      assert.deepInclude(json, { position: "1" })
      assert.strictEqual((await waiting).status, 200)
    }))
})

it.live("finishes requests in progress at shutdown and accepts no more", () =>
  Effect.gen(function*() {
    const entered = yield* Latch.make(false)
    const release = yield* Latch.make(false)
    const events = changedStore((driver) => ({
      append: (request) => Effect.andThen(entered.open, release.await).pipe(Effect.andThen(driver.append(request)))
    }))
    const scope = yield* Scope.make()
    const url = yield* Scope.provide(start(Layer.merge(events, ProjectionStore.layerMemory)), scope)
    // The agent would reuse its only connection for the next request.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      request(`${url}/users`, { method: "POST", agent, headers: { "content-type": "application/json" } }, resolve)
        .on("error", reject).end(JSON.stringify(ann.body))
    })
    yield* entered.await
    // Browsers open connections that they never use.
    const silent = yield* Effect.callback<Socket>((resume) => {
      const { hostname, port } = new URL(url)
      const socket = connect(Number(port), hostname, () => resume(Effect.succeed(socket)))
    })

    const closed = Effect.runPromise(Scope.close(scope, Exit.void))
    yield* Effect.promise(async () => {
      const deadline = Date.now() + 30_000
      while (await fetch(`${url}/health`).then(() => true, () => false)) assert.isBelow(Date.now(), deadline)
    })
    const released = Date.now()
    yield* release.open
    const answer = yield* Effect.promise(() => response)
    answer.resume()
    assert.deepStrictEqual([answer.statusCode, answer.headers.connection], [201, "close"])
    yield* Effect.promise(() => closed)
    // Node alone would wait for further requests on the open connections.
    assert.isBelow(Date.now() - released, 15_000)
    silent.destroy()
  }))

it.live("continues the caller's trace from the request to the append", () =>
  Effect.gen(function*() {
    const spans: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    const traceId = "0af7651916cd43dd8448eb211c80319c"
    const url = yield* start(memoryStores).pipe(Effect.provideService(Tracer.Tracer, tracer))
    const ask = client(url)
    const history = yield* Effect.promise(async () => {
      await ask("POST", "/users", { ...ann, headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } })
      await ask("GET", "/users/ann?after=1")
      return (await ask("GET", "/users/ann/history")).json
    })
    const append = spans.find(({ name }) => name === "EventStore.append")
    const chain: Array<string> = []
    for (
      let span: Tracer.AnySpan | undefined = append;
      span !== undefined;
      span = span._tag === "Span" && span.parent._tag === "Some" ? span.parent.value : undefined
    ) {
      assert.strictEqual(span.traceId, traceId)
      chain.push(span._tag === "Span" ? span.name : span.spanId)
    }
    assert.deepStrictEqual(chain, [
      "EventStore.append",
      "CommandBus.dispatch RegisterUser",
      "POST",
      "b7ad6b7169203331"
    ])
    assert.include(String(at(history, "items", 0, "metadata", "traceparent")), traceId)
    // The read model runs later, in the request's trace.
    assert.isDefined(spans.find((span) => span.name === "Consumer.step" && span.traceId === traceId))
    assert.isDefined(spans.find(({ name }) => name === "QueryBus.ask GetUser"))
  }).pipe(Effect.scoped))
