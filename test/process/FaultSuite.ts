/**
 * The runtime suite of what goes wrong in process managers: reactions that throw, commands that fail, inputs that come late, early or again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as StreamLifecycle from "../../src/archive/StreamLifecycle.ts"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import * as Position from "../../src/core/Position.ts"
import * as Metrics from "../../src/core/telemetry/Metrics.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Checkpoints from "../../src/operations/Checkpoints.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import type { Ignored } from "../../src/process/ProcessState.ts"
import type { Stores } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"
import {
  begun,
  Do,
  doneTo,
  due,
  ended,
  instance,
  type Probe,
  probe,
  ProbeEvent,
  type Reactions,
  run,
  signal,
  TargetEvent,
  targets,
  took,
  typesOf,
  Undo,
  uniqueName,
  until,
  untilDone,
  untilLast,
  untilParked,
  untilState,
  went
} from "./Probe.ts"

const ignoredAs = ({ name }: Probe, reason: Ignored) =>
  Effect.map(
    Metric.value(Metric.withAttributes(Metrics.processIgnored, { process: name, reason })),
    ({ count }) => Number(count)
  )

const long = "x".repeat(31)

/** Reactions that are wrong until the test corrects them, with what the error says. */
const wrong: Readonly<
  Record<string, { readonly says: string; readonly reaction: () => ReturnType<Reactions["Went"]> }>
> = {
  "that throws": {
    says: "not today",
    reaction: () => {
      throw new Error("not today")
    }
  },
  "with an own event that is invalid": { says: "Took", reaction: () => [took(long)] },
  "that sends an invalid command": { says: "30", reaction: () => [ProcessManager.send(Do, { id: "i", what: long })] },
  "that sets an invalid deadline": { says: "30", reaction: () => [due("1 hour", long)] },
  "that sets a deadline in the year 10000": {
    says: "years 1 to 9999",
    reaction: () => [ProcessManager.deadline("Due", { what: "due" }, { at: new Date(253402300800000) })]
  },
  "that sets a deadline after an infinite time": {
    says: "years 1 to 9999",
    reaction: () => [ProcessManager.deadline("Due", { what: "due" }, { after: Infinity })]
  }
}

const reactions = Object.entries(wrong).flatMap(([what, { reaction, says }]): ReadonlyArray<Case<Stores>> => [
  test(`a reaction to an input ${what} parks the instance until it is retried`, function*() {
    const id = unique("i")
    let isWrong = true
    const process = probe(uniqueName(), { Went: (_, { n }) => isWrong ? reaction() : [took(`went ${n}`)] })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1), went(id, 2)])
      const parked = yield* untilParked(process, "inputs")
      includes(parked.error, says, "the error")
      equal(yield* typesOf(instance(process, id)), ["received", "Took"], "what is appended")
      isWrong = false
      yield* Parking.retry(ProcessManager.consumers(process).inputs, parked.key)
      yield* untilState(process, id, (state) => state.length === 3)
      equal(
        yield* typesOf(instance(process, id)),
        Array.from({ length: 3 }, () => ["received", "Took"]).flat(),
        "in the end"
      )
    }).pipe(Effect.provide(run([process])))
  }),

  test(`a reaction to a deadline ${what} parks the instance until it is retried`, function*() {
    const [id, other] = [unique("i"), unique("i")]
    let isWrong = true
    const process = probe(uniqueName(), {
      Begun: () => [due("50 millis")],
      Due: () => isWrong ? reaction() : [took("due")],
      Went: () => [took("went")]
    })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)])
      const parked = yield* untilParked(process, "outputs")
      includes(parked.error, says, "the error")
      equal(yield* typesOf(instance(process, id)), ["received", "deadline.Due", "fired.Due"], "what is appended")
      // The instance takes inputs, and other instances are not affected.
      yield* signal(process, [begun(other), went(other, 1), went(id, 1)])
      yield* untilState(process, id, (state) => state.includes("went"))
      isWrong = false
      yield* ProcessManager.retry(process, id)
      yield* untilState(process, id, (state) => state.includes("due"))
      yield* untilState(process, other, (state) => state.includes("went"))
      const types = yield* typesOf(instance(process, id))
      equal(types.slice(3), ["received", "Took", "fired.Due", "Took"], "after the retry")
    }).pipe(Effect.provide(run([process])))
  })
])

