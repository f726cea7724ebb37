/**
 * The suite of values that a Schema may change: what is stored is read back equal, or is rejected with the name of the field.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { type Case, equal, includes, ok, test, unique } from "../../src/conformance/Suite.ts"
import * as AsOf from "../../src/core/AsOf.ts"
import * as Version from "../../src/core/Version.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import * as Query from "../../src/query/Query.ts"
import * as QueryBus from "../../src/query/QueryBus.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import * as TimeTravel from "../../src/timeTravel/TimeTravel.ts"
import { startProcess } from "../snapshot/SnapshotFixtures.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { Lowercase, samples } from "./RoundTripSamples.ts"

const Method = Schema.Union([
  Schema.Struct({ iban: Schema.String }),
  Schema.Struct({ iban: Schema.String, limit: Schema.Int })
])
const Limit = { id: Schema.String, iban: Schema.String, limit: Schema.Int }
const LimitSet = Schema.TaggedUnion({ LimitSet: Limit })
const SetLimit = Command.make("SetLimit", { payload: Limit })

/** An account whose state is a union with an earlier member that has fewer fields. */
const account = () =>
  Aggregate.make("Limit", { id: "id", state: Schema.NullOr(Method), events: LimitSet, commands: [SetLimit] }).decider({
    initial: null,
    snapshots: SnapshotPolicy.every(1),
    evolve: { LimitSet: (_, { iban, limit }) => ({ iban, limit }) },
    decide: { SetLimit: (_, command) => [{ _tag: "LimitSet", ...command }] }
  })

const RegistrationEvent = Schema.TaggedUnion({ Registered: { userId: Schema.String, email: Schema.String } }).pipe(
  Event.tags({ email: "email" })
)
class Taken extends Schema.TaggedError<Taken>()("Taken", {}) {}
const Register = Command.make("Register", { payload: { userId: Schema.String, email: Lowercase }, error: Taken })
const registration = Decision.layer(Decision.make(Register, {
  events: RegistrationEvent,
  models: ({ email }) => ({
    taken: Decision.model({
      events: RegistrationEvent,
      tags: { email },
      initial: 0,
      evolve: { Registered: (n) => n + 1 }
    })
  }),
  decide: ({ taken }, command) =>
    taken > 0 ? Result.fail(new Taken()) : [RegistrationEvent.cases.Registered.make(command)]
}))
const FindUser = Query.make("FindUser", { payload: { email: Lowercase }, success: Schema.String })

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

/**
 * Cases on values that a Schema may change.
 *
 * @since 0.1.0
 * @category suites
 */
