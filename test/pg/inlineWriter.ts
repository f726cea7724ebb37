/**
 * One of several processes whose appends run an inline projection. Its fibers append until the test stops it: without a condition, on a condition, in a
 * transaction of the caller that may roll back, and events that the projection does not read.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Layer, Option, Random, Schema } from "effect"
import { Event, EventQuery, EventStore, Projector } from "evsrc"
import { once } from "node:events"
import { Digests, hot, Marked, stores, Unread, warm } from "./inlineWriting.ts"

const fibers = 12

class RolledBack extends Schema.TaggedError<RolledBack>()("RolledBack", {}) {}

const oneIn = (n: number) => Effect.map(Random.next, (random) => random < 1 / n)

/** Returns the fiber's own document, and sometimes one that other fibers and processes change too, in either order. */
const documentsFor = Effect.fnUntraced(function*(writer: string) {
  const isHot = yield* oneIn(20)
  const isWarm = yield* oneIn(4)
  const other = isHot ? [hot] : isWarm ? [warm[yield* Random.nextIntBetween(0, warm.length - 1)]!] : []
  const isFirst = yield* oneIn(2)
  return isFirst ? [...other, writer] : [writer, ...other]
})

const writer = (name: string) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const sql = yield* PgClient.PgClient
    for (let n = 0;; n++) {
      const event = Marked.cases.Marked.make({ writer: name, n, documents: yield* documentsFor(name) })
      const append = store.append(Marked, `Mark-${name}`, [event])
      const kind = yield* Random.nextIntBetween(0, 12)
      const attempt: Effect.Effect<unknown, { readonly _tag: string }> = kind === 0
        ? store.append(Unread, `Mark-${name}`, [{ _tag: "Unread", n }])
        : kind === 1
        ? Effect.flatMap(
          store.readByQuery(EventQuery.ofStoredTypes([{ tags: [Event.tag("writer", name)] }])),
          ({ condition }) => store.appendIf(condition, Marked, `Mark-${name}`, [event])
        )
        : kind === 2
        ? sql.withTransaction(Effect.gen(function*() {
          yield* append
          if (yield* oneIn(3)) return yield* new RolledBack()
        }))
        : append
      const exit = yield* Effect.exit(attempt)
      if (Exit.isFailure(exit) && Option.getOrUndefined(Exit.findErrorOption(exit))?._tag !== "RolledBack") {
        console.error(`an append failed: ${exit.cause}`)
        process.exit(1)
      }
    }
  })

const stopped = Effect.promise(() => Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]))

const program = Effect.gen(function*() {
  console.log("ready")
  const names = Array.from({ length: fibers }, (_, n) => `${process.pid}-${n}`)
  yield* Effect.raceFirst(Effect.forEach(names, writer, { concurrency: "unbounded" }), stopped)
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(
      Projector.layerInline([Digests]).pipe(Layer.provideMerge(stores(process.env["DATABASE_URL"] ?? "")))
    )
  )
)
process.exit(0)
