/**
 * The runtime suite of user code that changes an event in place: no other code, and no later attempt, receives the change.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Event from "../../src/event/Event.ts"
import type { EncodedEvent, RecordedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventBus from "../../src/eventStore/EventBus.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Projection from "../../src/projection/Projection.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import type { Stores } from "../personalData/PersonalDataFixtures.ts"
import { upTo } from "../support/AccountFixtures.ts"

/** The Schemas that return the JSON of the store as it is. */
const Note = Schema.TaggedUnion({
  Noted: {
    run: Schema.String,
    any: Schema.Any,
    unknown: Schema.Unknown,
    json: Schema.MutableJson,
    record: Schema.Record(Schema.String, Schema.Unknown),
    secret: PersonalData.field(Schema.Unknown, { subject: "run" })
  }
}).pipe(Event.tags({ run: "run" }))
type Note = typeof Note.Type
type Recorded = RecordedEvent<Note>

const append = Effect.fnUntraced(function*(run: string) {
  const store = yield* EventStore.EventStore
  const value = { seen: 0, inner: { seen: 0 }, list: [{ seen: 0 }] }
  const note: Note = { _tag: "Noted", run, any: value, unknown: value, json: value, record: { value }, secret: value }
  return yield* store.append(Note, run, [note], { metadata: { attributes: { seen: "0" } } })
})

/** Changes every part of a value that it can. */
const changeIn = (value: unknown): void => {
  if (typeof value !== "object" || value === null) return
  for (const inner of Object.values(value)) changeIn(inner)
  if ("seen" in value) Reflect.set(value, "seen", "changed")
}

/** Returns an event as it was received, and changes it. */
const receive = ({ data, decrypted, metadata, tags, ...recorded }: EncodedEvent & Partial<Recorded>): string => {
  const parts = [data, metadata.attributes, tags, recorded.event, decrypted && Result.getOrUndefined(decrypted)]
  const text = JSON.stringify(parts)
  for (const part of parts) changeIn(part)
  return text
}

const requireUnchanged = (texts: ReadonlyArray<string>) =>
  equal(texts.filter((text) => text.includes("changed")), [], "changed events")

const where = (run: string) => ({ tags: [Event.tag("run", run)] as const })
const readers = 4

type Read = (store: EventStore.EventStore["Service"], run: string) => Stream.Stream<EncodedEvent, unknown>

const byFollowers = (what: string, read: Read): Case<Stores> =>
  test(`a reader of ${what} finds no change of another in an event`, function*() {
    const run = unique("run")
    yield* append(run)
    const { [internals]: { driver, keys } } = yield* EventStore.EventStore
    let reads = 0
    yield* Effect.scoped(Effect.gen(function*() {
      const asFollower = <A, E, R>(one: Effect.Effect<A, E, R>) => {
        reads++
        return Effect.delay(one, "50 millis")
      }
      const store = yield* EventStore.make({ ...driver, asFollower }, keys)
      const texts = yield* Effect.forEach(
        upTo(readers),
        () => Effect.map(Stream.runHead(read(store, run)), (found) => receive(Option.getOrThrow(found))),
        { concurrency: "unbounded" }
      )
      equal(texts.length, readers, "the readers")
      requireUnchanged(texts)
    })).pipe(Effect.timeout("1 minute"), Effect.orDie)
    equal(reads, 1, "the reads of the log")
  })

class Again extends Schema.TaggedError<Again>()("Again", {}) {}

type Handle = (event: Note, recorded: Recorded) => Effect.Effect<void, Again>

/** Runs a handler that changes its event, and fails twice. */
const inEveryAttempt = (
  what: string,
  run: (of: { readonly run: string; readonly handle: Handle }) => Layer.Layer<
    never,
    unknown,
    EventStore.EventStore | ProjectionStore.ProjectionStore
  >
): Case<Stores> =>
  test(`a retry of ${what} finds no change of an earlier attempt in its event`, function*() {
    const id = unique("run")
    const texts: Array<string> = []
    const done = Latch.makeUnsafe(false)
    const handle: Handle = (_, recorded) =>
      Effect.suspend(() => {
        texts.push(receive(recorded))
        return texts.length < 3 ? Effect.fail(new Again()) : Effect.asVoid(done.open)
      })
    yield* append(id)
    yield* done.await.pipe(Effect.timeout("1 minute"), Effect.provide(run({ run: id, handle })), Effect.orDie)
    requireUnchanged(texts)
  })

