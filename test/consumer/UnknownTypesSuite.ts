/**
 * Types of events that a consumer's code does not know: health names them, and a consumer may stop before them, on every back end.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import * as StreamId from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Health from "../../src/operations/Health.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { attentive } from "../support/Attentive.ts"
import { parkedKeys } from "../support/parked.ts"

const pollUntil = <A, E, R>(effect: Effect.Effect<A, E, R>, until: (value: A) => boolean) =>
  effect.pipe(Effect.repeat({ until, schedule: Schedule.spaced("10 millis") }), Effect.timeout("1 minute"))

const awaitProjection = (projection: Projection.Any<"async">, position: Position.Position) =>
  Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "1 minute"))

const Old = Schema.TaggedUnion({ CartFilled: { by: Schema.Int } })
const New = Schema.TaggedUnion({ CartFilled: { by: Schema.Int }, CartEmptied: {} })
const Other = Schema.TaggedUnion({ ParcelSent: {}, CartEmptied: {} })

const filled = (by: number) => ({ _tag: "CartFilled" as const, by })
const emptied = { _tag: "CartEmptied" as const }
const append = (stream: string, ...events: ReadonlyArray<typeof New.Type>) => EventStore.append(New, stream, events)

/** A category of streams that no other case uses. */
const uniqueCategory = () => unique("cart").replaceAll("-", "")

interface Options {
  readonly unknownTypes?: "pass" | "stop"
  readonly ignoreTypes?: ReadonlyArray<string>
  readonly partitions?: number
}

const oldCarts = (name: string, category: string, options: Options = {}) =>
  Projection.make(name, {
    events: Old,
    where: { streamPrefix: `${category}-` },
    document: Schema.Int,
    key: (_, { stream }) => stream,
    evolve: { CartFilled: (sum = 0, { by }) => sum + by },
    ...options
  })

const newCarts = (name: string, category: string, options: Options = {}) =>
  Projection.make(name, {
    events: New,
    where: { streamPrefix: `${category}-` },
    document: Schema.Int,
    key: (_, { stream }) => stream,
    evolve: { CartFilled: (sum = 0, { by }) => sum + by, CartEmptied: () => 0 },
    ...options
  })

const start = (projection: Projection.Any<"async">) =>
  Layer.build(Layer.fresh(Projector.layer([projection], { lease: "300 millis" })))
const cartOf = (projection: Projection.Any, stream: string) =>
  Effect.map(ProjectionStore.get(projection, stream), Option.getOrUndefined)
const unknownOf = Effect.fnUntraced(function*(consumer: Parameters<typeof Health.of>[0][number]) {
  const { consumers: [health] } = yield* Health.of([consumer])
  return (health?.unknownTypes ?? []).map(({ category, events, first, type }) => ({ type, category, events, first }))
})

