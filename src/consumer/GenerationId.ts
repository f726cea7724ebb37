/**
 * Names of generations. A consumer's first generation has the consumer's id; generation 1, 2 … of a rebuild is `<consumer id>~<number>`.
 *
 * @since 0.1.0
 */

/**
 * A consumer's id and the number of one of its generations.
 *
 * @since 0.1.0
 * @category models
 */
export interface GenerationId {
  readonly consumer: string
  /** 0 for the first generation. */
  readonly number: number
}

/**
 * Returns the name of a generation, as it is stored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const format = ({ consumer, number }: GenerationId): string => number === 0 ? consumer : `${consumer}~${number}`

/**
 * Returns the consumer and the number in a generation's name. The id of a consumer contains no `~`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (generation: string): GenerationId => {
  const [consumer = generation, number = "0"] = generation.split("~")
  return { consumer, number: Number(number) }
}

/**
 * Returns the kind of a consumer. `isInline` says whether the log knows it as an inline projection.
 *
 * @since 0.1.0
 * @category accessors
 */
export const kindOf = (consumer: string, isInline: boolean): "projection" | "inline" | "subscription" =>
  isInline ? "inline" : consumer.startsWith("subscription:") ? "subscription" : "projection"

/**
 * Returns the id of another version of a consumer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const otherVersion = (consumer: string, version: number): string => `${versionOf(consumer).name}@${version}`

/**
 * Returns the name and the version in the id of a consumer. A name contains no `@`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const versionOf = (consumer: string): { readonly name: string; readonly version: number } => {
  const [name = consumer, version = "0"] = consumer.split("@")
  return { name, version: Number(version) }
}
