/**
 * The suite of closed and archived instances of aggregates, which every back end passes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as StreamLifecycle from "../../src/archive/StreamLifecycle.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { rejection } from "../../src/conformance/EventStoreFixtures.ts"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import {
  AccountDecider,
  AccountEvent,
  accounts,
  Deposit,
  Open,
  type Stores,
  wealth
} from "../support/AccountFixtures.ts"

const last = (id: string, owner: string) => AccountEvent.cases.Withdrawn.make({ id, owner, amount: 0 })

/**
 * Commands, states and projections of closed instances.
 *
 * @since 0.1.0
 * @category suites
 */
export const closedInstances: ReadonlyArray<Case<Stores>> = [
  test("a closed instance can be loaded and rejects commands, also on a cached state", function*() {
    const [id, owner] = [unique("a"), unique("ann")]
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      const commandId = unique("command")
      const deposited = yield* CommandBus.dispatch(Deposit, { id, amount: 5 }, { commandId })
      yield* Aggregate.close(AccountDecider, id, last(id, owner))
      for (const archived of [false, true]) {
        if (archived) yield* StreamLifecycle.archive(`Account-${id}`)
        const error = yield* rejection(CommandBus.dispatch(Deposit, { id, amount: 1 }))
        equal(error._tag, "StreamClosed", "a command")
        equal(yield* CommandBus.dispatch(Deposit, { id, amount: 5 }, { commandId }), deposited, "an old command again")
        equal((yield* CommandBus.dispatch(Open, { id, owner })).events, [], "a command that has nothing to do")
        const { state, version } = yield* Aggregate.load(AccountDecider, id)
        equal([state.balance, version], [5, 3], "the state")
        const past = yield* Aggregate.load(AccountDecider, id, { atVersion: deposited.version })
        equal(past.version, deposited.version, "the state as it was")
      }
    }).pipe(Effect.provide(accounts))
  }),

  test("inline and async projections see the last event, new ones all archived events", function*() {
    const owner = unique("ann")
    const [id, other] = [unique("a"), unique("b")]
    const [now, later] = [wealth("inline"), wealth("async")]
    const inline = Projector.layerInline([now])
    const expected = { owner, total: 12, events: 5 }
    yield* Effect.gen(function*() {
      yield* CommandBus.dispatch(Open, { id, owner })
      yield* CommandBus.dispatch(Deposit, { id, amount: 5 })
      yield* CommandBus.dispatch(Open, { id: other, owner })
      yield* Aggregate.close(AccountDecider, id, last(id, owner))
      yield* StreamLifecycle.archive(`Account-${id}`)
      const receipt = yield* CommandBus.dispatch(Deposit, { id: other, amount: 7 })
      equal(yield* ProjectionStore.get(now, owner), Option.some(expected), "inline")
      const { awaitPosition } = yield* ProjectionStore.ProjectionStore
      yield* awaitPosition(later, receipt.position, "1 minute").pipe(
        Effect.provide(Projector.layer([later]))
      )
      equal(yield* ProjectionStore.get(later, owner), Option.some(expected), "built later")
      yield* rejection(CommandBus.dispatch(Deposit, { id, amount: 1 }))
      equal(yield* ProjectionStore.get(now, owner), Option.some(expected), "a refused command projects nothing")
    }).pipe(Effect.provide(accounts.pipe(Layer.provideMerge(inline))))
  })
]
