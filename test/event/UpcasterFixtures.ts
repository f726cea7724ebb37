/**
 * A hotel in three releases of one program that share a log, for the runtime suite of upcasters.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/AggregateDefinition.ts"
import * as Command from "../../src/command/Command.ts"
import * as Event from "../../src/event/Event.ts"

/** `run` names the test, because all tests share one log. */
const guest = { run: Schema.String, guest: Schema.String }
const tags = { run: "run", guest: "guest" } as const
const versionOne = { ...guest, room: Schema.String, breakfast: Schema.Boolean }
const versionTwo = { ...guest, rooms: Schema.Array(Schema.String) }

export const First = Schema.TaggedUnion({
  GuestCame: guest,
  GuestGreeted: guest,
  RoomBooked: versionOne
}).pipe(Event.tags(tags))

/** Splits breakfast off into its own event, allows several rooms per booking, and retires greetings. */
export const Second = Schema.TaggedUnion({
  GuestCame: guest,
  RoomBooked: versionTwo,
  BreakfastOrdered: guest
}).pipe(
  Event.upcasters({
    RoomBooked: Event.from(versionOne).splitInto(
      ["RoomBooked", "BreakfastOrdered"],
      ({ breakfast, guest, room, run }) => [
        { _tag: "RoomBooked", run, guest, rooms: [room] },
        ...breakfast ? [{ _tag: "BreakfastOrdered" as const, run, guest }] : []
      ]
    )
  }),
  Event.legacy({ GuestGreeted: Event.retired }),
  Event.tags(tags)
)

/** Renames `GuestCame` to `GuestArrived`, and adds the number of nights. */
export const Third = Schema.TaggedUnion({
  GuestArrived: { ...guest, by: Schema.Literals(["unknown", "train"]) },
  RoomBooked: { ...versionTwo, nights: Schema.Int },
  BreakfastOrdered: guest
}).pipe(
  Event.upcasters({
    RoomBooked: Event.from(versionOne)
      .splitInto(["RoomBooked", "BreakfastOrdered"], ({ breakfast, guest, room, run }) => [
        { _tag: "RoomBooked", run, guest, rooms: [room], nights: 1 },
        ...breakfast ? [{ _tag: "BreakfastOrdered" as const, run, guest }] : []
      ])
      .from(versionTwo)
      .toCurrent((v2) => {
        if (v2.rooms.includes("13")) throw new Error("there is no room 13")
        return { ...v2, nights: 1 }
      })
  }),
  Event.legacy({
    GuestCame: Event.from(guest).renamedTo("GuestArrived", (e) => ({ ...e, by: "unknown" })),
    GuestGreeted: Event.retired
  }),
  Event.tags(tags)
)

export type Third = typeof Third.Type

/** Returns the event as a sentence, which is the same in every release. */
export const sentenceOf = (event: typeof First.Type | typeof Second.Type | Third): string => {
  switch (event._tag) {
    case "RoomBooked":
      return `${event.guest} booked ${"rooms" in event ? event.rooms.join("+") : event.room}`
    case "BreakfastOrdered":
      return `${event.guest} wants breakfast`
    case "GuestGreeted":
      return `${event.guest} was greeted`
    case "GuestCame":
    case "GuestArrived":
      return `${event.guest} arrived`
  }
}

export const Book = Command.make("Book", { payload: { run: Schema.String, guest: Schema.String, room: Schema.String } })

const Sentences = Schema.Array(Schema.String)

export const FirstHotel = Aggregate.make("Hotel", { id: "run", state: Sentences, events: First, commands: [Book] })
  .decider({
    initial: [],
    evolve: {
      GuestCame: (s, e) => [...s, sentenceOf(e)],
      GuestGreeted: (s, e) => [...s, sentenceOf(e)],
      RoomBooked: (s, e) => [...s, sentenceOf(e)]
    },
    decide: { Book: (_, c) => [First.cases.RoomBooked.make({ ...c, breakfast: false })] }
  })

export const ThirdHotel = Aggregate.make("Hotel", { id: "run", state: Sentences, events: Third, commands: [Book] })
  .decider({
    initial: [],
    evolve: {
      GuestArrived: (s, e) => [...s, sentenceOf(e)],
      RoomBooked: (s, e) => [...s, sentenceOf(e)],
      BreakfastOrdered: (s, e) => [...s, sentenceOf(e)]
    },
    decide: {
      Book: (_, { guest, room, run }) => [Third.cases.RoomBooked.make({ run, guest, rooms: [room], nights: 2 })]
    }
  })
