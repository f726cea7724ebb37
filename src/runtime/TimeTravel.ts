/**
 * Time travel: aggregates, decisions and documents as they were, what has changed since, and what else could have been done. Everything is read
 * from the log; nothing is written.
 *
 * @since 0.1.0
 */
export { aggregate, type AggregateAt, aggregateDiff, type AggregateStep, history } from "./AggregatePast.ts"
export { decision, type DecisionAt, decisionDiff } from "./DecisionPast.ts"
export {
  document,
  type DocumentAt,
  documentDiff,
  documentHistory,
  type DocumentOptions,
  type DocumentStep
} from "./DocumentPast.ts"
export type { Between, Difference, Stood } from "./Past.ts"
export { type Imagined, type ImaginedDecision, whatIf, whatIfDecided } from "./WhatIf.ts"
