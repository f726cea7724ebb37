/**
 * Lists of projections that run: in every lifecycle, across a rebuild, and while an index is added.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as DocumentListModel from "../../src/conformance/DocumentListModel.ts"
import { definition, Sampled, sampleOf } from "../../src/conformance/DocumentSamples.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import { EventStore } from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Rebuild from "../../src/projection/rebuild/Rebuild.ts"

type Stores = EventStore | ProjectionStore.ProjectionStore

const driver = Effect.map(ProjectionStore.ProjectionStore, (store) => store[internals].driver)

/** A projection of the samples of one stream, so that no other test's events are applied. */
const samplesOf = <const L extends Projection.Lifecycle>(run: string, lifecycle: L) =>
  Projection.make(`${run}-${lifecycle}`, { ...definition, lifecycle, where: { streamPrefix: run } })

const append = (run: string, samples: ReadonlyArray<readonly [id: string, seed: number]>) =>
  Effect.flatMap(
    EventStore,
    (store) => store.append(Sampled, run, samples.map(([id, sample]) => ({ _tag: "Sampled", id, sample })))
  )

const idsOf = (count: number) => Array.from({ length: count }, (_, n) => `${["", "Z", "ü", "𝔘"][n % 4]}${n}`)

const tagOf = <A, E extends { readonly _tag: string }, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(self), (error) => "reason" in error ? (error.reason as { _tag: string })._tag : error._tag)

const reindexing = test("reindex adds an index while events arrive", function*() {
  const run = unique("indexed")
  const samples = samplesOf(run, "async")
  const store = yield* ProjectionStore.ProjectionStore
  const ids = idsOf(700)
  const options = { where: { big: { gte: 0n } }, orderBy: { field: "text" }, limit: 1000 } as const
  yield* Effect.gen(function*() {
    const { position } = yield* append(run, ids.map((id, n) => [id, n]))
    yield* store.awaitPosition(samples, position, "60 seconds")
    // As code has written them that had no index.
    const { generationPage, reindex } = yield* driver
    const stored = yield* generationPage({ generation: samples.id, limit: 1000 })
    yield* reindex(samples.id, stored.map(({ key, revision }) => ({ key, revision, indexed: [] })))
    equal(yield* tagOf(store.list(samples, options)), "IndexIncomplete", "a list before")
    const writer = yield* Effect.forkChild(
      Effect.forEach(ids.slice(0, 20), (id, n) => append(run, [[id, 1000 + n], [ids[600 + n]!, 2000 + n]]))
    )
    yield* store.reindex(samples)
    const last = (yield* Fiber.join(writer)).at(-1)!.position
    yield* store.awaitPosition(samples, last, "60 seconds")
  }).pipe(Effect.provide(Projector.layer([samples], { lease: "1 second" })))
  const expected = ids.map((id, n) => sampleOf(id, n < 20 ? 1000 + n : n >= 600 && n < 620 ? 2000 + n - 600 : n))
  equal(
    (yield* store.list(samples, options)).items.map(({ id }) => id),
    DocumentListModel.expected(expected, options),
    "a list after"
  )
})

/**
 * All cases of lists.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  test("lists are the same in every lifecycle, and those of a filter and a sort", function*() {
    const run = unique("listed")
    const [async, inline, live] = [samplesOf(run, "async"), samplesOf(run, "inline"), samplesOf(run, "live")]
    const ids = idsOf(40)
    // Later events change half of the documents.
    const { position } = yield* append(run, ids.map((id, n) => [id, n])).pipe(
      Effect.andThen(append(run, ids.slice(20).map((id, n) => [id, 100 + n]))),
      Effect.provide(Projector.layerInline([inline]))
    )
    const documents = ids.map((id, n) => sampleOf(id, n < 20 ? n : 80 + n))
    const store = yield* ProjectionStore.ProjectionStore
    yield* store.awaitPosition(async, position, "60 seconds").pipe(Effect.provide(Projector.layer([async])))
    for (let seed = 500; seed < 540; seed++) {
      const options = DocumentListModel.randomList(seed, 30)
      const expected = DocumentListModel.expected(documents, options)
      type Options = typeof options & { readonly after: string | undefined }
      const lists = [
        (options: Options) => store.list<typeof async>(async, options),
        (options: Options) => store.list<typeof inline>(inline, options),
        (options: Options) => store.list<typeof live>(live, options)
      ]
      for (const [n, list] of lists.entries()) {
        const pages = Stream.paginate(undefined, (after: string | undefined) =>
          Effect.map(
            list({ ...options, after }),
            ({ items, next }) =>
              [items.map(({ id }) => id), Option.map(next, (cursor): string | undefined => cursor)] as const
          ))
        equal(Array.from(yield* Stream.runCollect(pages)), expected, `${["async", "inline", "live"][n]}, list ${seed}`)
      }
    }
    const options = { orderBy: { field: "text", direction: "desc" }, limit: 3 } as const
    const watched = yield* Stream.runHead(store.watchList(async, options))
    equal(
      Option.map(watched, ({ items }) => items.map(({ id }) => id)),
      Option.some(DocumentListModel.expected(documents, options).slice(0, 3)),
      "a list that is watched"
    )
  }),

  test("a cursor expires with the cut-over of a rebuild, which adds a missing index", function*() {
    const run = unique("rebuilt")
    const samples = samplesOf(run, "async")
    const store = yield* ProjectionStore.ProjectionStore
    const ids = idsOf(6)
    yield* Effect.gen(function*() {
      const { position } = yield* append(run, ids.map((id, n) => [id, n]))
      yield* store.awaitPosition(samples, position, "60 seconds")
      const options = { orderBy: { field: "text" }, limit: 2 } as const
      const { next } = yield* store.list(samples, options)
      const { generationPage, reindex } = yield* driver
      const [stored] = yield* generationPage({ generation: samples.id, limit: 1 })
      yield* reindex(samples.id, [{ key: stored!.key, revision: stored!.revision, indexed: [] }])
      equal(yield* tagOf(store.list(samples, options)), "IndexIncomplete", "without an index")
      yield* Stream.runDrain(Rebuild.rebuild(samples, { interval: "20 millis" }))
      equal((yield* store.list(samples, options)).items.length, 2, "after the rebuild")
      const after = Option.getOrThrow(next)
      equal(yield* tagOf(store.list(samples, { ...options, after })), "CursorExpired", "the cursor of before")
      includes((yield* Effect.flip(store.list(samples, { ...options, after }))).message, "first page", "the message")
    }).pipe(Effect.provide(Projector.layer([samples], { lease: "1 second" })), Effect.timeout("1 minute"))
  }),

  reindexing
]
