/**
 * The errors of a read, and of the consumers that make what is read.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { AsOf, format } from "../AsOf.ts"
import { Position } from "../Position.ts"
import { Version } from "../Version.ts"
import { shorten } from "./shorten.ts"

/**
 * An event in the log cannot be decoded. It stays in the log, and no reader skips it.
 *
 * The problem `NewerVersion` means that newer code than this program has written it, as happens while a release is deployed.
 *
 * @since 0.1.0
 * @category errors
 */
export class UndecodableEvent extends Schema.TaggedError<UndecodableEvent>("evsrc/UndecodableEvent")(
  "UndecodableEvent",
  {
    problem: Schema.Literals(["UnknownType", "NewerVersion", "UnknownVersion", "Malformed", "UpcasterFailed"]),
    position: Position,
    stream: Schema.String,
    version: Version,
    type: Schema.String,
    schemaVersion: Schema.Int,
    detail: Schema.String
  }
) {
  override get message(): string {
    return `Event "${this.type}" (schema version ${this.schemaVersion}) at position ${this.position}, stream `
      + `"${shorten(this.stream)}" version ${this.version}, cannot be decoded: ${this.detail}`
  }
}

/**
 * A stored document does not satisfy the Schema of its projection, most likely because the Schema changed and the projection's `version` did
 * not.
 *
 * @since 0.1.0
 * @category errors
 */
export class UndecodableDocument extends Schema.TaggedError<UndecodableDocument>("evsrc/UndecodableDocument")(
  "UndecodableDocument",
  { projection: Schema.String, key: Schema.String, detail: Schema.String }
) {
  override get message(): string {
    return `Document "${
      shorten(this.key)
    }" of projection "${this.projection}" cannot be decoded: ${this.detail}. If its `
      + `Schema has changed, raise the version of the projection`
  }
}

/**
 * The log has events without a tag that their set declares, or with another value of it than an upcaster gives them, and a reader selects events by this
 * tag. So it would not find them. They were written before the set declared the tag, in an earlier schema version, or by a process of an earlier release.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventsUntagged extends Schema.TaggedError<EventsUntagged>("evsrc/EventsUntagged")("EventsUntagged", {
  type: Schema.String,
  /** The name of the tag. */
  tag: Schema.String,
  /** The number of events without it, or with another value. */
  events: Schema.Int
}) {
  override get message(): string {
    return `The log has ${
      this.events === 1 ? "1 event" : `${this.events} events`
    } "${this.type}" without the tag "${this.tag}" that they `
      + "would have today: it was declared later, or an upcaster adds or changes its value. So a read by this tag does not find them. Read "
      + "without this tag and select in `evolve`; or, if the model does not need these events, give Decision.model the option `untagged: "
      + "\"ignore\"`; or copy the log to an empty store by LogTransfer with the option `retag`"
  }
}

/**
 * The documents of an inline projection lack events, or may lack some. Either no program has built `Projector.layerInline` with it on this store,
 * or a program appended without it, or the log was imported since, or its definition reads other events than before.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProjectionIncomplete extends Schema.TaggedError<ProjectionIncomplete>("evsrc/ProjectionIncomplete")(
  "ProjectionIncomplete",
  {
    projection: Schema.String,
    /** The first event that a program appended without the projection, if it is known. */
    position: Schema.optionalKey(Position),
    /** How this program's definition differs from that with which the documents were made. */
    difference: Schema.optionalKey(Schema.String)
  }
) {
  override get message(): string {
    if (this.difference !== undefined) {
      return `The documents of inline projection "${this.projection}" were made under another definition of this version: ${this.difference}. `
        + "Raise the version, or end the programs of the other release: a program with Projector.layerInline([...]) that reads more makes "
        + "the documents again when it starts, and Projector.repairInline does so in any case"
    }
    return this.position === undefined
      ? `The documents of inline projection "${this.projection}" may lack events. Start a program with Projector.layerInline([...]) that `
        + "includes it: the layer makes them again from the log"
      : `The documents of inline projection "${this.projection}" lack the event at position ${this.position}, or should not contain it, because a program `
        + "without the projection, or with another definition of it, appended it. Give every program that appends Projector.layerInline([...]) with it. A program that has this layer makes "
        + "the documents again within seconds or when it starts; Projector.repairInline does so at once"
  }
}

