/** Projections that reveal an event that is missing, repeated or out of order. */
import { Effect, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { type EncodedEvent, Projection } from "evsrc"

export const Tick = Schema.TaggedUnion({ Ticked: { n: Schema.Int } })

export const Sum = Schema.Struct({ events: Schema.Int, sum: Schema.Int, version: Schema.Int })

/** The key of the document over all streams. */
export const all = "all"

const evolve = (sum: typeof Sum.Type | undefined, n: number, version: number, key: string): typeof Sum.Type => {
  const before = sum?.version ?? 0
  if (key !== all && version !== before + 1) throw new Error(`${key}: version ${version} comes after ${before}`)
  return { events: (sum?.events ?? 0) + 1, sum: (sum?.sum ?? 0) + n, version: key === all ? 0 : version }
}

/** Returns the projection with one document for each stream and one for all streams. */
export const ticks = (partitions: number) =>
  Projection.make("ticks", {
    events: Tick,
    document: Sum,
    partitions,
    onFailure: "stop",
    key: (_, { stream }) => [stream, all],
    evolve: { Ticked: (sum, { n }, { version }, key) => evolve(sum, n, version, key) }
  })

/** Returns the projection that writes the position of every event to its own table: `create table handled (position bigint)`. */
export const handled = (partitions: number) =>
  Projection.handler("handled", {
    events: Tick,
    partitions,
    onFailure: "stop",
    handle: {
      Ticked: (_, { position }) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into handled (position) values (${position})`)
    }
  })

/** Returns the expected documents of a log. */
export const foldOf = (log: ReadonlyArray<Pick<EncodedEvent, "stream" | "version" | "data">>) => {
  const documents = new Map<string, typeof Sum.Type>()
  for (const { data, stream, version } of log) {
    const { n } = Schema.decodeUnknownSync(Schema.Struct({ n: Schema.Int }))(data)
    for (const key of [stream, all]) documents.set(key, evolve(documents.get(key), n, version, key))
  }
  return documents
}
