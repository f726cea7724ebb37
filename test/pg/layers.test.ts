/** The layers that every store on PostgreSQL offers. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer } from "effect"
import type { SqlClient } from "effect/sql"
import { EventStoreError } from "evsrc"
import { PgEventStore, PgKeyStore, PgMigrations, PgProjectionStore, PgStores } from "evsrc/pg"
import { layerPostgres } from "../support/Database.ts"

type StoreLayer = Layer.Layer<never, EventStoreError | Config.ConfigError, SqlClient.SqlClient>

/** Without what they provide, so that all can be built alike. */
const without = <A>(layer: Layer.Layer<A, EventStoreError | Config.ConfigError, SqlClient.SqlClient>): StoreLayer =>
  Layer.effectDiscard(Layer.build(layer))

const options = {
  schema: Config.String("SCHEMA"),
  notify: Config.Boolean("NOTIFY"),
  pollInterval: Config.Duration("POLL")
}

const stores = {
  PgEventStore: {
    fromConfig: without(PgEventStore.layerConfig(options)),
    migrations: PgEventStore.layerMigrations,
    withoutMigrations: (schema: string) => without(PgEventStore.layerWithoutMigrations({ schema })),
    names: PgMigrations.names
  },
  PgProjectionStore: {
    fromConfig: without(PgProjectionStore.layerConfig(options)),
    migrations: PgProjectionStore.layerMigrations,
    withoutMigrations: (schema: string) => without(PgProjectionStore.layerWithoutMigrations({ schema })),
    names: PgMigrations.names
  },
  PgStores: {
    fromConfig: without(PgStores.layerConfig(options)),
    migrations: PgStores.layerMigrations,
    withoutMigrations: (schema: string) => without(PgStores.layerWithoutMigrations({ schema })),
    names: PgMigrations.names
  },
  PgKeyStore: {
    fromConfig: without(PgKeyStore.layerConfig({ schema: options.schema, maxAge: Config.Duration("POLL") })),
    migrations: PgKeyStore.layerMigrations,
    withoutMigrations: (schema: string) => without(PgKeyStore.layerWithoutMigrations({ schema })),
    names: PgMigrations.keysNames
  }
}

const build = (layer: StoreLayer) => Effect.scoped(Effect.asVoid(Layer.build(Layer.fresh(layer))))

const migrationsIn = (schema: string) =>
  Effect.flatMap(
    PgClient.PgClient,
    (sql) => sql.unsafe<{ readonly name: string }>(`select name from ${schema}.migrations order by migration_id`)
  ).pipe(
    Effect.map((rows) => rows.map(({ name }) => name))
  )

for (const [name, { fromConfig, migrations, names, withoutMigrations }] of Object.entries(stores)) {
  describe(name, () => {
    it.live("layerConfig takes its options from the configuration", () =>
      Effect.gen(function*() {
        const provider = ConfigProvider.layer(
          ConfigProvider.fromUnknown({ SCHEMA: "configured", NOTIFY: "false", POLL: "1 second" })
        )
        yield* Effect.provide(build(fromConfig), provider)
        assert.deepStrictEqual(yield* migrationsIn("configured"), Array.from(names))
      }).pipe(Effect.provide(layerPostgres())))

    it.live("layerConfig fails with the name of a setting that is missing", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(
          Effect.provide(build(fromConfig), ConfigProvider.layer(ConfigProvider.fromUnknown({ POLL: "1 second" })))
        )
        assert.strictEqual(error._tag, "ConfigError")
        assert.include(String(error), "SCHEMA")
      }).pipe(Effect.provide(layerPostgres())))

    it.live("a schema name that is invalid is a misconfiguration, not a defect", () =>
      Effect.gen(function*() {
        const provider = ConfigProvider.layer(
          ConfigProvider.fromUnknown({ SCHEMA: "my-schema", NOTIFY: "false", POLL: "1 second" })
        )
        for (
          const layer of [Layer.provide(fromConfig, provider), withoutMigrations("1st"), migrations({ schema: "" })]
        ) {
          const error = yield* Effect.flip(build(layer))
          assert.instanceOf(error, EventStoreError)
          assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["StoreMisconfigured", false])
          assert.include(error.message, "it must have 1 to 63 of the characters")
        }
      }).pipe(Effect.provide(layerPostgres())))

    it.live("layerMigrations creates the schema that layerWithoutMigrations requires", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(build(withoutMigrations("made")))
        assert.instanceOf(error, EventStoreError)
        assert.strictEqual(error.reason._tag, "StoreMisconfigured")
        yield* build(migrations({ schema: "made" }))
        assert.deepStrictEqual(yield* migrationsIn("made"), Array.from(names))
        yield* build(withoutMigrations("made"))
      }).pipe(Effect.provide(layerPostgres())))
  })
}

describe("PgStores", () => {
  it.live("a poll interval that is invalid is a misconfiguration", () =>
    Effect.gen(function*() {
      for (const pollInterval of ["0 millis", "soon" as "1 second"] as const) {
        const error = yield* Effect.flip(build(without(PgStores.layerWith({ pollInterval }))))
        assert.instanceOf(error, EventStoreError)
        assert.strictEqual(error.reason._tag, "StoreMisconfigured")
        assert.include(error.message, `\`pollInterval\` is ${pollInterval}`)
      }
    }).pipe(Effect.provide(layerPostgres())))
})
