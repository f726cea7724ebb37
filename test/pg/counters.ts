/** Counters whose events show on which events they were decided. */
import { assert } from "@effect/vitest"
import { Result, Schema } from "effect"
import { Aggregate, Command } from "evsrc"

/** Each event has the count on which it was decided, and the command of the event before it. Each rejection has the count. */
export const CounterEvent = Schema.TaggedUnion({
  Counted: { counter: Schema.String, before: Schema.Int, behind: Schema.String, from: Schema.String }
})

export class Refused extends Schema.TaggedError<Refused>()("Refused", { count: Schema.Int }) {}

export const Count = Command.make("Count", {
  payload: { counter: Schema.String, times: Schema.Int, from: Schema.String },
  error: Refused
})

export const Counter = Aggregate.make("Counter", {
  id: "counter",
  state: Schema.Struct({ count: Schema.Int, last: Schema.String }),
  events: CounterEvent,
  commands: [Count]
}).decider({
  initial: { count: 0, last: "" },
  evolve: { Counted: ({ count }, { from }) => ({ count: count + 1, last: from }) },
  decide: {
    Count: ({ count, last }, { counter, from, times }) => {
      if (times === 0) return Result.fail(new Refused({ count }))
      if (times > 3) throw new Error("broken")
      return Array.from(
        { length: times },
        (_, i) => CounterEvent.cases.Counted.make({ counter, before: count + i, behind: i === 0 ? last : from, from })
      )
    }
  }
})

/** Asserts that each event of a counter was decided on all events before it. Returns the events of each command. */
export const judgeEvents = (events: ReadonlyArray<typeof CounterEvent.Type>) => {
  let last = ""
  for (const [index, event] of events.entries()) {
    assert.strictEqual(event.before, index, "each event was decided on as many as are before it")
    assert.strictEqual(event.behind, last, "each event was decided on those that are before it")
    last = event.from
  }
  return Map.groupBy(events, ({ from }) => from)
}
