/**
 * The runtime suite of the order in which an instance takes its inputs: that of the log, whatever streams they are in, also when one of them is parked.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import * as DeliveryAudit from "../../src/operations/DeliveryAudit.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"
import {
  begun,
  Do,
  ended,
  instance,
  type Probe,
  probe,
  run,
  signal,
  took,
  typesOf,
  uniqueName,
  until,
  untilDone,
  untilLast,
  untilParked,
  untilState,
  went
} from "./Probe.ts"

/** A process manager whose reaction to a number throws until the test corrects it. */
const failing = (number: number, partitions: number) => {
  let isWrong = true
  const name = uniqueName()
  const fail = (n: number) => {
    if (isWrong && n === number) throw new Error("not yet")
  }
  const process = probe(name, {
    options: { partitions },
    Begun: (_, { n }) => {
      fail(n)
      return [took(`begun ${n}`)]
    },
    Went: (_, { id, n }) => {
      fail(n)
      return [took(`went ${n}`), ProcessManager.send(Do, { id, what: `went ${n}` })]
    }
  })
  return {
    process,
    correct: () => {
      isWrong = false
    }
  }
}

const inputsOf = (process: Probe) => ProcessManager.consumers(process).inputs

const behind = [1, 4].flatMap((partitions): ReadonlyArray<Case<Stores>> => [
  test(`inputs wait behind the parked start of their instance, in ${partitions} partitions`, function*() {
    const [id, other] = [unique("i"), unique("i")]
    const { correct, process } = failing(0, partitions)
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id, 0)], "orders")
      yield* signal(process, [went(id, 1)], "payments")
      yield* signal(process, [begun(other, 1), went(other, 2)], "others")
      const parked = yield* untilParked(process, "inputs")
      equal(parked.key, id, "what is parked")
      equal(yield* untilDone(other, 1), ["went 2"], "the other instance goes on")
      correct()
      yield* Parking.retry(inputsOf(process), id)
      equal(yield* untilDone(id, 1), ["went 1"], "the input of another stream is not lost")
      yield* until("no parked key", parkedKeys(inputsOf(process)), (keys) => keys.length === 0)
      equal((yield* DeliveryAudit.run(inputsOf(process))).status, "complete", "the audit")
    }).pipe(Effect.provide(run([process])))
  }),

  test(`an input that ends a process waits behind a parked one, in ${partitions} partitions`, function*() {
    const id = unique("i")
    const { correct, process } = failing(1, partitions)
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id, 0)], "orders")
      yield* signal(process, [went(id, 1)], "payments")
      yield* signal(process, [ended(id)], "ends")
      yield* signal(process, [went(id, 2)], "late")
      yield* untilParked(process, "inputs")
      correct()
      yield* Parking.retry(inputsOf(process), id)
      yield* untilLast(instance(process, id), "completed")
      equal(yield* untilDone(id, 1), ["went 1"], "what came before the end")
    }).pipe(Effect.provide(run([process])))
  })
])

const missing = JSON.parse("null")

const unknown = ([
  ["throws", () => {
    throw new Error("no instance")
  }, "no instance"],
  ["returns no string", () => missing, "is invalid: it is not a string"]
] as const).map(([what, wrong, says]): Case<Stores> =>
  test(`inputs wait at one for which correlate ${what}, until it is retried`, function*() {
    const [id, other] = [unique("i"), unique("i")]
    let isWrong = true
    const process = probe(uniqueName(), { options: { idOf: (one) => isWrong && one === id ? wrong() : one } })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)], "orders")
      yield* signal(process, [begun(other)], "others")
      const parked = yield* untilParked(process, "inputs")
      equal(parked.key, "", "the key")
      includes(parked.error, says, "the error")
      isWrong = false
      yield* Parking.retry(inputsOf(process), "")
      for (const one of [id, other]) yield* untilState(process, one, (state) => state.length === 1)
    }).pipe(Effect.provide(run([process])))
  })
)

const deadline = ProcessManager.deadline("Due", { what: "due" }, { after: "100 millis" })
const cancelled = [took("went"), ProcessManager.cancelDeadline("Due")]

const deadlines: ReadonlyArray<Case<Stores>> = [
  test("a deadline fires after the inputs that came while no program ran", function*() {
    const ids = Array.from({ length: 20 }, () => unique("i"))
    const process = probe(uniqueName(), { Begun: () => [deadline], Went: () => cancelled })
    for (const id of ids) yield* signal(process, [begun(id)], `orders-${id}`)
    for (const id of ids) yield* signal(process, [went(id, 1)], `payments-${id}`)
    yield* Effect.sleep("200 millis")
    yield* Effect.gen(function*() {
      for (const id of ids) yield* untilState(process, id, (state) => state.includes("went"))
      const all = yield* Effect.forEach(ids, (id) => typesOf(instance(process, id)))
      equal(all.filter((types) => types.includes("fired.Due")).length, 0, "the deadlines that have fired")
    }).pipe(Effect.provide(run([process])))
  }),

  test("a deadline of an instance with a parked input waits for its retry", function*() {
    const [id, other] = [unique("i"), unique("i")]
    let isWrong = true
    const process = probe(uniqueName(), {
      Begun: () => [deadline],
      Went: () => {
        if (isWrong) throw new Error("not yet")
        return cancelled
      }
    })
    yield* signal(process, [begun(id)], "orders")
    yield* signal(process, [went(id, 1)], "payments")
    yield* Effect.gen(function*() {
      yield* untilParked(process, "inputs")
      yield* signal(process, [begun(other)], "others")
      yield* untilState(process, other, (state) => state.includes("due"))
      isWrong = false
      yield* Parking.retry(inputsOf(process), id)
      yield* untilState(process, id, (state) => state.includes("went"))
      equal((yield* typesOf(instance(process, id))).includes("fired.Due"), false, "whether it has fired")
    }).pipe(Effect.provide(run([process])))
  })
]

export const instanceOrder: ReadonlyArray<Case<Stores>> = [...behind, ...unknown, ...deadlines]
