/**
 * The runtime suite of lifecycles: projections of every lifecycle make the same documents from the same log.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, isAbove, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Event from "../../src/event/Event.ts"
import type { EventFilter } from "../../src/event/EventFilter.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import { AccountEvent, accounts, Deposit, Open, type Stores, upTo, Wealth } from "../support/AccountFixtures.ts"
import { includes, reasonOf } from "./assertions.ts"

const boxes = Schema.Array(Schema.String)

/** Events of boxes, several at a time. `run` names the test, because all tests share one log. */
const BoxEvent = Schema.TaggedUnion({
  Filled: { run: Schema.String, boxes, n: Schema.Int },
  Doubled: { run: Schema.String, boxes },
  Emptied: { run: Schema.String, boxes },
  Looked: { run: Schema.String, boxes }
}).pipe(Event.tags({ run: "run", box: "boxes" }))
type BoxEvent = typeof BoxEvent.Type

const Box = Schema.Struct({
  name: Schema.String,
  sum: Schema.Int,
  size: Schema.Literals(["small", "large"]),
  last: Schema.Option(Schema.Int),
  log: Schema.Array(Schema.String)
})

const boxOf = (
  name: string,
  sum: number,
  last: Option.Option<number>,
  log: ReadonlyArray<string>
): typeof Box.Type => ({
  name,
  sum,
  size: sum < 50 ? "small" : "large",
  last,
  log: log.slice(-5)
})

const definition = {
  events: BoxEvent,
  document: Box,
  index: ["size" as const],
  key: (event: BoxEvent) => event.boxes,
  evolve: {
    Filled: (box: typeof Box.Type | undefined, { n }: { readonly n: number }, _: unknown, key: string) =>
      boxOf(key, (box?.sum ?? 0) + n, Option.some(n), [...box?.log ?? [], `+${n}`]),
    Doubled: (box: typeof Box.Type | undefined) =>
      box && boxOf(box.name, box.sum * 2 % 1000, box.last, [...box.log, "*2"]),
    Emptied: () => Projection.remove,
    Looked: Projection.ignore
  }
} as const

const find = (key: string) => [{ tags: [Event.tag("box", key)] }]

/** The same projection in every lifecycle. */
const everyKind = (where: EventFilter<Event.TagText<typeof definition.events>>) => {
  const name = unique("boxes")
  return {
    inline: Projection.make(`${name}-inline`, { ...definition, where, lifecycle: "inline" }),
    async: Projection.make(`${name}-async`, { ...definition, where, lifecycle: "async" }),
    live: Projection.make(`${name}-live`, { ...definition, where, lifecycle: "live" }),
    found: Projection.make(`${name}-found`, { ...definition, where, lifecycle: "live", find })
  } as const
}
type Kinds = ReturnType<typeof everyKind>

/** Numbers below `n`, the same for the same seed. */
const randomOf = (seed: number) => {
  let state = seed
  return (n: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * n)
  }
}

const randomEvent = (run: string, below: (n: number) => number): BoxEvent => {
  const first = below(6)
  const boxes = [first, ...below(3) === 0 ? [(first + 1 + below(5)) % 6] : []].map((n) => `${run}/${n}`)
  switch (below(8)) {
    case 0:
      return { _tag: "Emptied", run, boxes }
    case 1:
      return { _tag: "Doubled", run, boxes }
    case 2:
      return { _tag: "Looked", run, boxes }
    default:
      return { _tag: "Filled", run, boxes, n: below(40) - 5 }
  }
}

/** Returns all documents from `list`, in pages of three. */
const listed = Effect.fnUntraced(function*(projection: Kinds[keyof Kinds], size?: "small" | "large") {
  const items: Array<typeof Box.Type> = []
  let after: string | undefined
  do {
    const page = yield* ProjectionStore.list(projection, { after, limit: 3, where: { size } })
    items.push(...page.items)
    after = Option.getOrUndefined(page.next)
  } while (after !== undefined)
  return items
})

/** Appends random events to four streams, two of which begin with `<run>-a`. Returns the last position. */
const appendRandom = Effect.fnUntraced(function*(run: string, seed: number) {
  const store = yield* EventStore
  const below = randomOf(seed)
  const receipts = yield* Effect.forEach(upTo(20), () => {
    const batch = upTo(1 + below(3)).map(() => randomEvent(run, below))
    return store.append(BoxEvent, `${run}-${below(2) === 0 ? "a" : "b"}${below(2)}`, batch)
  })
  return receipts.at(-1)!.position
})

