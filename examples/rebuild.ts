/**
 * Rebuilds a read model online, the balances of the bank account, with a progress bar in the terminal.
 *
 * `node --conditions=@evsrc/source examples/rebuild.ts` runs in memory, on a log that it writes first. With DATABASE_URL it rebuilds on that
 * database, while other processes use it; the argument `rollback` undoes the cut-over.
 */
import { PgClient } from "@effect/sql-pg"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { EventStore, ProjectionStore, Projector, Rebuild } from "evsrc"
import { PgStores } from "evsrc/pg"
import { AccountEvent, Balances } from "./bank-account.ts"

/** Overwrites one line with the progress, and starts a new line after each phase. */
const show = (write: (text: string) => void) => {
  let phase: Rebuild.Progress["phase"] | undefined
  return (progress: Rebuild.Progress) =>
    Effect.sync(() => {
      if (phase !== undefined && phase !== progress.phase) write("\n")
      phase = progress.phase
      write(`\r${Rebuild.formatProgress(progress)}\x1b[K`)
    })
}

export const rebuild = (write: (text: string) => void) =>
  Rebuild.rebuild(Balances, { compare: true, interval: "100 millis" }).pipe(
    Stream.tap(show(write)),
    Stream.runFold(
      () => new Array<string>(),
      (lines, { compared }) => [
        ...lines,
        ...(compared?.differences ?? []).map(({ active, key, rebuilt }) =>
          `${key} was ${JSON.stringify(active)}, is ${JSON.stringify(rebuilt)}`
        )
      ]
    ),
    Effect.tap(() => Effect.sync(() => write("\n")))
  )

/** Writes a log, waits until the running projector has read it, and damages one balance. */
export const history = (events: number) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const { awaitPosition } = yield* ProjectionStore.ProjectionStore
    const driver = yield* ProjectionStore.driver
    const accounts = ["ann", "bob", "cem", "dea"]
    for (const account of accounts) {
      yield* store.append(AccountEvent, `Account-${account}`, [{ _tag: "Opened", account }])
    }
    for (let written = 0; written < events; written += 100) {
      const account = accounts[(written / 100) % accounts.length]!
      const deposits = Array.from({ length: 100 }, () => ({ _tag: "Deposited" as const, account, amount: 1 }))
      yield* store.append(AccountEvent, `Account-${account}`, deposits)
    }
    yield* awaitPosition(Balances, yield* store.head, "1 minute")
    yield* driver.write([{ generation: Balances.id, changes: [{ key: "bob", document: "1000000", indexed: [] }] }])
  })

const inMemory = history(20_000).pipe(
  Effect.andThen(rebuild((text) => process.stdout.write(text))),
  Effect.provide(Projector.layer([Balances])),
  Effect.provide(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory))
)

const onPostgres = Effect.suspend(() =>
  process.argv[2] === "rollback"
    ? Effect.map(
      Rebuild.rollback(Balances),
      ({ active, previous }) => [`${active} is active again, instead of ${previous}`]
    )
    : rebuild((text) => process.stdout.write(text))
).pipe(
  Effect.provide(PgStores.layer),
  Effect.provide(PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") }))
)

if (process.argv[1] === import.meta.filename) {
  const isOnPostgres = process.env["DATABASE_URL"] !== undefined
  const program = Effect.gen(function*() {
    const lines = isOnPostgres ? yield* onPostgres : yield* inMemory
    yield* Console.log(lines.join("\n"))
  })
  await Effect.runPromise(program)
}
