/**
 * A process that works on `people.ts` until the test stops it, as a writer or as a projector. A writer names people and reads its events
 * back. It prints each event that it wrote, each person whose erasure rejected an append, and everything that it did not expect.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Layer, Option, Random, Result, Schema, Stream } from "effect"
import { EventStore, PersonalData, Projector } from "evsrc"
import { once } from "node:events"
import { Names, PersonEvent, storesAt } from "./people.ts"

const people = 20
const print = (...words: ReadonlyArray<unknown>) => Effect.sync(() => console.log([...words, "."].join(" ")))

class RolledBack extends Schema.TaggedError<RolledBack>()("RolledBack", {}) {}

const writer = (index: number) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const sql = yield* PgClient.PgClient
    const id = `${process.pid}-${index}`
    const expected = new Map<string, string>()
    for (let n = 0;; n++) {
      const personId = `person-${yield* Random.nextIntBetween(0, people)}`
      const stream = `Person-${personId}-${id}`
      const name = `secret-${personId}-${id}-${n}`
      const append = store.append(PersonEvent, stream, [PersonEvent.cases.Named.make({ personId, writer: id, name })])
      const action = yield* Random.nextIntBetween(0, 10)
      const rolledBack = sql.withTransaction(Effect.andThen(append, Effect.fail(new RolledBack())))
      const exit = yield* Effect.exit(action === 0 ? rolledBack : action === 1 ? sql.withTransaction(append) : append)
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      if (Exit.isSuccess(exit)) {
        expected.set(`${stream}/${exit.value.version}`, name)
        yield* print("wrote", personId, stream, exit.value.version, name)
      } else if (error?._tag === "EventStoreError" && error.reason._tag === "SubjectErased") {
        yield* print("erased", personId)
      } else if (error?._tag !== "RolledBack") {
        yield* print("unexpected", exit)
      }

      const read = yield* Effect.result(Stream.runCollect(store.readStream(PersonEvent, stream)))
      for (const { event, version } of Result.isSuccess(read) ? read.success : []) {
        const isExpected = PersonalData.isErased(event.name)
          ? event.name.subject === personId
          : event.name === expected.get(`${stream}/${version}`)
        if (!isExpected) yield* print("unexpected", stream, version, JSON.stringify(event))
      }
      if (Result.isFailure(read)) yield* print("unexpected", read.failure.message)
    }
  })

const stopped = Effect.promise(() => Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]))
process.stdin.resume()

const program = Effect.gen(function*() {
  yield* print("ready")
  const writing = Effect.asVoid(Effect.forEach([0, 1, 2], writer, { concurrency: "unbounded" }))
  const projecting = Layer.launch(Projector.layer([Names], { lease: "2 seconds" }))
  if (process.env["ROLE"] === "writer") return yield* Effect.raceFirst(writing, stopped)
  yield* Effect.raceFirst(projecting, stopped)
})

const stores = storesAt(process.env["LOG_URL"] ?? "", process.env["KEYS_URL"] ?? "", { migrate: false })
await Effect.runPromise(Effect.provide(program, stores))
process.exit(0)