/**
 * The append would leave out an inline projection that `Projector.layerInline` has registered with `appendsWithout: "reject"`. Nothing was
 * written.
 *
 * @since 0.1.0
 * @category errors
 */
export class InlineProjectionMissing
  extends Schema.TaggedError<InlineProjectionMissing>("evsrc/InlineProjectionMissing")("InlineProjectionMissing", {
    projection: Schema.String,
    stream: Schema.String,
    /** The type of the event that the projection would miss. */
    type: Schema.String
  })
{
  override get message(): string {
    return `The append to stream "${
      shorten(this.stream)
    }" would leave event "${this.type}" out of inline projection "${this.projection}". Append `
      + "through Projector.layerInline([...]) with this version of it. If no program uses it any more, call Projector.retireInline"
  }
}

/**
 * Documents of a projection were written without an index that a list uses: by code that did not declare it yet, or in which the field had another
 * type. The list would lack them.
 *
 * @since 0.1.0
 * @category errors
 */
export class IndexIncomplete extends Schema.TaggedError<IndexIncomplete>("evsrc/IndexIncomplete")("IndexIncomplete", {
  projection: Schema.String,
  /** The indexed fields that the list uses. */
  fields: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `Documents of projection "${this.projection}" were written by code without an index on ${
      this.fields.join(", ")
    }, or with another type of such a field, and a list would lack `
      + "them. When no process runs that code any more, index them with ProjectionStore.reindex, or rebuild the projection"
  }
}

/**
 * The page after a cursor cannot be read, because a rebuild has replaced the documents since. Nothing was read.
 *
 * @since 0.1.0
 * @category errors
 */
export class CursorExpired extends Schema.TaggedError<CursorExpired>("evsrc/CursorExpired")("CursorExpired", {
  projection: Schema.String,
  /** The generation that the page before was read from. */
  generation: Schema.String,
  /** The generation that readers read now. */
  active: Schema.String
}) {
  override get message(): string {
    return `The cursor belongs to generation "${this.generation}" of projection "${this.projection}", and readers now read "${this.active}"; begin `
      + "with the first page"
  }
}

/**
 * The code of a consumer failed on an event: a projection's `key` or `evolve` threw or returned a document that does not satisfy its Schema, or
 * a handler of a projection or a subscription failed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConsumerFailed extends Schema.TaggedError<ConsumerFailed>("evsrc/ConsumerFailed")("ConsumerFailed", {
  kind: Schema.Literals(["projection", "subscription"]),
  consumer: Schema.String,
  position: Position,
  type: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    const kind = this.kind === "projection" ? "Projection" : "Subscription"
    return `${kind} "${this.consumer}" failed on event "${this.type}" at position ${this.position}: ${this.detail}`
  }
}

/**
 * A projection did not reach a position within the timeout of a read.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProjectionBehind extends Schema.TaggedError<ProjectionBehind>("evsrc/ProjectionBehind")(
  "ProjectionBehind",
  { projection: Schema.String, wanted: Position, reached: Position }
) {
  override get message(): string {
    return `Projection "${this.projection}" has reached position ${this.reached}, not yet ${this.wanted}; read again later, or with a longer timeout`
  }
}

/**
 * A point in time is in the future: a version that the stream has not reached, or a position that the log has not reached. An instant never
 * fails, because only the database's clock could tell.
 *
 * @since 0.1.0
 * @category errors
 */
export class AsOfNotReached extends Schema.TaggedError<AsOfNotReached>("evsrc/AsOfNotReached")(
  "AsOfNotReached",
  {
    asOf: AsOf,
    /** How far the log or the stream has come, as a point in time of the same kind. */
    reached: AsOf,
    /** The stream whose version it is. */
    stream: Schema.optionalKey(Schema.String)
  },
  { description: "The log or the stream has not reached the point in time. `reached` is the latest one." }
) {
  override get message(): string {
    const what = this.stream === undefined ? "The log" : `Stream "${shorten(this.stream)}"`
    return `${what} has reached ${format(this.reached)}, not yet ${
      format(this.asOf)
    }; use an earlier point in time, or read again later`
  }
}