const sameDocuments = (seed: number): Case<Stores> =>
  test(`inline, async and live projections make the same documents from a log (seed ${seed})`, function*() {
    const run = unique("run")
    // Events that no `where` selects.
    const other = unique("run")
    const wheres = [
      { tags: [Event.tag("run", run)] },
      { tags: [Event.tag("run", run), Event.tag("box", `${run}/1`)] },
      { tags: [Event.tag("run", run)], streamPrefix: `${run}-a` },
      { streamPrefix: `${run}-b` }
    ]
    const kinds = wheres.map(everyKind)
    const position = yield* Effect.andThen(appendRandom(other, seed + 1), appendRandom(run, seed)).pipe(
      Effect.provide(Projector.layerInline(kinds.map(({ inline }) => inline)))
    )
    const store = yield* ProjectionStore.ProjectionStore
    yield* Effect.gen(function*() {
      for (const { async } of kinds) yield* store.awaitPosition(async, position, "60 seconds")
    }).pipe(Effect.provide(Projector.layer(kinds.map(({ async }) => async), { batchSize: 7 })))
    let documents = 0
    for (const [index, { async, found, inline, live }] of kinds.entries()) {
      const what = JSON.stringify(wheres[index])
      for (const projection of [async, live, found]) {
        for (const key of upTo(6).map((n) => `${run}/${n - 1}`)) {
          const expected = yield* ProjectionStore.get(inline, key)
          if (Option.isSome(expected)) documents++
          equal(yield* ProjectionStore.get(projection, key), expected, `${projection.name} of ${what}: ${key}`)
        }
        for (const size of [undefined, "small", "large"] as const) {
          equal(
            yield* listed(projection, size),
            yield* listed(inline, size),
            `${projection.name} of ${what}: all ${size ?? ""}`
          )
        }
      }
    }
    isAbove(documents, 0, "the number of compared documents")
  })

/**
 * All cases of lifecycles.
 *
 * @since 0.1.0
 * @category suites
 */
