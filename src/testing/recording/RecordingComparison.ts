/**
 * Compares the states of a recording with those that the current code computes.
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import * as JsonDiff from "../../core/json/JsonDiff.ts"
import type * as RecordingFile from "./RecordingFile.ts"
import type * as RecordingFold from "./RecordingFold.ts"
import type * as RecordingReport from "./RecordingReport.ts"

/**
 * One stream or document, with its state on both sides.
 *
 * @since 0.1.0
 * @category models
 */
export interface Item extends RecordingFile.Model {
  readonly id: string
  recorded: Schema.Json
  today: Schema.Json
  events: number
  differentEvents: number
  changes: ReadonlyArray<JsonDiff.Change>
  first: Pick<RecordingReport.Difference, "from" | "firstChanges"> | undefined
}

/**
 * Returns a state as it is compared.
 *
 * @since 0.1.0
 * @category models
 */
export type Normaliser = (
  model: RecordingFile.Model,
  encoded: Schema.Json,
  side: "recorded" | "today"
) => Schema.Json

/**
 * The items that a replay compares.
 *
 * @since 0.1.0
 * @category models
 */
export interface Items {
  readonly all: () => ReadonlyArray<Item>
  /** Returns the item. An item that is not there yet starts with `null` on both sides. */
  readonly find: (model: RecordingFile.Model, id: string) => Item
  /** Compares both sides of the item after the event. */
  readonly compare: (item: Item, event: RecordingReport.Place) => void
}

/**
 * Returns an empty set of items.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeItems = (normalise: Normaliser): Items => {
  const items = new Map<string, Item>()
  return {
    all: () => Array.from(items.values()),
    find: (model, id) => {
      const name = JSON.stringify([model.kind, model.name, id])
      const found = items.get(name)
      if (found !== undefined) return found
      const { kind, name: modelName } = model
      const item: Item = {
        kind,
        name: modelName,
        id,
        recorded: null,
        today: null,
        events: 0,
        differentEvents: 0,
        changes: [],
        first: undefined
      }
      items.set(name, item)
      return item
    },
    compare: (item, event) => {
      item.events++
      const [before, after] = [normalise(item, item.recorded, "recorded"), normalise(item, item.today, "today")]
      item.changes = JsonDiff.between(before, after)
      // Equal states share one value in memory, unless `normalise` has changed one of them.
      if (item.changes.length === 0 && before === item.recorded && after === item.today) item.today = item.recorded
      if (item.changes.length === 0) return
      item.differentEvents++
      item.first ??= { from: event, firstChanges: item.changes }
    }
  }
}

/**
 * Returns the failures that only one side has.
 *
 * @since 0.1.0
 * @category accessors
 */
export const failuresOnOneSide = (
  recorded: ReadonlyArray<RecordingFold.Failed>,
  today: ReadonlyArray<RecordingFold.Failed>,
  event: RecordingReport.Place
): ReadonlyArray<RecordingReport.Failure> => {
  const only = (
    some: ReadonlyArray<RecordingFold.Failed>,
    others: ReadonlyArray<RecordingFold.Failed>,
    when: RecordingReport.Failure["when"]
  ) =>
    some.filter((one) => !others.some((other) => nameOf(other) === nameOf(one)))
      .map(({ detail, kind, name }) => ({ kind, name, when, event, detail }))
  return [...only(today, recorded, "today"), ...only(recorded, today, "recorded")]
}

/**
 * Returns the report on some models: how many items each has, and which of them differ.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reportOf = (
  models: ReadonlyArray<RecordingFile.Model>,
  items: ReadonlyArray<Item>
): Pick<RecordingReport.Report, "compared" | "differences"> => ({
  compared: models.map(({ kind, name }) => {
    const own = items.filter((item) => item.kind === kind && item.name === name)
    return { kind, name, items: own.length, different: own.filter(({ first }) => first !== undefined).length }
  }),
  differences: items.flatMap(({ changes, differentEvents, events, first, id, kind, name, recorded, today }) =>
    first === undefined ? [] : [{ kind, name, id, ...first, differentEvents, events, recorded, today, changes }]
  ).toSorted((a, b) => Number(a.from.position - b.from.position))
})

/**
 * Returns the kind and the name of a model, which together are unique.
 *
 * @since 0.1.0
 * @category accessors
 */
export const nameOf = ({ kind, name }: RecordingFile.Model): string => `${kind} ${name}`