const retry = Schedule.spaced("10 millis")

/** A projection whose functions change the event and its record. */
const changing = <L extends Projection.Lifecycle>(lifecycle: L, texts: Array<string>) =>
  Projection.make(unique("changing"), {
    events: Note,
    lifecycle,
    document: Schema.Struct({ texts: Schema.Array(Schema.String) }),
    key: ({ run }, recorded) => {
      texts.push(receive(recorded))
      return [run, `${run}-2`]
    },
    evolve: {
      Noted: (_, __, recorded) => {
        const text = receive(recorded)
        texts.push(text)
        return { texts: [text] }
      }
    }
  })

/**
 * The cases of events that user code changes.
 *
 * @since 0.1.0
 * @category suites
 */
export const sharedEvents: ReadonlyArray<Case<Stores>> = [
  byFollowers("EventStore.subscribe", (store, run) => store.subscribe(Note, { where: where(run) })),
  byFollowers("EventStore.subscribeEncoded", (store, run) => store.subscribeEncoded({ where: where(run) })),

  test("a listener of the event bus finds no change of another in an event", function*() {
    const run = unique("run")
    yield* Effect.gen(function*() {
      const listeners = yield* Effect.forEach(upTo(readers), () => EventBus.listen(Note))
      const heard = yield* Effect.forEach(listeners, (events) =>
        Effect.forkChild(
          Effect.map(
            Stream.runHead(Stream.filter(events, ({ event }) => event.run === run)),
            (found) => receive(Option.getOrThrow(found))
          )
        ))
      yield* append(run)
      requireUnchanged(yield* Effect.forEach(heard, Fiber.join))
    }).pipe(Effect.timeout("1 minute"), Effect.scoped, Effect.provide(Layer.fresh(EventBus.layer())))
  }),

  inEveryAttempt("a subscription", ({ handle, run }) =>
    Subscription.layer([
      Subscription.make(unique("s"), {
        events: Note,
        where: where(run),
        retry,
        parks: ["Again"],
        handle: { Noted: handle }
      })
    ])),
  inEveryAttempt("a projection's handler", ({ handle, run }) =>
    Projector.layer([
      Projection.handler(unique("h"), {
        events: Note,
        where: where(run),
        retry,
        parks: ["Again"],
        handle: { Noted: handle }
      })
    ])),

  test("inline handlers find no change of another in an event", function*() {
    const run = unique("run")
    const texts: Array<string> = []
    const handlers = upTo(2).map(() =>
      Projection.handler(unique("inline"), {
        events: Note,
        lifecycle: "inline",
        handle: { Noted: (_, recorded) => Effect.sync(() => void texts.push(receive(recorded))) }
      })
    )
    yield* Effect.provide(append(run), Projector.layerInline(handlers))
    equal(texts.length, 2, "the handlers")
    requireUnchanged(texts)
  }),

  test("functions of inline projections find no change of another in an event", function*() {
    const run = unique("run")
    const texts: Array<string> = []
    const projections = upTo(2).map(() => changing("inline", texts))
    yield* Effect.provide(append(run), Projector.layerInline(projections))
    requireUnchanged(texts)
  }),

  test("functions of a projection find no change of another in an event", function*() {
    const run = unique("run")
    const texts: Array<string> = []
    const projection = changing("async", texts)
    const { position } = yield* append(run)
    const { awaitPosition } = yield* ProjectionStore.ProjectionStore
    yield* Effect.provide(awaitPosition(projection, position, "1 minute"), Projector.layer([projection]))
    equal(texts.length >= 3, true, "the calls")
    requireUnchanged(texts)
  })
]