const commands: ReadonlyArray<Case<Stores>> = [
  test("a command that fails with what it does not declare parks the instance", function*() {
    const [id, other] = [unique("i"), unique("i")]
    let isWrong = true
    const process = probe(uniqueName())
    const onDo = (payload: { readonly id: string }) => {
      if (isWrong && payload.id === id) throw new Error("no connection to the warehouse")
      return "done" as const
    }
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1), went(id, 2)])
      yield* signal(process, [begun(other), went(other, 1)])
      const parked = yield* untilParked(process, "outputs")
      includes(parked.error, "no connection to the warehouse", "the error")
      equal(yield* untilDone(other, 1), ["went 1"], "the commands of the other instance")
      isWrong = false
      yield* ProcessManager.retry(process, id)
      equal(yield* untilDone(id, 2), ["went 1", "went 2"], "the commands after the retry")
      equal(yield* doneTo(id), ["went 1", "went 2"], "once")
    }).pipe(Effect.provide(run([process], { handling: { onDo } })))
  }),

  test("a rejected command is reacted to once, also when it is dispatched again", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), { refused: (_, { what }) => [took(`refused ${what}`)] })
    const decided: Array<string> = []
    const onDo = ({ what }: { readonly what: string }) => {
      decided.push(what)
      return "rejected" as const
    }
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1)])
      yield* untilState(process, id, (state) => state.includes("refused went 1"))
      const before = decided.length
      yield* Checkpoints.reset(ProcessManager.consumers(process).outputs, Position.start)
      yield* signal(process, [went(id, 2)])
      yield* untilState(process, id, (state) => state.includes("refused went 2"))
      equal(decided.filter((what) => what === "went 1").length, before, "how often it was decided")
      const types = yield* typesOf(instance(process, id))
      equal(types.filter((type) => type === "rejected.Do").length, 2, "the rejections")
    }).pipe(Effect.provide(run([process], { handling: { onDo } })))
  })
]

/** The ids that a stream cannot have. */
const ids = { empty: "", "too long": "x".repeat(600) }

