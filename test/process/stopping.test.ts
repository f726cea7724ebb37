/** A program that carries out deferred steps ends, although the handler of a command does not. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Deferred, Effect, Exit, Fiber, Layer, Option, Schema, Scope } from "effect"
import { RpcGroup } from "effect/rpc"
import { Command, EventStore, ProcessManager, ProjectionStore, Projector } from "evsrc"

const Signal = Schema.TaggedUnion({ Begun: { id: Schema.String } })
const Gift = Command.make("Gift", { payload: { id: Schema.String } })

const Gifts = ProcessManager.make("gifts", {
  inputs: Signal,
  correlate: { Begun: ({ id }) => ProcessManager.start(id) },
  state: Schema.Null,
  events: Schema.TaggedUnion({}),
  commands: [Gift]
}).behaviour({ initial: null, evolve: {}, react: { Begun: () => [] } })

const { all, toEvent } = Gifts.processEvents

/** Appends what another release has done with an instance: it has sent a command, and has deferred its dispatch. */
const deferred = Effect.gen(function*() {
  const { events, position } = yield* EventStore.append(all, "gifts-a", [
    toEvent({
      kind: "received",
      input: "Begun",
      eventId: "1",
      position: yield* EventStore.head,
      recordedAt: DateTime.makeUnsafe(0),
      starts: true
    }),
    toEvent({ kind: "send", name: "Gift", payload: { id: "a" }, index: 0, isLatestOnly: false })
  ] as never)
  const step = { what: "output", eventId: events[1]!.id, position, part: 0 } as const
  yield* EventStore.append(all, "gifts-a", [toEvent({ ...step, kind: "deferred", reason: "the command" })] as never)
}).pipe(Effect.provide(Layer.fresh(Projector.layerInline([ProcessManager.consumers(Gifts).instances]))))

describe("a program with process managers", () => {
  it.live("ends although a deferred step does not", () =>
    Effect.gen(function*() {
      yield* deferred
      const begun = yield* Deferred.make<void>()
      let handlers = 0
      // The subscription of the outputs and the timer carry it out at the same time.
      const hang = Effect.suspend(() => {
        if (++handlers === 2) Deferred.doneUnsafe(begun, Effect.void)
        return Effect.never
      })
      const handler = RpcGroup.make(Gift).toLayer({ Gift: () => Effect.uninterruptible(hang) })
      const program = yield* Scope.make()
      yield* Scope.provide(
        Layer.build(ProcessManager.layer([Gifts], { deadlineInterval: "50 millis" }).pipe(Layer.provide(handler))),
        program
      )
      yield* Effect.timeout(Deferred.await(begun), "60 seconds")
      const closing = yield* Effect.forkDetach(Scope.close(program, Exit.void))
      assert.isTrue(Option.isSome(yield* Effect.timeoutOption(Fiber.await(closing), "60 seconds")))
    }).pipe(Effect.provide(Layer.mergeAll(EventStore.layerMemory, ProjectionStore.layerMemory))), 150_000)
})