const health: ReadonlyArray<Case<Stores>> = [
  test("health names the types in the log that a consumer's code does not know", function*() {
    const [name, category] = [unique("carts"), uniqueCategory()]
    const old = oldCarts(name, category)
    yield* append(`${category}-1`, filled(1))
    equal(yield* unknownOf(old), [], "before")
    const { position: first } = yield* append(`${category}-2`, emptied)
    const { position } = yield* append(`${category}-1`, filled(2), emptied, filled(3))
    const expected = [{ type: "CartEmptied", category, events: 2, first }]
    equal(yield* unknownOf(old), expected, "the unknown types")
    yield* start(old)
    yield* awaitProjection(old, position)
    equal(yield* cartOf(old, `${category}-1`), 6, "the document of the old code, which passes by")
    const { reasons, status } = yield* Health.of([old])
    equal(status, "yellow", "the status")
    for (const words of [name, `"CartEmptied"`, "passes it by", "2 events", `position ${first}`, "ignoreTypes"]) {
      includes(reasons.join("\n"), words, "the reason")
    }
    equal(yield* unknownOf(oldCarts(name, category, { ignoreTypes: ["CartEmptied"] })), [], "ignored types")
    const current = newCarts(name, category)
    equal(yield* unknownOf(current), [], "newer code")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit, which counts what the old code read")
  }),

  test("health names the types that an inline or live projection does not know", function*() {
    const category = uniqueCategory()
    yield* append(`${category}-1`, filled(1), emptied)
    for (const lifecycle of ["inline", "live"] as const) {
      const definition = (options: Options) =>
        Projection.make(unique("carts"), {
          lifecycle,
          events: Old,
          where: { streamPrefix: `${category}-` },
          document: Schema.Int,
          key: (_, { stream }) => stream,
          evolve: { CartFilled: (sum = 0, { by }) => sum + by },
          ...options
        })
      const { reasons, status } = yield* Health.of([definition({})])
      equal(status, lifecycle === "live" ? "yellow" : "red", `the status of an ${lifecycle} projection`)
      includes(reasons.join("\n"), `"CartEmptied"`, "the type")
      includes(reasons.join("\n"), "passes it by", "what becomes of it")
      equal((yield* Health.of([definition({ ignoreTypes: ["CartEmptied"] })])).status === "yellow", false, "ignored")
      const thrown = yield* Effect.flip(Effect.try({
        try: () => definition({ unknownTypes: "stop" }),
        catch: String
      }))
      includes(thrown, `is ${lifecycle}, so it cannot stop`, "unknownTypes stop")
    }
  }),

  test("types of other streams, legacy types and ignored events are not unknown", function*() {
    const [category, otherCategory] = [uniqueCategory(), uniqueCategory()]
    yield* append(`${category}-1`, filled(1))
    yield* EventStore.append(Other, `${otherCategory}-1`, [{ _tag: "ParcelSent" }, { _tag: "CartEmptied" }])
    yield* EventStore.append(Other, unique("parcel"), [{ _tag: "ParcelSent" }])
    equal(yield* unknownOf(oldCarts("other", category)), [], "types of another category")
    yield* append(`${category}-1`, emptied)
    const where = { streamPrefix: `${category}-` }
    const retired = Subscription.make("retired", {
      events: Old.pipe(Event.legacy({ CartEmptied: Event.retired })),
      where,
      handle: () => Effect.void
    })
    equal(yield* unknownOf(retired), [], "a retired type")
    const renamed = Subscription.make("renamed", {
      events: Old.pipe(
        Event.legacy({ CartEmptied: Event.from({}).renamedTo("CartFilled", () => ({ by: 0 })) })
      ),
      where,
      handle: () => Effect.void
    })
    equal(yield* unknownOf(renamed), [], "a renamed type")
    const ignoring = Subscription.make("ignoring", {
      events: New,
      where,
      handle: { CartFilled: () => Effect.void, CartEmptied: Subscription.ignore }
    })
    equal(yield* unknownOf(ignoring), [], "an event of the set that is ignored")
    const elsewhere = { ...oldCarts("elsewhere", otherCategory), where: { streamPrefix: otherCategory } }
    equal(yield* unknownOf(elsewhere), [], "streams without an event of the set")
    equal(
      (yield* unknownOf(oldCarts("elsewhere", otherCategory))).map(({ type }) => type).toSorted(),
      ["CartEmptied", "ParcelSent"],
      "the category that the prefix names"
    )
  }),

  test("types are counted once, also in archived streams and imported events", function*() {
    const category = uniqueCategory()
    const { driver } = (yield* EventStore.EventStore)[internals]
    const counts = Effect.gen(function*() {
      const head = yield* driver.head
      const { types } = yield* pollUntil(driver.eventTypes, ({ position }) => position >= head)
      return types.filter((one) => one.category === category).map(({ events, first, type }) => ({
        type,
        events,
        first
      }))
        .toSorted((a, b) => a.type < b.type ? -1 : 1)
    })
    equal(yield* counts, [], "an empty category")
    const first = yield* append(`${category}-1`, filled(1), filled(2))
    const [from] = first.events
    equal(yield* counts, [{ type: "CartFilled", events: 2, first: from!.position }], "two events")
    const { stream } = yield* EventStore.EventStore.pipe(
      Effect.flatMap((store) => store.close(New, `${category}-1`, emptied))
    )
    yield* driver.archive(stream)
    const emptiedAt = yield* driver.last
    const expected = [
      { type: "CartEmptied", events: 1, first: emptiedAt },
      { type: "CartFilled", events: 2, first: from!.position }
    ]
    equal(yield* counts, expected, "after archiving")
    const [stored] = (yield* driver.readStored({ after: Position.make(emptiedAt - 1n), limit: 1 })).events
    const imported = {
      ...stored!,
      id: crypto.randomUUID(),
      stream: StreamId.StreamId.make(`${category}-2`),
      version: Version.make(1),
      position: Position.make(emptiedAt + 1n)
    }
    equal((yield* driver.restore({ after: emptiedAt, events: [imported] }))._tag, "Restored", "the import")
    equal((yield* counts)[0]?.events, 2, "after an import")
    equal(yield* counts, yield* counts, "counted again")
  })
]

