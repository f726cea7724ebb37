/**
 * Finds projections of the configuration that can be rebuilt.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Effect from "effect/Effect"
import type * as Projection from "../../projection/Projection.ts"
import type { EvsrcConfig } from "../EvsrcConfig.ts"
import { WrongUse } from "../ExitCode.ts"
import * as ConfigFile from "./ConfigFile.ts"
import * as ConsumerNames from "./ConsumerNames.ts"

/**
 * The argument of a projection.
 *
 * @since 0.1.0
 * @category options
 */
export const argument = Argument.String("projection").pipe(
  Argument.withDescription("The id of a projection of evsrc.config.ts, such as orders@1, or its name")
)

type Any = EvsrcConfig["projections"][number]

const isRebuildable = (projection: Any): projection is Projection.Any<"async"> =>
  projection._tag === "DocumentProjection" && projection.lifecycle === "async"

/**
 * Returns the projection of the configuration that the text names. Fails unless it keeps documents that a projector updates.
 *
 * @since 0.1.0
 * @category accessors
 */
export const rebuildable = Effect.fnUntraced(function*(text: string) {
  const { config, file } = yield* ConfigFile.required("the definition of the projection")
  const id = yield* ConsumerNames.choose(config.projections.map(({ id }) => id), text).pipe(
    Effect.mapError(({ detail }) => new WrongUse({ detail: `${detail}, in ${file}` }))
  )
  const found = config.projections.find((one) => one.id === id)
  if (found !== undefined && isRebuildable(found)) return found
  return yield* new WrongUse({
    detail:
      `The projection "${id}" cannot be rebuilt: only async projections with documents can. For a projection with handlers, raise the version; `
      + "for an inline one, raise the version or retire it"
  })
})
