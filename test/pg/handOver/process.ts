/** A process of the hand-over run. It runs the consumers of a release until SIGTERM, and prints `stalled` if it stood still without being frozen. */
import { NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Logger, Schema } from "effect"
import { Projector, Subscription } from "evsrc"
import { counts, layerStores, Notebook, notes, Release } from "./program.ts"

const Settings = Schema.fromJsonString(Schema.Struct({
  url: Schema.String,
  release: Release,
  /** The name of the process in the notebook. */
  name: Schema.String,
  lease: Schema.Int
}))
const { lease, name, release, url } = Schema.decodeUnknownSync(Settings)(process.env["SETTINGS"])

const notebook = Layer.effect(
  Notebook,
  Effect.map(PgClient.PgClient, (sql) =>
    Notebook.of({
      write: (stream, position) =>
        Effect.orDie(
          sql`insert into notes (process, version, stream, position) values (${name}, ${release.version}, ${stream}, ${position})`
        )
    }))
)

/** A process that gets no processor for longer than its lease loses its partitions, as a frozen one does. */
const watchClock = Effect.gen(function*() {
  let last = Date.now()
  while (true) {
    yield* Effect.sleep(lease / 10)
    const now = Date.now()
    if (now - last > lease / 3) console.log("stalled")
    last = now
  }
})

const options = { lease, stopTimeout: "2 seconds" } as const
const layer = Layer.mergeAll(
  Projector.layer([counts(release)], options),
  Subscription.layer([notes(release)], options).pipe(Layer.provide(notebook))
).pipe(Layer.provideMerge(layerStores(url)))

NodeRuntime.runMain(
  Effect.andThen(Effect.sync(() => console.log("ready")), watchClock).pipe(
    Effect.provide(layer),
    Effect.provide(Logger.layer([]))
  )
)
