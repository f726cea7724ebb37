/**
 * Decisions over several entities at once: pure models, each a view of the events it asks for, and a pure function that decides on
 * all of them together. What was read is what the decision holds for: a dynamic consistency boundary (https://dcb.events).
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import type * as Decider from "../aggregate/Decider.ts"
import type * as Command from "../command/Command.ts"
import * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { QueryItem } from "../event/EventQuery.ts"

/**
 * The Schema of a state; like an event it is encoded and decoded without services.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateSchema extends Schema.Top {
  readonly DecodingServices: never
  readonly EncodingServices: never
}

/**
 * A state folded from the events of some types and tags.
 *
 * - `query`: which events
 * - `initial`, `evolve`: how they make the state
 * - `state`: the Schema of the state, if it was given one
 *
 * @since 0.1.0
 * @category models
 */
export interface Model<State, out Events extends Event.Any = Event.Any> {
  readonly events: Events
  readonly state?: StateSchema | undefined
  readonly query: QueryItem
  readonly initial: State
  // A method, and so compared loosely: models of all states go into one record, each only ever folded from its own `initial`.
  evolve(state: State, event: Event.Tagged): State
}

/**
 * The models of a decision, by names of its own.
 *
 * @since 0.1.0
 * @category models
 */
export type Models = Readonly<Record<string, Model<unknown>>>

/**
 * The states of models, by the same names.
 *
 * @since 0.1.0
 * @category models
 */
export type States<M> = { readonly [K in keyof M]: M[K] extends Model<infer State> ? State : never }

/**
 * The events that models are folded from, by the same names.
 *
 * @since 0.1.0
 * @category models
 */
export type EventsOf<M> = {
  readonly [K in keyof M]: M[K] extends { readonly events: infer Events extends Event.Any } ? Event.Of<Events> : never
}

/**
 * Defines a model. It asks for the events that `evolve` handles, under whatever names they were stored, with all of the tags.
 *
 * **Example** (how full a course is)
 *
 * ```ts
 * const CourseCapacity = (courseId: CourseId) =>
 *   Decision.model({
 *     events: CourseEvent,
 *     tags: { course: courseId },
 *     initial: { capacity: 0, enrolled: 0 },
 *     evolve: {
 *       CourseDefined: (s, e) => ({ ...s, capacity: e.capacity }),
 *       StudentEnrolled: (s) => ({ ...s, enrolled: s.enrolled + 1 })
 *     }
 *   })
 * ```
 *
 * **Gotchas**
 *
 * Name the most telling tag first: events are found by it. A model without tags looks through the whole log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const model = <const Events extends Event.Any, State>(options: {
  readonly events: Events
  /** Values of tags by the names that `Event.tags` declares. */
  readonly tags?: Readonly<Record<string, string>> | undefined
  readonly initial: State
  readonly evolve: {
    readonly [K in Event.Tag<Events>]?: (state: NoInfer<State>, event: Event.Case<Events, K>) => NoInfer<State>
  }
  /** The Schema of the state, by which two of them can be told apart (`TimeTravel.decisionDiff`) where they are no plain JSON. */
  readonly state?: (StateSchema & { readonly Type: NoInfer<State> }) | undefined
}): Model<State, Events> => {
  // A runner hands `evolve` only events that it decoded with `events`, of the types asked for.
  const evolve = options.evolve as Readonly<Record<string, (state: State, event: never) => State>>
  return {
    events: options.events,
    state: options.state,
    query: {
      types: Event.storedTypes(options.events, Object.keys(evolve)),
      tags: Object.entries(options.tags ?? {}).map(([name, value]) => Event.tag(name, value))
    },
    initial: options.initial,
    evolve: (state, event) => {
      const evolveOne = evolve[event._tag]
      return evolveOne === undefined ? state : evolveOne(state, event as never)
    }
  }
}

/**
 * A command that is decided on models.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decision<C extends Command.Any, Events extends Event.Any, out M extends Models = Models> {
  readonly command: C
  readonly events: Events
  readonly models: (payload: Command.Payload<C>) => M
  readonly decide: (
    states: Readonly<Record<string, unknown>>,
    payload: Command.Payload<C>
  ) => Decider.Decision<Event.Of<Events>, Command.DeclaredError<C>>
}

/**
 * Defines how a command is decided: on which models, and with what outcome. The events belong to no instance of an aggregate; they are
 * found by their tags.
 *
 * **Example** (a student enrols in a course, if both have room)
 *
 * ```ts
 * const Enrol = Decision.make(EnrolStudent, {
 *   events: CourseEvent,
 *   models: (c) => ({ course: CourseCapacity(c.courseId), student: StudentEnrolments(c.studentId) }),
 *   decide: ({ course, student }, c) =>
 *     course.enrolled >= course.capacity
 *       ? Result.fail(new CourseFull({ courseId: c.courseId }))
 *       : [CourseEvent.cases.StudentEnrolled.make(c)]
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <C extends Command.Any, const Events extends Event.Any, M extends Models>(command: C, options: {
  /** The events it may decide on. */
  readonly events: Events
  readonly models: (payload: Command.Payload<C>) => M
  readonly decide: (
    states: States<M>,
    payload: Command.Payload<C>
  ) => NoInfer<Decider.Decision<Event.Of<Events>, Command.DeclaredError<C>>>
}): Decision<C, Events, M> => {
  // What cannot be encrypted is refused now.
  EventPersonalData.fieldLocators(options.events)
  return {
    command,
    events: options.events,
    models: options.models,
    // A runner makes the states from these very models, under their names.
    decide: (states, payload) => options.decide(states as States<M>, payload)
  }
}
