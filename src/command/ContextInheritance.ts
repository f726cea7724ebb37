/**
 * What the commands of an effect inherit from the context around them.
 *
 * @since 0.1.0
 */
import type { CommandContext } from "./CommandContext.ts"

/**
 * Returns the context of a command inside another one. It inherits everything but the id and the expected version.
 *
 * @since 0.1.0
 * @category combinators
 */
export const inherit = (outer: CommandContext, context: CommandContext): CommandContext =>
  isEmpty(outer) ? withoutUndefined(context) : { ...shared(outer), ...withoutUndefined(context) }

/** Most commands have no context, or none around them. */
const isEmpty = (context: CommandContext): boolean => {
  for (const _ in context) return false
  return true
}

/**
 * Returns the part of a context that several commands can share: all but the id and the expected version.
 *
 * @since 0.1.0
 * @category combinators
 */
export const shared = (
  { commandId: _id, expected: _expected, lastEventId: _lastEventId, ...context }: CommandContext
): CommandContext => withoutUndefined(context)

/**
 * Returns a context without the fields that are `undefined`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withoutUndefined = (context: CommandContext): CommandContext =>
  Object.values(context).includes(undefined)
    ? Object.fromEntries(Object.entries(context).filter(([, value]) => value !== undefined))
    : context
