/**
 * The endpoints of users.
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { AsOf, AsOfNotReached, type ConcurrencyConflict, LogPosition, Position, Version } from "evsrc"
import { HttpCommand, HttpErrors, HttpProblems, HttpQuery, type HttpReceipt, HttpStream } from "evsrc/http"
import { User, UserId } from "../../users/contract/User.ts"
import { UserChange } from "../../users/contract/UserChange.ts"
import { DeactivateUser, RegisterUser, RenameUser } from "../../users/contract/UserCommands.ts"
import { UserNotFound, UserNotYetRegistered } from "../../users/contract/UserErrors.ts"
import { DiffUser, GetUserHistory, GetUserTimeline, ListUsers, WhatIfUser } from "../../users/contract/UserQueries.ts"
import { actor, limit, pages, parameter, pointInTime } from "./Requests.ts"

const Written = Schema.Struct({
  userId: UserId,
  version: Version.Version,
  position: Position.Position,
  cursor: LogPosition.FromString
}).annotate({
  identifier: "Written",
  description:
    "The version of the user and the position of the log after the write. The cursor also names the event there, so that the server detects a log that was set back."
})

const written = {
  ...actor,
  answer: {
    schema: Written,
    make: ({ cursor, position, version }: HttpReceipt, { userId }: { readonly userId: UserId }) => ({
      userId,
      version,
      position,
      cursor
    })
  }
}

/** Excludes "events", because `/users/events` is another endpoint. */
const NewUserId = UserId.check(
  Schema.makeFilter((id) => id !== "events" || "is reserved", { title: "an id other than \"events\"" })
)

const register = HttpCommand.endpoint(RegisterUser, {
  ...written,
  name: "register",
  path: "/users",
  success: 201,
  generate: "userId",
  location: "/users/:userId",
  fields: { userId: NewUserId },
  status: { UserAlreadyRegistered: 409 },
  onConflict: (conflict) => conflict
}).annotateMerge(OpenApi.annotations({
  summary: "Register a user, with a new id unless one is given",
  description: "Registers a user. Without `userId` the server generates the id."
}))

const changed = {
  ...written,
  rename: { userId: "id" },
  status: { UserNotFound: 404, UserIsDeactivated: 409 },
  /** The version of a user who does not exist cannot be the one of `If-Match`. */
  onConflict: (conflict: ConcurrencyConflict, { userId }: { readonly userId: UserId }) =>
    conflict.actual === 0 ? new UserNotFound({ userId }) : conflict
} as const

const rename = HttpCommand.endpoint(RenameUser, { ...changed, name: "rename", path: "/users/:id", method: "PATCH" })
  .annotateMerge(OpenApi.annotations({ summary: "Rename a user", description: "Renames a user." }))

const deactivate = HttpCommand.endpoint(DeactivateUser, {
  ...changed,
  name: "deactivate",
  path: "/users/:id/deactivate"
}).annotateMerge(OpenApi.annotations({
  summary: "Deactivate a user permanently",
  description: "Deactivates a user permanently."
}))

const list = HttpQuery.endpoint(ListUsers, {
  name: "list",
  path: "/users",
  rename: { after: "cursor" },
  fields: {
    ...pages,
    registeredFrom: Schema.optionalKey(AsOf.InstantFromString).annotate({
      description: "Only users who registered at this instant or later, such as 2030-01-31T12:00:00Z."
    }),
    registeredBefore: Schema.optionalKey(AsOf.InstantFromString).annotate({
      description: "Only users who registered before this instant."
    })
  },
  page: "after"
}).annotateMerge(OpenApi.annotations({
  summary: "List users by id or by time of registration",
  description:
    "Lists users in the order of their ids, or the newest first. A user that changes between two pages is not listed twice, because neither order changes."
}))

/** The changes of users, for a browser's `EventSource`. */
export const userEvents = HttpStream.changes("events", {
  path: "/users/events",
  data: UserChange,
  names: { change: "UserChanged", reached: "Reached" }
})

