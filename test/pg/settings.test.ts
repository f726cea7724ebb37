/** Session settings that change how PostgreSQL reads SQL, arrays and nulls, and which a role or a database may have. */
import { Layer } from "effect"
import { ProjectionStoreSuite } from "evsrc/conformance"
import { PgStores } from "evsrc/pg"
import { describe } from "vitest"
import { chainedCases } from "../conformance/backEnds.ts"
import { conformance } from "../conformance/conformance.ts"
import * as LongCases from "../conformance/longCases.ts"
import { layerPostgres } from "../support/Database.ts"

const settings = {
  standard_conforming_strings: "off",
  backslash_quote: "on",
  array_nulls: "off",
  transform_null_equals: "on",
  quote_all_identifiers: "on",
  bytea_output: "escape",
  intervalstyle: "iso_8601",
  datestyle: "SQL, DMY",
  timezone: "Asia/Kathmandu",
  extra_float_digits: "-15",
  xmloption: "document",
  check_function_bodies: "off",
  default_transaction_deferrable: "on"
}

const stores = PgStores.layerWith({ hashChain: true, causationIndex: true }).pipe(
  Layer.provide(layerPostgres({ startupParameters: settings }))
)

describe("with unusual settings of the session", () => {
  const select = LongCases.of("settings")
  conformance("EventStore", stores, select(chainedCases))
  conformance("ProjectionStore", stores, select(ProjectionStoreSuite.cases))
})
