/**
 * Time travel: aggregates, decisions and documents as of a point in time, their differences and histories, and what-if commands. Everything is
 * read from the log; nothing is written.
 *
 * @since 0.1.0
 */
export { aggregate, type AggregateAsOf, aggregateDiff, type AggregateStep, history } from "./AggregateAsOf.ts"
export type { AsOfPoint, Between, Difference } from "./asOfReads.ts"
export { decision, type DecisionAsOf, decisionDiff } from "./DecisionAsOf.ts"
export {
  document,
  type DocumentAsOf,
  documentDiff,
  documentHistory,
  type DocumentOptions,
  type DocumentStep
} from "./DocumentAsOf.ts"
export { whatIf, whatIfDecided, type WhatIfDecisionResult, type WhatIfResult } from "./WhatIf.ts"