const inputs: ReadonlyArray<Case<Stores>> = [
  ...Object.entries(ids).map(([what, wrongId]) =>
    test(`an input whose instance has an id that is ${what} is parked`, function*() {
      const id = unique("i")
      let isWrong = true
      const process = probe(uniqueName(), { options: { idOf: (id) => isWrong ? wrongId : id } })
      yield* Effect.gen(function*() {
        yield* signal(process, [begun(id)])
        const parked = yield* untilParked(process, "inputs")
        includes(parked.error, "of an instance of the process manager", "the error")
        isWrong = false
        yield* Parking.retry(ProcessManager.consumers(process).inputs, parked.key)
        yield* untilState(process, id, (state) => state.length === 1)
      }).pipe(Effect.provide(run([process])))
    })
  ),

  test("ignores and counts an input that comes after completion", function*() {
    const id = unique("i")
    const process = probe(uniqueName())
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), ended(id), went(id, 1), begun(id, 2)])
      yield* until("the count", ignoredAs(process, "completed"), (count) => count === 2)
      equal(yield* typesOf(instance(process, id)), ["received", "Took", "received", "completed"], "the instance")
      equal(yield* doneTo(id), [], "the commands")
    }).pipe(Effect.provide(run([process])))
  }),

  test("ignores and counts an input that continues without a start, also when it comes again", function*() {
    const [id, marker] = [unique("i"), unique("i")]
    const process = probe(uniqueName())
    yield* Effect.gen(function*() {
      yield* signal(process, [went(id, 1)])
      yield* until("the count", ignoredAs(process, "unstarted"), (count) => count === 1)
      equal(yield* typesOf(instance(process, id)), [], "without a start")
      yield* signal(process, [begun(id), went(id, 2)])
      equal(yield* untilDone(id, 1), ["went 2"], "the commands after the start")
      yield* Checkpoints.reset(ProcessManager.consumers(process).inputs, Position.start)
      yield* signal(process, [begun(marker)])
      yield* untilState(process, marker, (state) => state.length === 1)
      equal(yield* ignoredAs(process, "unstarted"), 2, "the count")
      equal(yield* doneTo(id), ["went 2"], "the commands in the end")
    }).pipe(Effect.provide(run([process])))
  }),

  test("takes inputs once that come again after a reset of the checkpoints", function*() {
    const [id, finished, marker] = [unique("i"), unique("i"), unique("i")]
    const process = probe(uniqueName(), {
      Begun: (_, { n }) => [took(`begun ${n}`), due("0 millis", `due ${n}`)]
    })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1), went(id, 2)])
      yield* signal(process, [begun(finished), went(finished, 1)])
      yield* untilState(process, id, (state) => state.includes("due 1"))
      yield* untilState(process, finished, (state) => state.includes("due 1"))
      yield* signal(process, [ended(finished)])
      const before = [
        yield* untilDone(id, 2),
        yield* untilDone(finished, 1),
        (yield* untilLast(instance(process, finished), "completed")).length
      ]
      const { inputs, outputs } = ProcessManager.consumers(process)
      yield* Checkpoints.reset(inputs, Position.start)
      yield* Checkpoints.reset(outputs, Position.start)
      yield* signal(process, [begun(marker), went(marker, 1)])
      yield* untilDone(marker, 1)
      const after = [yield* doneTo(id), yield* doneTo(finished), (yield* typesOf(instance(process, finished))).length]
      equal<unknown>(after, before, "the effects")
      // What it had taken before is neither late nor early.
      for (const reason of ["completed", "unstarted"] as const) {
        equal(yield* ignoredAs(process, reason), 0, `the count of "${reason}"`)
      }
    }).pipe(Effect.provide(run([process])))
  }),

  test("counts the later inputs of an abandoned instance, and no repeated ones", function*() {
    const [id, marker] = [unique("i"), unique("i")]
    const process = probe(uniqueName(), { refused: (_, { what }) => [took(`refused ${what}`)] })
    const onDo = (payload: { readonly id: string }) => payload.id === id ? "rejected" as const : "done" as const
    const program = () => run([process], { handling: { onDo } })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1)])
      yield* untilState(process, id, (state) => state.includes("refused went 1"))
      yield* ProcessManager.abandon(process, id, "the customer has called")
    }).pipe(Effect.provide(program()))
    const before = (yield* typesOf(instance(process, id))).length
    const { inputs, outputs } = ProcessManager.consumers(process)
    yield* Checkpoints.reset(inputs, Position.start)
    yield* Checkpoints.reset(outputs, Position.start)
    yield* signal(process, [went(id, 2)])
    yield* signal(process, [begun(marker), went(marker, 1)])
    // Another program does not remember what the first one has appended.
    yield* Effect.gen(function*() {
      yield* untilDone(marker, 1)
      yield* until("the count", ignoredAs(process, "abandoned"), (count) => count > 0)
      equal(yield* ignoredAs(process, "abandoned"), 1, `the count of "abandoned"`)
      equal((yield* typesOf(instance(process, id))).length, before, "the events of the instance")
    }).pipe(Effect.provide(program()))
  }),

  test("an instance takes a start that comes after a later one of another stream", function*() {
    const id = unique("i")
    let isWrong = true
    const process = probe(uniqueName(), {
      options: { partitions: 2, partitionBy: "stream" },
      Begun: (_, { n }) => {
        if (isWrong && n === 1) throw new Error("not yet")
        return [took(`begun ${n}`)]
      }
    })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id, 1)], "first")
      const parked = yield* untilParked(process, "inputs")
      yield* signal(process, [begun(id, 2)], "second")
      yield* untilState(process, id, (state) => state.length === 1)
      isWrong = false
      yield* Parking.retry(ProcessManager.consumers(process).inputs, parked.key)
      equal(yield* untilState(process, id, (state) => state.length === 2), ["begun 2", "begun 1"], "the inputs")
    }).pipe(Effect.provide(run([process])))
  }),

  test("an instance whose stream is closed parks its inputs and stops no other", function*() {
    const [id, other] = [unique("i"), unique("i")]
    const process = probe(uniqueName(), { Begun: () => [due("1 hour")] })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)])
      yield* untilLast(instance(process, id), "deadline.Due")
      yield* StreamLifecycle.close(ProbeEvent, instance(process, id), took("the end"))
      yield* signal(process, [went(id, 1)])
      yield* signal(process, [begun(other), went(other, 1)])
      includes((yield* untilParked(process, "inputs")).error, "closed", "the error")
      equal(yield* untilDone(other, 1), ["went 1"], "the other instance")
    }).pipe(Effect.provide(run([process])))
  })
]

