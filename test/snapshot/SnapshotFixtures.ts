/**
 * Tallies in several program versions, and processes that count their store operations, for the snapshot suite.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import * as CommandBus from "../../src/command/CommandBus.ts"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import { StreamId } from "../../src/core/StreamId.ts"
import * as Version from "../../src/core/Version.ts"
import type { EventStoreDriver } from "../../src/eventStore/driver/EventStoreDriver.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import type { Snapshot } from "../../src/snapshot/SnapshotDriver.ts"
import type * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import * as SnapshotSigning from "../../src/snapshot/SnapshotSigning.ts"

const Added = { id: Schema.String, amount: Schema.Int }
const Sum = Schema.Struct({ sum: Schema.Int.check(Schema.isLessThan(1_000)) })

export const Add = Command.make("Add", { payload: Added })

/** The options in which a program version differs from the first one. */
export interface Program {
  readonly snapshots?: SnapshotPolicy.Policy
  readonly evolveVersion?: number
  readonly weight?: number
  readonly initial?: number
}

const behaviour = ({ initial = 0, weight = 1, ...options }: Program) => ({
  ...options,
  initial: { sum: initial },
  evolve: {
    Added: ({ sum }: typeof Sum.Type, { amount }: { readonly amount: number }) => ({ sum: sum + weight * amount })
  }
})

export const tally = (program: Program) =>
  Aggregate.make("Tally", { id: "id", state: Sum, events: Schema.TaggedUnion({ Added }), commands: [Add] }).decider({
    ...behaviour(program),
    decide: { Add: (_, { amount, id }) => [{ _tag: "Added", id, amount }] }
  })

/** A tally whose state has another field. */
export const countingTally = (program: Program) =>
  Aggregate.make("Tally", {
    id: "id",
    state: Schema.Struct({ sum: Schema.Int, count: Schema.Int }),
    events: Schema.TaggedUnion({ Added }),
    commands: [Add]
  }).decider({
    ...program,
    initial: { sum: 0, count: 0 },
    evolve: { Added: ({ count, sum }, { amount }) => ({ sum: sum + amount, count: count + 1 }) },
    decide: { Add: (_, { amount, id }) => [{ _tag: "Added", id, amount }] }
  })

/** A tally whose event has another Schema. */
export const notedTally = (program: Program) =>
  Aggregate.make("Tally", {
    id: "id",
    state: Sum,
    events: Schema.TaggedUnion({ Added: { ...Added, note: Schema.optionalKey(Schema.String) } }),
    commands: [Add]
  }).decider({
    ...behaviour(program),
    decide: { Add: (_, { amount, id }) => [{ _tag: "Added", id, amount }] }
  })

export type Tally = ReturnType<typeof tally>

export const add = (decider: Tally, id: string, amount: number) =>
  CommandBus.dispatch(Add, { id, amount }).pipe(Effect.provide(Aggregate.layer(decider)))

/** Returns the fold of all events, without cached states and snapshots. */
export const foldedState = (decider: Tally, id: string, options?: Aggregate.LoadOptions) =>
  Effect.flatMap(
    startProcess(),
    ({ run }) => run(Aggregate.load({ ...decider, stateSnapshots: undefined }, id, options))
  )

/**
 * Starts a process on the same log, without cached states. It counts its reads, can replace operations of the snapshot driver, and signs snapshots
 * if it has keys.
 *
 * - `read`: returns how many events it has read since the last call
 * - `calls`: returns the snapshot operations since the last call
 */
export const startProcess = Effect.fnUntraced(function*(
  change: (driver: Driver["snapshots"]) => Partial<Driver["snapshots"]> = () => ({}),
  keys?: ReadonlyArray<Redacted.Redacted>
) {
  const { driver } = (yield* EventStore.EventStore)[internals]
  let read = 0
  const calls: Array<string> = []
  const counted =
    <Args extends ReadonlyArray<unknown>, A>(name: string, call: (...args: Args) => A) => (...args: Args): A => {
      calls.push(name)
      return call(...args)
    }
  const snapshots = yield* SnapshotSigning.withKeys({ ...driver.snapshots, ...change(driver.snapshots) }, keys)
  const store = yield* EventStore.make({
    ...driver,
    readStream: (page) =>
      Effect.tap(driver.readStream(page), (events) => Effect.sync(() => void (read += events.length))),
    snapshots: {
      ...snapshots,
      read: counted("read", snapshots.read),
      write: counted("write", snapshots.write),
      discard: counted("discard", snapshots.discard)
    }
  })
  return {
    read: Effect.sync(() => {
      const events = read
      read = 0
      return events
    }),
    calls: Effect.sync(() => calls.splice(0)),
    settled: store[internals].snapshots.settled,
    run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, EventStore.EventStore, store)
  }
})

type Driver = EventStoreDriver

/** Returns the stored snapshot that the decider would use. */
export const storedSnapshot = Effect.fnUntraced(function*(decider: Tally, id: string) {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const found = yield* driver.snapshots.read({
    stream: StreamId.make(`Tally-${id}`),
    fingerprint: decider.stateSnapshots!.fingerprint
  })
  return Option.getOrUndefined(found)
})

/** A snapshot that no process has taken. */
export const fakeSnapshot = (
  stream: string,
  fingerprint: string,
  version: number,
  change: Partial<Snapshot> = {}
): Snapshot => ({
  stream: StreamId.make(stream),
  fingerprint,
  version: Version.make(version),
  position: Position.make(BigInt(version)),
  eventId: "00000000-0000-4000-8000-000000000000",
  state: `{"sum":666}`,
  takenAt: DateTime.makeUnsafe(0),
  ...change
})
