/** evsrc: a document projection on @effect/sql-pg, with the default options but those of the `Way`. */
import { PgClient } from "@effect/sql-pg"
import { Duration, Effect, Fiber, Layer, ManagedRuntime, Redacted, Schema, Stream } from "effect"
// Not by name: bench is a package of its own, in whose scope there is no "evsrc".
import { EventStore, Projection, ProjectionStore, Projector, Rebuild } from "../../src/index.ts"
import { PgStores } from "../../src/pg/index.ts"
import { latencyOf, payload, type Sample, sample, type Sent, type Subject, timed, type Way } from "./task.ts"

const OrderEvent = Schema.TaggedUnion({
  OrderNoted: { orderId: Schema.NonEmptyString, customer: Schema.String, amount: Schema.Int, note: Schema.String }
})

const counting = (name: string, partitions: number) =>
  Projection.make(name, {
    events: OrderEvent,
    document: Schema.Struct({ events: Schema.Int, total: Schema.Number }),
    key: ({ customer }) => customer,
    partitions,
    evolve: {
      OrderNoted: (before, { amount }) => ({ events: (before?.events ?? 0) + 1, total: (before?.total ?? 0) + amount })
    }
  })

let names = 0

export const make = async (url: string): Promise<Subject> => {
  const runtime = ManagedRuntime.make(
    PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 })))
  )
  const events = await runtime.runPromise(EventStore.EventStore)
  const store = await runtime.runPromise(ProjectionStore.ProjectionStore)
  let last = counting("none", 1)

  const catchUp = ({ batchSize, partitions }: Way, samples: number) =>
    runtime.runPromise(Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      const [row] = yield* sql.unsafe<{ readonly n: number }>("select count(*)::integer as n from evsrc.events")
      const total = row!.n
      const head = yield* events.head
      last = counting(`counting-${process.pid}-${++names}`, partitions)
      const measured: Array<Sample> = []
      const watch = Effect.gen(function*() {
        const projector = yield* Projector.Projector
        while (measured.length < samples) {
          const applied = (yield* projector.status).reduce((sum, { applied }) => sum + applied, 0)
          if (applied >= (measured.length + 1) / (samples + 1) * total) measured.push(sample(applied))
          yield* Effect.sleep("20 millis")
        }
      })
      const processor = Effect.gen(function*() {
        const watching = samples > 0 ? yield* Effect.forkScoped(watch) : undefined
        yield* store.awaitPosition(last, head, "10 minutes")
        if (watching !== undefined) yield* Fiber.interrupt(watching)
      }).pipe(Effect.scoped, Effect.provide(Projector.layer([last], { batchSize })))
      const took = yield* Effect.promise(() => timed(total, () => runtime.runPromise(processor)))
      const page = yield* store.list(last, { limit: 1000 })
      const counted = page.items.reduce((sum, { events }) => sum + events, 0)
      if (counted !== total) throw new Error(`${counted} events in the documents instead of ${total}`)
      return samples === 0 ? took : { ...took, samples: measured }
    }))

  return {
    fill: (count) =>
      runtime.runPromise(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const [row] = yield* sql.unsafe<{ readonly n: number }>("select count(*)::integer as n from evsrc.events")
        // Only the functions of the event store may write while the triggers are enabled.
        yield* sql.unsafe("alter table evsrc.events disable trigger user")
        yield* sql.unsafe(`insert into evsrc.events
            (position, stream, version, type, schema_version, id, data, metadata, recorded_at)
          select nextval('evsrc.positions'), 'Order-' || (g / 10), 1 + g % 10, 'OrderNoted', 1, gen_random_uuid(), ${payload}, '{}',
            now() from generate_series(${row!.n}, ${row!.n + count - 1}) g`)
        yield* sql.unsafe("alter table evsrc.events enable trigger user")
        yield* sql.unsafe("vacuum analyze evsrc.events")
      })),
    catchUp,
    follow: async (name) => {
      const projection = counting(name, 1)
      const head = await runtime.runPromise(events.head)
      runtime.runFork(Layer.launch(Projector.layer([projection])))
      await runtime.runPromise(store.awaitPosition(projection, head, "10 minutes"))
    },
    latency: (name, seconds, how) =>
      runtime.runPromise(Effect.gen(function*() {
        const projection = counting(name, 1)
        const customer = `latency-${process.pid}-${++names}`
        const sent: Array<Sent> = []
        const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
        let writing = true
        // All go to one document: its count is how many of them it shows.
        const look = Effect.map(store.get(projection, customer), (found) => {
          const now = performance.now()
          for (const one of sent.slice(0, found._tag === "Some" ? found.value.events : 0)) one.seen ??= now
        })
        if (how === "poll") {
          const isDone = () => !writing && sent.every(({ seen }) => seen !== undefined)
          fibers.push(
            yield* Effect.forkChild(
              Effect.andThen(look, Effect.sleep(3)).pipe(
                Effect.repeat({ until: isDone }),
                Effect.timeoutOption(Duration.seconds(seconds + 10))
              )
            )
          )
        }
        const begun = performance.now()
        for (let i = 0; performance.now() - begun < seconds * 1000; i++) {
          const called = performance.now()
          const appended = yield* events.append(OrderEvent, `${customer}-${i}`, [
            OrderEvent.cases.OrderNoted.make({ orderId: "order", customer, amount: 129, note: "" })
          ])
          sent.push({ called, answered: performance.now(), seen: undefined })
          if (how === "await") {
            const after = { position: appended.position, timeout: Duration.seconds(10) }
            fibers.push(yield* Effect.forkChild(Effect.provideService(look, ProjectionStore.ReadAfter, after)))
          }
          yield* Effect.sleep(15 + i % 11)
        }
        writing = false
        for (const fiber of fibers) yield* Fiber.await(fiber)
        return latencyOf(sent)
      })),
    rebuild: async () => {
      const total = await runtime.runPromise(Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const [row] = yield* sql.unsafe<{ readonly n: number }>("select count(*)::integer as n from evsrc.events")
        return row!.n
      }))
      return timed(total, () => runtime.runPromise(Stream.runDrain(Rebuild.rebuild(last))))
    },
    close: () => runtime.dispose()
  }
}
