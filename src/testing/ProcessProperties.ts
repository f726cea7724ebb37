/**
 * Properties of a process manager, checked in the states that generated inputs, deadlines and rejections lead to, as tests for any runner.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import type { Case } from "../conformance/Suite.ts"
import type * as Event from "../event/Event.ts"
import type * as ProcessContract from "../process/ProcessContract.ts"
import { declaredErrorSchema } from "../process/ProcessEvents.ts"
import * as ProcessInstance from "./processInstance.ts"
import * as properties from "./properties.ts"
import { SpecFailed } from "./SpecFailed.ts"

/**
 * Options of the generated steps.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<Inputs extends Event.Any> extends properties.Options {
  /** Generators of inputs, by the name of the event. Give one where the Schema of an event is so wide that most reactions do nothing. */
  readonly inputs?:
    | { readonly [Tag in Event.Tag<Inputs>]?: Arbitrary.Arbitrary<Event.Case<Inputs, Tag>> }
    | undefined
  /** The highest number of steps of an instance; 20 by default. */
  readonly maxSteps?: number | undefined
  /** The lowest number of generated instances that have started; a fifth of `runs` by default. With fewer the property fails. */
  readonly minStarted?: number | undefined
}

/** What happens to an instance. */
type Step =
  | { readonly kind: "input"; readonly input: Event.Tagged }
  | { readonly kind: "deadline" }
  | { readonly kind: "rejection"; readonly command: string; readonly error: unknown }

/**
 * Returns the properties of a process manager:
 *
 * - Every reaction returns, whatever has happened before, and what it returns satisfies its Schemas; `evolve` returns a valid state.
 * - Reactions are pure: the same inputs, deadlines and rejections lead to the same events.
 * - An instance that has ended takes nothing, and has no deadline.
 *
 * All inputs of a run belong to one instance, whatever id `correlate` returns. A property fails if too few of the generated instances have started.
 *
 * **Example** (with vitest)
 *
 * ```ts
 * for (const { name, test } of ProcessProperties.all(Fulfilment)) it.effect(name, () => test)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const all = <State, Inputs extends Event.Any, E, C extends Command.Any>(
  process: ProcessContract.ProcessDefinition<State, Inputs, E, C>,
  options: Options<Inputs> = {}
): ReadonlyArray<Case<never>> => {
  const { name } = process
  const steps = Arbitrary.array(stepOf(process, options.inputs ?? {}), { maxLength: options.maxSteps ?? 20 })
  const property = (what: string, wrong: (steps: ReadonlyArray<Step>) => string | undefined): Case<never> => {
    const propertyName = `${name}: ${what}`
    return {
      name: propertyName,
      test: Effect.suspend(() => {
        let started = 0
        const checked = properties.check(propertyName, steps, (generated) => {
          if (isStarted(process, generated)) started++
          return wrong(generated)
        }, options)
        return Effect.andThen(checked, Effect.suspend(() => enough(propertyName, started, options)))
      })
    }
  }
  return properties.of([
    property("reacts to everything, with valid events and states", (steps) => run(process, steps).wrong),
    property("reacts to the same with the same events", (steps) => {
      const [first, second] = [run(process, steps), run(process, steps)]
      const [one, other] = [properties.show(first.events), properties.show(second.events)]
      return one === other ? undefined : `the same steps led to ${one}, and then to ${other}`
    }),
    property("takes nothing after its end", (steps) => run(process, steps).afterEnd)
  ], options)
}

/** Generates a step: an input that is not ignored, the next deadline, or the rejection of a command. */
const stepOf = (
  process: ProcessContract.Any,
  given: Readonly<Record<string, Arbitrary.Arbitrary<Event.Tagged> | undefined>>
): Arbitrary.Arbitrary<Step> => {
  const { cases } = process.inputs
  const inputs = process.handles.map((type) =>
    Arbitrary.map(given[type] ?? Arbitrary.schema(cases[type]!), (input): Step => ({ kind: "input", input }))
  )
  const rejections = process.commands.flatMap((command) => {
    const error = declaredErrorSchema(command)
    if (error === undefined) return []
    // The contract takes only commands whose Schemas need no services.
    const errors = Arbitrary.schema(error as Schema.Codec<unknown, unknown>)
    return [Arbitrary.map(errors, (error): Step => ({ kind: "rejection", command: command._tag, error }))]
  })
  const deadline = Arbitrary.map(Arbitrary.schema(Schema.Null), (): Step => ({ kind: "deadline" }))
  const kinds = [...inputs, ...rejections, ...Object.keys(process.deadlines).length === 0 ? [] : [deadline]]
  return Arbitrary.flatMap(Arbitrary.schema(Schema.Literals(kinds.map((_, index) => index))), (index) => kinds[index]!)
}

const after = (
  process: ProcessContract.Any,
  instance: ProcessInstance.Instance,
  step: Step
): ProcessInstance.Instance | undefined => {
  switch (step.kind) {
    case "input":
      return ProcessInstance.take(process, instance, step.input)
    case "deadline":
      return ProcessInstance.fireNext(process, instance)
    case "rejection":
      return ProcessInstance.reject(process, instance, step.command, step.error)
  }
}

/** What an instance has done. */
interface Run {
  readonly events: ReadonlyArray<Event.Tagged>
  readonly isStarted: boolean
  readonly wrong: string | undefined
  readonly afterEnd: string | undefined
}

const run = (process: ProcessContract.Any, steps: ReadonlyArray<Step>): Run => {
  const isState = Schema.is(Schema.toType(process.state))
  const events: Array<Event.Tagged> = []
  let instance = ProcessInstance.make(process)
  const found = (wrong: Partial<Run> = {}): Run => ({
    events,
    isStarted: instance.after.status !== "unstarted",
    wrong: undefined,
    afterEnd: undefined,
    ...wrong
  })
  for (const step of steps) {
    const { after: before } = instance
    const on = () => `${properties.show(step)} on ${properties.show(before.state)}`
    try {
      instance = after(process, instance, step) ?? { ...instance, step: { events: [], ignored: undefined } }
    } catch (cause) {
      return found({ wrong: `${on()} throws: ${String(cause)}` })
    }
    const { after: { deadlines, state }, step: done } = instance
    if (!isState(state)) {
      return found({ wrong: `${on()} leads to a state that does not satisfy its Schema: ${properties.show(state)}` })
    }
    const hasEnded = before.status === "completed"
    if (hasEnded && (done.events.length > 0 || Object.keys(deadlines).length > 0)) {
      return found({ afterEnd: `${on()} leads to ${properties.show(done.events)} after the end` })
    }
    events.push(...done.events)
  }
  return found()
}

const isStarted = (process: ProcessContract.Any, steps: ReadonlyArray<Step>): boolean => {
  const { isStarted, wrong } = run(process, steps)
  // A fault is reported, however few have started.
  return isStarted || wrong !== undefined
}

const enough = (
  name: string,
  started: number,
  options: Pick<Options<Event.Any>, "minStarted" | "runs" | "replay">
): Effect.Effect<void, SpecFailed> => {
  const runs = options.runs ?? properties.defaultRuns
  const min = options.minStarted ?? Math.ceil(runs / 5)
  if (started >= min || properties.isReplayOf(name, options)) return Effect.void
  const message =
    `Too few of the generated instances have started: give generators of the inputs that start one as \`inputs\`, raise \`maxSteps\` or \`runs\`, or `
    + `lower \`minStarted\``
  return Effect.fail(new SpecFailed(message, `at least ${min} of ${runs} instances that have started`, started))
}
