/**
 * Documents of inline projections that are computed before the append: the same as those that its transaction computes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type Case, equal, test, unique } from "../../../src/conformance/Suite.ts"
import { internals } from "../../../src/core/internals.ts"
import { EventStore } from "../../../src/eventStore/EventStore.ts"
import * as Projection from "../../../src/projection/Projection.ts"
import * as ProjectionStore from "../../../src/projection/ProjectionStore.ts"
import * as Projector from "../../../src/projection/Projector.ts"
import { type Stores, upTo } from "../../support/AccountFixtures.ts"

const Counted = Schema.TaggedUnion({ Counted: { n: Schema.Int } })
const append = (stream: string, n: number) =>
  EventStore.use((store) => store.append(Counted, stream, [{ _tag: "Counted", n }]))

/** Returns a projection whose document lists what it has seen of each event. */
const define = (
  prefix: string,
  seen: (n: number, record: { readonly version: number; readonly position: bigint }) => string
) =>
  Projection.make(unique("ahead"), {
    events: Counted,
    lifecycle: "inline",
    where: { streamPrefix: prefix },
    document: Schema.Array(Schema.String),
    key: () => "all",
    evolve: { Counted: (before, { n }, record) => [...before ?? [], seen(n, record)] }
  })

/**
 * Documents computed before the append.
 *
 * @since 0.1.0
 * @category suites
 */
export const inlineAhead: ReadonlyArray<Case<Stores>> = [
  test("an inline document has the place of its event, also if the code catches errors", function*() {
    const prefix = unique("Ahead")
    const projection = define(prefix, (_, record) => {
      try {
        return `${record.version} at ${record.position}`
      } catch {
        return "nowhere"
      }
    })
    const expected: Array<string> = []
    yield* Effect.gen(function*() {
      for (const n of upTo(2)) {
        const { position, version } = yield* append(`${prefix}-1`, n)
        expected.push(`${version} at ${position}`)
        equal(yield* ProjectionStore.get(projection, "all"), Option.some([...expected]), `after event ${n}`)
      }
    }).pipe(Effect.provide(Projector.layerInline([projection])))
  }),

  test("a document that changes between its read and the append is folded again", function*() {
    const prefix = unique("Ahead")
    const projection = define(prefix, String)
    const base = yield* EventStore
    const services = yield* Effect.context<Stores>()
    const layer = Projector.layerInline([projection])
    let between: Effect.Effect<unknown> = Effect.void
    const slow = base[internals].changeAppends((request) => ({
      ...request,
      documentsAhead: request.documentsAhead && Effect.tap(request.documentsAhead, () => between)
    }))
    const expected: Array<string> = []
    yield* Effect.gen(function*() {
      for (const n of upTo(3)) {
        between = append(`${prefix}-other-${n}`, -n).pipe(
          Effect.tap(() => Effect.sync(() => void expected.push(`-${n}`))),
          Effect.provide(layer),
          Effect.provideContext(services),
          Effect.orDie
        )
        yield* append(`${prefix}-1`, n)
        expected.push(`${n}`)
        equal(yield* ProjectionStore.get(projection, "all"), Option.some([...expected]), `after append ${n}`)
      }
    }).pipe(Effect.provide(Layer.provide(layer, Layer.succeed(EventStore, slow))))
  })
]
