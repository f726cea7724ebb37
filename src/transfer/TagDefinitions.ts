/**
 * The definitions by which an export adds tags. Its header has them, so that it cannot be resumed by a release that would add other tags.
 *
 * @since 0.1.0
 */
import type * as Event from "../event/Event.ts"
import { tagFieldsOf } from "../event/EventAnnotations.ts"
import * as EventFingerprints from "../event/EventFingerprints.ts"
import * as EventTags from "../event/EventTags.ts"

/**
 * The definition of each type of a set of events, by its name.
 *
 * @since 0.1.0
 * @category models
 */
export interface TagDefinitions {
  readonly [type: string]: {
    /** The tags in the order in which an event gets them, each as `<name>=<field>`. */
    readonly tags: ReadonlyArray<string>
    /** The fingerprint of each schema version. */
    readonly versions: ReadonlyArray<string>
  }
}

/**
 * Returns the definitions of a set of events.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (events: Event.Any): TagDefinitions => {
  const fields = tagFieldsOf(events)
  return Object.fromEntries(
    EventFingerprints.of(events).map(([type, versions]) => [
      type,
      { tags: EventTags.namesOf(events, type).map((name) => `${name}=${fields[type]?.[name]}`), versions }
    ])
  )
}

/** The differences that are named, so that the text stays short. */
const maxNamed = 3

/**
 * Returns how the definitions of an export differ from those of a program, or `undefined` if they are equal.
 *
 * @since 0.1.0
 * @category guards
 */
export const difference = (exported: TagDefinitions, own: TagDefinitions): string | undefined => {
  const types = Array.from(new Set([...Object.keys(exported), ...Object.keys(own)])).toSorted()
  const found = types.flatMap((type) =>
    differenceOf(definitionOf(exported, type), definitionOf(own, type), `"${type}"`) ?? []
  )
  if (found.length === 0) return undefined
  const more = found.length > maxNamed ? [`and ${found.length - maxNamed} more types differ`] : []
  return [...found.slice(0, maxNamed), ...more].join("; ")
}

type Definition = TagDefinitions[string]

const definitionOf = (definitions: TagDefinitions, type: string): Definition | undefined =>
  Object.hasOwn(definitions, type) ? definitions[type] : undefined

const differenceOf = (
  exported: Definition | undefined,
  own: Definition | undefined,
  type: string
): string | undefined => {
  if (exported === undefined) return `only this program's set has the type ${type}`
  if (own === undefined) return `only the file's set has the type ${type}`
  if (!areEqual(exported.tags, own.tags)) {
    return `${type} has the tags ${listOf(exported.tags)} in the file's set, and ${listOf(own.tags)} in this program's`
  }
  if (exported.versions.length !== own.versions.length) {
    return `${type} has ${exported.versions.length} schema versions in the file's set, and ${own.versions.length} in this program's`
  }
  const other = exported.versions.findIndex((version, index) => version !== own.versions[index])
  return other === -1 ? undefined : `schema version ${other + 1} of ${type} has another Schema, or leads to other types`
}

const areEqual = (a: ReadonlyArray<string>, b: ReadonlyArray<string>) =>
  a.length === b.length && a.every((text, index) => text === b[index])

const listOf = (tags: ReadonlyArray<string>) => tags.length === 0 ? "(none)" : tags.join(", ")
