/**
 * The configuration of the command line: the database, and the definitions of a program.
 *
 * @since 0.1.0
 */
import type * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import type { SqlClient } from "effect/sql/SqlClient"
import type { AggregateDecider } from "../aggregate/AggregateDefinition.ts"
import type * as Consumer from "../consumer/Consumer.ts"
import type { KeyStore } from "../personalData/KeyStore.ts"
import type { PgOptions } from "../pg/PgOptions.ts"
import type * as ProcessContract from "../process/ProcessContract.ts"
import type * as Projection from "../projection/Projection.ts"
import type * as Subscription from "../subscription/Subscription.ts"

/**
 * An aggregate with its behaviour, as `Aggregate.make(…).decider(…)` returns it.
 *
 * @since 0.1.0
 * @category models
 */
// oxlint-disable-next-line typescript/no-explicit-any -- a decider takes and returns its state and its commands, so no other type holds every one
export type AnyDecider = AggregateDecider<any, any, any>

/**
 * Options of a configuration.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * The client of the database, such as `PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") })`. A command builds it only when it needs it. By
   * default the commands use `--url`, or `DATABASE_URL`.
   */
  readonly database?: Layer.Layer<SqlClient, unknown> | undefined
  /**
   * The options of the stores, as the program has them: the schema, `hashChain`, `causationIndex`, `snapshotKeys`. `evsrc migrate` runs the migrations
   * with them; no other command runs migrations.
   */
  readonly options?: PgOptions | undefined
  /** The key store, on the same database or another one. `erase`, and projections with personal data, need it. */
  readonly keys?: Layer.Layer<KeyStore, unknown, SqlClient> | undefined
  /** The aggregates with their behaviour. `stream` shows the states of their instances. */
  readonly aggregates?: ReadonlyArray<AnyDecider> | undefined
  readonly projections?: ReadonlyArray<Projection.Any | Projection.AnyHandler> | undefined
  readonly subscriptions?: ReadonlyArray<Subscription.Any> | undefined
  /** Process managers with their behaviour, and the `process` of schedules. */
  readonly processes?: ReadonlyArray<ProcessContract.Any> | undefined
}

const TypeId = "~evsrc/cli/EvsrcConfig"

/**
 * A configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface EvsrcConfig extends Pick<Options, "database" | "options" | "keys"> {
  readonly [TypeId]: typeof TypeId
  readonly aggregates: ReadonlyArray<AnyDecider>
  readonly projections: ReadonlyArray<Projection.Any | Projection.AnyHandler>
  readonly subscriptions: ReadonlyArray<Subscription.Any>
  readonly processes: ReadonlyArray<ProcessContract.Any>
}

const rejectRepeated = (what: string, names: ReadonlyArray<string>): void => {
  const repeated = names.find((name, index) => names.indexOf(name) < index)
  if (repeated !== undefined) {
    throw new Error(`EvsrcConfig.make: two ${what} have the name "${repeated}"; give each one once`)
  }
}

/**
 * Returns a configuration. Throws if two definitions have one name.
 *
 * **Example** (a file `evsrc.config.ts`)
 *
 * ```ts
 * export default EvsrcConfig.make({
 *   database: PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") }),
 *   aggregates: [UserDecider],
 *   projections: [Users],
 *   subscriptions: [Welcome]
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): EvsrcConfig => {
  const { aggregates = [], processes = [], projections = [], subscriptions = [] } = options
  rejectRepeated("aggregates", aggregates.map(({ aggregate }) => aggregate.name))
  rejectRepeated("projections", projections.map(({ id }) => id))
  rejectRepeated("subscriptions", subscriptions.map(({ id }) => id))
  rejectRepeated("process managers", processes.map(({ name }) => name))
  return { ...options, [TypeId]: TypeId, aggregates, projections, subscriptions, processes }
}

/**
 * Returns whether a value is a configuration.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEvsrcConfig = (value: unknown): value is EvsrcConfig => Predicate.hasProperty(value, TypeId)

/**
 * A consumer with its definition. Those of process managers are not among them.
 *
 * @since 0.1.0
 * @category models
 */
export type AnyConsumer = Consumer.Consumer

/**
 * Returns the projections and subscriptions of a configuration.
 *
 * @since 0.1.0
 * @category accessors
 */
export const consumersOf = ({ projections, subscriptions }: EvsrcConfig): ReadonlyArray<AnyConsumer> => [
  ...projections,
  ...subscriptions
]
