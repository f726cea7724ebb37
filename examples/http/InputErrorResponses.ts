/**
 * Maps schema errors of a request to `InvalidInput`, which names every invalid field.
 */
import * as Effect from "effect/Effect"
import type { HttpApiSchemaError } from "effect/http-api/HttpApiError"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as SchemaIssue from "effect/SchemaIssue"
import { InputErrors } from "./contract/Api.ts"
import { InvalidInput } from "./contract/HttpErrors.ts"

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) =>
    issue._tag === "UnexpectedKey"
      ? "is not a known field; check its spelling"
      : issue._tag === "MissingKey"
      ? "is missing"
      : SchemaIssue.defaultLeafHook(issue)
})

/** The parts of a request by kind of schema error. Other kinds concern the response, which is the server's fault. */
const parts = { Params: "path", Query: "query", Headers: "headers", Payload: "body" } as const

const isOfRequest = (kind: HttpApiSchemaError["kind"]): kind is keyof typeof parts => kind in parts

/** Returns the error for these issues in a part of the request. */
export const invalidInput = (part: InvalidInput["in"], issues: InvalidInput["issues"]): InvalidInput =>
  InvalidInput.make({
    in: part,
    issues,
    message: `Invalid ${part}: ${
      issues.map(({ field, message }) => field === "" ? message : `${field}: ${message}`).join("; ")
    }`
  })

export const layer = HttpApiMiddleware.layerSchemaErrorTransform(
  InputErrors,
  (error) =>
    isOfRequest(error.kind)
      ? Effect.fail(invalidInput(
        parts[error.kind],
        format(error.cause.issue).issues.map(({ message, path }) => ({
          field: (path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join("."),
          message
        }))
      ))
      : Effect.fail(error)
)
