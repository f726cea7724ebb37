/** Events with personal data, their projection, and the stores, for processes that write, project and erase concurrently. */
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted, Schema } from "effect"
import { PersonalData, Projection } from "evsrc"
import { PgKeyStore, PgStores } from "evsrc/pg"

const name = PersonalData.field(Schema.String, { subject: "personId" })

export const PersonEvent = Schema.TaggedUnion({
  Named: { personId: Schema.String, writer: Schema.String, name }
})

/** One document for each person, with the last name that each writer has given. */
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

/** Returns the stores in one database, with their keys in another. */
export const storesAt = (log: string, keys: string, options: { readonly migrate: boolean }) => {
  const client = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 6 })
  const keyStore = options.migrate ? PgKeyStore.layerWith : PgKeyStore.layerWithoutMigrations
  const stores = (options.migrate ? PgStores.layer : PgStores.layerWithoutMigrations()).pipe(
    Layer.provideMerge(keyStore({ maxAge }).pipe(Layer.provide(Layer.fresh(client(keys))))),
    Layer.provideMerge(client(log))
  )
  // Fresh, because a test builds several of them.
  return Layer.fresh(stores)
}
