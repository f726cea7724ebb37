import { everySuite, pglite } from "./backEnds.ts"
import * as LongCases from "./longCases.ts"

const select = LongCases.of("PGlite")

everySuite("PGlite", pglite, {
  // A long run has those in a file of their own, because they take as long as all others.
  select: (cases, suite) => LongCases.suitesOnPglite.includes(suite) ? [] : select(cases, suite),
  concurrent: false
})
