/** The projection of `health.test.ts` and its worker processes. */
import { Schema } from "effect"
import { Projection } from "evsrc"

export const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

export const Ticks = Projection.make("ticks", {
  events: Tick,
  document: Schema.Struct({ count: Schema.Int }),
  partitions: 2,
  key: () => "all",
  evolve: { Ticked: (d) => ({ count: (d?.count ?? 0) + 1 }) }
})
