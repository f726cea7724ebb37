/**
 * A process that works on the projections of `ticks.ts`, or of `keyed.ts`, until the test stops it, or until it kills itself with SIGKILL. The
 * environment names the call of the database at which it dies, also of one operation only, and whether it dies before, during or after the call.
 */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import { EventStore, ProjectionStore, Projector } from "evsrc"
import { PgStores } from "evsrc/pg"
import { once } from "node:events"
import { setImmediate } from "node:timers"
import { internals } from "../../src/core/internals.ts"
import { documented, tabled } from "./keyed.ts"
import { handled, ticks } from "./ticks.ts"

const at = Number(process.env["KILL_AT"] ?? Infinity)
const when = process.env["KILL_WHEN"]
const only = process.env["KILL_ONLY"]
const die = () => process.kill(process.pid, "SIGKILL")
let calls = 0

const point =
  <Args extends ReadonlyArray<unknown>, A, E, R>(operation: (...args: Args) => Effect.Effect<A, E, R>, name?: string) =>
  (...args: Args): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      if (only !== undefined && only !== name) return operation(...args)
      if (++calls !== at) return operation(...args)
      if (when === "before") die()
      if (when === "during") setImmediate(die)
      // A call that fails counts too: otherwise a worker whose call meets a stopped server would never end.
      return Effect.onExit(operation(...args), () => Effect.sync(die))
    })

const database = PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: 4 })

const watched = Layer.effectContext(Effect.gen(function*() {
  const { driver: events } = (yield* EventStore.EventStore)[internals]
  const { driver: store } = (yield* ProjectionStore.ProjectionStore)[internals]
  return Context.make(
    EventStore.EventStore,
    yield* EventStore.make({ ...events, readAll: point(events.readAll) })
  ).pipe(Context.add(
    ProjectionStore.ProjectionStore,
    yield* ProjectionStore.make({
      ...store,
      claim: point(store.claim),
      repartition: point(store.repartition, "repartition"),
      advance: point(store.advance),
      load: point(store.load)
    }, { pollInterval: "50 millis" })
  ))
}))

const partitions = Number(process.env["PARTITIONS"])
const keyed = process.env["KEYED"]
const isHealed = keyed === "healed"
const options = {
  batchSize: Number(process.env["BATCH"]),
  lease: process.env["LEASE"] === "short" ? "500 millis" : "2 seconds",
  retryDelay: { first: "20 millis", max: "200 millis" }
} as const
const worker = keyed === undefined
  ? Projector.layer([ticks(partitions), handled(partitions)], options)
  : Projector.layer([...documented(partitions, isHealed), tabled(partitions, isHealed)], options)

const program = Effect.gen(function*() {
  console.log("ready")
  // The end of its input stops it too, so that it does not outlive the test.
  yield* Effect.promise(() => Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]))
})
process.stdin.resume()

await Effect.runPromise(
  program.pipe(Effect.provide(
    worker.pipe(Layer.provide(watched), Layer.provide(PgStores.layerWithoutMigrations()), Layer.provide(database))
  ))
)
process.exit(0)
