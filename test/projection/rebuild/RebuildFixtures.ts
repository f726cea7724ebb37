/**
 * A projection that counts, and damage to its documents, for the suites of rebuilds.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { unique } from "../../../src/conformance/Suite.ts"
import type { EncodedDocument } from "../../../src/consumer/CheckpointDriver.ts"
import { internals } from "../../../src/core/internals.ts"
import type * as Position from "../../../src/core/Position.ts"
import { EventStore } from "../../../src/eventStore/EventStore.ts"
import * as Projection from "../../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../../src/projection/ProjectionStore.ts"
import * as Rebuild from "../../../src/projection/rebuild/Rebuild.ts"
import { RebuildRejected } from "../../../src/projection/rebuild/RebuildError.ts"

const Count = Schema.Struct({ n: Schema.Int })

interface Options {
  readonly partitions?: number
  readonly version?: number
  readonly onFailure?: "park" | "stop"
  readonly fails?: (n: number) => boolean
  /** What an event adds; 1 by default. */
  readonly step?: number
}

/** Counts events of a type of its own, by id, so that no other test's events are applied. */
export const counters = () => {
  const name = unique("counters")
  const type = unique("Counted")
  const Counted = Schema.TaggedUnion({ [type]: { id: Schema.String } })
  const projection = ({ fails, step = 1, ...options }: Options = {}) =>
    Projection.make(name, {
      events: Counted,
      document: Count,
      key: (event) => event.id,
      evolve: {
        [type]: (count) => {
          const n = (count?.n ?? 0) + step
          if (fails?.(n) === true) throw new Error("poison")
          return { n }
        }
      },
      ...options
    })
  const append = (id: string, times = 1) =>
    Effect.flatMap(
      EventStore,
      (store) => store.append(Counted, `${type}-${id}`, Array.from({ length: times }, () => ({ _tag: type, id })))
    )
  return { projection, append }
}

type Counters = ReturnType<ReturnType<typeof counters>["projection"]>

export const driver = Effect.map(ProjectionStore.ProjectionStore, (store) => store[internals].driver)

export const countOf = (projection: Counters, id: string) =>
  Effect.map(ProjectionStore.get(projection, id), (found) => Option.getOrUndefined(Option.map(found, ({ n }) => n)))

export const until = (projection: Counters, { position }: { readonly position: Position.Position }) =>
  Effect.flatMap(
    ProjectionStore.ProjectionStore,
    (store) => store.awaitPosition(projection, position, "1 minute")
  )

export const statuses = (projection: Counters) =>
  Effect.map(
    Rebuild.list(projection),
    (generations) => generations.map(({ status, generation }) => `${generation} ${status}`)
  )

/** Writes documents directly, past the projector. */
export const plant = (generation: string, changes: Readonly<Record<string, number | undefined>>) =>
  Effect.flatMap(driver, (driver) =>
    driver.write([{
      generation,
      changes: Object.entries(changes).map(([key, n]): EncodedDocument => ({
        key,
        document: n === undefined ? undefined : JSON.stringify({ n }),
        indexed: []
      }))
    }]))

export const quick = { interval: "20 millis" } as const

export const cutOver = (projection: Counters, options: Rebuild.RebuildOptions = {}) =>
  Stream.runCollect(Rebuild.rebuild(projection, { ...quick, ...options })).pipe(Effect.timeout("1 minute"))

/** Returns the reason of a rejected rebuild, or the tag of another error. */
export const reasonOf = (error: { readonly _tag: string }): string =>
  error instanceof RebuildRejected ? error.reason : error._tag
