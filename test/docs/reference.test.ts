/** The lists of docs/reference.md are complete, and name nothing that does not exist. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { TestConsole } from "effect/testing"
import { Limits, Projection, Projector } from "evsrc"
import { PgMigrations, PgStores } from "evsrc/pg"
import * as Bank from "../../examples/bank-account.ts"
import * as errors from "../../src/core/errors.ts"
import { freshDatabase, layerPglite } from "../support/Database.ts"
import { blocksOf, read, section, tableOf } from "./Markdown.ts"

const guide = read("docs/reference.md")
const firstColumn = (heading: string) => tableOf(section(guide, heading)).map(([cell]) => cell!)

const numberOf = (text: string): number =>
  Number(/^[\d,]+/.exec(text)![0].replaceAll(",", "")) * (text.endsWith("MiB") ? 1024 * 1024 : 1)

describe("docs/reference.md", () => {
  it.live("lists every column of every table", () =>
    Effect.gen(function*() {
      yield* PgMigrations.run()
      const sql = yield* SqlClient
      const columns = yield* sql<{ readonly name: string; readonly column: string }>`
        select table_name as name, column_name as column from information_schema.columns
          where table_schema = 'evsrc' order by table_name, ordinal_position`
      const tables = Map.groupBy(columns, ({ name }) => name)
      assert.deepStrictEqual(
        section(guide, "## Tables").match(/^### .*$/gm)?.toSorted(),
        Array.from(tables.keys(), (name) => `### ${name}`)
      )
      for (const [name, rows] of tables) {
        assert.deepStrictEqual(firstColumn(`### ${name}`), rows.map(({ column }) => column))
      }
    }).pipe(Effect.provide(layerPglite())))

  it("lists every reason of an EventStoreError", () => {
    const reasons = errors.EventStoreErrorReason.members.map((reason) => reason.identifier.replace("evsrc/", ""))
    assert.sameMembers(firstColumn("## Errors"), reasons)
  })

  it.effect("lists the limits", () =>
    Effect.gen(function*() {
      const limits = yield* Limits
      const listed = tableOf(section(guide, "## Limits")).flatMap(([name, value]) => {
        const [, limit] = /^`(\w+)`/.exec(name!) ?? []
        return limit === undefined ? [] : [[limit, numberOf(value!)]]
      })
      assert.deepStrictEqual(Object.fromEntries(listed), limits)
    }))

  it.live("lists rights with which a program works", () =>
    Effect.gen(function*() {
      const { name, url } = yield* freshDatabase
      const admin = yield* Layer.build(PgClient.layer({ url: Redacted.make(url) }))
      const asAdmin = (statement: string) =>
        Effect.flatMap(PgClient.PgClient, (sql) => sql.unsafe(statement)).pipe(Effect.provideContext(admin))
      const role = `${name}_app`
      yield* PgMigrations.run().pipe(Effect.provideContext(admin))
      yield* asAdmin(`create role ${role} login password 'secret'`)
      yield* Effect.addFinalizer(() =>
        Effect.orDie(Effect.andThen(asAdmin(`drop owned by ${role}`), asAdmin(`drop role ${role}`)))
      )
      const asRole = Object.assign(new URL(url), { username: role, password: "secret" })
      const client = PgClient.layer({ url: Redacted.make(asRole.href) })
      const inline = Projector.layerInline([Inline]).pipe(
        Layer.provideMerge(PgStores.layerWithoutMigrations()),
        Layer.provide(client)
      )
      const program = Bank.program.pipe(Effect.provide(Bank.Bank), Effect.provide([inline, TestConsole.layer]))

      const [grants] = blocksOf(section(guide, "## For operators")).map(({ code }) => code)
      for (const grant of grants!.trim().split(";\n")) yield* asAdmin(grant.replace(/ app;?$/, ` ${role}`))
      yield* program
    }))
})

/** Writes documents and removes them. */
const Inline = Projection.make("inline", {
  events: Bank.AccountEvent,
  document: Bank.Balances.document,
  lifecycle: "inline",
  key: (event) => event.account,
  evolve: { Opened: () => 0, Deposited: () => Projection.remove, Withdrawn: Projection.ignore }
})
