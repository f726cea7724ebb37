/** The rule by which a soak fails because something grows. */

/** What is sampled, and how much each may grow over the second half of a soak besides a tenth of its mean. */
export const slack = {
  "heap MB": 8,
  "resident MB": 40,
  connections: 2,
  locks: 20,
  "prepared statements of a connection": 5,
  timers: 20,
  "other handles": 5,
  "events behind, documents": 500,
  "events behind, subscription": 500,
  "metric series": 5
} as const

export type Name = keyof typeof slack
export type Sample = Readonly<Record<Name, number>> & { readonly second: number }

export interface Growth {
  readonly name: Name
  readonly first: number
  readonly median: number
  readonly last: number
  /** By how much the line through the samples of the second half rises over that half. */
  readonly growth: number
  readonly allowed: number
  readonly grows: boolean
}

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length

export const medianOf = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

/** Returns the slope of the line of least squares. */
const slope = (points: ReadonlyArray<readonly [x: number, y: number]>): number => {
  const [x, y] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))]
  const spread = points.reduce((sum, [px]) => sum + (px - x) ** 2, 0)
  return spread === 0 ? 0 : points.reduce((sum, [px, py]) => sum + (px - x) * (py - y), 0) / spread
}

/**
 * A value grows if the line through the samples of the second half rises by more than a tenth of its mean and the slack, and the median of the last
 * quarter is above that of the quarter before by more than half of that: a single outlier moves a line.
 */
export const growthOf = (name: Name, samples: ReadonlyArray<Sample>): Growth => {
  const half = samples.slice(samples.length >> 1)
  const values = half.map((sample) => sample[name])
  const growth = slope(half.map((sample) => [sample.second, sample[name]])) * (half.at(-1)!.second - half[0]!.second)
  const allowed = slack[name] + mean(values) / 10
  const middle = values.length >> 1
  const risen = medianOf(values.slice(middle)) - medianOf(values.slice(0, Math.max(1, middle)))
  return {
    name,
    first: samples[0]![name],
    median: medianOf(samples.map((sample) => sample[name])),
    last: samples.at(-1)![name],
    growth,
    allowed,
    grows: growth > allowed && risen > allowed / 2
  }
}
