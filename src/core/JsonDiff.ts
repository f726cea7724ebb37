/**
 * What differs between two JSON values, as a patch of RFC 6902 that keeps what was there before.
 *
 * @since 0.1.0
 */
import * as JsonPatch from "effect/JsonPatch"
import * as JsonPointer from "effect/JsonPointer"
import * as Schema from "effect/Schema"

/**
 * One operation of the patch, and in `old` what it removes or replaces. `path` is a JSON Pointer (RFC 6901), empty for the whole value.
 *
 * @since 0.1.0
 * @category schemas
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
 * The changes that make the one value the other. They are a patch: `JsonPatch.apply` of effect applies them, in this order. Elements of arrays
 * are compared by their index.
 *
 * @since 0.1.0
 * @category comparing
 */
export const between = (before: Schema.Json, after: Schema.Json): ReadonlyArray<Change> =>
  // Its removals from an array come from the end, so that every path still means in `before` what it means where it is applied.
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

/** What is at the path of an operation, which is one that the value has. */
const valueAt = (value: Schema.Json, path: string): Schema.Json =>
  path.split("/").slice(1).reduce<Schema.Json>(
    (found, token) => (found as Schema.JsonObject)[JsonPointer.unescapeToken(token)]!,
    value
  )
