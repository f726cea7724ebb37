/**
 * The reads of those that follow the log or a document: equal ones that wait for their turn are one read.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import { type EventStoreError, storeError, StoreUnavailable } from "../core/errors.ts"
import * as RecordedEvent from "../event/RecordedEvent.ts"
import * as DecryptedValues from "../personalData/DecryptedValues.ts"
import type { EventStoreDriver, LogPage, PageOfEvents } from "./driver/EventStoreDriver.ts"

/** A read, its result, and how many followers wait for it. */
interface Shared<A> {
  readonly done: Deferred.Deferred<A, EventStoreError>
  fiber: Fiber.Fiber<void> | undefined
  followers: number
}

/**
 * How followers read.
 *
 * @since 0.1.0
 * @category options
 */
export interface FollowerReadsOptions<in Request, in out A> {
  readonly read: (request: Request) => Effect.Effect<A, EventStoreError>
  /** Returns the same text for equal requests. */
  readonly keyOf: (request: Request) => string
  /** Gives each read its turn, if the driver has turns. */
  readonly asFollower: EventStoreDriver["asFollower"]
  /** Returns whether the caller reads for itself, such as one in a transaction of its own. */
  readonly isAlone: Effect.Effect<boolean>
  /** Runs in each caller that receives a shared result. */
  readonly receive?: ((result: A) => Effect.Effect<void>) | undefined
}

/**
 * Returns a function that reads in the driver's `asFollower`. It shares the read with the followers that ask for the same before it begins: one that
 * has begun may not see the event for which a later one was woken.
 *
 * A shared read has the context of the follower that came first, but what it decrypts is not added to the values of that follower's handler: `receive`
 * adds it to those of each.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*<Request, A>(
  { asFollower = (read) => read, isAlone, keyOf, read, receive = () => Effect.void }: FollowerReadsOptions<Request, A>
): Effect.fn.Return<(request: Request) => Effect.Effect<A, EventStoreError>, never, Scope.Scope> {
  const queued = new Map<string, Shared<A>>()
  const fibers = yield* FiberSet.make<void>()
  let isClosed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
    })
  )
  const begin = (key: string, request: Request): Effect.Effect<Shared<A>> =>
    Effect.suspend(() => {
      const shared: Shared<A> = { done: Deferred.makeUnsafe(), fiber: undefined, followers: 0 }
      queued.set(key, shared)
      const begun = Effect.sync(() => {
        if (queued.get(key) === shared) queued.delete(key)
      })
      return asFollower(Effect.andThen(begun, DecryptedValues.outsideHandler(Effect.suspend(() => read(request)))))
        .pipe(
          // Followers that one wake-up reaches ask one after the other, also where a read needs no turn.
          (turn) => Effect.andThen(Effect.yieldNow, turn),
          Effect.ensuring(begun),
          // Without followers, or at the end of the scope, it is interrupted. They are not.
          Effect.onExit((exit) => Deferred.done(shared.done, Exit.hasInterrupts(exit) ? Exit.fail(closed()) : exit)),
          Effect.exit,
          Effect.asVoid,
          FiberSet.run(fibers),
          Effect.map((fiber) => {
            shared.fiber = fiber
            return shared
          })
        )
    })
  const leave = (key: string, shared: Shared<A>) =>
    Effect.sync(() => {
      if (--shared.followers > 0) return
      if (queued.get(key) === shared) queued.delete(key)
      shared.fiber?.interruptUnsafe()
    })
  return (request) =>
    Effect.flatMap(isAlone, (isAlone) => {
      if (isAlone) return read(request)
      if (isClosed) return Effect.fail(closed())
      const key = keyOf(request)
      const found = queued.get(key)
      return Effect.flatMap(found === undefined ? begin(key, request) : Effect.succeed(found), (shared) => {
        shared.followers++
        return Effect.tap(Effect.onInterrupt(Deferred.await(shared.done), () => leave(key, shared)), receive)
      })
    })
})

/**
 * Returns the shared reads of a driver of the log. In a transaction of the caller they read at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofDriver = Effect.fnUntraced(function*(driver: EventStoreDriver) {
  const { asFollower, inTransaction } = driver
  const isAlone = Effect.contextWith((caller: Context.Context<never>) => Effect.succeed(inTransaction(caller)))
  const options = { asFollower, isAlone, keyOf: textOf }
  const receive = ({ events }: PageOfEvents) => DecryptedValues.addAll(events)
  const head = yield* make({ ...options, read: (_: {}) => driver.head })
  return {
    head: head({}),
    readAll: yield* make({ ...options, receive, read: (page: LogPage) => Effect.tap(driver.readAll(page), freeze) }),
    readByQuery: yield* make({
      ...options,
      receive,
      read: (page: Parameters<EventStoreDriver["readByQuery"]>[0]) => Effect.tap(driver.readByQuery(page), freeze)
    })
  }
})

/** The events of a page are those of all followers. */
const freeze = ({ events }: PageOfEvents): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const event of events) Object.freeze(RecordedEvent.freeze(event))
  })

const closed = (): EventStoreError =>
  storeError(new StoreUnavailable({ message: "The store is closed; nothing was read", cause: undefined }))

/**
 * Returns the same text for requests with the same members.
 *
 * @since 0.1.0
 * @category accessors
 */
export const textOf = (request: object): string =>
  JSON.stringify(request, (_, value: unknown) => typeof value === "bigint" ? String(value) : value)
