/**
 * The locks that an append needs, as `AppendLocks` looks for their holders.
 *
 * @since 0.1.0
 */
import type { AppendRequest } from "../../eventStore/driver/EventStoreDriver.ts"
import type { Locks } from "../locks/AppendLocks.ts"
import { documentsParameter } from "./AppendParameters.ts"
import { keyOfName, lockOfCommand, lockOfDocuments, lockOfStream } from "./PgAppend.ts"

/**
 * Returns the locks of an append; or only the one of this name, if the append has one of that name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (request: AppendRequest, lock?: string): Locks => {
  const { commandId, stream } = request
  const none = { shared: [], exclusive: [], documents: [] }
  if (lock === lockOfStream(stream)) return { ...none, stream }
  if (commandId !== undefined && lock === lockOfCommand(commandId)) return { ...none, commandId }
  const names = namesOf(request)
  const documents = documentsParameter(request.touchedDocuments) ?? []
  if (documents.length > 0 && lock === lockOfDocuments(request)) return { ...none, documents }
  const key = lock === undefined ? undefined : keyOfName(lock)
  return key === undefined ? { stream, commandId, ...names, documents } : { ...none, ...names, key }
}

const namesOf = ({ condition, events }: AppendRequest): Pick<Locks, "shared" | "exclusive"> => ({
  shared: Array.from(
    new Set(events.flatMap(({ tags = [], type }) => [`y${type}`, ...tags.map((tag) => `t${tag}`)]))
  ),
  exclusive: Array.from(
    new Set(
      (condition?.query ?? []).flatMap(({ tags = [], types = [] }) =>
        tags.length > 0 ? [`t${tags[0]!}`] : types.map((type) => `y${type}`)
      )
    )
  )
})
