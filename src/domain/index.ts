/**
 * Definitions only: events, commands, queries, deciders, decisions and projections, without the code that stores and runs them. A program
 * in a browser imports them from here. They are the same definitions as those of `evsrc`, and its layers accept them.
 *
 * @since 0.1.0
 */
export * as Aggregate from "../aggregate/AggregateDefinition.ts"
export * as Decider from "../aggregate/Decider.ts"
export * as Command from "../command/Command.ts"
export { Metadata } from "../core/Metadata.ts"
export * as Position from "../core/Position.ts"
export * from "../core/publicErrors.ts"
export { Receipt } from "../core/Receipt.ts"
export * as StreamId from "../core/StreamId.ts"
export * as Version from "../core/Version.ts"
export * as Decision from "../decision/DecisionDefinition.ts"
export * as Event from "../event/Event.ts"
export * as EventCodec from "../event/EventCodec.ts"
export * as EventQuery from "../event/EventQuery.ts"
export type { EncodedEvent, NewEvent, RecordedEvent, StoredEvent } from "../event/RecordedEvent.ts"
export * as PersonalData from "../personalData/PersonalData.ts"
export * as Projection from "../projection/ProjectionDefinition.ts"
export * as Query from "../query/Query.ts"
export * as SnapshotPolicy from "../snapshot/SnapshotPolicy.ts"
