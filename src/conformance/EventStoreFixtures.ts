/**
 * Events and helpers of the event store suite.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ConcurrencyConflict, EventStoreError, type EventStoreErrorReason } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import type { Receipt } from "../core/Receipt.ts"
import { StreamId } from "../core/StreamId.ts"
import type * as Version from "../core/Version.ts"
import type { EncodedEvent, NewEvent } from "../event/RecordedEvent.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { equal, isAbove } from "./Suite.ts"

export const CartEvent = Schema.TaggedUnion({
  ItemAdded: { sku: Schema.String, quantity: Schema.Int },
  CheckedOut: { at: Schema.DateTimeUtc, note: Schema.optionalKey(Schema.String) }
})
export const added = (quantity: number, sku = "sku") => CartEvent.cases.ItemAdded.make({ sku, quantity })

/** Only one case writes this type, so that reads by type find nothing else. */
export const BellEvent = Schema.TaggedUnion({ BellRung: { n: Schema.Int } })
export const rung = (n: number) => BellEvent.cases.BellRung.make({ n })

export const append = (
  stream: string,
  quantities: ReadonlyArray<number>,
  expected: Version.Expected = "any",
  commandId?: string
): Effect.Effect<Receipt, ConcurrencyConflict | EventStoreError, EventStore> =>
  Effect.flatMap(EventStore, (store) =>
    store.append(CartEvent, stream, quantities.map((quantity) => added(quantity)), {
      expected,
      metadata: commandId === undefined ? {} : { commandId }
    }))

export const read = (stream: string, options?: Parameters<EventStore["Service"]["readStream"]>[2]) =>
  Effect.flatMap(EventStore, (store) => Stream.runCollect(store.readStream(CartEvent, stream, options)))

export const versionsOf = (events: ReadonlyArray<EncodedEvent>): ReadonlyArray<number> =>
  events.map((event) => event.version)

export const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** Fails unless there are events whose positions increase. */
export const ascending = (events: ReadonlyArray<{ readonly position: bigint }>, what: string): void => {
  isAbove(events.length, 0, `events, ${what}`)
  const positions = events.map(({ position }) => position)
  equal(positions, Array.from(new Set(positions)).toSorted((a, b) => a < b ? -1 : 1), what)
}

/** Runs all effects concurrently and returns their exits. */
export const race = <A, E, R>(
  effects: ReadonlyArray<Effect.Effect<A, E, R>>
): Effect.Effect<ReadonlyArray<Exit.Exit<A, E>>, never, R> =>
  Effect.forEach(effects, Effect.exit, { concurrency: "unbounded" })

export const conflictsOf = <A>(exits: ReadonlyArray<Exit.Exit<A, unknown>>): ReadonlyArray<ConcurrencyConflict> =>
  exits.flatMap((exit) => {
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    return error instanceof ConcurrencyConflict ? [error] : []
  })

export const rejection = <E extends { readonly _tag: string }, R>(
  effect: Effect.Effect<unknown, E | EventStoreError, R>
) =>
  Effect.map(
    Effect.flip(effect),
    (error): EventStoreErrorReason | E => error instanceof EventStoreError ? error.reason : error
  )

export const storedEvent = (type: string, schemaVersion: number, data: Schema.Json): NewEvent => ({
  id: globalThis.crypto.randomUUID(),
  type,
  schemaVersion,
  data: JSON.stringify(data),
  metadata: "{}"
})

export const appendStored = (stream: string, events: ReadonlyArray<NewEvent>) =>
  Effect.flatMap(
    EventStore,
    ({ [internals]: { driver } }) => driver.append({ stream: StreamId.make(stream), expected: "any", events })
  )
