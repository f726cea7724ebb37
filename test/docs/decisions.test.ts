/** Executes the code of docs/decisions.md. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Result, Schema } from "effect"
import { Aggregate, Command, CommandBus, Decision, Event, EventQuery, EventStore } from "evsrc"

const show = Schema.NonEmptyString
const guest = Schema.NonEmptyString

const SeatEvent = Schema.TaggedUnion({
  ShowPlanned: { show, seats: Schema.Int },
  SeatReserved: { show, guest }
}).pipe(Event.tags({ show: "show", guest: "guest" }))

class SoldOut extends Schema.TaggedError<SoldOut>()("SoldOut", { show }) {}
class TooMany extends Schema.TaggedError<TooMany>()("TooMany", { guest }) {}

const ReserveSeat = Command.make("ReserveSeat", {
  payload: { show, guest },
  error: Schema.Union([SoldOut, TooMany])
})

const freeSeats = (show: string) =>
  Decision.model({
    events: SeatEvent,
    tags: { show },
    initial: 0,
    evolve: { ShowPlanned: (free, { seats }) => free + seats, SeatReserved: (free) => free - 1 }
  })

const reservations = (guest: string) =>
  Decision.model({
    events: SeatEvent,
    tags: { guest },
    initial: 0,
    evolve: { SeatReserved: (count) => count + 1 }
  })

const reserveSeat = Decision.make(ReserveSeat, {
  events: SeatEvent,
  stream: ({ show }) => `Show-${show}`,
  models: ({ guest, show }) => ({ free: freeSeats(show), taken: reservations(guest) }),
  decide: ({ free, taken }, command) => {
    if (free === 0) return Result.fail(new SoldOut({ show: command.show }))
    if (taken >= 2) return Result.fail(new TooMany({ guest: command.guest }))
    return [{ _tag: "SeatReserved", ...command }]
  }
})

const Theatre = Decision.layer(reserveSeat)

const ShowAggregate = Aggregate.make("Show", {
  id: "show",
  state: Schema.Int,
  events: SeatEvent,
  commands: [ReserveSeat]
})

const ShowDecider = ShowAggregate.withModels({ ReserveSeat: ({ guest }) => ({ taken: reservations(guest) }) }).decider({
  initial: 0,
  evolve: { ShowPlanned: (free, { seats }) => free + seats, SeatReserved: (free) => free - 1 },
  decide: {
    ReserveSeat: (free, command, { taken }) => {
      if (free === 0) return Result.fail(new SoldOut({ show: command.show }))
      if (taken >= 2) return Result.fail(new TooMany({ guest: command.guest }))
      return [{ _tag: "SeatReserved", ...command }]
    }
  }
})

layer(Theatre.pipe(Layer.provideMerge(EventStore.layerMemory)))("a decision", (it) => {
  it.effect("lets exactly as many guests in as there are seats", () =>
    Effect.gen(function*() {
      yield* EventStore.append(SeatEvent, "Show-hamlet", [{ _tag: "ShowPlanned", show: "hamlet", seats: 2 }])

      const guests = ["ann", "bob", "cem", "dea"]
      const results = yield* Effect.forEach(
        guests,
        (guest) => Effect.result(CommandBus.dispatch(ReserveSeat, { show: "hamlet", guest })),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(results.filter(Result.isSuccess).length, 2)
    }))

  it.effect("counts the reservations of a guest over all shows", () =>
    Effect.gen(function*() {
      yield* EventStore.append(SeatEvent, "Show-faust", [{ _tag: "ShowPlanned", show: "faust", seats: 9 }])
      yield* CommandBus.dispatch(ReserveSeat, { show: "faust", guest: "eve" })
      yield* CommandBus.dispatch(ReserveSeat, { show: "faust", guest: "eve" })
      const error = yield* Effect.flip(CommandBus.dispatch(ReserveSeat, { show: "faust", guest: "eve" }))
      assert.strictEqual(error._tag, "TooMany")
    }))

  it.effect("rests on an append condition", () =>
    Effect.gen(function*() {
      const query = EventQuery.make(SeatEvent, [{ types: ["SeatReserved"], tags: [Event.tag("guest", "fay")] }])
      const { condition, events } = yield* EventStore.readByQuery(query)
      assert.strictEqual(events.length, 0)
      yield* EventStore.appendIf(condition, SeatEvent, "Guest-fay", [{
        _tag: "SeatReserved",
        show: "faust",
        guest: "fay"
      }])
      const failed = yield* Effect.flip(
        EventStore.appendIf(condition, SeatEvent, "Guest-fay", [{ _tag: "SeatReserved", show: "lear", guest: "fay" }])
      )
      assert.strictEqual(failed._tag, "AppendConditionFailed")
    }))
})

layer(Aggregate.layer(ShowDecider).pipe(Layer.provideMerge(EventStore.layerMemory)))(
  "an aggregate with models",
  (it) => {
    it.effect("rejects a third reservation of a guest, over all shows", () =>
      Effect.gen(function*() {
        for (const show of ["hamlet", "faust", "lear"]) {
          yield* EventStore.append(SeatEvent, `Show-${show}`, [{ _tag: "ShowPlanned", show, seats: 9 }])
        }
        const reserve = (show: string) => CommandBus.dispatch(ReserveSeat, { show, guest: "eve" })
        assert.strictEqual((yield* reserve("hamlet")).stream, "Show-hamlet")
        yield* reserve("faust")
        assert.strictEqual((yield* Effect.flip(reserve("lear")))._tag, "TooMany")
      }))
  }
)
