/**
 * One set of the events of several.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import type { Any, AnyCase, Of, Tag } from "./Event.ts"
import {
  type DeclaredTags,
  LegacyAnnotation,
  legacyOf,
  type StoredVersions,
  tagFieldsOf,
  TagsAnnotation,
  UpcastersAnnotation,
  upcastersOf
} from "./EventAnnotations.ts"

/**
 * The events of several sets in one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Merged<Sets extends ReadonlyArray<Any>>
  extends Schema.Codec<Of<Sets[number]>, Sets[number]["Encoded"]>
{
  readonly cases: Types.UnionToIntersection<Sets[number]["cases"]>
  readonly "~evsrc/Event/versions"?: Types.UnionToIntersection<StoredVersions<Sets[number]>>
  readonly "~evsrc/Event/tags"?: Types.UnionToIntersection<DeclaredTags<Sets[number]>>
}

/**
 * What the compiler reports for two sets that have different events of one name.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventConflict<out Name> {
  readonly "two sets have different events of this name; rename one": Name
}

/** The events of all sets whose names the set `E` has. */
type Namesakes<Sets extends ReadonlyArray<Any>, E extends Any> = Extract<Of<Sets[number]>, { readonly _tag: Tag<E> }>

type WithoutConflicts<Sets extends ReadonlyArray<Any>> = {
  readonly [I in keyof Sets]: [Namesakes<Sets, Sets[I]>] extends [Of<Sets[I]>] ? unknown
    : EventConflict<Exclude<Namesakes<Sets, Sets[I]>, Of<Sets[I]>>["_tag"]>
}

/**
 * Returns one set with the events of several, including their upcasters, legacy types and tags. An event may be in several of the sets, if
 * it is the same case with the same tags and upcasters. Throws when two sets use one name for different events, current or legacy.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = <const Sets extends ReadonlyArray<Any>>(
  ...sets: Sets & WithoutConflicts<Sets>
): Merged<Sets> => {
  const given: ReadonlyArray<Any> = sets
  const cases = new Map<string, AnyCase>()
  for (const [index, set] of given.entries()) {
    for (const earlier of given.slice(0, index)) {
      const conflict = conflictOf(earlier, set)
      if (conflict !== undefined) throw new Error(`Event.merge: two sets have ${conflict}`)
    }
    for (const name of Object.keys(set.cases)) cases.set(name, set.cases[name]!)
  }
  const annotations = {
    [UpcastersAnnotation]: Object.assign({}, ...given.map(upcastersOf)),
    [LegacyAnnotation]: Object.assign({}, ...given.map(legacyOf)),
    [TagsAnnotation]: Object.assign({}, ...given.map(tagFieldsOf))
  }
  const union = Schema.Union(Array.from(cases.values())).annotate(annotations)
  // The union of the cases of all sets, which the compiler has lost with their names.
  return Schema.toTaggedUnion("_tag")(union) as Schema.Top as Merged<Sets>
}

const namesOf = (set: Any): ReadonlySet<string> => new Set([...Object.keys(set.cases), ...Object.keys(legacyOf(set))])

/**
 * Returns which event two sets have under one name, but not as the same event, and what to do; `undefined` if there is none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const conflictOf = (a: Any, b: Any): string | undefined => {
  if (a === b) return undefined
  const names = namesOf(a)
  for (const name of namesOf(b)) {
    const difference = names.has(name) ? differenceOf(name, a, b) : undefined
    if (difference !== undefined) {
      return `an event "${name}" ${difference}; names are global to a log, so rename one, or use the same case in both`
    }
  }
  return undefined
}

const differenceOf = (name: string, a: Any, b: Any): string | undefined =>
  a.cases[name] !== b.cases[name] || legacyOf(a)[name] !== legacyOf(b)[name]
    ? "with different Schemas"
    : storedDifferenceOf(name, a, b)

/** Returns in what the events of one name that two sets store differ, or `undefined`. Different tags would leave events of one set unfound. */
const storedDifferenceOf = (name: string, a: Any, b: Any): string | undefined =>
  upcastersOf(a)[name] !== upcastersOf(b)[name]
    ? "with different upcasters"
    : !hasSameEntries(tagFieldsOf(a)[name] ?? {}, tagFieldsOf(b)[name] ?? {})
    ? "with different tags"
    : undefined

const hasSameEntries = (a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean =>
  Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([key, value]) => b[key] === value)

const compared = new WeakMap<Any, WeakMap<Any, string | undefined>>()

/** Returns what is wrong with writing events by one set and reading them by another, or `undefined`. */
const readerProblem = (written: Any, read: Any): string | undefined => {
  if (written === read) return undefined
  const known = compared.get(read) ?? new WeakMap<Any, string | undefined>()
  compared.set(read, known)
  if (known.has(written)) return known.get(written)
  const differences = Object.keys(written.cases).filter((name) => Object.hasOwn(read.cases, name)).flatMap((name) => {
    const difference = storedDifferenceOf(name, written, read)
    return difference === undefined ? [] : [`the event "${name}" is written and read ${difference}`]
  })
  const wrong = differences.length === 0
    ? undefined
    : `${differences[0]!}, so not every event would be found; use one set for both`
  known.set(written, wrong)
  return wrong
}

/**
 * Throws when a model reads events that the command writes, but with other tags or upcasters, so that it would not find or not decode them.
 *
 * @since 0.1.0
 * @category guards
 */
export const requireSameSets = (
  what: string,
  written: Any,
  models: Readonly<Record<string, { readonly events: Any }>>
): void => {
  for (const [name, { events }] of Object.entries(models)) {
    const problem = readerProblem(written, events)
    if (problem !== undefined) {
      throw new Error(`${what}: model "${name}" has another set of events than the command: ${problem}`)
    }
  }
}
