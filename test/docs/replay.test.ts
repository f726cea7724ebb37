/** Executes the code of docs/replay.md. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Schema } from "effect"
import { Aggregate, Command, CommandBus, EventStore, KeyStore, PersonalData, Projection } from "evsrc"
import { Recording } from "evsrc/testing"

const member = { memberId: Schema.NonEmptyString }
const Name = Schema.NonEmptyString
const personalName = PersonalData.field(Name, { subject: "memberId" })

const MemberEvent = Schema.TaggedUnion({
  Joined: { ...member, name: personalName },
  Renamed: { ...member, name: personalName },
  Visited: { ...member, minutes: Schema.Int },
  Left: member
})
const { Joined, Left, Renamed, Visited } = MemberEvent.cases

const Join = Command.make("Join", { payload: { ...member, name: Name } })
const Rename = Command.make("Rename", { payload: { ...member, name: Name } })
const Visit = Command.make("Visit", { payload: { ...member, minutes: Schema.Int } })
const Leave = Command.make("Leave", { payload: member })

const MemberState = Schema.Struct({ active: Schema.Boolean, visits: Schema.Int })

const Member = Aggregate.make("Member", {
  id: "memberId",
  state: MemberState,
  events: MemberEvent,
  commands: [Join, Rename, Visit, Leave]
})

const behaviour: Parameters<typeof Member.decider>[0] = {
  initial: { active: false, visits: 0 },
  evolve: {
    Joined: (state) => ({ ...state, active: true }),
    Renamed: (state) => state,
    Visited: (state) => ({ ...state, visits: state.visits + 1 }),
    Left: (state) => ({ ...state, active: false })
  },
  decide: {
    Join: (state, command) => state.active ? [] : [Joined.make(command)],
    Rename: (state, command) => state.active ? [Renamed.make(command)] : [],
    Visit: (state, command) => state.active ? [Visited.make(command)] : [],
    Leave: (state, command) => state.active ? [Left.make(command)] : []
  }
}
const MemberDecider = Member.decider(behaviour)

const Members = Projection.make("members", {
  events: MemberEvent,
  document: Schema.Struct({ ...member, name: personalName, minutes: Schema.Int }),
  key: (event) => event.memberId,
  evolve: {
    Joined: (_, { memberId, name }) => ({ memberId, name, minutes: 0 }),
    Renamed: (before, { name }) => before && { ...before, name },
    Visited: (before, { minutes }) => before && { ...before, minutes: before.minutes + minutes },
    Left: () => Projection.remove
  }
})

const history = Effect.gen(function*() {
  for (const memberId of ["1", "2", "3"]) {
    yield* CommandBus.dispatch(Join, { memberId, name: "Ada" })
    yield* CommandBus.dispatch(Visit, { memberId, minutes: 30 })
  }
  yield* CommandBus.dispatch(Visit, { memberId: "1", minutes: 200 })
  yield* CommandBus.dispatch(Leave, { memberId: "2" })
  yield* CommandBus.dispatch(Join, { memberId: "2", name: "Ada" })
}).pipe(Effect.provide(Aggregate.layer(MemberDecider)))

const store = EventStore.layerMemory.pipe(Layer.provideMerge(KeyStore.layerMemory))

const record = (file: string) => {
  const lines = Recording.record({
    aggregates: [MemberDecider],
    projections: [Members],
    sample: { count: 500, seed: "spring" }
  })
  return Recording.save(file, lines)
}

/** A recording of the log, in a temporary directory. */
const recording = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/members.ndjson`
  yield* Effect.andThen(history, record(file)).pipe(Effect.provide(store))
  return file
})

/** Only longer visits count. */
const ChangedDecider = Member.decider({
  ...behaviour,
  evolve: {
    ...behaviour.evolve,
    Visited: (state, { minutes }) => minutes < 60 ? state : { ...state, visits: state.visits + 1 }
  }
})

/** The state has another name for its counter. */
const RenamedDecider = Aggregate.make("Member", {
  id: "memberId",
  state: Schema.Struct({ active: Schema.Boolean, visitCount: Schema.Int }),
  events: MemberEvent,
  commands: []
}).decider({
  initial: { active: false, visitCount: 0 },
  evolve: {
    Joined: (state) => ({ ...state, active: true }),
    Renamed: (state) => state,
    Visited: (state) => ({ ...state, visitCount: state.visitCount + 1 }),
    Left: (state) => ({ ...state, active: false })
  },
  decide: {}
})

const renamed = ({ visits, ...state }: typeof MemberState.Encoded) => ({ ...state, visitCount: visits })

describe("recorded history", () => {
  it.effect("replays without a difference, and holds no personal data", () =>
    Effect.gen(function*() {
      const file = yield* recording
      const report = yield* Recording.checkFile(file, { aggregates: [MemberDecider], projections: [Members] })
      assert.deepEqual(report.compared.map(({ items }) => items), [3, 3])
      assert.notInclude(yield* (yield* FileSystem.FileSystem).readFileString(file), "Ada")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  it.effect("shows the differences that a change makes", () =>
    Effect.gen(function*() {
      const file = yield* recording
      const error = yield* Effect.flip(
        Recording.checkFile(file, { aggregates: [ChangedDecider], projections: [Members] })
      )
      assert.include(
        error.message,
        `
replayed 9 events, recorded at 1970-01-01T00:00:00.000Z
aggregate Member: 3 of 3 streams differ, first after Visited (3)
  Member-1 differs from Visited (version 2, position 2, line 3):
    /visits: 1 → 0
    at the end:
      /visits: 2 → 1
  Member-2 differs from Visited (version 2, position 4, line 5):
    /visits: 1 → 0
    the same difference at the end
  Member-3 differs from Visited (version 2, position 6, line 7):
    /visits: 1 → 0
projection members: 0 of 3 documents differ
`
      )
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  it.effect("ignores a declared difference", () =>
    Effect.gen(function*() {
      const file = yield* recording
      const report = yield* Recording.checkFile(file, {
        aggregates: [RenamedDecider],
        projections: [Members],
        normalise: {
          aggregates: {
            Member: (state: typeof MemberState.Encoded, side) => side === "recorded" ? renamed(state) : state
          }
        }
      })
      assert.isTrue(Recording.isSame(report))
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  it.effect("is reported as JSON", () =>
    Effect.gen(function*() {
      const file = yield* recording
      const models = { aggregates: [ChangedDecider], projections: [Members] }
      const report = yield* Recording.replay(models, Recording.open(file))
      assert.deepEqual(
        report.differences.map(({ changes, from, id }) => [id, Number(from.version), changes]),
        [
          ["Member-1", 2, [{ op: "replace", path: "/visits", old: 2, value: 1 }]],
          ["Member-2", 2, [{ op: "replace", path: "/visits", old: 1, value: 0 }]],
          ["Member-3", 2, [{ op: "replace", path: "/visits", old: 1, value: 0 }]]
        ]
      )
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})
