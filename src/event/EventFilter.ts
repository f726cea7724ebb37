/**
 * Which events a reader or a consumer takes. It has the one matcher of events in TypeScript; the queries in SQL do the same.
 *
 * @since 0.1.0
 */

/**
 * Which events of its set a consumer or a reader takes; by default all of them.
 *
 * @since 0.1.0
 * @category options
 */
export interface EventFilter<out Tag extends string = string> {
  /** Only events that have all of these tags; `Event.tag` makes one. */
  readonly tags?: ReadonlyArray<Tag> | undefined
  /** Only events of streams whose name begins with this text, such as `Order-`. */
  readonly streamPrefix?: string | undefined
}

/**
 * An `EventFilter` that also selects by stored type.
 *
 * @since 0.1.0
 * @category options
 */
export interface TypeFilter extends EventFilter {
  /** Only events of one of these types. An empty array matches no event. */
  readonly types?: ReadonlyArray<string> | undefined
}

/**
 * What a matcher needs to know of an event.
 *
 * @since 0.1.0
 * @category models
 */
export interface Matchable {
  readonly stream: string
  readonly type: string
  readonly tags: ReadonlyArray<string>
}

/**
 * Returns a predicate that accepts the events of a filter.
 *
 * @since 0.1.0
 * @category constructors
 */
export const matcher = ({ streamPrefix, tags, types }: TypeFilter): (event: Matchable) => boolean => {
  const wantedTypes = types === undefined ? undefined : new Set(types)
  return (event) =>
    (wantedTypes === undefined || wantedTypes.has(event.type))
    && hasTags(tags, event)
    && (streamPrefix === undefined || event.stream.startsWith(streamPrefix))
}

/**
 * Returns whether an event has all of the given tags; without any it does.
 *
 * @since 0.1.0
 * @category guards
 */
export const hasTags = (tags: ReadonlyArray<string> = [], event: Pick<Matchable, "tags">): boolean =>
  tags.every((tag) => event.tags.includes(tag))

/**
 * Returns whether an event matches an item of a query by stored types.
 *
 * @since 0.1.0
 * @category guards
 */
export const matchesItem = (
  { tags, types = [] }: Pick<TypeFilter, "tags" | "types">,
  event: Pick<Matchable, "type" | "tags">
): boolean => (types.length === 0 || types.includes(event.type)) && hasTags(tags, event)
