/**
 * The runtime suite of the operation of process managers: lists, inspections, retries, ends, health and causation trees.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import { type Case, equal, includes, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Causation from "../../src/history/Causation.ts"
import * as ProcessManager from "../../src/process/ProcessManager.ts"
import { type Stores, upTo } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"
import {
  begun,
  Do,
  doneTo,
  due,
  ended,
  instance,
  probe,
  ProbeEvent,
  run,
  Signal,
  signal,
  targets,
  took,
  uniqueName,
  until,
  untilDone,
  untilLast,
  untilParked,
  untilState,
  went
} from "./Probe.ts"

const operations: ReadonlyArray<Case<Stores>> = [
  test("lists instances by status, age and next deadline", function*() {
    const ids = upTo(4).map((n) => unique(`i${n}`))
    const process = probe(uniqueName(), {
      Begun: (_, { n }) => n === 4 ? [] : [ProcessManager.deadline("Due", { what: "due" }, { after: `${5 - n} hours` })]
    })
    yield* Effect.gen(function*() {
      for (const [index, id] of ids.entries()) yield* signal(process, [begun(id, index + 1)])
      yield* signal(process, [ended(ids[0]!)])
      yield* untilLast(instance(process, ids[0]!), "completed")
      yield* untilLast(instance(process, ids[3]!), "received")
      const idsOf = (options: Parameters<typeof ProcessManager.list>[1]) =>
        Effect.map(ProcessManager.list(process, options), ({ items }) => items.map(({ id }) => ids.indexOf(id) + 1))
      equal(yield* idsOf({ where: { status: "completed" } }), [1], "the completed ones")
      equal(
        yield* idsOf({ where: { status: "running" }, orderBy: { field: "startedAt", direction: "desc" } }),
        [4, 3, 2],
        "the running ones, the latest first"
      )
      equal(
        yield* idsOf({ where: { nextDueAt: { gt: DateTime.makeUnsafe(0) } }, orderBy: { field: "nextDueAt" } }),
        [3, 2],
        "those with a deadline, the earliest first"
      )
    }).pipe(Effect.provide(run([process])))
  }),

  test("inspects an instance, and one that does not exist", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), { Begun: () => [took("begun"), due("1 hour", "later")] })
    const onDo = () => {
      throw new Error("no connection")
    }
    yield* Effect.gen(function*() {
      equal(yield* ProcessManager.inspect(process, id), Option.none(), "before it exists")
      yield* signal(process, [begun(id), went(id, 1)])
      yield* untilParked(process, "outputs")
      const { history, instance: found, parked, state } = Option.getOrThrow(yield* ProcessManager.inspect(process, id))
      equal(found.status, "running", "the status")
      equal(state.state, ["begun", "went 1"], "the state")
      equal<unknown>(state.deadlines["Due"]?.payload, { what: "later" }, "the payload of the deadline")
      equal(history.length, 6, "the number of events")
      equal(Option.map(parked, ({ type }) => type), Option.some(`${process.name}.send`), "where it is parked")
    }).pipe(Effect.provide(run([process], { handling: { onDo } })))
  }),

  test("abandons an instance: what it has not dispatched is dropped, and the reason stays", function*() {
    const [id, other] = [unique("i"), unique("i")]
    const process = probe(uniqueName(), { Begun: () => [due("1 hour")] })
    let isWrong = true
    const onDo = () => {
      if (isWrong) throw new Error("no connection")
      return "done" as const
    }
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1), went(id, 2)])
      yield* untilParked(process, "outputs")
      isWrong = false
      equal(yield* ProcessManager.abandon(process, id, "the customer called"), true, "the outcome")
      equal(yield* ProcessManager.abandon(process, id, "again"), false, "the outcome of a repetition")
      equal(yield* ProcessManager.abandon(process, unique("i"), "never"), false, "the outcome for no instance")
      yield* signal(process, [went(id, 3)])
      yield* signal(process, [begun(other), went(other, 1)])
      yield* untilDone(other, 1)
      const found = Option.getOrThrow(yield* ProcessManager.inspect(process, id))
      equal(found.instance.status, "abandoned", "the status")
      equal(found.instance.reason, "the customer called", "the reason")
      equal(found.instance.nextDueAt, null, "the next deadline")
      equal(found.parked, Option.none(), "where it is parked")
      equal(found.history.at(-1)?.type, `${process.name}.abandoned`, "the last event")
      equal(yield* doneTo(id), [], "the commands")
    }).pipe(Effect.provide(run([process], { handling: { onDo } })))
  }),

  test("abandons an instance that has completed while its last command is parked", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), {
      Went: (_, { id, n }) => [ProcessManager.send(Do, { id, what: `went ${n}` }), ProcessManager.complete]
    })
    const isHandled = { current: false }
    const onDo = () => {
      if (isHandled.current) return "done" as const
      throw new Error("no connection")
    }
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1)])
      yield* untilParked(process, "outputs")
      equal(yield* ProcessManager.abandon(process, id, "no connection for days"), true, "the outcome")
      equal(yield* ProcessManager.abandon(process, id, "again"), false, "the outcome of a repetition")
      isHandled.current = true
      const found = Option.getOrThrow(yield* ProcessManager.inspect(process, id))
      equal([found.instance.status, found.instance.reason], ["abandoned", "no connection for days"], "the instance")
      equal(found.parked, Option.none(), "where it is parked")
      const other = unique("i")
      yield* signal(process, [begun(other), went(other, 1)])
      yield* untilDone(other, 1)
      equal(yield* ProcessManager.abandon(process, other, "not needed"), false, "the outcome after the last command")
      equal(yield* doneTo(id), [], "the commands")
    }).pipe(Effect.provide(run([process], { handling: { onDo } })))
  }),

  test("abandons an instance once the command that is being dispatched has taken effect", function*() {
    const id = unique("i")
    const process = probe(uniqueName())
    const [begins, goesOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const { driver } = (yield* EventStore.EventStore)[internals]
    const held = yield* EventStore.make({
      ...driver,
      append: (request) =>
        request.events[0]?.type === "Done"
          ? Deferred.succeed(begins, undefined).pipe(
            Effect.andThen(Deferred.await(goesOn)),
            Effect.andThen(driver.append(request))
          )
          : driver.append(request)
    })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1)])
      yield* Deferred.await(begins)
      const abandoned = yield* Effect.forkChild(ProcessManager.abandon(process, id, "the customer called"))
      yield* untilLast(instance(process, id), "abandoned")
      // Without a wait it would return by now.
      yield* Effect.sleep("300 millis")
      equal(abandoned.pollUnsafe(), undefined, "the outcome while the command is being dispatched")
      yield* Deferred.succeed(goesOn, undefined)
      equal(yield* Fiber.join(abandoned), true, "the outcome")
      equal(yield* doneTo(id), ["went 1"], "the commands")
    }).pipe(Effect.provide(run([process])), Effect.provideService(EventStore.EventStore, held))
  })
]

const parkedInputs: ReadonlyArray<Case<Stores>> = [
  test("retries a parked input, and health is red until then", function*() {
    const id = unique("i")
    let isWrong = true
    const process = probe(uniqueName(), {
      Went: (_, { n }) => {
        if (isWrong) throw new Error("not yet")
        return [took(`went ${n}`)]
      }
    })
    const check = ProcessManager.health(process, { overdueTimeout: "100 millis" })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1), went(id, 2)])
      yield* untilParked(process, "inputs")
      const { parked } = Option.getOrThrow(yield* ProcessManager.inspect(process, id))
      equal(Option.map(parked, ({ type }) => type), Option.some("Went"), "what it is parked at")
      const red = yield* until("red", check, ({ status }) => status === "red")
      includes(red.reasons.join("\n"), `the instance "${id}"`, "the reasons")
      includes(red.reasons.join("\n"), "at the input \"Went\"", "the reasons")
      includes(red.reasons.join("\n"), "on event \"Went\" at position", "the reasons")
      includes(red.reasons.join("\n"), ": not yet", "the reasons")
      isWrong = false
      equal((yield* ProcessManager.retry(process, id)).outcome, "retried", "the outcome")
      yield* untilState(process, id, (state) => state.includes("went 2"))
      yield* until("green", check, ({ status }) => status === "green")
      const again = yield* Effect.flip(ProcessManager.retry(process, id))
      equal(again._tag, "NotParked", "a retry of an instance that is not parked")
    }).pipe(Effect.provide(run([process])))
  }),

  test("abandons an instance with a parked input, which is ignored then", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), {
      Went: () => {
        throw new Error("never")
      }
    })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1), went(id, 2)])
      yield* untilParked(process, "inputs")
      equal(yield* ProcessManager.abandon(process, id, "wrong"), true, "the outcome")
      const { inputs } = ProcessManager.consumers(process)
      yield* until("no parked key", parkedKeys(inputs), (keys) => keys.length === 0)
    }).pipe(Effect.provide(run([process])))
  })
]

const health: ReadonlyArray<Case<Stores>> = [
  test("health is red while no program fires a deadline that is due", function*() {
    const process = probe(uniqueName(), {
      Begun: (_, { n }) => [ProcessManager.deadline("Due", { what: "due" }, { after: n })]
    })
    const check = ProcessManager.health(process, { overdueTimeout: "100 millis" })
    // The program must have stopped before the deadline is due, also on a slow machine.
    let id = ""
    for (const attempt of upTo(5)) {
      id = unique("i")
      yield* Effect.gen(function*() {
        yield* signal(process, [begun(id, 1000 * 2 ** attempt)])
        yield* untilLast(instance(process, id), "deadline.Due")
      }).pipe(Effect.provide(run([process])))
      const { items } = yield* ProcessManager.list(process, { where: { nextDueAt: { gt: DateTime.makeUnsafe(0) } } })
      if (items.length > 0) break
    }
    const { overdue, reasons } = yield* until("an overdue deadline", check, ({ overdue }) => overdue !== undefined)
    equal(overdue?.id, id, "the instance")
    includes(reasons.join("\n"), `a deadline of the instance "${id}"`, "the reasons")
    equal((yield* check).status, "red", "the status")
    yield* Effect.gen(function*() {
      yield* untilState(process, id, (state) => state.includes("due"))
      const green = yield* until("green", check, ({ status }) => status === "green")
      equal(green.overdue, undefined, "what is overdue")
    }).pipe(Effect.provide(run([process])))
  }),

  test("a deadline in the past is overdue since it was set", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), {
      Begun: () => [ProcessManager.deadline("Due", { what: "past" }, { at: new Date(0) })],
      Went: () => {
        throw new Error("never")
      }
    })
    const check = (overdueTimeout: "1 hour" | "1 milli") => ProcessManager.health(process, { overdueTimeout })
    yield* Effect.gen(function*() {
      // The deadline waits for the input after it, which is parked.
      yield* signal(process, [begun(id), went(id, 1)])
      yield* untilParked(process, "inputs")
      equal((yield* check("1 hour")).overdue, undefined, "what has been overdue for an hour")
      const { overdue, reasons } = yield* until(
        "an overdue deadline",
        check("1 milli"),
        ({ overdue }) => overdue !== undefined
      )
      equal([overdue?.id, overdue?.nextDueAt?.epochMilliseconds], [id, 0], "what is overdue")
      const age = /has been overdue for (.*); run/.exec(reasons.join("\n"))?.[1] ?? "none"
      equal(/^(\d+[hms]+ ?)+$/.test(age), true, `that the age is less than a day: ${age}`)
    }).pipe(Effect.provide(run([process])))
  }),

  test("health is red while a deadline cannot be fired, which stops no other", function*() {
    const [id, other, second] = [unique("i"), unique("i"), unique("i")]
    const lines: Array<string> = []
    let isWrong = false
    const process = probe(uniqueName(), {
      Begun: (_, { n }) => [took(`begun ${n}`), due("50 millis")],
      evolve: (state, { what }) => {
        if (isWrong && (what === "begun 1" || what === "begun 3")) throw new Error("cannot be folded")
        return [...state, what]
      }
    })
    const check = ProcessManager.health(process, { overdueTimeout: "100 millis" })
    isWrong = true
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id)])
      yield* until("an overdue deadline", check, ({ overdue }) => overdue?.id === id)
      yield* signal(process, [begun(other, 2)])
      yield* untilState(process, other, (state) => state.includes("due"))
      equal((yield* check).status, "red", "the status")
      yield* signal(process, [begun(second, 3)])
      yield* until(
        "another one",
        check,
        ({ reasons }) => reasons.join("\n").includes(", and those of up to 1 other instance; ")
      )
      for (const stuck of [id, second]) {
        yield* until(
          "a line of each",
          Effect.sync(() => lines),
          (all) => all.some((line) => line.includes(`The deadlines of the instance "${stuck}" cannot be fired: `))
        )
      }
      isWrong = false
      yield* untilState(process, id, (state) => state.includes("due"))
      yield* untilState(process, second, (state) => state.includes("due"))
      yield* until("green", check, ({ status }) => status === "green")
    }).pipe(
      Effect.provide(run([process])),
      Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])),
      Effect.provideService(References.MinimumLogLevel, "Info")
    )
  }),

  test("health is red while a command fails for long, and green after the retry", function*() {
    const id = unique("i")
    const process = probe(uniqueName())
    let isWrong = true
    const onDo = () => {
      if (isWrong) throw new Error("no connection")
      return "done" as const
    }
    const check = ProcessManager.health(process, { overdueTimeout: "100 millis" })
    yield* Effect.gen(function*() {
      yield* signal(process, [begun(id), went(id, 1)])
      yield* untilParked(process, "outputs")
      const red = yield* until("red", check, ({ status }) => status === "red")
      includes(red.reasons.join("\n"), `the instance "${id}"`, "the reasons")
      includes(red.reasons.join("\n"), ": no connection", "the reasons")
      isWrong = false
      yield* ProcessManager.retry(process, id)
      yield* until("green", check, ({ status }) => status === "green")
    }).pipe(Effect.provide(run([process], { handling: { onDo } })))
  })
]

/** Formats nodes as their names, each with its effects in brackets. */
const shape = (nodes: ReadonlyArray<Causation.Node>, name: string): string =>
  nodes.map((node) => {
    const [own, below] = node._tag === "Command"
      ? [node.name ?? "?", [...node.events, ...node.caused]]
      : [node.event.type, node.caused]
    return `${own.replace(name, "p")}${below.length === 0 ? "" : `(${shape(below, name)})`}`
  }).join(" ")

