import { EventStoreSuite } from "evsrc/conformance"
import { chained, hashChain, throughClients } from "./backEnds.ts"
import { conformance } from "./conformance.ts"

conformance("EventStore on PostgreSQL, through 10 clients", throughClients(10), EventStoreSuite.cases)
chained("PostgreSQL, through 10 clients", throughClients(10, hashChain))
