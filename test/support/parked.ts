/** What is parked, in tests that park few keys. */
import { Effect, Stream } from "effect"
import { type Consumer, Parking } from "evsrc"

export const parkedKeys = (consumer: Consumer.Consumer) => Stream.runCollect(Parking.stream(consumer))

export const parkingLog = (consumer: Consumer.Consumer) =>
  Effect.map(Parking.history(consumer, { limit: 1_000 }), ({ items }) => items)
