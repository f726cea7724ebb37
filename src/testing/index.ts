/**
 * Tools for tests of programs on evsrc, and the conformance suites of its stores. They need no particular test runner.
 *
 * @since 0.1.0
 */
export * as DeciderLaws from "./DeciderLaws.ts"
export * as DeciderSpec from "./DeciderSpec.ts"
export * as EventLaws from "./EventLaws.ts"
export * as EventStoreSuite from "./EventStoreSuite.ts"
export * as GoldenHistory from "./GoldenHistory.ts"
export * as HandlerSuite from "./HandlerSuite.ts"
export * as HashChainSuite from "./HashChainSuite.ts"
export * as PersonalSuite from "./PersonalSuite.ts"
export * as ProjectionStoreSuite from "./ProjectionStoreSuite.ts"
export * as Recording from "./Recording.ts"
export * as RecordingSuite from "./RecordingSuite.ts"
export * as RuntimeSuite from "./RuntimeSuite.ts"
export { SpecFailed } from "./SpecFailed.ts"
export type { Case } from "./Suite.ts"
export * as TransferSuite from "./TransferSuite.ts"