const stops: ReadonlyArray<Case<Stores>> = [
  test("a projection may stop before an event of unknown type, and newer code takes over", function*() {
    const [name, category] = [unique("carts"), uniqueCategory()]
    const stream = `${category}-1`
    const [old, current] = [oldCarts(name, category, { unknownTypes: "stop" }), newCarts(name, category)]
    const older = yield* start(old)
    const store = yield* ProjectionStore.ProjectionStore
    const known = yield* append(stream, filled(1))
    yield* awaitProjection(old, known.position)
    const { events: [unknown] } = yield* append(stream, emptied, filled(2))
    const [status] = yield* Effect.provide(
      pollUntil(
        Effect.flatMap(Projector.Projector, (projector) => projector.status),
        ([one]) => one?.detail?.includes("stops claiming") === true
      ),
      older
    )
    includes(status?.detail ?? "", `"CartEmptied"`, "the type")
    includes(status?.detail ?? "", `position ${unknown!.position}`, "the position")
    equal(status?.error?.reason._tag, "UndecodableEvent", "the error")
    equal((yield* store.checkpoint(old)) < unknown!.position, true, "the checkpoint is before it")
    equal(yield* cartOf(old, stream), 1, "the document")
    equal(yield* parkedKeys(old), [], "the parked keys")
    const stopped = yield* pollUntil(
      Health.of([old]),
      ({ reasons }) => reasons.some((reason) => reason.includes("waits for a process with newer code"))
    )
    includes(stopped.reasons.join("\n"), "stops before it", "the reasons")

    yield* start(current)
    const { position } = yield* append(stream, filled(3))
    yield* awaitProjection(current, position)
    equal(yield* cartOf(current, stream), 5, "the document of the newer code")
    equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
    equal(yield* unknownOf(current), [], "the unknown types")
  }),

  test("a subscription and a projection with handlers may stop before an event of unknown type", function*() {
    const [name, category] = [unique("carts"), uniqueCategory()]
    const stream = `${category}-1`
    const where = { streamPrefix: `${category}-` }
    const seen = yield* Ref.make<ReadonlyArray<string>>([])
    const see = (text: string) => Ref.update(seen, (all) => [...all, text])
    const options = { where, unknownTypes: "stop" } as const
    const oldMail = Subscription.make(name, {
      ...options,
      events: Old,
      handle: { CartFilled: ({ by }) => see(`mail ${by}`) }
    })
    const newMail = Subscription.make(name, {
      ...options,
      events: New,
      handle: { CartFilled: ({ by }) => see(`mail ${by}`), CartEmptied: () => see("mail emptied") }
    })
    const oldRows = Projection.handler(name, {
      ...options,
      events: Old,
      handle: { CartFilled: ({ by }) => see(`row ${by}`) }
    })
    const newRows = Projection.handler(name, {
      ...options,
      events: New,
      handle: { CartFilled: ({ by }) => see(`row ${by}`), CartEmptied: () => see("row emptied") }
    })
    const run = (mail: typeof oldMail | typeof newMail, rows: typeof oldRows | typeof newRows) =>
      Layer.build(Layer.fresh(Layer.mergeAll(
        Subscription.layer([mail], { lease: "300 millis" }),
        Projector.layer([rows], { lease: "300 millis" })
      )))
    const older = yield* run(oldMail, oldRows)
    yield* append(stream, filled(1), emptied, filled(2))
    const statuses = Effect.gen(function*() {
      const mails = yield* Effect.flatMap(Subscription.Subscriptions, ({ status }) => status)
      const rows = yield* Effect.flatMap(Projector.Projector, ({ status }) => status)
      return [...mails, ...rows]
    })
    yield* Effect.provide(
      pollUntil(statuses, (all) => all.every(({ detail }) => detail?.includes("stops claiming") === true)),
      older
    )
    // A Ref is not rolled back with the batch.
    const distinct = Effect.map(Ref.get(seen), (all) => Array.from(new Set(all)))
    equal((yield* distinct).toSorted(), ["mail 1", "row 1"], "what the old code handles")
    yield* run(newMail, newRows)
    const all = yield* pollUntil(distinct, (all) => all.length === 6)
    equal(all.filter((text) => text.startsWith("mail")), ["mail 1", "mail emptied", "mail 2"], "the mails")
    equal(all.filter((text) => text.startsWith("row")), ["row 1", "row emptied", "row 2"], "the rows")
  }),

  test("a consumer stops at an unknown type only in the streams of its events", function*() {
    const [category, otherCategory] = [uniqueCategory(), uniqueCategory()]
    const [known, unknown] = [unique("CrateFilled"), unique("CrateSpilled")]
    const { driver } = (yield* EventStore.EventStore)[internals]
    const write = (stream: string, type: string) =>
      driver.append({
        stream: StreamId.StreamId.make(stream),
        expected: "any",
        events: [{ id: crypto.randomUUID(), type, schemaVersion: 1, data: "{}", metadata: "{}" }]
      })
    const crates = Projection.make(unique("crates"), {
      events: Schema.TaggedUnion({ [known]: {} }),
      document: Schema.Int,
      unknownTypes: "stop",
      key: (_, { stream }) => stream,
      evolve: { [known]: (count = 0) => count + 1 }
    })
    const counted = (count: number) => pollUntil(cartOf(crates, `${category}-1`), (found) => found === count)
    yield* write(`${category}-1`, known)
    yield* write(`${otherCategory}-1`, unknown)
    yield* write(`${category}-1`, known)
    yield* write(`${category}-2`, unknown)
    yield* write(`${category}-1`, known)
    yield* start(crates)
    yield* pollUntil(
      Health.of([crates]),
      ({ reasons }) => reasons.some((reason) => reason.includes("waits for a process with newer code"))
    )
    equal(yield* cartOf(crates, `${category}-1`), 2, "the document before the unknown event of its streams")
    yield* start({ ...crates, ignoreTypes: [unknown] })
    yield* counted(3)
    const others = yield* unknownOf(crates)
    equal(others.map(({ category }) => category), [category], "the category")
  }),

  test("a consumer that stops at unknown types reads past those of other streams, and past ignored ones", function*() {
    const [category, otherCategory] = [uniqueCategory(), uniqueCategory()]
    const options = { unknownTypes: "stop", partitions: 4 } as const
    const carts = Projection.make(unique("carts"), {
      events: Old,
      document: Schema.Int,
      where: { streamPrefix: "cart" },
      key: (_, { stream }) => stream,
      evolve: { CartFilled: (sum = 0, { by }) => sum + by },
      ignoreTypes: ["CartEmptied"],
      ...options
    })
    const ofCategory = oldCarts(unique("carts"), category, options)
    yield* start(carts)
    yield* start(ofCategory)
    for (const n of [1, 2, 3]) {
      yield* append(`${category}-${n}`, filled(n))
      yield* EventStore.append(Other, `${otherCategory}-${n}`, [{ _tag: "ParcelSent" }, { _tag: "CartEmptied" }])
    }
    const { position } = yield* append(`${category}-1`, filled(1))
    yield* awaitProjection(ofCategory, position)
    equal(yield* cartOf(ofCategory, `${category}-1`), 2, "the document of the category")
    yield* append(`${category}-2`, emptied)
    const last = yield* append(`${category}-1`, filled(1))
    yield* awaitProjection(carts, last.position)
    equal(yield* cartOf(carts, `${category}-1`), 3, "the document of the consumer that ignores the type")
  })
]

