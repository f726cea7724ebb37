import { assert, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, ProcessManager, ProjectionStore } from "evsrc"
import { begun, Do, doneTo, Signal, targets } from "./Probe.ts"

const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

const contractOf = (name: string) => ({
  inputs: Signal,
  correlate: {
    Begun: ({ id }: { readonly id: string }) => ProcessManager.start(id),
    Went: ProcessManager.ignore,
    Ended: ProcessManager.ignore
  },
  state: Schema.Null,
  events: Schema.TaggedUnion({}),
  commands: [Do],
  behaviour: {
    initial: null,
    evolve: {},
    react: {
      Begun: (_: null, { id }: { readonly id: string }) => [ProcessManager.send(Do, { id, what: name })]
    },
    refused: { Do: ProcessManager.ignore }
  }
} as const)

it.effect("each input starts one of two process managers, whatever the order of times", () =>
  Effect.gen(function*() {
    const since = DateTime.makeUnsafe(1_000_000)
    const { behaviour: ofOld, ...old } = contractOf("old")
    const { behaviour: ofNext, ...next } = contractOf("next")
    const processes = [
      ProcessManager.make("old", { ...old, startsUntil: since }).behaviour(ofOld),
      ProcessManager.make("next", { ...next, from: { since } }).behaviour(ofNext)
    ]
    // The clock of the database is set back after the second, as by a failover.
    const times = { first: 999_999, second: 1_000_000, third: 999_995, fourth: 1_000_001 }
    for (const [id, millis] of Object.entries(times)) {
      yield* TestClock.setTime(millis)
      yield* EventStore.append(Signal, `in-${id}`, [begun(id)])
    }
    yield* Effect.gen(function*() {
      const done = Effect.map(
        Effect.forEach(Object.keys(times), (id) => doneTo(id)),
        (all) => all.flat()
      )
      yield* Effect.andThen(TestClock.adjust("1 second"), done).pipe(
        Effect.repeat({ until: (all) => all.length >= 4, times: 200 })
      )
      // What would be done twice would be done by now.
      for (let i = 0; i < 20; i++) yield* TestClock.adjust("1 second")
      const by = yield* Effect.forEach(
        Object.keys(times),
        (id) => Effect.map(doneTo(id), (what) => [id, what] as const)
      )
      assert.deepStrictEqual(Object.fromEntries(by), {
        first: ["old"],
        second: ["next"],
        third: ["old"],
        fourth: ["next"]
      })
    }).pipe(Effect.provide(ProcessManager.layer(processes).pipe(Layer.provideMerge(targets()))))
  }).pipe(Effect.provide(stores)))
