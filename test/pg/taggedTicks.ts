/** Events with a tag, and the projection of their sum. It is partitioned by stream, as the document of an undecodable event is not known. */
import { Schema } from "effect"
import { Event, Projection } from "evsrc"

export const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int, tag: Schema.String } }).pipe(
  Event.tags({ tag: "tag" })
)

export const tick = (n: number, tag = "t") => Tick.cases.Ticked.make({ n, tag })

export const Total = Projection.make("total", {
  events: Tick,
  document: Schema.Struct({ sum: Schema.Int }),
  partitionBy: "stream",
  key: () => "all",
  evolve: { Ticked: (total, { n }) => ({ sum: (total?.sum ?? 0) + n }) }
})
