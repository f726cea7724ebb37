/**
 * Fixtures of time travel: safes with contents, and owners with several safes.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import { unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Decision from "../../src/decision/Decision.ts"
import * as Event from "../../src/event/Event.ts"
import type { RecordedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as SnapshotPolicy from "../../src/snapshot/SnapshotPolicy.ts"
import { upTo } from "../support/AccountFixtures.ts"

const safe = { run: Schema.String, safe: Schema.String, owner: Schema.String }

export const SafeEvent = Schema.TaggedUnion({
  SafeOpened: safe,
  SafeFilled: { ...safe, amount: Schema.Int },
  Taken: { ...safe, amount: Schema.Int },
  Looked: safe,
  Smashed: safe
}).pipe(Event.tags({ run: "run", safe: "safe", owner: "owner" }))
export type SafeEvent = typeof SafeEvent.Type

export class NotOpen extends Schema.TaggedError<NotOpen>()("NotOpen", { safe: Schema.String }) {}
export class TooLittle extends Schema.TaggedError<TooLittle>()("TooLittle", { inside: Schema.Int }) {}

export const OpenSafe = Command.make("OpenSafe", { payload: safe })
export const Fill = Command.make("Fill", {
  payload: { ...safe, amount: Schema.Int.check(Schema.isGreaterThan(0)) },
  error: NotOpen
})
export const Take = Command.make("Take", {
  payload: { ...safe, amount: Schema.Int },
  error: Schema.Union([NotOpen, TooLittle])
})

const SafeState = Schema.Struct({
  open: Schema.Boolean,
  inside: Schema.Int,
  last: Schema.Option(Schema.Int),
  log: Schema.Array(Schema.String)
})
type SafeState = typeof SafeState.Type

export const Safe = Aggregate.make("Safe", {
  id: "safe",
  state: SafeState,
  events: SafeEvent,
  commands: [OpenSafe, Fill, Take]
})

const changed = (s: SafeState, amount: number): SafeState => ({
  open: true,
  inside: s.inside + amount,
  last: Option.some(amount),
  log: [...s.log, `${amount}`].slice(-4)
})

const empty: SafeState = { open: false, inside: 0, last: Option.none(), log: [] }

const { SafeFilled, SafeOpened, Taken } = SafeEvent.cases

const behaviour: Parameters<typeof Safe.decider>[0] = {
  initial: empty,
  evolve: {
    SafeOpened: (s) => ({ ...s, open: true }),
    SafeFilled: (s, { amount }) => changed(s, amount),
    Taken: (s, { amount }) => changed(s, -amount),
    Looked: (s) => s,
    Smashed: () => empty
  },
  decide: {
    OpenSafe: (s, c) => s.open ? [] : [SafeOpened.make(c)],
    Fill: (s, c) => s.open ? [SafeFilled.make(c)] : Result.fail(new NotOpen({ safe: c.safe })),
    Take: (s, c) =>
      !s.open
        ? Result.fail(new NotOpen({ safe: c.safe }))
        : s.inside < c.amount
        ? Result.fail(new TooLittle({ inside: s.inside }))
        : [Taken.make(c)]
  }
}
export const SafeDecider = Safe.decider(behaviour)

/** The same decider with snapshots. */
export const SnapshottingDecider = Safe.decider({ ...behaviour, snapshots: SnapshotPolicy.every(4) })

/** The same with a changed `evolve` but an unchanged `evolveVersion`, so its states have the same fingerprint. */
export const ChangedEvolveDecider = Safe.decider({
  ...behaviour,
  snapshots: SnapshotPolicy.every(4),
  evolve: { ...behaviour.evolve, SafeFilled: (s, { amount }) => changed(s, 2 * amount) }
})

/** The same contract with another rule: every withdrawal is doubled. */
export const DoublingDecider = Safe.decider({
  ...behaviour,
  decide: {
    ...behaviour.decide,
    Take: (s, c) => s.open ? [Taken.make(c), Taken.make(c)] : Result.fail(new NotOpen({ safe: c.safe }))
  }
})

export class Poor extends Schema.TaggedError<Poor>()("Poor", { owned: Schema.Int, safes: Schema.Int }) {}

/** Takes an amount that all safes of an owner together contain, and opens a safe of the state. */
export const Tax = Command.make("Tax", { payload: { ...safe, amount: Schema.Int }, error: Poor })

const ofOwner = (owner: string) =>
  Decision.model({
    events: SafeEvent,
    tags: { owner },
    initial: 0,
    evolve: { SafeFilled: (sum, { amount }) => sum + amount, Taken: (sum, { amount }) => sum - amount }
  })

const safesOf = (owner: string) =>
  Decision.model<typeof SafeEvent, ReadonlySet<string>>({
    events: SafeEvent,
    tags: { owner },
    initial: new Set(),
    state: Schema.ReadonlySet(Schema.String),
    evolve: { SafeOpened: (safes, { safe }) => new Set([...safes, safe]) }
  })

