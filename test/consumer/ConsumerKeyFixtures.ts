/**
 * A projection whose documents show the order of their events, for the suites of keys.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { equal, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"

export type By = "document" | { readonly tag: "course" }

/** The keys that a projection of courses can have. */
export const bys: ReadonlyArray<readonly [string, By]> = [["document", "document"], ["tag", { tag: "course" }]]

/** A projection of the events of each course, and events of courses in streams of their own. It fails on poison: `<course><n>`. */
export const fixture = (options: { readonly partitions: number; readonly partitionBy?: By | "stream" }) => {
  const type = unique("CapacityChanged")
  const Events = Schema.TaggedUnion({
    [type]: { courses: Schema.Array(Schema.String), n: Schema.Int }
  }).pipe(Event.tags({ course: "courses" }))
  const poison = new Set<string>()
  const projection = Projection.make(unique("courses"), {
    events: Events,
    document: Schema.Struct({ seen: Schema.Array(Schema.Int) }),
    partitions: options.partitions,
    partitionBy: options.partitionBy ?? "document",
    key: (event) => event.courses,
    evolve: {
      [type]: (document, { n }, _, course) => {
        if (poison.has(`${course}${n}`)) throw new Error(`poison ${course}${n}`)
        return { seen: [...document?.seen ?? [], n] }
      }
    }
  })
  /** Appends an event to a stream of its own, unless one is given. */
  const append = (n: number, courses: ReadonlyArray<string>, stream = `${type}-${globalThis.crypto.randomUUID()}`) =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      return (yield* store.append(Events, StreamId.make(stream), [{ _tag: type, courses, n }])).position
    })
  const appendOdd = (stream = `${type}-odd`) =>
    Effect.gen(function*() {
      const { driver } = (yield* EventStore.EventStore)[internals]
      const appended = yield* driver.append({
        stream: StreamId.make(stream),
        expected: "any",
        events: [{
          id: globalThis.crypto.randomUUID(),
          type,
          schemaVersion: 1,
          data: `{"odd":1}`,
          metadata: "{}",
          tags: ["course:a"]
        }]
      })
      return appended._tag === "Appended" ? appended.positions.at(-1)! : Position.start
    })
  const seen = (course: string) =>
    Effect.map(
      ProjectionStore.get(projection, course),
      Option.match({ onNone: () => [], onSome: ({ seen }) => seen })
    )
  const awaitPosition = (position: Position.Position) =>
    Effect.flatMap(ProjectionStore.ProjectionStore, (store) => store.awaitPosition(projection, position, "50 seconds"))
  const audited = Effect.map(
    DeliveryAudit.run(projection),
    ({ first, status }) => equal([status, first], ["complete", undefined], "the audit")
  )
  const withProjector = Effect.provide(Projector.layer([projection], { batchSize: 3 }))
  return { Events, append, appendOdd, audited, awaitPosition, poison, projection, seen, type, withProjector }
}

/** Waits until an effect answers true. */
export const until = <E, R>(effect: Effect.Effect<boolean, E, R>) =>
  Effect.timeout(Effect.repeat(effect, { until: (is) => is, schedule: Schedule.spaced("10 millis") }), "30 seconds")