/** Runs a consumer of old code, appends an event of unknown type as the first of a category, and returns what tests look at. */
const opening = Effect.fnUntraced(function*(category: string, streamPrefix: string, partitions: number) {
  const name = unique("carts")
  const stream = `${streamPrefix}1`.includes("-") ? `${streamPrefix}1` : `${category}-1`
  const where = { streamPrefix }
  const old = { ...oldCarts(name, category, { unknownTypes: "stop", partitions }), where }
  const current = { ...newCarts(name, category, { unknownTypes: "stop", partitions }), where }
  const store = yield* ProjectionStore.ProjectionStore
  const older = yield* start(old)
  yield* pollUntil(store[internals].driver.progress(old.id), (all) => all.every(({ owner }) => owner !== undefined))
  const { position: first } = yield* append(stream, emptied)
  const reasonsOf = (consumer: typeof old) => Effect.map(Health.of([consumer]), ({ consumers: [one] }) => one!)
  return { current, first, old, older, reasonsOf, store, stream }
})

const opens: ReadonlyArray<Case<Stores>> = [
  ...(["", "eu-"] as const).flatMap((region) =>
    ([1, 4] as const).map((partitions) =>
      test(
        `a consumer of ${partitions} partitions stops at an unknown type that is first under "cart-${region}"`,
        function*() {
          const category = uniqueCategory()
          const { current, first, old, older, reasonsOf, store, stream } = yield* opening(
            category,
            `${category}-${region}`,
            partitions
          )
          yield* append(stream, filled(1))
          yield* append(`${category}-us-1`, emptied, filled(5))
          const { reasons, status, unknownTypes } = yield* pollUntil(
            reasonsOf(old),
            ({ reasons }) => reasons.some((reason) => reason.includes("waits for a process with newer code"))
          )
          equal(status, "yellow", "the status")
          includes(reasons.join("\n"), `the first at position ${first}) and stops before it`, "the reasons")
          equal(unknownTypes.map(({ type }) => type), ["CartEmptied"], "the unknown types")
          equal((yield* store.checkpoint(old)) < first, true, "the checkpoint is before it")
          equal(yield* cartOf(old, stream), undefined, "the document of the old code")
          includes(
            (yield* Effect.provide(Effect.flatMap(Projector.Projector, ({ status }) => status), older))[0]!.detail ??
              "",
            "CartEmptied",
            "the status"
          )
          yield* start(current)
          const { position } = yield* append(stream, filled(3))
          yield* awaitProjection(current, position)
          equal(yield* cartOf(current, stream), 4, "the document of the newer code")
          equal(yield* cartOf(current, `${category}-us-1`), region === "" ? 5 : undefined, "the other document")
          equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
        }
      )
    )
  ),

  test("a consumer that has passed the first event of a category is red", function*() {
    const category = uniqueCategory()
    const { current, first, old, reasonsOf, store, stream } = yield* opening(category, category, 2)
    yield* store.awaitPosition(old, first, "1 minute")
    equal((yield* reasonsOf(old)).unknownTypes, [], "no event of its set is in the category")
    const { position } = yield* append(stream, filled(1))
    yield* store.awaitPosition(old, position, "1 minute")
    const passed = yield* reasonsOf(old)
    equal(passed.status, "red", "the status")
    for (const words of [`"CartEmptied"`, `position ${first}`, "has passed it by", "where.streamPrefix", "rebuild"]) {
      includes(passed.reasons.join("\n"), words, "the reasons")
    }
    yield* append(stream, emptied, filled(2))
    yield* pollUntil(
      reasonsOf(old),
      ({ reasons }) => reasons.some((reason) => reason.includes("waits for a process with newer code"))
    )
    equal(yield* cartOf(old, stream), 1, "the document before the second event of the type")
    const audit = yield* DeliveryAudit.run({ ...current, id: old.id })
    equal(audit.status, "complete", "the audit, which counts what the old code read")
  }),

  test("a consumer whose checkpoint is past an unknown type says so", function*() {
    const [name, category] = [unique("carts"), uniqueCategory()]
    const stream = `${category}-1`
    const current = newCarts(name, category)
    yield* Effect.scoped(Effect.gen(function*() {
      yield* start(current)
      const { position } = yield* append(stream, filled(1), emptied, filled(2))
      yield* awaitProjection(current, position)
    }))
    const old = oldCarts(name, category, { unknownTypes: "stop" })
    const { consumers: [one] } = yield* Health.of([old])
    equal(one?.status, "yellow", "the status")
    includes(
      one?.reasons.join("\n") ?? "",
      "stops before the next such event. A checkpoint is past the first",
      "the reasons"
    )
  })
]

