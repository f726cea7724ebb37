/**
 * The order in which inline projections see events, on every back end: that of the log, also when concurrent appends of several streams touch
 * one document.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import { type Case, equal, test, unique } from "../../../src/conformance/Suite.ts"
import * as Event from "../../../src/event/Event.ts"
import * as EventQuery from "../../../src/event/EventQuery.ts"
import type { RecordedEvent } from "../../../src/event/RecordedEvent.ts"
import { EventStore } from "../../../src/eventStore/EventStore.ts"
import * as Projection from "../../../src/projection/Projection.ts"
import * as ProjectionStore from "../../../src/projection/ProjectionStore.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import { type Stores, upTo } from "../../support/AccountFixtures.ts"
import { includes, reasonOf } from "../assertions.ts"

export const Priced = Schema.TaggedUnion({ Priced: { shop: Schema.String, price: Schema.Int } }).pipe(
  Event.tags({ shop: "shop" })
)
type Priced = typeof Priced.cases.Priced.Type

export type KeyOf = (event: Priced, record: RecordedEvent<Priced>) => string | ReadonlyArray<string>

/** All keys that the functions below return. */
const keys = ["last", "other"]

/** Keys of events from several streams. Those of the last two kinds are not known before the append. */
export const keysOf: Record<string, KeyOf> = {
  "of several streams": () => "last",
  "several keys of an event": ({ price }) => price % 3 === 0 ? keys : keys[price % 2]!,
  "by position": (_, { position }) => keys[Number(position % 2n)]!,
  "by version": (_, { version }) => keys[version % 2]!
}

/** Returns an inline projection and a live one. Their documents list prices in order; every seventh price removes the document. */
export const define = (prefix: string, key: KeyOf) => {
  const make = <const L extends Projection.Lifecycle>(lifecycle: L) =>
    Projection.make(unique(lifecycle), {
      events: Priced,
      lifecycle,
      where: { streamPrefix: prefix },
      document: Schema.Array(Schema.Int),
      key,
      evolve: { Priced: (prices, { price }) => price % 7 === 0 ? Projection.remove : [...prices ?? [], price] }
    })
  return { inline: make("inline"), live: make("live") }
}

type Pair = ReturnType<typeof define>

/** Fails unless the inline documents are the fold of the log. */
export const requireSame = Effect.fnUntraced(function*(pairs: ReadonlyArray<Pair>, what: string) {
  for (const { inline, live } of pairs) {
    for (const key of keys) {
      equal(
        yield* ProjectionStore.get(inline, key),
        yield* ProjectionStore.get(live, key),
        `the document "${key}" of ${inline.name} after ${what}`
      )
    }
  }
})

const priced = (price: number): Priced => ({ _tag: "Priced", shop: `shop ${price % 2}`, price })

/** Appends a price to a stream of its own in one of several ways. */
export const appendIn: Record<
  "plainly" | "on a condition" | "to close the stream",
  (
    stream: string,
    price: number
  ) => Effect.Effect<unknown, { readonly _tag: string }, EventStore>
> = {
  plainly: (stream, price) => EventStore.use((store) => store.append(Priced, stream, [priced(price)])),
  "on a condition": (stream, price) =>
    EventStore.use((store) =>
      Effect.flatMap(
        store.readByQuery(EventQuery.ofStoredTypes([{ tags: [Event.tag("shop", stream)] }])),
        ({ condition }) => store.appendIf(condition, Priced, stream, [priced(price), priced(price + 1)])
      )
    ),
  "to close the stream": (stream, price) =>
    EventStore.use((store) =>
      Effect.andThen(
        store.append(Priced, stream, [priced(price)]),
        store.close(Priced, stream, priced(price + 1))
      )
    )
}
const ways = Object.values(appendIn)

type Program = Context.Context<EventStore>

/** Appends from several programs at once, in rounds, and compares the documents after each. */
export const race = Effect.fnUntraced(function*(
  prefix: string,
  programs: ReadonlyArray<Program>,
  pairs: ReadonlyArray<Pair>
) {
  for (const round of upTo(10)) {
    yield* Effect.forEach(
      upTo(9),
      (n) =>
        ways[n % ways.length]!(`${prefix}-${round}-${n}`, round * 20 + 2 * n).pipe(
          Effect.provideContext(programs[n % programs.length]!)
        ),
      { concurrency: "unbounded", discard: true }
    )
    yield* requireSame(pairs, `round ${round}`)
  }
})

const build = <E, R>(layer: Layer.Layer<EventStore, E, R>) => Layer.build(Layer.fresh(layer))

/** Returns an inline projection whose handler writes a row for each event, and an effect that requires the order of the rows of each shop. */
export const rows = Effect.fnUntraced(function*(prefix: string) {
  const sql = yield* SqlClient.SqlClient
  const table = unique("rows")
  yield* sql`create table ${
    sql(table)
  } (n integer generated always as identity, shop text not null, position bigint not null)`
  const projection = Projection.handler(unique("rows"), {
    events: Priced,
    lifecycle: "inline",
    where: { streamPrefix: prefix },
    partitionBy: { tag: "shop" },
    handle: {
      Priced: ({ shop }, { position }) =>
        Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => Effect.orDie(sql`insert into ${sql(table)} ${sql.insert({ shop, position })}`)
        )
    }
  })
  const requireOrder = Effect.gen(function*() {
    const [found] = yield* sql<{ readonly rows: number; readonly late: number }>`
      select count(*)::integer as rows, (count(*) filter (where position < before))::integer as late
        from (select position, max(position) over (partition by shop order by n rows unbounded preceding) as before
          from ${sql(table)}) as seen`
    equal(found?.late, 0, "rows after a later one of their shop")
    equal(found !== undefined && found.rows > 0, true, "some rows")
  })
  return { projection, requireOrder }
})

