/** The commands that operate consumers and process managers, with a configuration and without one. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, Layer, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { Health, Parking, ProcessManager, Projector, Rebuild, Subscription } from "evsrc"
import { Reports } from "evsrc/cli"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { freshDatabase } from "../support/Database.ts"
import * as Cli from "./Cli.ts"
import { Paid, Reminder, Thanks } from "./fixtures/Shop.ts"
import * as Seed from "./Seed.ts"

const scope = Scope.makeUnsafe()
let url: string

/** The programs of the shop, which run beside the commands. */
const programs = (at: string) =>
  Layer.mergeAll(Projector.layer([Paid]), Subscription.layer([Thanks]), ProcessManager.layer([Reminder])).pipe(
    Layer.provideMerge(Seed.runtime),
    Layer.provideMerge(Seed.storesOf(at))
  )

/** Runs an effect beside the programs. */
const besidePrograms = <A, E>(effect: Effect.Effect<A, E, Layer.Success<ReturnType<typeof programs>>>, at = url) =>
  Effect.provide(effect, programs(at))

/** Waits until the consumers have handled the whole log. */
const caughtUp = Effect.repeat(
  Effect.delay(Health.of([Paid, Thanks]), "20 millis"),
  { until: ({ consumers, log }) => consumers.every(({ position }) => position >= log.last) }
)

const parkedOnce = Effect.repeat(
  Effect.delay(Parking.count(Thanks), "20 millis"),
  { until: ({ parked }) => parked === 1 }
)

beforeAll(async () => {
  url = (await Effect.runPromise(Scope.provide(freshDatabase, scope))).url
  await Effect.runPromise(besidePrograms(Effect.gen(function*() {
    yield* Seed.placeAndPay
    yield* Seed.pay("7", 0)
    yield* Seed.pay("7", 5)
    yield* parkedOnce
    yield* caughtUp
  })))
})

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

describe("evsrc status", () => {
  it.live("assesses the consumers of the configuration, and lists the others", () =>
    Effect.gen(function*() {
      const known = yield* Effect.flatMap(Cli.run(["status", "--json", ...Cli.shop], { url }), ({ code, stdout }) =>
        Effect.succeed({ code, report: JSON.parse(stdout) as { readonly verdict: string } }))
      assert.include(["yellow", "red"], known.report.verdict)
      assert.strictEqual(known.code, known.report.verdict === "red" ? 1 : 0)
      const report = yield* Cli.document(Reports.status, ["status"], { url })
      assert.isAtLeast(Number(report.log.last), 5)
      assert.deepStrictEqual(report.consumers, [])
      assert.includeMembers(
        report.unchecked.map(({ consumer }) =>
          consumer
        ),
        ["paid@1", "subscription:thanks@1"]
      )
      assert.include(yield* Cli.output(["status"], { url }), "Without a definition in evsrc.config.ts")
    }))

  it.live("exits with 1 and is red for consumers that never ran", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Cli.output(["migrate", ...Cli.shop], { url })
      const args = ["status", ...Cli.shop]
      const { consumers, processes, verdict } = yield* Cli.document(Reports.status, args, { url, code: 1 })
      assert.strictEqual(verdict, "red")
      assert.deepStrictEqual([...consumers, ...processes].map(({ status }) => status), ["red", "red", "red"])
      assert.include(processes[0]!.reasons.join(), "reminder.instances@1")
    }))

  it.live("is green while programs run", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* besidePrograms(
        Effect.gen(function*() {
          yield* Seed.placeAndPay
          yield* caughtUp
          const { consumers, processes, unchecked, verdict } = yield* Cli.document(Reports.status, [
            "status",
            "--strict",
            ...Cli.shop
          ], { url })
          assert.strictEqual(verdict, "green")
          assert.deepStrictEqual(consumers.map(({ consumer }) => consumer), ["paid@1", "subscription:thanks@1"])
          assert.deepStrictEqual(processes.map(({ process }) => process), ["reminder"])
          assert.deepStrictEqual(unchecked, [])
        }),
        url
      )
    }))
})

