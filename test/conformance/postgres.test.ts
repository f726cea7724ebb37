import { everySuite, postgres } from "./backEnds.ts"

everySuite("PostgreSQL", postgres)
