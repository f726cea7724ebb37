/** Commands of which only the latest is dispatched, while each is followed after the next one was sent. */
import { assert, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Stream } from "effect"
import { EventStore, Position, Schedules } from "evsrc"
import * as InstanceAppends from "../../src/process/InstanceAppends.ts"
import * as ProcessReactions from "../../src/process/ProcessReactions.ts"
import { Do, doneTo, targets, typesOf } from "./Probe.ts"

const { process } = Schedules.make("later", [Do])

const makeRuntime = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const instances = yield* InstanceAppends.make(store, process, () => {})
  const runtime: ProcessReactions.Runtime = {
    store,
    instances,
    handlers: (yield* Layer.build(targets())) as ProcessReactions.Runtime["handlers"],
    latest: new Map()
  }
  const follow = (index: number) =>
    Effect.gen(function*() {
      const events = yield* Stream.runCollect(store.readStream(process.processEvents.all, "later-s"))
      const sends = events.filter(({ event }) => event._tag === "later.send")
      yield* ProcessReactions.follow(process, runtime, sends[index]!)
    })
  const send = (index: number) =>
    instances.write("s", `send ${index}`, {
      kind: "send",
      name: "Do",
      payload: Do.payloadSchema.make({ id: "t", what: `${index}` }),
      index,
      isLatestOnly: true
    })
  yield* instances.write("s", "start", {
    kind: "received",
    input: "schedule",
    eventId: "s",
    position: Position.Position.make(0n),
    recordedAt: DateTime.makeUnsafe(0),
    starts: true
  })
  return { follow, send }
})

it.effect("the latest command is dispatched although the next one is sent before its turn", () =>
  Effect.gen(function*() {
    const { follow, send } = yield* makeRuntime
    yield* send(0)
    for (let index = 0; index < 6; index++) {
      yield* send(index + 1)
      yield* follow(index)
    }
    yield* follow(6)
    // Each is for all those before it, and none is dispatched twice.
    assert.deepStrictEqual(yield* doneTo("t"), ["1", "3", "5", "6"])
    const skipped = (yield* typesOf("later-s")).filter((type) => type === "later.skipped.Do")
    assert.strictEqual(skipped.length, 3)
  }).pipe(Effect.scoped, Effect.provide(EventStore.layerMemory)))

it.effect("of commands that wait for their turn only the latest is dispatched, once", () =>
  Effect.gen(function*() {
    const { follow, send } = yield* makeRuntime
    for (let index = 0; index < 6; index++) yield* send(index)
    for (let index = 0; index < 6; index++) yield* follow(index)
    for (let index = 0; index < 6; index++) yield* follow(index)
    assert.deepStrictEqual(yield* doneTo("t"), ["5"])
  }).pipe(Effect.scoped, Effect.provide(EventStore.layerMemory)))
