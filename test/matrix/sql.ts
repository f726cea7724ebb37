/** Runs statements on a server. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"

export const runStatements = (url: string, statements: ReadonlyArray<string>): Promise<void> =>
  PgClient.makeClient({ url: Redacted.make(url) }).pipe(
    Effect.flatMap((sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })),
    Effect.scoped,
    Effect.provide(Reactivity.layer),
    Effect.runPromise
  )
