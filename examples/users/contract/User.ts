/**
 * A user, as clients see it.
 */
import * as Schema from "effect/Schema"
import { Version } from "evsrc"

/** A simpler pattern from which tests generate values, because lookaheads and Unicode classes cannot be generated from. */
const generatedBy = (source: string) => ({ arbitraryConstraint: { patterns: [{ source, flags: "" }] as const } })

/** One line of text, without control characters, which terminals execute, and without lone surrogates, which UTF-8 cannot encode. */
const line = (what: string, maxLength: number) =>
  Schema.String.check(
    Schema.isPattern(new RegExp(`^(?=.*\\S)[^\\p{Cc}\\p{Cs}]{1,${maxLength}}$`, "u"), {
      expected: `${what}: one line of 1 to ${maxLength} characters, not all of them blank`,
      ...generatedBy("^[a-zåéß0-9][a-zA-Z0-9 ,.åéß-]{0,19}$")
    })
  ).annotate({ description: `One line of 1 to ${maxLength} characters.` })

export const UserId = line("a user id", 128).pipe(Schema.brand("UserId"))
export type UserId = typeof UserId.Type

export const Email = Schema.String.check(
  Schema.isMaxLength(254, { expected: "an email address of at most 254 characters" }),
  Schema.isPattern(/^[^\s@\p{Cc}\p{Cs}]+@[^\s@\p{Cc}\p{Cs}]+\.[^\s@.\p{Cc}\p{Cs}]+$/u, {
    expected: "an email address, such as ann@example.com",
    ...generatedBy("^[a-z0-9.+]{1,12}@[a-z0-9]{1,12}\\.[a-z]{2,3}$")
  })
).annotate({ description: "An email address of at most 254 characters." }).pipe(Schema.brand("Email"))
export type Email = typeof Email.Type

export const UserName = line("a name", 200)

export const UserStatus = Schema.Literals(["active", "deactivated"])
export type UserStatus = typeof UserStatus.Type

/** The order of a list of users. */
export const UserOrder = Schema.Literals(["id", "newest"])

export const User = Schema.Struct({
  userId: UserId,
  email: Email,
  name: UserName,
  status: UserStatus,
  version: Version.Version
}).annotate({ identifier: "User" })
export type User = typeof User.Type
