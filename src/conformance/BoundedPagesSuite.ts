/**
 * The cases of reads that examine a limited number of positions: however rare their events are, each page is progress.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { internals } from "../core/internals.ts"
import * as LogPosition from "../core/LogPosition.ts"
import * as Position from "../core/Position.ts"
import { StreamId } from "../core/StreamId.ts"
import { type EventQuery, ofStoredTypes } from "../event/EventQuery.ts"
import type { LogFilter, PageOfEvents } from "../eventStore/driver/EventStoreDriver.ts"
import { EventStore } from "../eventStore/EventStore.ts"
import { Limits } from "../eventStore/Limits.ts"
import { storedEvent, upTo } from "./EventStoreFixtures.ts"
import { type Case, equal, isAbove, isAtLeast, test, unique } from "./Suite.ts"

const gap = 50

/** Appends a rare event after each of two stretches of common ones, and a third stretch. */
const fixture = Effect.gen(function*() {
  const { driver } = (yield* EventStore)[internals]
  const run = unique("Sparse")
  const [common, rare, tag, rareTag] = [`${run}Common`, `${run}Rare`, `run:${run}`, `rare:${run}`]
  const append = Effect.fnUntraced(function*(type: string, count: number) {
    const tags = type === rare ? [tag, rareTag] : [tag]
    const result = yield* driver.append({
      stream: StreamId.make(`${type}-1`),
      expected: "any",
      events: upTo(count).map((n) => ({ ...storedEvent(type, 1, { n }), tags }))
    })
    return result._tag === "Appended" ? result.positions.at(-1)! : Position.start
  })
  const start = yield* driver.head
  yield* append(common, gap)
  const first = yield* append(rare, 1)
  yield* append(common, gap)
  const second = yield* append(rare, 1)
  const last = yield* append(common, gap)
  return { driver, append, common, rare, tag, rareTag, start, last, rares: [first, second] }
})

/** By default a page examines 20 positions, or 2 events that have a tag. */
const briefly = <A, E, R>(effect: Effect.Effect<A, E, R>, scannedPositions = 20): Effect.Effect<A, E, R> =>
  Effect.updateService(effect, Limits, (limits) => ({ ...limits, scannedPositions }))

/** Reads pages to the end of the log, and checks each. */
const pagesFrom = Effect.fnUntraced(function*<E>(
  start: Position.Position,
  read: (after: LogPosition.LogPosition) => Effect.Effect<PageOfEvents, E>
) {
  const { driver } = (yield* EventStore)[internals]
  const found: Array<Position.Position> = []
  let after = LogPosition.make(start, undefined)
  for (let pages = 1; pages <= 1000; pages++) {
    const { events, head, reached } = yield* read(after)
    for (const { position } of events) {
      isAbove(position, after.position, "the position of an event")
      isAtLeast(reached.position, position, "the position that the page has reached")
      found.push(position)
    }
    equal(
      yield* driver.eventIds([reached.position]),
      [reached.eventId],
      "the id of the event that the page has reached, whatever its type"
    )
    if (reached.position >= head) return { found, pages }
    isAbove(reached.position, after.position, "how far a page has got that is not the last")
    after = reached
  }
  return { found, pages: Infinity }
})

/**
 * The cases of reads that examine a limited number of positions.
 *
 * @since 0.1.0
 * @category constructors
 */
