/**
 * Decisions across several streams: decision models, each folded from the events of a query, and a pure function that decides on all of them.
 * The append fails if other events have matched the queries since: a dynamic consistency boundary (https://dcb.events).
 *
 * @since 0.1.0
 */
import type * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Command from "../command/Command.ts"
import { deepFreeze, freezeOutsideProduction } from "../core/deepFreeze.ts"
import * as SchemaIssues from "../core/schemaIssues.ts"
import type * as StreamId from "../core/StreamId.ts"
import * as userCode from "../core/userCode.ts"
import type * as Version from "../core/Version.ts"
import * as Event from "../event/Event.ts"
import * as EventMerge from "../event/EventMerge.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import type { QueryItem } from "../event/EventQuery.ts"
import * as EventTags from "../event/EventTags.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as ModelParts from "./ModelParts.ts"

/**
 * The outcome of a command: events, or an error that the command declares. Without events nothing is appended. The error comes first, so that the
 * compiler's messages begin with it.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome<Error, E> = ReadonlyArray<E> | Result.Result<ReadonlyArray<E>, Error>

/**
 * The Schema of a model's state. Like an event it is encoded and decoded without services.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateSchema extends Schema.Top {
  readonly DecodingServices: never
  readonly EncodingServices: never
}

/**
 * A decision model: a state that is folded from the events of some types and tags.
 *
 * @since 0.1.0
 * @category models
 */
export interface Model<State, out Events extends Event.Any = Event.Any> {
  readonly events: Events
  /** The Schema of the state, if it has one. */
  readonly state?: StateSchema | undefined
  /** The names of the events that `evolve` handles. */
  readonly handles: ReadonlyArray<string>
  /** Selects the events by their stored types and tags. */
  readonly query: QueryItem
  /** The names of the tags that all stored events of the types must have. */
  readonly requiredTags: ReadonlyArray<string>
  /** The state before the first event. */
  readonly initial: State
  // A method is compared bivariantly, so that models of different states fit into one record. Each is folded only from its own `initial`.
  evolve(state: State, event: Event.Tagged): State
}

/**
 * The models of a decision, by the names under which `decide` receives their states.
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
 * The event types of models, by the same names.
 *
 * @since 0.1.0
 * @category models
 */
export type EventsOf<M> = {
  readonly [K in keyof M]: M[K] extends { readonly events: infer Events extends Event.Any } ? Event.Of<Events> : never
}

/**
 * The values of tags, by the names that a set declares.
 *
 * @since 0.1.0
 * @category models
 */
export type TagValues<Events extends Event.Any> = [Event.TagName<Events>] extends [never]
  ? { readonly [name: string]: NoTagsDeclared }
  : { readonly [K in Event.TagName<Events>]?: string }

/** Names the mistake in the compiler's message. */
interface NoTagsDeclared {
  readonly "these events have no tags; declare them by Event.tags": never
}

/**
 * Defines a decision model. It selects the events that `evolve` handles, under all names that they were stored with, and that have all the tags.
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
 * Name the most selective tag first, because the store finds events by it. A model without tags reads the whole log.
 *
 * @since 0.1.0
 * @category constructors
 */
export const model = <const Events extends Event.Any, State>(options: {
  /** The event types. */
  readonly events: Events
  /** The values of tags, by the names that `Event.tags` declares. */
  readonly tags?: TagValues<NoInfer<Events>> | undefined
  /**
   * What to do if the log has events of these types without one of the tags, which were stored before the set declared it. The model does not find
   * them. With `"reject"`, the default, the command fails with `EventsUntagged`; with `"ignore"` it is decided without them.
   */
  readonly untagged?: "reject" | "ignore" | undefined
  /** The state before the first event. */
  readonly initial: State
  /** For some event types, the state after the event; the model does not read the others. */
  readonly evolve: {
    readonly [K in Event.Tag<Events>]?: (state: NoInfer<State>, event: Event.Case<Events, K>) => NoInfer<State>
  }
  /** The Schema of the state. `TimeTravel.decisionDiff` needs it for states that are not plain JSON. */
  readonly state?: (StateSchema & { readonly Type: NoInfer<State> }) | undefined
}): Model<State, Events> => {
  // The handler calls `evolve` only with events that it decoded with `events`, of the types in the query.
  const evolve = options.evolve as Readonly<Record<string, (state: State, event: never) => State>>
  const tags: Readonly<Record<string, unknown>> = options.tags ?? {}
  const wrong = EventTags.validateNames(options.events, Object.keys(evolve), Object.keys(tags), "every")
  if (wrong !== undefined) throw new Error(`Decision.model: ${wrong}`)
  const isPersonal = EventPersonalData.hasPersonalData(options.events)
  const model: Model<State, Events> = {
    events: options.events,
    state: options.state,
    handles: Object.keys(evolve),
    query: {
      types: Event.storedTypes(options.events, Object.keys(evolve)),
      tags: Object.entries(tags).map(([name, value]) => {
        if (typeof value === "string") return Event.tag(name, value)
        throw new Error(
          `Decision.model: the value of the tag "${name}" is of type ${typeof value}; it must be a string`
        )
      })
    },
    requiredTags: options.untagged === "ignore" ? [] : Object.keys(tags),
    // Every decision begins with it, so it is frozen in production too.
    initial: deepFreeze(options.initial),
    evolve: (state, event) => {
      const evolveOne = evolve[event._tag]
      return evolveOne === undefined ? state : freezeOutsideProduction(
        userCode.run(
          `evolve of a decision model on "${event._tag}"`,
          isPersonal,
          () => evolveOne(state, event as never)
        )
      )
    }
  }
  ModelParts.set(model, { evolve: { ...evolve }, initial: options.initial })
  return model
}

