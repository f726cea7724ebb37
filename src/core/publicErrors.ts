/**
 * The errors that `evsrc` and `evsrc/domain` export.
 *
 * @since 0.1.0
 */
export {
  AppendConditionFailed,
  AsOfNotReached,
  CircularWait,
  CommandIdReused,
  ConcurrencyConflict,
  ConsumerFailed,
  CursorExpired,
  EventStoreError,
  type EventStoreErrorReason,
  EventsUntagged,
  GenerationDiscarded,
  IndexIncomplete,
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
