/** A log that has grown: filled by SQL in bulk, since there is no time for as many appends. */
import type { Queries } from "../pg.ts"

/** Every event is of this type. */
export const type = "StudentEnrolled"
/** The tag of up to a million of the events. */
export const hotTag = "campus:main"
const hotEvents = 1_000_000
export const eventsOfCourse = 20
export const eventsOfStudent = 5
const eventsOfStream = 10
/** Streams that are read, spread over the whole log. */
export const longStreams = 4
export const longEvents = 100
export const longStream = (number: number): string => `Long-${number}`
/** The number of events must be a multiple of it. */
export const unit = 4000

/**
 * Streams of 10 events that take turns, so that one's events lie far from each other, and a few of 100. Each event is caused by a command of
 * its own, has some 150 bytes of data and the tags of a course and of a student. By positions, from $1 to $2.
 */
const insertOf = (events: number): string => {
  const gap = events / (longStreams * longEvents) + 1
  const streams = events / eventsOfStream
  return `
    with written as (
      insert into evsrc.events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata,
          recorded_at, tags)
        select p,
            case when long then 'Long-' || k % ${longStreams} else 'Enrolment-' || n % ${streams} end,
            case when long then k / ${longStreams} else n / ${streams} end + 1,
            '${type}', 1, id, id::text, 1,
            ('{"courseId":"' || course || '","studentId":"' || student
              || '","note":"To be left with the neighbours, should nobody be at home; otherwise ring twice"}')::json,
            ('{"commandId":"' || id || '"}')::json,
            now() - (${events} - p) * interval '1 millisecond',
            array['course:' || course, 'student:' || student]
              || case when p % ${Math.max(1, Math.floor(events / hotEvents))} = 0 then array['${hotTag}'] end
          from (
            select p, p - 1 - p / ${gap} as n, p / ${gap} - 1 as k, p % ${gap} = 0 as long, gen_random_uuid() as id,
                'c' || p % ${events / eventsOfCourse} as course, 's' || p * 7919 % ${
    events / eventsOfStudent
  } as student
              from generate_series($1::bigint, $2::bigint) as p
          ) as drawn
        returning position, tags
    )
    insert into evsrc.event_tags (tag_hash, position) select hashtextextended(t, 0), position from written, unnest(tags) as t`
}

/**
 * A bulk load leaves a gap at the end of every page, which a vacuum finds, and into which smaller events then go, one to a page that was cold;
 * a log that has grown has used its gaps as it went. A page that keeps some space free does not take what fits a gap.
 */
export const leaveGaps = "alter table evsrc.events set (fillfactor = 90)"

const atATime = 50_000

/** Fills an empty log through a pool. Indexes are built after the rows: more compact than those that have grown with them. */
export const fill = async (pool: Queries, connections: number, events: number): Promise<void> => {
  if (events === 0) return
  if (events % unit !== 0) throw new Error(`The number of events must be a multiple of ${unit}, not ${events}`)
  const { rows: constraints } = await pool.query(
    `select conrelid::regclass as "table", conname as name, pg_get_constraintdef(oid) as definition
      from pg_constraint where conrelid in ('evsrc.events'::regclass, 'evsrc.event_tags'::regclass) and contype in ('p', 'u')`
  )
  for (const { name, table } of constraints) await pool.query(`alter table ${table} drop constraint ${name}`)
  const { rows: indexes } = await pool.query(
    `select indexname as name, indexdef as definition from pg_indexes
      where schemaname = 'evsrc' and tablename in ('events', 'event_tags')`
  )
  for (const { name } of indexes) await pool.query(`drop index evsrc.${name}`)

  // Only the functions of the event store may write while the triggers are enabled.
  const triggers = (state: string) =>
    Promise.all(["events", "event_tags"].map((table) => pool.query(`alter table evsrc.${table} ${state} trigger user`)))
  await triggers("disable")
  const total = events + longStreams * longEvents
  const text = insertOf(events)
  let filled = 0
  const insert = async () => {
    while (filled < total) {
      const [from, to] = [filled + 1, Math.min(total, filled + atATime)]
      filled = to
      await pool.query({ name: "fill", text, values: [from, to] })
    }
  }
  await Promise.all(Array.from({ length: connections }, insert))
  await triggers("enable")

  const definitions = [
    ...constraints.map(({ definition, name, table }) => `alter table ${table} add constraint ${name} ${definition}`),
    ...indexes.map(({ definition }) => String(definition))
  ]
  for (const definition of definitions) await pool.query(definition)
  await pool.query("select setval('evsrc.positions', (select max(position) from evsrc.events))")
  await Promise.all(["events", "event_tags"].map((table) => pool.query(`vacuum (analyze) evsrc.${table}`)))
}