describe("evsrc consumers and generations", () => {
  it.live("list the generations of the store, also on a narrow terminal", () =>
    Effect.gen(function*() {
      const { consumers, head } = yield* Cli.document(Reports.consumers, ["consumers"], { url })
      assert.isAtLeast(Number(head), 5)
      const thanks = consumers.find(({ consumer }) => consumer === "subscription:thanks@1")!
      assert.deepInclude(thanks, { kind: "subscription", parked: { count: 1, isMore: false }, isActive: true })
      const wide = yield* Cli.output(["generations", "list"], { url })
      assert.match(wide, /^GENERATION +KIND +STATUS/)
      const narrow = yield* Cli.output(["generations", "list"], { url, env: { COLUMNS: "20" } })
      assert.include(narrow, "GENERATION: paid@1\nKIND: projection\nSTATUS: active\n")
    }))

  it.live("removes a generation after a confirmation", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* besidePrograms(Effect.andThen(Seed.placeAndPay, caughtUp), url)
      const asked = yield* Cli.run(["generations", "remove", "paid@1"], { url })
      assert.strictEqual(asked.code, 2)
      assert.include(asked.stderr, "Remove generation \"paid@1\" with 1 document and")
      const active = yield* Cli.run(["generations", "remove", "paid@1", "--yes"], { url })
      assert.strictEqual(active.code, 3)
      assert.include(active.stderr, "active")
      const removed = yield* Cli.document(
        Reports.generationsRemove,
        ["generations", "remove", "paid@1", "--yes", "--even-if-active"],
        { url }
      )
      assert.deepStrictEqual(removed, { generation: "paid@1", documents: 1 })
      const all = yield* Cli.document(Reports.generationsList, ["generations", "list"], { url })
      assert.strictEqual(all.find(({ generation }) => generation === "paid@1")!.status, "discarded")
    }))
})

describe("evsrc parked", () => {
  it.live("lists and inspects without a configuration", () =>
    Effect.gen(function*() {
      const [parked, ...others] = yield* Cli.items(Reports.parkedList, ["parked", "list"], { url })
      assert.deepStrictEqual(others, [])
      assert.deepInclude(parked!, { key: "Order-7", type: "OrderPaid", generation: "subscription:thanks@1" })
      const found = yield* Cli.document(Reports.parkedInspect, ["parked", "inspect", "thanks", "Order-7"], { url })
      assert.deepStrictEqual(found.event.data, { orderId: "7", customer: "bob", amount: 0 })
      assert.deepStrictEqual(found.history.map(({ action }) => action), ["parked"])
      const unknown = yield* Cli.run(["parked", "list", "mail"], { url })
      assert.strictEqual(unknown.code, 2)
      assert.include(unknown.stderr, "There is no consumer \"mail\"; the consumers are paid@1")
    }))

  it.live("retries and skips through the workers of another program", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* besidePrograms(
        Effect.gen(function*() {
          yield* Seed.pay("7", 0)
          yield* Seed.pay("7", 5)
          yield* parkedOnce
          const retried = yield* Cli.document(Reports.parkedOne, ["parked", "retry", "thanks", "Order-7"], {
            url,
            code: 1
          })
          assert.strictEqual(retried.outcome, "failed")
          const all = yield* Cli.document(Reports.parkedAll, ["parked", "retry", "thanks", "--all"], { url, code: 1 })
          assert.deepInclude(all, { requested: 1, failed: 1 })
          for (
            const [args, message] of [
              [["thanks", "Order-7"], "reason"],
              [["thanks", "--reason", "damaged"], "Give either a key, or --all"],
              [["thanks", "Order-7", "--reason", "damaged"], "add --yes"]
            ] as const
          ) {
            const { code, stderr } = yield* Cli.run(["parked", "skip", ...args], { url })
            assert.strictEqual(code, 2, stderr)
            assert.include(stderr, message)
          }
          const args = ["parked", "skip", "thanks", "Order-7", "--reason", "damaged", "--actor", "eve", "--yes"]
          assert.strictEqual(yield* Cli.output(args, { url }), "skipped Order-7\n")
          const { items } = yield* Parking.history(Thanks)
          assert.deepInclude(items.at(-1)!, { action: "skipped", actor: "eve" })
        }),
        url
      )
    }))
})

