/** @dcb-es/event-store-postgres. It has no streams: a stream is a tag here, and a new stream a condition on that tag. */
import { inTurn } from "../cells.ts"
import {
  type Actions,
  type Commands,
  type Contestant,
  fresh,
  payloads,
  peer,
  promiseLoop,
  type PromiseRun
} from "../contestant.ts"
import type { Pg, Queries } from "../pg.ts"

interface Event {
  readonly type: string
  readonly tags: unknown
  readonly data: unknown
  readonly metadata: unknown
}

interface Store {
  readonly ensureInstalled: () => Promise<void>
  readonly append: (
    command: { readonly events: ReadonlyArray<Event>; readonly condition?: unknown }
  ) => Promise<unknown>
  readonly subscribe: (
    query: unknown,
    options: { readonly after: unknown; readonly signal: AbortSignal }
  ) => AsyncIterable<{ readonly event: { readonly data: { readonly orderId: string } } }>
  readonly read: (query: unknown, options?: { readonly limit: number }) => AsyncIterable<unknown>
}

interface Core {
  readonly Tags: { readonly fromObj: (tags: Readonly<Record<string, string>>) => unknown }
  readonly Query: {
    readonly all: () => unknown
    readonly fromItems: (
      items: ReadonlyArray<{ readonly types: ReadonlyArray<string>; readonly tags: unknown }>
    ) => unknown
  }
  readonly buildDecisionModel: (
    store: Store,
    models: Readonly<Record<string, unknown>>
  ) => Promise<{
    readonly state: { readonly course: { readonly capacity: number; readonly taken: number }; readonly student: number }
    readonly appendCondition: unknown
  }>
}

interface Postgres {
  readonly PostgresEventStore: new(options: { readonly pool: Queries }) => Store
}

export const make = async (url: string, size: number): Promise<Contestant<PromiseRun>> => {
  const { Pool } = await peer<Pg>("pg")
  const { buildDecisionModel, Query, Tags } = await peer<Core>("@dcb-es/event-store")
  const { PostgresEventStore } = await peer<Postgres>("@dcb-es/event-store-postgres")
  const pool = new Pool({ connectionString: url, max: size })
  const store = new PostgresEventStore({ pool })
  await store.ensureInstalled()
  const of = (stream: string) => Query.fromItems([{ types: ["OrderNoted"], tags: Tags.fromObj({ order: stream }) }])
  const append = (stream: string, count: number) => {
    const tags = Tags.fromObj({ order: stream })
    return store.append({
      events: payloads(stream, count).map((data) => ({ type: "OrderNoted", tags, data, metadata: {} })),
      condition: { failIfEventsMatch: of(stream) }
    })
  }
  const counted = async (events: AsyncIterable<unknown>) => {
    let count = 0
    for await (const event of events) if (event !== undefined) count++
    return count
  }
  const courseModel = (course: string) => ({
    tagFilter: Tags.fromObj({ course }),
    init: { capacity: 0, taken: 0 },
    when: {
      CourseDefined: ({ event }: { readonly event: { readonly data: { readonly capacity: number } } }) => ({
        capacity: event.data.capacity,
        taken: 0
      }),
      StudentEnrolled: (_: unknown, state: { readonly capacity: number; readonly taken: number }) => ({
        ...state,
        taken: state.taken + 1
      })
    }
  })
  const studentModel = (student: string) => ({
    tagFilter: Tags.fromObj({ student }),
    init: 0,
    when: { StudentEnrolled: (_: unknown, state: number) => state + 1 }
  })
  const decisions: Commands<PromiseRun> = {
    create: (course) =>
      store.append({
        events: [{
          type: "CourseDefined",
          tags: Tags.fromObj({ course }),
          data: { courseId: course, capacity: inTurn + 1 },
          metadata: {}
        }]
      }),
    run: (course) => async () => {
      const student = fresh("student")
      const { appendCondition, state } = await buildDecisionModel(store, {
        course: courseModel(course),
        student: studentModel(student)
      })
      if (state.course.taken >= state.course.capacity || state.student >= 3) throw new Error("Full")
      const data = { courseId: course, studentId: student }
      await store.append({
        events: [{ type: "StudentEnrolled", tags: Tags.fromObj({ course, student }), data, metadata: {} }],
        condition: appendCondition
      })
    }
  }
  const actions: Actions<PromiseRun> = {
    append: (events) => () => append(fresh("order"), events),
    read: (stream) => () => counted(store.read(of(stream))),
    log: (events) => () => counted(store.read(Query.all(), { limit: events })),
    decisions,
    // It has no such option.
    newcomers: decisions
  }
  return {
    loop: promiseLoop,
    actions,
    seed: append,
    appendTo: (stream) => append(stream, 1),
    listen: async (heard) => {
      const after = await append(fresh("before"), 1)
      const end = new AbortController()
      const follow = async () => {
        for await (const { event } of store.subscribe(Query.all(), { after, signal: end.signal })) {
          heard(event.data.orderId)
        }
      }
      const following = follow()
      return async () => {
        end.abort()
        await following
      }
    },
    close: () => pool.end()
  }
}