const history: ReadonlyArray<Case<Stores>> = [
  test("the causation tree leads from an input to a deadline, a command and its events", function*() {
    const id = unique("i")
    const process = probe(uniqueName(), {
      Begun: () => [due("50 millis", "due")],
      Due: (_, { what }) => [ProcessManager.send(Do, { id, what })]
    })
    yield* Effect.gen(function*() {
      const { events: [input] } = yield* signal(process, [begun(id)])
      yield* untilDone(id, 1)
      const tree = Option.getOrThrow(yield* Causation.of({ eventId: input!.id }))
      equal(
        shape(tree.roots, process.name),
        "Begun(p.react(p.received p.deadline(p.react(p.fired p.send(Do(Done))))))",
        "the tree"
      )
      const actors = new Set<string | undefined>()
      const visit = (node: Causation.Node): void => {
        if (node._tag === "Command" && node.name !== undefined) actors.add(node.actor)
        for (const one of node._tag === "Command" ? [...node.events, ...node.caused] : node.caused) visit(one)
      }
      for (const root of tree.roots) visit(root)
      equal(Array.from(actors), [`process:${process.name}@1`], "the actors")
    }).pipe(Effect.provide(run([process])))
  }),

  test("upcasts own events that an earlier release wrote", function*() {
    const id = unique("i")
    const name = uniqueName()
    const contract = <E extends Event.Any>(events: E) =>
      ({
        inputs: Signal,
        where: { streamPrefix: `${name}.in-` },
        correlate: {
          Begun: ({ id }: { readonly id: string }) => ProcessManager.start(id),
          Went: ({ id }: { readonly id: string }) => ProcessManager.continue(id),
          Ended: ProcessManager.ignore
        },
        state: Schema.Array(Schema.String),
        events
      }) as const
    const before = ProcessManager.make(name, contract(ProbeEvent)).behaviour({
      initial: [],
      evolve: { Took: (state, { what }) => [...state, what] },
      react: { Begun: () => [took("begun")], Went: () => [took("went")] }
    })
    const Renamed = Schema.TaggedUnion({ Took: { input: Schema.String, times: Schema.Int } }).pipe(Event.upcasters({
      Took: Event.from({ what: Schema.String }).toCurrent(({ what }) => ({ input: what, times: 1 }))
    }))
    const after = ProcessManager.make(name, contract(Renamed)).behaviour({
      initial: [],
      evolve: { Took: (state, { input, times }) => [...state, `${input} ${times}`] },
      react: { Begun: () => [], Went: (state) => [{ _tag: "Took", input: `after ${state}`, times: 2 }] }
    })
    const layer = (process: typeof before | typeof after) => Layer.fresh(ProcessManager.layer([process]))
    yield* Effect.gen(function*() {
      yield* signal(before, [begun(id)])
      yield* untilLast(instance(before, id), "Took")
    }).pipe(Effect.provide(layer(before)))
    yield* Effect.gen(function*() {
      yield* signal(after, [went(id, 1)])
      const found = yield* until(
        "the second input",
        ProcessManager.inspect(after, id),
        (found) => Option.isSome(found) && found.value.state.state.length === 2
      )
      equal(Option.getOrThrow(found).state.state, ["begun 1", "after begun 1 2"], "the state")
    }).pipe(Effect.provide(layer(after)))
  }),

  test("the layer dies with two process managers of one name", function*() {
    const name = uniqueName()
    const layer = ProcessManager.layer([probe(name), probe(name)]).pipe(Layer.fresh, Layer.provide(targets()))
    const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer)))
    const message = Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "built"
    includes(message, `two process managers have the name "${name}"`, "the message")
  })
]

export const operationCases: ReadonlyArray<Case<Stores>> = [...operations, ...parkedInputs, ...health, ...history]
