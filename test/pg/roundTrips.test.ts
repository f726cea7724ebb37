/** How many round trips to the server a command, a decision and a query after a receipt take. They decide the latency where the server is far away. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Redacted } from "effect"
import { Aggregate, CommandBus, ProjectionStore, Projector, type Receipt } from "evsrc"
import { PgStores } from "evsrc/pg"
import { DefineCourse, EnrolStudent, School } from "../../examples/courses.ts"
import { AccountDecider, accounts, Deposit, Open, upTo, wealth } from "../support/AccountFixtures.ts"
import { freshDatabase } from "../support/Database.ts"
import * as RoundTrips from "../support/RoundTrips.ts"

/** Nothing is found by polling. */
const options = { pollInterval: "1 hour" } as const

/** The stores of a program behind a proxy. */
const program = (proxy: RoundTrips.RoundTrips) =>
  Layer.fresh(PgStores.layerWith(options)).pipe(
    Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 8 })))
  )

const withProxy = <A, E, R>(
  test: (proxy: RoundTrips.RoundTrips) => Effect.Effect<A, E, R>
) => Effect.flatMap(freshDatabase, ({ url }) => Effect.flatMap(RoundTrips.make(url), test))

/**
 * Asserts how many round trips an effect takes at most: the lowest number of some runs, because heartbeats and notifications take round trips too. Nothing is
 * measured in time.
 */
const assertTrips = Effect.fnUntraced(function*<E, R>(
  proxy: RoundTrips.RoundTrips,
  expected: number,
  effect: (run: number) => Effect.Effect<unknown, E, R>
) {
  const runs: Array<ReadonlyArray<string>> = []
  let lowest = Infinity
  for (const run of upTo(5)) {
    // The notifications of the run before.
    yield* Effect.sleep("60 millis")
    const before = proxy.count()
    const from = proxy.sent().length
    yield* effect(run)
    lowest = Math.min(lowest, proxy.count() - before)
    runs.push(proxy.sent().slice(from).map(({ sql, trip }) => `${trip - before}: ${sql.slice(0, 80)}`))
    if (lowest <= expected && run > 1) break
  }
  assert.isAtMost(lowest, expected, JSON.stringify(runs.at(-1), undefined, 1))
})

describe("round trips", () => {
  it.live("of commands", () =>
    withProxy((proxy) =>
      Effect.gen(function*() {
        const open = (id: string) => CommandBus.dispatch(Open, { id, owner: "ann" })
        yield* Effect.gen(function*() {
          yield* open("known")
          yield* assertTrips(proxy, 1, (amount) => CommandBus.dispatch(Deposit, { id: "known", amount }))
          yield* assertTrips(proxy, 2, (n) => open(`unknown-${n}`))
        }).pipe(Effect.provide(accounts))
        yield* Effect.provide(
          assertTrips(proxy, 1, (n) => open(`new-${n}`)),
          Aggregate.layer(AccountDecider, { load: "assumeNew" })
        )
      }).pipe(Effect.provide(program(proxy)))
    ))

  it.live("of decisions", () =>
    withProxy((proxy) =>
      Effect.gen(function*() {
        yield* CommandBus.dispatch(DefineCourse, { courseId: "maths", capacity: 20 })
        yield* assertTrips(
          proxy,
          2,
          (n) => CommandBus.dispatch(EnrolStudent, { courseId: "maths", studentId: `s${n}` })
        )
      }).pipe(Effect.provide(School), Effect.provide(program(proxy)))
    ))

  for (const [count, trips] of [[1, 2], [5, 2]] as const) {
    it.live(`of a command with ${count} inline projections`, () =>
      withProxy((proxy) =>
        Effect.gen(function*() {
          yield* CommandBus.dispatch(Open, { id: "a", owner: "ann" })
          yield* assertTrips(proxy, trips, (amount) => CommandBus.dispatch(Deposit, { id: "a", amount }))
        }).pipe(
          Effect.provide(accounts),
          Effect.provide(Projector.layerInline(upTo(count).map(() => wealth("inline")))),
          Effect.provide(program(proxy))
        )
      ))
  }

  const total = wealth("async")
  const queried = ({ events, position }: Receipt) =>
    Effect.provideService(
      ProjectionStore.ProjectionStore.use((store) => store.get(total, "ann")),
      ProjectionStore.ReadAfter,
      { position, eventId: events.at(-1)?.id, timeout: Duration.seconds(10) }
    )

  for (const [where, trips] of [["same", 4], ["another", 6]] as const) {
    it.live(`of a command and a query after its receipt, in ${where} process`, () =>
      withProxy((proxy) =>
        Effect.gen(function*() {
          const stores = yield* Layer.build(program(proxy))
          const others = where === "same" ? stores : yield* Layer.build(program(proxy))
          yield* Effect.gen(function*() {
            yield* Layer.build(Projector.layer([total], { lease: "10 minutes" }))
            yield* CommandBus.dispatch(Open, { id: "a", owner: "ann" })
            yield* assertTrips(proxy, trips, () =>
              Effect.flatMap(
                CommandBus.dispatch(Deposit, { id: "a", amount: 1 }),
                (receipt) => Effect.provideContext(queried(receipt), others)
              ))
          }).pipe(Effect.provide(accounts), Effect.provideContext(stores))
        })
      ))
  }
})
