/**
 * The errors of the stores themselves: the database, the key store, and how they are set up.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { Position } from "../Position.ts"
import { shorten } from "./shorten.ts"

/**
 * The store cannot be reached or is too busy. Nothing was written; a retry may succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("evsrc/StoreUnavailable")(
  "StoreUnavailable",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * The key store of personal data cannot be reached, or did not respond in time. Nothing was written, and personal data cannot be read; a retry may succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class KeyStoreUnavailable extends Schema.TaggedError<KeyStoreUnavailable>("evsrc/KeyStoreUnavailable")(
  "KeyStoreUnavailable",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * An event has personal data of a subject that was erased. Nothing was written. A person who returns needs a new subject.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubjectErased extends Schema.TaggedError<SubjectErased>("evsrc/SubjectErased")("SubjectErased", {
  subject: Schema.String,
  erasedAt: Schema.DateTimeUtc
}) {
  override get message(): string {
    return `The personal data of "${shorten(this.subject)}" was erased at ${
      DateTime.formatIso(this.erasedAt)
    }; use a new `
      + `subject for new data about the person`
  }
}

/**
 * The connection was lost between an append and its result, so the events may be in the log or not. Send the append again under the same
 * command id to find out.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>("evsrc/OutcomeUnknown")("OutcomeUnknown", {
  stream: Schema.String,
  message: Schema.String,
  cause: Schema.Defect()
}) {}

/**
 * The store is not set up for this program: missing or newer migrations, a read replica, a wrong isolation level, missing rights, a missing
 * key store.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreMisconfigured extends Schema.TaggedError<StoreMisconfigured>("evsrc/StoreMisconfigured")(
  "StoreMisconfigured",
  { message: Schema.String, cause: Schema.Defect() }
) {}

/**
 * A program runs or reads a generation that was discarded, or appends with an inline projection that was. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class GenerationDiscarded extends Schema.TaggedError<GenerationDiscarded>("evsrc/GenerationDiscarded")(
  "GenerationDiscarded",
  { generation: Schema.String }
) {
  override get message(): string {
    return `Generation "${this.generation}" was discarded with all that it had written, so no program may run or read it; deploy a release that has `
      + "a version of the consumer still in use, or raise the version; after the discard of a rebuild, begin another"
  }
}

/**
 * A handler waits for its own consumer, or resets it, or a transaction waits for a consumer to reach an event that it has not committed. The wait could
 * never end.
 *
 * @since 0.1.0
 * @category errors
 */
export class CircularWait extends Schema.TaggedError<CircularWait>("evsrc/CircularWait")("CircularWait", {
  /** The id of the consumer to wait for. */
  consumer: Schema.String,
  /** The position that it was to reach, or to be reset to. */
  position: Position,
  /**
   * `handler`: a handler of the consumer waits; `reset`: a handler of the consumer resets it; `transaction`: the transaction that appends the event
   * waits.
   */
  waiting: Schema.Literals(["handler", "reset", "transaction"])
}) {
  override get message(): string {
    return this.waiting === "reset"
      ? `A handler of "${this.consumer}" resets "${this.consumer}" to position ${this.position}, which waits until the handler has ended; call `
        + "Checkpoints.reset outside the handler"
      : this.waiting === "handler"
      ? `A handler of "${this.consumer}" waits until "${this.consumer}" has reached position ${this.position}, which it does only after the handler has `
        + `ended; read without \`after\`, or do the work that waits outside the handler`
      : `A transaction waits until "${this.consumer}" has reached position ${this.position}, which the transaction has not committed yet; wait after `
        + `the commit, or read without \`after\``
  }
}

/**
 * The store failed in a way that none of the other reasons describes.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreFailure extends Schema.TaggedError<StoreFailure>("evsrc/StoreFailure")("StoreFailure", {
  message: Schema.String,
  cause: Schema.Defect()
}) {}
