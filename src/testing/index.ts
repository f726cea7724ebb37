/**
 * Tools for tests of programs on evsrc. They need no particular test runner.
 *
 * @since 0.1.0
 */
export type { Case } from "../conformance/Suite.ts"
export * as DeciderProperties from "./DeciderProperties.ts"
export * as DeciderSpec from "./DeciderSpec.ts"
export * as DecisionSpec from "./DecisionSpec.ts"
export * as EventProperties from "./EventProperties.ts"
export * as GoldenEvents from "./golden/GoldenEvents.ts"
export * as ProcessProperties from "./ProcessProperties.ts"
export * as ProcessSpec from "./ProcessSpec.ts"
export * as Recording from "./recording/Recording.ts"
export { SpecFailed } from "./SpecFailed.ts"
export * as TestDatabase from "./TestDatabase.ts"
