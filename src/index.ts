/**
 * evsrc: event sourcing and CQRS for Effect.
 *
 * @since 0.1.0
 */
export * as Command from "./domain/Command.ts"
export * as Decider from "./domain/Decider.ts"
export * as Difference from "./domain/Difference.ts"
export {
  BoundaryConflict,
  CommandIdReused,
  ConcurrencyConflict,
  EventStoreError,
  type EventStoreErrorReason,
  InvalidCommand,
  InvalidRequest,
  KeyStoreUnavailable,
  MomentNotReached,
  OutcomeUnknown,
  ProjectionBehind,
  ProjectionFailed,
  StoreFailure,
  StoreMisconfigured,
  StoreUnavailable,
  StreamClosed,
  SubjectErased,
  UndecodableDocument,
  UndecodableEvent
} from "./domain/errors.ts"
export * as Event from "./domain/Event.ts"
export * as EventCodec from "./domain/EventCodec.ts"
export * as EventQuery from "./domain/EventQuery.ts"
export type { EventRecord, NewEvent, RawEvent, RecordedEvent } from "./domain/EventRecord.ts"
export * as Fingerprint from "./domain/Fingerprint.ts"
export { Metadata } from "./domain/Metadata.ts"
export * as Moment from "./domain/Moment.ts"
export * as Personal from "./domain/Personal.ts"
export * as Position from "./domain/Position.ts"
export * as Query from "./domain/Query.ts"
export { Receipt } from "./domain/Receipt.ts"
export * as Snapshots from "./domain/Snapshots.ts"
export * as StreamId from "./domain/StreamId.ts"
export * as Version from "./domain/Version.ts"
export * as Aggregate from "./runtime/Aggregate.ts"
export * as Audit from "./runtime/Audit.ts"
export * as CommandBus from "./runtime/CommandBus.ts"
export * as CommandContext from "./runtime/CommandContext.ts"
export * as Decision from "./runtime/Decision.ts"
export * as Erasure from "./runtime/Erasure.ts"
export * as EventBus from "./runtime/EventBus.ts"
export * as HashChain from "./runtime/HashChain.ts"
export * as Health from "./runtime/Health.ts"
export * as Log from "./runtime/Log.ts"
export * as Parking from "./runtime/Parking.ts"
export * as Projection from "./runtime/Projection.ts"
export * as Projector from "./runtime/Projector.ts"
export * as QueryBus from "./runtime/QueryBus.ts"
export * as Rebuild from "./runtime/Rebuild.ts"
export * as Streams from "./runtime/Streams.ts"
export * as Subscription from "./runtime/Subscription.ts"
export * as TimeTravel from "./runtime/TimeTravel.ts"
export * as Trail from "./runtime/Trail.ts"
export * as EventStore from "./store/EventStore.ts"
export * as EventStoreDriver from "./store/EventStoreDriver.ts"
export * as KeyStore from "./store/KeyStore.ts"
export * as KeyStoreDriver from "./store/KeyStoreDriver.ts"
export { Limits } from "./store/Limits.ts"
export { NewId } from "./store/NewId.ts"
export * as ProjectionStore from "./store/ProjectionStore.ts"
export * as ProjectionStoreDriver from "./store/ProjectionStoreDriver.ts"
export * as SnapshotDriver from "./store/SnapshotDriver.ts"
export * as SnapshotStore from "./store/SnapshotStore.ts"
export * as Telemetry from "./store/Telemetry.ts"