describe("evsrc audit", () => {
  it.live("proves that each consumer applied each event once", () =>
    Effect.gen(function*() {
      const audits = yield* Cli.items(Reports.audit, ["audit", ...Cli.shop], { url })
      assert.deepStrictEqual(
        audits.map(({ consumer, status }) => [consumer, status]),
        [
          ["paid@1", "complete"],
          ["subscription:thanks@1", "complete"],
          ["subscription:reminder@1", "complete"],
          ["subscription:reminder.outputs@1", "complete"]
        ]
      )
      assert.match(
        yield* Cli.output(["audit", "thanks", ...Cli.shop], { url }),
        /^complete {2}subscription:thanks@1 {2}\d+ events/
      )
      const without = yield* Cli.run(["audit"], { url })
      assert.strictEqual(without.code, 2)
      assert.include(without.stderr, "write an evsrc.config.ts")
    }))
})

describe("evsrc rebuild", () => {
  it.live("builds documents beside the active ones, compares, and rolls back", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* besidePrograms(
        Effect.gen(function*() {
          yield* Seed.placeAndPay
          yield* caughtUp
          const rebuilt = yield* Cli.document(Reports.rebuild, [
            "rebuild",
            "paid",
            "--build",
            "abc",
            "--compare",
            ...Cli.shop
          ], { url })
          assert.deepInclude(rebuilt, { generation: "paid@1~1", phase: "cut-over", parked: 0 })
          assert.deepStrictEqual(rebuilt.compared, { documents: 1, different: 0, unsettled: 0 })
          const back = yield* Cli.document(Reports.rollback, ["rollback", "paid", "--yes", ...Cli.shop], { url })
          assert.deepStrictEqual(back, { active: "paid@1", previous: "paid@1~1" })
          const other = yield* Cli.run(["rebuild", "thanks", ...Cli.shop], { url })
          assert.strictEqual(other.code, 2)
          assert.include(other.stderr, "the consumers are paid@1")
        }),
        url
      )
    }))
})

describe("Ctrl-C", () => {
  it.live("stops a rebuild cleanly and prints where; a second run continues", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const stores = Seed.storesOf(url)
      yield* Effect.provide(Seed.payMany(30_000), stores)
      const rebuilding = yield* Cli.start(["rebuild", "paid", "--build", "a", ...Cli.shop], { url })
      yield* Effect.repeat(Effect.delay(Rebuild.list(Paid), "5 millis"), {
        until: (all) => all.some(({ position }) => position > 0n)
      }).pipe(Effect.provide(stores))
      yield* rebuilding.signal("SIGINT")
      const { code, stderr, stdout } = yield* rebuilding.ended
      assert.deepStrictEqual([code, stdout], [130, ""], stderr)
      assert.match(
        stderr,
        /The rebuild (was interrupted before|of paid@1 stopped at position \d+ of 30000, .*rebuild paid --build a)/
      )
      const report = yield* Cli.document(Reports.rebuild, ["rebuild", "paid", "--build", "a", ...Cli.shop], { url })
      assert.deepInclude(report, { generation: "paid@1", phase: "caught-up", applied: 30_000 })
      yield* Cli.output(["audit", "paid", ...Cli.shop], { url })
    }))

  it.live("stops an erasure cleanly; a second run finishes it", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const stores = Seed.storesOf(url)
      yield* Effect.provide(Seed.placeAndPay, Layer.provideMerge(Seed.runtime, stores))
      const config = join(Cli.fixtures, "slowKeys.config.ts")
      const erasing = yield* Cli.start(["erase", "--subject", "ann", "--yes", "--config", config], { url })
      const erasedAt = Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        return yield* sql`select erased_at from evsrc_keys.subject_keys where subject = 'ann' and erased_at is not null`
      })
      const [erased] = yield* Effect.repeat(Effect.delay(erasedAt, "5 millis"), { until: (rows) => rows.length > 0 })
        .pipe(
          Effect.provide(stores)
        )
      yield* erasing.signal("SIGINT")
      const { code, stderr, stdout } = yield* erasing.ended
      assert.deepStrictEqual([code, stdout], [130, ""], stderr)
      assert.include(stderr, "The erasure was interrupted")
      const receipt = yield* Cli.document(Reports.erase, ["erase", "--subject", "ann", "--yes", ...Cli.shop], { url })
      assert.strictEqual(DateTime.toEpochMillis(receipt.erasedAt), Object(erased)["erased_at"].getTime())
    }))
})

