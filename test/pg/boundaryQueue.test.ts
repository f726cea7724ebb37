/** Commands with decision models of two programs, which share nothing but the database, on one instance and on one tag. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer, ManagedRuntime, Redacted } from "effect"
import { EventStore } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { upTo } from "../../src/conformance/EventStoreFixtures.ts"
import * as Fixture from "../aggregate/BoundaryQueueSuite.ts"
import { freshDatabase } from "../support/Database.ts"
import { scale } from "../support/scale.ts"

const program = (url: string) =>
  ManagedRuntime.make(
    Fixture.handlers({}).pipe(
      Layer.provideMerge(PgEventStore.layer),
      Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
    )
  )

const programs = Effect.gen(function*() {
  const { url } = yield* freshDatabase
  const both = [program(url), program(url)]
  yield* Effect.addFinalizer(() => Effect.promise(() => Promise.all(both.map((each) => each.dispose()))))
  // One program migrates before the other starts.
  for (const each of both) yield* Effect.promise(() => each.runPromise(EventStore.EventStore))
  return both
})

const rounds = scale(3, 8)

for (
  const [where, tallyOf, groupOf] of [
    ["one instance", () => "one", (n: number) => `group ${n}`],
    ["one tag", (n: number) => `tally ${n}`, () => "one"],
    ["one instance and one tag", () => "one", () => "one"]
  ] as const
) {
  it.live(`32 commands of each of two programs at a time on ${where} do not fail`, () =>
    Effect.gen(function*() {
      const both = yield* programs
      const sending = (each: typeof both[number], name: number) =>
        Effect.promise(() =>
          each.runPromise(Effect.forEach(
            upTo(32),
            (n) => Effect.repeat(Fixture.added(tallyOf(n), [groupOf(n), `of ${name}`]), { times: rounds - 1 }),
            { concurrency: "unbounded", discard: true }
          ))
        )
      yield* Effect.forEach(both, sending, { concurrency: "unbounded", discard: true })
      const groups = Array.from(new Set(upTo(32).map(groupOf)))
      const { events } = yield* Effect.promise(() => both[0]!.runPromise(Fixture.verify([...groups, "of 0", "of 1"])))
      assert.strictEqual(events, 2 * 32 * rounds)
    }))
}

it.live(
  "commands and decisions of two programs are each decided on all events before them",
  () =>
    Effect.gen(function*() {
      const both = yield* programs
      const [tallies, groups] = [["one", "two"], ["a", "b", "c"]]
      const refused = yield* Effect.forEach(
        both,
        (each) => Effect.promise(() => each.runPromiseExit(Fixture.race(tallies, groups, scale(48, 96)))),
        { concurrency: "unbounded" }
      )
      const all = refused.flatMap((exit) => Exit.isSuccess(exit) ? exit.value : assert.fail(String(exit)))
      yield* Effect.promise(() => both[0]!.runPromise(Fixture.verifyRace(tallies, groups, all)))
    })
)
