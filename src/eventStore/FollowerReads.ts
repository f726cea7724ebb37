/**
 * The reads of those that follow the log: equal ones that wait for their turn are one read.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../core/errors.ts"
import * as DecryptedValues from "../personalData/DecryptedValues.ts"
import type { EventStoreDriver, LogPage, PageOfEvents } from "./driver/EventStoreDriver.ts"

/** A read, its result, and how many followers wait for it. */
interface Shared {
  readonly done: Deferred.Deferred<PageOfEvents, EventStoreError>
  fiber: Fiber.Fiber<void> | undefined
  followers: number
}

/**
 * Returns a function that reads a page in the driver's `asFollower`. It shares the read with the followers that ask for the same page before it begins:
 * one that has begun may not see the event for which a later one was woken. In a transaction of the caller it reads at once.
 *
 * The read has the context of the follower that came first, but counts for the handlers of all: each of them has read the personal data of the page.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*(
  { asFollower = (read) => read, inTransaction }: Pick<EventStoreDriver, "asFollower" | "inTransaction">,
  read: (page: LogPage) => Effect.Effect<PageOfEvents, EventStoreError>
): Effect.fn.Return<(page: LogPage) => Effect.Effect<PageOfEvents, EventStoreError>, never, Scope.Scope> {
  const queued = new Map<string, Shared>()
  const fibers = yield* FiberSet.make<void>()
  const begin = (key: string, page: LogPage): Effect.Effect<Shared> =>
    Effect.suspend(() => {
      const shared: Shared = { done: Deferred.makeUnsafe(), fiber: undefined, followers: 0 }
      queued.set(key, shared)
      const begun = Effect.sync(() => {
        if (queued.get(key) === shared) queued.delete(key)
      })
      return asFollower(Effect.andThen(begun, DecryptedValues.outsideHandler(Effect.suspend(() => read(page))))).pipe(
        Effect.ensuring(begun),
        Effect.onExit((exit) => Deferred.done(shared.done, exit)),
        Effect.exit,
        Effect.asVoid,
        FiberSet.run(fibers),
        Effect.map((fiber) => {
          shared.fiber = fiber
          return shared
        })
      )
    })
  const leave = (shared: Shared) =>
    Effect.sync(() => {
      if (--shared.followers === 0) shared.fiber?.interruptUnsafe()
    })
  return (page) =>
    Effect.withFiber(({ context }) => {
      if (inTransaction(context)) return read(page)
      const key = keyOf(page)
      const found = queued.get(key)
      return Effect.flatMap(found === undefined ? begin(key, page) : Effect.succeed(found), (shared) => {
        shared.followers++
        return Effect.onInterrupt(Deferred.await(shared.done), () => leave(shared)).pipe(
          Effect.tap(({ events }) => DecryptedValues.addAll(events))
        )
      })
    })
})

const keyOf = ({ after, ...page }: LogPage): string =>
  JSON.stringify([String(after), page], (_, value: unknown) => typeof value === "bigint" ? String(value) : value)
