/** What an operator sees: the health, the gauges and the log lines, of a process that does not suffer from the faults. */
import { Clock, Effect, Exit, Fiber, Layer, Logger, Metric, Option, Schedule, Scope } from "effect"
import { EventStore, Health, type ProjectionStore } from "evsrc"
import { internals } from "../../../src/core/internals.ts"
import { allOf, type Consumers, type Profile } from "./program.ts"

type Stores = EventStore.EventStore | ProjectionStore.ProjectionStore

/** What is seen while the program stands still. */
export interface Seen {
  /** The reason of the health. */
  readonly reason: string
  readonly reasonAfter: number
  /** The time until the gauge was not green any more, and a line was in the log. */
  readonly allAfter: number
}

export interface Monitor {
  /** Checks the consumers of a release from now on. */
  readonly watch: (consumers: Consumers) => Effect.Effect<void>
  /** Waits until health, a gauge and a line of the log name a stall. Fails with what does not. */
  readonly awaitNamed: (reason: RegExp, bound: number) => Effect.Effect<Seen, string>
  /** Waits until health and gauges are green, but for parked keys. Fails with the reasons. */
  readonly awaitGreen: (bound: number, options?: GreenOptions) => Effect.Effect<void, string>
  /** Returns the lines of the log. */
  readonly lines: () => ReadonlyArray<string>
}

interface GreenOptions {
  /** Whether parked keys are allowed, and no event may wait. */
  readonly parked?: "allowed" | "none"
  readonly isUpToDate?: boolean
}

/** A reason without the name of its consumer, if it is that keys are parked. */
const isParked = (reason: string) => /\d+ keys? (is|are) parked/.test(reason)

/** Does something again and again until it succeeds. Fails with the last error if that takes too long, also if one attempt does not end. */
const eventually = <A, R>(
  attempt: Effect.Effect<A, string, R>,
  { bound, interval }: { readonly bound: number; readonly interval: number }
): Effect.Effect<A, string, R> =>
  Effect.scoped(Effect.gen(function*() {
    let last = "the health check has not answered"
    const fiber = yield* Effect.forkScoped(
      Effect.retry(Effect.tapError(attempt, (error) => Effect.sync(() => void (last = error))), {
        schedule: Schedule.spaced(interval)
      })
    )
    const exit = yield* Effect.timeoutOption(Fiber.await(fiber), bound)
    if (Option.isSome(exit)) return yield* exit.value
    // It may not end.
    yield* Effect.sync(() => fiber.interruptUnsafe())
    return yield* Effect.fail(last)
  }))

