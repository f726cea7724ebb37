/** Statements of the store, one at a time on one connection, where a plan could go through the whole log. */
import { hotTag, longEvents, longStream, type } from "./fill.ts"

export interface Probe {
  readonly title: string
  /** Goes through every event in the log, or of the tag, so that one takes long. */
  readonly slow?: true
  readonly text: string
  readonly values: (head: bigint) => ReadonlyArray<unknown>
  /** Rows answered, where it is always the same in a log that was filled. */
  readonly rows?: number
}

interface Item {
  readonly types?: ReadonlyArray<string>
  readonly tags?: ReadonlyArray<string>
}

const query = (items: ReadonlyArray<Item>): ReadonlyArray<unknown> => {
  const types = items.flatMap((item, index) => (item.types ?? []).map((type) => [index + 1, type] as const))
  const tags = items.flatMap((item, index) => (item.tags ?? []).map((tag) => [index + 1, tag] as const))
  return [
    items.length,
    types.map(([of]) => of),
    types.map(([, type]) => type),
    tags.map(([of]) => of),
    tags.map(([, tag]) => tag)
  ]
}

/** Checks a condition as an append does, with the settings of `evsrc.append`. */
export const conditionFunction = `
  create function growth_condition(n integer, type_of integer[], type text[], tag_of integer[], tag text[], after bigint)
  returns bigint language plpgsql volatile
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  as 'begin return (
    select max(match) from unnest(
      evsrc.newest_matches(evsrc.query_items(n, type_of, type, tag_of, tag), array_fill(after, array[n]), null, null)
    ) as match
  ); end'`

const condition = (
  title: string,
  items: ReadonlyArray<Item>,
  after: "from the start" | "near the head",
  slow?: true
): Probe => ({
  title: `condition: ${title}, ${after}`,
  ...slow === undefined ? {} : { slow },
  text: "select growth_condition($1, $2, $3, $4, $5, $6)",
  // As after a read: some hundred events have been appended since.
  values: (head) => [...query(items), after === "near the head" ? (head > 100n ? head - 100n : 0n) : 0n]
})

const read = (title: string, items: ReadonlyArray<Item>, limit: number, slow?: true): Probe => ({
  title: `read: ${title}`,
  ...slow === undefined ? {} : { slow },
  text: "select * from evsrc.read_query($1, $2, $3, $4, $5, 0, $6)",
  values: () => [...query(items), limit]
})

const course = "course:c17"
const student = "student:s4711"
const both = [{ types: [type], tags: [course] }, { types: [type], tags: [student] }]
const page = 10_000

export const probes: ReadonlyArray<Probe> = [
  {
    title: "stream of 100, spread over the log",
    text: "select * from evsrc.events where stream = $1 and version >= 1 order by version limit 500",
    values: () => [longStream(1)],
    rows: longEvents
  },
  read("a course and a student", both, page),
  read("a course with the hot tag", [{ tags: [course, hotTag] }], page),
  read("the hot tag with a course", [{ tags: [hotTag, course] }], page, true),
  read("the hot tag, a page of 500", [{ tags: [hotTag] }], 500, true),
  read("another type alone", [{ types: ["NeverHappened"] }], page, true),
  condition("a course and a student", both, "near the head"),
  condition("a course and a student", both, "from the start"),
  condition("the one type alone", [{ types: [type] }], "near the head"),
  condition("another type alone", [{ types: ["NeverHappened"] }], "near the head"),
  condition("another type alone", [{ types: ["NeverHappened"] }], "from the start", true),
  condition("the hot tag", [{ tags: [hotTag] }], "near the head"),
  condition("the hot tag", [{ tags: [hotTag] }], "from the start"),
  condition("the hot tag, another type", [{ types: ["NeverHappened"], tags: [hotTag] }], "near the head"),
  condition("the hot tag, another type", [{ types: ["NeverHappened"], tags: [hotTag] }], "from the start", true)
]
