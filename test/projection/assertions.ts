/** Assertions of the projection suites that print values when they fail. */
import { EventStoreError } from "../../src/core/errors.ts"
import { SpecFailed } from "../../src/testing/SpecFailed.ts"

/** Fails unless the text contains the part. */
export const includes = (text: string | undefined, part: string, what: string): void => {
  if (text?.includes(part) !== true) throw new SpecFailed(what, `… ${part} …`, text)
}

/** Returns the reason of an error of the store, or the tag of another error. */
export const reasonOf = (error: { readonly _tag: string }): string =>
  error instanceof EventStoreError ? error.reason._tag : error._tag