describe("evsrc processes and deadlines", () => {
  it.live("list the instances and their pending deadlines", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* besidePrograms(
        Effect.gen(function*() {
          yield* Seed.place("1")
          yield* Effect.repeat(
            Effect.delay(ProcessManager.list(Reminder), "20 millis"),
            { until: ({ items }) => items.length === 1 }
          )
        }),
        url
      )
      const [instance] = yield* Cli.items(Reports.processes, ["processes", "--status", "running", ...Cli.shop], { url })
      assert.deepInclude(instance!, { process: "reminder", id: "1", status: "running" })
      const deadlines = yield* Cli.items(Reports.deadlines, ["deadlines", "reminder", ...Cli.shop], { url })
      assert.deepStrictEqual(deadlines, [
        { process: "reminder", instance: "1", deadline: "PaymentDue", dueAt: instance!.nextDueAt! }
      ])
      assert.match(yield* Cli.output(["deadlines", ...Cli.shop], { url }), /^\S+Z {2}reminder {2}1 {2}PaymentDue\n$/)
      assert.include((yield* Cli.run(["processes", "fulfilment", ...Cli.shop], { url })).stderr, "it has reminder")
    }))

  it.live("say that there are none, that there are more, or that the configuration has none", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      const orders = ["1", "2"]
      yield* besidePrograms(
        Effect.gen(function*() {
          for (const orderId of orders) yield* Seed.place(orderId)
          yield* Effect.repeat(
            Effect.delay(ProcessManager.list(Reminder), "20 millis"),
            { until: ({ items }) => items.length === orders.length }
          )
        }),
        url
      )
      const run = (...args: ReadonlyArray<string>) => Cli.run([...args, ...Cli.shop], { url })
      const none = { code: 0, stdout: "", stderr: "There are no completed instances of reminder\n" }
      assert.deepStrictEqual(yield* run("processes", "--status", "completed"), none)
      for (
        const [command, what] of [["processes", "instances"], ["deadlines", "pending deadlines"]] as const
      ) {
        const one = yield* run(command, "--limit", "1")
        assert.match(one.stdout, /^.*reminder.*\n$/)
        assert.strictEqual(one.stderr, `reminder has more ${what} than these 1; to see them, raise --limit\n`)
        assert.deepInclude(yield* run(command, "--limit", "2"), { code: 0, stderr: "" })
      }
      const config = join(Cli.fixtures, "slowKeys.config.ts")
      const without = yield* Cli.run(["deadlines", "--config", config], { url })
      assert.strictEqual(without.code, 2)
      assert.include(without.stderr, "slowKeys.config.ts has no process managers; give EvsrcConfig.make")
    }))
})

describe("evsrc erase", () => {
  it.live("scans, asks, erases and prints a receipt", () =>
    Effect.gen(function*() {
      const { url } = yield* freshDatabase
      yield* Effect.provide(Seed.placeAndPay, Layer.provideMerge(Seed.runtime, Seed.storesOf(url)))
      const scan = yield* Cli.document(Reports.eraseScan, ["erase", "--subject", "ann", "--scan", ...Cli.shop], { url })
      assert.deepStrictEqual([scan.encrypted.events, scan.plaintext], [1, []])
      const asked = yield* Cli.run(["erase", "--subject", "ann", ...Cli.shop], { url })
      assert.strictEqual(asked.code, 2)
      assert.include(asked.stderr, "add --yes")
      const receipt = yield* Cli.document(Reports.erase, ["erase", "--subject", "ann", "--yes", ...Cli.shop], { url })
      assert.strictEqual(receipt.found.encrypted.events, 1)
      const again = yield* Cli.document(Reports.erase, ["erase", "--subject", "ann", "--yes", ...Cli.shop], { url })
      assert.deepStrictEqual(again.erasedAt, receipt.erasedAt)
      const without = yield* Cli.run(["erase", "--subject", "ann", "--yes"], { url })
      assert.strictEqual(without.code, 2)
      assert.include(without.stderr, "This command needs the key store")
    }))
})
