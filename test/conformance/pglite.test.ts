import { everySuite, pglite } from "./backEnds.ts"
import * as LongCases from "./longCases.ts"

everySuite("PGlite", pglite, { select: LongCases.of("PGlite"), concurrent: false })
