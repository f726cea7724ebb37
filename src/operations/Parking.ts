/**
 * Lists and inspects the keys that a consumer parked, and retries or skips their events.
 *
 * @since 0.1.0
 */
export type { Parked, ParkingEntry } from "../consumer/parking/ParkingDriver.ts"
export {
  type ConsumerId,
  type Count,
  count,
  type Filter,
  type GenerationOptions,
  history,
  type HistoryOptions,
  inspect,
  type Inspection,
  list,
  type ListOptions,
  stream
} from "./ParkedKeys.ts"
export {
  type BulkOutcome,
  type Outcome,
  retry,
  retryAll,
  type RetryAllOptions,
  type RetryOptions,
  skip,
  skipAll,
  type SkipAllOptions,
  type SkipOptions,
  withdraw
} from "./RetryAndSkip.ts"