/**
 * A command with its decision models.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decision<C extends Command.Any, Events extends Event.Any, out M extends Models = Models> {
  readonly command: C
  readonly events: Events
  readonly models: (payload: Command.Payload<C>) => M
  /** Returns the stream that the events go to; without it, they go to a stream of their own. */
  readonly stream: ((payload: Command.Payload<C>) => string) | undefined
  readonly expected: Version.Expected | undefined
  readonly decide: (
    states: Readonly<Record<string, unknown>>,
    payload: Command.Payload<C>
  ) => Outcome<Command.DeclaredError<C>, Event.Of<Events>>
}

/**
 * Defines how a command is decided: its models, and the decision on their states.
 *
 * **Details**
 *
 * The events go to the stream that `stream` names, such as that of an aggregate, whose commands then see them. Without `stream` they go to a
 * stream of their own, `<command>-<command id>`, and are found by their tags alone.
 *
 * **Example** (a student enrols in a course, if both have room)
 *
 * ```ts
 * const Enrol = Decision.make(EnrolStudent, {
 *   events: CourseEvent,
 *   stream: (c) => Course.streamOf(c.courseId),
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
export const make = <
  C extends Command.Any,
  const Events extends Event.Any,
  M extends Models,
  Stream extends string = string
>(command: C, options: {
  /** The events that the command may lead to. */
  readonly events: Events
  /**
   * Returns the stream that the events go to. The stream of an aggregate takes only events of that aggregate. Without it, the events of each
   * command go to a stream of their own, so they have no order with others of the same entity, and no aggregate sees them.
   */
  readonly stream?:
    | ((payload: Command.Payload<C>) => Stream & StreamId.Accepts<Stream, Event.Of<NoInfer<Events>>>)
    | undefined
  /**
   * The version that the stream must have, such as `"noStream"`; `"any"` by default. `expected` in the context of the command takes precedence. A
   * conflict with it is not retried.
   */
  readonly expected?: Version.Expected | undefined
  /** Returns the models of a payload. */
  readonly models: (payload: Command.Payload<C>) => M
  readonly decide: (
    states: States<M>,
    payload: Command.Payload<C>
  ) => NoInfer<Outcome<Command.DeclaredError<C>, Event.Of<Events>>>
}): Decision<C, Events, M> => {
  // Throws when personal data is where it cannot be encrypted.
  const isPersonal = EventPersonalData.hasPersonalData(options.events)
    || PersonalFields.isPersonalSchema(command.payloadSchema)
  const definitions = SchemaIssues.definitionsOf([
    ...Object.values(options.events.cases),
    command.payloadSchema,
    command.errorSchema
  ])
  let modelsArePersonal: boolean | undefined
  const { stream } = options
  return {
    command,
    events: options.events,
    models: (payload) => {
      const models = userCode.run(
        `models of "${command._tag}"`,
        isPersonal || modelsArePersonal === true,
        () => options.models(payload)
      )
      EventMerge.requireSameSets(`Decision.make("${command._tag}")`, options.events, models)
      if (modelsArePersonal !== true) modelsArePersonal = EventPersonalData.modelsHavePersonalData(models)
      return models
    },
    stream: stream &&
      ((payload) =>
        userCode.run(`stream of "${command._tag}"`, isPersonal || modelsArePersonal === true, () => stream(payload))),
    expected: options.expected,
    decide: (states, payload) =>
      // Without its models it is not known what the states contain.
      userCode.run(
        `decide of "${command._tag}"`,
        isPersonal || modelsArePersonal !== false,
        // The handler folds the states from these models, under their names.
        () => options.decide(deepFreeze(states) as States<M>, payload),
        definitions
      )
  }
}
