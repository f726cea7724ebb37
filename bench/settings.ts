/** How long and how often; all from the environment. */

const quick = process.env["BENCH_QUICK"] === "1"

const number = (name: string, otherwise: number): number => {
  const text = process.env[name]
  const value = text === undefined ? otherwise : Number(text)
  if (!(value > 0)) throw new Error(`${name} must be a number above 0`)
  return value
}

export const settings = {
  quick,
  rounds: Math.ceil(number("BENCH_ROUNDS", quick ? 1 : 5)),
  /** Of one contestant in one cell of one round. */
  seconds: number("BENCH_SECONDS", quick ? 0.1 : 0.4),
  /** The same before the first round, and not counted. */
  warmUpSeconds: number("BENCH_WARM_UP_SECONDS", quick ? 0.05 : 0.3),
  /** Of each latency measurement; at one event every 15 ms or so. */
  latencySeconds: number("BENCH_LATENCY_SECONDS", quick ? 0.5 : 1.5),
  /** Connections of each contestant at most. */
  pool: Math.ceil(number("BENCH_POOL", 32)),
  /** Of each measurement of HTTP. */
  httpSeconds: number("BENCH_HTTP_SECONDS", quick ? 1 : 2),
  /** Only these cells, by id as `hot@8`, without the number as `append1`, or by kind; all by default. */
  cells: process.env["BENCH_CELLS"]?.split(","),
  /** Only these contestants, by name; all by default. The floor always runs. */
  only: process.env["BENCH_ONLY"]?.split(",")
}
