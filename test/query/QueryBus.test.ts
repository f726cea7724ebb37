import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import {
  CommandBus,
  EventStore,
  InvalidQuery,
  Position,
  ProjectionBehind,
  ProjectionStore,
  Query,
  QueryBus
} from "evsrc"
import { Bank, Deposit, GetBalance, Open } from "../../examples/bank-account.ts"

/** A page of a list; the size has a default, and the page is a positive integer. */
const Page = Schema.Struct({
  number: Schema.Int.check(Schema.isGreaterThan(0)),
  size: Schema.Int.pipe(Schema.withConstructorDefault(Effect.succeed(20)))
})
const ListBooks = Query.make("ListBooks", {
  payload: { author: Schema.NonEmptyString, page: Page, genre: Schema.optionalKey(Schema.String) },
  success: Schema.Struct({ author: Schema.String, number: Schema.Int, size: Schema.Int })
})

/** Counts its calls, so that a test sees whether the handler ran. */
const books = () => {
  let calls = 0
  const layer = QueryBus.handler(ListBooks, ({ author, page }) =>
    Effect.sync(() => {
      calls++
      return { author, ...page }
    }))
  return { layer, calls: () => calls }
}

const unreached = Position.make(1_000n)

const inMemory = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

describe("QueryBus.ask", () => {
  it.effect("constructs the payload, so that defaults of its Schema apply", () =>
    Effect.gen(function*() {
      const { layer } = books()
      const page = yield* Effect.provide(QueryBus.ask(ListBooks, { author: "Ann", page: { number: 3 } }), layer)
      assert.deepStrictEqual(page, { author: "Ann", number: 3, size: 20 })
    }))

  it.effect("fails with InvalidQuery when the payload does not satisfy its Schema", () =>
    Effect.gen(function*() {
      const { calls, layer } = books()
      const error = yield* QueryBus.ask(ListBooks, { author: "Ann", page: { number: 0 } }).pipe(
        Effect.provide(layer),
        Effect.flip
      )
      assert.instanceOf(error, InvalidQuery)
      assert.strictEqual(error.query, "ListBooks")
      assert.include(error.message, `at ["page"]["number"]`)
      assert.strictEqual(calls(), 0)
    }))

  it.effect("fails with InvalidQuery on a field that the Schema does not have", () =>
    Effect.gen(function*() {
      const { calls, layer } = books()
      const misspelt = { author: "Ann", page: { number: 1 }, gender: "crime" }
      const error = yield* QueryBus.ask(ListBooks, misspelt).pipe(Effect.provide(layer), Effect.flip)
      assert.instanceOf(error, InvalidQuery)
      assert.include(error.message, `at ["gender"]`)
      assert.strictEqual(calls(), 0)
    }))

  it.effect("lists all problems of a payload", () =>
    Effect.gen(function*() {
      const wrong = { author: "", page: { number: 0 }, gender: "crime" }
      const { message } = yield* QueryBus.ask(ListBooks, wrong).pipe(Effect.provide(books().layer), Effect.flip)
      for (const path of [`query "ListBooks"`, `at ["author"]`, `at ["page"]["number"]`, `at ["gender"]`]) {
        assert.include(message, path)
      }
    }))

  it.effect("names the query that has no handler, in a program without types", () =>
    Effect.gen(function*() {
      const untyped = QueryBus.ask(ListBooks, { author: "Ann", page: { number: 1 } }) as Effect.Effect<unknown, unknown>
      const exit = yield* Effect.exit(untyped)
      assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), `no handler of "ListBooks"`)
    }))

  it.live("validates before it waits for a position", () =>
    Effect.gen(function*() {
      const invalid = yield* QueryBus.ask(GetBalance, { account: "" }, { after: unreached }).pipe(Effect.flip)
      assert.instanceOf(invalid, InvalidQuery)
      const valid = QueryBus.ask(GetBalance, { account: "ann" }, { after: unreached, timeout: "10 millis" })
      assert.instanceOf(yield* Effect.flip(valid), ProjectionBehind)
    }).pipe(Effect.provide(Bank), Effect.provide(inMemory)))

  it.live("reads the caller's own write of the example bank", () =>
    Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { account: "ann" })
      const after = yield* CommandBus.dispatch(Deposit, { account: "ann", amount: 5 })
      assert.strictEqual(yield* QueryBus.ask(GetBalance, { account: "ann" }, { after }), 5)
    }).pipe(Effect.provide(Bank), Effect.provide(inMemory)))

  it.effect("never reaches the handler of another query with the same name", () =>
    Effect.gen(function*() {
      const { calls, layer } = books()
      const other = Query.make("ListBooks", { payload: {}, success: Schema.String })
      const exit = yield* Effect.exit(Effect.provide(QueryBus.ask(other, {}), layer))
      assert.isTrue(Exit.hasDies(exit))
      assert.strictEqual(calls(), 0)
    }))
})
