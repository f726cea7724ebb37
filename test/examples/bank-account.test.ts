import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { CommandBus, EventStore, ProjectionStore, QueryBus } from "evsrc"
import { DeciderSpec } from "evsrc/testing"
import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { resolve } from "node:path"
import { promisify } from "node:util"
import {
  Account,
  AccountEvent,
  Bank,
  Deposit,
  GetBalance,
  InsufficientFunds,
  NotOpen,
  Open,
  Withdraw
} from "../../examples/bank-account.ts"

const file = resolve(import.meta.dirname, "../../examples/bank-account.ts")

it("runs as a program", async () => {
  const { stderr, stdout } = await promisify(execFile)(process.execPath, ["--conditions=@evsrc/source", file])
  const lines = stdout.split("\n")
  const [first, last, ...others] = lines.filter((line) => line.includes(" INFO "))
  assert.match(first!, /: Projector\.layer runs balances@1 \{.*\}$/)
  assert.match(last!, /: Projector\.layer has stopped balances@1 \{.*\}$/)
  assert.isEmpty(others)
  assert.strictEqual(
    lines.filter((line) => !line.includes(" INFO ")).join("\n"),
    "ann has 100 after 2 events; withdrawing 130 fails: InsufficientFunds\n"
  )
  assert.strictEqual(stderr, "")
})

it("stays under 81 lines", async () => {
  assert.isBelow((await readFile(file, "utf8")).split("\n").length, 81)
})

it("decides deposits and withdrawals", () => {
  const { Deposited, Opened, Withdrawn } = AccountEvent.cases
  const opened = Opened.make({ account: "ann" })
  const deposited = Deposited.make({ account: "ann", amount: 100 })
  DeciderSpec.given(Account).when(Open, { account: "ann" }).thenEvents([opened])
  DeciderSpec.given(Account, [opened]).when(Open, { account: "ann" }).thenNothing()
  DeciderSpec.given(Account).when(Deposit, { account: "ann", amount: 1 }).thenFails(new NotOpen({ account: "ann" }))
  DeciderSpec.given(Account).when(Withdraw, { account: "ann", amount: 1 }).thenFails(new NotOpen({ account: "ann" }))
  DeciderSpec.given(Account, [opened, deposited]).when(Withdraw, { account: "ann", amount: 101 })
    .thenFails(new InsufficientFunds({ balance: 100 }))
  DeciderSpec.given(Account, [opened, deposited]).when(Withdraw, { account: "ann", amount: 100 })
    .thenEvents([Withdrawn.make({ account: "ann", amount: 100 })])
})

it.live("projects balances under concurrent deposits", () =>
  Effect.gen(function*() {
    yield* CommandBus.dispatch(Open, { account: "ann" })
    yield* Effect.all(
      Array.from({ length: 20 }, () => CommandBus.dispatch(Deposit, { account: "ann", amount: 5 })),
      { concurrency: "unbounded" }
    )
    const after = yield* CommandBus.dispatch(Withdraw, { account: "ann", amount: 1 })
    assert.strictEqual(yield* QueryBus.ask(GetBalance, { account: "ann" }, { after }), 99)
  }).pipe(Effect.provide(Bank), Effect.provide(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory))))
