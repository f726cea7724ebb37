/**
 * The errors that `evsrc` and `evsrc/domain` export.
 *
 * @since 0.1.0
 */
export {
  AppendConditionFailed,
  AsOfNotReached,
  CommandIdReused,
  ConcurrencyConflict,
  ConsumerFailed,
  EventStoreError,
  type EventStoreErrorReason,
  InlineProjectionMissing,
  InvalidCommand,
  InvalidQuery,
  InvalidRequest,
  KeyStoreUnavailable,
  LogDiverged,
  OutcomeUnknown,
  ProjectionBehind,
  ProjectionIncomplete,
  StoreFailure,
  StoreMisconfigured,
  StoreUnavailable,
  StreamClosed,
  SubjectErased,
  UndecodableDocument,
  UndecodableEvent
} from "./errors.ts"
