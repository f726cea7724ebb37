import { everySuite, pglite } from "./backEnds.ts"

everySuite("PGlite", pglite, { concurrent: false })
