/** The one PostgreSQL of a run, with its default durability, and a database a contestant on it. */
import { Effect, Exit, Scope } from "effect"
import { make } from "../test/support/PostgresServer.ts"
import { peer } from "./contestant.ts"
import type { Pg } from "./pg.ts"
import { postmasterOf } from "./processor.ts"

export interface Server {
  readonly version: string
  readonly settings: Readonly<Record<string, string>>
  /** A new database, by the name of a contestant. */
  readonly database: (contestant: string) => Promise<string>
  /** The process of the server, if it runs on this machine. */
  readonly pid: number | undefined
  readonly stop: () => Promise<void>
}

const reported = ["fsync", "synchronous_commit", "full_page_writes", "wal_level", "shared_buffers", "max_connections"]

export const start = async (given: string | undefined): Promise<Server> => {
  const { Client } = await peer<Pg>("pg")
  const scope = Scope.makeUnsafe()
  const url = given
    // More connections than the default 100, for as many pools at once; all else is PostgreSQL's default.
    ?? (await Effect.runPromise(Scope.provide(make({ settings: { max_connections: "400" } }), scope))).url
  const client = new Client({ connectionString: url })
  await client.connect()
  const show = async (name: string) => String((await client.query(`show ${name}`)).rows[0]?.[name])
  const settings: Record<string, string> = {}
  for (const name of reported) settings[name] = await show(name)
  if (settings["fsync"] !== "on" || settings["synchronous_commit"] !== "on") {
    throw new Error("A benchmark needs fsync and synchronous_commit")
  }
  const backEnd = Number((await client.query("select pg_backend_pid() as pid")).rows[0]?.["pid"])
  const made: Array<string> = []
  return {
    version: await show("server_version"),
    settings,
    pid: postmasterOf(backEnd),
    database: async (contestant) => {
      const name = `evsrc_bench_${contestant.replaceAll(/[- ]/g, "_")}_${process.pid}`
      await client.query(`create database ${name}`)
      made.push(name)
      const database = new URL(url)
      database.pathname = `/${name}`
      return database.href
    },
    stop: async () => {
      if (given !== undefined) { for (const name of made) await client.query(`drop database ${name} with (force)`) }
      await client.end()
      await Effect.runPromise(Scope.close(scope, Exit.void))
    }
  }
}