/** Makes a monitor on stores that are not behind the proxy. */
export const make = Effect.fnUntraced(function*({ health: limits, interval }: Profile) {
  const stores = yield* Effect.context<Stores>()
  const scope = yield* Effect.scope
  // The callers of this process have gauges too.
  const withOwnGauges = Effect.provideService(Metric.MetricRegistry, new Map())
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) =>
    void lines.push(`${logLevel}: ${[message].flat().map(String).join(" ")}`)
  )
  let watched: { readonly consumers: Consumers; readonly scope: Scope.Closeable } | undefined

  const watch = Effect.fnUntraced(function*(consumers: Consumers) {
    const next = yield* Scope.fork(scope)
    const before = watched
    watched = { consumers, scope: next }
    if (before !== undefined) yield* Scope.close(before.scope, Exit.void)
    yield* Health.watch(allOf(consumers), { ...limits, interval }).pipe(
      Effect.provideService(Scope.Scope, next),
      withOwnGauges,
      Effect.provide(Logger.layer([logger]))
    )
  }, Effect.provideContext(stores))

  const check = Effect.suspend(() => Health.of(watched === undefined ? [] : allOf(watched.consumers), limits)).pipe(
    Effect.mapError(({ message }) => `the health check failed: ${message}`),
    Effect.provideContext(stores)
  )
  /** Returns the gauge of the health of a consumer, or of the log. */
  const gaugeOf = Effect.fnUntraced(function*(name: string) {
    const metrics = yield* Metric.snapshot
    const found = metrics.find(({ attributes, id }) =>
      name === "log" ? id === "evsrc_log_health" : id === "evsrc_consumer_health" && attributes?.["consumer"] === name
    )
    return found !== undefined && "value" in found.state ? Number(found.state.value) : undefined
  }, withOwnGauges)

  const partsOf = ({ consumers, log }: Health.Health) => [
    { name: "log", ...log, lag: { events: 0 } },
    ...consumers.map((one) => ({ name: one.consumer, ...one }))
  ]

  const awaitNamed = Effect.fnUntraced(function*(reason: RegExp, bound: number) {
    const start = yield* Clock.currentTimeMillis
    const first = lines.length
    let named: { readonly reason: string; readonly after: number } | undefined
    let isGaugeUp = false
    return yield* eventually(
      Effect.gen(function*() {
        // The check itself fails while a table is locked, and its error names the cause.
        const parts = yield* check.pipe(
          Effect.map(partsOf),
          Effect.catch((error) => Effect.succeed([{ name: "log", reasons: [error], status: "red" as const }]))
        )
        const said = parts.flatMap(({ name, reasons }) => reasons.map((one) => ({ name, text: `${name}: ${one}` })))
        const now = yield* Clock.currentTimeMillis
        for (const { name, text } of said.filter(({ text }) => reason.test(text))) {
          named ??= { reason: text, after: now - start }
          if (((yield* gaugeOf(name)) ?? 0) > 0) isGaugeUp = true
        }
        if (named === undefined) {
          const texts = said.map(({ text }) => text).filter((text) => !isParked(text))
          return yield* Effect.fail(`health did not name it, but said: ${texts.join("; ")}`)
        }
        if (!isGaugeUp) return yield* Effect.fail(`the gauges were green, while health said: ${named.reason}`)
        const since = lines.slice(first).map((line) =>
          line.replace(/^.*: Health: (?:the )?(.+?) is (?:yellow|red): /, "$1: ")
        )
        if (!since.some((line) => reason.test(line))) {
          return yield* Effect.fail(`no line of the log named it, but: ${since.join("\n")}`)
        }
        return { reason: named.reason, reasonAfter: named.after, allAfter: now - start }
      }),
      { bound, interval: interval / 2 }
    )
  })

  const awaitGreen = (bound: number, { isUpToDate = false, parked = "allowed" }: GreenOptions = {}) =>
    eventually(
      Effect.gen(function*() {
        const parts = partsOf(yield* check)
        const reasons = parts.flatMap(({ lag, name, reasons }) => [
          ...reasons.filter((one) => parked === "none" || !isParked(one)).map((one) => `${name}: ${one}`),
          ...isUpToDate && lag.events > 0 ? [`${name} is behind`] : []
        ])
        for (const { name, status } of parts) {
          const gauge = yield* gaugeOf(name)
          const expected = parked === "allowed" && status === "yellow" ? 1 : 0
          if (gauge !== expected) reasons.push(`the gauge of ${name} is ${gauge}, and not ${expected}`)
        }
        if (reasons.length > 0) return yield* Effect.fail(reasons.join("; "))
      }),
      { bound, interval: interval / 2 }
    )

  return { watch, awaitNamed, awaitGreen, lines: () => lines } satisfies Monitor
})

/** Returns an event store whose health check counts only the waiting events that a reader gets: it does not see what is held back. */
export const blind = Layer.effect(
  EventStore.EventStore,
  Effect.map(EventStore.EventStore, (store) => {
    const { driver, ...rest } = store[internals]
    const lag: typeof driver.lag = (request) =>
      Effect.flatMap(driver.head, (head) =>
        Effect.map(
          driver.lag({ ...request, to: head < request.to ? head : request.to }),
          (found) => ({ ...found, reached: request.to })
        ))
    return { ...store, [internals]: { ...rest, driver: { ...driver, lag } } }
  })
)