export const boundedPages: ReadonlyArray<Case<EventStore>> = [
  test("a page examines a limited number of positions, and says how far it has got", function*() {
    const { driver, rare, rareTag, rares, start, tag } = yield* fixture
    const filters: Readonly<Record<string, LogFilter>> = {
      "by type": { types: [rare] },
      "by prefix": { streamPrefix: `${rare}-` },
      "by type and partition": { types: [rare], partition: { index: 0, of: 1 } },
      "by type and a common tag": { types: [rare], tags: [tag] },
      "by two tags": { tags: [tag, rareTag] },
      "by a rare tag": { tags: [rareTag] }
    }
    for (const [name, filter] of Object.entries(filters)) {
      const { found, pages } = yield* briefly(pagesFrom(
        start,
        ({ eventId, position }) => driver.readAll({ after: position, afterEventId: eventId, limit: 10, ...filter })
      ))
      equal(found, rares, `the events ${name}`)
      if (filter.tags === undefined || filter.types !== undefined) isAtLeast(pages, 3 * gap / 20, `pages ${name}`)
    }
  }),

  test("a page that is full has reached its last event, and one with all events the high-water mark", function*() {
    const { driver, rare, rares, start } = yield* fixture
    const { events, reached } = yield* driver.readAll({ after: start, limit: 1, types: [rare] })
    equal([events.length, reached.position], [1, rares[0]!], "the full page")
    const all = yield* driver.readAll({ after: start, limit: 10, types: [rare] })
    equal([all.events.length, all.reached.position], [2, all.head], "the whole page")
    const past = Position.make(all.head + 1_000n)
    equal((yield* driver.readAll({ after: past, limit: 1 })).reached.position, past, "a page beyond the log")
  }),

  test("a query of rare events reads bounded pages, and its result is of one moment", function*() {
    const { common, driver, rare, rareTag, rares, start, tag } = yield* fixture
    const store = yield* EventStore
    const queries: Readonly<Record<string, EventQuery>> = {
      "by type": ofStoredTypes([{ types: [rare] }]),
      "by type and a common tag": ofStoredTypes([{ types: [rare], tags: [tag] }]),
      "by two tags": ofStoredTypes([{ tags: [tag, rareTag] }]),
      "by a rare tag": ofStoredTypes([{ tags: [rareTag] }]),
      "by several items": ofStoredTypes([{ types: [rare] }, { tags: [rareTag] }, {
        types: [`${common}s`],
        tags: [tag]
      }]),
      "by several items with tags": ofStoredTypes([{ types: [rare], tags: [tag] }, { tags: [rareTag] }])
    }
    for (const [name, query] of Object.entries(queries)) {
      const { found } = yield* briefly(pagesFrom(
        start,
        ({ position }) => driver.readByQuery({ query, after: position, limit: 10 })
      ))
      equal(found, rares, `the events ${name}`)
      // From the start of a log that has the events of other cases.
      const result = yield* briefly(store.readByQuery(query), 500)
      equal(result.events.map(({ position }) => position), rares, `the matches ${name}`)
      isAtLeast(result.condition.after, rares[1]!, `the mark of the condition ${name}`)
    }
  }),

  test("waiting events are counted up to a limited number of positions", function*() {
    const { driver, last, rare, rares, start } = yield* fixture
    const request = { to: last, limit: 10, types: [rare] }
    const first = yield* briefly(driver.lag({ ...request, after: start }))
    equal([first.events, Option.isSome(first.since)], [0, true], "the first count, and the time since")
    isAbove(last, first.reached, "the position up to which events are counted at first")
    let [after, events] = [start, 0]
    for (let counts = 0; counts < 1000 && after < last; counts++) {
      const counted = yield* briefly(driver.lag({ ...request, after }))
      isAbove(counted.reached, after, "the position up to which events are counted")
      events += counted.events
      after = counted.reached
    }
    equal([after, events], [last, 2], "the position and the sum of all counts")
    const limited = yield* driver.lag({ ...request, after: start, limit: 1 })
    equal([limited.events, limited.reached], [1, rares[0]!], "a count up to its limit")
    const none = yield* driver.lag({ ...request, after: rares[1]! })
    equal([none.events, Option.isNone(none.since), none.reached], [0, true, last], "a count of none")
  }),

  test("the lags of many partitions are those of each", function*() {
    const { common, driver, last, rare, rareTag, rares, start, tag } = yield* fixture
    const at = (offset: bigint) => Position.make(start + offset)
    const afters = [start, rares[0]!, at(7n), Position.make(last + 5n)]
    const filters: Readonly<Record<string, LogFilter>> = {
      "by type": { types: [rare, common] },
      "by prefix": { streamPrefix: `${common}-` },
      "by type and tag": { types: [common], tags: [tag] },
      "by two tags": { tags: [tag, rareTag] }
    }
    for (const [name, filter] of Object.entries(filters)) {
      for (const dividedBy of [undefined, { of: 3 }, { of: 3, tag: "run" }, { of: 3, tag: "rare" }]) {
        const partitions = afters.map((after, index) => ({ index: index % 3, after }))
        for (const limit of [3, 500]) {
          const request = { to: last, limit, ...filter }
          const each = yield* Effect.forEach(partitions, ({ after, index }) =>
            Effect.gen(function*() {
              const partition = dividedBy && { ...dividedBy, index }
              const { events, head } = yield* driver.readAll({ after, limit: 1, ...filter, partition })
              isAtLeast(head, last, "the high-water mark")
              const first = events[0]?.position
              const lag = yield* driver.lag({ ...request, after, partition })
              return { ...lag, first: first !== undefined && first <= last ? first : undefined }
            }))
          const what = `the lags ${name}, in ${dividedBy?.of ?? 1} by ${dividedBy?.tag ?? "stream"}, up to ${limit}`
          equal(yield* driver.partitionLags({ ...request, dividedBy, partitions }), each, what)
        }
      }
    }
    equal(
      yield* driver.partitionLags({ to: last, limit: 1, dividedBy: undefined, partitions: [] }),
      [],
      "those of none"
    )
  }),

  test("the lags of partitions far from each other are counted in bounded passes", function*() {
    const { driver, last, rare, rares, start } = yield* fixture
    const request = { to: last, limit: 10, types: [rare], dividedBy: undefined }
    const lagsAfter = (...afters: ReadonlyArray<Position.Position>) =>
      briefly(driver.partitionLags({ ...request, partitions: afters.map((after) => ({ index: 0, after })) }))
    const near = Position.make(rares[1]! - 2n)
    const [first, second, none] = yield* lagsAfter(start, near, last)
    equal([first?.events, first?.first, Option.isSome(first!.since)], [0, undefined, true], "those of the slowest")
    isAbove(last, first!.reached, "the position up to which its events are counted")
    equal([second?.events, second?.first], [1, rares[1]!], "those of a partition far from it")
    equal([none?.events, Option.isNone(none!.since), none?.reached], [0, true, last], "those of one at the end")
    const spread = Array.from({ length: 3 * gap }, (_, n) => Position.make(start + BigInt(n)))
    const counted = yield* lagsAfter(...spread)
    for (const [index, { first, reached }] of counted.entries()) {
      isAbove(reached, spread[index]!, "each partition's end of the count")
      if (first !== undefined) equal(rares.includes(first), true, "the first event")
    }
  }),

  test("a search for a correlation finds all of its events, in pages", function*() {
    const { append, driver, last, start } = yield* fixture
    const correlationId = unique("correlation")
    const positions: Array<Position.Position> = []
    for (const [count, type] of [[2, "First"], [1, "Second"]] as const) {
      const events = upTo(count).map((n) => ({
        ...storedEvent(type, 1, { n }),
        metadata: JSON.stringify({ correlationId })
      }))
      const stream = StreamId.make(`${correlationId}-1`)
      const result = yield* driver.append({ stream, expected: "any", events })
      if (result._tag === "Appended") positions.push(...result.positions)
      yield* append(unique("Common"), gap)
    }
    for (const after of [start, last, positions[0]!, positions[2]!]) {
      for (const limit of [1, 2, 10]) {
        const { events } = yield* briefly(driver.readCorrelation({ correlationId, after, limit }))
        const expected = positions.filter((position) => position > after).slice(0, limit)
        equal(events.map(({ position }) => position), expected, `${limit} after ${after}`)
      }
    }
  }),

  test("finds the events at positions, and counts those in ranges", function*() {
    const { driver, last, rares, start } = yield* fixture
    const at = (position: bigint) => Position.make(position)
    const events = yield* driver.eventsAt([rares[1]!, at(last + 1_000n), rares[0]!])
    equal(events.map(({ position }) => position), rares, "the positions")
    const counts = yield* driver.eventCounts([
      { after: at(rares[0]! - 1n), to: rares[0]! },
      { after: last, to: start },
      { after: at(rares[1]! - 1n), to: at(rares[1]! + 10n) },
      { after: at(rares[0]! - 1n), to: rares[0]! }
    ])
    equal([counts[0], counts[1], counts[3]], [1, 0, 1], "the counts")
    isAtLeast(11, counts[2]!, "the count of ten positions, which other appends may share")
    equal([yield* driver.eventsAt([]), yield* driver.eventCounts([])], [[], []], "of nothing")
  }),

  test("readers of rare events get all of them, and each that is appended later", function*() {
    const { append, rare, rareTag, rares, start } = yield* fixture
    const store = yield* EventStore
    const positions = Effect.map(
      Stream.runCollect(store.readAllEncoded({ after: start, types: [rare] })),
      (events) => events.map(({ position }) => position)
    )
    equal(yield* briefly(positions), rares, "the events that a read finds")
    const subscribed = yield* Effect.forkChild(briefly(
      store.subscribeEncoded({ after: start, types: [rare], where: { tags: [rareTag] } }).pipe(
        Stream.take(3),
        Stream.runCollect
      )
    ))
    const third = yield* append(rare, 1)
    const heard = yield* Effect.timeout(Fiber.join(subscribed), "30 seconds")
    equal(heard.map(({ position }) => position), [...rares, third], "the events that a subscriber gets")
  })
]
