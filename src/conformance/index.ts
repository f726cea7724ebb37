/**
 * The conformance suites of back ends, for the author of one. They need no particular test runner.
 *
 * @since 0.1.0
 */
export * as EventStoreSuite from "./EventStoreSuite.ts"
export * as HashChainSuite from "./HashChainSuite.ts"
export * as ProjectionStoreSuite from "./ProjectionStoreSuite.ts"
export type { Case } from "./Suite.ts"
export * as TransferSuite from "./TransferSuite.ts"