/** Asks one of two queries, so its handler is in `UserHandlers.ts`. */
const get = HttpApiEndpoint.get("get", "/users/:id", {
  params: { id: UserId },
  query: Schema.Struct({
    after: HttpQuery.after,
    atVersion: parameter(Version.Version, "Return the user as of this version."),
    atPosition: parameter(
      Position.Position,
      "Return the user as of this position of the log, from an earlier response."
    ),
    atTime: parameter(AsOf.InstantFromString, "Return the user as of this instant, such as `2030-01-31T12:00:00Z`.")
  }).check(Schema.makeFilter((query) => {
    const [first, second] = (["atVersion", "atPosition", "atTime"] as const).filter((at) => query[at] !== undefined)
    return second === undefined || { path: [second], issue: `cannot be combined with ${first}` }
  })),
  success: User,
  error: [
    ...HttpErrors.ofQueries,
    HttpErrors.withStatus(UserNotFound, 404),
    HttpErrors.withStatus(UserNotYetRegistered, 404),
    HttpErrors.withStatus(AsOfNotReached, 404)
  ]
}).middleware(HttpProblems.HttpProblems).annotateMerge(OpenApi.annotations({
  summary: "Get a user, now or as of a point in time",
  description:
    "Returns a user, as of now or of an earlier point in time. Only one of `atVersion`, `atPosition` and `atTime` is allowed."
}))

const ofUser = { rename: { userId: "id" } } as const
const ofVersions = { rename: { userId: "id", after: "cursor" }, fields: { limit }, page: "after" } as const

const history = HttpQuery.endpoint(GetUserHistory, {
  ...ofVersions,
  name: "history",
  path: "/users/:id/history",
  status: { UserNotFound: 404 }
}).annotateMerge(OpenApi.annotations({
  summary: "List the events of a user, oldest first",
  description:
    "Returns the events of a user as they are stored, oldest first. `data` is the payload of that `schemaVersion`."
}))

const timeline = HttpQuery.endpoint(GetUserTimeline, {
  ...ofVersions,
  name: "timeline",
  path: "/users/:id/timeline",
  status: { UserNotFound: 404 }
}).annotateMerge(OpenApi.annotations({
  summary: "List the events of a user, each with the state after it, oldest first",
  description: "Returns every event upcast to its current version, and the user after it, oldest first."
}))

const diff = HttpQuery.endpoint(DiffUser, {
  ...ofUser,
  name: "diff",
  path: "/users/:id/diff",
  fields: {
    from: pointInTime("The first point in time"),
    to: Schema.optionalKey(pointInTime("The second point in time, now by default"))
  },
  status: { UserNotFound: 404, AsOfNotReached: 404 }
}).annotateMerge(OpenApi.annotations({
  summary: "Compare a user as of two points in time: a JSON Patch and the events between",
  description:
    "Returns what changed between two points in time, as a JSON Patch with the `old` values, and the first 1,000 events between them."
}))

const whatIf = HttpQuery.endpoint(WhatIfUser, {
  ...ofUser,
  name: "whatIf",
  path: "/users/:id/what-if",
  method: "POST",
  fields: { at: Schema.optionalKey(pointInTime("The point in time, now by default")) },
  status: { UserNotFound: 404, UserAlreadyRegistered: 409, UserIsDeactivated: 409, AsOfNotReached: 404 }
}).annotateMerge(OpenApi.annotations({
  summary: "Try a command as of a point in time, without writing anything",
  description: "Returns the events that a command would write, and the state after them. It writes nothing."
}))

export class UserEndpoints extends HttpApiGroup.make("users").add(
  register,
  list,
  userEvents.annotateMerge(OpenApi.annotations({
    summary: "Stream the changes of users as server-sent events",
    description:
      "Streams changes of users as server-sent events. A browser reads the stream with `EventSource`. The event `UserChanged` has a change as JSON. The event `Reached` has only the cursor; the server sends it at the start and every 15 seconds. The `id` of both is a cursor: the client has received all changes up to it."
  })),
  get,
  rename,
  deactivate,
  history,
  timeline,
  diff,
  whatIf
) {}
