/** Consumers by tag and by document, whose documents reveal an event that is missing, repeated or out of the order of its key. */
import { Effect, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Event, Projection } from "evsrc"

/** Events of courses in many streams: `Moved` of one, `Shared` of several. With `isPoison` it fails until it is healed. */
export const CourseEvent = Schema.TaggedUnion({
  Moved: { courses: Schema.Array(Schema.String), isPoison: Schema.Boolean },
  Shared: { courses: Schema.Array(Schema.String) }
}).pipe(Event.tags({ course: "courses" }))

export const Positions = Schema.Array(Schema.String)

const failIfPoison = (isPoison: boolean, isHealed: boolean): void => {
  if (isPoison && !isHealed) throw new Error("poison")
}

const positionsBy = (partitionBy: "document" | { readonly tag: "course" }, partitions: number, isHealed: boolean) =>
  Projection.make(partitionBy === "document" ? "by-document" : "by-tag", {
    events: CourseEvent,
    document: Positions,
    partitions,
    partitionBy,
    key: ({ courses }) => courses,
    evolve: {
      Moved: (positions, { isPoison }, { position }) => {
        failIfPoison(isPoison, isHealed)
        return [...positions ?? [], String(position)]
      },
      Shared: (positions, _, { position }) => [...positions ?? [], String(position)]
    }
  })

/** Returns the projections with documents, by tag and by document. */
export const documented = (partitions: number, isHealed: boolean) => [
  positionsBy({ tag: "course" }, partitions, isHealed),
  positionsBy("document", partitions, isHealed)
]

/**
 * Returns the projection that writes the events of one course each to its own table:
 * `create table moved (id bigint generated always as identity, course text, position bigint)`.
 */
export const tabled = (partitions: number, isHealed: boolean) =>
  Projection.handler("table-by-tag", {
    events: CourseEvent,
    partitions,
    partitionBy: { tag: "course" },
    retry: Schedule.recurs(0),
    handle: {
      Moved: ({ courses: [course], isPoison }, { position }) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => {
          failIfPoison(isPoison, isHealed)
          return sql`insert into moved (course, position) values (${course ?? null}, ${position})`
        }),
      Shared: Projection.ignore
    }
  })
