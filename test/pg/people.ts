/** Events about people, and what is known of each, for the processes that write, project and erase at once. */
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted, Schema } from "effect"
import { PersonalData, Projection } from "evsrc"
import { PgKeyStore, PgStores } from "evsrc/pg"

const name = PersonalData.field(Schema.String, { subject: "personId" })

export const PersonEvent = Schema.TaggedUnion({
  Named: { personId: Schema.String, writer: Schema.String, name }
})

/** Of every person the last names that each writer has given. */
export const Names = Projection.make("names", {
  events: PersonEvent,
  document: Schema.Struct({
    events: Schema.Int,
    names: Schema.Record(Schema.String, Schema.Struct({ personId: Schema.String, name }))
  }),
  partitions: 2,
  key: ({ personId }) => personId,
  evolve: {
    Named: (before = { events: 0, names: {} }, { name, personId, writer }) => ({
      events: before.events + 1,
      names: { ...before.names, [writer]: { personId, name } }
    })
  }
})

const maxAge = "250 millis"

/** Stores in one database, and their keys in another. */
export const storesAt = (log: string, keys: string, options: { readonly migrate: boolean }) => {
  const client = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 6 })
  const ofKeys = options.migrate ? PgKeyStore.layerWith : PgKeyStore.layerWithoutMigrations
  const stores = (options.migrate ? PgStores.layer : PgStores.layerWithoutMigrations()).pipe(
    Layer.provideMerge(ofKeys({ maxAge }).pipe(Layer.provide(Layer.fresh(client(keys))))),
    Layer.provideMerge(client(log))
  )
  // A test has several of them.
  return Layer.fresh(stores)
}
