/**
 * The functions and the first state of each model that `Decision.model` has made.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"

/**
 * What the state of a model depends on beside its events.
 *
 * @since 0.1.0
 * @category models
 */
export interface ModelParts {
  readonly evolve: Readonly<Record<string, unknown>>
  readonly initial: unknown
}

const parts = new WeakMap<object, ModelParts>()

/**
 * Sets the parts of a model.
 *
 * @since 0.1.0
 * @category constructors
 */
export const set = (model: object, ofModel: ModelParts): void => {
  parts.set(model, ofModel)
}

/**
 * Returns the parts of a model; `undefined` for one that `Decision.model` has not made.
 *
 * @since 0.1.0
 * @category accessors
 */
export const get = (model: object): ModelParts | undefined => parts.get(model)

/**
 * Returns whether models have the same state after the same events: they have the very same functions, and begin with the same data. Functions of
 * two calls of one factory differ, because they may close over its arguments.
 *
 * @since 0.1.0
 * @category guards
 */
export const areSame = (a: ModelParts, b: ModelParts): boolean => {
  const names = Object.keys(a.evolve)
  return names.length === Object.keys(b.evolve).length && names.every((name) => a.evolve[name] === b.evolve[name])
    && isSameData(a.initial, b.initial)
}

/** Whether two values are the same, or plain objects or arrays of the same values. */
const isSameData = (a: unknown, b: unknown): boolean => {
  if (Object.is(a, b)) return true
  if (!Predicate.isObjectOrArray(a) || !Predicate.isObjectOrArray(b)) return false
  const prototype: unknown = Object.getPrototypeOf(a)
  if (prototype !== Object.getPrototypeOf(b)) return false
  if (prototype !== Object.prototype && prototype !== Array.prototype) return false
  const keys = Reflect.ownKeys(a)
  return keys.length === Reflect.ownKeys(b).length
    && keys.every((key) => Object.hasOwn(b, key) && isSameData(Reflect.get(a, key), Reflect.get(b, key)))
}