/** Two process managers that react to each other: one undoes what is done, the other does what is undone, until the loop ends. */
const looping = (id: string, reaction: () => ReadonlyArray<typeof ProbeEvent.Type> | undefined) => {
  const contract = () =>
    ProcessManager.make(uniqueName(), {
      inputs: TargetEvent,
      where: { streamPrefix: `Target-${id}` },
      correlate: { Done: ({ id }) => ProcessManager.start(id), Undone: ({ id }) => ProcessManager.start(id) },
      state: Schema.Int,
      events: ProbeEvent,
      commands: [Do, Undo]
    })
  const common = {
    initial: 0,
    evolve: { Took: (state: number) => state + 1 },
    refused: { Do: ProcessManager.ignore }
  } as const
  return [
    contract().behaviour({
      ...common,
      react: { Done: (_, { id }) => reaction() ?? [ProcessManager.send(Undo, { id, what: "" })], Undone: () => [] }
    }),
    contract().behaviour({
      ...common,
      react: { Undone: (_, { id }) => reaction() ?? [ProcessManager.send(Do, { id, what: "" })], Done: () => [] }
    })
  ] as const
}

const loops: ReadonlyArray<Case<Stores>> = [
  test("bounds a loop of process managers, and continues when a reaction ends it", function*() {
    const id = unique("i")
    let ends = false
    const [one, two] = looping(id, () => ends ? [took("end")] : undefined)
    yield* Effect.gen(function*() {
      // 96 reactions led to the first event.
      const attributes = { "evsrc.processDepth": 96 }
      yield* EventStore.append(TargetEvent, `Target-${id}`, [TargetEvent.cases.Done.make({ id, what: "first" })], {
        metadata: { attributes }
      })
      const { inputs } = ProcessManager.consumers(one)
      const [parked] = yield* until("the end of the loop", parkedKeys(inputs), (parked) => parked.length > 0)
      includes(parked!.error, "100 reactions led to this event", "the error")
      const effects = ["Done", "Undone", "Done", "Undone", "Done"]
      equal(yield* typesOf(`Target-${id}`), effects, "the events of the loop")
      ends = true
      yield* Parking.retry(inputs, parked!.key)
      yield* untilLast(`${one.name}-${id}`, "Took")
      equal(yield* typesOf(`Target-${id}`), effects, "the events in the end")
    }).pipe(Effect.provide(ProcessManager.layer([one, two]).pipe(Layer.fresh, Layer.provideMerge(targets()))))
  })
]

export const faults: ReadonlyArray<Case<Stores>> = [...reactions, ...commands, ...inputs, ...loops]
