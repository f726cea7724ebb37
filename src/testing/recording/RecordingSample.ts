/**
 * Which streams of a log are recorded.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as SchemaFingerprint from "../../core/SchemaFingerprint.ts"
import * as StreamId from "../../core/StreamId.ts"
import type { EncodedEvent } from "../../event/RecordedEvent.ts"

/**
 * Only some streams, each as a whole. What is given together holds together; all streams where nothing is given.
 *
 * - `prefix`: those whose names begin so
 * - `where`: those of these names
 * - `fraction`: about so much of them, from 0 to 1
 * - `count`: so many of each aggregate, and so many of all other streams together; the log is read twice
 * - `seed`: draws others for `fraction` and `count`; the same streams for the same seed, also when the log has grown and `fraction` is given
 *
 * @since 0.1.0
 * @category options
 */
export interface Sample {
  readonly prefix?: string | undefined
  readonly where?: ((stream: string) => boolean) | undefined
  readonly fraction?: number | undefined
  readonly count?: number | undefined
  readonly seed?: string | number | undefined
}

/**
 * The sample in words.
 *
 * @since 0.1.0
 * @category formatting
 */
export const describe = ({ count, fraction, prefix, seed, where }: Sample): string => {
  const words = [
    ...prefix === undefined ? [] : [`those that begin with ${JSON.stringify(prefix)}`],
    ...where === undefined ? [] : ["those of certain names"],
    ...fraction === undefined ? [] : [`a fraction of ${fraction}`],
    ...count === undefined ? [] : [`${count} of each aggregate`],
    ...seed === undefined ? [] : [`drawn by the seed ${JSON.stringify(seed)}`]
  ]
  return words.length === 0 ? "all streams" : `of the streams ${words.join(", ")}`
}

/**
 * What is wrong with a sample, or `undefined`.
 *
 * @since 0.1.0
 * @category guards
 */
export const problem = ({ count, fraction }: Sample): string | undefined =>
  fraction !== undefined && !(fraction > 0 && fraction <= 1)
    ? `a fraction lies above 0 and is at most 1; ${fraction} does not`
    : count !== undefined && !(Number.isInteger(count) && count > 0)
    ? `a count is a whole number from 1, which ${count} is not`
    : undefined

/**
 * Tells whether a stream is in the sample. `events`: of the log, which is read only where the streams have to be counted.
 *
 * @since 0.1.0
 * @category sampling
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

/** The place of a stream in an order that has nothing to do with its name: 32 hexadecimal digits. */
const rankOf = (stream: string, seed: string | number): string =>
  // Once more, as the highest digits of a fingerprint hardly depend on the last characters.
  SchemaFingerprint.fromText(SchemaFingerprint.fromText(`${seed}:${stream}`))

const numberOf = (rank: string): number => Number.parseInt(rank.slice(0, 12), 16) / 0x1_0000_0000_0000

const lastOf = (ranks: ReadonlyMap<string, string>): string =>
  Array.from(ranks).reduce((last, one) => one[1] > last[1] ? one : last)[0]

/** For the events of one stream mostly come together. */
const cached = (select: (stream: string) => boolean): (stream: string) => boolean => {
  let last: { readonly stream: string; readonly is: boolean } | undefined
  return (stream) => {
    if (last?.stream !== stream) last = { stream, is: select(stream) }
    return last.is
  }
}
