/** The seats of a theatre, as docs/decisions.md defines them. */
import { Result, Schema } from "effect"
import { Aggregate, Command, Decision, Event } from "evsrc"

export const show = Schema.NonEmptyString
export const guest = Schema.NonEmptyString

export const SeatEvent = Schema.TaggedUnion({
  ShowPlanned: { show, seats: Schema.Int },
  SeatReserved: { show, guest }
}).pipe(Event.tags({ show: "show", guest: "guest" }))

export class SoldOut extends Schema.TaggedError<SoldOut>()("SoldOut", { show }) {}
export class TooMany extends Schema.TaggedError<TooMany>()("TooMany", { guest }) {}

export const ReserveSeat = Command.make("ReserveSeat", {
  payload: { show, guest },
  error: Schema.Union([SoldOut, TooMany])
})

export const freeSeats = (show: string) =>
  Decision.model({
    events: SeatEvent,
    tags: { show },
    initial: 0,
    evolve: { ShowPlanned: (free, { seats }) => free + seats, SeatReserved: (free) => free - 1 }
  })

export const reservations = (guest: string) =>
  Decision.model({
    events: SeatEvent,
    tags: { guest },
    initial: 0,
    evolve: { SeatReserved: (count) => count + 1 }
  })

export const reserveSeat = Decision.make(ReserveSeat, {
  events: SeatEvent,
  stream: ({ show }) => `Show-${show}`,
  models: ({ guest, show }) => ({ free: freeSeats(show), taken: reservations(guest) }),
  decide: ({ free, taken }, command) => {
    if (free === 0) return Result.fail(new SoldOut({ show: command.show }))
    if (taken >= 2) return Result.fail(new TooMany({ guest: command.guest }))
    return [{ _tag: "SeatReserved", ...command }]
  }
})

export const Theatre = Decision.layer(reserveSeat)

export const ShowAggregate = Aggregate.make("Show", {
  id: "show",
  state: Schema.Int,
  events: SeatEvent,
  commands: [ReserveSeat]
})

export const ShowDecider = ShowAggregate.withModels({ ReserveSeat: ({ guest }) => ({ taken: reservations(guest) }) })
  .decider({
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
