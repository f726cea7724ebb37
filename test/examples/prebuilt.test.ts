/** The prebuilt database with which `npm start` creates its folder. */
import { assert, it } from "@effect/vitest"
import { PGlite } from "@electric-sql/pglite"
import { existsSync } from "node:fs"
import * as Prebuilt from "../../examples/http/Prebuilt.ts"

it("the prebuilt database is one of the installed version of PGlite, empty and in UTF8", async () => {
  assert.isTrue(existsSync(Prebuilt.file), `${Prebuilt.file} is missing: npm run build:pglite`)
  const pglite = await PGlite.create({ loadDataDir: await Prebuilt.load() })
  const { rows } = await pglite.query(`select
    (select array_agg(datname::text order by datname) from pg_database) as databases,
    (select array_agg(rolname::text) from pg_roles where rolname !~ '^pg_') as roles,
    (select count(*)::int from pg_class where relnamespace not in
      (select oid from pg_namespace where nspname ~ '^(pg_|information_schema)')) as tables,
    current_setting('server_encoding') as encoding`)
  assert.deepStrictEqual(rows, [{
    databases: ["postgres", "template0", "template1"],
    roles: ["postgres"],
    tables: 0,
    encoding: "UTF8"
  }])
  await pglite.close()
})