/** Consumers of old and of newer code, whose handlers fail on 100 while `isBroken()`, and what they see of a cart. */
const breaking = (
  kind: "stream" | "tag" | "subscription",
  isBroken: () => boolean
) => {
  const [name, category] = [unique("carts"), uniqueCategory()]
  const handled: Array<number> = []
  const fill = (by: number) => {
    if (by === 100 && isBroken()) throw new Error("poison")
    return by
  }
  const ofOld = Schema.TaggedUnion({ CartFilled: { cart: Schema.String, by: Schema.Int } })
    .pipe(Event.tags({ cart: "cart" }))
  const ofNew = Schema.TaggedUnion({
    CartFilled: { cart: Schema.String, by: Schema.Int },
    CartEmptied: { cart: Schema.String }
  }).pipe(Event.tags({ cart: "cart" }))
  const options = {
    where: { streamPrefix: `${category}-` },
    unknownTypes: "stop" as const,
    partitionBy: kind === "tag" ? { tag: "cart" as const } : "stream" as const
  }
  const document = { ...options, document: Schema.Array(Schema.Int) }
  const key = ({ cart }: { readonly cart: string }) => cart
  const mail = { ...options, retry: Schedule.recurs(0) }
  const handle = (by: number) => Effect.sync(() => handled.push(fill(by)))
  const subscriptions = {
    old: Subscription.make(name, { ...mail, events: ofOld, handle: { CartFilled: ({ by }) => handle(by) } }),
    current: Subscription.make(name, {
      ...mail,
      events: ofNew,
      handle: { CartFilled: ({ by }) => handle(by), CartEmptied: () => handle(0) }
    })
  }
  const evolve = {
    CartFilled: (all: ReadonlyArray<number> = [], { by }: { readonly by: number }) => [...all, fill(by)]
  }
  const projections = {
    old: Projection.make(name, { ...document, events: ofOld, key, evolve }),
    current: Projection.make(name, {
      ...document,
      events: ofNew,
      key,
      evolve: { ...evolve, CartEmptied: (all = []) => [...all, 0] }
    })
  }
  const isMail = kind === "subscription"
  const run = (code: "old" | "current") =>
    isMail
      ? Effect.asVoid(
        Layer.build(Layer.fresh(attentive(Subscription.layer([subscriptions[code]]), subscriptions[code])))
      )
      : Effect.asVoid(start(projections[code]))
  return {
    run,
    consumer: (code: "old" | "current") => isMail ? subscriptions[code] : projections[code],
    append: (cart: string, ...amounts: ReadonlyArray<number>) =>
      EventStore.append(
        ofNew,
        `${category}-${cart}`,
        amounts.map((by) =>
          by === 0 ? { _tag: "CartEmptied" as const, cart } : { _tag: "CartFilled" as const, cart, by }
        )
      ),
    seen: Effect.fnUntraced(function*(cart: string) {
      if (isMail) return handled
      return Option.getOrElse(yield* ProjectionStore.get(projections.current, cart), (): ReadonlyArray<number> => [])
    })
  }
}

