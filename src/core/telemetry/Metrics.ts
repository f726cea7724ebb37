/**
 * The metrics of evsrc. Their names are part of the API.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"

/**
 * The boundaries of the histograms of durations: from a round trip on one machine to the deadlines of the stores.
 *
 * @since 0.1.0
 * @category metrics
 */
export const seconds: ReadonlyArray<number> = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * Commands that `CommandBus` dispatched, by the attributes `command` and `outcome`: `ok`, `rejected` (an error that the command declares), `invalid` (the
 * payload), `conflict`, `failed` (an `EventStoreError`), `defect` or `interrupted`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const commands = Metric.counter("evsrc_commands_total", {
  description: "Commands that were dispatched",
  incremental: true
})

/**
 * How long commands took, with their retries, in seconds, by the attribute `command`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const commandDuration = Metric.histogram("evsrc_command_duration_seconds", {
  description: "Duration of commands, with their retries, in seconds",
  boundaries: seconds
})

/**
 * Queries that `QueryBus` asked, by the attributes `query` and `outcome`: `ok`, `rejected` (an error that the query declares), `invalid` (the payload),
 * `behind` (the read model did not reach a position in time), `failed` (an `EventStoreError`), `defect` or `interrupted`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queries = Metric.counter("evsrc_queries_total", {
  description: "Queries that were asked",
  incremental: true
})

/**
 * How long queries took, with the wait for a position, in seconds, by the attribute `query`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queryDuration = Metric.histogram("evsrc_query_duration_seconds", {
  description: "Duration of queries, with the wait for a position, in seconds",
  boundaries: seconds
})

/**
 * How long appends took until the store answered, in seconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const appendDuration = Metric.histogram("evsrc_append_duration_seconds", {
  description: "Duration of appends until the store answered, in seconds",
  boundaries: seconds
})

/**
 * Commands, queries and steps of consumers that failed with an `EventStoreError`, by the attribute `reason`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const storeErrors = Metric.counter("evsrc_store_errors_total", {
  description: "Commands, queries and steps of consumers that failed with an error of the store",
  incremental: true
})

/**
 * The connections that the pools of the stores' clients may open.
 *
 * @since 0.1.0
 * @category metrics
 */
export const poolConnections = Metric.gauge("evsrc_pool_connections", {
  description: "Connections that the pools of the stores may open"
})

/**
 * The connections that statements and transactions of the stores use at the moment.
 *
 * @since 0.1.0
 * @category metrics
 */
export const poolInUse = Metric.gauge("evsrc_pool_connections_in_use", {
  description: "Connections that statements and transactions of the stores use"
})

/**
 * The statements and transactions of the stores that wait for a connection at the moment.
 *
 * @since 0.1.0
 * @category metrics
 */
export const poolWaiting = Metric.gauge("evsrc_pool_waiting", {
  description: "Statements and transactions of the stores that wait for a connection"
})

/**
 * Appends that wrote events.
 *
 * @since 0.1.0
 * @category metrics
 */
export const appends = Metric.counter("evsrc_appends_total", {
  description: "Appends that were written",
  incremental: true
})

/**
 * Events written.
 *
 * @since 0.1.0
 * @category metrics
 */
export const appendedEvents = Metric.counter("evsrc_appended_events_total", {
  description: "Events that were written",
  incremental: true
})

/**
 * Appends rejected because the stream was not at the expected version, the retried ones included.
 *
 * @since 0.1.0
 * @category metrics
 */
export const conflicts = Metric.counter("evsrc_append_conflicts_total", {
  description: "Appends rejected because the stream was not at the expected version",
  incremental: true
})

/**
 * Appends answered with the receipt of an earlier append of the same command id.
 *
 * @since 0.1.0
 * @category metrics
 */
export const duplicates = Metric.counter("evsrc_append_duplicates_total", {
  description: "Appends answered with the receipt of an earlier append of the same command id",
  incremental: true
})

/**
 * Commands and loads that found the state of their instance in this process.
 *
 * @since 0.1.0
 * @category metrics
 */
export const stateHits = Metric.counter("evsrc_state_cache_hits_total", {
  description: "Commands and loads that found the state of their instance in this process",
  incremental: true
})

/**
 * Commands and loads that did not.
 *
 * @since 0.1.0
 * @category metrics
 */
export const stateMisses = Metric.counter("evsrc_state_cache_misses_total", {
  description: "Commands and loads that did not find the state of their instance in this process",
  incremental: true
})

