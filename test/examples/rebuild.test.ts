import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, ProjectionStore, Projector } from "evsrc"
import { Balances } from "../../examples/bank-account.ts"
import * as Example from "../../examples/rebuild.ts"

it.live("shows a progress bar and prints the corrected balances", () => {
  let screen = ""
  return Effect.gen(function*() {
    yield* Example.history(400)
    const lines = yield* Example.rebuild((text) => {
      screen += text
    })
    assert.deepStrictEqual(lines, ["bob was 1000000, is 100"])
    assert.match(screen, /balances@1~1 █+ 100 % {2}404 of 404 events {2}cut-over .*\n$/)
  }).pipe(
    Effect.provide(Projector.layer([Balances])),
    Effect.provide(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory))
  )
})