const parked: ReadonlyArray<Case<Stores>> = (["stream", "tag", "subscription"] as const).flatMap((kind) =>
  (["retry", "skip"] as const).map((action) =>
    test(`a ${action} frees no parked key of a ${kind} past an event of unknown type`, function*() {
      let isBroken = true
      const { append, consumer, run, seen } = breaking(kind, () => isBroken)
      const [old, current] = [consumer("old"), consumer("current")]
      const store = yield* ProjectionStore.ProjectionStore
      const { driver } = store[internals]
      const reached = (position: Position.Position) =>
        pollUntil(driver.progress(old.id), ([one]) => one !== undefined && one.position >= position)
      const { events: [, broken] } = yield* append("a", 1, 100)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* run("old")
        yield* pollUntil(parkedKeys(old), (all) => all.length === 1)
        const { events: [unknown], position } = yield* append("a", 0, 5)
        yield* reached(position)
        isBroken = false
        const [one] = yield* parkedKeys(old)
        equal(one?.position, broken?.position, "where the key is parked")
        const waiting = (yield* Parking.inspect(old, one!.key)).waiting.map(({ position }) => position)
        equal(waiting, [unknown!.position, position], "the waiting events")
        const { parked } = yield* action === "retry"
          ? Parking.retry(old, one!.key)
          : Parking.skip(old, one!.key, { reason: "a test" })
        equal(parked?.position, unknown?.position, "where the key is parked again")
        includes(parked?.error ?? "", `"CartEmptied"`, "why")
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* run("current")
        yield* pollUntil(driver.progress(old.id), ([one]) => one?.owner !== undefined)
        const [one] = yield* parkedKeys(current)
        equal((yield* Parking.retry(current, one!.key)).parked, undefined, "the retry by newer code")
        equal(yield* seen("a"), action === "retry" ? [1, 100, 0, 5] : [1, 0, 5], "what the consumer has seen")
        equal((yield* DeliveryAudit.run(current)).status, "complete", "the audit")
      }))
    })
  )
)

/**
 * All tests.
 *
 * @since 0.1.0
 * @category suites
 */
export const unknownTypes: ReadonlyArray<Case<Stores>> = [...health, ...stops, ...opens, ...parked]
