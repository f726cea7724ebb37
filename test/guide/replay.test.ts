import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Schema } from "effect"
import { Aggregate, Command, CommandBus, EventStore, KeyStore, Personal, Projection } from "evsrc"
import { Recording } from "evsrc/testing"

const member = { memberId: Schema.NonEmptyString }
const Name = Schema.NonEmptyString
const personalName = Personal.field(Name, { subject: "memberId" })

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
    Left: () => undefined
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

/** A recording of the history, in a folder of its own. */
const recording = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/members.ndjson`
  yield* Effect.andThen(history, record(file)).pipe(Effect.provide(store))
  return file
})

describe("a recording", () => {
  it.effect("leads to the same in the same code, and has nothing of a person", () =>
    Effect.gen(function*() {
      const file = yield* recording
      const report = yield* Recording.checkFile(file, { aggregates: [MemberDecider], projections: [Members] })
      assert.deepEqual(report.compared.map(({ items }) => items), [3, 3])
      assert.notInclude(yield* (yield* FileSystem.FileSystem).readFileString(file), "Ada")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})
