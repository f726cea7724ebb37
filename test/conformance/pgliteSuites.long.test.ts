/** The suites that PGlite runs in the long tests only. */
import { everySuite, pglite } from "./backEnds.ts"
import * as LongCases from "./longCases.ts"

const select = LongCases.of("PGlite")

everySuite("PGlite", pglite, {
  select: (cases, suite) => LongCases.suitesOnPglite.includes(suite) ? select(cases, suite) : [],
  concurrent: false
})
