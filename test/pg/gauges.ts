/** Counters, and an inline projection that shows at once when an event is missing: the number of events is then below the version. */
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted, Schema } from "effect"
import { Projection, Projector } from "evsrc"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"

export const Gauge = Schema.TaggedUnion({ Gauged: {}, Described: {} })

export const gauges = Projection.make("gauges", {
  events: Gauge,
  lifecycle: "inline",
  document: Schema.Struct({ events: Schema.Int, version: Schema.Int }),
  key: (_, { stream }) => stream,
  evolve: {
    Gauged: (gauge, _, { version }) => ({ events: (gauge?.events ?? 0) + 1, version }),
    Described: (gauge, _, { version }) => ({ events: (gauge?.events ?? 0) + 1, version })
  }
})

export const streams = ["Gauge-1", "Gauge-2", "Gauge-3"]

const withoutLayer = Layer.merge(PgEventStore.layerWithoutMigrations(), PgProjectionStore.layerWithoutMigrations())

export const storesAt = (url: string, withLayer: boolean) =>
  (withLayer
    ? Projector.layerInline([gauges], { repairInterval: "100 millis" }).pipe(Layer.provideMerge(withoutLayer))
    : withoutLayer).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
    )