export const lifecycles: ReadonlyArray<Case<Stores>> = [
  ...[3, 1_414, 27_182, 31_415].map(sameDocuments),

  test("`where` selects the same events for inline projections as for others", function*() {
    const run = unique("run")
    const prefixed = Projection.make(unique("prefixed"), {
      ...definition,
      lifecycle: "inline",
      where: { streamPrefix: `${run}-a` }
    })
    const tagged = Projection.make(unique("tagged"), {
      ...definition,
      lifecycle: "inline",
      where: { tags: [Event.tag("box", `${run}/x`)] }
    })
    yield* Effect.gen(function*() {
      const store = yield* EventStore
      const fill = (box: string) => BoxEvent.cases.Filled.make({ run, boxes: [`${run}/${box}`], n: 1 })
      yield* store.append(BoxEvent, `${run}-a`, [fill("x"), fill("y")])
      yield* store.append(BoxEvent, `${run}-b`, [fill("x"), fill("y")])
    }).pipe(Effect.provide(Projector.layerInline([prefixed, tagged])))
    const sum = (projection: typeof prefixed | typeof tagged, box: string) =>
      Effect.map(ProjectionStore.get(projection, `${run}/${box}`), (found) => Option.getOrUndefined(found)?.sum)
    equal(yield* Effect.all([sum(prefixed, "x"), sum(prefixed, "y")]), [1, 1], "the sums of one stream")
    equal(yield* Effect.all([sum(tagged, "x"), sum(tagged, "y")]), [2, undefined], "the sums of one tag")
  }),

  test("two workers with four partitions make the documents that one worker makes", function*() {
    const owners = [unique("ann"), unique("bob")]
    const four = Projection.make(unique("wealth-in-four"), {
      events: AccountEvent,
      document: Wealth,
      partitions: 4,
      key: (event) => event.owner,
      evolve: {
        Opened: (w, e) => ({ owner: e.owner, total: w?.total ?? 0, events: (w?.events ?? 0) + 1 }),
        Deposited: (w, e) => ({ owner: e.owner, total: (w?.total ?? 0) + e.amount, events: (w?.events ?? 0) + 1 }),
        Withdrawn: Projection.ignore
      }
    })
    const store = yield* ProjectionStore.ProjectionStore
    const workers = upTo(2).map(() => Layer.fresh(Projector.layer([four], { batchSize: 3, lease: "2 seconds" })))
    yield* Effect.scoped(Effect.gen(function*() {
      const statuses = yield* Effect.forEach(
        workers,
        (worker) => Effect.map(Layer.build(worker), (built) => Context.get(built, Projector.Projector).status)
      )
      const receipts = yield* Effect.forEach(upTo(12), (n) => {
        const id = unique("a")
        return Effect.andThen(
          CommandBus.dispatch(Open, { id, owner: owners[n % 2]! }),
          CommandBus.dispatch(Deposit, { id, amount: n })
        )
      }, { concurrency: 4 })
      for (const { position } of receipts) yield* store.awaitPosition(four, position, "60 seconds")
      // A partition that is handed over has no owner for a moment.
      yield* Effect.all(statuses).pipe(
        Effect.map((all) => all.reduce((sum, [status]) => sum + status!.partitions, 0)),
        Effect.repeat({ until: (partitions) => partitions === 4, schedule: Schedule.spaced("20 millis") }),
        Effect.timeout("1 minute")
      )
    })).pipe(Effect.provide(accounts))
    for (const [index, total] of [[0, 42], [1, 36]] as const) {
      equal(
        yield* ProjectionStore.get(four, owners[index]!),
        Option.some({ owner: owners[index]!, total, events: 12 }),
        `the document of ${owners[index]}`
      )
    }
    equal(
      (yield* store[internals].driver.progress(four.id)).map(({ partition }) => partition),
      [0, 1, 2, 3],
      "the partitions"
    )
  }),

  test("a live projection shows the last append at once, and fails on a failing event", function*() {
    const run = unique("run")
    const live = Projection.make(unique("live"), {
      ...definition,
      lifecycle: "live",
      where: { streamPrefix: run },
      evolve: {
        ...definition.evolve,
        Filled: (_, event, record, key) => {
          if (event.n === 13) throw new Error("no luck")
          return boxOf(key, record.version, Option.none(), [])
        }
      }
    })
    const store = yield* EventStore
    const fill = (box: string, n: number) => BoxEvent.cases.Filled.make({ run, boxes: [box], n })
    for (const version of upTo(3)) {
      const { position } = yield* store.append(BoxEvent, run, [fill("x", 1)])
      const found = yield* ProjectionStore.get(live, "x").pipe(
        Effect.provideService(ProjectionStore.ReadAfter, { position, timeout: Duration.zero })
      )
      equal(Option.getOrUndefined(found)?.sum, version, "the version in the document after an append")
    }
    const { position } = yield* store.append(BoxEvent, run, [fill("y", 13)])
    const ofOne = yield* Effect.flip(ProjectionStore.get(live, "y"))
    equal(reasonOf(ofOne), "ConsumerFailed", "the error of `get`")
    includes(ofOne.message, `position ${position}`, "the event in its message")
    includes(ofOne.message, "no luck", "the cause in its message")
    equal(yield* Effect.flip(ProjectionStore.list(live)), ofOne, "the error of `list`")
    equal(Option.getOrUndefined(yield* ProjectionStore.get(live, "x"))?.sum, 3, "another document after the failure")
    equal(yield* ProjectionStore.get(live, "nothing"), Option.none(), "a document without events")
  }),

  test("a live projection reads several pages of events, with `find` and without", function*() {
    const run = unique("run")
    const where = { tags: [Event.tag("run", run)] }
    const { found, live } = everyKind(where)
    const store = yield* EventStore
    const fill = (n: number) => BoxEvent.cases.Filled.make({ run, boxes: [`${run}/1`], n })
    const many = upTo(401).map(() => fill(1))
    yield* Effect.forEach(upTo(3), () => store.append(BoxEvent, run, many), { discard: true })
    for (const projection of [live, found]) {
      equal(Option.getOrUndefined(yield* ProjectionStore.get(projection, `${run}/1`))?.sum, 1203, projection.name)
      equal((yield* listed(projection)).map(({ sum }) => sum), [1203], projection.name)
    }
  }),

  ...(["inline", "async", "live", "found"] as const).map((kind) =>
    test(`a watch returns the document and each change, once: ${kind}`, function*() {
      const run = unique("run")
      const all = everyKind({ tags: [Event.tag("run", run)] })
      const projection = all[kind]
      const key = `${run}/1`
      const running = Layer.provideMerge(
        Projector.layer([all.async], { batchSize: 1 }),
        Projector.layerInline([all.inline])
      )
      yield* Effect.gen(function*() {
        const { append } = yield* EventStore
        const seen = yield* Queue.unbounded<Option.Option<typeof Box.Type>>()
        const pages = yield* Queue.unbounded<number>()
        yield* ProjectionStore.watch(projection, key).pipe(
          Stream.runForEach((found) => Queue.offer(seen, found)),
          Effect.forkScoped
        )
        yield* ProjectionStore.watchList(projection).pipe(
          Stream.runForEach(({ items }) => Queue.offer(pages, items.length)),
          Effect.forkScoped
        )
        const next = Effect.timeout(Queue.take(seen), "1 minute")
        const event = (box: number, n: number) => BoxEvent.cases.Filled.make({ run, boxes: [`${run}/${box}`], n })
        equal(yield* next, Option.none(), "the first document")
        equal(yield* Effect.timeout(Queue.take(pages), "1 minute"), 0, "the number of documents")
        yield* append(BoxEvent, run, [event(1, 7)])
        equal(Option.getOrUndefined(yield* next)?.sum, 7, "the sum of the new document")
        // Neither event changes the watched document: one changes another document, the other nothing.
        yield* append(BoxEvent, run, [event(2, 1)])
        yield* append(BoxEvent, run, [{ _tag: "Looked", run, boxes: [key] }])
        yield* append(BoxEvent, run, [event(1, 2)])
        equal(Option.getOrUndefined(yield* next)?.sum, 9, "the sum after a change")
        yield* append(BoxEvent, run, [{ _tag: "Emptied", run, boxes: [key] }])
        equal(yield* next, Option.none(), "the document after its deletion")
        let length = 0
        while (length !== 1) length = yield* Effect.timeout(Queue.take(pages), "1 minute")
      }).pipe(Effect.provide(running))
    })
  ),

  test("rejects undefined for a document that exists, and keeps the document", function*() {
    const run = unique("run")
    const forgetful = <const L extends "inline" | "live">(lifecycle: L) =>
      Projection.make(unique("forgetful"), {
        events: BoxEvent,
        where: { tags: [Event.tag("run", run)] },
        document: Schema.Int,
        key: ({ boxes }) => boxes,
        lifecycle,
        evolve: {
          Filled: (sum = 0, { n }) => sum + n,
          Doubled: (sum) => sum === 2 ? sum * 2 : undefined,
          Emptied: () => Projection.remove,
          Looked: (sum) => sum
        }
      })
    const [inline, live] = [forgetful("inline"), forgetful("live")]
    const message =
      "returned undefined for a document that exists; return the document, or Projection.remove to remove it"
    const of = (box: string, projection: Projection.Any) => ProjectionStore.get(projection, `${run}/${box}`)
    yield* Effect.gen(function*() {
      const { append } = yield* EventStore
      const append1 = (_tag: "Doubled" | "Looked" | "Emptied", box: string) =>
        append(BoxEvent, run, [{ _tag, run, boxes: [`${run}/${box}`] }])
      yield* append(BoxEvent, run, [BoxEvent.cases.Filled.make({ run, boxes: [`${run}/1`], n: 3 })])
      includes((yield* Effect.flip(append1("Doubled", "1"))).message, message, "the append")
      equal(yield* of("1", inline), Option.some(3), "the document")
      yield* append1("Doubled", "2")
      yield* append1("Looked", "2")
      equal(yield* of("2", inline), Option.none(), "undefined for a document that does not exist")
      yield* append1("Emptied", "1")
      equal(yield* of("1", inline), Option.none(), "a removed document")
    }).pipe(Effect.provide(Projector.layerInline([inline])))
    const { append } = yield* EventStore
    yield* append(BoxEvent, run, [BoxEvent.cases.Filled.make({ run, boxes: [`${run}/1`], n: 3 })])
    equal(yield* of("1", live), Option.some(3), "the live document")
    yield* append(BoxEvent, run, [BoxEvent.cases.Doubled.make({ run, boxes: [`${run}/1`] })])
    includes((yield* Effect.flip(of("1", live))).message, message, "a live read")
  }),

  test("a watch sees the changes of another process", function*() {
    const run = unique("run")
    const { async: projection } = everyKind({ tags: [Event.tag("run", run)] })
    const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
    // A second store on the same driver, which the first one does not wake.
    const otherStore = yield* ProjectionStore.make(driver, { pollInterval: "20 millis" })
    yield* Effect.gen(function*() {
      const seen = yield* Queue.unbounded<number | undefined>()
      yield* otherStore.watch(projection, `${run}/1`).pipe(
        Stream.runForEach((found) => Queue.offer(seen, Option.getOrUndefined(found)?.sum)),
        Effect.forkScoped
      )
      const { append } = yield* EventStore
      equal(yield* Effect.timeout(Queue.take(seen), "1 minute"), undefined, "the first document")
      for (const n of upTo(3)) {
        yield* append(BoxEvent, run, [BoxEvent.cases.Filled.make({ run, boxes: [`${run}/1`], n: 1 })])
        equal(yield* Effect.timeout(Queue.take(seen), "1 minute"), n, "the sum after a change")
      }
    }).pipe(Effect.provide(Projector.layer([projection])))
  })
]
