/**
 * evsrc: event sourcing and CQRS for Effect.
 *
 * @since 0.1.0
 */
export * as Aggregate from "./aggregate/Aggregate.ts"
export * as Decider from "./aggregate/Decider.ts"
export * as StreamLifecycle from "./archive/StreamLifecycle.ts"
export * as Command from "./command/Command.ts"
export * as CommandBus from "./command/CommandBus.ts"
export * as CommandContext from "./command/CommandContext.ts"
export * as Consumer from "./consumer/Consumer.ts"
export * as AsOf from "./core/AsOf.ts"
export {
  AppendConditionFailed,
  AsOfNotReached,
  CommandIdReused,
  ConcurrencyConflict,
  ConsumerFailed,
  EventStoreError,
  type EventStoreErrorReason,
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
} from "./core/errors.ts"
export { IdGenerator } from "./core/IdGenerator.ts"
export * as JsonDiff from "./core/JsonDiff.ts"
export * as LogPosition from "./core/LogPosition.ts"
export { Metadata } from "./core/Metadata.ts"
export * as Metrics from "./core/Metrics.ts"
export * as Position from "./core/Position.ts"
export { Receipt } from "./core/Receipt.ts"
export * as SchemaFingerprint from "./core/SchemaFingerprint.ts"
export * as StreamId from "./core/StreamId.ts"
export * as Version from "./core/Version.ts"
export * as Decision from "./decision/Decision.ts"
export * as Erasure from "./erasure/Erasure.ts"
export * as Event from "./event/Event.ts"
export * as EventCodec from "./event/EventCodec.ts"
export * as EventQuery from "./event/EventQuery.ts"
export type { EncodedEvent, NewEvent, RecordedEvent, StoredEvent } from "./event/RecordedEvent.ts"
export * as EventBus from "./eventStore/EventBus.ts"
export { ListenerTooSlow } from "./eventStore/EventBusError.ts"
export * as EventStore from "./eventStore/EventStore.ts"
export * as EventStoreDriver from "./eventStore/EventStoreDriver.ts"
export { Limits } from "./eventStore/Limits.ts"
export * as Causation from "./history/Causation.ts"
export * as HashChain from "./history/HashChain.ts"
export * as Checkpoints from "./operations/Checkpoints.ts"
export * as DeliveryAudit from "./operations/DeliveryAudit.ts"
export * as Health from "./operations/Health.ts"
export * as Parking from "./operations/Parking.ts"
export { NotParked, StillParked } from "./operations/ParkingError.ts"
export * as KeyStore from "./personalData/KeyStore.ts"
export * as KeyStoreDriver from "./personalData/KeyStoreDriver.ts"
export * as PersonalData from "./personalData/PersonalData.ts"
export * as Projection from "./projection/Projection.ts"
export * as ProjectionStore from "./projection/ProjectionStore.ts"
export * as ProjectionStoreDriver from "./projection/ProjectionStoreDriver.ts"
export * as Projector from "./projection/Projector.ts"
export * as Rebuild from "./projection/rebuild/Rebuild.ts"
export { RebuildRejected } from "./projection/rebuild/RebuildError.ts"
export * as Query from "./query/Query.ts"
export * as QueryBus from "./query/QueryBus.ts"
export * as SnapshotDriver from "./snapshot/SnapshotDriver.ts"
export * as SnapshotPolicy from "./snapshot/SnapshotPolicy.ts"
export * as Subscription from "./subscription/Subscription.ts"
export * as TimeTravel from "./timeTravel/TimeTravel.ts"
export * as LogTransfer from "./transfer/LogTransfer.ts"
export { DamagedExport, TransferRejected } from "./transfer/TransferError.ts"
