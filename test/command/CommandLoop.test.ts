/** The loop of a command: it ends, whatever the command decides. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import * as CommandLoop from "../../src/command/CommandLoop.ts"

interface Base extends CommandLoop.Base {
  readonly version: number
}

/** A command that has no events on what the process knows, and some on what the log has by then. */
const alternating = (maxDecisions: number) => {
  let decisions = 0
  const command = CommandLoop.make<CommandLoop.Turn, Base, string, string, number>({
    inTurn: (effect) => effect(CommandLoop.turnOf(() => {})),
    load: (_, version) => Effect.succeed({ version, isCurrent: false }),
    decide: ({ version }) => {
      if (++decisions > maxDecisions) throw new Error("The loop does not end")
      return version % 2 === 0
        ? { events: [], end: Effect.die("No log had this base") }
        : { events: ["e"], end: undefined }
    },
    verify: (turn, { version }) => {
      turn.pass()
      return Effect.succeed({ version: version + 1, isCurrent: true })
    },
    sync: () => Effect.die("The turn has passed"),
    reload: ({ version }) => version + 1,
    alternates: (before, current) => `${current.version - before.version} behind`
  }, 0)
  return { command, decisions: () => decisions }
}

it.effect("a decision that alternates between events and none ends with a conflict", () =>
  Effect.gen(function*() {
    const { command, decisions } = alternating(1_000)
    assert.strictEqual(yield* Effect.flip(command), "1 behind")
    assert.isAtMost(decisions(), 64)
  }))

it.effect("a retry decides it as often again", () =>
  Effect.gen(function*() {
    const { command, decisions } = alternating(1_000)
    yield* Effect.flip(command)
    const first = decisions()
    yield* Effect.flip(command)
    assert.strictEqual(decisions(), first * 2)
    yield* Effect.flip(Effect.retry(command, Schedule.recurs(2)))
    assert.strictEqual(decisions(), first * 5)
  }))
