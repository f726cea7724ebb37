/** What the processes of the hand-over run share: a subscription with versions, and a projection, both with a number of partitions that changes. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Random, Redacted, Schema } from "effect"
import { Projection, Subscription } from "evsrc"
import { PgStores } from "evsrc/pg"

export const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

/** What differs between releases. Each version of the subscription continues from the one before. */
export const Release = Schema.Struct({ version: Schema.Int, partitions: Schema.Int })
export type Release = typeof Release.Type

/** Writes down that this process has handled an event. */
export class Notebook extends Context.Service<Notebook, {
  readonly write: (stream: string, position: bigint) => Effect.Effect<unknown>
}>()("Notebook") {}

export const notes = ({ partitions, version }: Release) =>
  Subscription.make("notes", {
    events: Tick,
    version,
    from: version === 1 ? "start" : { version: version - 1 },
    partitions,
    handle: {
      Ticked: (_, { position, stream }) =>
        Effect.gen(function*() {
          // An event is in hand for a while before and after its effect.
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 10))
          yield* Effect.flatMap(Notebook, ({ write }) => write(stream, position))
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 10))
        })
    }
  })

const Count = Schema.Struct({ events: Schema.Int, version: Schema.Int })

export const counts = ({ partitions }: Release) =>
  Projection.make("counts", {
    events: Tick,
    document: Count,
    partitions,
    partitionBy: "stream",
    key: (_, { stream }) => stream,
    evolve: {
      Ticked: (count = { events: 0, version: 0 }, _, { version }) => {
        if (version !== count.version + 1) throw new Error(`version ${version} comes after ${count.version}`)
        return { events: count.events + 1, version }
      }
    }
  })

export const layerStores = (url: string) =>
  PgStores.layerWithoutMigrations().pipe(
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 }))
  )
