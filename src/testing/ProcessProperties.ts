/**
 * Properties of a process manager as tests for any runner. They are checked in the states to which generated inputs, deadlines and rejections lead.
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
 * Returns the properties of a process manager as test cases, each with a `name` and a `test` that fails with `SpecFailed`:
 *
 * - Every reaction returns, whatever has happened before, and what it returns satisfies its Schemas; `evolve` returns a valid state.
 * - Reactions are pure: the same inputs, deadlines and rejections lead to the same events.
 * - An instance that has ended takes no input, and has no deadline.
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
  const generators = stepsOf(process, options.inputs ?? {}, options.maxSteps ?? 20)
  const property = (what: string, wrong: (steps: ReadonlyArray<Step>) => string | undefined): Case<never> => {
    const propertyName = `${name}: ${what}`
    return {
      name: propertyName,
      test: Effect.flatMap(generators, (steps) => {
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

/**
 * Returns a generator of the steps of an instance. If inputs of some types start one, three of four instances begin with such an input:
 * with many types, few instances would start otherwise.
 */
const stepsOf = (
  process: ProcessContract.Any,
  given: Inputs,
  maxSteps: number
): Effect.Effect<Arbitrary.Arbitrary<ReadonlyArray<Step>>> =>
  Effect.gen(function*() {
    const inputs = process.handles.map((type) => given[type] ?? Arbitrary.schema(process.inputs.cases[type]!))
    const starting = yield* Effect.filter(inputs, (values) => canStart(process, values))
    const first = starting.map(stepWith)
    const step = oneOf([...inputs.map(stepWith), ...otherSteps(process)])
    const steps = (maxLength: number) => Arbitrary.array(step, { maxLength })
    if (first.length === 0 || maxSteps < 1) return steps(maxSteps)
    const begun = Arbitrary.map(
      Arbitrary.all({ first: oneOf(first), rest: steps(maxSteps - 1) }),
      ({ first, rest }): ReadonlyArray<Step> => [first, ...rest]
    )
    return oneOf<ReadonlyArray<Step>>([steps(maxSteps), begun, begun, begun])
  })

type Inputs = Readonly<Record<string, Arbitrary.Arbitrary<Event.Tagged> | undefined>>

/** Returns whether one of some generated inputs starts an instance. The seed is fixed, so that a replay generates the same steps. */
const canStart = (process: ProcessContract.Any, inputs: Arbitrary.Arbitrary<Event.Tagged>): Effect.Effect<boolean> =>
  Arbitrary.sampleEffect(inputs, { count: 20, seed: 1 }).pipe(
    Effect.map((sample) => sample.some((input) => starts(process, input))),
    // The property itself reports that its generator generates too few values.
    Effect.orElseSucceed(() => false)
  )

const starts = (process: ProcessContract.Any, input: Event.Tagged): boolean => {
  try {
    return ProcessInstance.take(process, ProcessInstance.make(process), input).after.status !== "unstarted"
  } catch {
    // The property reports what the reaction throws.
    return true
  }
}

const stepWith = (inputs: Arbitrary.Arbitrary<Event.Tagged>): Arbitrary.Arbitrary<Step> =>
  Arbitrary.map(inputs, (input): Step => ({ kind: "input", input }))

/** Returns generators of the next deadline, if the process has deadlines, and of the rejections of its commands. */
const otherSteps = (process: ProcessContract.Any): ReadonlyArray<Arbitrary.Arbitrary<Step>> => {
  const rejections = process.commands.flatMap((command) => {
    const error = declaredErrorSchema(command)
    if (error === undefined) return []
    // The contract takes only commands whose Schemas need no services.
    const errors = Arbitrary.schema(error as Schema.Codec<unknown, unknown>)
    return [Arbitrary.map(errors, (error): Step => ({ kind: "rejection", command: command._tag, error }))]
  })
  const hasDeadlines = Object.keys(process.deadlines).length > 0
  return hasDeadlines ? [...rejections, Arbitrary.Constant<Step>({ kind: "deadline" })] : rejections
}

const oneOf = <A>(generators: ReadonlyArray<Arbitrary.Arbitrary<A>>): Arbitrary.Arbitrary<A> =>
  Arbitrary.flatMap(
    Arbitrary.schema(Schema.Literals(generators.map((_, index) => index))),
    (index) => generators[index]!
  )

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
