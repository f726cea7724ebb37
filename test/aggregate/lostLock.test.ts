import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schema } from "effect"
import { Aggregate, Command, CommandBus, EventStore } from "evsrc"
import { internals } from "../../src/core/internals.ts"
import type { EventStoreDriver, StreamLock } from "../../src/eventStore/driver/EventStoreDriver.ts"

const CupEvent = Schema.TaggedUnion({ CupFilled: { cup: Schema.String } })
const { CupFilled } = CupEvent.cases
const Fill = Command.make("FillCup", { payload: { cup: Schema.String } })
const Cup = Aggregate.make("Cup", { id: "cup", state: Schema.Int, events: CupEvent, commands: [Fill] }).decider({
  initial: 0,
  evolve: { CupFilled: (filled) => filled + 1 },
  decide: { FillCup: (filled, command) => filled < 2 ? [CupFilled.make(command)] : [] }
})
const fill = CommandBus.dispatch(Fill, { cup: "1" })

/** A lock whose session has ended: it is open, and excludes no other session. */
const lostLock: StreamLock = { held: Effect.void, isOpen: () => true, release: () => {}, released: Effect.void }

it.live("a lock whose session has ended answers no command that arrives later", () =>
  Effect.gen(function*() {
    const [reading, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const { [internals]: { driver } } = yield* EventStore.EventStore
    const byOther = Effect.orDie(EventStore.append(CupEvent, "Cup-1", [CupFilled.make({ cup: "1" })]))
    const shared = yield* EventStore.EventStore
    let conflicts = 2
    let isLocked = false
    const readStream: EventStoreDriver["readStream"] = (page) => {
      const read = driver.readStream(page)
      return isLocked && !Deferred.isDoneUnsafe(reading)
        ? Effect.tap(read, () => Effect.andThen(Deferred.succeed(reading, undefined), Deferred.await(mayEnd)))
        : read
    }
    const store = yield* EventStore.make({
      ...driver,
      readStream,
      lockStream: () => {
        isLocked = true
        return lostLock
      },
      append: (request) =>
        conflicts-- > 0
          ? Effect.andThen(Effect.provideService(byOther, EventStore.EventStore, shared), driver.append(request))
          : driver.append(request)
    })
    yield* Effect.gen(function*() {
      const first = yield* Effect.forkChild(fill, { startImmediately: true })
      yield* Deferred.await(reading)
      yield* byOther
      const second = yield* Effect.forkChild(fill, { startImmediately: true })
      yield* Deferred.succeed(mayEnd, undefined)
      const versions = [(yield* Fiber.join(first)).version, (yield* Fiber.join(second)).version]
      assert.deepStrictEqual(versions.map(Number), [2, 3])
    }).pipe(Effect.provide(Layer.provide(Aggregate.layer(Cup), Layer.succeed(EventStore.EventStore, store))))
  }).pipe(Effect.provide(EventStore.layerMemory)))
