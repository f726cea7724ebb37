/**
 * The differences between two JSON values, as a patch of RFC 6902 that also holds the old values.
 *
 * @since 0.1.0
 */
import * as JsonPatch from "effect/JsonPatch"
import * as JsonPointer from "effect/JsonPointer"
import * as Schema from "effect/Schema"

/**
 * One operation of the patch. `old` holds the value that it removes or replaces. `path` is a JSON Pointer (RFC 6901), empty for the whole value.
 *
 * @since 0.1.0
 * @category models
 */
export const Change = Schema.Union([
  Schema.Struct({ op: Schema.Literal("add"), path: Schema.String, value: Schema.Json }),
  Schema.Struct({ op: Schema.Literal("remove"), path: Schema.String, old: Schema.Json }),
  Schema.Struct({ op: Schema.Literal("replace"), path: Schema.String, old: Schema.Json, value: Schema.Json })
])

/**
 * @since 0.1.0
 * @category models
 */
export type Change = typeof Change.Type

/**
 * Returns the changes that turn `before` into `after`. They are a patch: `JsonPatch.apply` of effect applies them, in this order. It compares the
 * elements of arrays by their index.
 *
 * @since 0.1.0
 * @category constructors
 */
export const between = (before: Schema.Json, after: Schema.Json): ReadonlyArray<Change> =>
  // JsonPatch removes elements of an array from the end, so every path is valid in `before` too.
  JsonPatch.get(before, after).map((operation): Change => {
    switch (operation.op) {
      case "add":
        return { op: "add", path: operation.path, value: operation.value }
      case "remove":
        return { op: "remove", path: operation.path, old: valueAt(before, operation.path) }
      case "replace":
        return { op: "replace", path: operation.path, old: valueAt(before, operation.path), value: operation.value }
    }
  })

/** Returns the value at the path of an operation, which exists. */
const valueAt = (value: Schema.Json, path: string): Schema.Json =>
  path.split("/").slice(1).reduce<Schema.Json>(
    (found, token) => (found as Schema.JsonObject)[JsonPointer.unescapeToken(token)]!,
    value
  )
