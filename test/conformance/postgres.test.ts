import { everySuite, postgres } from "./backEnds.ts"
import * as LongCases from "./longCases.ts"

everySuite("PostgreSQL", postgres, { select: LongCases.of("PostgreSQL") })