export const roundTrips: ReadonlyArray<Case<Stores>> = [
  test("an event is read back equal, or rejected with the name of its field", function*() {
    for (const [name, { changed, kept, schema }] of Object.entries(samples)) {
      const Kept = Schema.TaggedUnion({ Kept: { value: schema } })
      const stream = unique("Kept")
      yield* EventStore.append(Kept, stream, kept.map((value) => ({ _tag: "Kept" as const, value })))
      for (const [value, pointer] of changed) {
        const error = yield* Effect.flip(EventStore.append(Kept, stream, [{ _tag: "Kept", value }]))
        equal(error._tag === "EventStoreError" ? error.reason._tag : error._tag, "InvalidRequest", name)
        includes(error.message, `event "Kept": "/value${pointer}" would be read back as another value`, name)
      }
      const read = yield* Stream.runCollect(EventStore.readStream(Kept, stream))
      equal(read.map(({ event }) => event.value), kept, name)
    }
  }),

  test("a document that would be read back as another one is rejected", function*() {
    const Made = Schema.TaggedUnion({ Made: { id: Schema.String } })
    for (const { changed, schema } of Object.values(samples)) {
      for (const [value, pointer] of changed) {
        const projection = Projection.make(unique("changed"), {
          events: Made,
          lifecycle: "inline",
          where: { streamPrefix: "Changed" },
          document: Schema.Struct({ value: schema }),
          key: ({ id }) => id,
          evolve: { Made: () => ({ value }) }
        })
        const error = yield* EventStore.append(Made, unique("Changed"), [{ _tag: "Made", id: "1" }]).pipe(
          Effect.flip,
          Effect.provide(Layer.fresh(Projector.layerInline([projection])))
        )
        includes(error.message, `"/value${pointer}" would be read back as another value`, "the message of a document")
      }
    }
  }),

  test("a live document that would be read back as another one fails", function*() {
    const id = unique("limit")
    yield* EventStore.append(LimitSet, id, [{ _tag: "LimitSet", id, iban: "x", limit: 5 }])
    const error = yield* Effect.flip(ProjectionStore.get(
      Projection.make(unique("live"), {
        events: LimitSet,
        lifecycle: "live",
        document: Method,
        key: (event) => event.id,
        evolve: { LimitSet: (_, { iban, limit }) => ({ iban, limit }) }
      }),
      id
    ))
    includes(messageOf(error), `"/limit" would be read back as another value`, "the error")
  }),

  test("a state that would be read back as another one has no snapshot", function*() {
    const id = unique("limit")
    const first = yield* startProcess()
    yield* first.run(
      CommandBus.dispatch(SetLimit, { id, iban: "x", limit: 5 }).pipe(Effect.provide(Aggregate.layer(account())))
    )
    yield* first.settled
    equal((yield* first.calls).filter((call) => call === "write"), [], "the snapshots that were written")
    const second = yield* startProcess()
    const { state } = yield* second.run(Aggregate.load(account(), id))
    equal(state, { iban: "x", limit: 5 }, "the state in another process")
  }),

  test("a payload that is not as its Schema decodes it is rejected", function*() {
    const user = unique("user")
    const register = (email: string) =>
      Effect.provide(CommandBus.dispatch(Register, { userId: user, email: `${user}@${email}` }), registration)
    const invalid = yield* Effect.flip(register("X"))
    equal(invalid._tag, "InvalidCommand", "the error")
    includes(invalid.message, `"/email" would have another value once it is encoded and decoded`, "the message")
    yield* register("x")
    equal((yield* Effect.flip(register("x")))._tag, "Taken", "the second registration")
    const find = QueryBus.handler(FindUser, ({ email }) => Effect.succeed(email))
    const query = yield* Effect.flip(Effect.provide(QueryBus.ask(FindUser, { email: "A@x" }), find))
    equal(query._tag, "InvalidQuery", "the error of a query")
    includes(query.message, `"/email"`, "the message of a query")
  }),

  test("an id that is not as the commands decode it is rejected by loads", function*() {
    const Touch = Command.make("Touch", { payload: { id: Lowercase, note: Schema.String } })
    const decider = Aggregate.make("Touched", {
      id: "id",
      state: Schema.Int,
      events: Schema.TaggedUnion({ TouchedOnce: { id: Schema.String } }),
      commands: [Touch]
    }).decider({
      initial: 0,
      evolve: { TouchedOnce: (n) => n + 1 },
      decide: { Touch: (_, { id }) => [{ _tag: "TouchedOnce", id }] }
    })
    const id = unique("touched")
    yield* Effect.provide(CommandBus.dispatch(Touch, { id, note: "" }), Aggregate.layer(decider))
    equal((yield* Aggregate.load(decider, id)).state, 1, "the state")
    for (
      const read of [
        Aggregate.load(decider, id.toUpperCase()),
        Aggregate.load(decider, id.toUpperCase(), { atVersion: Version.make(1) }),
        TimeTravel.aggregate(decider, id.toUpperCase(), AsOf.now)
      ]
    ) {
      const error = yield* Effect.flip(read)
      includes(error.message, `the id "${id.toUpperCase()}" of "Touched" is not in the form`, "the message")
    }
  }),

  test("a command id is not reused for a payload that differs in a field which its Schema loses", function*() {
    const Change = Command.make("Change", { payload: { id: Schema.String, method: Method } })
    const decider = Aggregate.make("Change", { id: "id", state: Schema.Int, events: LimitSet, commands: [Change] })
      .decider({
        initial: 0,
        evolve: { LimitSet: (_, { limit }) => limit },
        decide: {
          Change: (_, { id, method }) => [
            { _tag: "LimitSet", id, iban: method.iban, limit: "limit" in method ? method.limit : 0 }
          ]
        }
      })
    const id = unique("change")
    const change = (limit: number) =>
      CommandBus.dispatch(Change, { id, method: { iban: "x", limit } }, { commandId: id }).pipe(
        Effect.provide(Aggregate.layer(decider))
      )
    for (const limit of [5, 7_000]) {
      const outcome = yield* Effect.exit(change(limit))
      ok(Exit.isFailure(outcome), "the command fails")
      includes(String(outcome), `"/method/limit" would have another value`, "the error")
    }
  })
]