export const taxing = Decision.make(Tax, {
  events: SafeEvent,
  models: ({ owner }) => ({ owned: ofOwner(owner), safes: safesOf(owner) }),
  decide: ({ owned, safes }, c) =>
    owned < c.amount
      ? Result.fail(new Poor({ owned, safes: safes.size }))
      : safes.size === 0
      ? []
      : [Taken.make(c), SafeOpened.make({ run: c.run, safe: `${c.safe}!`, owner: `${c.owner}!` })]
})

/** A decision without a Schema, whose state is not JSON. */
export const unschemed = Decision.make(Tax, {
  events: SafeEvent,
  models: ({ owner }) => ({ safes: { ...safesOf(owner), state: undefined } }),
  decide: () => []
})

export const Owned = Schema.Struct({
  key: Schema.String,
  sum: Schema.Int,
  last: Schema.Option(Schema.Int),
  events: Schema.Int
})

const owned = (before: typeof Owned.Type | undefined, key: string, amount: number): typeof Owned.Type => ({
  key,
  sum: (before?.sum ?? 0) + amount,
  last: amount === 0 ? before?.last ?? Option.none() : Option.some(amount),
  events: (before?.events ?? 0) + 1
})

/** The contents of each safe, and of all safes of an owner. A smashed safe deletes both documents. */
export const ownedProjections = (run: string) => {
  const name = unique("owned")
  type Before = typeof Owned.Type | undefined
  const options = {
    events: SafeEvent,
    document: Owned,
    where: { tags: [Event.tag("run", run)] },
    key: ({ owner, safe }: SafeEvent) => [safe, owner],
    evolve: {
      SafeOpened: (before: Before, _: unknown, _record: unknown, key: string) => owned(before, key, 0),
      SafeFilled: (before: Before, e: { readonly amount: number }, _: unknown, key: string) =>
        owned(before, key, e.amount),
      Taken: (before: Before, e: { readonly amount: number }, _: unknown, key: string) => owned(before, key, -e.amount),
      Looked: Projection.ignore,
      Smashed: () => Projection.remove
    }
  } as const
  return {
    inline: Projection.make(`${name}-inline`, { ...options, lifecycle: "inline" }),
    async: Projection.make(`${name}-async`, { ...options, lifecycle: "async" }),
    live: Projection.make(`${name}-live`, { ...options, lifecycle: "live" }),
    found: Projection.make(`${name}-found`, {
      ...options,
      lifecycle: "live",
      find: (owner) => [{ tags: [Event.tag("owner", owner)] }]
    })
  } as const
}

/** Returns a generator of numbers below `n`, determined by the seed. */
export const randomOf = (seed: number) => {
  let state = seed
  return (n: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * n)
  }
}

/** Returns one to three random events of one of three safes, which two owners share. */
export const randomBatch = (run: string, below: (n: number) => number): ReadonlyArray<SafeEvent> => {
  const number = below(3)
  const event = { run, safe: `${run}-${number}`, owner: `${run}-owner-${below(2)}` }
  return upTo(1 + below(3)).map((): SafeEvent => {
    switch (below(9)) {
      case 0:
        return { _tag: "Smashed", ...event }
      case 1:
        return { _tag: "Looked", ...event }
      case 2:
        return { _tag: "SafeOpened", ...event }
      case 3:
      case 4:
        return { _tag: "Taken", ...event, amount: below(20) }
      default:
        return { _tag: "SafeFilled", ...event, amount: below(100) }
    }
  })
}

export const safesIn = (run: string): ReadonlyArray<string> => [0, 1, 2].map((n) => `${run}-${n}`)
export const ownersIn = (run: string): ReadonlyArray<string> => [0, 1].map((n) => `${run}-owner-${n}`)

export const appendBatch = Effect.fnUntraced(function*(batch: ReadonlyArray<SafeEvent>) {
  const store = yield* EventStore.EventStore
  return yield* store.append(SafeEvent, Safe.streamOf(batch[0]!.safe), batch)
})

/** Appends random events. */
export const appendRandom = (run: string, seed: number, appends: number) => {
  const below = randomOf(seed)
  return Effect.forEach(upTo(appends), () => appendBatch(randomBatch(run, below)))
}

/** Returns the events of a run in the order of the log. */
export const eventsIn = (run: string) =>
  Effect.flatMap(
    EventStore.EventStore,
    (store) => Stream.runCollect(store.readAll(SafeEvent, { where: { tags: [Event.tag("run", run)] } }))
  )

/** Returns a store with the same log but other recorded times. */
export const recordedAt = Effect.fnUntraced(function*(timeOf: (event: RecordedEvent<unknown>["position"]) => number) {
  const { driver } = (yield* EventStore.EventStore)[internals]
  const retimed = <E extends { readonly position: RecordedEvent<unknown>["position"] }>(events: ReadonlyArray<E>) =>
    events.map((event) => ({ ...event, recordedAt: DateTime.makeUnsafe(timeOf(event.position)) }))
  return yield* EventStore.make({
    ...driver,
    readStream: (page) => Effect.map(driver.readStream(page), retimed),
    readAll: (page) => Effect.map(driver.readAll(page), (read) => ({ ...read, events: retimed(read.events) })),
    readByQuery: (page) => Effect.map(driver.readByQuery(page), (read) => ({ ...read, events: retimed(read.events) }))
  })
})
