/**
 * The stores on a PostgreSQL server or on an embedded PostgreSQL. They run the migrations first.
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { PgEventStore, PgProjectionStore } from "evsrc/pg"
import * as Prebuilt from "./Prebuilt.ts"
import type { Settings } from "./Settings.ts"

export const applicationName = "evsrc-example-users"

/** Imported on demand, because it contains all of PostgreSQL. */
const embedded = (dataDir: string) =>
  Layer.unwrap(Effect.map(
    Effect.promise(() => import("evsrc/pglite")),
    ({ PgliteClient }) => PgliteClient.layer({ dataDir, loadDataDir: Prebuilt.load })
  ))

export const layer = ({ databaseUrl, dataDir }: Pick<Settings, "databaseUrl" | "dataDir">) =>
  Layer.merge(PgEventStore.layer, PgProjectionStore.layer).pipe(
    Layer.provideMerge(
      databaseUrl === undefined
        ? embedded(dataDir)
        : PgClient.layer({ url: databaseUrl, applicationName, keepAlive: "10 seconds" })
    )
  )