/**
 * Looks for a snapshot, by the attribute `outcome`: `hit`, `none`, `stale` (its event is not in the stream), `undecodable`, `unsigned` (no
 * key of the program has signed it) or `failed`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotReads = Metric.counter("evsrc_snapshot_reads_total", {
  description: "Looks for the snapshot of a state",
  incremental: true
})

/**
 * Snapshots that were due, by the attribute `outcome`: `written`, `dropped` (too many waited), `unencodable` or `failed`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const snapshotWrites = Metric.counter("evsrc_snapshot_writes_total", {
  description: "Snapshots that were due",
  incremental: true
})

/**
 * Events that consumers applied, by the attribute `consumer`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerEvents = Metric.counter("evsrc_consumer_events_total", {
  description: "Events that a consumer applied",
  incremental: true
})

/**
 * Positions between a consumer's checkpoint and the last committed event, by the attribute `consumer`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerLag = Metric.gauge("evsrc_consumer_lag_positions", {
  description: "Positions between the checkpoint of a consumer and the last committed event",
  bigint: true
})

/**
 * 1 while a consumer is stuck at an event that fails, else 0, by the attribute `consumer`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerStuck = Metric.gauge("evsrc_consumer_stuck", {
  description: "1 while a consumer is stuck at an event that fails, else 0"
})

/**
 * Keys that a consumer parked in the partitions of this process, by the attribute `consumer`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerParkedKeys = Metric.gauge("evsrc_consumer_parked_keys", {
  description: "Keys that a consumer parked because an event failed"
})

/**
 * Events that wait for a consumer, up to the limit that `Health` counts, by the attribute `consumer`. `Health` updates this gauge and the three
 * below.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerLagEvents = Metric.gauge("evsrc_consumer_lag_events", {
  description: "Events that wait for a consumer"
})

/**
 * The age of the oldest event that waits for a consumer, in seconds, by the attribute `consumer`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerLagSeconds = Metric.gauge("evsrc_consumer_lag_seconds", {
  description: "Age of the oldest event that waits for a consumer, in seconds"
})

/**
 * For how long committed events have waited above the high-water mark because a transaction holds back the readers, in seconds. `Health` updates it.
 *
 * @since 0.1.0
 * @category metrics
 */
export const heldBackSeconds = Metric.gauge("evsrc_readers_held_back_seconds", {
  description: "Age of the oldest committed event above the high-water mark, in seconds"
})

/**
 * 0 while the log is green, 1 while it is yellow, 2 while it is red: whether a transaction holds back readers or appends. `Health` updates it.
 *
 * @since 0.1.0
 * @category metrics
 */
export const logHealth = Metric.gauge("evsrc_log_health", {
  description: "0 while the log is green, 1 while it is yellow, 2 while it is red"
})

/**
 * The age of the last heartbeat of a consumer's workers, in seconds, by the attribute `consumer`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerHeartbeatAge = Metric.gauge("evsrc_consumer_heartbeat_age_seconds", {
  description: "Age of the last heartbeat of a consumer's workers, in seconds"
})

/**
 * 0 while a consumer is green, 1 while it is yellow, 2 while it is red, by the attribute `consumer`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const consumerHealth = Metric.gauge("evsrc_consumer_health", {
  description: "0 while a consumer is green, 1 while it is yellow, 2 while it is red"
})

/**
 * Events written to an export.
 *
 * @since 0.1.0
 * @category metrics
 */
export const exportedEvents = Metric.counter("evsrc_exported_events_total", {
  description: "Events that were exported",
  incremental: true
})

/**
 * Events written by an import.
 *
 * @since 0.1.0
 * @category metrics
 */
export const importedEvents = Metric.counter("evsrc_imported_events_total", {
  description: "Events that were imported",
  incremental: true
})

/**
 * Inputs and deadlines that an instance of a process manager has ignored, by the attributes `process` and `reason`: `unstarted` (the input does not start a
 * process, and the instance does not exist or was started by a later input), `completed`, `abandoned` or `cancelled`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const processIgnored = Metric.counter("evsrc_process_ignored_total", {
  description: "Inputs and deadlines that an instance of a process manager has ignored",
  incremental: true
})

/**
 * For how long the earliest deadline of a process manager has been due and has not fired, in seconds, by the attribute `process`. `ProcessManager.health`
 * and `ProcessManager.watch` update this gauge and the two below.
 *
 * @since 0.1.0
 * @category metrics
 */
export const processDeadlineLag = Metric.gauge("evsrc_process_deadline_lag_seconds", {
  description: "For how long the earliest deadline of a process manager has been due, in seconds"
})

/**
 * The number of instances of a process manager that wait for a newer release, 100 at most, by the attribute `process`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const processDeferredInstances = Metric.gauge("evsrc_process_deferred_instances", {
  description: "Instances of a process manager that wait for a newer release"
})

/**
 * 0 while the instances of a process manager are green, 1 while they are yellow, 2 while they are red, by the attribute `process`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const processHealth = Metric.gauge("evsrc_process_health", {
  description: "0 while the instances of a process manager are green, 1 while they are yellow, 2 while they are red"
})
