import { EventStoreSuite, HashChainSuite } from "evsrc/conformance"
import { hashChain, throughClients } from "./backEnds.ts"
import { conformance } from "./conformance.ts"

conformance("EventStore on PostgreSQL, through 10 clients", throughClients(10), EventStoreSuite.cases)

/** What several clients can get wrong in a chain that one cannot. The long run has all cases. */
const racing = EventStoreSuite.cases.filter(({ name }) =>
  /(20|32) (concurrent|equal)|concurrent append|also concurrently|interrupted append|rolled-back/.test(name)
)
if (racing.length < 11) throw new Error("cases were renamed: adapt the pattern of those that race")

conformance("chained EventStore on PostgreSQL, through 10 clients", throughClients(10, hashChain), [
  ...racing,
  ...HashChainSuite.cases
])
