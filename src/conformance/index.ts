/**
 * The conformance suites for authors of back ends. They work with any test runner.
 *
 * @since 0.1.0
 */
export * as EventStoreSuite from "./EventStoreSuite.ts"
export * as HashChainSuite from "./HashChainSuite.ts"
export * as KeyStoreSuite from "./KeyStoreSuite.ts"
export * as ProjectionStoreSuite from "./ProjectionStoreSuite.ts"
export type { Case } from "./Suite.ts"
export * as TransferSuite from "./TransferSuite.ts"
