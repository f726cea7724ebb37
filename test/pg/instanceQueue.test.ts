/** Commands that arrive together at few instances, in two programs, with all that may come between them. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, ManagedRuntime, Option, Random, Redacted, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { Aggregate, CommandBus, ConcurrencyConflict, EventStore, type Receipt, Version } from "evsrc"
import { PgEventStore } from "evsrc/pg"
import { freshDatabase } from "../support/Database.ts"
import { scale } from "../support/scale.ts"
import { Count, Counter, CounterEvent, judgeEvents, Refused } from "./counters.ts"

const program = (url: string) =>
  ManagedRuntime.make(
    Aggregate.layer(Counter).pipe(
      Layer.provideMerge(PgEventStore.layer),
      Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
    )
  )

type Program = ReturnType<typeof program>

interface Sent {
  readonly counter: string
  readonly from: string
  readonly times: number
  readonly exit: Exit.Exit<Receipt, unknown>
  readonly countBefore: number
  readonly countAfter: number
}

const countOf = (counter: string) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Effect.map(
      Stream.runHead(store.readStreamEncoded(`Counter-${counter}`, { direction: "backward", limit: 1 })),
      (last) => Option.match(last, { onNone: () => 0, onSome: ({ version }) => Number(version) })
    ))

let number = 0

/** Sends a random command: some are refused, throw, are sent twice, are interrupted or expect a version. */
const sending = Effect.fnUntraced(function*(name: string, watched: boolean) {
  const counter = `c${yield* Random.nextIntBetween(0, 2)}`
  const kind = yield* Random.nextIntBetween(0, 20)
  const from = `${name}-${++number}`
  const times = kind < 3 ? 0 : kind === 3 ? 9 : kind < 6 ? 3 : 1
  const countBefore = watched ? yield* Effect.orDie(countOf(counter)) : 0
  const context = {
    commandId: from,
    ...(kind === 7 ? { expected: Version.make(yield* Random.nextIntBetween(0, 40)) } : {})
  }
  const dispatch = CommandBus.dispatch(Count, { counter, times, from }, context)
  const exits = yield* Effect.forEach(
    kind === 8 ? [1, 2] : [1],
    () =>
      kind >= 9 && kind < 15
        ? Effect.flatMap(
          Effect.forkChild(dispatch),
          (fiber) =>
            Effect.andThen(
              Effect.forkChild(Effect.delay(Fiber.interrupt(fiber), `${number % 12} millis`)),
              Fiber.await(fiber)
            )
        )
        : Effect.exit(dispatch),
    { concurrency: "unbounded" }
  )
  const countAfter = watched ? yield* Effect.orDie(countOf(counter)) : Infinity
  return exits.map((exit): Sent => ({ counter, from, times, exit, countBefore, countAfter }))
})

const burst = (runtime: Program, name: string, commands: number) =>
  Effect.promise(() =>
    runtime.runPromise(
      Effect.map(
        Effect.forEach(
          Array.from({ length: commands }, (_, i) => i),
          (i) => sending(name, i % 5 === 0),
          { concurrency: 40 }
        ),
        (all) => all.flat()
      )
    )
  )

/** Takes the lock of a counter's stream again and again, as transactions of other programs do. */
const lockStream = Effect.fnUntraced(function*(url: string, counter: string) {
  const sql = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 1 })
  const locked = sql.withTransaction(
    Effect.andThen(
      sql`select pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(${`Counter-${counter}`}))`,
      Effect.sleep("8 millis")
    )
  )
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(locked, Effect.sleep("10 millis"))))
})

/** What must hold of a counter's events, and of what was answered. */
const judge = (events: ReadonlyArray<typeof CounterEvent.Type>, sent: ReadonlyArray<Sent>) => {
  const written = judgeEvents(events)
  for (const { countAfter, countBefore, exit, from, times } of sent) {
    const events = written.get(from) ?? []
    if (Exit.isSuccess(exit)) {
      assert.strictEqual(events.length, times, `${from} is written once`)
      assert.strictEqual(Number(exit.value.version), events.at(-1)!.before + 1, `${from} has its own receipt`)
      continue
    }
    if (Exit.hasInterrupts(exit)) {
      assert.include([0, times], events.length, `${from} is written wholly or not`)
      continue
    }
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    assert.strictEqual(events.length, 0, `${from} failed, and is not written`)
    if (error instanceof Refused) {
      assert.isTrue(
        error.count >= countBefore && error.count <= countAfter,
        `${from} was refused on ${error.count}, between ${countBefore} and ${countAfter}`
      )
    } else if (times < 4) {
      assert.isTrue(error instanceof ConcurrencyConflict, `${from}: ${String(error)}`)
    } else {
      assert.isTrue(Exit.hasDies(exit), `${from} dies`)
    }
  }
}

it.live(
  "each command is decided on all events before it, beside interruptions and locks",
  () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const programs = [program(url), program(url)]
      yield* Effect.addFinalizer(() => Effect.promise(() => Promise.all(programs.map((each) => each.dispose()))))
      // One program migrates before the other starts.
      for (const each of programs) yield* Effect.promise(() => each.runPromise(EventStore.EventStore))
      yield* Effect.forEach(["c0", "c1"], (counter) => lockStream(url, counter))
      const sent = (yield* Effect.forEach(
        programs,
        (each, index) => burst(each, `p${index}`, scale(300, 2_000)),
        { concurrency: "unbounded" }
      )).flat()
      for (const counter of ["c0", "c1"]) {
        const events = yield* Effect.promise(() =>
          programs[0]!.runPromise(
            Effect.flatMap(EventStore.EventStore, (store) =>
              Effect.map(
                Stream.runCollect(store.readStream(CounterEvent, `Counter-${counter}`)),
                (all) => all.map(({ event }) => event)
              ))
          )
        )
        assert.isAbove(events.length, 20)
        judge(
          events,
          sent.filter((each) => each.counter === counter)
        )
      }
    }).pipe(Effect.provide(Reactivity.layer))
)
