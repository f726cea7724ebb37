/** @castore/core on its PostgreSQL adapter, which has no global log and no subscription. */
import { instanceEvents } from "../cells.ts"
import {
  type Actions,
  type Contestant,
  fresh,
  payload,
  payloads,
  peer,
  promiseLoop,
  type PromiseRun
} from "../contestant.ts"

interface NewEvent {
  readonly aggregateId: string
  readonly version: number
  readonly type: string
  readonly payload: unknown
}

interface Noted {
  readonly aggregateId: string
  readonly version: number
  readonly total: number
}

interface Store {
  readonly pushEvent: (event: NewEvent) => Promise<unknown>
  readonly groupEvent: (event: NewEvent) => unknown
  readonly getEvents: (id: string) => Promise<{ readonly events: ReadonlyArray<unknown> }>
  readonly getAggregate: (id: string) => Promise<{ readonly aggregate: Noted | undefined }>
}

interface Core {
  readonly Command: new(options: {
    readonly commandId: string
    readonly requiredEventStores: ReadonlyArray<Store>
    readonly handler: (id: string, stores: readonly [Store]) => Promise<void>
  }) => { readonly handler: (id: string, stores: readonly [Store]) => Promise<void> }
  readonly EventType: new(options: { readonly type: string }) => unknown
  readonly EventStore: {
    new(options: {
      readonly eventStoreId: string
      readonly eventTypes: ReadonlyArray<unknown>
      readonly eventStorageAdapter: unknown
      readonly reducer: (state: Noted | undefined, event: NewEvent) => Noted
    }): Store
    readonly pushEventGroup: (...events: ReadonlyArray<unknown>) => Promise<unknown>
  }
}

interface Adapter {
  readonly PostgresEventStorageAdapter: {
    new(options: { readonly connectionString: string }): unknown
    readonly createEventTable: (options: {
      readonly connectionString: string
      readonly aggregateId: { readonly type: "VARCHAR"; readonly length: number }
    }) => Promise<unknown>
  }
}

export const make = async (url: string, pool: number): Promise<Contestant<PromiseRun>> => {
  const { Command, EventStore, EventType } = await peer<Core>("@castore/core")
  const { PostgresEventStorageAdapter } = await peer<Adapter>("@castore/event-storage-adapter-postgres")
  await PostgresEventStorageAdapter.createEventTable({
    connectionString: url,
    aggregateId: { type: "VARCHAR", length: 64 }
  })
  const store = new EventStore({
    eventStoreId: "ORDERS",
    eventTypes: [new EventType({ type: "OrderNoted" })],
    eventStorageAdapter: new PostgresEventStorageAdapter({ connectionString: `${url}?max=${pool}` }),
    reducer: (state, { aggregateId, version }) => ({ aggregateId, version, total: (state?.total ?? 0) + 1 })
  })
  const append = (stream: string, count: number) => {
    const events = payloads(stream, count).map((payload, index): NewEvent => ({
      aggregateId: stream,
      version: index + 1,
      type: "OrderNoted",
      payload
    }))
    return count === 1 ? store.pushEvent(events[0]!) : EventStore.pushEventGroup(...events.map(store.groupEvent))
  }
  // With the retries that it makes by default.
  const command = new Command({
    commandId: "NOTE",
    requiredEventStores: [store],
    handler: async (id, [store]) => {
      const { aggregate } = await store.getAggregate(id)
      const version = (aggregate?.version ?? 0) + 1
      await store.pushEvent({ aggregateId: id, version, type: "OrderNoted", payload: payload(id) })
    }
  })
  const actions: Actions<PromiseRun> = {
    append: (events) => () => append(fresh("order"), events),
    read: (stream) => async () => (await store.getEvents(stream)).events.length,
    commands: {
      // Faster than `pushEventGroup`, which it needs for an append of several events.
      create: async (id) => {
        for (const [index, payload] of payloads(id, instanceEvents).entries()) {
          await store.pushEvent({ aggregateId: id, version: index + 1, type: "OrderNoted", payload })
        }
      },
      run: (id) => () => command.handler(id, [store]),
      load: (id) => () => store.getAggregate(id)
    }
  }
  // Its pool cannot be closed from outside; the process ends with it.
  return { loop: promiseLoop, actions, seed: append, appendTo: (stream) => append(stream, 1), close: async () => {} }
}