const flipped = (inline: Pair["inline"], stream: string) =>
  Effect.flip(EventStore.use((store) => store.append(Priced, stream, [priced(1)]))).pipe(
    Effect.provide(Projector.layerInline([inline]))
  )

/**
 * All cases.
 *
 * @since 0.1.0
 * @category suites
 */
export const inlineOrder: ReadonlyArray<Case<Stores>> = [
  ...Object.entries(keysOf).map(([what, key]) =>
    test(`an inline document is the fold of the log in its order: ${what}`, function*() {
      const prefix = unique("price")
      const pair = define(prefix, key)
      const layer = Projector.layerInline([pair.inline])
      yield* race(prefix, [yield* build(layer), yield* build(layer)], [pair])
    })
  ),

  test("inline documents of several projections and stacked layers are folds in the order of the log", function*() {
    const prefix = unique("price")
    const pairs = Object.values(keysOf).map((key) => define(prefix, key))
    const [a, b, c, d] = pairs.map(({ inline }) => inline)
    yield* race(prefix, [
      yield* build(Projector.layerInline([a!, b!, c!, d!])),
      yield* build(Projector.layerInline([d!, a!]).pipe(Layer.provide(Projector.layerInline([c!, b!])))),
      yield* build(Projector.layerInline([b!]).pipe(Layer.provide(Projector.layerInline([c!, d!, a!]))))
    ], pairs)
  }),

  test("concurrent appends fold hot and cold inline documents in the order of the log", function*() {
    const prefix = unique("price")
    const make = <const L extends Projection.Lifecycle>(lifecycle: L) =>
      Projection.make(unique(lifecycle), {
        events: Priced,
        lifecycle,
        where: { streamPrefix: prefix },
        document: Schema.Array(Schema.Int),
        key: ({ price, shop }) => price % 8 === 0 ? [shop, "hot"] : shop,
        evolve: { Priced: (prices, { price }) => [...prices ?? [], price] }
      })
    const { inline, live } = { inline: make("inline"), live: make("live") }
    const layer = Projector.layerInline([inline])
    const programs = [yield* build(layer), yield* build(layer), yield* build(layer)]
    const [rounds, shops] = [5, 20]
    for (const round of upTo(rounds)) {
      // Every third append changes the document of another one, in the same program or in another.
      yield* Effect.forEach(upTo(shops * 1.5), (n) => {
        const shop = `shop-${n % shops}`
        return EventStore.use((store) =>
          store.append(Priced, `${prefix}-${shop}`, [{ _tag: "Priced", shop, price: round * 100 + n }])
        ).pipe(Effect.provideContext(programs[n % programs.length]!))
      }, { concurrency: "unbounded", discard: true })
    }
    let events = 0
    for (const key of ["hot", ...upTo(shops).map((n) => `shop-${n % shops}`)]) {
      const document = yield* ProjectionStore.get(inline, key)
      equal(document, yield* ProjectionStore.get(live, key), `the document "${key}"`)
      if (key !== "hot") events += Option.getOrThrow(document).length
    }
    equal(events, rounds * shops * 1.5, "events in the cold documents")
  }),

  test("an inline projection whose key changes for the same event fails the append", function*() {
    const prefix = unique("price")
    let calls = 0
    const { inline } = define(prefix, () => String(calls++))
    const error = yield* flipped(inline, prefix)
    equal(reasonOf(error), "ConsumerFailed", "the append")
    includes(error.message, "must be a pure function", "the reason")
    for (const n of upTo(calls)) equal(yield* ProjectionStore.get(inline, String(n)), Option.none(), "the document")
  }),

  test("an inline projection whose key cannot be stored fails the append", function*() {
    for (const key of ["\u0000", "a".repeat(5_000)]) {
      const prefix = unique("price")
      const error = yield* flipped(define(prefix, () => key).inline, prefix)
      equal(reasonOf(error), "ConsumerFailed", "the append")
    }
  }),

  test("an inline handler that appends fails the append, and nothing is written", function*() {
    const prefix = unique("price")
    const { inline, live } = define(prefix, () => "last")
    const store = yield* EventStore
    for (const append of ways) {
      const handler = Projection.handler(unique("handler"), {
        events: Priced,
        lifecycle: "inline",
        where: { streamPrefix: prefix },
        handle: {
          Priced: ({ price }, { stream }) =>
            price > 100 ? Effect.void : Effect.provideService(
              Effect.orDie(append(`${stream}-other`, price + 1_000)),
              EventStore,
              store
            )
        }
      })
      const error = yield* Effect.flip(
        EventStore.use((store) => store.append(Priced, prefix, [priced(1)]))
      ).pipe(Effect.provide(Projector.layerInline([inline, handler])))
      includes(error.message, `the inline handler of "${handler.id}" appends to stream "${prefix}-other"`, "the reason")
      yield* Projector.retireInline(handler.id)
    }
    yield* requireSame([{ inline, live }], "the failures")
    equal(yield* ProjectionStore.get(live, "last"), Option.none(), "the log")
  })
]

/** Inline handlers, for back ends with an `SqlClient`. */
export const inlineHandlerOrder: Case<Stores | SqlClient.SqlClient> = test(
  "inline handlers that are partitioned by a tag run in the order of the log within it",
  function*() {
    const prefix = unique("price")
    const { projection, requireOrder } = yield* rows(prefix)
    const layer = Projector.layerInline([projection])
    yield* race(prefix, [yield* build(layer), yield* build(layer)], [])
    yield* requireOrder
  }
)
