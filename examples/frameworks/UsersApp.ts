/**
 * The users over stores in memory. This module uses Effect; the servers beside it use promises.
 */
import * as Layer from "effect/Layer"
import { EventStore, ProjectionStore } from "evsrc"
import type { Evsrc } from "evsrc/promise"
import * as Users from "../users/Users.ts"

/** Replace the stores by `PgStores.layer` of `evsrc/pg` to keep the users in PostgreSQL. */
export const stores = Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)

export const UsersLayer = Users.layer.pipe(Layer.provideMerge(stores))

export type UsersApp = Evsrc.AppOf<typeof UsersLayer>
