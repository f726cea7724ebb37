/**
 * One of several racing processes. It runs its share of a round's racers, in step with the other processes. On the order `look` they
 * read. On `leap` they append, and read first if they have not. Prints one line for each order.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime, Random, Redacted, Schema } from "effect"
import { EventStore, type EventStoreDriver } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { createInterface } from "node:readline"
import { leap, look, type Looked, Outcome, type Race, raceKinds } from "../../src/conformance/AppendConditionRaces.ts"

export const Order = Schema.fromJsonString(Schema.Struct({
  step: Schema.Literals(["look", "leap"]),
  kind: Schema.Literals(["one", "apart", "open"]),
  round: Schema.Int,
  show: Schema.String
}))
export const Outcomes = Schema.fromJsonString(Schema.toCodecJson(Schema.Array(Outcome)))

/** Returns the racers of one process. */
export const shareOf = (race: Race, share: number, shares: number) =>
  race.racers.filter((_, index) => index % shares === share)

/** Returns a driver that delays half of the appends before their commit, each in its own transaction. Group commit sends the others. */
export const heldUp = (driver: EventStoreDriver.EventStoreDriver): EventStoreDriver.EventStoreDriver => ({
  ...driver,
  append: (request) =>
    Effect.flatMap(
      Random.nextIntBetween(-3, 4),
      (millis) => driver.append(millis < 0 ? request : { ...request, inTransaction: () => Effect.sleep(millis) })
    )
})

const decodeOrder = Schema.decodeUnknownEffect(Order)
const encodeOutcomes = Schema.encodeEffect(Outcomes)

if (import.meta.main) {
  const [share, shares] = process.argv.slice(2).map(Number)
  const database = PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: 8 })
  const store = EventStore.layer(Effect.map(PgEventStore.makeDriver(), heldUp))
  const runtime = ManagedRuntime.make(store.pipe(Layer.provide(database)))

  let looked: ReadonlyArray<Looked> | undefined
  const follow = Effect.fnUntraced(function*(line: string) {
    const { kind, round, show, step } = yield* decodeOrder(line)
    const race = raceKinds[kind](round, show)
    const racers = shareOf(race, share!, shares!)
    if (step === "look") {
      looked = yield* Effect.forEach(racers, look, { concurrency: "unbounded" })
      return "looked"
    }
    const before = looked
    looked = undefined
    const outcomes = yield* Effect.forEach(
      racers,
      (racer, index) =>
        Effect.flatMap(
          before === undefined ? look(racer) : Effect.succeed(before[index]!),
          (looked) => leap(race, racer, looked)
        ),
      { concurrency: "unbounded" }
    )
    return yield* encodeOutcomes(outcomes)
  })

  await runtime.runPromise(Effect.void)
  console.log("ready")
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(await runtime.runPromise(follow(line)))
  }
}
