/** What the commands of an effect share, and what they do not. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { CommandContext } from "evsrc"

describe("CommandContext.provide", () => {
  it.effect("shares neither the id nor the expected version of one command, which a variable may have", () =>
    Effect.gen(function*() {
      const context: CommandContext.CommandContext = { commandId: "c-1", expected: "noStream", actor: "ann" }
      // Handlers that RpcServer calls read the context as it is here; CommandBus.dispatch is not involved.
      const inside = yield* CommandContext.provide(context)(CommandContext.CommandContext)
      assert.deepStrictEqual(inside, { actor: "ann" })
    }))

  it.effect("adds to the context around it", () =>
    Effect.gen(function*() {
      const inside = yield* Effect.map(CommandContext.CommandContext, (context) => context).pipe(
        CommandContext.provide({ actor: "ann", causationId: undefined }),
        CommandContext.provide({ actor: "bob", correlationId: "request-8", causationId: "e-1" })
      )
      assert.deepStrictEqual(inside, { actor: "ann", correlationId: "request-8", causationId: "e-1" })
    }))
})
