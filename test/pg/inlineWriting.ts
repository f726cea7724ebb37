/** The projection of `inlineProcesses.test.ts`. Its documents depend on the order of their events, and are small however many events they have. */
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted, Schema } from "effect"
import { Event, Projection } from "evsrc"
import { PgStores } from "evsrc/pg"

export const Marked = Schema.TaggedUnion({
  Marked: { writer: Schema.String, n: Schema.Int, documents: Schema.Array(Schema.String) }
}).pipe(Event.tags({ writer: "writer" }))

/** An event that the projection does not read. */
export const Unread = Schema.TaggedUnion({ Unread: { n: Schema.Int } })

const hash = (before: number, text: string): number =>
  Array.from(text).reduce((sum, char) => (Math.imul(sum, 31) + char.charCodeAt(0)) >>> 0, before)

/** Returns the projection: the number of events of a document, and a hash of them in their order. */
export const digests = <const L extends Projection.Lifecycle>(name: string, lifecycle: L) =>
  Projection.make(name, {
    events: Marked,
    lifecycle,
    document: Schema.Struct({ events: Schema.Int, digest: Schema.Int }),
    key: ({ documents }) => documents,
    evolve: {
      Marked: (before = { events: 0, digest: 0 }, { n, writer }) => ({
        events: before.events + 1,
        digest: hash(before.digest, `${writer}:${n}`)
      })
    }
  })

export const Digests = digests("digests", "inline")

/** The documents that several processes change. */
export const hot = "hot"
export const warm = Array.from({ length: 6 }, (_, n) => `warm-${n}`)

export const stores = (url: string) =>
  PgStores.layerWithoutMigrations({ lockTimeout: "1 minute", connectionTimeout: "1 minute" }).pipe(
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 }))
  )
