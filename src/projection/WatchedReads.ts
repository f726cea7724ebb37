/**
 * The reads of those that watch documents: watchers of one document, or of one page, share the read that a change makes necessary.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../core/errors.ts"
import { internals } from "../core/internals.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import * as FollowerReads from "../eventStore/FollowerReads.ts"
import * as DecryptedValues from "../personalData/DecryptedValues.ts"
import type * as Projection from "./ProjectionDefinition.ts"
import type { ProjectionStoreDriver } from "./ProjectionStoreDriver.ts"

/**
 * What a watcher reads of a projection.
 *
 * @since 0.1.0
 * @category models
 */
export interface Watched<What> {
  readonly projection: Projection.Any
  readonly what: What
}

/** The reads of live and inline projections also depend on the event store of the watcher. */
interface Request<What> extends Watched<What> {
  readonly store: EventStore["Service"] | undefined
}

/**
 * Returns a function that reads for a watcher. It shares the read with the watchers that ask for the same before it begins. A watcher in a
 * transaction of its own, or in a handler, whose errors must not quote what it has read, reads for itself.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*<What, A>(
  driver: ProjectionStoreDriver,
  read: (watched: Watched<What>) => Effect.Effect<A, EventStoreError>,
  /** Returns an equal JSON value for what is the same. */
  identify: (what: What) => unknown
): Effect.fn.Return<(watched: Watched<What>) => Effect.Effect<A, EventStoreError>, never, Scope.Scope> {
  const numberOf = numbers()
  const shared = yield* FollowerReads.make<Request<What>, A>({
    asFollower: driver.asFollower,
    isAlone: Effect.contextWith((caller: Context.Context<never>) =>
      Context.get(caller, DecryptedValues.Current) !== undefined
        || Option.exists(
          Context.getOption(caller, EventStore),
          (store) => store[internals].driver.inTransaction(caller)
        )
        ? Effect.succeed(true)
        : driver.isInTransaction
    ),
    keyOf: ({ projection, store, what }) =>
      FollowerReads.textOf([numberOf(projection), store === undefined ? 0 : numberOf(store), identify(what)]),
    read
  })
  return (watched) =>
    Effect.flatMap(
      Effect.serviceOption(EventStore),
      (store) => shared({ ...watched, store: Option.getOrUndefined(store) })
    )
})

/** Returns a function that gives each object a number of its own, from 1. */
const numbers = () => {
  const given = new WeakMap<object, number>()
  let last = 0
  return (object: object): number => {
    const number = given.get(object) ?? ++last
    given.set(object, number)
    return number
  }
}
