/**
 * The projection that the simulation runs, and what its documents must contain.
 */
import { Effect, Option, Schema } from "effect"
import { type EncodedEvent, Projection, type ProjectionStoreDriver } from "evsrc"

export const Tick = Schema.TaggedUnion({
  Ticked: { stream: Schema.String, n: Schema.Int, poison: Schema.Boolean, keyless: Schema.Boolean },
  Other: { n: Schema.Int }
})

const Doc = Schema.Struct({ n: Schema.Int, versions: Schema.Array(Schema.Int), positions: Schema.Array(Schema.String) })

/**
 * A document per stream and, by document, one of all streams together. Until it is healed, it fails on poison, and the key of some events is
 * unknown.
 */
export const makeProjection = (partitions: number, partitionBy: "stream" | "document", isHealed: () => boolean) =>
  Projection.make("ticks", {
    events: Tick,
    document: Doc,
    partitions,
    partitionBy,
    key: (event) => {
      if (event._tag !== "Ticked") return []
      if (event.keyless && !isHealed()) throw new Error("no key")
      return [event.stream, ...partitionBy === "stream" ? [] : ["all"]]
    },
    evolve: {
      Ticked: (doc, event, record) => {
        if (event.poison && !isHealed()) throw new Error("poison")
        return {
          n: (doc?.n ?? 0) + event.n,
          versions: [...doc?.versions ?? [], record.version],
          positions: [...doc?.positions ?? [], String(record.position)]
        }
      },
      Other: Projection.ignore
    }
  })

export type Ticks = ReturnType<typeof makeProjection>

/** Returns how the documents and the delivery log of a generation differ from the committed events. */
export const differences = Effect.fnUntraced(function*(
  store: ProjectionStoreDriver.ProjectionStoreDriver,
  { partitionBy }: Ticks,
  generation: string,
  committed: ReadonlyArray<EncodedEvent>
) {
  const found: Array<string> = []
  const ticked = committed.filter((event) => event.type === "Ticked")
  for (const key of [...new Set(ticked.map((event) => event.stream)), ...partitionBy === "stream" ? [] : ["all"]]) {
    const expected = ticked.filter((event) => key === "all" || event.stream === key)
      .map((event) => String(event.position))
    const positions = yield* positionsOf(store, generation, key)
    if (JSON.stringify(positions) !== JSON.stringify(expected)) {
      found.push(`${key}: ${JSON.stringify(positions)} instead of ${JSON.stringify(expected)}`)
    }
  }
  const progress = yield* store.progress(generation)
  const applied = progress.reduce((sum, one) => sum + one.applied, 0n)
  const deliveries = partitionBy === "stream" ? ticked.length : 2 * ticked.length
  if (applied !== BigInt(deliveries)) {
    found.push(`${applied} of ${deliveries} deliveries are in the delivery log`)
  }
  return found
})

/** Returns the positions in a document. */
const positionsOf = (store: ProjectionStoreDriver.ProjectionStoreDriver, generation: string, key: string) =>
  Effect.map(store.load(generation, [key]), ([found]) => {
    const document = Option.getOrUndefined(Schema.decodeUnknownOption(Doc)(found?.document))
    return Array.from(document?.positions ?? [])
  })
