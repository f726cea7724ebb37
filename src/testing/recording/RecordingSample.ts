/**
 * Selects the streams of a log that are recorded.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as SchemaFingerprint from "../../core/SchemaFingerprint.ts"
import * as StreamId from "../../core/StreamId.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"

/**
 * A selection of whole streams. A stream must satisfy all given options; without options every stream is selected.
 *
 * @since 0.1.0
 * @category options
 */
export interface Sample {
  /** Selects the streams whose names start with this prefix. */
  readonly prefix?: string | undefined
  /** Selects the streams for whose names this returns true. */
  readonly where?: ((stream: string) => boolean) | undefined
  /** Selects about this fraction of the streams, above 0 and at most 1. */
  readonly fraction?: number | undefined
  /** Selects this many streams of each aggregate, and this many of all other streams together. The log is read twice. */
  readonly count?: number | undefined
  /** The seed of the random choice by `fraction` and `count`. A fraction with the same seed selects the same streams in a longer log. */
  readonly seed?: string | number | undefined
}

/**
 * Returns a description of the sample.
 *
 * @since 0.1.0
 * @category accessors
 */
export const describe = ({ count, fraction, prefix, seed, where }: Sample): string => {
  const words = [
    ...prefix === undefined ? [] : [`with names that start with ${JSON.stringify(prefix)}`],
    ...where === undefined ? [] : ["selected by `where`"],
    ...fraction === undefined ? [] : [`a fraction of ${fraction}`],
    ...count === undefined ? [] : [`${count} of each aggregate`],
    ...seed === undefined ? [] : [`with the seed ${JSON.stringify(seed)}`]
  ]
  return words.length === 0 ? "all streams" : `streams: ${words.join(", ")}`
}

/**
 * Returns the reason why a sample is invalid, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = ({ count, fraction }: Sample): string | undefined =>
  fraction !== undefined && !(fraction > 0 && fraction <= 1)
    ? `the sample's fraction is ${fraction}; give a number above 0 and at most 1`
    : count !== undefined && !(Number.isInteger(count) && count > 0)
    ? `the sample's count is ${count}; give a whole number of at least 1`
    : undefined

/**
 * Returns a function that decides whether a stream is in the sample. It reads `events`, the log, only for a sample with `count`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const select = Effect.fnUntraced(function*<E, R>(
  { count, fraction = 1, prefix = "", seed = "", where = () => true }: Sample,
  aggregates: ReadonlySet<string>,
  events: Stream.Stream<EncodedEvent, E, R>
): Effect.fn.Return<(stream: string) => boolean, E, R> {
  const drawn = cached((stream) =>
    stream.startsWith(prefix) && where(stream) && numberOf(rankOf(stream, seed)) < fraction
  )
  if (count === undefined) return drawn
  const first = new Map<string, Map<string, string>>()
  yield* Stream.runForEach(events, ({ stream }) =>
    Effect.sync(() => {
      if (!drawn(stream)) return
      const category = StreamId.category(stream)
      const group = aggregates.has(category) ? category : ""
      const ranks = first.get(group) ?? new Map<string, string>()
      first.set(group, ranks.set(stream, rankOf(stream, seed)))
      if (ranks.size > count) ranks.delete(lastOf(ranks))
    }))
  const selected = new Set(Array.from(first.values(), (ranks) => Array.from(ranks.keys())).flat())
  return (stream) => selected.has(stream)
})

/** Returns the rank of a stream in a random order: 32 hexadecimal digits. */
const rankOf = (stream: string, seed: string | number): string =>
  // Twice, because the highest digits of a fingerprint hardly depend on the last characters.
  SchemaFingerprint.fromText(SchemaFingerprint.fromText(`${seed}:${stream}`))

const numberOf = (rank: string): number => Number.parseInt(rank.slice(0, 12), 16) / 0x1_0000_0000_0000

const lastOf = (ranks: ReadonlyMap<string, string>): string =>
  Array.from(ranks).reduce((last, one) => one[1] > last[1] ? one : last)[0]

/** Caches the last answer, because events of one stream often follow each other. */
const cached = (select: (stream: string) => boolean): (stream: string) => boolean => {
  let last: { readonly stream: string; readonly is: boolean } | undefined
  return (stream) => {
    if (last?.stream !== stream) last = { stream, is: select(stream) }
    return last.is
  }
}
