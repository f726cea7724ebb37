import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore } from "evsrc"
import { PgStores } from "evsrc/pg"
import { TestDatabase } from "evsrc/testing"
import { inject } from "vitest"

const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })
const append = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const receipt = yield* store.append(Tick, "s", [Tick.cases.Ticked.make({ n: 1 })], { expected: "noStream" })
  return receipt.version
})

const server = () => ({ url: inject("postgresUrl"), maxConnections: 3 })
const onServer = (name: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const found = yield* sql`select datname from pg_database where datname = ${name}`
    return found.length
  }).pipe(Effect.provide(TestDatabase.layerPostgres(server())))

describe.each([
  ["PGlite", () => TestDatabase.layerPglite()],
  ["a server", () => TestDatabase.layerPostgres(server())]
])("a test database on %s", (_, database) => {
  it.live("is fresh for each layer", () =>
    Effect.gen(function*() {
      const stores = () => PgStores.layer.pipe(Layer.provide(database()))
      const versions = [yield* Effect.provide(append, stores()), yield* Effect.provide(append, stores())]
      assert.deepStrictEqual(versions, [1, 1])
    }))
})

it.live("a database of a server exists for its scope, also with a client of another process", () =>
  Effect.gen(function*() {
    const name = yield* Effect.scoped(Effect.gen(function*() {
      const { name, url } = yield* TestDatabase.postgres({ url: Redacted.make(inject("postgresUrl")) })
      assert.include(Redacted.value(url), name)
      assert.strictEqual(yield* onServer(name), 1)
      return name
    }))
    assert.strictEqual(yield* onServer(name), 0)
  }))

it.live("a test database fails with SqlError when no server answers", () =>
  Effect.gen(function*() {
    const layer = TestDatabase.layerPostgres({ url: "postgres://postgres@127.0.0.1:1/postgres" })
    const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
    assert.strictEqual(error._tag, "SqlError")
  }))
